//! Object storage, as SDKs upload build contexts to it, and builds that use them.

use reqwest::Method;

use crate::{prelude::*, s3::Storage};

scenarios! { "object_storage";
    /// Push access names bucket, region, organisation and temporary credentials, and where to use them. (getPushAccess)
    push_access_is_given: Must, covers ["getPushAccess"];

    /// What is put can be headed, read whole and in part, listed by prefix, and deleted. (SDKs: ObjectStorage)
    objects_come_and_go: Must, covers ["getPushAccess"];

    /// What is large comes in parts. (SDKs: ObjectStorage, `lib-storage` and obstore)
    parts_become_an_object: Must, covers ["getPushAccess"];

    /// Credentials open their organisation's prefix only; wrong ones open nothing. (getPushAccess: "limited to the
    /// organization's own prefix")
    strangers_are_denied: Must, covers ["getPushAccess"], needs [SecondAccount];

    /// A key that may make neither sandboxes nor snapshots gets no push access: 403. (observed)
    permissions_are_needed: Must, covers ["getPushAccess"], needs [ApiKeys];

    /// A Dockerfile copies from the context whose hash it was given. (createSnapshot; SDKs: Image)
    a_context_is_built: Must, covers ["getPushAccess", "createSnapshot"];

    /// A build whose context was never uploaded fails, and says so. (createSnapshot)
    a_missing_context_fails: Must, covers ["createSnapshot"];
}

async fn storage(cx: &Cx) -> Result<Storage> {
    Storage::of(cx.api(), &cx.get("/object-storage/push-access").send().await?.ok()?)
}

/// A hash that nobody has used.
fn hash() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

async fn push_access_is_given(cx: Cx) -> Result {
    let access = cx.get("/object-storage/push-access").send().await?;
    cx.check("status").status(&access, 200);
    for field in ["accessKey", "secret", "sessionToken", "bucket", "organizationId"] {
        let text = access.at(&format!("/{field}")).as_str().unwrap_or_default();
        cx.check(field).that(!text.is_empty(), "a text", text.len());
    }
    let url = access.string("/storageUrl")?;
    cx.check("url").on(&access).that(url.starts_with("http"), "a URL", &url);
    Ok(())
}

async fn objects_come_and_go(cx: Cx) -> Result {
    let storage = storage(&cx).await?;
    let (prefix, body) = (format!("{}/{}/", storage.organization, hash()), b"0123456789");
    let key = format!("{prefix}context.tar");
    cx.check("not-there").status(&storage.send(Method::HEAD, &key, "", b"").await?, 404);
    let encoded = prefix.replace('/', "%2F");
    let query = format!("list-type=2&max-keys=1&prefix={encoded}");
    let empty = storage.send(Method::GET, "", &query, b"").await?;
    cx.check("empty-list").status(&empty, 200);
    cx.check("nothing-listed").on(&empty).that(!empty.text().contains("<Contents>"), "no contents", empty.summary());
    let put = storage.send(Method::PUT, &key, "", body).await?;
    cx.check("put").status(&put, 200);
    cx.check("etag").on(&put).eq(put.header("etag"), "\"781e5e245d69b566979b86e28d23f2c7\"");
    let head = storage.send(Method::HEAD, &key, "", b"").await?;
    cx.check("head").status(&head, 200);
    cx.check("length").on(&head).eq(head.header("content-length"), "10");
    let whole = storage.send(Method::GET, &key, "", b"").await?;
    cx.check("whole").on(&whole).eq(whole.text().as_str(), "0123456789");
    let part = storage.request(Method::GET, &key, "", b"")?.header("range", "bytes=2-4").send().await?;
    cx.check("part-status").status(&part, 206);
    cx.check("part").on(&part).eq(part.text().as_str(), "234");
    let list = storage.send(Method::GET, "", &query, b"").await?;
    cx.check("listed").on(&list).contains(&list.text(), &format!("<Key>{key}</Key>"));
    cx.check("deleted").status(&storage.send(Method::DELETE, &key, "", b"").await?, 204);
    let gone = storage.send(Method::GET, &key, "", b"").await?;
    cx.check("gone").status(&gone, 404);
    cx.check("code").on(&gone).contains(&gone.text(), "<Code>NoSuchKey</Code>");
    Ok(())
}

fn tag<'a>(xml: &'a str, name: &str) -> Result<&'a str> {
    let rest = xml.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
    rest.map(|(text, _)| text).ok_or_else(|| Stop::untestable(format!("no <{name}> in the answer")))
}

