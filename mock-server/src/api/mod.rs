//! Control-plane handlers and their wire types, a file per resource. Every route is in [`routes`].

mod api_keys;
mod audit;
mod auth;
mod body;
pub(crate) mod build_logs;
mod config;
mod create;
mod document;
mod dto;
mod error;
pub mod events;
mod lists;
mod new_snapshot;
mod object_storage;
pub mod operations;
mod organizations;
mod permissions;
mod preview;
mod query;
mod rate_limits;
mod regions;
mod registries;
mod sandboxes;
mod secrets;
mod settings;
mod snapshots;
mod ssh_access;
mod telemetry;
mod transport;
mod users;
mod validate;
mod volumes;
mod warm_pools;
mod webhooks;

use std::sync::Arc;

use axum::{
    Extension, Router,
    routing::{delete, get, patch, post, put},
};

pub use self::{
    auth::{Caller, token},
    body::{Body, read as read_body, read_document},
    config::health,
    document::document,
    error::{ApiError, ApiResult, created, ok, render as render_error, time},
    organizations::dto as organization_dto,
    rate_limits::{Peer, RateLimit, RateLimits, limit_names, limit_of, throttled},
};
use crate::{
    gateway::{links::Links, seal::Seal, ssh},
    model::ControlPlane,
};

/// The API, with paths relative to `/api`. Wants [`crate::gateway::origin::Origin`] and [`Peer`] as request extensions.
pub fn router(
    cp: Arc<ControlPlane>,
    links: Arc<Links>,
    limits: Arc<RateLimits>,
    seal: Arc<Seal>,
    ssh: Arc<ssh::Public>,
) -> Router {
    let routes = routes().layer(Extension(links)).layer(Extension(seal)).layer(Extension(ssh));
    transport::finish(routes, cp, limits)
}

fn organization_routes() -> Router<Arc<ControlPlane>> {
    use organizations::{create, invitations, list, members, settings, usage};
    Router::new()
        .route("/organizations", get(list).post(create))
        .route("/organizations/invitations", get(invitations::mine))
        .route("/organizations/invitations/count", get(invitations::count))
        .route("/organizations/invitations/{id}/accept", post(invitations::accept))
        .route("/organizations/invitations/{id}/decline", post(invitations::decline))
        .route("/organizations/{id}", get(organizations::get).delete(organizations::delete))
        .route("/organizations/{id}/default-region", patch(organizations::set_default_region))
        .route("/organizations/{id}/leave", post(organizations::leave))
        .route("/organizations/{id}/usage", get(usage::overview))
        .route("/organizations/{id}/available-sandbox-classes", get(usage::classes))
        .route("/organizations/{id}/otel-config", put(settings::set_otel).delete(settings::delete_otel))
        .route("/organizations/{id}/preview-warning", post(settings::preview_warning))
        .route("/organizations/{id}/experimental-config", put(settings::experimental))
        .route("/organizations/{id}/roles", get(members::list_roles).post(members::create_role))
        .route("/organizations/{id}/roles/{role}", put(members::update_role).delete(members::delete_role))
        .route("/organizations/{id}/users", get(members::list))
        .route("/organizations/{id}/users/{user}", delete(members::delete))
        .route("/organizations/{id}/users/{user}/access", post(members::set_access))
        .route("/organizations/{id}/invitations", get(invitations::list).post(invitations::create))
        .route("/organizations/{id}/invitations/{invitation}", put(invitations::update))
        .route("/organizations/{id}/invitations/{invitation}/cancel", post(invitations::cancel))
}

fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/config", get(config::config))
        .route("/health", get(config::live))
        .route("/health/ready", get(preview::proxy_only))
        .route("/regions", get(regions::available).post(regions::create))
        .route("/regions/{id}", get(regions::get).patch(regions::update).delete(regions::delete))
        .route("/regions/{id}/regenerate-proxy-api-key", post(regions::proxy_key))
        .route("/regions/{id}/regenerate-ssh-gateway-api-key", post(regions::ssh_key))
        .route("/regions/{id}/regenerate-snapshot-manager-credentials", post(regions::snapshot_manager))
        .route("/runners", get(regions::no_runners).post(regions::no_runners))
        .route("/runners/{id}", get(regions::no_runners).delete(regions::no_runners))
        .route("/runners/{id}/scheduling", patch(regions::no_runners))
        .route("/runners/{id}/draining", patch(regions::no_runners))
        .route("/shared-regions", get(regions::list_shared))
        .route("/audit/scenarios", get(audit::scenarios))
        .route("/audit/organizations/{id}", get(audit::list))
        .route("/warm-pools", get(warm_pools::list).post(warm_pools::create))
        .route("/warm-pools/{id}", patch(warm_pools::update).delete(warm_pools::delete))
        .route("/webhooks/organizations/{id}/app-portal-access", post(webhooks::portal_access))
        .route("/webhooks/organizations/{id}/initialization-status", get(webhooks::get_status))
        .route("/webhooks/organizations/{id}/initialize", post(webhooks::initialize))
        .route("/webhooks/organizations/{id}/refresh-endpoints", post(webhooks::refresh))
        .route("/api-keys", get(api_keys::list).post(api_keys::create))
        .route("/api-keys/current", get(api_keys::current))
        .route("/api-keys/{name}", get(api_keys::get).delete(api_keys::delete))
        .route("/api-keys/{user}/{name}", delete(api_keys::delete_for_user))
        .route("/users/me", get(users::me))
        .route("/users/account-providers", get(users::no_providers))
        .route("/users/linked-accounts", post(users::no_providers))
        .route("/users/linked-accounts/{provider}/{id}", delete(users::no_providers))
        .route("/users/mfa/sms/enroll", post(users::no_providers))
        .merge(organization_routes())
        .route("/docker-registry", get(registries::list).post(registries::create))
        .route("/docker-registry/registry-push-access", get(registries::push_access))
        .route("/docker-registry/{id}", get(registries::get).patch(registries::update).delete(registries::delete))
        .route("/secret", get(secrets::list).post(secrets::create))
        .route("/secret/paginated", get(secrets::paginated))
        .route("/secret/{id}", get(secrets::get).patch(secrets::update).delete(secrets::delete))
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
        .route("/sandbox/{id}/forks", get(sandboxes::forks))
        .route("/sandbox/{id}/ancestors", get(sandboxes::ancestors))
        .route("/sandbox/{id}/parent", get(sandboxes::parent))
        .route("/sandbox/{id}/last-activity", post(sandboxes::last_activity))
        .route("/sandbox/{id}/toolbox-proxy-url", get(sandboxes::toolbox_proxy_url))
        .route("/sandbox/{id}/build-logs", get(build_logs::of_sandbox))
        .route("/sandbox/{id}/build-logs-url", get(build_logs::url_of_sandbox))
        .route("/sandbox/{id}/labels", put(settings::labels))
        .route("/sandbox/{id}/secrets", put(secrets::attach).get(transport::unrouted))
        .route("/sandbox/{id}/public/{public}", post(settings::public))
        .route("/sandbox/{id}/autostop/{minutes}", post(settings::auto_stop))
        .route("/sandbox/{id}/autopause/{minutes}", post(settings::auto_pause))
        .route("/sandbox/{id}/autoarchive/{minutes}", post(settings::auto_archive))
        .route("/sandbox/{id}/autodelete/{minutes}", post(settings::auto_delete))
        .route("/sandbox/{id}/ttl/{minutes}", post(settings::ttl))
        .route("/sandbox/{id}/network-settings", post(settings::network))
        .route("/sandbox/{id}/ports/{port}/preview-url", get(preview::url))
        .route("/sandbox/{id}/ports/{port}/signed-preview-url", get(preview::signed_url))
        .route("/sandbox/{id}/ports/{port}/signed-preview-url/{token}/expire", post(preview::expire))
        .route("/sandbox/{id}/signing-key", get(preview::signing_key))
        .route("/sandbox/{id}/signing-key/rotate", post(preview::rotate))
        .route("/sandbox/ssh-access/validate", get(ssh_access::validate))
        .route("/sandbox/{id}/ssh-access", post(ssh_access::create).delete(ssh_access::revoke))
        .route("/sandbox/{id}/telemetry/metrics", get(telemetry::metrics))
        .route("/sandbox/{id}/telemetry/logs", get(telemetry::pages))
        .route("/sandbox/{id}/telemetry/traces", get(telemetry::pages))
        .route("/sandbox/{id}/telemetry/traces/{trace}", get(telemetry::spans))
        .route("/object-storage/push-access", get(object_storage::push_access))
        .route("/volumes", get(volumes::list).post(volumes::create))
        .route("/volumes/{id}", get(volumes::get).delete(volumes::delete))
        .route("/volumes/by-name/{name}", get(volumes::by_name))
        .route("/preview/{id}/access", get(preview::access))
        .route("/preview/{id}/public", get(preview::proxy_only))
        .route("/preview/{id}/preview-warning", get(preview::proxy_only))
        .route("/preview/{id}/signing-key", get(preview::proxy_only))
        .route("/preview/{id}/validate/{token}", get(preview::proxy_only))
        .route("/preview/{id}/{port}/sandbox-id", get(preview::sandbox_id))
}
