//! Packs that announce or expand to far more than is sane: a clone ends soon, with a documented error, and leaves nothing.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use daytona_mock::{MockServer, config::Config, limits::Limits};
use flate2::{Compression, write::ZlibEncoder};
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::{refused, server::GitServer};
use crate::{
    api::Api,
    support::{Toolbox, client, config, eventually},
};

const MEMORY: usize = 96 << 20;
const FILE: usize = 16 << 20;
const NO_MEMORY: &str = "git may use no more than 96 MiB of memory";
const NO_FILE: &str = "git may write no file of more than 16 MiB";

/// A server whose git programs may use little, and a sandbox of it.
async fn bounded() -> (MockServer, Toolbox) {
    limited(Limits { git_memory: MEMORY, git_file: FILE, ..Limits::default() }).await
}

async fn limited(limits: Limits) -> (MockServer, Toolbox) {
    let server = MockServer::start(Config { limits, ..config() }).await.expect("the server starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    let id = api.named("bounded").await;
    let url = format!("{}/{id}", server.toolbox_url);
    let tb = Toolbox::new(url, client(&server.api_key));
    (server, tb)
}

/// Clones to somewhere new, which must be refused in these words and leave nothing.
async fn is_refused(tb: &Toolbox, url: &str, words: &str) {
    let message =
        refused(tb.git("clone", json!({"url": url, "path": "new/r"})).await, 500, "INTERNAL_SERVER_ERROR").await;
    assert!(message.starts_with(words), "{url}: {message}");
    assert_eq!(tb.run("ls; pgrep -c git || true").await, "0\n", "{url}");
}

#[tokio::test]
async fn packs_that_lie_are_given_up() {
    let (server, tb) = bounded().await;
    let remote = Hostile::start().await;
    for (kind, words) in [
        ("objects", NO_MEMORY),
        ("announced", NO_MEMORY),
        ("delta", NO_MEMORY),
        ("refs", NO_MEMORY),
        ("endless", NO_FILE),
    ] {
        is_refused(&tb, &remote.url(kind), words).await;
    }
    eventually("endless answers are let go", async || (remote.let_go() == 2).then_some(())).await;

    // The same into a repository that is there.
    tb.run("git init -q -b main r && git -C r -c user.name=U -c user.email=u@x commit -q --allow-empty -m first").await;
    for kind in ["objects", "announced", "endless"] {
        tb.git_ok("remotes", json!({"path": "r", "name": "origin", "url": remote.url(kind), "overwrite": true})).await;
        let message = refused(tb.git("pull", json!({"path": "r"})).await, 500, "INTERNAL_SERVER_ERROR").await;
        assert!([NO_MEMORY, NO_FILE].contains(&message.as_str()), "{kind}: {message}");
    }
    assert_eq!(tb.git_get("history?path=r").await.as_array().expect("a list").len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn trees_that_expand_are_given_up() {
    let (server, tb) = bounded().await;
    let remote = GitServer::start().await;
    remote.run("git init -q --bare -b main open/files.git && cd open/files.git && git config user.name S && git config user.email s@x &&
        tree=$(printf '100644 blob %s\\tf\\n' $(echo x | git hash-object -w --stdin) | git mktree) &&
        for level in 1 2 3 4 5 6 7 8; do
            tree=$(for n in 0 1 2 3 4 5 6 7 8 9; do printf '040000 tree %s\\td%0240d\\n' $tree $n; done | git mktree)
        done && git update-ref refs/heads/main $(git commit-tree $tree -m 'a hundred million files')");
    remote.run("git init -q -b main w && cd w && git config user.name S && git config user.email s@x && echo a >a && mkdir d &&
        echo b >d/b && truncate -s 40M z && git add . && git commit -qm 'forty megabytes in a few bytes' &&
        git clone -q --bare . ../open/large.git && cd .. && rm -rf w");
    is_refused(&tb, &remote.url("open/files.git"), NO_MEMORY).await;
    is_refused(&tb, &remote.url("open/large.git"), NO_FILE).await;
    // Where there was something, that is all there is.
    tb.run("mkdir -p empty full/d && echo mine >full/a && echo mine >full/d/mine").await;
    for path in ["empty", "full"] {
        let body = json!({"url": remote.url("open/large.git"), "path": path});
        let message = refused(tb.git("clone", body).await, 500, "INTERNAL_SERVER_ERROR").await;
        assert_eq!(message, format!("{NO_FILE}, and the disk may be full"));
    }
    assert_eq!(tb.run("find empty full | sort; cat full/a").await, "empty\nfull\nfull/a\nfull/d\nfull/d/mine\nmine\n");
    // By hand, a sandbox may do what it likes.
    tb.run(&format!("git clone -q {} by-hand && stat -c %s by-hand/z", remote.url("open/large.git"))).await;
    server.shutdown().await;
}

/// What bounds one file and one program bounds no request: many files together, what a remote says besides the pack, and
/// what takes long to unpack rather than to store.
#[tokio::test]
async fn requests_that_take_too_much_are_given_up() {
    const TOO_MUCH: &str = "git may write no more than 64 MiB for one request";
    let (server, tb) = limited(Limits { git_written: 64 << 20, ..Limits::default() }).await;
    let (remote, hostile) = (GitServer::start().await, Hostile::start().await);
    remote.run("git init -q --bare -b main open/many.git && cd open/many.git && git config user.name S && git config user.email s@x &&
        blob=$(head -c 8M /dev/zero | tr '\\0' x | git hash-object -w --stdin) && dot=$(echo . | git hash-object -w --stdin) &&
        tree=$(for n in $(seq 1000); do printf '100644 blob %s\t%d\n' $blob $n; done | git mktree) &&
        git update-ref refs/heads/base $(git commit-tree $(git mktree </dev/null) -m base) &&
        git update-ref refs/heads/main $(git commit-tree $tree -p base -m 'eight gigabytes in a thousand files') &&
        tree=$(for n in $(seq 100); do printf '100644 blob %s\t%d\n' $dot $n; done | git mktree) &&
        for level in 1 2; do tree=$(for n in $(seq 100); do printf '040000 tree %s\t%d\n' $tree $n; done | git mktree); done &&
        git update-ref refs/heads/small $(git commit-tree $tree -m 'a million files of two bytes')");
    let url = remote.url("open/many.git");
    is_refused(&tb, &url, TOO_MUCH).await;
    let small = tb.git("clone", json!({"url": url, "branch": "small", "path": "new/r"})).await;
    assert_eq!(refused(small, 500, "INTERNAL_SERVER_ERROR").await, TOO_MUCH);
    is_refused(&tb, &hostile.url("chatter"), TOO_MUCH).await;
    eventually("endless chatter is let go", async || (hostile.let_go() == 1).then_some(())).await;

    // A pull changes no branch and leaves no lock.
    tb.run(&format!("git clone -q -b base {url} r && git -C r branch -m main")).await;
    for kind in ["chatter", "many"] {
        let url = if kind == "many" { url.clone() } else { hostile.url(kind) };
        tb.git_ok("remotes", json!({"path": "r", "name": "origin", "url": url, "overwrite": true})).await;
        let pull = tb.git("pull", json!({"path": "r", "branch": "main"})).await;
        assert_eq!(refused(pull, 500, "INTERNAL_SERVER_ERROR").await, TOO_MUCH, "{kind}");
    }
    assert_eq!(tb.git_get("history?path=r").await.as_array().expect("a list").len(), 1);
    assert_eq!(tb.run("find r/.git -name '*.lock'").await, "");
    server.shutdown().await;
}

/// A terabyte of zeros, a thousandth of that as a pack, takes an hour to unpack and hardly any memory or disk.
#[tokio::test]
async fn packs_that_take_long_to_unpack_are_given_up() {
    let (server, tb) = limited(Limits { git_cpu: 1, ..Limits::default() }).await;
    let remote = Hostile::start().await;
    is_refused(&tb, &remote.url("hollow"), "git may compute no longer than 1 s for one request").await;
    eventually("the endless answer is let go", async || (remote.let_go() == 1).then_some(())).await;
    server.shutdown().await;
}

/// A remote whose answers are made up.
struct Hostile {
    git: GitServer,
    let_go: Arc<AtomicUsize>,
}

impl Hostile {
    async fn start() -> Hostile {
        let let_go = Arc::default();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&let_go));
        Hostile { git: GitServer::of(app).await, let_go }
    }

    fn url(&self, kind: &str) -> String {
        self.git.url(kind)
    }

    /// Answers without an end that nobody reads any more.
    fn let_go(&self) -> usize {
        self.let_go.load(Ordering::Relaxed)
    }
}

/// `/{kind}/info/refs` and `/{kind}/git-upload-pack`, in version 0 of the protocol.
async fn answer(State(let_go): State<Arc<AtomicUsize>>, request: Request) -> Response {
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    let kind = request.uri().path().split('/').nth(1).unwrap_or_default().to_owned();
    let (of, body) = if request.method() == Method::GET {
        let head = line(format!("{COMMIT} HEAD\0side-band-64k ofs-delta symref=HEAD:refs/heads/main\n").as_bytes());
        let head = [&line(b"# service=git-upload-pack\n"), &b"0000"[..], &head].concat();
        let main = line(format!("{COMMIT} refs/heads/main\n").as_bytes());
        let body = match kind.as_str() {
            "refs" => endless(head, line(format!("{COMMIT} refs/heads/{:060000}\n", 0).as_bytes()), let_go),
            _ => Body::from([&head, &main, &b"0000"[..]].concat()),
        };
        ("advertisement", body)
    } else {
        let begin = |pack: &[u8]| [line(b"NAK\n"), line(&[b"\x01", pack].concat())].concat();
        let body = match kind.as_str() {
            "objects" => Body::from(begin(&header(i32::MAX as u32))),
            "announced" => Body::from(begin(&[header(1), object(2, 1 << 40), zlib(&[0; 100])].concat())),
            "delta" => Body::from([&begin(&delta()), &b"0000"[..]].concat()),
            "chatter" => endless(begin(&[]), line(&[&b"\x02"[..], &[b' '; 60_000], b"\n"].concat()), let_go),
            "hollow" => {
                endless(begin(&[header(1), object(3, 1 << 40), vec![0x78, 0x9c]].concat()), line(&zeros()), let_go)
            }
            // A blob of a terabyte, which compression makes no smaller.
            _ => {
                let noise: Vec<u8> = (0..2048).flat_map(|_| uuid::Uuid::new_v4().into_bytes()).collect();
                let stored = [&[0, 0, 0x80, 0xff, 0x7f][..], &noise].concat();
                let first = [header(1), object(3, 1 << 40), vec![0x78, 0x01]].concat();
                endless(begin(&first), line(&[&b"\x01"[..], &stored].concat()), let_go)
            }
        };
        ("result", body)
    };
    ([(header::CONTENT_TYPE, format!("application/x-git-upload-pack-{of}"))], body).into_response()
}

/// One line of the protocol.
fn line(text: &[u8]) -> Vec<u8> {
    [format!("{:04x}", text.len() + 4).as_bytes(), text].concat()
}

/// `first`, then `again` for ever.
fn endless(first: Vec<u8>, again: Vec<u8>, let_go: Arc<AtomicUsize>) -> Body {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (dropped, again) = (Dropped(let_go), Bytes::from(again));
    let first = stream::iter([Bytes::from(first)]);
    let rest = stream::repeat_with(move || {
        let _held = &dropped;
        again.clone()
    });
    Body::from_stream(first.chain(rest).map(Ok::<_, std::convert::Infallible>))
}

/// Of a pack of so many objects.
fn header(objects: u32) -> Vec<u8> {
    [*b"PACK", 2u32.to_be_bytes(), objects.to_be_bytes()].concat()
}

/// The head of an object: its kind, and how large it is said to be.
fn object(kind: u8, size: u64) -> Vec<u8> {
    let mut bytes = vec![kind << 4 | (size & 0xf) as u8];
    let mut rest = size >> 4;
    while rest > 0 {
        *bytes.last_mut().expect("one") |= 0x80;
        bytes.push((rest & 0x7f) as u8);
        rest >>= 7;
    }
    bytes
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).expect("written");
    encoder.finish().expect("finished")
}

/// Sixteen megabytes of zeros in the middle of a compressed stream, for the channel of packs.
fn zeros() -> Vec<u8> {
    let mut packed = Vec::with_capacity(60_000);
    packed.push(1);
    let mut compress = flate2::Compress::new(Compression::best(), false);
    compress.compress_vec(&[0; 16 << 20], &mut packed, flate2::FlushCompress::Full).expect("compressed");
    assert_eq!((compress.total_in(), packed.ends_with(&[0, 0, 0xff, 0xff])), (16 << 20, true));
    packed
}

/// A pack of four kilobytes of zeros and a delta that makes 32 gigabytes of them.
fn delta() -> Vec<u8> {
    let base = [object(3, 4096), zlib(&[0; 4096])].concat();
    // Sizes before and after, seven bits at a time; one order to copy all.
    let change = [0x80, 0x20, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0xb0, 0x00, 0x10];
    assert!(base.len() < 128, "one byte says how far back it is");
    let delta = [object(6, change.len() as u64), vec![base.len() as u8], zlib(&change)].concat();
    let pack = [header(2), base, delta].concat();
    let sum = sha1(&pack);
    [pack, sum].concat()
}

fn sha1(data: &[u8]) -> Vec<u8> {
    let mut child = Command::new("sha1sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha1sum");
    child.stdin.take().expect("stdin").write_all(data).expect("written");
    let said = child.wait_with_output().expect("it ends").stdout;
    let digits = std::str::from_utf8(&said[..40]).expect("digits");
    (0..20).map(|n| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).expect("a byte")).collect()
}
