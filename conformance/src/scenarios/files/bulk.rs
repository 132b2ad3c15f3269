use super::{noise, write};
use crate::{
    client::{Answer, Form},
    prelude::*,
};

scenarios! { "files";
    /// Files of one form are uploaded in order, whatever their index is called; what isn't known is ignored, and each is
    /// told with its size. (UploadFiles; SDKs)
    bulk_upload_stores_each_file: Must, covers ["UploadFiles"];

    /// All paths may come before all files, as the Python SDK sends them. (SDKs: httpx)
    bulk_upload_takes_paths_first: Must, covers ["UploadFiles"];

    /// A file that fails is told of with status 400, and the others are kept. (UploadFiles; observed)
    bulk_upload_keeps_good_files: Must, covers ["UploadFiles"];

    /// A file without a path, an empty path, and a body that is no form are 400. (UploadFiles; observed)
    bulk_upload_refusals: Must, covers ["UploadFiles"];

    /// White space around a path is not part of it. (observed)
    bulk_upload_trims_paths: Should, covers ["UploadFiles"];

    /// A part for each path, in order, named by the path exactly as it was asked for, with its length, between fixed
    /// boundaries. (DownloadFiles; SDKs match by file name)
    bulk_download_has_a_part_for_each: Must, covers ["DownloadFiles"];

    /// What can't be read is a part of its own that says why, with status, message and code. (DownloadFiles; SDKs)
    bulk_download_tells_errors_in_parts: Must, covers ["DownloadFiles"], since "0.200";

    /// Any bytes and any length come back: boundaries inside a file, nothing at all, megabytes. (DownloadFiles)
    bulk_download_of_any_bytes: Must, covers ["DownloadFiles"];

    /// No paths, an empty list and no JSON are 400. (DownloadFiles; observed)
    bulk_download_refusals: Must, covers ["DownloadFiles"];
}

async fn send(sandbox: &Sandbox, form: Form) -> Result<Answer> {
    sandbox.post("/files/bulk-upload").form(form).send().await
}

async fn bulk_upload_stores_each_file(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    let paths = [format!("{dir}/new/a"), format!("{dir}/ünï b"), format!("{dir}/empty")];
    let large = noise(3 << 20, 11);
    let form = Form::new()
        .text("files[0].path", &paths[0])
        .file("files[0].file", &paths[0], b"sixsix")
        .text("unknown", "ignored")
        .text("files[x].path", &paths[1])
        .file("files[x].file", "b", &large)
        .text("files[2].path", &paths[2])
        .file("files[2].file", "c", b"");
    let answer = send(&sandbox, form).await?;
    cx.check("status").status(&answer, 200);
    for (index, size) in [6, 3 << 20, 0].into_iter().enumerate() {
        cx.check(format!("path-{index}")).json(&answer, &format!("/files/{index}/path"), paths[index].as_str());
        cx.check(format!("size-{index}")).json(&answer, &format!("/files/{index}/bytes"), size);
    }
    cx.check("small").eq(sandbox.download(&paths[0]).await?.text(), "sixsix");
    cx.check("large").that(sandbox.download(&paths[1]).await?.body == large, "the bytes that were sent", "others");
    cx.check("empty").eq(sandbox.download(&paths[2]).await?.body.len(), 0);
    Ok(())
}

async fn bulk_upload_takes_paths_first(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    let (a, b) = (format!("{dir}/a"), format!("{dir}/b"));
    let form = Form::new().text("files[0].path", &a).text("files[1].path", &b);
    let form = form.file("files[0].file", "a", b"A").file("files[1].file", "b", b"B");
    cx.check("status").status(&send(&sandbox, form).await?, 200);
    cx.check("a").eq(sandbox.download(&a).await?.text(), "A");
    cx.check("b").eq(sandbox.download(&b).await?.text(), "B");
    Ok(())
}

