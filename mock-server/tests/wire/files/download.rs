use std::time::{Duration, UNIX_EPOCH};

use reqwest::{Response, header::HeaderMap};

use super::refused;
use crate::support::{Toolbox, eventually, open_toolbox as toolbox};

async fn download(tb: &Toolbox, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = tb.client.get(format!("{}{}", tb.url, super::url("/download", &[("path", path)])));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("answer")
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().expect(name))
}

#[tokio::test]
async fn the_headers() {
    let tb = toolbox().await;
    let path = tb.write("a \"b\".html", "<html>");
    let file = std::fs::File::options().write(true).open(tb.dir.join("a \"b\".html")).expect("open");
    file.set_modified(UNIX_EPOCH + Duration::from_secs(784_111_777)).expect("times");
    let res = download(&tb, &path, &[]).await;
    assert_eq!(res.status(), 200);
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("content-disposition", "attachment; filename=\"a \\\"b\\\".html\"; filename*=utf-8''a%20%22b%22.html"),
        ("content-length", "6"),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("accept-ranges", "bytes"),
        ("content-description", "File Transfer"),
        ("content-transfer-encoding", "binary"),
        ("expires", "0"),
        ("cache-control", "must-revalidate"),
        ("pragma", "public"),
    ] {
        assert_eq!(header(res.headers(), name), value, "{name}");
    }
    assert_eq!(res.bytes().await.expect("body"), "<html>");
    let head = tb.client.head(format!("{}/files/download?path=x", tb.url)).send().await.expect("answer");
    assert_eq!(head.status(), 404);
}

#[tokio::test]
async fn latin_1_names_are_raw() {
    let tb = toolbox().await;
    let path = tb.write("é漢", "");
    let res = download(&tb, &path, &[]).await;
    assert_eq!(
        res.headers()["content-disposition"].as_bytes(),
        b"attachment; filename=\"\xE9_\"; filename*=utf-8''%C3%A9%E6%BC%A2"
    );
    assert_eq!(header(res.headers(), "content-length"), "0");
}

#[tokio::test]
async fn bytes_as_they_are() {
    let tb = toolbox().await;
    for size in [0usize, 1, 262_144, 262_145, 3 << 20] {
        let contents: Vec<u8> = (0..size).map(|at| ((at * 31) >> 3) as u8).collect();
        let path = tb.write("file", &contents);
        let res = download(&tb, &path, &[]).await;
        assert_eq!(header(res.headers(), "content-length"), size.to_string());
        assert!(res.bytes().await.expect("body") == contents, "{size}");
    }
    let status = download(&tb, "/proc/self/status", &[]).await.text().await.expect("text");
    assert!(status.starts_with("Name:"));
}

#[tokio::test]
async fn names_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let tb = toolbox().await;
    std::fs::write(tb.dir.join(std::ffi::OsStr::from_bytes(b"a\xFFb")), "odd").expect("write");
    let res = tb.get("/files/download?path=a%FFb").await;
    assert_eq!(res.text().await.expect("text"), "odd");
}

#[tokio::test]
async fn ranges() {
    let tb = toolbox().await;
    let small: Vec<u8> = (0..100).collect();
    let large: Vec<u8> = (0..1_500_000).map(|at: u32| (at >> 7) as u8).collect();
    for contents in [small, large] {
        let path = tb.write("file", &contents);
        let size = contents.len();
        for (range, from, to) in [("bytes=0-9", 0, 10), ("bytes=90-", 90, size), ("bytes=-7", size - 7, size)] {
            let res = download(&tb, &path, &[("Range", range)]).await;
            assert_eq!(res.status(), 206);
            assert_eq!(header(res.headers(), "content-range"), format!("bytes {from}-{}/{size}", to - 1));
            assert_eq!(header(res.headers(), "content-length"), (to - from).to_string());
            assert!(res.bytes().await.expect("body") == contents[from..to]);
        }
        let res = download(&tb, &path, &[("Range", "bytes=0-4,50-59")]).await;
        assert_eq!(res.status(), 206);
        let boundary = header(res.headers(), "content-type").split_once("boundary=").expect("boundary").1.to_owned();
        assert!(header(res.headers(), "content-type").starts_with("multipart/byteranges"));
        let body = res.bytes().await.expect("body");
        let part = |start: &str, from: usize, to: usize| {
            let head = format!(
                "{start}--{boundary}\r\nContent-Range: bytes {from}-{}/{size}\r\nContent-Type: application/octet-stream\r\n\r\n",
                to - 1
            );
            [head.as_bytes(), &contents[from..to]].concat()
        };
        let end = format!("\r\n--{boundary}--\r\n").into_bytes();
        assert!(body == [part("", 0, 5), part("\r\n", 50, 60), end].concat());
        let res = download(&tb, &path, &[("Range", &format!("bytes={size}-"))]).await;
        assert_eq!((res.status().as_u16(), header(res.headers(), "content-range")), (416, &*format!("bytes */{size}")));
    }
}

