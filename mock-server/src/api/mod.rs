//! Control-plane handlers and their wire types, a file per resource. Every route is in [`routes`].

mod api_keys;
mod auth;
mod body;
mod build_logs;
mod config;
mod create;
mod dto;
mod error;
pub mod events;
mod lists;
mod new_snapshot;
pub mod operations;
mod organizations;
mod preview;
mod query;
mod rate_limits;
mod regions;
mod registries;
mod sandboxes;
mod settings;
mod snapshots;
mod telemetry;
mod transport;
mod validate;

use std::sync::Arc;

use axum::{
    Extension, Router,
    routing::{delete, get, post, put},
};

pub use self::{
    auth::Caller,
    body::{Body, read as read_body},
    error::{ApiError, ApiResult, created, ok, render as render_error},
    rate_limits::{Peer, RateLimit, RateLimits},
};
use crate::{gateway::links::Links, model::ControlPlane};

/// The API, with paths relative to `/api`. Wants [`crate::gateway::origin::Origin`] and [`Peer`] as request extensions.
pub fn router(cp: Arc<ControlPlane>, links: Arc<Links>, limits: Arc<RateLimits>) -> Router {
    transport::finish(routes().merge(preview_links(links)), cp, limits)
}

fn preview_links(links: Arc<Links>) -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/sandbox/{id}/ports/{port}/preview-url", get(preview::url))
        .route("/sandbox/{id}/ports/{port}/signed-preview-url", get(preview::signed_url))
        .layer(Extension(links))
}

fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/config", get(config::config))
        .route("/health", get(config::health))
        .route("/health/ready", get(config::ready))
        .route("/regions", get(regions::available))
        .route("/regions/{id}", get(regions::get))
        .route("/shared-regions", get(regions::list_shared))
        .route("/api-keys", get(api_keys::list).post(api_keys::create))
        .route("/api-keys/current", get(api_keys::current))
        .route("/api-keys/{name}", get(api_keys::get).delete(api_keys::delete))
        .route("/api-keys/{user}/{name}", delete(api_keys::delete_for_user))
        .route("/organizations", get(organizations::list))
        .route("/organizations/invitations", get(transport::unrouted))
        .route("/organizations/{id}", get(organizations::get))
        .route("/docker-registry", get(registries::list).post(registries::create))
        .route("/docker-registry/registry-push-access", get(transport::unrouted))
        .route("/docker-registry/{id}", get(registries::get).patch(registries::update).delete(registries::delete))
        .route("/snapshots", get(snapshots::list).post(new_snapshot::create))
        .route("/snapshots/{id}", get(snapshots::get).delete(snapshots::delete))
        .route("/snapshots/{id}/activate", post(snapshots::activate))
        .route("/snapshots/{id}/deactivate", post(snapshots::deactivate))
        .route("/snapshots/{id}/build-logs", get(build_logs::of_snapshot))
        .route("/snapshots/{id}/build-logs-url", get(build_logs::url_of_snapshot))
        .route("/sandbox", get(lists::list).post(create::create))
        .route("/sandbox/paginated", get(lists::paginated))
        .route("/sandbox/for-runner", get(transport::unrouted))
        .route("/sandbox/{id}", get(sandboxes::get).delete(sandboxes::delete))
        .route("/sandbox/{id}/start", post(sandboxes::start))
        .route("/sandbox/{id}/stop", post(sandboxes::stop))
        .route("/sandbox/{id}/pause", post(sandboxes::pause))
        .route("/sandbox/{id}/recover", post(sandboxes::recover))
        .route("/sandbox/{id}/archive", post(sandboxes::archive))
        .route("/sandbox/{id}/resize", post(sandboxes::resize))
        .route("/sandbox/{id}/snapshot", post(sandboxes::snapshot))
        .route("/sandbox/{id}/fork", post(sandboxes::fork))
        .route("/sandbox/{id}/backup", post(sandboxes::backup))
        .route("/sandbox/{id}/forks", get(sandboxes::no_relatives))
        .route("/sandbox/{id}/ancestors", get(sandboxes::no_relatives))
        .route("/sandbox/{id}/parent", get(sandboxes::parent))
        .route("/sandbox/{id}/last-activity", post(sandboxes::last_activity))
        .route("/sandbox/{id}/toolbox-proxy-url", get(sandboxes::toolbox_proxy_url))
        .route("/sandbox/{id}/build-logs", get(build_logs::of_sandbox))
        .route("/sandbox/{id}/build-logs-url", get(build_logs::url_of_sandbox))
        .route("/sandbox/{id}/labels", put(settings::labels))
        .route("/sandbox/{id}/public/{public}", post(settings::public))
        .route("/sandbox/{id}/autostop/{minutes}", post(settings::auto_stop))
        .route("/sandbox/{id}/autopause/{minutes}", post(settings::auto_pause))
        .route("/sandbox/{id}/autoarchive/{minutes}", post(settings::auto_archive))
        .route("/sandbox/{id}/autodelete/{minutes}", post(settings::auto_delete))
        .route("/sandbox/{id}/ttl/{minutes}", post(settings::ttl))
        .route("/sandbox/{id}/network-settings", post(settings::network))
        .route("/sandbox/{id}/ports/{port}/signed-preview-url/{token}/expire", post(preview::expire))
        .route("/sandbox/{id}/signing-key", get(preview::signing_key))
        .route("/sandbox/{id}/signing-key/rotate", post(preview::rotate))
        .route("/sandbox/{id}/telemetry/metrics", get(telemetry::metrics))
        .route("/sandbox/{id}/telemetry/logs", get(telemetry::pages))
        .route("/sandbox/{id}/telemetry/traces", get(telemetry::pages))
        .route("/sandbox/{id}/telemetry/traces/{trace}", get(telemetry::spans))
        .route("/preview/{id}/access", get(preview::access))
        .route("/preview/{id}/public", get(preview::proxy_only))
        .route("/preview/{id}/preview-warning", get(preview::proxy_only))
        .route("/preview/{id}/signing-key", get(preview::proxy_only))
        .route("/preview/{id}/validate/{token}", get(preview::proxy_only))
        .route("/preview/{id}/{port}/sandbox-id", get(preview::sandbox_id))
}
