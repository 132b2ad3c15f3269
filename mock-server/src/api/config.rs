//! `ConfigController_getConfig` and health: open to all.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use serde_json::{Value, json};

use super::{auth::Client, error::ok, rate_limits::RateLimits};
use crate::{
    gateway::{links::Links, ssh::Public},
    model::{ControlPlane, settings::MAX_AUTO_ARCHIVE, snapshots},
};

/// `analyticsApiUrl` is left out on purpose: with it, SDKs would ask for metrics there. `mock` says what this is, so
/// that no program has to guess.
pub async fn config(
    State(cp): State<Arc<ControlPlane>>,
    Extension(limits): Extension<Arc<RateLimits>>,
    Extension(ssh): Extension<Arc<Public>>,
    client: Client,
) -> Response {
    let (base, origin) = (client.origin.base(), &client.origin);
    let info = cp.runtime().info();
    let mut config = json!({
        "version": cp.config().api_version,
        "oidc": {"issuer": base, "clientId": "daytona", "audience": "daytona", "provider": "oidc"},
        "linkedAccountsEnabled": false,
        "announcements": {},
        "proxyTemplateUrl": origin.preview_url("{{PORT}}", "{{sandboxId}}"),
        "proxyToolboxUrl": origin.toolbox_proxy_url(),
        "defaultSnapshot": snapshots::DEFAULT,
        "dashboardUrl": format!("{base}/"),
        "maxAutoArchiveInterval": MAX_AUTO_ARCHIVE,
        "maintananceMode": false,
        "environment": "mock",
    });
    if let Some(port) = ssh.port {
        config["sshGatewayCommand"] = origin.ssh_command(port, "{{TOKEN}}").into();
        config["sshGatewayPublicKey"] = ssh.host_key.as_str().into();
    }
    config["rateLimit"] = limits.config();
    config["mock"] = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "isolation": info.isolation,
        "base": info.base,
        "control": format!("{base}/__control"),
    });
    ok(&config)
}

/// What `/health` says: what this server is and what its sandboxes can do.
pub async fn health(cp: &ControlPlane, links: &Links) -> Value {
    let info = cp.runtime().info();
    json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "apiVersion": cp.config().api_version,
        "isolation": info.isolation,
        "base": info.base,
        "whyNotBetter": info.why_not_better,
        "capabilities": info.capabilities,
        "localhostNamesResolve": links.resolves("localhost").await,
    })
}

/// `HealthController_live`: the same.
pub async fn live(State(cp): State<Arc<ControlPlane>>, Extension(links): Extension<Arc<Links>>) -> Response {
    ok(&health(&cp, &links).await)
}
