//! Servers on the host that sandboxes with secrets send requests to: they keep what they saw.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy, split},
    net::TcpListener,
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

/// Both are the host's loopback, seen from a sandbox.
pub const NAMES: [&str; 2] = ["host.internal", "host.docker.internal"];

/// One request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub target: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// A server. Answers each request when its body has ended; `POST /progress` tells the length of the body as it comes, and
/// an upgrade is to an echo.
pub struct Upstream {
    pub port: u16,
    /// Its certificate, in hexadecimal digits.
    pub certificate: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

/// What proves a server's name.
pub enum Proof {
    /// Plain HTTP.
    None,
    /// A certificate of the authority that the tests' server trusts.
    Authority,
    /// One that nobody trusts.
    Itself,
}

impl Upstream {
    pub async fn start(proof: Proof) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let (acceptor, certificate) = acceptor(proof).unzip();
        let upstream = Upstream {
            port,
            certificate: certificate.unwrap_or_default(),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let (seen, connections) = (upstream.seen.clone(), upstream.connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (seen, acceptor) = (seen.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, seen).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => serve(stream, seen).await,
                            Err(error) => println!("handshake: {error}"),
                        },
                    }
                });
            }
        });
        upstream
    }

    /// What it saw since it was last asked.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock())
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, seen: Arc<Mutex<Vec<Seen>>>) {
    let service = service_fn(|request| answer(request, seen.clone()));
    // A client that breaks off is no event here.
    _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(mut request: Request<Incoming>, seen: Arc<Mutex<Vec<Seen>>>) -> Result<Answer, Infallible> {
    let (target, headers) = (request.uri().to_string(), request.headers().clone());
    let mut answer = Response::builder();
    if headers.contains_key(header::UPGRADE) {
        seen.lock().push(Seen { target, headers, body: Vec::new() });
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut from, mut to) = split(TokioIo::new(upgraded.await.expect("upgraded")));
            _ = copy(&mut from, &mut to).await;
        });
        answer =
            answer.status(StatusCode::SWITCHING_PROTOCOLS).header("connection", "upgrade").header("upgrade", "echo");
        return Ok(answer.body(text("")).expect("an answer"));
    }
    let progress = request.uri().path() == "/progress";
    let (told, lengths) = mpsc::unbounded_channel();
    let mut body = request.into_body();
    let read = async move {
        let mut all = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                all.extend_from_slice(&data);
                _ = told.send(format!("{}\n", all.len()));
            }
        }
        seen.lock().push(Seen { target, headers, body: all });
    };
    if !progress {
        read.await;
        return Ok(answer.header("x-mark", "upstream").body(text("seen")).expect("an answer"));
    }
    tokio::spawn(read);
    let lengths = futures_util::stream::unfold(lengths, |mut lengths| async { Some((lengths.recv().await?, lengths)) });
    let body = StreamBody::new(lengths.map(|line| Ok(Frame::data(Bytes::from(line)))));
    Ok(answer.body(BodyExt::boxed(body)).expect("an answer"))
}

fn text(text: &'static str) -> BoxBody<Bytes, Infallible> {
    BodyExt::boxed(http_body_util::Full::new(Bytes::from_static(text.as_bytes())))
}

/// The authority of the run's servers.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

fn authority() -> &'static Authority {
    static MADE: OnceLock<Authority> = OnceLock::new();
    MADE.get_or_init(|| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "upstream of tests");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let file = left_alone(&std::env::temp_dir()).join(format!("{PEM}{}.pem", std::process::id()));
        std::fs::write(&file, pem).expect("written");
        Authority { issuer: Issuer::new(params, key), file }
    })
}

/// What names of these files begin with, before a process.
const PEM: &str = "daytona-mock-upstream-";

/// Without those of runs that have ended, which can't tidy up after themselves.
fn left_alone(temp: &Path) -> &Path {
    for entry in std::fs::read_dir(temp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PEM)?.strip_suffix(".pem"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            _ = std::fs::remove_file(entry.path());
        }
    }
    temp
}

/// PEM file of whom a server has to trust.
pub fn trusted() -> PathBuf {
    authority().file.clone()
}

/// What serves TLS, and the certificate in hexadecimal digits.
pub fn acceptor(proof: Proof) -> Option<(TlsAcceptor, String)> {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(NAMES.map(str::to_owned)).expect("names");
    let certificate = match proof {
        Proof::None => return None,
        Proof::Authority => params.signed_by(&key, &authority().issuer),
        Proof::Itself => params.self_signed(&key),
    };
    let certificate: CertificateDer = certificate.expect("a certificate").into();
    let shown = certificate.iter().map(|byte| format!("{byte:02x}")).collect();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let mut config = builder.with_single_cert(vec![certificate], key).expect("fits");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Some((TlsAcceptor::from(Arc::new(config)), shown))
}
