use futures_util::stream;
use proptest::prelude::{Strategy, any};

use super::{ask, noise, write};
use crate::{
    client::{Form, Request},
    law::any_bytes,
    prelude::*,
};

scenarios! { "files";
    /// An upload creates the folders above it, and what comes back is what was sent, byte for byte. (UploadFiles)
    upload_creates_parents: Must, covers ["UploadFiles", "DownloadFile"];

    /// A single upload takes a form with the field `file`, or any other body as it is, and tells name and path.
    /// (UploadFile)
    upload_takes_forms_and_raw_bodies: Must, covers ["UploadFile"], since "0.200";

    /// An upload replaces what was there, whole, and keeps its mode. (observed)
    upload_overwrites: Must, covers ["UploadFile"], since "0.200";

    /// Without a path, onto a folder, below a file, or with a form without `file`: 400, and nothing is made. (UploadFile; observed)
    upload_refusals: Must, covers ["UploadFile"], since "0.200";

    /// `/files/upload`, which older clients use, still takes forms. (observed)
    upload_by_the_old_name: Should, covers [];

    /// A file of megabytes, sent in pieces without a length, arrives whole. (SDKs: uploadFileStream)
    upload_of_a_stream: Must, covers ["UploadFile"], since "0.200";

    /// A client that goes away in the middle leaves no half file behind as if it were whole.
    upload_that_breaks_off: Should, covers ["UploadFile"], since "0.200";

    /// An empty file is a file. (UploadFile, UploadFiles)
    upload_of_nothing: Must, covers ["UploadFile", "UploadFiles", "DownloadFile"], since "0.200";

    /// What is uploaded is downloaded byte for byte, at any path that a file system takes. (UploadFile, UploadFiles, DownloadFile)
    upload_equals_download: Must, covers ["UploadFile", "DownloadFile"], since "0.200", classes [Generated];
}

fn raw(sandbox: &Sandbox, path: &str) -> Request {
    sandbox.post("/files/upload-v2").query("path", path)
}

async fn upload_creates_parents(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/new/every byte.bin", cx.dir());
    let bytes: Vec<u8> = (0..=255).collect();
    let answer = sandbox.upload(&path, &bytes).await?;
    cx.check("uploaded").status(&answer, 200);
    let answer = sandbox.download(&path).await?;
    cx.check("downloaded").status(&answer, 200);
    cx.check("same-bytes").on(&answer).that(answer.body == bytes, "all 256 bytes", answer.body.len());
    Ok(())
}

async fn upload_takes_forms_and_raw_bodies(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/new/ünï x", cx.dir());
    let form = raw(&sandbox, &path).form(Form::new().file("file", "other name", b"form")).send().await?;
    cx.check("form").status(&form, 200);
    cx.check("name").json(&form, "/name", "ünï x");
    cx.check("type").should().json(&form, "/type", "file");
    cx.check("path").json(&form, "/path", path.as_str());
    cx.check("form-content").eq(sandbox.download(&path).await?.text(), "form");
    for kind in ["application/octet-stream", "text/plain", "application/json", ""] {
        let sent = raw(&sandbox, &path).body(kind, format!("{{raw as {kind:?}")).send().await?;
        cx.check(format!("raw {kind}")).status(&sent, 200);
        cx.check(format!("raw-content {kind}")).eq(sandbox.download(&path).await?.text(), format!("{{raw as {kind:?}"));
    }
    let parent = sandbox.output(&format!("stat -c %a \"$(dirname '{path}')\"")).await?;
    cx.check("parent-mode").should().eq(parent.trim(), "755");
    Ok(())
}

async fn upload_overwrites(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/f", cx.dir());
    write(&sandbox, &path, "a longer text than the new one").await?;
    sandbox.output(&format!("chmod 751 '{path}'")).await?;
    cx.check("status").status(&raw(&sandbox, &path).body("text/plain", "new").send().await?, 200);
    cx.check("content").eq(sandbox.download(&path).await?.text(), "new");
    cx.check("mode").should().eq(sandbox.output(&format!("stat -c %a '{path}'")).await?.trim(), "751");
    Ok(())
}

async fn upload_refusals(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    write(&sandbox, &format!("{dir}/file"), "kept").await?;
    for (id, path) in [("no-path", String::new()), ("folder", dir.clone()), ("below-a-file", format!("{dir}/file/x"))] {
        cx.check(id).status(&raw(&sandbox, &path).body("text/plain", "x").send().await?, 400);
    }
    let other = raw(&sandbox, &format!("{dir}/new")).form(Form::new().text("other", "x")).send().await?;
    cx.check("no-file-field").status(&other, 400);
    let broken = raw(&sandbox, &format!("{dir}/new")).body("multipart/form-data", "x").send().await?;
    cx.check("no-boundary").status(&broken, 400);
    cx.check("nothing-made").status(&ask(&sandbox, "/info", &format!("{dir}/new")).await?, 404);
    cx.check("kept").eq(sandbox.download(&format!("{dir}/file")).await?.text(), "kept");
    Ok(())
}

