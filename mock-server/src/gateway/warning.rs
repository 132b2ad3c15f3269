//! The warning that browsers see before a preview, where the organisation has switched it on
//! (`updateOrganizationPreviewWarning`). What a program sends passes (observed).

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};

use super::{credentials, sign_in};
use crate::model::{ControlPlane, ToolboxTarget};

const ACCEPT: &str = "/accept-daytona-preview-warning";
const COOKIE: &str = "daytona-preview-page-accepted";
const SKIP: HeaderName = HeaderName::from_static("x-daytona-skip-preview-warning");
/// How long an acceptance counts (observed).
const SECONDS: u32 = 86_400;

/// The warning, or the way on for who accepts it; `None` if the request may pass.
pub fn answer(cp: &ControlPlane, target: &ToolboxTarget, parts: &Parts) -> Option<Response> {
    if !cp.organization(&target.organization_id)?.preview_warning {
        return None;
    }
    if parts.method == Method::POST && parts.uri.path() == ACCEPT {
        return Some(accepted(&credentials::query_value(&parts.uri, "redirect").unwrap_or_default()));
    }
    let text = |name: &HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let passes = !text(&header::USER_AGENT).contains("Mozilla/")
        || text(&SKIP) == "true"
        || parts.headers.contains_key(header::UPGRADE)
        || credentials::cookie(&parts.headers, COOKIE).as_deref() == Some("true");
    (!passes).then(|| page(parts))
}

fn page(parts: &Parts) -> Response {
    let to = parts.uri.path_and_query().map_or("/", |to| to.as_str());
    let to: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
    let content = format!(
        r#"<h1>Preview of a sandbox</h1>
  <p>What this page shows comes from a program in a sandbox. Go on only if you trust who sent you here, and enter
    nothing that is secret.</p>
  <form method="post" action="{ACCEPT}?redirect={to}"><button>I understand, continue</button></form>"#
    );
    sign_in::page(StatusCode::OK, None, &content)
}

/// To a place of the preview itself and nowhere else.
fn accepted(to: &str) -> Response {
    let own = to.starts_with('/') && !to.starts_with("//") && !to.contains('\\');
    let mut response = StatusCode::FOUND.into_response();
    let location = HeaderValue::from_str(if own { to } else { "/" }).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    let cookie = format!("{COOKIE}=true; Path=/; Max-Age={SECONDS}; HttpOnly; SameSite=Lax");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acceptance_leads_nowhere_else() {
        for (to, leads) in
            [("/x?y=1", "/x?y=1"), ("//evil.example", "/"), ("http://evil.example", "/"), ("/\\evil", "/")]
        {
            assert_eq!(accepted(to).headers()[header::LOCATION], leads, "{to}");
        }
    }
}
