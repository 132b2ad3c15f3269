//! HTTPS, for the API and for previews, with certificates of the server's own and with given ones.

use std::{path::Path, process::Command, sync::Arc};

use daytona_mock::{
    MockServer,
    config::{Config, Tls},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{binary, config, eventually};

/// A client that trusts what is in a PEM file and nothing else.
struct Client {
    server: std::net::SocketAddr,
    key: String,
    tls: Arc<ClientConfig>,
}

impl Client {
    fn new(server: &MockServer, trusted: &Path) -> Client {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(trusted).expect("a PEM file") {
            roots.add(certificate.expect("a certificate")).expect("trusted");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let tls = Arc::new(tls.with_root_certificates(roots).with_no_client_auth());
        Client { server: server.ready().listen, key: server.api_key.clone(), tls }
    }

    /// Status and body of what `host` answers; an error if it doesn't prove that it is that.
    async fn ask(&self, method: &str, host: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let tcp = TcpStream::connect(self.server).await?;
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let mut stream = tokio_rustls::TlsConnector::from(self.tls.clone()).connect(name, tcp).await?;
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {host}:{}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.server.port(),
            self.key,
            body.len(),
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        // The end of the connection is the end of the answer.
        _ = stream.read_to_string(&mut answer).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        Ok((head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0), body.to_owned()))
    }

    async fn json(&self, method: &str, host: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = self.ask(method, host, path, &body).await.expect("answered");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{status} {text}: {error}"))
    }
}

#[tokio::test]
async fn an_authority_of_its_own_proves_the_api_and_every_preview() {
    let dir = tempfile::tempdir().expect("temp dir");
    let config = || Config {
        data_dir: Some(dir.path().into()),
        tls: Some(Tls::SelfSigned),
        preview_domain: Some("previews.test".into()),
        ..config()
    };
    let server = MockServer::start(config()).await.expect("starts");
    assert!(server.api_url.starts_with("https://127.0.0.1:"), "{}", server.api_url);
    let authority = server.ready().ca_certificate.clone().expect("an authority");
    let client = Client::new(&server, &authority);
    let port = server.ready().listen.port();
    for host in ["localhost", "127.0.0.1", "previews.test"] {
        let about = client.json("GET", host, "/api/config", Value::Null).await;
        assert_eq!(about["proxyToolboxUrl"], format!("https://{host}:{port}/toolbox"));
    }
    let har = client.json("GET", "localhost", "/__control/journal?format=har&limit=1", Value::Null).await;
    let url = har["log"]["entries"][0]["request"]["url"].as_str().expect("an URL");
    assert_eq!(url, format!("https://localhost:{port}/api/config"));
    client.ask("GET", "elsewhere.test", "/health", "").await.expect_err("nobody vouches for that");
    for (offered, is_taken) in [("http/1.0", true), ("http/1.1", true), ("h2", false)] {
        let mut tls = (*client.tls).clone();
        tls.alpn_protocols = vec![offered.into()];
        let client = Client { server: client.server, key: client.key.clone(), tls: tls.into() };
        assert_eq!(client.ask("GET", "localhost", "/health", "").await.is_ok(), is_taken, "{offered}");
    }
    let sandbox = client.json("POST", "localhost", "/api/sandbox", json!({})).await;
    let id = sandbox["id"].as_str().expect("an id").to_owned();
    eventually("it is started", async || {
        let sandbox = client.json("GET", "localhost", &format!("/api/sandbox/{id}"), Value::Null).await;
        (sandbox["state"] == "started").then_some(())
    })
    .await;
    let link = client.json("GET", "localhost", &format!("/api/sandbox/{id}/ports/3000/preview-url"), Value::Null).await;
    let host = format!("3000-{id}.previews.test");
    assert_eq!(link["url"], format!("https://{host}:{port}"));
    let toolbox = format!("/toolbox/{id}/process/execute");
    let command = "sh -c 'python3 -m http.server 3000 >/dev/null 2>&1 &'";
    client.json("POST", "localhost", &toolbox, json!({"command": command})).await;
    eventually("the preview answers", async || {
        (client.ask("GET", &host, "/", "").await.expect("proven").0 == 200).then_some(())
    })
    .await;
    assert_eq!(client.ask("GET", &format!("3000-{id}.localhost"), "/", "").await.expect("proven").0, 200);
    // Plain HTTP is none.
    let mut plain = TcpStream::connect(client.server).await.expect("connected");
    plain.write_all(b"GET /health HTTP/1.0\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let ready = dir.path().join("ready.json");
    std::fs::write(&ready, serde_json::to_string(server.ready()).expect("JSON")).expect("written");
    let asked = ready.clone();
    let health = tokio::task::spawn_blocking(move || {
        Command::new(binary()).args(["health", "--ready-file"]).arg(asked).output().expect("runs")
    });
    let health = health.await.expect("ran");
    assert!(health.status.success(), "{health:?}");
    let url = server.api_url.clone();
    let trusts = tokio::task::spawn_blocking(move || {
        let mut trusted = Command::new(binary());
        trusted.args(["trusted", "sh", "-c", "cat \"$SSL_CERT_FILE\""]);
        trusted.env("DAYTONA_API_URL", url).env("DAYTONA_MOCK_READY_FILE", ready).output().expect("runs")
    });
    let trusts = trusts.await.expect("ran");
    let own = std::fs::read_to_string(&authority).expect("a certificate");
    assert!(String::from_utf8_lossy(&trusts.stdout).contains(own.trim()), "{trusts:?}");
    server.shutdown().await;
    // What was trusted once is trusted after a restart.
    let server = MockServer::start(config()).await.expect("starts again");
    let client = Client { server: server.ready().listen, ..client };
    assert_eq!(client.ask("GET", "localhost", "/health", "").await.expect("proven").0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn a_given_certificate_is_used_and_a_bad_one_is_told() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["daytona.test".to_owned()]).expect("a certificate");
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let with = |certificate: &Path, key: &Path| Config {
        tls: Some(Tls::Given { certificate: certificate.into(), key: key.into() }),
        allow_hosts: vec!["daytona.test".into()],
        ..config()
    };
    let server = MockServer::start(with(&certificate, &key)).await.expect("starts");
    assert_eq!(server.ready().ca_certificate, None);
    let client = Client::new(&server, &certificate);
    assert_eq!(client.ask("GET", "daytona.test", "/health", "").await.expect("proven").0, 200);
    server.shutdown().await;
    for (certificate, key) in [(&key, &key), (&certificate, &certificate), (&dir.path().join("none"), &key)] {
        let Err(error) = MockServer::start(with(certificate, key)).await else { panic!("it started") };
        assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    }
}
