//! SIGKILL at random moments while objects and images are uploaded, replaced and removed: what was acknowledged is there
//! afterwards, whole.

use rand::RngExt;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    api::Api,
    durability::{Witness, killed_after},
    images::registry::sha256,
    object_storage::{Ask, Bucket},
    store::serve,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

async fn bucket(api: &Api) -> Bucket {
    Bucket::with(&api.get("/object-storage/push-access").await.1)
}

/// An S3 request that must work; its text, none if the server died meanwhile.
async fn stored(bucket: &Bucket, method: Method, key: &str, query: &[(&str, &str)], body: &str) -> Option<String> {
    let answer = bucket.try_send(Ask::new(method, key).query(query).body(body)).await.ok()?;
    let (status, text) = (answer.status(), answer.text().await.ok()?);
    assert!(status.is_success(), "{key}: {status} {text}");
    Some(text)
}

/// In two parts, of which the first is as large as S3 wants it.
async fn in_parts(bucket: &Bucket, key: &str, end: &str) -> Option<bool> {
    let begun = stored(bucket, Method::POST, key, &[("uploads", "")], "").await?;
    let id = begun.split_once("<UploadId>")?.1.split_once('<')?.0.to_owned();
    let mut parts = String::new();
    for (number, body) in [("1", "x".repeat(5 << 20)), ("2", end.to_owned())] {
        let query = [("partNumber", number), ("uploadId", &id)];
        let answer = bucket.try_send(Ask::new(Method::PUT, key).query(&query).body(body)).await.ok()?;
        let etag = answer.headers().get("etag")?.to_str().ok()?.to_owned();
        parts += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    let list = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    stored(bucket, Method::POST, key, &[("uploadId", &id)], &list).await?;
    Some(true)
}

/// Puts, replaces and deletes objects.
async fn store(bucket: Bucket, worker: usize, told: mpsc::UnboundedSender<()>) -> Witness {
    let mut witness = Witness::default();
    for round in 0.. {
        let name = format!("{worker}/{}", round / 4);
        let key = bucket.key(&name);
        let text = format!("{name} {round}");
        let fact = |value: Value| [("object", name.as_str(), value)];
        let put = async {
            stored(&bucket, Method::PUT, &key, &[], &text).await?;
            Some(true)
        };
        let gone = async {
            stored(&bucket, Method::DELETE, &key, &[], "").await?;
            Some(true)
        };
        let ok = match round % 4 {
            3 => witness.tell(&fact(Value::Null), gone).await,
            2 => witness.tell(&fact(json!(text)), in_parts(&bucket, &key, &text)).await,
            _ => witness.tell(&fact(json!(text)), put).await,
        };
        if !ok || told.send(()).is_err() {
            break;
        }
    }
    witness
}

/// Who may push, and where.
struct Pusher {
    access: Value,
    client: reqwest::Client,
}

impl Pusher {
    async fn of(api: &Api) -> Pusher {
        Pusher { access: api.get("/docker-registry/registry-push-access").await.1, client: api.client.clone() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let text = |name: &str| self.access[name].as_str().expect("text");
        let url = format!("http://{}/v2/{}/app/{path}", text("registryUrl"), text("project"));
        self.client.request(method, url).basic_auth(text("username"), Some(text("secret")))
    }

    async fn push(&self, bytes: &str) -> Option<bool> {
        let path = format!("blobs/uploads/?digest={}", sha256(bytes.as_bytes()));
        let answer = self.request(Method::POST, &path).body(bytes.to_owned()).send().await.ok()?;
        assert_eq!(answer.status(), 201);
        Some(true)
    }

    async fn tag(&self, tag: &str, config: &str) -> Option<bool> {
        let manifest = manifest(config).to_string();
        let request = self.request(Method::PUT, &format!("manifests/{tag}")).header("content-type", MANIFEST);
        let answer = request.body(manifest).send().await.ok()?;
        assert_eq!(answer.status(), 201);
        Some(true)
    }

    /// What is there under a path, if it is.
    async fn read(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.expect("answer");
        if answer.status() == 404 { Value::Null } else { json!(answer.text().await.expect("text")) }
    }
}

/// Of an image without layers.
fn manifest(config: &str) -> Value {
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [], "config": {
        "mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(config.as_bytes()), "size": config.len()}})
}

/// Pushes images under a few tags, again and again.
async fn push(pusher: Pusher, worker: usize, told: mpsc::UnboundedSender<()>) -> Witness {
    let mut witness = Witness::default();
    for round in 0.. {
        let config = json!({"os": "linux", "architecture": "amd64", "made": format!("{worker} {round}")}).to_string();
        let (digest, tag) = (sha256(config.as_bytes()), format!("{worker}-{}", round % 3));
        let ok = witness.tell(&[("blob", &digest, json!(config))], pusher.push(&config)).await
            && told.send(()).is_ok()
            && witness.tell(&[("tag", &tag, json!(manifest(&config).to_string()))], pusher.tag(&tag, &config)).await
            && told.send(()).is_ok();
        if !ok {
            break;
        }
    }
    witness
}

async fn look(bucket: &Bucket, pusher: &Pusher, fact: &str) -> Value {
    let (kind, name) = fact.split_once(' ').expect("kind and name");
    match kind {
        "blob" => pusher.read(&format!("blobs/{name}")).await,
        "tag" => pusher.read(&format!("manifests/{name}")).await,
        _ => {
            let answer = bucket.send(Ask::new(Method::GET, &bucket.key(name))).await;
            if answer.status() == 404 {
                return Value::Null;
            }
            let text = answer.text().await.expect("text");
            json!(text.trim_start_matches('x'))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_loses_no_object_and_no_image() {
    let dir = tempfile::tempdir().expect("temp dir");
    for _ in 0..3 {
        let after = rand::rng().random_range(1..80);
        let serving = serve(dir.path()).await;
        let (told, mut acknowledgements) = mpsc::unbounded_channel();
        let mut workers = Vec::new();
        for n in 0..2 {
            workers.push(tokio::spawn(store(bucket(&serving.api).await, n, told.clone())));
            workers.push(tokio::spawn(push(Pusher::of(&serving.api).await, n, told.clone())));
        }
        drop(told);
        let witnesses = killed_after(after, serving, &mut acknowledgements, workers).await;
        let again = serve(dir.path()).await;
        let (bucket, pusher) = (bucket(&again.api).await, Pusher::of(&again.api).await);
        for witness in witnesses {
            witness.compare(async |fact| look(&bucket, &pusher, fact).await, after).await;
        }
        again.api.control("POST", "/reset", Value::Null).await;
        again.kill();
    }
}
