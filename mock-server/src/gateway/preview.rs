//! `{port}-{sandbox id or signed token}.<domain>`: a port of a sandbox. Port 2280 is the toolbox itself, which old
//! and Ruby clients reach for WebSockets that way.

use axum::{body::Body, response::Response};
use http::Request;

use super::{
    Gateway,
    cors::Cors,
    credentials::{authorize, strip_tokens},
    error::ProxyError,
    forward::forward,
    pool::TOOLBOX_PORT,
    toolbox::{LEGACY, activity, not_running},
};

/// Web terminal, toolbox, recording dashboard: private even when the sandbox is public (observed).
const RESERVED_PORTS: [u16; 3] = [22222, TOOLBOX_PORT, 33333];

/// Answers a request to the preview host `{port}-{name}`.
pub async fn by_host(gateway: &Gateway, port: u16, name: &str, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let cors = match Cors::proxy(&parts).preflight(&parts) {
        Ok(response) => return response,
        Err(cors) => cors,
    };
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let answer = checked(gateway, port, name, Request::from_parts(parts, body)).await;
    cors.apply(answer.unwrap_or_else(|error| error.response(&method, &path)))
}

async fn checked(gateway: &Gateway, port: u16, name: &str, request: Request<Body>) -> Result<Response, ProxyError> {
    let (mut parts, body) = request.into_parts();
    let signed = gateway.cp().signed_preview(port, name);
    let id = signed.as_deref().unwrap_or(name);
    let target = gateway.cp().toolbox_target(id);
    let is_open = target.as_ref().is_some_and(|target| target.public) && !RESERVED_PORTS.contains(&port);
    if signed.is_none() && !is_open {
        authorize(gateway.cp(), id, target.as_ref(), &mut parts)?;
    }
    strip_tokens(id, &mut parts);
    parts.headers.remove(LEGACY);
    let target = target.ok_or_else(|| ProxyError::unauthorized("authentication failed: unknown sandbox"))?;
    let request = Request::from_parts(parts, body);
    let Some(sandbox) = &target.running else { return Err(not_running(id, target.state, request.uri().path())) };
    let active = activity(gateway, id, &request);
    forward(gateway.pool(), sandbox, port, request, active).await
}
