use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use proptest::{prelude::*, test_runner::TestRunner};
use reqwest::{
    Body, Response,
    multipart::{Form, Part},
};
use serde_json::json as value;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{json, refused, url};
use crate::support::{Toolbox, eventually, open_toolbox as toolbox};

fn form(contents: impl Into<Vec<u8>>) -> Form {
    Form::new().part("file", Part::bytes(contents.into()).file_name("f"))
}

async fn upload(tb: &Toolbox, operation: &str, path: &str, form: Form) -> Response {
    let request = tb.client.post(format!("{}{}", tb.url, url(operation, &[("path", path)])));
    request.multipart(form).send().await.expect("answer")
}

async fn upload_raw(tb: &Toolbox, path: &str, body: impl Into<Body>) -> Response {
    let request = tb.client.post(format!("{}{}", tb.url, url("/upload-v2", &[("path", path)])));
    request.header("Content-Type", "application/octet-stream").body(body).send().await.expect("answer")
}

#[tokio::test]
async fn the_old_form() {
    let tb = toolbox().await;
    let res = upload(&tb, "/upload", "new/dir/f", form("hello")).await;
    assert_eq!((res.status().as_u16(), res.content_length()), (200, Some(0)));
    assert_eq!(fs::read(tb.dir.join("new/dir/f")).expect("f"), b"hello");
    assert_eq!(fs::metadata(tb.dir.join("new")).expect("new").mode() & 0o777, 0o750);
    assert_eq!(fs::metadata(tb.dir.join("new/dir/f")).expect("f").mode() & 0o777, 0o644);
}

#[tokio::test]
async fn the_new_one_takes_forms_and_raw_bodies() {
    let tb = toolbox().await;
    let path = tb.path("new/ünï \"x\"");
    let res = upload(&tb, "/upload-v2", &path, form("form")).await;
    assert_eq!(json(res).await, value!({"name": "ünï \"x\"", "path": path, "type": "file"}));
    assert_eq!(fs::read(tb.dir.join("new/ünï \"x\"")).expect("file"), b"form");
    assert_eq!(fs::metadata(tb.dir.join("new")).expect("new").mode() & 0o777, 0o755);
    assert_eq!(json(upload_raw(&tb, &path, "raw").await).await["path"], path);
    assert_eq!(fs::read(tb.dir.join("new/ünï \"x\"")).expect("file"), b"raw");
    assert_eq!(upload_raw(&tb, &path, "").await.status(), 200);
    assert_eq!(fs::read(tb.dir.join("new/ünï \"x\"")).expect("file"), b"");
}

#[tokio::test]
async fn overwrites_in_place() {
    let tb = toolbox().await;
    tb.write("f", "a longer text than the new one");
    let path = tb.dir.join("f");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o751)).expect("chmod");
    symlink("f", tb.dir.join("link")).expect("link");
    let before = fs::metadata(&path).expect("f");
    assert_eq!(upload(&tb, "/upload", "link", form("new")).await.status(), 200);
    let after = fs::metadata(&path).expect("f");
    assert_eq!((after.ino(), after.mode(), after.len()), (before.ino(), before.mode(), 3));
    symlink("not-yet", tb.dir.join("dangling")).expect("link");
    assert_eq!(upload(&tb, "/upload", "dangling", form("through")).await.status(), 200);
    assert_eq!(fs::read(tb.dir.join("not-yet")).expect("target"), b"through");
}

#[tokio::test]
async fn any_size() {
    let tb = toolbox().await;
    for size in [524_287, 524_288, 524_289, 5 << 20] {
        let contents: Vec<u8> = (0..size).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        assert_eq!(upload(&tb, "/upload", "form", form(contents.clone())).await.status(), 200);
        assert!(fs::read(tb.dir.join("form")).expect("form") == contents, "{size}");
        assert_eq!(upload_raw(&tb, "raw", contents.clone()).await.status(), 200);
        assert!(fs::read(tb.dir.join("raw")).expect("raw") == contents, "{size}");
    }
}

