//! `/api/toolbox/{id}/toolbox/…`: the toolbox by the API's own path, as SDKs up to 0.112 ask for it.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, Request, StatusCode};

use super::{
    Gateway,
    credentials::{bearer, strip},
    toolbox::{LEGACY, to_agent},
};
use crate::{
    api::{ApiError, ApiResult, render_error},
    model::{ModelError, ToolboxTarget},
};

pub const PREFIX: &str = "/api/toolbox/";
/// The routes that the old API had, as in the clients generated from it (npm `@daytonaio/api-client` 0.108-0.149, PyPI
/// `daytona_api_client` 0.108-0.190, the same 68 in each; earlier ones had some of them). `*` is one segment. It knew
/// nothing of what came later.
const ROUTES: [(&str, &[&str]); 61] = [
    ("/project-dir", &["GET"]),
    ("/user-home-dir", &["GET"]),
    ("/work-dir", &["GET"]),
    ("/files", &["GET", "DELETE"]),
    ("/files/bulk-download", &["POST"]),
    ("/files/bulk-upload", &["POST"]),
    ("/files/download", &["GET"]),
    ("/files/find", &["GET"]),
    ("/files/folder", &["POST"]),
    ("/files/info", &["GET"]),
    ("/files/move", &["POST"]),
    ("/files/permissions", &["POST"]),
    ("/files/replace", &["POST"]),
    ("/files/search", &["GET"]),
    ("/files/upload", &["POST"]),
    ("/git/add", &["POST"]),
    ("/git/branches", &["GET", "POST", "DELETE"]),
    ("/git/checkout", &["POST"]),
    ("/git/clone", &["POST"]),
    ("/git/commit", &["POST"]),
    ("/git/history", &["GET"]),
    ("/git/pull", &["POST"]),
    ("/git/push", &["POST"]),
    ("/git/status", &["GET"]),
    ("/lsp/completions", &["POST"]),
    ("/lsp/did-close", &["POST"]),
    ("/lsp/did-open", &["POST"]),
    ("/lsp/document-symbols", &["GET"]),
    ("/lsp/start", &["POST"]),
    ("/lsp/stop", &["POST"]),
    ("/lsp/workspace-symbols", &["GET"]),
    ("/process/execute", &["POST"]),
    ("/process/pty", &["GET", "POST"]),
    ("/process/pty/*", &["GET", "DELETE"]),
    ("/process/pty/*/resize", &["POST"]),
    ("/process/session", &["GET", "POST"]),
    ("/process/session/*", &["GET", "DELETE"]),
    ("/process/session/*/command/*", &["GET"]),
    ("/process/session/*/command/*/logs", &["GET"]),
    ("/process/session/*/exec", &["POST"]),
    ("/computeruse/display/info", &["GET"]),
    ("/computeruse/display/windows", &["GET"]),
    ("/computeruse/keyboard/hotkey", &["POST"]),
    ("/computeruse/keyboard/key", &["POST"]),
    ("/computeruse/keyboard/type", &["POST"]),
    ("/computeruse/mouse/click", &["POST"]),
    ("/computeruse/mouse/drag", &["POST"]),
    ("/computeruse/mouse/move", &["POST"]),
    ("/computeruse/mouse/position", &["GET"]),
    ("/computeruse/mouse/scroll", &["POST"]),
    ("/computeruse/process/*/errors", &["GET"]),
    ("/computeruse/process/*/logs", &["GET"]),
    ("/computeruse/process/*/restart", &["POST"]),
    ("/computeruse/process/*/status", &["GET"]),
    ("/computeruse/screenshot", &["GET"]),
    ("/computeruse/screenshot/compressed", &["GET"]),
    ("/computeruse/screenshot/region", &["GET"]),
    ("/computeruse/screenshot/region/compressed", &["GET"]),
    ("/computeruse/start", &["POST"]),
    ("/computeruse/status", &["GET"]),
    ("/computeruse/stop", &["POST"]),
];
const PERMISSION: &str = "write:sandboxes";

