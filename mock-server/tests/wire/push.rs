//! `getTransientPushAccess`, and what container engines do with it: an image pushed to the server's own registry becomes a
//! snapshot.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{
    images::{
        has_images,
        registry::{Pack, arch, layer, programs, sha256},
    },
    snapshots::Account,
    support::{eventually, server},
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Somebody who is logged in.
struct Pusher {
    access: Value,
    client: reqwest::Client,
}

impl Pusher {
    async fn of(account: &Account) -> Pusher {
        let access = account.ok(Method::GET, "/docker-registry/registry-push-access", json!({})).await;
        Pusher { access, client: reqwest::Client::new() }
    }

    fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.access["project"].as_str().expect("a project"))
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let text = |name: &str| self.access[name].as_str().expect("text");
        let url = format!("http://{}{path}", text("registryUrl"));
        self.client.request(method, url).basic_auth(text("username"), Some(text("secret")))
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Response {
        self.request(method, path).body(body).send().await.expect("answer")
    }

    /// In two pieces, as engines do.
    async fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let begun = self.send(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), Vec::new()).await;
        assert_eq!(begun.status(), 202);
        let place = begun.headers()["location"].to_str().expect("text").to_owned();
        let half = bytes.len() / 2;
        let first = self.send(Method::PATCH, &place, bytes[..half].to_vec()).await;
        assert_eq!(
            (first.status().as_u16(), first.headers()["range"].to_str().expect("text")),
            (202, &*format!("0-{}", half - 1))
        );
        let whole = self.send(Method::PUT, &format!("{place}?digest={digest}"), bytes[half..].to_vec()).await;
        assert_eq!(whole.status(), 201, "{}", whole.text().await.unwrap_or_default());
        digest
    }

    async fn manifest(&self, repository: &str, name: &str, manifest: &Value) -> Response {
        let request = self.request(Method::PUT, &format!("/v2/{repository}/manifests/{name}"));
        request.header("content-type", MANIFEST).body(manifest.to_string()).send().await.expect("answer")
    }
}

fn code(answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    answer["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_pushed_image_becomes_a_snapshot() {
    if !has_images() {
        return;
    }
    let account = Account::new().await;
    let pusher = Pusher::of(&account).await;
    let fields: Vec<&String> = pusher.access.as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["username", "secret", "registryId", "registryUrl", "project", "expiresAt"]);
    let repository = pusher.repository("some/app");
    let layers = [programs(), layer(Pack::Zstd, "mkdir srv; echo pushed > srv/file")];
    let mut parts = Vec::new();
    for layer in &layers {
        let digest = pusher.blob(&repository, &layer.blob).await;
        parts.push(
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": layer.blob.len()}),
        );
    }
    let config = json!({"os": "linux", "architecture": arch(), "config": {"WorkingDir": "/srv"},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>()}});
    let config = config.to_string().into_bytes();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": parts, "config":
        {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(&config), "size": config.len()}});
    let early = pusher.manifest(&repository, "1", &manifest).await;
    assert_eq!((early.status().as_u16(), code(&early.text().await.expect("text")).as_str()), (404, "BLOB_UNKNOWN"));
    // The configuration at once.
    let path = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(&config));
    assert_eq!(pusher.send(Method::POST, &path, config).await.status(), 201);
    let done = pusher.manifest(&repository, "1", &manifest).await;
    assert_eq!(done.status(), 201);
    let digest = done.headers()["docker-content-digest"].to_str().expect("text").to_owned();
    assert_eq!(digest, sha256(manifest.to_string().as_bytes()));
    let head = pusher.send(Method::HEAD, &format!("/v2/{repository}/manifests/1"), Vec::new()).await;
    assert_eq!((head.status().as_u16(), head.headers()["content-type"].to_str().expect("text")), (200, MANIFEST));
    let tags = pusher.send(Method::GET, &format!("/v2/{repository}/tags/list"), Vec::new()).await;
    assert_eq!(tags.json::<Value>().await.expect("JSON")["tags"], json!(["1"]));
    let blob =
        pusher.send(Method::GET, &format!("/v2/{repository}/blobs/{}", sha256(&layers[1].blob)), Vec::new()).await;
    assert_eq!(blob.bytes().await.expect("bytes"), layers[1].blob);

    let host = pusher.access["registryUrl"].as_str().expect("text").to_owned();
    for (name, image) in
        [("by-tag", format!("{host}/{repository}:1")), ("by-digest", format!("{host}/{repository}@{digest}"))]
    {
        account.ok(Method::POST, "/snapshots", json!({"name": name, "imageName": image})).await;
        let made = account.made(name).await;
        assert_eq!(made["state"], "active", "{made}");
    }
    let one = account.sandbox(json!({"snapshot": "by-tag"})).await;
    one.until("started").await;
    assert_eq!(one.run("pwd; cat file").await, "/srv\npushed\n");
    // Others can't have it.
    let other = Account::new().await;
    other
        .ok(Method::POST, "/snapshots", json!({"name": "stolen", "imageName": format!("{host}/{repository}:1")}))
        .await;
    assert_eq!(other.made("stolen").await["state"], "error");
}

