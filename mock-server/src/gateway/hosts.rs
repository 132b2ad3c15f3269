//! Which `Host` values are ours. A page on the internet can make a browser talk to a loopback port under the page's
//! own name (DNS rebinding); answering only to known names stops that (`design/decisions.md`, Hosts).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Uri, header, uri::Authority};

use super::origin::{Addressing, Origin};
use crate::config::Config;

/// The host names of this server.
#[derive(Debug)]
pub struct Hosts {
    public: Option<PublicUrl>,
    /// Lower case, without port.
    allowed: Vec<String>,
    /// `--preview-domain`.
    previews: Pinned,
    /// Where requests without a Host (HTTP/1.0) are thought to have gone.
    listening: SocketAddr,
    /// What it is spoken to in: `http` or `https`.
    scheme: &'static str,
}

/// What `--preview-domain` says.
#[derive(Debug)]
enum Pinned {
    Nothing,
    /// `none`: a port for each.
    Ports,
    /// Lower case.
    Domain(Authority),
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
    /// Below a domain of previews, but no preview (observed: 404).
    Nowhere,
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
    /// Of a configuration that passed [`check`].
    pub fn new(config: &Config, listening: SocketAddr) -> Hosts {
        let public = config.public_url.as_deref().and_then(parse_public_url);
        let allowed = config.allow_hosts.iter().map(|name| name.to_ascii_lowercase()).collect();
        let previews = config.preview_domain.as_deref().and_then(parse_preview_domain).unwrap_or(Pinned::Nothing);
        Hosts { public, allowed, previews, listening, scheme: config.scheme() }
    }

    /// Whether URLs in answers are pinned.
    pub fn has_public_url(&self) -> bool {
        self.public.is_some()
    }

    /// The domains that previews may live below without being told so.
    pub fn unpinned_domains(&self) -> impl Iterator<Item = String> {
        self.allowed.iter().cloned().chain(["localhost".into()])
    }

    /// The preview that is asked for at a port of its own; `name` as in [`Preview`].
    pub fn at_port(&self, uri: &Uri, headers: &HeaderMap, local: SocketAddr, port: u16, name: String) -> Preview {
        let (authority, host) = match requested(uri, headers) {
            Some(authority) => (authority.as_str().to_ascii_lowercase(), authority.host().to_ascii_lowercase()),
            None => (local.to_string(), bracketed(local.ip())),
        };
        let main = match &self.public {
            Some(url) => format!("{}://{}", url.scheme, url.authority),
            None => format!("{}://{host}:{}", self.scheme, self.listening.port()),
        };
        Preview { port, name, base: format!("{}://{authority}", self.scheme), main }
    }

    /// Where a request to `uri` with these headers, accepted on `local`, is meant to go.
    /// `regions` knows the hosts of regions' proxies.
    pub fn destination(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        local: IpAddr,
        regions: impl Fn(&str) -> bool,
    ) -> Destination {
        let Some(authority) = requested(uri, headers) else {
            return match headers.get(header::HOST) {
                None => Destination::Main(self.origin(&self.listening.to_string(), "localhost")),
                Some(junk) => Destination::Unknown(String::from_utf8_lossy(junk.as_bytes()).into_owned()),
            };
        };
        let host = authority.host().to_ascii_lowercase();
        if let Some((port, name, domain)) =
            preview_parts(&host).filter(|parts| self.is_preview_domain(parts.2) || regions(parts.2))
        {
            let main = self.main_of(&authority, domain);
            let scheme = self.public.as_ref().map_or(self.scheme, |url| &url.scheme);
            let base = format!("{scheme}://{}", authority.as_str().to_ascii_lowercase());
            return Destination::Preview(Preview { port, name: name.to_owned(), base, main });
        }
        if !self.is_main(&host, local) && !regions(&host) {
            let domain = host.split_once('.').map(|(_, domain)| domain);
            let is_ours = domain.is_some_and(|domain| self.is_preview_domain(domain) || regions(domain));
            return if is_ours { Destination::Nowhere } else { Destination::Unknown(host) };
        }
        Destination::Main(self.origin(authority.as_str(), &host))
    }

