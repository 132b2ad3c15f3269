//! What `ADD` brings from the network.

use std::{io::Write, path::Path, time::Duration};

use http_client::{Client, Url, redirect};
use sha2::{Digest, Sha256};

use super::BuildLog;
use crate::runtime::net::OwnPorts;

const CONNECT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ: Duration = Duration::from_secs(60);
const MAX_REDIRECTS: usize = 10;
/// How often the log says how far it is.
const STEP: u64 = 16 << 20;

/// A file that came.
pub struct Fetched {
    pub file: tempfile::NamedTempFile,
    /// The last part of the URL's path; empty if it has none.
    pub name: String,
    /// SHA-256 in hexadecimal digits.
    pub digest: String,
}

/// Downloads `url` into a file in `dir`, at most `limit` bytes. This server's own ports are not for its users' builds.
///
/// # Errors
/// The text that ends the log.
pub async fn fetch(url: &str, own: &OwnPorts, limit: u64, dir: &Path, log: &BuildLog) -> Result<Fetched, String> {
    let parsed = Url::parse(url).map_err(|error| format!("ADD {url}: {error}"))?;
    let failed = |error: &dyn std::error::Error| format!("ADD {url}: {}", innermost(error));
    if is_own(&parsed, own) {
        return Err(format!("ADD {url}: this is the server itself"));
    }
    log.line(&format!("Downloading {url}"));
    let mut answer = client(own.clone()).get(parsed.clone()).send().await.map_err(|e| failed(&e))?;
    if !answer.status().is_success() {
        return Err(format!("ADD {url}: status {}", answer.status()));
    }
    let total = answer.content_length();
    let too_large = || format!("ADD {url}: larger than {limit} bytes (--limit build_download)");
    if total.is_some_and(|total| total > limit) {
        return Err(too_large());
    }
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(|e| failed(&e))?;
    let (mut hash, mut length, mut said) = (Sha256::new(), 0, 0);
    while let Some(piece) = answer.chunk().await.map_err(|e| failed(&e))? {
        length += piece.len() as u64;
        if length > limit {
            return Err(too_large());
        }
        hash.update(&piece);
        // A file of our own, a piece at a time: the page cache takes it without waiting.
        file.write_all(&piece).map_err(|e| failed(&e))?;
        if length / STEP > said {
            said = length / STEP;
            log.line(&format!("{} of {}", megabytes(length), total.map_or_else(|| "?".into(), megabytes)));
        }
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    log.line(&format!("Downloaded {}, sha256:{digest}", megabytes(length)));
    Ok(Fetched { file, name: name_of(&parsed), digest })
}

/// `--checksum=sha256:…`, if there is one.
pub fn check(fetched: &Fetched, checksum: Option<&str>) -> Result<(), String> {
    match checksum {
        Some(wanted) if wanted.strip_prefix("sha256:") != Some(&fetched.digest) => {
            Err(format!("the digest is sha256:{}, not {wanted}", fetched.digest))
        }
        _ => Ok(()),
    }
}

fn client(own: OwnPorts) -> Client {
    // Whoever was first has installed the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let follow = redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > MAX_REDIRECTS || is_own(attempt.url(), &own) {
            return attempt.error("too many redirects, or one to this server");
        }
        attempt.follow()
    });
    let client = Client::builder().connect_timeout(CONNECT).read_timeout(READ).redirect(follow);
    client.user_agent(concat!("daytona-mock/", env!("CARGO_PKG_VERSION"))).build().unwrap_or_default()
}

/// Whether a URL leads to a port that this server listens on. Whatever its host is: names can resolve to anything.
fn is_own(url: &Url, own: &OwnPorts) -> bool {
    url.port_or_known_default().is_some_and(|port| own.contains(port))
}

fn name_of(url: &Url) -> String {
    let last = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
    let name = percent_encoding::percent_decode_str(last).decode_utf8_lossy().into_owned();
    if name.contains(['/', '\0']) || name == ".." || name == "." { String::new() } else { name }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The innermost cause, which says the most.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_last_part() {
        for (url, name) in [
            ("https://h/a/b.tgz?x=1", "b.tgz"),
            ("https://h/", ""),
            ("https://h", ""),
            ("https://h/a%20b", "a b"),
            ("https://h/%2e%2e%2fx", ""),
        ] {
            assert_eq!(name_of(&Url::parse(url).expect(url)), name, "{url}");
        }
    }
}
