//! A git server with authentication on the host's loopback: `git http-backend` behind HTTP.

use std::{path::Path, process::Stdio, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustls::ServerConfig;
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tokio_rustls::TlsAcceptor;

use crate::{
    support::isolation,
    upstream::{self, Proof},
};

pub const USER: &str = "ann@example.com";
pub const PASSWORD: &str = "p\"a ss\\wörd'$(x)";

/// Repositories by path: `/open/…` for everybody, `/closed/…` with the password, `/forbidden/…` 403, `/broken/…` 500,
/// `/silent/…` never answers, `/moved/…` redirects to another host's `/closed/…`.
pub struct GitServer {
    pub port: u16,
    pub dir: Arc<tempfile::TempDir>,
    scheme: &'static str,
}

impl GitServer {
    pub async fn start() -> GitServer {
        let dir = Arc::new(tempfile::tempdir().expect("a directory"));
        GitServer { dir: dir.clone(), ..GitServer::of(repositories(dir)).await }
    }

    /// One that answers something else.
    pub async fn of(app: Router) -> GitServer {
        let (listener, port) = listener().await;
        tokio::spawn(async move { axum::serve(listener, app).await });
        GitServer { port, dir: Arc::new(tempfile::tempdir().expect("a directory")), scheme: "http" }
    }

    /// Over TLS, with a certificate that nobody trusts.
    pub async fn start_tls() -> GitServer {
        let dir = Arc::new(tempfile::tempdir().expect("a directory"));
        let (listener, port) = listener().await;
        let (acceptor, _) = upstream::acceptor(Proof::Itself).expect("TLS");
        let mut config = ServerConfig::clone(acceptor.config());
        config.alpn_protocols.clear();
        let (acceptor, app) = (TlsAcceptor::from(Arc::new(config)), repositories(dir.clone()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(app.clone()));
                tokio::spawn(async move {
                    // One who doesn't trust it hangs up.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        GitServer { port, dir, scheme: "https" }
    }

    /// Host and port, as sandboxes see them.
    pub fn host(&self) -> String {
        use daytona_mock::runtime::{Isolation, IsolationChoice};
        let inside = isolation() != IsolationChoice::Exactly(Isolation::Process);
        format!("{}:{}", if inside { "10.0.2.2" } else { "127.0.0.1" }, self.port)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}/{path}", self.scheme, self.host())
    }

    /// A bare repository with two commits on `main` and one more on `feature`.
    pub fn repository(&self, path: &str) {
        let script = format!(
            "git init -q -b main work && cd work && git config user.name S && git config user.email s@x &&
             echo one >a.txt && mkdir -p dir && echo two >dir/b.txt && git add . && git commit -qm first &&
             echo more >>a.txt && git commit -qam second &&
             git checkout -qb feature && echo f >f.txt && git add . && git commit -qm third && git checkout -q main &&
             mkdir -p $(dirname ../{path}) && git clone -q --bare . ../{path} && cd .. && rm -rf work &&
             git -C {path} config http.receivepack true && git -C {path} config uploadpack.allowFilter true"
        );
        self.run(&script);
    }

    /// Runs a script where the repositories are; its output.
    pub fn run(&self, script: &str) -> String {
        let output = std::process::Command::new("sh").args(["-ec", script]).current_dir(self.dir.path()).output();
        let output = output.expect("sh runs");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    (listener, port)
}

fn repositories(dir: Arc<tempfile::TempDir>) -> Router {
    Router::new().fallback(serve).with_state(dir)
}

async fn serve(State(dir): State<Arc<tempfile::TempDir>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    match path.split('/').nth(1) {
        Some("open") => backend(dir.path(), request).await,
        Some("closed") if !allowed(&request) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"x\""), (header::CONTENT_TYPE, "text/plain")];
            (StatusCode::UNAUTHORIZED, challenge, "who are you?").into_response()
        }
        Some("closed") => backend(dir.path(), request).await,
        Some("forbidden") => StatusCode::FORBIDDEN.into_response(),
        Some("broken") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some("silent") => std::future::pending().await,
        Some("moved") => {
            let host = request.headers()[header::HOST].to_str().expect("text").replace("10.0.2.2", "host.internal");
            let query = request.uri().query().unwrap_or_default();
            let to = format!("http://{host}{}?{query}", path.replacen("/moved/", "/closed/", 1));
            (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn allowed(request: &Request) -> bool {
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
    request.headers().get(header::AUTHORIZATION).is_some_and(|given| given.as_bytes() == expected.as_bytes())
}

/// One CGI call.
async fn backend(dir: &Path, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 64 << 20).await.expect("a body");
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", dir)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "someone")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git http-backend");
    let mut stdin = child.stdin.take().expect("stdin");
    tokio::spawn(async move { stdin.write_all(&body).await });
    let output = child.wait_with_output().await.expect("it ends").stdout;
    let end = memchr::memmem::find(&output, b"\r\n\r\n").expect("a head");
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        match line.split_once(": ") {
            Some(("Status", status)) => response = response.status(&status[..3]),
            Some((name, value)) => response = response.header(name, value),
            None => {}
        }
    }
    response.body(Body::from(Bytes::copy_from_slice(&output[end + 4..]))).expect("a response")
}
