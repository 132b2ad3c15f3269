//! What one asks of a server that is already running: `env`, `health`, and the requests of `ctl`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::OpenOptionsExt,
    path::Path,
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
    // What waits on purpose says so itself.
    let patience = if path.contains("until=") || path.ends_with("/seed") { LONG_PATIENCE } else { PATIENCE };
    let body = body.map(serde_json::Value::to_string).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let head = head(ready, method, path, key, body.len() as u64, kind);
    let mut stream = connect(ready, patience)?;
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let (status, _, mut answer) = answer(stream)?;
    Ok((status, text_of(&mut answer)?))
}

/// Saves a world to a new file; an answer that isn't one is its text.
pub fn save(ready: &Ready, key: &str, to: &Path, secrets: bool) -> std::io::Result<(u16, String)> {
    let named = |error| std::io::Error::other(format!("{}: {error}", to.display()));
    let path = if secrets { "/__control/save?secrets=true" } else { "/__control/save" };
    let mut stream = connect(ready, LONG_PATIENCE)?;
    stream.write_all(head(ready, "GET", path, Some(key), 0, "").as_bytes())?;
    let (status, length, mut answer) = answer(stream)?;
    if status != 200 {
        return Ok((status, text_of(&mut answer)?));
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(named)?;
    let copied = std::io::copy(&mut answer, &mut file);
    if copied.as_ref().ok() != length.as_ref() {
        // Half of a world is none.
        fs::remove_file(to).map_err(named)?;
        return Err(copied.err().unwrap_or_else(|| std::io::Error::other("the connection ended early")));
    }
    let size = length.unwrap_or_default();
    Ok((status, serde_json::json!({"file": to, "bytes": size}).to_string()))
}

/// Sends a file to be restored; the answer's status and text.
pub fn restore(ready: &Ready, key: &str, from: &Path) -> std::io::Result<(u16, String)> {
    let named = |error| std::io::Error::other(format!("{}: {error}", from.display()));
    let mut file = fs::File::open(from).map_err(named)?;
    let size = file.metadata().map_err(named)?.len();
    let mut stream = connect(ready, LONG_PATIENCE)?;
    let kind = "Content-Type: application/x-tar\r\n";
    stream.write_all(head(ready, "POST", "/__control/restore", Some(key), size, kind).as_bytes())?;
    // Who refuses it early says why, and reads no more.
    let sent = std::io::copy(&mut file, &mut stream);
    let (status, _, mut answer) = answer(stream).map_err(|error| sent.err().unwrap_or(error))?;
    Ok((status, text_of(&mut answer)?))
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn connect(ready: &Ready, patience: Duration) -> std::io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect_timeout(&ready.listen, PATIENCE)?;
    stream.set_read_timeout(Some(patience))?;
    if !ready.tls {
        return Ok(Box::new(stream));
    }
    let tls = ClientConnection::new(anybody(), ready.listen.ip().into()).map_err(std::io::Error::other)?;
    Ok(Box::new(StreamOwned::new(tls, stream)))
}

/// HTTP/1.0 without keep-alive: the answer ends with the connection.
fn head(ready: &Ready, method: &str, path: &str, key: Option<&str>, length: u64, more: &str) -> String {
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let listen = ready.listen;
    format!("{method} {path} HTTP/1.0\r\nHost: {listen}\r\nContent-Length: {length}\r\n{key}{more}\r\n")
}

/// Status, announced length and body of an answer.
fn answer(stream: impl Read) -> std::io::Result<(u16, Option<u64>, impl Read)> {
    let mut body = BufReader::new(stream);
    let (mut status, mut length, mut line) = (None, None, String::new());
    while body.read_line(&mut line)? > 0 && line.trim_end() != "" {
        match (status, line.split_once(':')) {
            (None, _) => status = line.split(' ').nth(1).and_then(|status| status.parse().ok()),
            (_, Some((name, value))) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()
            }
            _ => {}
        }
        line.clear();
    }
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, length, body))
}

fn text_of(body: &mut impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    match body.read_to_string(&mut text) {
        // The end of the connection is the end of the answer, announced or not.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(text),
        read => read.map(|_| text),
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
