//! The URL of a preview. By host name, `{port}-{id}.localhost`, where that leads somewhere: browsers and curl know
//! such names by themselves, Node, Python and everything else ask the system, which often doesn't. Where it doesn't,
//! each preview gets a port of its own, so that an URL opens in all of them. `--preview-domain` decides it.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use tokio::sync::OnceCell;

use super::{
    origin::{Addressing, Origin, host},
    preview_ports::PreviewPorts,
};
use crate::model::ControlPlane;

/// A resolver that takes longer is of no use to clients either.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes the URLs of previews.
pub struct Links {
    /// Whether names below a domain resolve, by domain.
    resolving: HashMap<String, OnceCell<bool>>,
    pub ports: Arc<PreviewPorts>,
    /// Of those ports.
    scheme: &'static str,
}

impl Links {
    /// `domains` are those that previews may live below.
    pub fn new(
        ports: Arc<PreviewPorts>,
        domains: impl IntoIterator<Item = String>,
        scheme: &'static str,
    ) -> Arc<Links> {
        let resolving = domains.into_iter().map(|domain| (domain, OnceCell::new())).collect();
        let links = Arc::new(Links { resolving, ports, scheme });
        // Found out at start, without making anybody wait.
        let found = links.clone();
        tokio::spawn(async move { found.resolves("localhost").await });
        links
    }

    /// Where a port of a sandbox is reached by a client that sees the server at `origin`. `port` is as the client
    /// wrote it: one that is no port makes an URL that leads nowhere (observed).
    pub async fn url(
        &self,
        cp: &ControlPlane,
        origin: &Origin,
        sandbox_id: &str,
        port: &str,
        token: Option<&str>,
    ) -> io::Result<String> {
        if let Some(url) = cp.region_preview(sandbox_id, port, token.unwrap_or(sandbox_id)) {
            return Ok(url);
        }
        let number = port.parse().ok();
        let Some(number) = number.filter(|_| origin.previews != Addressing::Names) else {
            return Ok(origin.preview_url(port, token.unwrap_or(sandbox_id)));
        };
        if origin.previews == Addressing::Either && self.resolves(host(&origin.preview_domain)).await {
            return Ok(origin.preview_url(port, token.unwrap_or(sandbox_id)));
        }
        let listener = self.ports.open(cp, sandbox_id, number, token).await?;
        Ok(format!("{}://{}:{listener}", self.scheme, host(&origin.authority)))
    }

    /// Whether names below `domain` lead somewhere for the programs of this machine.
    pub async fn resolves(&self, domain: &str) -> bool {
        match self.resolving.get(domain) {
            Some(known) => *known.get_or_init(|| probe(domain)).await,
            None => false,
        }
    }
}

async fn probe(domain: &str) -> bool {
    // A name that nobody has, as those of previews.
    let name = format!("1-{}.{domain}", uuid::Uuid::new_v4());
    let resolves = match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, 1))).await {
        // A resolver that invents addresses for unknown names doesn't count.
        Ok(Ok(mut found)) => domain != "localhost" || found.all(|address| address.ip().is_loopback()),
        _ => false,
    };
    tracing::info!(domain, resolves, "names of previews");
    resolves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_nobody_has_does_not_resolve() {
        assert!(!probe("no-such-domain.invalid").await);
    }
}