/// Whether any process of the machine has a file of this name open.
pub(super) fn is_open(name: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let files = processes.filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok()).flatten().flatten();
    files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|path| path.ends_with(name))
}

#[tokio::test]
async fn a_client_that_vanishes_closes_the_file() {
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: a_client_that_vanishes_closes_the_file: only root sees what an agent has open");
    }
    let tb = crate::support::toolbox().await;
    let name = format!("big-{}", uuid::Uuid::new_v4());
    tb.run(&format!("truncate -s 4G {name}")).await;
    for range in ["bytes=0-", "bytes=0-1000000000,2000000000-3000000000"] {
        let mut res = download(&tb, &name, &[("Range", range)]).await;
        assert!(res.chunk().await.expect("some of it").is_some());
        eventually("it is open", async || is_open(&name).then_some(())).await;
        drop(res);
        eventually("it is closed", async || (!is_open(&name)).then_some(())).await;
    }
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_sent_breaks_the_connection_only() {
    let tb = toolbox().await;
    let path = tb.write("big", "");
    for ranges in ["bytes=0-", "bytes=0-100000000,200000000-300000000"] {
        tb.run(&format!("truncate -s 500M {path}")).await;
        let mut res = download(&tb, &path, &[("Range", ranges)]).await;
        assert!(res.chunk().await.expect("some of it").is_some());
        tb.run(&format!("truncate -s 0 {path}")).await;
        let rest = async {
            while res.chunk().await?.is_some() {}
            Ok::<_, reqwest::Error>(())
        };
        rest.await.expect_err("its size was promised");
        tb.run("true").await;
    }
}

#[tokio::test]
async fn conditions() {
    let tb = toolbox().await;
    let path = tb.write("file", "0123456789");
    let date = header(download(&tb, &path, &[]).await.headers(), "last-modified").to_owned();
    let res = download(&tb, &path, &[("If-Modified-Since", &date)]).await;
    assert_eq!(res.status(), 304);
    assert!(res.bytes().await.expect("body").is_empty());
    let old = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(download(&tb, &path, &[("If-Modified-Since", old)]).await.status(), 200);
    assert_eq!(download(&tb, &path, &[("If-Unmodified-Since", old)]).await.status(), 412);
    assert_eq!(download(&tb, &path, &[("Range", "bytes=0-0"), ("If-Range", &date)]).await.status(), 206);
    assert_eq!(download(&tb, &path, &[("Range", "bytes=0-0"), ("If-Range", old)]).await.status(), 200);
}

#[tokio::test]
async fn refusals() {
    let tb = toolbox().await;
    std::fs::create_dir(tb.dir.join("dir")).expect("dir");
    nix::unistd::mkfifo(&tb.dir.join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    let message = refused(tb.get("/files/download").await, 400, "BAD_REQUEST").await;
    assert_eq!(message, "bad request: path is required");
    let message = refused(download(&tb, "nope", &[]).await, 404, "FILE_NOT_FOUND").await;
    assert_eq!(message, "stat nope: no such file or directory");
    for path in ["dir", "fifo", "/dev/zero", "a\0b"] {
        refused(download(&tb, path, &[]).await, 400, "BAD_REQUEST").await;
    }
}
