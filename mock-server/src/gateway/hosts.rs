//! Which `Host` values are ours. A page on the internet can make a browser talk to a loopback port under the page's
//! own name (DNS rebinding); answering only to known names stops that (`design/decisions.md`, Hosts).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Uri, header, uri::Authority};

use super::origin::Origin;

/// The host names of this server.
#[derive(Debug)]
pub struct Hosts {
    public: Option<PublicUrl>,
    /// Lower case, without port.
    allowed: Vec<String>,
    /// Where requests without a Host (HTTP/1.0) are thought to have gone.
    listening: SocketAddr,
}

#[derive(Debug)]
struct PublicUrl {
    scheme: String,
    authority: Authority,
}

/// What a request's Host names.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination {
    /// The server itself.
    Main(Origin),
    /// `{port}-{name}.<domain>`: a port of a sandbox.
    Preview(Preview),
    /// Not one of ours; the text is what the client asked for.
    Unknown(String),
}

/// A preview, as a client asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    pub port: u16,
    /// A sandbox id or a signed token: ASCII letters, digits, `-` and `_`.
    pub name: String,
    /// Origin of the preview: `http://3000-x.localhost:3986`.
    pub base: String,
    /// Origin of the server itself: `http://localhost:3986`.
    pub main: String,
}

impl Hosts {
    /// `public_url` must be `http(s)://host[:port]`, see [`check_public_url`].
    pub fn new(public_url: Option<&str>, allowed: &[String], listening: SocketAddr) -> Hosts {
        let public = public_url.and_then(parse_public_url);
        let allowed = allowed.iter().map(|name| name.to_ascii_lowercase()).collect();
        Hosts { public, allowed, listening }
    }

    /// Where a request to `uri` with these headers, accepted on `local`, is meant to go.
    pub fn destination(&self, uri: &Uri, headers: &HeaderMap, local: IpAddr) -> Destination {
        let Some(authority) = requested(uri, headers) else {
            return match headers.get(header::HOST) {
                None => Destination::Main(self.origin(&self.listening.to_string(), "localhost")),
                Some(junk) => Destination::Unknown(String::from_utf8_lossy(junk.as_bytes()).into_owned()),
            };
        };
        let host = authority.host().to_ascii_lowercase();
        if let Some((port, name, domain)) = preview_parts(&host).filter(|parts| self.is_preview_domain(parts.2)) {
            let main = self.preview_origin(&authority, domain);
            let base = format!("{}://{}", main.scheme, authority.as_str().to_ascii_lowercase());
            return Destination::Preview(Preview { port, name: name.to_owned(), base, main: main.base() });
        }
        if !self.is_main(&host, local) {
            return Destination::Unknown(host);
        }
        let domain = if is_loopback_or_ip(&host) { "localhost" } else { &host };
        Destination::Main(self.origin(authority.as_str(), domain))
    }

    fn is_main(&self, host: &str, local: IpAddr) -> bool {
        let is_public = self.public.as_ref().is_some_and(|url| url.authority.host().eq_ignore_ascii_case(host));
        is_public
            || is_loopback(host)
            || ip_literal(host) == Some(local)
            || self.allowed.iter().any(|name| name == host)
    }

    fn is_preview_domain(&self, domain: &str) -> bool {
        let is_public = self.public.as_ref().is_some_and(|url| url.authority.host().eq_ignore_ascii_case(domain));
        is_public || domain == "localhost" || self.allowed.iter().any(|name| name == domain)
    }

    /// The origin for a request whose Host was `authority`; previews live below `domain` on the same port.
    fn origin(&self, authority: &str, domain: &str) -> Origin {
        if let Some(url) = &self.public {
            let authority = url.authority.to_string();
            return Origin { scheme: url.scheme.clone(), preview_domain: authority.clone(), authority };
        }
        Origin {
            scheme: "http".into(),
            authority: authority.to_owned(),
            preview_domain: with_port_of(domain, authority),
        }
    }

    fn preview_origin(&self, authority: &Authority, domain: &str) -> Origin {
        self.origin(&with_port_of(domain, authority.as_str()), domain)
    }
}

/// Why `--public-url` can't be used, if so.
pub fn check_public_url(url: &str) -> Result<(), String> {
    match parse_public_url(url) {
        Some(_) => Ok(()),
        None => Err(format!("--public-url {url}: expected http://host[:port] or https://host[:port], without a path")),
    }
}

fn parse_public_url(url: &str) -> Option<PublicUrl> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?.to_owned();
    let authority = uri.authority().filter(|_| matches!(uri.path(), "" | "/"))?.clone();
    Some(PublicUrl { scheme, authority })
}

