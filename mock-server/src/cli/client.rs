//! `env` and `health`: what one asks of a server that is already running.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::Locate;
use crate::data_dir::{self, Ready};

/// A server that is well answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints `export` lines for the running server.
pub fn env(locate: &Locate) -> Result<(), String> {
    let ready = find(locate)?;
    println!("export DAYTONA_API_URL={}", quoted(&ready.api_url));
    println!("export DAYTONA_API_KEY={}", quoted(&ready.api_key));
    Ok(())
}

/// Prints what the running server says about itself.
pub fn health(locate: &Locate) -> Result<(), String> {
    let ready = find(locate)?;
    let answer = get_health(&ready).map_err(|error| format!("{}: {error}", ready.listen))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) != Some("200") {
        return Err(format!("{} answered {}", ready.listen, head.lines().next().unwrap_or("nothing")));
    }
    println!("{body}");
    Ok(())
}

fn find(locate: &Locate) -> Result<Ready, String> {
    if let Some(path) = &locate.ready_file {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        return serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()));
    }
    let dir = locate.data_dir.clone().unwrap_or_else(data_dir::default_data_dir);
    data_dir::running(&dir).ok_or_else(|| {
        format!("no server is running on {} (start one with `daytona-mock`, or name its --data-dir)", dir.display())
    })
}

fn get_health(ready: &Ready) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&ready.listen, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    if !ready.tls {
        return ask(&mut stream, ready);
    }
    let tls = ClientConnection::new(anybody(), ready.listen.ip().into()).map_err(std::io::Error::other)?;
    ask(&mut StreamOwned::new(tls, stream), ready)
}

fn ask(stream: &mut (impl Read + Write), ready: &Ready) -> std::io::Result<String> {
    // HTTP/1.0 without keep-alive: the answer ends with the connection.
    write!(stream, "GET /health HTTP/1.0\r\nHost: {}\r\n\r\n", ready.listen)?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        // The end of the connection is the end of the answer, announced or not.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(answer),
        read => read.map(|_| answer),
    }
}

/// Trusts whoever answers: nothing secret is said, and `--public-url` may have been told of the certificate's name only.
fn anybody() -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Anybody(provider.clone()));
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // The provider has suites for both versions.
    let config = config.expect("versions").dangerous().with_custom_certificate_verifier(verifier);
    Arc::new(config.with_no_client_auth())
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// For a POSIX shell.
fn quoted(value: &str) -> String {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:".contains(&byte));
    if plain { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn keys_of_any_kind_survive_eval() {
        assert_eq!(quoted("http://127.0.0.1:1/api"), "http://127.0.0.1:1/api");
        assert_eq!(quoted("a'b $(x)"), r"'a'\''b $(x)'");
    }
}