/// A request whose body comes when the test says so; it has the upload when this returns.
async fn slowly(
    pusher: &Pusher,
    method: Method,
    path: &str,
    place: &str,
) -> (tokio::sync::mpsc::Sender<Vec<u8>>, tokio::task::JoinHandle<reqwest::Result<Response>>) {
    let (pieces, come) = tokio::sync::mpsc::channel::<Vec<u8>>(1);
    let next = |mut come: tokio::sync::mpsc::Receiver<Vec<u8>>| async {
        come.recv().await.map(|piece| (Ok::<_, std::io::Error>(piece), come))
    };
    let body = reqwest::Body::wrap_stream(futures_util::stream::unfold(come, next));
    let answer = tokio::spawn(pusher.request(method, path).body(body).send());
    pieces.send(b"slow".to_vec()).await.expect("it is read");
    // After the six bytes that are there.
    eventually("it has the upload", async || {
        let told = pusher.send(Method::GET, place, Vec::new()).await;
        (told.headers()["range"] == "0-9").then_some(())
    })
    .await;
    (pieces, answer)
}

#[tokio::test]
async fn an_upload_is_one_requests_at_a_time() {
    let account = Account::new().await;
    let pusher = Pusher::of(&account).await;
    let own = pusher.repository("a");
    let begin = async || {
        let begun = pusher.send(Method::POST, &format!("/v2/{own}/blobs/uploads/"), Vec::new()).await;
        let place = begun.headers()["location"].to_str().expect("text").to_owned();
        assert_eq!(pusher.send(Method::PATCH, &place, b"first ".to_vec()).await.status(), 202);
        place
    };
    let length = async |place: &str| {
        let told = pusher.send(Method::GET, place, Vec::new()).await;
        told.headers()["range"].to_str().expect("text").to_owned()
    };
    // While it is finished nobody appends or finishes.
    let (place, whole) = (begin().await, b"first slow last");
    let finish = format!("{place}?digest={}", sha256(whole));
    let (pieces, finished) = slowly(&pusher, Method::PUT, &finish, &place).await;
    for (method, path) in [(Method::PATCH, &place), (Method::PUT, &finish)] {
        let refused = pusher.send(method, path, b"other".to_vec()).await;
        assert_eq!(
            (refused.status().as_u16(), code(&refused.text().await.expect("text")).as_str()),
            (409, "BLOB_UPLOAD_INVALID")
        );
    }
    pieces.send(b" last".to_vec()).await.expect("it is read");
    drop(pieces);
    assert_eq!(finished.await.expect("no panic").expect("answer").status(), 201);
    let blob = pusher.send(Method::GET, &format!("/v2/{own}/blobs/{}", sha256(whole)), Vec::new()).await;
    assert_eq!(blob.bytes().await.expect("bytes"), whole.as_slice());
    assert_eq!(pusher.send(Method::PATCH, &place, b"late".to_vec()).await.status(), 404);
    // Who goes away in the middle, and who is wrong about the digest, leaves it as it was.
    let place = begin().await;
    let (pieces, appended) = slowly(&pusher, Method::PATCH, &place, &place).await;
    appended.abort();
    drop(pieces);
    eventually("it is free", async || {
        (pusher.send(Method::PATCH, &place, Vec::new()).await.status() == 202).then_some(())
    })
    .await;
    assert_eq!(length(&place).await, "0-5");
    let wrong = format!("{place}?digest={}", sha256(b"other"));
    assert_eq!(pusher.send(Method::PUT, &wrong, b"rest".to_vec()).await.status(), 400);
    assert_eq!(length(&place).await, "0-5");
    let right = format!("{place}?digest={}", sha256(b"first rest"));
    assert_eq!(pusher.send(Method::PUT, &right, b"rest".to_vec()).await.status(), 201);
    // One in one request that isn't what it says leaves nothing behind.
    let path = format!("/v2/{own}/blobs/uploads/?digest={}", sha256(b"other"));
    assert_eq!(pusher.send(Method::POST, &path, b"content".to_vec()).await.status(), 400);
    let organization = own.split('/').next().expect("an organisation");
    let uploads = crate::support::run_dir().join("registry").join(organization).join("uploads");
    assert_eq!(std::fs::read_dir(uploads).expect("there").count(), 0);
}