async fn bulk_upload_keeps_good_files(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    write(&sandbox, &format!("{dir}/file"), "kept").await?;
    let (folder, below, good) = (dir.clone(), format!("{dir}/file/below"), format!("{dir}/good"));
    let form = Form::new()
        .text("files[0].path", &folder)
        .file("files[0].file", "x", b"x")
        .text("files[1].path", &below)
        .file("files[1].file", "x", b"x")
        .text("files[2].path", &good)
        .file("files[2].file", "x", b"good");
    let answer = send(&sandbox, form).await?;
    cx.check("status").status(&answer, 400);
    cx.check("folder").should().json(&answer, "/errors/0", format!("{dir}: create: open {dir}: is a directory"));
    cx.check("errors").on(&answer).eq(answer.at("/errors").as_array().map(Vec::len), Some(2));
    cx.check("files").json(&answer, "/files", json!([{"path": good, "bytes": 4}]));
    cx.check("good").eq(sandbox.download(&good).await?.text(), "good");
    cx.check("kept").eq(sandbox.download(&format!("{dir}/file")).await?.text(), "kept");
    Ok(())
}

async fn bulk_upload_refusals(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let missing = send(&sandbox, Form::new().file("files[0].file", "x", b"x")).await?;
    cx.check("no-path").status(&missing, 400);
    cx.check("no-path-error").json(&missing, "/errors/0", "file[0]: missing .path metadata");
    let empty = send(&sandbox, Form::new().text("files[1].path", "  ")).await?;
    cx.check("empty-path").status(&empty, 400);
    cx.check("empty-path-error").json(&empty, "/errors/0", "path[1]: empty path");
    let none = sandbox.post("/files/bulk-upload").body("text/plain", "x").send().await?;
    cx.check("no-form").status(&none, 400);
    cx.check("no-form-error").json(&none, "/errors/0", "invalid multipart form");
    Ok(())
}

async fn bulk_upload_trims_paths(cx: Cx) -> Result {
    let (sandbox, path) = (cx.shared().await?, format!("{}/f", cx.dir()));
    let form = Form::new().text("files[0].path", &format!(" {path} \n")).file("files[0].file", "f", b"x");
    cx.check("path").json(&send(&sandbox, form).await?, "/files/0/path", path.as_str());
    Ok(())
}

/// The parts: heads as text, bodies as bytes.
fn parts(cx: &Cx, answer: &Answer) -> Vec<(String, Vec<u8>)> {
    const BOUNDARY: &[u8] = b"\r\n--DAYTONA-FILE-BOUNDARY";
    let kind = answer.header("content-type");
    cx.check("content-type").on(answer).eq(kind, "multipart/form-data; boundary=DAYTONA-FILE-BOUNDARY");
    let body = [b"\r\n", &answer.body[..]].concat();
    let ends = body.ends_with(b"\r\n--DAYTONA-FILE-BOUNDARY--\r\n");
    cx.check("closing-boundary").on(answer).that(ends, "a boundary that closes the form", body.len());
    // Lengths first: a file may hold anything.
    let (mut at, mut parts) = (0, Vec::new());
    while body[at..].starts_with(BOUNDARY) && body[at + BOUNDARY.len()..].starts_with(b"\r\n") {
        let start = at + BOUNDARY.len() + 2;
        let Some(end) = position(&body[start..], b"\r\n\r\n") else { break };
        let head = String::from_utf8_lossy(&body[start..start + end]).into_owned();
        let content = start + end + 4;
        let bare = head.replace("\r\n", "").contains(['\r', '\n']);
        cx.check("line-ends").on(answer).that(!bare, "lines of a part's head that end with CRLF", &head);
        let told = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
        let length = told.or_else(|| position(&body[content..], BOUNDARY)).unwrap_or_default();
        let Some(bytes) = body.get(content..content + length) else { break };
        parts.push((head, bytes.to_vec()));
        at = content + length;
    }
    parts
}

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

