use std::fs;

use reqwest::{
    Response,
    multipart::{Form, Part},
};
use serde_json::{Value, json as value};

use super::refused;
use crate::support::{Toolbox, open_toolbox as toolbox};

async fn send(tb: &Toolbox, form: Form) -> Response {
    tb.client.post(format!("{}/files/bulk-upload", tb.url)).multipart(form).send().await.expect("answer")
}

/// What every SDK sends for one file.
fn file(form: Form, index: usize, path: &str, contents: impl Into<Vec<u8>>) -> Form {
    let part = Part::bytes(contents.into()).file_name(path.to_owned());
    form.text(format!("files[{index}].path"), path.to_owned()).part(format!("files[{index}].file"), part)
}

#[tokio::test]
async fn uploads_many() {
    let tb = toolbox().await;
    let large = vec![7u8; 2 << 20];
    let absolute = tb.path("abs/ü \"q\"");
    let form = file(Form::new(), 0, "bu/x", "sixsix");
    let form = file(form, 1, &absolute, large.clone());
    let form = form.text("unknown", "ignored");
    let form = file(form, 2, "  bu/trimmed \n", "");
    let res = send(&tb, form).await;
    let expected = value!({"files": [
        {"path": "bu/x", "bytes": 6}, {"path": absolute, "bytes": 2 << 20}, {"path": "bu/trimmed", "bytes": 0},
    ]});
    assert_eq!(super::json(res).await, expected);
    assert_eq!(fs::read(tb.dir.join("bu/x")).expect("x"), b"sixsix");
    assert!(fs::read(tb.dir.join("abs/ü \"q\"")).expect("large") == large);
    assert!(tb.dir.join("bu/trimmed").exists());
    assert_eq!(super::json(send(&tb, Form::new().text("other", "x")).await).await, value!({"files": null}));
}

#[tokio::test]
async fn all_paths_may_come_first() {
    let tb = toolbox().await;
    let form = Form::new()
        .text("files[a].path", "a")
        .text("files[b].path", "b")
        .part("files[b].file", Part::bytes(b"B".to_vec()))
        .part("files[a].file", Part::bytes(b"A".to_vec()));
    assert_eq!(send(&tb, form).await.status(), 200);
    assert_eq!(fs::read(tb.dir.join("a")).expect("a"), b"A");
    assert_eq!(fs::read(tb.dir.join("b")).expect("b"), b"B");
}

#[tokio::test]
async fn good_files_are_kept_when_others_fail() {
    let tb = toolbox().await;
    tb.write("plain", "");
    fs::create_dir(tb.dir.join("dir")).expect("dir");
    let form = Form::new().part("files[0].file", Part::bytes(vec![0; 3 << 20]));
    let form = form.text("files[1].path", "  ");
    let form = file(form, 2, "dir", vec![0; 2 << 20]);
    let form = file(form, 3, "plain/below/f", "x");
    let form = file(form, 4, "good", "good");
    let res = send(&tb, form).await;
    assert_eq!(res.status(), 400);
    let body: Value = res.json().await.expect("JSON");
    let errors = [
        "file[0]: missing .path metadata",
        "path[1]: empty path",
        "dir: create: open dir: is a directory",
        "plain/below/f: mkdir plain/below: mkdir plain: not a directory",
    ];
    assert_eq!(body["errors"], value!(errors));
    assert_eq!(body["files"], value!([{"path": "good", "bytes": 4}]));
    assert_eq!((&body["code"], &body["statusCode"]), (&value!("BAD_REQUEST"), &value!(400)));
    assert_eq!(fs::read(tb.dir.join("good")).expect("good"), b"good");
}