    fn is_main(&self, host: &str, local: IpAddr) -> bool {
        let is_public = self.public.as_ref().is_some_and(|url| url.authority.host().eq_ignore_ascii_case(host));
        // The sign-in of a domain whose wildcard leads here needs a name that the wildcard covers.
        let is_of_previews = self.pinned_domain().is_some_and(|domain| {
            let rest = host.strip_prefix(SIGN_IN).and_then(|rest| rest.strip_prefix('.')).unwrap_or(host);
            rest == domain.host()
        });
        is_public
            || is_of_previews
            || is_loopback(host)
            || ip_literal(host) == Some(local)
            || self.allowed.iter().any(|name| name == host)
    }

    fn is_preview_domain(&self, domain: &str) -> bool {
        let is_public = self.public.as_ref().is_some_and(|url| url.authority.host().eq_ignore_ascii_case(domain));
        let is_pinned = self.pinned_domain().is_some_and(|pinned| pinned.host() == domain);
        is_public || is_pinned || domain == "localhost" || self.allowed.iter().any(|name| name == domain)
    }

    /// The origin for a request whose Host was `authority`, on `host`.
    fn origin(&self, authority: &str, host: &str) -> Origin {
        let (scheme, authority, host) = match &self.public {
            Some(url) => (url.scheme.clone(), url.authority.to_string(), url.authority.host()),
            None => (self.scheme.into(), authority.to_owned(), host),
        };
        let (domain, previews) = match &self.previews {
            Pinned::Domain(domain) if domain.port().is_some() => (domain.as_str(), Addressing::Names),
            Pinned::Domain(domain) => (domain.host(), Addressing::Names),
            _ if is_loopback(host) => ("localhost", Addressing::Either),
            // Nothing lives below an address.
            _ if ip_literal(host).is_some() => ("localhost", Addressing::Ports),
            _ if self.public.is_some() => (host, Addressing::Names),
            _ => (host, Addressing::Either),
        };
        let previews = if matches!(self.previews, Pinned::Ports) { Addressing::Ports } else { previews };
        let preview_domain = if domain.contains(':') { domain.to_owned() } else { with_port_of(domain, &authority) };
        Origin { scheme, authority, preview_domain, previews }
    }

    /// The server's own origin for someone who asked for a preview at `authority`, below `domain`.
    fn main_of(&self, authority: &Authority, domain: &str) -> String {
        let is_pinned = self.pinned_domain().is_some_and(|pinned| pinned.host() == domain);
        match &self.public {
            Some(url) => format!("{}://{}", url.scheme, url.authority),
            None if is_pinned && !is_loopback(domain) => {
                format!("{}://{}", self.scheme, with_port_of(&format!("{SIGN_IN}.{domain}"), authority.as_str()))
            }
            None => format!("{}://{}", self.scheme, with_port_of(domain, authority.as_str())),
        }
    }

    fn pinned_domain(&self) -> Option<&Authority> {
        match &self.previews {
            Pinned::Domain(domain) => Some(domain),
            _ => None,
        }
    }
}

/// Label of the server's own host below a `--preview-domain`.
const SIGN_IN: &str = "sign-in";

/// Why the URLs and domains of a configuration can't be used, if so.
pub fn check(config: &Config) -> Result<(), String> {
    config.public_url.as_deref().map_or(Ok(()), check_public_url)?;
    match config.preview_domain.as_deref() {
        Some(text) if parse_preview_domain(text).is_none() => {
            Err(format!("--preview-domain {text}: expected a domain name with or without a port, or none"))
        }
        _ => Ok(()),
    }
}

/// `none`, or a domain name. Nothing lives below an address.
fn parse_preview_domain(text: &str) -> Option<Pinned> {
    if text == "none" {
        return Some(Pinned::Ports);
    }
    let domain: Authority = text.to_ascii_lowercase().parse().ok()?;
    let is_name = is_plain(&domain) && !domain.host().is_empty() && ip_literal(domain.host()).is_none();
    is_name.then_some(Pinned::Domain(domain))
}

