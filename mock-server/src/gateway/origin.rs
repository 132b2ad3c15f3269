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

    /// The proxy of a region with one of its own, else this server.
    pub fn proxy(&self, of_region: Option<&str>) -> String {
        of_region.map_or_else(|| self.base(), |proxy| proxy.trim_end_matches('/').to_owned())
    }

    /// `toolboxProxyUrl` of a sandbox; clients append `/{sandboxId}/…`.
    pub fn toolbox_proxy_url(&self) -> String {
        format!("{}/toolbox", self.base())
    }

    /// How an SSH client is called: at the host that this client knows, with the token as the user (observed).
    pub fn ssh_command(&self, port: u16, token: &str) -> String {
        let port = if port == 22 { String::new() } else { format!("-p {port} ") };
        let host = host(&self.authority).trim_start_matches('[').trim_end_matches(']');
        format!("ssh {port}{token}@{host}")
    }

    /// `http://3000-<sandbox id or signed token>.localhost:3986`. `port` is text because the real server lets `NaN` through.
    pub fn preview_url(&self, port: &str, host_part: &str) -> String {
        format!("{}://{port}-{host_part}.{}", self.scheme, self.preview_domain)
    }
}

/// An authority without its port.
pub fn host(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => &authority[..at],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_port() {
        for (authority, expected) in
            [("localhost:1", "localhost"), ("a.b", "a.b"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")]
        {
            assert_eq!(host(authority), expected);
        }
    }

    #[test]
    fn ssh_commands_name_the_port_unless_it_is_the_usual_one() {
        let origin = |authority: &str| Origin {
            scheme: "http".into(),
            authority: authority.into(),
            preview_domain: String::new(),
            previews: Addressing::Names,
        };
        assert_eq!(origin("localhost:3986").ssh_command(2222, "abc"), "ssh -p 2222 abc@localhost");
        assert_eq!(origin("[::1]:3986").ssh_command(22, "abc"), "ssh abc@::1");
    }
}