async fn bulk_download_has_a_part_for_each(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    let paths = [format!("{dir}/a.txt"), format!("{dir}/sub/../é.bin")];
    write(&sandbox, &paths[0], "text").await?;
    sandbox.output(&format!("mkdir '{dir}/sub' && printf accent >'{dir}/é.bin'")).await?;
    let answer = sandbox.post("/files/bulk-download").json(json!({ "paths": paths })).send().await?;
    cx.check("status").status(&answer, 200);
    let parts = parts(&cx, &answer);
    cx.check("count").on(&answer).eq(parts.len(), 2);
    for (index, ((head, body), (path, text))) in parts.iter().zip(paths.iter().zip(["text", "accent"])).enumerate() {
        cx.check(format!("name-{index}")).contains(head, "form-data; name=\"file\"");
        // What isn't ASCII is in `filename*`.
        let ascii = path.split('é').next().unwrap_or_default();
        cx.check(format!("file-name-{index}")).contains(head, &format!("filename=\"{ascii}"));
        cx.check(format!("length-{index}")).contains(head, &format!("Content-Length: {}", text.len()));
        cx.check(format!("body-{index}")).eq(String::from_utf8_lossy(body).into_owned(), text);
    }
    let encoded = format!("filename*=utf-8''{}", paths[1].replace('/', "%2F").replace('é', "%C3%A9"));
    cx.check("encoded-name").contains(parts.get(1).map_or("", |part| &part.0), &encoded);
    Ok(())
}

async fn bulk_download_tells_errors_in_parts(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    write(&sandbox, &format!("{dir}/good"), "good").await?;
    let paths = [format!("{dir}/nope"), dir.clone(), String::new(), format!("{dir}/good")];
    let answer = sandbox.post("/files/bulk-download").json(json!({ "paths": paths })).send().await?;
    cx.check("status").status(&answer, 200);
    let parts = parts(&cx, &answer);
    cx.check("count").on(&answer).eq(parts.len(), 4);
    for (index, status, code, message) in [
        (0, 404, "FILE_NOT_FOUND", format!("file not found: {}", paths[0])),
        (1, 400, "INVALID_FILE_PATH", format!("invalid file path: path points to a directory: {dir}")),
        (2, 400, "INVALID_FILE_PATH", "invalid file path: path is empty".to_owned()),
    ] {
        let Some((head, body)) = parts.get(index) else { continue };
        cx.check(format!("name-{index}")).contains(head, "form-data; name=\"error\"");
        cx.check(format!("file-name-{index}")).contains(head, &format!("filename=\"{}\"", paths[index]));
        cx.check(format!("type-{index}")).contains(head, "Content-Type: application/json");
        let error: Value = serde_json::from_slice(body).unwrap_or_default();
        cx.check(format!("status-{index}")).on(&answer).eq(&error["statusCode"], &json!(status));
        cx.check(format!("code-{index}")).on(&answer).eq(&error["code"], &json!(code));
        cx.check(format!("message-{index}")).should().on(&answer).eq(&error["message"], &json!(message));
    }
    cx.check("good").eq(parts.get(3).map(|part| &part.1[..]), Some(&b"good"[..]));
    Ok(())
}

async fn bulk_download_of_any_bytes(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    let files = [
        b"\r\n--DAYTONA-FILE-BOUNDARY--\r\n".to_vec(),
        Vec::new(),
        noise(4 << 20, 5),
        (0..=255).collect(),
        b"\r\n\r\n".repeat(10_000),
    ];
    let paths: Vec<String> = (0..files.len()).map(|index| format!("{dir}/{index}")).collect();
    for (path, bytes) in paths.iter().zip(&files) {
        sandbox.upload(path, bytes).await?.ok()?;
    }
    let answer = sandbox.post("/files/bulk-download").json(json!({ "paths": paths })).send().await?;
    let parts = parts(&cx, &answer);
    cx.check("count").on(&answer).eq(parts.len(), files.len());
    for (index, (part, bytes)) in parts.iter().zip(&files).enumerate() {
        cx.check(format!("bytes-{index}")).that(&part.1 == bytes, "the bytes of the file", part.1.len());
    }
    Ok(())
}

async fn bulk_download_refusals(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, body) in [
        ("nothing", ""),
        ("no-list", "{}"),
        ("empty-list", r#"{"paths":[]}"#),
        ("a-string", r#"{"paths":"a"}"#),
        ("no-json", "paths"),
    ] {
        let answer = sandbox.post("/files/bulk-download").body("application/json", body).send().await?;
        cx.check(id).status(&answer, 400);
    }
    Ok(())
}