async fn parts_become_an_object(cx: Cx) -> Result {
    let storage = storage(&cx).await?;
    let key = format!("{}/{}/context.tar", storage.organization, hash());
    let begun = storage.send(Method::POST, &key, "uploads=", b"").await?.ok()?;
    let id = tag(&begun.text(), "UploadId")?.to_owned();
    let mut xml = String::from("<CompleteMultipartUpload>");
    for (number, body) in [(1, vec![b'a'; 5 << 20]), (2, b"end".to_vec())] {
        let part = storage.send(Method::PUT, &key, &format!("partNumber={number}&uploadId={id}"), &body).await?;
        cx.check(format!("part-{number}")).status(&part, 200);
        let etag = part.header("etag").to_owned();
        xml += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    cx.check("not-yet").status(&storage.send(Method::HEAD, &key, "", b"").await?, 404);
    xml += "</CompleteMultipartUpload>";
    let done = storage.send(Method::POST, &key, &format!("uploadId={id}"), xml.as_bytes()).await?;
    cx.check("complete").status(&done, 200);
    let head = storage.send(Method::HEAD, &key, "", b"").await?;
    cx.check("length").on(&head).eq(head.header("content-length"), ((5 << 20) + 3).to_string());
    storage.send(Method::DELETE, &key, "", b"").await?;
    Ok(())
}

async fn strangers_are_denied(cx: Cx) -> Result {
    let own = storage(&cx).await?;
    let other = cx.second_account().await?;
    let access = other.get("/object-storage/push-access").send().await?.ok()?;
    let other = Storage::of(&other, &access)?;
    let key = format!("{}/{}/context.tar", own.organization, hash());
    own.send(Method::PUT, &key, "", b"mine").await?.ok()?;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let denied = other.send(method.clone(), &key, "", b"").await?;
        cx.check(format!("{method}")).status(&denied, 403);
        cx.check(format!("{method}-code")).on(&denied).contains(&denied.text(), "<Code>AccessDenied</Code>");
    }
    let list = other.send(Method::GET, "", &format!("list-type=2&prefix={}%2F", own.organization), b"").await?;
    cx.check("list").status(&list, 403);
    for (what, storage, statuses) in [
        ("wrong-secret", Storage { secret: other.secret.clone(), ..own.clone() }, [403, 403]),
        ("wrong-token", Storage { token: other.token.clone(), ..own.clone() }, [400, 403]),
    ] {
        let denied = storage.send(Method::GET, &key, "", b"").await?;
        cx.check(what).status_in(&denied, &statuses);
    }
    let read = own.send(Method::GET, &key, "", b"").await?;
    cx.check("unharmed").on(&read).eq(read.text().as_str(), "mine");
    own.send(Method::DELETE, &key, "", b"").await?;
    Ok(())
}

async fn permissions_are_needed(cx: Cx) -> Result {
    let body = json!({"name": cx.name("key"), "permissions": ["read:volumes"]});
    let key = cx.post("/api-keys").json(body).send().await?.ok()?.string("/value")?;
    let denied = cx.api().with_key(&key).get("/object-storage/push-access").send().await?;
    cx.check("denied").error(&denied, 403, "Access denied");
    Ok(())
}

/// An archive of one file.
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = [&header, content].concat();
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

async fn built(cx: &Cx, dockerfile: &str, hash: &str) -> Result<crate::client::Answer> {
    let name = cx.name("context");
    let info = json!({"dockerfileContent": dockerfile, "contextHashes": [hash]});
    cx.built_snapshot(json!({"name": name, "buildInfo": info}), Duration::from_secs(90)).await
}

async fn a_context_is_built(cx: Cx) -> Result {
    let (storage, hash) = (storage(&cx).await?, hash());
    let key = format!("{}/{hash}/context.tar", storage.organization);
    let content = format!("content {hash}\n");
    storage.send(Method::PUT, &key, "", &tar("given.txt", content.as_bytes())).await?.ok()?;
    let made = built(&cx, "FROM debian:12\nCOPY given.txt /given.txt\n", &hash).await?;
    cx.check("active").json(&made, "/state", "active");
    cx.check("hashes").json(&made, "/buildInfo/contextHashes/0", &*hash);
    let sandbox = cx.sandbox_with(json!({"snapshot": made.string("/name")?})).await?;
    cx.check("content").eq(sandbox.output("cat /given.txt").await?, content);
    storage.send(Method::DELETE, &key, "", b"").await?;
    Ok(())
}

async fn a_missing_context_fails(cx: Cx) -> Result {
    let made = built(&cx, "FROM debian:12\nCOPY given.txt /given.txt\n", &hash()).await?;
    let state = made["state"].as_str().unwrap_or_default();
    cx.check("failed").on(&made).that(matches!(state, "error" | "build_failed"), "an error state", state);
    let reason = made["errorReason"].as_str().unwrap_or_default();
    cx.check("reason").on(&made).that(!reason.is_empty(), "a reason", reason);
    Ok(())
}