async fn upload_by_the_old_name(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/new/f", cx.dir());
    let old = || sandbox.post("/files/upload").query("path", &path);
    cx.check("form").status(&old().form(Form::new().file("file", "f", b"old")).send().await?, 200);
    cx.check("content").eq(sandbox.download(&path).await?.text(), "old");
    cx.check("raw-refused").status(&old().body("text/plain", "x").send().await?, 400);
    cx.check("kept").eq(sandbox.download(&path).await?.text(), "old");
    Ok(())
}

async fn upload_of_a_stream(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/large", cx.dir());
    let bytes = noise(8 << 20, 7);
    let pieces: Vec<_> = bytes.chunks(70_001).map(|piece| Ok(bytes::Bytes::copy_from_slice(piece))).collect();
    let sent = raw(&sandbox, &path).header("Content-Type", "application/octet-stream");
    cx.check("status").status(&sent.stream(stream::iter(pieces)).send().await?, 200);
    let back = sandbox.download(&path).await?;
    cx.check("same-bytes").that(back.body == bytes, "the 8 MiB that were sent", back.body.len());
    let sum = sandbox.output(&format!("wc -c <'{path}'")).await?;
    cx.check("size-inside").eq(sum.trim(), bytes.len().to_string());
    Ok(())
}

async fn upload_that_breaks_off(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/broken", cx.dir());
    let pieces = stream::iter((0..64).map(|at| match at {
        63 => Err(std::io::Error::other("the client goes away")),
        _ => Ok(bytes::Bytes::from(vec![b'x'; 64 << 10])),
    }));
    let sent = raw(&sandbox, &path).header("Content-Type", "application/octet-stream").stream(pieces).send().await;
    cx.check("no-answer").that(sent.is_err(), "no answer to a request that broke off", "an answer");
    let gone = async || Ok((ask(&sandbox, "/info", &path).await?.status == 404).then_some(()));
    let gone = cx.eventually("no file", Duration::from_secs(10), gone).await;
    cx.check("no-file").that(gone.is_ok(), "no file", "half of one");
    Ok(())
}

async fn upload_of_nothing(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    cx.check("raw").status(&raw(&sandbox, &format!("{dir}/raw")).body("text/plain", "").send().await?, 200);
    let form = Form::new().file("file", "f", b"");
    cx.check("form").status(&raw(&sandbox, &format!("{dir}/form")).form(form).send().await?, 200);
    cx.check("bulk").status(&sandbox.upload(&format!("{dir}/bulk"), b"").await?, 200);
    for name in ["raw", "form", "bulk"] {
        let back = sandbox.download(&format!("{dir}/{name}")).await?;
        cx.check(format!("{name}-status")).status(&back, 200);
        cx.check(format!("{name}-empty")).on(&back).eq(back.body.len(), 0);
    }
    Ok(())
}

/// Names of one to three segments that a file system takes.
fn names() -> impl Strategy<Value = String> {
    proptest::collection::vec("[^/\0]{1,40}", 1..=3)
        .prop_map(|segments| segments.join("/"))
        .prop_filter("names no folder", |name| name.split('/').all(|segment| segment != "." && segment != ".."))
}

async fn upload_equals_download(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    let number = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let inputs = (names(), any_bytes(3000), any::<bool>());
    let holds = move |_: Cx, (name, bytes, form): (String, Vec<u8>, bool)| {
        // A folder of its own for each case: a name may be that of another one's folder.
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (sandbox, path) = (sandbox.clone(), format!("{dir}/{number}/{name}"));
        async move {
            let sent = raw(&sandbox, &path);
            let sent = match form {
                true => sent.form(Form::new().file("file", "f", &bytes)),
                false => sent.body("application/octet-stream", bytes.clone()),
            };
            let sent = sent.send().await?;
            if sent.status != 200 {
                return Ok(Some(format!("uploading: {}", sent.summary())));
            }
            let back = sandbox.download(&path).await?;
            Ok((back.status != 200 || back.body != bytes).then(|| format!("downloading: {}", back.summary())))
        }
    };
    cx.law("same-bytes", "the bytes that were uploaded", inputs, holds).await
}
