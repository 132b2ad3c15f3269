//! What one asks of a server that is already running: `env`, `health`, and the requests of `ctl`.

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

/// A server that is well answers in milliseconds, but a reset of much takes a while.
const PATIENCE: Duration = Duration::from_secs(60);
/// A little more than the longest wait that it offers.
const LONG_PATIENCE: Duration = Duration::from_secs(310);

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
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", ready.listen);
    let (status, body) = ask(&ready, "GET", "/health", None, None).map_err(|error| failed(&error))?;
    if status != 200 {
        return Err(failed(&format_args!("it answered {status}")));
    }
    println!("{body}");
    Ok(())
}

pub fn find(locate: &Locate) -> Result<Ready, String> {
    if let Some(path) = &locate.ready_file {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        return serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()));
    }
    let dir = locate.data_dir.clone().unwrap_or_else(data_dir::default_data_dir);
    data_dir::running(&dir).ok_or_else(|| {
        format!("no server is running on {} (start one with `daytona-mock`, or name its --data-dir)", dir.display())
    })
}

/// Sends a request with a key and a JSON body; the answer's status and text.
pub fn ask(
    ready: &Ready,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&serde_json::Value>,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&ready.listen, PATIENCE)?;
    // What waits on purpose says so itself.
    let patience = if path.contains("until=") || path.ends_with("/seed") { LONG_PATIENCE } else { PATIENCE };
    stream.set_read_timeout(Some(patience))?;
    let body = body.map(serde_json::Value::to_string).unwrap_or_default();
    // HTTP/1.0 without keep-alive: the answer ends with the connection.
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n", ready.listen, body.len());
    if let Some(key) = key {
        head.push_str(&format!("Authorization: Bearer {key}\r\n"));
    }
    if !body.is_empty() {
        head.push_str("Content-Type: application/json\r\n");
    }
    let request = format!("{head}\r\n{body}");
    let answer = if ready.tls {
        let tls = ClientConnection::new(anybody(), ready.listen.ip().into()).map_err(std::io::Error::other)?;
        exchange(&mut StreamOwned::new(tls, stream), &request)?
    } else {
        exchange(&mut stream, &request)?
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
}

fn exchange(stream: &mut (impl Read + Write), request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        // The end of the connection is the end of the answer, announced or not.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(answer),
        read => read.map(|_| answer),
    }
}

/// Trusts whoever answers at the address that the server itself wrote down on this machine: `--public-url` may have been told of the certificate's name only.
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