#[tokio::test]
async fn no_form_is_refused() {
    let tb = toolbox().await;
    let res = tb.client.post(format!("{}/files/bulk-upload", tb.url)).body("x").send().await.expect("answer");
    let body: Value = res.json().await.expect("JSON");
    assert_eq!((&body["errors"], &body["files"]), (&value!(["invalid multipart form"]), &value!(null)));
    let cut = tb.client.post(format!("{}/files/bulk-upload", tb.url));
    let cut = cut.header("Content-Type", "multipart/form-data; boundary=b").body("--b\r\nContent-Dis");
    let body: Value = cut.send().await.expect("answer").json().await.expect("JSON");
    assert_eq!(body["errors"], value!(["reading part: unexpected EOF"]));
}

/// A part: its headers as text (Latin-1 read as UTF-8 may be lossy) and its body.
async fn parts(res: Response) -> Vec<(String, Vec<u8>)> {
    assert_eq!(res.status(), 200);
    assert_eq!(res.headers()["content-type"], "multipart/form-data; boundary=DAYTONA-FILE-BOUNDARY");
    let body = [b"\r\n", &res.bytes().await.expect("body")[..]].concat();
    let finder = memchr::memmem::Finder::new(b"\r\n--DAYTONA-FILE-BOUNDARY");
    let at: Vec<usize> = finder.find_iter(&body).collect();
    assert!(body.ends_with(b"\r\n--DAYTONA-FILE-BOUNDARY--\r\n"));
    let part = |pair: &[usize]| {
        let part = &body[pair[0] + finder.needle().len() + 2..pair[1]];
        let end = memchr::memmem::find(part, b"\r\n\r\n").expect("headers");
        (String::from_utf8_lossy(&part[..end]).into_owned(), part[end + 4..].to_vec())
    };
    at.windows(2).map(part).collect()
}

#[tokio::test]
async fn downloads_many() {
    let tb = toolbox().await;
    let large: Vec<u8> = (0..2_000_000u32).map(|at| (at >> 5) as u8).collect();
    tb.write("a.txt", "text");
    tb.write("large.unknown", &large);
    fs::create_dir(tb.dir.join("d")).expect("dir");
    let absolute = tb.write("sub/é", "accent");
    let paths = ["a.txt", "nope", "large.unknown", "d", "", absolute.as_str()];
    let parts = parts(tb.post("/files/bulk-download", value!({"paths": paths})).await).await;
    assert_eq!(parts.len(), paths.len());
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"; filename*=utf-8''a.txt\r\n\
                Content-Length: 4\r\nContent-Type: text/plain; charset=utf-8";
    assert_eq!(parts[0], (head.to_owned(), b"text".to_vec()));
    assert!(parts[2].0.ends_with("Content-Length: 2000000\r\nContent-Type: application/octet-stream"));
    assert!(parts[2].1 == large);
    assert_eq!(parts[5].1, b"accent");
    for (index, status, code, message) in [
        (1, 404, "FILE_NOT_FOUND", "file not found: nope"),
        (3, 400, "INVALID_FILE_PATH", "invalid file path: path points to a directory: d"),
        (4, 400, "INVALID_FILE_PATH", "invalid file path: path is empty"),
    ] {
        let (head, body) = &parts[index];
        let name = paths[index];
        let expected = format!(
            "form-data; name=\"error\"; filename=\"{name}\"; filename*=utf-8''{name}\r\nContent-Type: application/json; charset=utf-8"
        );
        assert_eq!(*head, format!("Content-Disposition: {expected}"));
        let body: Value = serde_json::from_slice(body).expect("JSON");
        assert_eq!((&body["statusCode"], &body["code"]), (&value!(status), &value!(code)));
        assert_eq!(
            (&body["message"], &body["path"], &body["method"]),
            (&value!(message), &value!(name), &value!("POST"))
        );
    }
}

#[tokio::test]
async fn bulk_download_refusals() {
    let tb = toolbox().await;
    for body in ["", "{}", "nope", r#"{"paths":[]}"#, r#"{"paths":"a"}"#] {
        let res = tb.client.post(format!("{}/files/bulk-download", tb.url)).body(body).send().await.expect("answer");
        let message = refused(res, 400, "BAD_REQUEST").await;
        assert_eq!(message, "bad request: request body must be {\"paths\": [ ... ]} and non-empty");
    }
}
