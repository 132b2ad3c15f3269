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
/// First segments that the old API had; it knew nothing of what came later.
const AREAS: [&str; 8] = ["project-dir", "user-home-dir", "work-dir", "files", "git", "process", "lsp", "computeruse"];
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
    let Some((id, rest)) = split(request.uri().path()) else {
        return Err(ApiError::not_found(format!("Cannot {} {}", request.method(), request.uri().path())));
    };
    if !identity.permissions.iter().any(|permission| permission == PERMISSION) {
        return Err(ApiError::denied());
    }
    let sandbox = gateway.cp().find(&identity.organization_id, id)?;
    let target = gateway.cp().toolbox_target(&sandbox.id).ok_or_else(|| ModelError::no_sandbox(id))?;
    let (id, rest) = (sandbox.id.clone(), rest.to_owned());
    let (mut parts, body) = std::mem::take(request).into_parts();
    strip(gateway.cp(), &mut parts);
    parts.headers.insert(LEGACY, HeaderValue::from_static("true"));
    *request = Request::from_parts(parts, body);
    Ok((id, rest, target))
}

/// `/api/toolbox/{id}/toolbox/{rest}` → (id, the agent's `/{rest}`) if the old API had such a path.
fn split(path: &str) -> Option<(&str, &str)> {
    let (id, rest) = path.strip_prefix(PREFIX)?.split_once('/')?;
    let rest = rest.strip_prefix("toolbox")?;
    let area = rest.strip_prefix('/')?.split('/').next()?;
    let rest = match rest {
        "/files" => "/files/",
        "/lsp/workspace-symbols" => "/lsp/workspacesymbols",
        same => same,
    };
    (!id.is_empty() && AREAS.contains(&area)).then_some((id, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_paths_are_known() {
        assert_eq!(split("/api/toolbox/x/toolbox/process/execute"), Some(("x", "/process/execute")));
        assert_eq!(split("/api/toolbox/x/toolbox/files"), Some(("x", "/files/")));
        assert_eq!(split("/api/toolbox/x/toolbox/lsp/workspace-symbols"), Some(("x", "/lsp/workspacesymbols")));
        for path in
            ["/api/toolbox/x/toolbox", "/api/toolbox/x/toolbox/", "/api/toolbox/x/files", "/api/toolbox/x/toolbox/env"]
        {
            assert_eq!(split(path), None, "{path}");
        }
    }
}
