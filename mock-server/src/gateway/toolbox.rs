//! `/toolbox/{id}/…` and `2280-{id}.<domain>`: requests to a sandbox's toolbox.

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, Method, Request, header, request::Parts};

use super::{
    Gateway,
    activity::Active,
    cors::Cors,
    credentials::{self, PREVIEW_TOKEN, bearer, query_value, take_query, with_path},
    error::ProxyError,
    forward::forward,
    origin::Origin,
    pool::TOOLBOX_PORT,
};
use crate::model::{ControlPlane, State, ToolboxTarget};

const SKIP_ACTIVITY: HeaderName = HeaderName::from_static("x-daytona-skip-last-activity-update");
/// Tells the agent that a client of the old API path asks, which relies on the old argv splitting. Never a client's to set.
pub const LEGACY: HeaderName = HeaderName::from_static("x-daytona-legacy-toolbox");

/// Answers `/toolbox/{id}/{rest}`.
pub async fn by_path(gateway: &Gateway, origin: &Origin, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let cors = match Cors::proxy(&parts).preflight(&parts) {
        Ok(response) => return response,
        Err(cors) => cors,
    };
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let answer = match split(&path) {
        Some((id, rest)) => checked(gateway, &origin.base(), id, rest, Request::from_parts(parts, body)).await,
        None => Err(ProxyError::not_found("not found")),
    };
    cors.apply(answer.unwrap_or_else(|error| error.response(&method, &path)))
}

/// `/toolbox/{id}/{rest}` → (id, `/{rest}`).
fn split(path: &str) -> Option<(&str, &str)> {
    let below = path.strip_prefix("/toolbox/")?;
    let at = below.find('/').filter(|at| *at > 0)?;
    Some(below.split_at(at))
}

async fn checked(
    gateway: &Gateway,
    base: &str,
    id: &str,
    rest: &str,
    request: Request<Body>,
) -> Result<Response, ProxyError> {
    let (mut parts, body) = request.into_parts();
    let target = gateway.cp().toolbox_target(id);
    if is_signed_file_url(&parts, rest) {
        check_signature(gateway.cp(), id, &mut parts)?;
        credentials::strip(gateway.cp(), &mut parts);
    } else {
        credentials::authorize(gateway.cp(), id, target.as_ref(), base, &mut parts)?;
    }
    let target = target.ok_or_else(|| ProxyError::unauthorized("authentication failed: Bearer token is invalid"))?;
    parts.headers.remove(LEGACY);
    let mut response = to_agent(gateway, id, &target, rest, Request::from_parts(parts, body)).await?;
    prefix_location(&mut response, id);
    Ok(response)
}

/// Sends an authorised request to the agent's `path` (with the request's own query).
pub async fn to_agent(
    gateway: &Gateway,
    id: &str,
    target: &ToolboxTarget,
    path: &str,
    mut request: Request<Body>,
) -> Result<Response, ProxyError> {
    let Some(sandbox) = &target.running else { return Err(not_running(id, target.state, path)) };
    let active = activity(gateway, id, &request);
    let path_and_query = request.uri().query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    *request.uri_mut() = with_path(&http::Uri::default(), &path_and_query);
    forward(gateway.pool(), sandbox, TOOLBOX_PORT, request, active).await
}

pub fn activity(gateway: &Gateway, id: &str, request: &Request<Body>) -> Active {
    let skip = request.headers().get(SKIP_ACTIVITY).is_some_and(|value| value == "true");
    if skip { Active::uncounted() } else { gateway.activity().begin(id) }
}

/// Why a sandbox in this state can't be asked (observed; the inner hop reports its own path).
pub fn not_running(id: &str, state: State, path: &str) -> ProxyError {
    let inner = format!("/sandboxes/{id}/toolbox{path}");
    match state {
        State::Archived | State::Archiving | State::Restoring | State::PendingBuild => {
            ProxyError::bad_request(format_args!("failed to get runner info: Sandbox with ID {id} not found"))
        }
        State::Creating | State::PullingSnapshot | State::BuildingSnapshot | State::Destroying | State::Destroyed => {
            ProxyError::not_found(format_args!("sandbox container not found: No such container: {id}")).at(inner)
        }
        _ => ProxyError::bad_request("no IP address found. Is the Sandbox started?").at(inner),
    }
}

/// A file URL that carries its own proof and no other.
fn is_signed_file_url(parts: &Parts, rest: &str) -> bool {
    let is_file =
        matches!((&parts.method, rest), (&Method::GET, "/files/download") | (&Method::POST, "/files/upload-v2"));
    is_file
        && parts.uri.query().is_some_and(|query| query.contains("signature="))
        && bearer(&parts.headers).is_none()
        && !parts.headers.contains_key(PREVIEW_TOKEN)
}

/// Checks `path`, `expires` and `signature` of the query; what proves is taken out.
fn check_signature(cp: &ControlPlane, id: &str, parts: &mut Parts) -> Result<(), ProxyError> {
    let refused = || ProxyError::unauthorized("authentication failed: file URL signature is invalid or expired");
    let path = query_value(&parts.uri, "path").ok_or_else(refused)?;
    let expires = query_value(&parts.uri, "expires").and_then(|text| text.parse().ok()).ok_or_else(refused)?;
    let signature = query_value(&parts.uri, "signature").ok_or_else(refused)?;
    if !cp.verify_signed_file_url(id, parts.method.as_str(), &path, expires, &signature) {
        return Err(refused());
    }
    take_query(&mut parts.uri, &["expires", "signature"]);
    Ok(())
}

/// The agent knows nothing of the prefix that clients reach it by.
fn prefix_location(response: &mut Response, id: &str) {
    if !response.status().is_redirection() {
        return;
    }
    let Some(location) = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()) else { return };
    if location.starts_with('/')
        && !location.starts_with("//")
        && let Ok(prefixed) = HeaderValue::from_str(&format!("/toolbox/{id}{location}"))
    {
        response.headers_mut().insert(header::LOCATION, prefixed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_needs_an_id_and_a_slash_after_it() {
        assert_eq!(split("/toolbox/abc/files/x"), Some(("abc", "/files/x")));
        assert_eq!(split("/toolbox/abc/"), Some(("abc", "/")));
        for path in ["/toolbox", "/toolbox/", "/toolbox/abc", "/toolbox//x"] {
            assert_eq!(split(path), None, "{path}");
        }
    }
}