/// Answers a request below [`PREFIX`].
pub async fn by_api_path(gateway: &Gateway, mut request: Request<Body>) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let (id, rest, target) = match admitted(gateway, &mut request) {
        Ok(admitted) => admitted,
        Err(error) => return render_error(error.into_response(), method.as_str(), &uri),
    };
    let mut response = match to_agent(gateway, &id, &target, &rest, request).await {
        Ok(response) => response,
        Err(error) => return error.response(&method, uri.path()),
    };
    if method == Method::POST && response.status().is_success() {
        let created = rest == "/process/pty";
        *response.status_mut() = if created { StatusCode::CREATED } else { StatusCode::OK };
    }
    response
}

/// Who asks is a member with the permission, and what is asked for exists: in this order (observed).
fn admitted(gateway: &Gateway, request: &mut Request<Body>) -> ApiResult<(String, String, ToolboxTarget)> {
    let token = bearer(request.headers()).unwrap_or_default();
    let identity = gateway.cp().authenticate(token).ok_or_else(ApiError::unauthorized)?;
    let known = split(request.uri().path()).filter(|(_, rest)| had(request.method(), rest));
    let Some((id, rest)) = known else {
        return Err(ApiError::not_found(format!("Cannot {} {}", request.method(), request.uri().path())));
    };
    if !identity.permissions.iter().any(|permission| permission == PERMISSION) {
        return Err(ApiError::denied());
    }
    let sandbox = gateway.cp().find(&identity.organization_id, id)?;
    let target = gateway.cp().toolbox_target(&sandbox.id).ok_or_else(|| ModelError::no_sandbox(id))?;
    let (id, rest) = (sandbox.id.clone(), today(rest).to_owned());
    let (mut parts, body) = std::mem::take(request).into_parts();
    strip(gateway.cp(), &mut parts);
    parts.headers.insert(LEGACY, HeaderValue::from_static("true"));
    *request = Request::from_parts(parts, body);
    Ok((id, rest, target))
}

/// `/api/toolbox/{id}/toolbox/{rest}` → (id, `/{rest}` without the slash at its end, which the API ignores).
fn split(path: &str) -> Option<(&str, &str)> {
    let (id, rest) = path.strip_prefix(PREFIX)?.split_once('/')?;
    let rest = rest.strip_prefix("toolbox")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    (!id.is_empty() && rest.starts_with('/')).then_some((id, rest))
}

/// Whether the old API had this route.
fn had(method: &Method, rest: &str) -> bool {
    let fits = |pattern: &str| {
        pattern.split('/').count() == rest.split('/').count()
            && pattern
                .split('/')
                .zip(rest.split('/'))
                .all(|(wanted, got)| wanted == got || (wanted == "*" && !got.is_empty()))
    };
    ROUTES.iter().any(|(pattern, methods)| methods.contains(&method.as_str()) && fits(pattern))
}

/// What the agent calls it today.
fn today(rest: &str) -> &str {
    match rest {
        "/files" => "/files/",
        "/lsp/workspace-symbols" => "/lsp/workspacesymbols",
        same => same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        assert_eq!(split("/api/toolbox/x/toolbox/process/execute"), Some(("x", "/process/execute")));
        assert_eq!(split("/api/toolbox/x/toolbox/files/"), Some(("x", "/files")));
        for path in
            ["/api/toolbox/x/toolbox", "/api/toolbox/x/toolbox/", "/api/toolbox/x/files", "/api/toolbox//toolbox/a"]
        {
            assert_eq!(split(path), None, "{path}");
        }
    }

    #[test]
    fn only_old_routes_are_known() {
        assert_eq!(ROUTES.iter().map(|(_, methods)| methods.len()).sum::<usize>(), 68);
        assert!(had(&Method::GET, "/process/session/a b/command/c/logs"));
        assert!(had(&Method::DELETE, "/git/branches"));
        for (method, path) in [
            (Method::PUT, "/files"),
            (Method::GET, "/process/execute"),
            (Method::GET, "/process/session//command/c"),
            (Method::GET, "/process/pty/create-connect/x"),
            (Method::POST, "/process/code-run"),
            (Method::GET, "/env"),
        ] {
            assert!(!had(&method, path), "{method} {path}");
        }
    }
}
