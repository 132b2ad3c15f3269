//! Signing in to previews, where the original sends people to its identity provider: the preview host redirects to a
//! page of the server's own origin, which asks for a key and sends the browser back with a ticket, which the preview
//! host turns into a cookie. A key is never typed into a page of an origin that a sandbox's program could script.
//!
//! What keeps strangers out of it: the page is told where to go back to by a sealed text that only this server makes
//! (no open redirect), the form is taken from the page itself only, and a ticket counts only in the browser whose
//! request began the sign-in, which has a cookie to prove it.

use axum::{
    body::Body,
    response::{Html, IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};

use super::{
    Gateway,
    credentials::{self, cookie, query_value, without_token},
    error::ProxyError,
    hosts::Preview,
    origin::Origin,
};
use crate::model::{hash, preview_token};

/// Of the server's own origin.
pub const PATH: &str = "/sign-in";
/// Of a preview's origin, where a signed-in browser comes back to.
pub const CALLBACK: &str = "/__daytona/signed-in";
const VISIT: &str = "visit";
const TICKET: &str = "ticket";
/// How long the page may stay open before the key is typed.
const PAGE_SECONDS: i64 = 3600;
const TICKET_SECONDS: i64 = 60;
/// Longer paths are forgotten: the browser comes back to `/`.
const MAX_PATH: usize = 4096;
const MAX_FORM: usize = 32 * 1024;

/// Where a browser was going, on its way through the sign-in.
#[derive(Serialize, Deserialize)]
struct Visit {
    /// `http://3000-x.localhost:3986`
    base: String,
    port: u16,
    name: String,
    /// Path and query, starting with `/`.
    to: String,
    /// Hash of what the browser has in its cookie.
    state: String,
    /// Unix seconds.
    until: i64,
}

/// Sends whoever has no credentials to the page (307 to every client, as observed). The reason is in the body.
pub fn redirect(gateway: &Gateway, preview: &Preview, parts: &Parts, why: &ProxyError) -> Response {
    let known = cookie(&parts.headers, &state_cookie(&preview.name)).filter(|text| is_plain(text));
    let secret = known.unwrap_or_else(preview_token);
    // A token that opened nothing had better not come back.
    let uri = without_token(&parts.uri);
    let to = uri.path_and_query().map_or("/", |path| path.as_str());
    let visit = Visit {
        base: preview.base.clone(),
        port: preview.port,
        name: preview.name.clone(),
        to: if to.len() > MAX_PATH || !to.starts_with('/') { "/".into() } else { to.to_owned() },
        state: hash(&secret),
        until: now(gateway) + PAGE_SECONDS,
    };
    let page = format!("{}{PATH}?{VISIT}={}", preview.main, gateway.seal().close(VISIT, &visit));
    let body = format!(
        "{}\n\nSign in at {page}\nor send a key as `Authorization: Bearer`, or the sandbox's preview token as \
         `X-Daytona-Preview-Token`.\n",
        why.message
    );
    let mut response = (StatusCode::TEMPORARY_REDIRECT, body).into_response();
    let cookie = set_cookie(&state_cookie(&preview.name), &secret, PAGE_SECONDS, preview);
    set(&mut response, header::LOCATION, &page);
    set(&mut response, header::SET_COOKIE, &cookie);
    set(&mut response, header::CACHE_CONTROL, "no-store");
    response
}

/// Answers [`PATH`]: the page, and the form on it.
pub async fn answer(gateway: &Gateway, origin: &Origin, request: Request<Body>) -> Response {
    let is_form = request.headers().get(header::CONTENT_TYPE).is_some_and(|value| {
        value.to_str().is_ok_and(|text| text.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"))
    });
    // A client that follows the redirect of a POST comes with a form of its own, and `visit` in the query.
    if request.method() != Method::POST || !is_form || request.uri().query().is_some() {
        return show(
            open(gateway, VISIT, query_value(request.uri(), VISIT)).as_ref().map(|visit| (visit, "")),
            gateway,
        );
    }
    if !is_from_page(request.headers(), origin) {
        return page(StatusCode::FORBIDDEN, None, "<h1>Refused</h1><p>This form was sent by another page.</p>");
    }
    let (visit, key) = read_form(request.into_body()).await.unwrap_or_default();
    let Some(visit) = open(gateway, VISIT, Some(visit)) else { return show(None, gateway) };
    if !credentials::opens(gateway.cp(), &visit.name, visit.port, key.trim()) {
        return show(Some((&visit, "That key doesn't open this sandbox.")), gateway);
    }
    let ticket = Visit { until: now(gateway) + TICKET_SECONDS, ..visit };
    let to = format!("{}{CALLBACK}?{TICKET}={}", ticket.base, gateway.seal().close(TICKET, &ticket));
    see_other(&to)
}

/// A browser back from the page: takes its ticket for a cookie and lets it go where it was going. `None` when the
/// request is not about that.
pub fn come_back(gateway: &Gateway, preview: &Preview, parts: &Parts) -> Option<Response> {
    let ticket = query_value(&parts.uri, TICKET).filter(|_| parts.uri.path() == CALLBACK)?;
    let ticket = open(gateway, TICKET, Some(ticket)).filter(|ticket| ticket.name == preview.name);
    let Some(ticket) = ticket else { return Some(see_other(&format!("{}/", preview.base))) };
    let mut response = see_other(&format!("{}{}", preview.base, ticket.to));
    // Without its state this is another browser: it is sent on, and signs in by itself.
    let state = cookie(&parts.headers, &state_cookie(&preview.name));
    if state.is_some_and(|state| hash(&state) == ticket.state)
        && let Some(cookie) = credentials::set_cookie(gateway.cp(), &preview.name, preview)
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Some(response)
}

/// `name=value` with the attributes of every cookie of the gateway.
pub fn set_cookie(name: &str, value: &str, seconds: i64, preview: &Preview) -> String {
    let secure = if preview.base.starts_with("https:") { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

fn state_cookie(name: &str) -> String {
    format!("{}{name}", credentials::STATE_COOKIE_PREFIX)
}

fn open(gateway: &Gateway, purpose: &str, sealed: Option<String>) -> Option<Visit> {
    gateway.seal().open::<Visit>(purpose, &sealed?).filter(|visit| visit.until > now(gateway))
}

/// Browsers say where a form comes from. A client that says nothing is none, and can't be made to send a thing.
fn is_from_page(headers: &HeaderMap, origin: &Origin) -> bool {
    let site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
    let from = headers.get(header::ORIGIN).is_none_or(|from| {
        let from = from.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
        from.and_then(|uri| uri.authority().cloned()).is_some_and(|own| own.as_str() == origin.authority)
    });
    site && from
}

/// The fields `visit` and `key`.
async fn read_form(body: Body) -> Option<(String, String)> {
    let bytes = Limited::new(body, MAX_FORM).collect().await.ok()?.to_bytes();
    let field =
        |name: &str| form_urlencoded::parse(&bytes).find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    Some((field(VISIT)?, field("key")?))
}

fn show(visit: Option<(&Visit, &str)>, gateway: &Gateway) -> Response {
    let Some((visit, error)) = visit else {
        let gone = "<h1>This sign-in is over</h1><p>Open the preview once more.</p>";
        return page(StatusCode::BAD_REQUEST, None, gone);
    };
    let problem = if error.is_empty() {
        String::new()
    } else {
        format!(r#"<p class="error" id="error" role="alert">{}</p>"#, escape(error))
    };
    let content = format!(
        r#"<h1>Sign in</h1>
  <p>to open port <code>{port}</code> of sandbox <code>{name}</code></p>
  <form method="post" action="{PATH}">
    <input type="hidden" name="{VISIT}" value="{sealed}">
    <label for="key">API key</label>
    <input id="key" name="key" type="password" autocomplete="off" autofocus required spellcheck="false"
      aria-describedby="hint">
    {problem}
    <button>Open preview</button>
  </form>
  <p class="hint" id="hint">The key of this server is shown at its start and by <code>daytona-mock env</code>. The
    preview token of the sandbox will do, too.</p>"#,
        port = visit.port,
        name = escape(&visit.name),
        sealed = gateway.seal().close(VISIT, visit),
    );
    let status = if error.is_empty() { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
    page(status, Some(&visit.base), &content)
}

/// A page without scripts, which no other page may frame. Its form may lead to `base`.
pub fn page(status: StatusCode, base: Option<&str>, content: &str) -> Response {
    let text = include_str!("sign_in.html").replace("{{content}}", content);
    let mut response = (status, Html(text)).into_response();
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
        base.unwrap_or_default()
    );
    set(&mut response, header::CONTENT_SECURITY_POLICY, &policy);
    set(&mut response, header::X_FRAME_OPTIONS, "DENY");
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut response, header::REFERRER_POLICY, "same-origin");
    set(&mut response, header::CACHE_CONTROL, "no-store");
    response
}

fn see_other(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    set(&mut response, header::LOCATION, to);
    set(&mut response, header::CACHE_CONTROL, "no-store");
    set(&mut response, header::REFERRER_POLICY, "no-referrer");
    response
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().append(name, value);
    }
}

/// For text and attribute values.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

fn is_plain(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn now(gateway: &Gateway) -> i64 {
    gateway.cp().clock().now().timestamp()
}
