//! Where the client thinks this server is. Every URL in an answer is made from it, never from the listening
//! address: wrong URLs behind a port mapping are the first complaint about every emulator.

/// The request's own scheme and host (known by then, see the host check), or `--public-url`. A request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: String,
    /// Host with port if the URL has one: `127.0.0.1:3986`.
    pub authority: String,
    /// Domain (with port) that previews live below: `localhost:3986`.
    pub preview_domain: String,
    pub previews: Addressing,
}

/// How previews are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// By host names, as the server was told.
    Names,
    /// By host names if they resolve, else by ports.
    Either,
    /// By ports of this machine.
    Ports,
}

impl Origin {
    /// `http://127.0.0.1:3986`
    pub fn base(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// `toolboxProxyUrl` of a sandbox; clients append `/{sandboxId}/…`.
    pub fn toolbox_proxy_url(&self) -> String {
        format!("{}/toolbox", self.base())
    }

    /// `http://3000-<sandbox id or signed token>.localhost:3986`. `port` is text because the real server lets `NaN` through.
    pub fn preview_url(&self, port: &str, host_part: &str) -> String {
        format!("{}://{port}-{host_part}.{}", self.scheme, self.preview_domain)
    }
}