#[tokio::test]
async fn pushed_images_move_with_their_world() {
    if !has_images() {
        return;
    }
    let account = Account::new().await;
    let pusher = Pusher::of(&account).await;
    let (repository, layer) = (pusher.repository("app"), programs());
    let config = json!({"os": "linux", "architecture": arch(), "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]}});
    let config = config.to_string().into_bytes();
    let part = |kind: &str, digest: String, size: usize| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size});
    let layers = [part("layer.v1.tar", pusher.blob(&repository, &layer.blob).await, layer.blob.len())];
    let config = part("config.v1+json", pusher.blob(&repository, &config).await, config.len());
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers, "config": config});
    assert_eq!(pusher.manifest(&repository, "1", &manifest).await.status(), 201);
    let image = format!("{}/{repository}:1", pusher.access["registryUrl"].as_str().expect("text"));
    account.ok(Method::POST, "/snapshots", json!({"name": "of-it", "imageName": image})).await;
    account.made("of-it").await;

    let control = |account: &Account, what: &str| {
        let url = format!("{}/__control/{what}", server().base_url);
        account.client.request(if what == "save" { Method::GET } else { Method::POST }, url)
    };
    let archive = control(&account, "save").send().await.expect("answer").bytes().await.expect("an archive");
    let there = Account::new().await;
    let damaged = {
        let at = archive.windows(8).rposition(|part| part == b"schemaVe").expect("its manifest");
        let mut bytes = archive.to_vec();
        bytes[at] = b'S';
        bytes
    };
    let refused = control(&there, "restore").body(damaged).send().await.expect("answer");
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.expect("text").contains("a part of a pushed image is not sha256:"));
    let restored = control(&there, "restore").body(archive.clone()).send().await.expect("answer");
    let (status, told) = (restored.status().as_u16(), restored.text().await.expect("text"));
    assert_eq!(status, 201, "{told}");
    let moved = Pusher::of(&there).await;
    let repository = moved.repository("app");
    let tags = moved.send(Method::GET, &format!("/v2/{repository}/tags/list"), Vec::new()).await;
    assert_eq!(tags.json::<Value>().await.expect("JSON")["tags"], json!(["1"]));
    let name = there.made("of-it").await["imageName"].clone();
    assert!(name.as_str().is_some_and(|name| name.ends_with(&format!("{repository}:1"))), "{name}");
    there.ok(Method::POST, "/snapshots", json!({"name": "again", "imageName": name})).await;
    assert_eq!(there.made("again").await["state"], "active");
    let again = control(&there, "restore").body(archive).send().await.expect("answer");
    assert_eq!(again.status(), 409);
}

