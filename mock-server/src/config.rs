//! What the server is told at start. One field per flag; `cli.rs` fills it, embedding code may too.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use crate::variables;

/// Options of [`crate::MockServer`]. `Default` is what a test wants: port 0, temporary data, one minted key.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Address to listen on; port 0 picks a free one. Default `127.0.0.1:0` when embedded, `127.0.0.1:3986` on the command line.
    pub listen: Option<std::net::SocketAddr>,
    /// Where SSH is served. Default: port 2222 of the same address if it is free, else any; any where `listen` has port 0.
    pub ssh_listen: Option<SshListen>,
    /// Where state lives. `None`: a temporary directory that is removed at exit.
    pub data_dir: Option<PathBuf>,
    /// Bases, shared between servers of this user. Default `$XDG_CACHE_HOME/daytona-mock`.
    pub cache_dir: Option<PathBuf>,
    /// Keys accepted from the start; each has an organisation of its own. Empty: one is minted.
    pub api_keys: Vec<String>,
    /// Pins every URL in answers; else they are derived from the request's Host.
    pub public_url: Option<String>,
    /// HTTPS instead of HTTP.
    pub tls: Option<Tls>,
    /// Host names accepted besides loopback names, own addresses and the preview domain.
    pub allow_hosts: Vec<String>,
    /// Domain that previews live below, with a port if it isn't the server's: `{port}-{id}.DOMAIN`. `none`: each preview
    /// has a port of this machine of its own. Default: `localhost` where `*.localhost` resolves, else as `none`.
    pub preview_domain: Option<String>,
    /// `X-Daytona-Api-Version` and `/config.version`. Default 0.205.1.
    pub api_version: Option<String>,
    /// Isolation tier; default: the best that this machine allows.
    pub isolation: crate::runtime::IsolationChoice,
    /// What sandboxes are made of; default: derived from the host.
    pub base: crate::runtime::BaseChoice,
    /// What images of builds resolve to when their registry can't be reached.
    pub offline_base: crate::model::OfflineBase,
    /// A container engine that builds Dockerfiles instead of this server.
    pub builder: Option<crate::builds::Engine>,
    /// More host directories bound read-only into every sandbox at the same path.
    pub base_include: Vec<PathBuf>,
    /// Directory of bare repositories `<host>/<owner>/<repo>.git` that `https://` remotes resolve to.
    pub git_mirrors: Option<PathBuf>,
    /// PEM files: authorities that servers may be proved by, besides the system's, for sandboxes' secrets to go there.
    pub upstream_ca: Vec<PathBuf>,
    /// Variables given to every sandbox and build.
    pub env: Vec<(String, String)>,
    /// What the first key's world has from the start, if it is empty then (JSON or YAML, [`crate::seed`]).
    pub seed: Option<PathBuf>,
    /// Bounds on sizes and counts.
    pub limits: crate::limits::Limits,
    /// What each organisation may use; as much as it likes by default.
    pub quota: Option<crate::model::quota::Quota>,
    /// Where everything that happens is told, in whatever organisation.
    pub webhooks: Vec<crate::model::webhooks::NewEndpoint>,
    /// Signs what these are told: `whsec_` and base64. Default: made at the first start, kept in `<data_dir>/webhook-secret`.
    pub webhook_secret: Option<String>,
    /// Hold every request against the contract, and journal or refuse what breaks a rule. Keys may be minted otherwise.
    pub strict: Option<crate::strict::Strictness>,
    /// How often clients may ask; off by default.
    pub rate_limits: Vec<crate::api::RateLimit>,
    /// The `daytona-mock` binary that becomes the zygote. Default: this executable if it is one, else beside it, else on PATH.
    pub binary: Option<PathBuf>,
}

impl Config {
    /// What the server is spoken to in.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Why keys, names or variables can't be used, if so.
    pub fn check(&self) -> Result<(), String> {
        let named = |flag: &'static str| move |why: String| format!("{flag}: {why}");
        self.api_keys.iter().try_for_each(|key| check_api_key(key)).map_err(named("--api-key"))?;
        self.allow_hosts.iter().try_for_each(|name| check_host(name)).map_err(named("--allow-host"))?;
        self.env.iter().try_for_each(|(name, value)| variables::check(name, value)).map_err(named("--env"))
    }
}

/// A key comes in a header, behind a space: nothing around it counts, and an empty one would be everybody's.
pub fn check_api_key(key: &str) -> Result<(), String> {
    let plain = !key.is_empty() && key.trim() == key && key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if plain { Ok(()) } else { Err("expected a key: printable ASCII, and not empty".into()) }
}

/// A name as a `Host` header has it, without a port.
pub fn check_host(name: &str) -> Result<(), String> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if plain && !name.is_empty() { Ok(()) } else { Err(format!("{name:?} is no host name (without a port)")) }
}

/// An address, or a name that has one, with a port. IPv4 first. Blocking where it is a name.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let expected = "expected an address or a name, with a port: 127.0.0.1:3986, localhost:0";
    let found: Vec<SocketAddr> = match text.to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => return Err(format!("{error}; {expected}")),
    };
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| expected.to_owned())
}

/// What HTTPS is served with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Certificates of an authority of the server's own, `<data_dir>/tls/ca.pem`.
    SelfSigned,
    /// PEM files: the certificate with what leads to its authority, and its key.
    Given { certificate: PathBuf, key: PathBuf },
}

/// Where SSH is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SshListen {
    Off,
    /// Port 0 picks a free one.
    At(std::net::SocketAddr),
}

impl std::str::FromStr for SshListen {
    type Err = String;

    fn from_str(text: &str) -> Result<SshListen, String> {
        match text {
            "off" => Ok(SshListen::Off),
            address => parse_address(address).map(SshListen::At).map_err(|why| format!("{why}, or off")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_names() {
        assert_eq!(parse_address("127.0.0.1:1"), Ok(([127, 0, 0, 1], 1).into()));
        assert_eq!(parse_address("localhost:2"), Ok(([127, 0, 0, 1], 2).into()));
        assert_eq!(parse_address("[::1]:3").map(|address| address.port()), Ok(3));
        for bad in ["", "localhost", "127.0.0.1", "localhost:99999", ":"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_no_header_and_no_process_can_have_is_refused() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check()
        };
        assert_eq!(with(|config| config.api_keys.push("dtn_x y".into())), Ok(()));
        assert!(with(|config| config.api_keys.push(String::new())).is_err_and(|why| why.starts_with("--api-key: ")));
        for bad in [" ", "a ", "a\nb", "ä"] {
            assert!(check_api_key(bad).is_err(), "{bad:?}");
        }
        assert!(
            with(|config| config.allow_hosts.push("a b".into())).is_err_and(|why| why.starts_with("--allow-host: "))
        );
        assert!(with(|config| config.env.push(Default::default())).is_err_and(|why| why.starts_with("--env: ")));
    }
}
