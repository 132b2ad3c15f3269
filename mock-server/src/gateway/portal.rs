//! The page on which people manage webhooks, and the token that opens what it asks for (`/__control/webhooks`). In the place
//! of Svix's portal.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Duration, Utc};
use http::{HeaderValue, Method, Request, StatusCode, header};

use super::seal::Seal;

pub const PATH: &str = "/webhook-portal";
const PURPOSE: &str = "webhook portal";
/// How long a token opens it.
const DAYS: i64 = 7;

const PAGE: &str = include_str!("../../assets/portal/page.html");
const SCRIPT: &str = include_str!("../../assets/portal/portal.js");
const STYLE: &str = include_str!("../../assets/portal/portal.css");

/// A token for one organisation's webhooks.
pub fn token(seal: &Seal, organization_id: &str, now: DateTime<Utc>) -> String {
    let until = (now + Duration::days(DAYS)).timestamp();
    format!("appsk_{}", seal.close(PURPOSE, &(organization_id, until)))
}

/// The organisation whose webhooks a token opens.
pub fn organization(seal: &Seal, token: &str, now: DateTime<Utc>) -> Option<String> {
    let (organization, until): (String, i64) = seal.open(PURPOSE, token.strip_prefix("appsk_")?)?;
    (until > now.timestamp()).then_some(organization)
}

/// A piece of the page; `None` if the path names none.
pub fn answer(request: &Request<Body>) -> Option<Response> {
    let (text, kind) = match request.uri().path().strip_prefix(PATH)? {
        "" | "/" => (PAGE, "text/html; charset=utf-8"),
        "/portal.js" => (SCRIPT, "text/javascript; charset=utf-8"),
        "/portal.css" => (STYLE, "text/css; charset=utf-8"),
        _ => return None,
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some(StatusCode::METHOD_NOT_ALLOWED.into_response());
    }
    let mut response = text.into_response();
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                  form-action 'none'; frame-ancestors 'none'";
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end() {
        let (seal, now) = (Seal::new(), Utc::now());
        let token = token(&seal, "o", now);
        assert_eq!(organization(&seal, &token, now).as_deref(), Some("o"));
        assert_eq!(organization(&seal, &token, now + Duration::days(DAYS)), None);
        assert_eq!(organization(&Seal::new(), &token, now), None, "another server's");
        assert_eq!(organization(&seal, "appsk_x", now), None);
    }
}