/// Why `--public-url` can't be used, if so.
fn check_public_url(url: &str) -> Result<(), String> {
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

fn bracketed(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
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
        hosts.destination(&Uri::from_static("/api/health"), &headers, [192, 168, 1, 5].into(), |_| false)
    }

    fn hosts(public: Option<&str>, allowed: &[&str]) -> Hosts {
        let allow_hosts = allowed.iter().map(|&name| name.into()).collect();
        with(Config { public_url: public.map(str::to_owned), allow_hosts, ..Config::default() })
    }

    fn with(config: Config) -> Hosts {
        check(&config).expect("good");
        Hosts::new(&config, ([127, 0, 0, 1], 3986).into())
    }

    fn pinned(domain: &str) -> Hosts {
        with(Config { preview_domain: Some(domain.into()), ..Config::default() })
    }

    fn main_origin(hosts: &Hosts, host: &str) -> Origin {
        let Destination::Main(origin) = destination(hosts, host) else { panic!("unknown: {host}") };
        origin
    }

    #[test]
    fn previews_are_told_apart_by_what_can_work() {
        let cases = [
            (hosts(None, &[]), "127.0.0.1:80", Addressing::Either, "localhost:80"),
            (hosts(None, &[]), "[::1]:80", Addressing::Either, "localhost:80"),
            (hosts(None, &[]), "192.168.1.5:80", Addressing::Ports, "localhost:80"),
            (hosts(None, &["daytona"]), "daytona:80", Addressing::Either, "daytona:80"),
            (hosts(Some("https://mock.example"), &[]), "localhost:1", Addressing::Names, "mock.example"),
            (hosts(Some("http://127.0.0.1:99"), &[]), "localhost:1", Addressing::Either, "localhost:99"),
            (pinned("none"), "localhost:1", Addressing::Ports, "localhost:1"),
            (pinned("Previews.example"), "localhost:1", Addressing::Names, "previews.example:1"),
            (pinned("localhost:99"), "localhost:1", Addressing::Names, "localhost:99"),
        ];
        for (hosts, host, previews, domain) in cases {
            let origin = main_origin(&hosts, host);
            assert_eq!((origin.previews, origin.preview_domain.as_str()), (previews, domain), "{host}");
        }
    }

    #[test]
    fn a_pinned_domain_and_its_sign_in_are_known() {
        let hosts = pinned("previews.example");
        let found = destination(&hosts, "80-abc.previews.example:3986");
        let Destination::Preview(found) = found else { panic!("{found:?}") };
        assert_eq!(found.main, "http://sign-in.previews.example:3986");
        assert_eq!(main_origin(&hosts, "sign-in.previews.example:3986").base(), found.main);
        assert!(matches!(destination(&hosts, "other.example"), Destination::Unknown(_)));
        for host in ["abc-x.previews.example", "abc.previews.example:1", "65536-x.previews.example"] {
            assert_eq!(destination(&hosts, host), Destination::Nowhere, "{host}");
        }
        for bad in ["", "127.0.0.1", "http://x", "a/b", "a;b", "[::1]", "x@y"] {
            assert!(check(&Config { preview_domain: Some(bad.into()), ..Config::default() }).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_preview_at_a_port_of_its_own_knows_where_it_is() {
        let headers = [(header::HOST, "LocalHost:4000".parse().expect("header"))].into_iter().collect();
        let (uri, local) = (Uri::from_static("/x"), SocketAddr::from(([127, 0, 0, 1], 4000)));
        let found = hosts(None, &[]).at_port(&uri, &headers, local, 80, "abc".into());
        assert_eq!((found.base.as_str(), found.main.as_str()), ("http://localhost:4000", "http://localhost:3986"));
        let found = hosts(None, &[]).at_port(&uri, &HeaderMap::new(), local, 80, "abc".into());
        assert_eq!((found.base.as_str(), found.main.as_str()), ("http://127.0.0.1:4000", "http://127.0.0.1:3986"));
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
