//! What a sandbox is told of ways out: a proxy for its web traffic, where its telemetry goes, how long its creation may
//! wait for a runner (contract of `createSandbox`; the last one newer models only). The proxy is for programs that heed
//! the usual variables; nothing makes the others.

use serde::{Deserialize, Serialize};

use super::ModelError;

/// Given at creation, and told by reads of the one sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outward {
    /// An `http` or `https` URL, with its credentials.
    pub outbound_proxy_url: Option<String>,
    pub otel_endpoint_override: Option<String>,
    /// Minutes. Nothing waits for a runner here.
    pub queue_timeout: Option<i32>,
}

impl Outward {
    /// 400 for what is no URL of the web, and for a time that has no minute in it.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let urls =
            [("outboundProxyUrl", &self.outbound_proxy_url), ("otelEndpointOverride", &self.otel_endpoint_override)];
        for (name, url) in urls {
            if url.as_deref().is_some_and(|url| !is_web_url(url)) {
                return Err(ModelError::bad_request(format!("{name} must be a valid http or https URL")));
            }
        }
        if self.queue_timeout.is_some_and(|minutes| minutes < 1) {
            return Err(ModelError::bad_request("queueTimeout must not be less than 1"));
        }
        Ok(())
    }

    /// The variables inside. Some programs read one spelling, some the other.
    pub(super) fn variables(&self) -> impl Iterator<Item = (String, String)> {
        const PROXY: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
        let proxy = self.outbound_proxy_url.iter().flat_map(|url| PROXY.map(|name| (name.to_owned(), url.clone())));
        let telemetry = self.otel_endpoint_override.iter().map(|url| ("DAYTONA_OTEL_ENDPOINT".to_owned(), url.clone()));
        proxy.chain(telemetry)
    }

    /// Whether programs inside notice.
    pub(super) fn shows_inside(&self) -> bool {
        self.outbound_proxy_url.is_some() || self.otel_endpoint_override.is_some()
    }
}

fn is_web_url(text: &str) -> bool {
    let Ok(url) = text.parse::<http::Uri>() else { return false };
    matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_web_only() {
        for good in ["http://proxy:3128", "https://user:pass@proxy.example.com/", "http://[::1]:8080"] {
            assert!(is_web_url(good), "{good}");
        }
        for bad in ["", "proxy:3128", "socks5://proxy:1080", "http://", "http://a b", "http://a\nB=c", "file:///etc"] {
            assert!(!is_web_url(bad), "{bad}");
        }
    }
}