#[tokio::test]
async fn refusals() {
    let tb = toolbox().await;
    fs::create_dir(tb.dir.join("dir")).expect("dir");
    tb.write("file", "kept");
    nix::unistd::mkfifo(&tb.dir.join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    for operation in ["/upload", "/upload-v2"] {
        for (path, words) in [
            ("", "path is required"),
            ("dir", "open dir: is a directory"),
            ("file/below", "mkdir file: not a directory"),
            ("fifo", "open fifo: no such device or address"),
        ] {
            let message = refused(upload(&tb, operation, path, form("x")).await, 400, "BAD_REQUEST").await;
            assert_eq!(message, format!("bad request: {words}"));
        }
        let other = Form::new().text("other", "x");
        let message = refused(upload(&tb, operation, "new/f", other).await, 400, "BAD_REQUEST").await;
        assert_eq!(message, "bad request: http: no such file");
        // A large body is read to its end before the refusal.
        refused(upload(&tb, operation, "dir", form(vec![0; 4 << 20])).await, 400, "BAD_REQUEST").await;
    }
    let raw = tb.client.post(format!("{}/files/upload?path=new/f", tb.url)).body("x").send().await.expect("answer");
    refused(raw, 400, "BAD_REQUEST").await;
    let broken = tb.client.post(format!("{}/files/upload-v2?path=new/f", tb.url));
    let broken = broken.header("Content-Type", "multipart/form-data").body("x").send().await.expect("answer");
    refused(broken, 400, "BAD_REQUEST").await;
    assert!(!tb.dir.join("new").exists());
}

#[tokio::test]
async fn a_malformed_form_changes_nothing() {
    let tb = toolbox().await;
    tb.write("old", "kept");
    for end in ["", "\r\n--b\r\nbroken\r\n\r\n\r\n--b--"] {
        for (path, size) in [("old", 10), ("new/f", 10), ("new/f", 3 << 20)] {
            let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
            let body = format!("{head}{}{end}", "x".repeat(size));
            let request = tb.client.post(format!("{}{}", tb.url, url("/upload", &[("path", path)])));
            let request = request.header("Content-Type", "multipart/form-data; boundary=b").body(body);
            refused(request.send().await.expect("answer"), 400, "BAD_REQUEST").await;
            eventually("nothing of it", async || (!tb.dir.join("new").exists()).then_some(())).await;
            assert_eq!(fs::read(tb.dir.join("old")).expect("old"), b"kept");
        }
    }
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_no_new_file() {
    let tb = toolbox().await;
    let url = reqwest::Url::parse(&tb.url).expect("an URL");
    let address = (url.host_str().expect("a host"), url.port().expect("a port"));
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let head = format!(
        "POST {}/files/upload-v2?path=new/big HTTP/1.1\r\nHost: {}:{}\r\nAuthorization: Bearer {}\r\nContent-Length: 100000000\r\n\r\n",
        url.path(),
        address.0,
        address.1,
        tb.key.as_deref().expect("a key")
    );
    stream.write_all(head.as_bytes()).await.expect("head");
    stream.write_all(&vec![b'x'; 4 << 20]).await.expect("some of it");
    eventually("some of it", async || tb.dir.join("new/big").exists().then_some(())).await;
    drop(stream);
    eventually("nothing of it", async || (!tb.dir.join("new").exists()).then_some(())).await;
}

/// Names of one to three segments that a file system takes.
fn names() -> impl Strategy<Value = String> {
    proptest::collection::vec("[^/\0]{1,40}", 1..=3)
        .prop_map(|segments| segments.join("/"))
        .prop_filter("names no directory", |name| name.split('/').all(|segment| segment != "." && segment != ".."))
}

#[test]
fn what_is_uploaded_is_downloaded_at_any_path() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let tb = runtime.block_on(toolbox());
    let mut runner = TestRunner::new(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() });
    let input = (names(), proptest::collection::vec(any::<u8>(), 0..3000), any::<bool>());
    let law = runner.run(&input, |(name, contents, raw)| {
        runtime.block_on(async {
            // Apart from the other cases, where the same name may be a directory.
            let path = format!("{}/{name}", uuid::Uuid::new_v4());
            let stored = match raw {
                true => upload_raw(&tb, &path, contents.clone()).await,
                false => upload(&tb, "/upload", &path, form(contents.clone())).await,
            };
            prop_assert_eq!(stored.status().as_u16(), 200);
            let back = tb.get_files("/download", &[("path", &path)]).await;
            prop_assert!(back.bytes().await.expect("body") == contents);
            Ok(())
        })
    });
    law.expect("the law holds");
}
