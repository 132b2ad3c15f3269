//! The rules of `networkAllowList` and `domainAllowList`; messages as observed.

use std::{net::Ipv4Addr, sync::LazyLock};

use regex::Regex;

use super::error::ModelError;

/// Both lists hold at most this many entries.
const MAX_ENTRIES: usize = 10;

static DOMAIN: LazyLock<Regex> = LazyLock::new(|| {
    let label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
    Regex::new(&format!(r"(?i)^(?:\*\.)?{label}(?:\.{label})+$")).expect("a valid pattern")
});

/// Parses comma-separated IPv4 networks: `10.0.0.0/8, 1.2.3.4/32`.
pub fn parse_networks(list: &str) -> Result<Vec<(Ipv4Addr, u8)>, ModelError> {
    let networks: Vec<&str> = list.split(',').map(str::trim).collect();
    if networks.len() > MAX_ENTRIES {
        return Err(ModelError::bad_request(format!(
            "Network allow list cannot contain more than {MAX_ENTRIES} networks"
        )));
    }
    networks.into_iter().map(parse_network).collect()
}

fn parse_network(network: &str) -> Result<(Ipv4Addr, u8), ModelError> {
    let Some((address, prefix)) = network.split_once('/') else {
        let text = format!("Invalid network format: \"{network}\". Missing CIDR prefix length (e.g., /24)");
        return Err(ModelError::bad_request(text));
    };
    let address: Ipv4Addr = address.parse().map_err(|_| {
        let text = format!("Invalid IP address: \"{address}\" in network \"{network}\". Must be a valid IPv4 address");
        ModelError::bad_request(text)
    })?;
    match prefix.parse::<u8>() {
        Ok(prefix) if prefix <= 32 => Ok((address, prefix)),
        _ => {
            let text = format!("Invalid CIDR prefix length: {network}. Prefix must be between 0 and 32");
            Err(ModelError::bad_request(text))
        }
    }
}

/// Parses comma-separated domains, each possibly with a leading `*.`.
pub fn parse_domains(list: &str) -> Result<Vec<String>, ModelError> {
    let domains: Vec<&str> = list.split(',').map(str::trim).collect();
    if domains.len() > MAX_ENTRIES {
        return Err(ModelError::bad_request(format!(
            "Domain allow list cannot contain more than {MAX_ENTRIES} domains"
        )));
    }
    let parse = |domain: &str| match DOMAIN.is_match(domain) && domain.len() <= 253 {
        true => Ok(domain.to_ascii_lowercase()),
        false => Err(ModelError::bad_request(format!("Invalid domain: \"{domain}\". Must be a valid domain name"))),
    };
    domains.into_iter().map(parse).collect()
}

/// What sandboxes of an organisation with limited egress reach: package registries, code hosts and the APIs of language
/// models (the kinds of services that Daytona's page on network limits calls essential).
pub const ESSENTIAL: [&str; 27] = [
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "nodejs.org",
    "pypi.org",
    "files.pythonhosted.org",
    "crates.io",
    "static.crates.io",
    "index.crates.io",
    "proxy.golang.org",
    "sum.golang.org",
    "rubygems.org",
    "repo.maven.apache.org",
    "github.com",
    "*.githubusercontent.com",
    "codeload.github.com",
    "api.github.com",
    "gitlab.com",
    "bitbucket.org",
    "*.ubuntu.com",
    "*.debian.org",
    "*.docker.io",
    "*.docker.com",
    "ghcr.io",
    "quay.io",
    "api.anthropic.com",
    "api.openai.com",
    "*.daytona.io",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks() {
        let ok = parse_networks("10.0.0.0/8, 1.2.3.4/32").expect("valid");
        assert_eq!(ok, [(Ipv4Addr::new(10, 0, 0, 0), 8), (Ipv4Addr::new(1, 2, 3, 4), 32)]);
        let message = |list| parse_networks(list).expect_err("invalid").message;
        assert_eq!(message("1.2.3.4"), "Invalid network format: \"1.2.3.4\". Missing CIDR prefix length (e.g., /24)");
        assert_eq!(message("1.2.3.4/33"), "Invalid CIDR prefix length: 1.2.3.4/33. Prefix must be between 0 and 32");
        let bad = "Invalid IP address: \"999.1.1.1\" in network \"999.1.1.1/8\". Must be a valid IPv4 address";
        assert_eq!(message("999.1.1.1/8"), bad);
        assert_eq!(message(&["10.0.0.0/8"; 11].join(",")), "Network allow list cannot contain more than 10 networks");
    }

    #[test]
    fn domains() {
        assert_eq!(parse_domains("Example.com, *.daytona.io").expect("valid"), ["example.com", "*.daytona.io"]);
        let message = |list| parse_domains(list).expect_err("invalid").message;
        assert_eq!(message("a b"), "Invalid domain: \"a b\". Must be a valid domain name");
        assert_eq!(message("*.*.x.com"), "Invalid domain: \"*.*.x.com\". Must be a valid domain name");
        assert_eq!(message(&["a.io"; 11].join(",")), "Domain allow list cannot contain more than 10 domains");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(list in ".{0,200}") {
            let _ = parse_networks(&list);
            let _ = parse_domains(&list);
        }
    }
}