/// The authority that the client asked for: the request target's, else the Host header's.
fn requested(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone()).filter(is_plain);
    }
    let text = headers.get(header::HOST)?.to_str().ok()?;
    text.parse().ok().filter(is_plain)
}

/// An authority may carry user information and more; a host of ours doesn't, and pages and headers name it.
fn is_plain(authority: &Authority) -> bool {
    authority.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

/// `3000-name.rest.of.domain` → (3000, `name`, `rest.of.domain`).
fn preview_parts(host: &str) -> Option<(u16, &str, &str)> {
    let (label, domain) = host.split_once('.')?;
    let (port, name) = label.split_once('-')?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    Some((port.parse().ok().filter(|_| digits && plain)?, name, domain))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || ip_literal(host).is_some_and(|ip| ip.is_loopback())
}

fn is_loopback_or_ip(host: &str) -> bool {
    is_loopback(host) || ip_literal(host).is_some()
}

fn ip_literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// `domain` with the port that `authority` has.
fn with_port_of(domain: &str, authority: &str) -> String {
    let port = authority.parse::<Authority>().ok().and_then(|authority| authority.port_u16());
    port.map_or_else(|| domain.to_owned(), |port| format!("{domain}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(hosts: &Hosts, host: &str) -> Destination {
        let headers = [(header::HOST, host.parse().expect("header"))].into_iter().collect();
        hosts.destination(&Uri::from_static("/api/health"), &headers, [192, 168, 1, 5].into())
    }

    fn hosts(public: Option<&str>, allowed: &[&str]) -> Hosts {
        let allowed: Vec<String> = allowed.iter().map(|&name| name.into()).collect();
        Hosts::new(public, &allowed, ([127, 0, 0, 1], 3986).into())
    }

    #[test]
    fn loopback_names_and_the_address_connected_to_are_known() {
        let hosts = hosts(None, &[]);
        for host in
            ["localhost:3986", "LOCALHOST", "127.0.0.1:1", "127.8.8.8", "[::1]:3986", "x.localhost", "192.168.1.5"]
        {
            assert!(matches!(destination(&hosts, host), Destination::Main(_)), "{host}");
        }
        for host in
            ["example.com", "localhost.example.com", "192.168.1.6", "10-x.example.com", "a@localhost", "", "local host"]
        {
            assert!(matches!(destination(&hosts, host), Destination::Unknown(_)), "{host}");
        }
    }

    #[test]
    fn allowed_and_public_names_are_known() {
        let hosts = hosts(Some("https://mock.example:8443"), &["Daytona"]);
        let Destination::Main(origin) = destination(&hosts, "daytona:3986") else { panic!("unknown") };
        assert_eq!(origin.base(), "https://mock.example:8443");
        assert!(matches!(destination(&hosts, "mock.example"), Destination::Main(_)));
        assert!(matches!(
            destination(&hosts, "3000-abc.mock.example:8443"),
            Destination::Preview(Preview { port: 3000, .. })
        ));
    }

    #[test]
    fn answers_name_the_host_and_port_that_the_client_used() {
        let Destination::Main(origin) = destination(&hosts(None, &[]), "127.0.0.1:8080") else { panic!("unknown") };
        assert_eq!(origin.toolbox_proxy_url(), "http://127.0.0.1:8080/toolbox");
        assert_eq!(origin.preview_url("3000", "id"), "http://3000-id.localhost:8080");
    }

    #[test]
    fn a_preview_host_names_port_and_sandbox() {
        let found = destination(&hosts(None, &[]), "2280-6f9c-11.localhost:3986");
        let Destination::Preview(found) = found else { panic!("{found:?}") };
        assert_eq!((found.port, found.name.as_str()), (2280, "6f9c-11"));
        assert_eq!(found.base, "http://2280-6f9c-11.localhost:3986");
        assert_eq!(found.main, "http://localhost:3986");
        assert!(matches!(destination(&hosts(None, &[]), "x-y.localhost"), Destination::Main(_)));
        assert!(matches!(destination(&hosts(None, &[]), "99999-y.localhost"), Destination::Main(_)));
    }

    #[test]
    fn public_urls_with_a_path_or_another_scheme_are_refused() {
        for url in ["ftp://x", "http://x/y", "x", "http://", "//x"] {
            assert!(check_public_url(url).is_err(), "{url}");
        }
        assert!(check_public_url("https://x:1/").is_ok());
    }
}
