//! A small registry on a port of its own: bearer tokens, manifests, blobs, and whatever can go wrong with them.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use axum::{
    Router,
    extract::{Path as UrlPath, Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::Engine;
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[derive(Default)]
struct Content {
    /// By `repository:tag` and `repository@digest`: media type and bytes.
    manifests: HashMap<String, (&'static str, Vec<u8>)>,
    blobs: HashMap<String, Vec<u8>>,
    /// Digests asked for, in order.
    fetched: Vec<String>,
    /// Who may pull; everyone if `None`.
    login: Option<(String, String)>,
}

/// A running registry.
pub struct Registry {
    /// `127.0.0.1:port`, as it stands in image names.
    pub host: String,
    content: Arc<Mutex<Content>>,
    stop: CancellationToken,
}

/// How a layer is compressed.
#[derive(Clone, Copy)]
pub enum Pack {
    Plain,
    Gzip,
    Zstd,
}

/// A layer: its blob, and the digest of what is in it.
#[derive(Clone)]
pub struct Layer {
    pub blob: Vec<u8>,
    pub diff_id: String,
}

impl Registry {
    pub async fn start() -> Registry {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let host = listener.local_addr().expect("address").to_string();
        let content: Arc<Mutex<Content>> = Arc::default();
        let routes = Router::new()
            .route("/v2/", get(async |h: HeaderMap| guard(&h, || StatusCode::OK.into_response())))
            .route("/token", get(token))
            .route("/v2/{a}/{b}/manifests/{name}", get(manifest))
            .route("/v2/{a}/{b}/blobs/{digest}", get(blob))
            .with_state(content.clone());
        let stop = CancellationToken::new();
        let serve = axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(async move { serve.await });
        Registry { host, content, stop }
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn require(&self, user: &str, password: &str) {
        self.content.lock().login = Some((user.into(), password.into()));
    }

    /// How often a blob or manifest was asked for.
    pub fn fetched(&self, digest: &str) -> usize {
        self.content.lock().fetched.iter().filter(|fetched| *fetched == digest).count()
    }

    /// Puts an image there for this machine's platform; its name.
    pub fn push(&self, name: &str, layers: &[Layer], config: Value) -> String {
        self.push_for(name, layers, config, "linux", arch())
    }

    /// The same as an index with one entry.
    pub fn push_for(&self, name: &str, layers: &[Layer], config: Value, os: &str, arch: &str) -> String {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let file = json!({"os": os, "architecture": arch, "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = self.put_blob(file.to_string().into_bytes());
        let descriptors: Vec<Value> = layers
            .iter()
            .map(|layer| {
                let digest = self.put_blob(layer.blob.clone());
                json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": layer.blob.len()})
            })
            .collect();
        let config_size = self.content.lock().blobs[&config].len();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": descriptors,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size}});
        let manifest = manifest.to_string().into_bytes();
        let (repository, _) = name.split_once(':').expect("a tag");
        let digest = sha256(&manifest);
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": MANIFEST, "digest": digest, "size": manifest.len(),
             "platform": {"os": os, "architecture": arch}}]});
        let mut content = self.content.lock();
        content.manifests.insert(format!("{repository}@{digest}"), (MANIFEST, manifest));
        content.manifests.insert(name.to_owned(), (INDEX, index.to_string().into_bytes()));
        format!("{}/{name}", self.host)
    }

    /// What a blob is when somebody tampers with it.
    pub fn tamper(&self, layer: &Layer) {
        let mut other = layer.blob.clone();
        *other.last_mut().expect("a byte") ^= 1;
        self.content.lock().blobs.insert(sha256(&layer.blob), other);
    }

    fn put_blob(&self, bytes: Vec<u8>) -> String {
        let digest = sha256(&bytes);
        self.content.lock().blobs.insert(digest.clone(), bytes);
        digest
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn arch() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn guard(headers: &HeaderMap, answer: impl FnOnce() -> Response) -> Response {
    let host = headers[header::HOST].to_str().expect("host");
    if headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Bearer let-me-in") {
        return answer();
    }
    let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"fake\"");
    let body = json!({"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}).to_string();
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], body).into_response()
}

async fn token(
    State(content): State<Arc<Mutex<Content>>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    assert_eq!(query["service"], "fake");
    assert!(query["scope"].starts_with("repository:") && query["scope"].ends_with(":pull"), "{query:?}");
    let wanted = content.lock().login.clone().map(|(user, password)| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        format!("Basic {pair}")
    });
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if wanted.is_some() && wanted.as_deref() != given {
        return (StatusCode::UNAUTHORIZED, "wrong secret hunter2").into_response();
    }
    json!({"token": "let-me-in"}).to_string().into_response()
}

