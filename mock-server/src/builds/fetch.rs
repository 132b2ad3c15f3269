//! What `ADD` brings from the network. This server fetches it, for whoever wrote the Dockerfile: so it reaches what a
//! `RUN` of the same build does, and this host's loopback only by the names that sandboxes have for it.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, SystemTime},
};

use http_client::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use sha2::{Digest, Sha256};

use super::BuildLog;
use crate::runtime::net::{HOST_NAMES, OwnPorts, is_dialled};

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
    /// When its server says that it was changed (Dockerfile reference); now, if it doesn't.
    pub modified: SystemTime,
}

/// Downloads `url` into a file in `dir`, at most `limit` bytes.
///
/// # Errors
/// The text that ends the log.
pub async fn fetch(url: &str, own: &OwnPorts, limit: u64, dir: &Path, log: &BuildLog) -> Result<Fetched, String> {
    let parsed = Url::parse(url).map_err(|error| format!("ADD {url}: {error}"))?;
    let failed = |error: &dyn std::error::Error| format!("ADD {url}: {}", innermost(error));
    if let Some(why) = refusal(&parsed, own) {
        return Err(format!("ADD {url}: {why}"));
    }
    log.line(&format!("Downloading {url}"));
    let mut answer = client(own.clone()).get(parsed.clone()).send().await.map_err(|e| failed(&e))?;
    if !answer.status().is_success() {
        return Err(format!("ADD {url}: status {}", answer.status()));
    }
    let modified =
        answer.headers().get("last-modified").and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
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
    Ok(Fetched { file, name: name_of(&parsed), digest, modified: modified.unwrap_or_else(SystemTime::now) })
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
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error("too many redirects");
        }
        match refusal(attempt.url(), &own) {
            Some(why) => attempt.error(format!("redirected: {why}")),
            None => attempt.follow(),
        }
    });
    let client = Client::builder().connect_timeout(CONNECT).read_timeout(READ).redirect(follow);
    let client = client.dns_resolver(std::sync::Arc::new(Resolver));
    client.user_agent(concat!("daytona-mock/", env!("CARGO_PKG_VERSION"))).build().unwrap_or_default()
}

/// Why a URL isn't fetched, as far as it says itself.
fn refusal(url: &Url, own: &OwnPorts) -> Option<&'static str> {
    // Whatever its host is: names can resolve to anything.
    if url.port_or_known_default().is_some_and(|port| own.contains(port)) {
        return Some("this is the server itself");
    }
    let host = url.host_str().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    address.filter(|address| !is_dialled(*address)).map(|_| NOT_THERE)
}

const NOT_THERE: &str = "builds can't reach this address; this host's loopback is host.internal";

/// Whether a name is that of a proxy that this server was started with: it may be here.
fn is_proxy(name: &str) -> bool {
    let named = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let urls = named.iter().filter_map(|variable| std::env::var(variable).ok()?.parse::<Url>().ok());
    urls.into_iter().any(|url| url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(name)))
}

/// Resolves as sandboxes do: never to what nobody may reach, and to this host's loopback by its own names.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let name = name.as_str();
            if HOST_NAMES.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                return Ok(Box::new(std::iter::once(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))) as Addrs);
            }
            let all = tokio::net::lookup_host((name, 0)).await?;
            let proxy = is_proxy(name);
            let fine: Vec<SocketAddr> = all.filter(|address| proxy || is_dialled(address.ip())).collect();
            if fine.is_empty() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, NOT_THERE).into());
            }
            Ok(Box::new(fine.into_iter()) as Addrs)
        })
    }
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
    fn this_host_is_reached_by_its_name_for_sandboxes_only() {
        let own = OwnPorts::default();
        own.add(3986);
        for url in
            ["http://host.internal:1/x", "http://example.com/x", "http://192.168.1.1/x", "http://[2001:db8::1]/x"]
        {
            assert_eq!(refusal(&Url::parse(url).expect(url), &own), None, "{url}");
        }
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0.0.0.0",
            "10.0.2.2",
            "169.254.169.254",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[fe80::1]",
            "host.internal:3986",
            "example.com:3986",
        ] {
            let url = format!("http://{host}/x");
            assert!(refusal(&Url::parse(&url).expect(&url), &own).is_some(), "{url}");
        }
    }

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