#[tokio::test]
async fn a_registry_refuses_as_registries_do() {
    let account = Account::new().await;
    let pusher = Pusher::of(&account).await;
    let anonymous = reqwest::get(format!("{}/v2/", server().base_url)).await.expect("answer");
    assert_eq!(anonymous.status(), 401);
    assert!(anonymous.headers()["www-authenticate"].to_str().expect("text").starts_with("Basic realm="));
    let wrong = pusher.client.get(format!("{}/v2/", server().base_url)).basic_auth("x", Some("y")).send().await;
    assert_eq!(wrong.expect("answer").status(), 401);
    assert_eq!(pusher.send(Method::GET, "/v2/", Vec::new()).await.status(), 200);
    let (own, nobody) = (pusher.repository("a"), "sha256:".to_owned() + &"0".repeat(64));
    let other = Pusher::of(&Account::new().await).await.repository("a");
    let begun = pusher.send(Method::POST, &format!("/v2/{own}/blobs/uploads/"), Vec::new()).await;
    let place = begun.headers()["location"].to_str().expect("text").to_owned();
    for (method, path, body, status, expected) in [
        (Method::GET, format!("/v2/{own}/blobs/{nobody}"), "", 404, "BLOB_UNKNOWN"),
        (Method::GET, format!("/v2/{own}/blobs/sha256:x"), "", 400, "DIGEST_INVALID"),
        (Method::GET, format!("/v2/{own}/manifests/none"), "", 404, "MANIFEST_UNKNOWN"),
        (Method::PUT, format!("/v2/{own}/manifests/1"), "{", 400, "MANIFEST_INVALID"),
        (Method::PUT, format!("/v2/{own}/manifests/1"), "{}", 400, "MANIFEST_INVALID"),
        (Method::GET, format!("/v2/{other}/manifests/1"), "", 403, "DENIED"),
        (Method::POST, format!("/v2/{other}/blobs/uploads/"), "", 403, "DENIED"),
        (Method::GET, "/v2/Upper/manifests/1".into(), "", 404, "NAME_UNKNOWN"),
        (Method::DELETE, format!("/v2/{own}/manifests/1"), "", 405, "UNSUPPORTED"),
        (Method::PUT, format!("{place}?digest={nobody}"), "content", 400, "DIGEST_INVALID"),
        (Method::PATCH, format!("/v2/{own}/blobs/uploads/{}", uuid::Uuid::new_v4()), "x", 404, "BLOB_UPLOAD_UNKNOWN"),
        (Method::PATCH, format!("/v2/{own}/blobs/uploads/x"), "x", 404, "BLOB_UPLOAD_UNKNOWN"),
    ] {
        let answer = pusher.send(method.clone(), &path, body.into()).await;
        let (got, text) = (answer.status().as_u16(), answer.text().await.expect("text"));
        assert_eq!((got, code(&text).as_str()), (status, expected), "{method} {path}: {text}");
    }
    let skipped = pusher.request(Method::PATCH, &place).header("content-range", "100-104").body("12345").send().await;
    assert_eq!(skipped.expect("answer").status(), 416);
    assert_eq!(pusher.send(Method::DELETE, &place, Vec::new()).await.status(), 204);
    assert_eq!(pusher.send(Method::DELETE, &place, Vec::new()).await.status(), 404);
    // Who may not push, and a region that isn't there.
    let body = json!({"name": "none", "permissions": ["read:volumes"]});
    let none = account.ok(Method::POST, "/api-keys", body).await["value"].as_str().expect("a key").to_owned();
    let url = format!("{}/docker-registry/registry-push-access", server().api_url);
    assert_eq!(reqwest::Client::new().get(&url).bearer_auth(none).send().await.expect("answer").status(), 403);
    let (status, refused) =
        account.call(Method::GET, "/docker-registry/registry-push-access?regionId=mars", json!({})).await;
    assert_eq!((status, refused["message"].as_str()), (404, Some("Region not found")));
}