async fn manifest(
    State(content): State<Arc<Mutex<Content>>>,
    UrlPath((a, b, name)): UrlPath<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let separator = if name.starts_with("sha256:") { '@' } else { ':' };
    content.lock().fetched.push(name.clone());
    let found = content.lock().manifests.get(&format!("{a}/{b}{separator}{name}")).cloned();
    guard(&headers, || match found {
        Some((kind, bytes)) => {
            let digest = sha256(&bytes);
            ([(header::CONTENT_TYPE, kind), (header::HeaderName::from_static("docker-content-digest"), &digest)], bytes)
                .into_response()
        }
        None => {
            let body = json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no"}]}).to_string();
            (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
    })
}

async fn blob(
    State(content): State<Arc<Mutex<Content>>>,
    UrlPath((_, _, digest)): UrlPath<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    content.lock().fetched.push(digest.clone());
    let found = content.lock().blobs.get(&digest).cloned();
    guard(&headers, || found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response))
}

/// A layer from what a shell script makes in an empty directory.
pub fn layer(pack: Pack, script: &str) -> Layer {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tar = format!("set -e; umask 022; {script}\n tar --owner=0 --group=0 -cf - .");
    let output = Command::new("sh").args(["-c", &tar]).current_dir(dir.path()).output().expect("sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    packed(pack, output.stdout)
}

pub fn packed(pack: Pack, tar: Vec<u8>) -> Layer {
    let diff_id = sha256(&tar);
    let blob = match pack {
        Pack::Plain => tar,
        Pack::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&tar).expect("gzip");
            encoder.finish().expect("gzip")
        }
        Pack::Zstd => zstd::encode_all(tar.as_slice(), 1).expect("zstd"),
    };
    Layer { blob, diff_id }
}

/// A layer with a shell and some programs of this machine, and the libraries that they need.
pub fn programs() -> Layer {
    const NAMES: [&str; 15] =
        ["sh", "cat", "ls", "id", "env", "touch", "mkdir", "rm", "stat", "chown", "chmod", "sleep", "cp", "seq", "ln"];
    let mut files: Vec<PathBuf> = Vec::new();
    for name in NAMES {
        let path = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(name)).into_iter().find(|path| path.exists());
        let path = path.unwrap_or_else(|| panic!("{name} is missing"));
        let ldd = Command::new("ldd").arg(&path).output().expect("ldd");
        let text = String::from_utf8_lossy(&ldd.stdout).into_owned();
        files.extend(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    files.sort();
    files.dedup();
    let mut script =
        String::from("mkdir -p usr/bin usr/lib etc tmp root proc sys dev; chmod 1777 tmp; chmod 700 root\n");
    script += "ln -s usr/bin bin; ln -s usr/lib lib; ln -s usr/lib64 lib64; mkdir usr/lib64\n";
    script += "printf 'root:x:0:0:root:/root:/bin/sh\\napp:x:1234:1234::/srv:/bin/sh\\n' > etc/passwd\n";
    script += "printf 'root:x:0:\\napp:x:1234:\\n' > etc/group\n";
    for name in NAMES {
        script += &format!("cp -L /bin/{name} usr/bin/{name} 2>/dev/null || cp -L /usr/bin/{name} usr/bin/{name}\n");
    }
    for file in files {
        // `/lib/…` is a link into `/usr` here.
        let inside = if file.starts_with("/usr") {
            file.clone()
        } else {
            Path::new("/usr").join(file.strip_prefix("/").expect("/"))
        };
        let dir = inside.parent().expect("a parent").display().to_string();
        script += &format!("mkdir -p .{dir}; cp -L {} .{}\n", file.display(), inside.display());
    }
    layer(Pack::Gzip, &script)
}
