use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use sha2::Sha256;

use crate::prelude::*;

scenarios! { "signing";
    /// The signing key is plain text that is no JSON value, the same at each reading. (getSandboxSigningKey; SDKs hand
    /// the body to HMAC as it is)
    key_is_plain_text: Must, covers ["getSandboxSigningKey"], since "0.200";

    /// A signed URL downloads without any key. (SDKs: fileUrlSigning)
    signed_url_downloads: Must, covers ["getSandboxSigningKey", "DownloadFile"], since "0.200";

    /// A signed URL uploads, raw or as a form, without any key. (SDKs: fileUrlSigning)
    signed_url_uploads: Must, covers ["getSandboxSigningKey", "UploadFile"], since "0.200";

    /// A signature is for one path, one method and one time: anything else, and any other signature, is 401.
    signature_is_checked: Must, covers ["getSandboxSigningKey", "DownloadFile", "UploadFile"], since "0.200";

    /// `expires=0` never expires; a time that is over is refused. (SDKs: ttl ≤ 0)
    expiry_is_checked: Must, covers ["DownloadFile"], since "0.200";

    /// Rotating gives another key, and what was signed with the old one is refused. (rotateSigningKey)
    rotation_ends_old_urls: Must, covers ["rotateSigningKey"], since "0.200";
}

fn sign(key: &str, method: &str, path: &str, expires: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("v1:files:{method}:{path}:{expires}").as_bytes());
    format!("v1_{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

async fn key_of(sandbox: &Sandbox) -> Result<String> {
    Ok(sandbox.op(Method::GET, "/signing-key").send().await?.ok()?.text())
}

/// By the server's clock.
async fn in_an_hour(cx: &Cx) -> i64 {
    cx.now().await.timestamp() + 3600
}

fn download(sandbox: &Sandbox, path: &str, expires: i64, signature: &str) -> crate::client::Request {
    let request = sandbox.get("/files/download").no_key().query("path", path);
    request.query("expires", expires).query("signature", signature)
}

fn upload(sandbox: &Sandbox, path: &str, expires: i64, signature: &str) -> crate::client::Request {
    let request = sandbox.post("/files/upload-v2").no_key().query("path", path);
    request.query("expires", expires).query("signature", signature)
}

async fn key_is_plain_text(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let answer = sandbox.op(Method::GET, "/signing-key").send().await?;
    cx.check("status").status(&answer, 200);
    cx.check("type").on(&answer).that(
        answer.header("content-type").starts_with("text/"),
        "text",
        answer.header("content-type"),
    );
    cx.check("no-json").on(&answer).that(
        answer.json.is_null() && answer.body.len() >= 16,
        "a text that is no JSON",
        answer.body.len(),
    );
    cx.check("same-again").that(key_of(&sandbox).await? == answer.text(), "the same key", "another");
    Ok(())
}

async fn signed_url_downloads(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let (path, key, expires) = (format!("{}/a b+c.txt", cx.dir()), key_of(&sandbox).await?, in_an_hour(&cx).await);
    sandbox.upload(&path, b"signed").await?.ok()?;
    let answer = download(&sandbox, &path, expires, &sign(&key, "GET", &path, expires)).send().await?;
    cx.check("status").status(&answer, 200);
    cx.check("content").on(&answer).eq(answer.text(), "signed");
    Ok(())
}

async fn signed_url_uploads(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let (key, expires) = (key_of(&sandbox).await?, in_an_hour(&cx).await);
    let path = format!("{}/raw.bin", cx.dir());
    let raw = upload(&sandbox, &path, expires, &sign(&key, "POST", &path, expires));
    cx.check("raw").status(&raw.body("application/octet-stream", &b"raw"[..]).send().await?, 200);
    cx.check("raw-content").eq(sandbox.download(&path).await?.text(), "raw");
    let path = format!("{}/form.bin", cx.dir());
    let form = crate::client::Form::new().file("file", "form.bin", b"form");
    let sent = upload(&sandbox, &path, expires, &sign(&key, "POST", &path, expires)).form(form).send().await?;
    cx.check("form").status(&sent, 200);
    cx.check("form-content").eq(sandbox.download(&path).await?.text(), "form");
    Ok(())
}

async fn signature_is_checked(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let (path, key, expires) = (format!("{}/secret.txt", cx.dir()), key_of(&sandbox).await?, in_an_hour(&cx).await);
    sandbox.upload(&path, b"secret").await?.ok()?;
    let good = sign(&key, "GET", &path, expires);
    let other = format!("{path}x");
    for (id, request) in [
        ("garbage", download(&sandbox, &path, expires, "v1_AAAA")),
        ("empty", download(&sandbox, &path, expires, "")),
        ("other-path", download(&sandbox, &other, expires, &good)),
        ("other-time", download(&sandbox, &path, expires + 1, &good)),
        ("other-method", upload(&sandbox, &path, expires, &good).body("text/plain", "overwritten")),
        ("other-key", download(&sandbox, &path, expires, &sign("another key", "GET", &path, expires))),
        ("without-version", download(&sandbox, &path, expires, good.trim_start_matches("v1_"))),
        ("unsigned", sandbox.get("/files/download").no_key().query("path", &path)),
        (
            "other-operation",
            sandbox
                .get("/files/info")
                .no_key()
                .query("path", &path)
                .query("expires", expires)
                .query("signature", &good),
        ),
    ] {
        cx.check(id).status(&request.send().await?, 401);
    }
    cx.check("untouched").eq(sandbox.download(&path).await?.text(), "secret");
    Ok(())
}

async fn expiry_is_checked(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let (path, key) = (format!("{}/timed.txt", cx.dir()), key_of(&sandbox).await?);
    sandbox.upload(&path, b"timed").await?.ok()?;
    cx.check("never").status(&download(&sandbox, &path, 0, &sign(&key, "GET", &path, 0)).send().await?, 200);
    let over = in_an_hour(&cx).await - 7200;
    cx.check("over").status(&download(&sandbox, &path, over, &sign(&key, "GET", &path, over)).send().await?, 401);
    Ok(())
}

async fn rotation_ends_old_urls(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let (path, old, expires) = ("/home/daytona/r.txt", key_of(&sandbox).await?, in_an_hour(&cx).await);
    sandbox.upload(path, b"rotated").await?.ok()?;
    let rotated = sandbox.op(Method::POST, "/signing-key/rotate").send().await?;
    cx.check("status").status_in(&rotated, &[200, 201]);
    let new = rotated.text();
    cx.check("another").that(new != old && !new.is_empty(), "another key", "the same");
    cx.check("kept").that(key_of(&sandbox).await? == new, "the new key", "another");
    cx.check("old-refused")
        .status(&download(&sandbox, path, expires, &sign(&old, "GET", path, expires)).send().await?, 401);
    cx.check("new-works")
        .status(&download(&sandbox, path, expires, &sign(&new, "GET", path, expires)).send().await?, 200);
    Ok(())
}
