//! What the server is told at start. One field per flag; `cli.rs` fills it, embedding code may too.

use std::path::PathBuf;

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
            address => address.parse().map(SshListen::At).map_err(|_| "expected off or an address with a port".into()),
        }
    }
}
