//! How a request to a sandbox proves itself, in the order in which the ways are tried (observed): bearer key,
//! preview token header, auth query, auth cookie. Whatever could serve as a credential never reaches the sandbox.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::Mac;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts, uri::PathAndQuery};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use super::{error::ProxyError, hosts::Preview, seal::mac, sign_in};
use crate::model::{ControlPlane, ToolboxTarget};

pub const PREVIEW_TOKEN: HeaderName = HeaderName::from_static("x-daytona-preview-token");
const AUTH_QUERY: &str = "DAYTONA_SANDBOX_AUTH_KEY";
const COOKIE_PREFIX: &str = "daytona-sandbox-auth-";
/// Of the cookie that a sign-in leaves while it is under way.
pub const STATE_COOKIE_PREFIX: &str = "daytona-sign-in-";
/// How long the auth cookie opens a sandbox (observed).
const COOKIE_SECONDS: i64 = 3600;
const MISSING: &str = "missing authentication: provide a preview access token (via header, query parameter, or cookie) \
                       or use an API key or JWT";

/// What opened a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Bearer,
    Header,
    Query,
    Cookie,
}

/// Takes out what would open a sandbox, this or another, whether or not it is needed. A bearer that is no key of this
/// server is the program's own (observed).
pub fn strip(cp: &ControlPlane, parts: &mut Parts) {
    parts.headers.remove(PREVIEW_TOKEN);
    take_query(&mut parts.uri, &[AUTH_QUERY]);
    // On `127.0.0.1` a browser sends the cookies of every port to each.
    take_cookies(&mut parts.headers, |name| name.starts_with(COOKIE_PREFIX) || name.starts_with(STATE_COOKIE_PREFIX));
    if bearer(&parts.headers).is_some_and(|token| cp.authenticate(token).is_some()) {
        parts.headers.remove(header::AUTHORIZATION);
    }
}

/// Lets the request through to `target` (the sandbox called `id`), stripped of its credentials, or says why not; then
/// it is as it was. `base` is the origin that was asked: other origins' pages can't use its cookie.
pub fn authorize(
    cp: &ControlPlane,
    id: &str,
    target: Option<&ToolboxTarget>,
    base: &str,
    parts: &mut Parts,
) -> Result<Way, ProxyError> {
    let mut failed = Vec::new();
    let mut way = None;
    let opens = |token: &str| target.is_some_and(|target| same(token, &target.preview_token));
    if let Some(token) = bearer(&parts.headers) {
        let own = target.is_some_and(|target| owns(cp, token, target));
        way = own.then_some(Way::Bearer);
        failed.extend((!own).then_some("Bearer token is invalid"));
    }
    if let Some(token) = parts.headers.get(PREVIEW_TOKEN).filter(|_| way.is_none()) {
        way = token.to_str().is_ok_and(opens).then_some(Way::Header);
        failed.extend(way.is_none().then_some("Auth key header is invalid"));
    }
    if let Some(token) = query_value(&parts.uri, AUTH_QUERY).filter(|_| way.is_none()) {
        way = opens(&token).then_some(Way::Query);
        failed.extend(way.is_none().then_some("Auth key query parameter is invalid"));
    }
    // The original falls silent about a stale cookie: the other ways are what a client can mend.
    if way.is_none() && target.is_some_and(|target| has_cookie(cp, id, target, base, &parts.headers)) {
        way = Some(Way::Cookie);
    }
    match (way, failed.is_empty()) {
        (Some(way), _) => {
            strip(cp, parts);
            Ok(way)
        }
        (None, true) => Err(ProxyError::unauthorized(MISSING)),
        (None, false) => Err(ProxyError::unauthorized(format_args!("authentication failed: {}", failed.join(",")))),
    }
}

/// Whether `key`, typed by a person, opens a port of what a preview host calls `name`: a key of its organisation, or
/// its preview token.
pub fn opens(cp: &ControlPlane, name: &str, port: u16, key: &str) -> bool {
    let signed = cp.signed_preview(port, name);
    let target = cp.toolbox_target(signed.as_deref().unwrap_or(name));
    target.is_some_and(|target| owns(cp, key, &target) || same(key, &target.preview_token))
}

/// The cookie by which a browser opens what a preview host calls `name` from now on; `None` if there is no such
/// sandbox.
pub fn set_cookie(cp: &ControlPlane, name: &str, preview: &Preview) -> Option<HeaderValue> {
    let signed = cp.signed_preview(preview.port, name);
    let target = cp.toolbox_target(signed.as_deref().unwrap_or(name))?;
    let until = (cp.clock().now().timestamp() + COOKIE_SECONDS).to_string();
    let proof = cookie_mac(&target, name, &until).finalize().into_bytes();
    let value = format!("{until}.{}", URL_SAFE_NO_PAD.encode(proof));
    HeaderValue::from_str(&sign_in::set_cookie(&format!("{COOKIE_PREFIX}{name}"), &value, COOKIE_SECONDS, preview)).ok()
}

/// Whether the request has a good cookie for `name`, and comes from a page of `base` or a person. The value is what
/// [`set_cookie`] made, or the preview token itself.
pub fn has_cookie(cp: &ControlPlane, name: &str, target: &ToolboxTarget, base: &str, headers: &HeaderMap) -> bool {
    let Some(value) = cookie(headers, &format!("{COOKIE_PREFIX}{name}")) else { return false };
    if !is_own_page(headers, base) {
        return false;
    }
    let is_good = |(until, proof): (&str, &str)| {
        let in_time = until.parse::<i64>().is_ok_and(|until| until > cp.clock().now().timestamp());
        let proof = URL_SAFE_NO_PAD.decode(proof).unwrap_or_default();
        in_time && cookie_mac(target, name, until).verify_slice(&proof).is_ok()
    };
    same(&value, &target.preview_token) || value.split_once('.').is_some_and(is_good)
}

/// Its key is new at each start of the sandbox, as its preview token is.
fn cookie_mac(target: &ToolboxTarget, name: &str, until: &str) -> hmac::Hmac<Sha256> {
    mac(target.preview_token.as_bytes(), &["auth cookie", name, until])
}

/// Cookies come by themselves, so a page of another sandbox could use them: on `127.0.0.1` all ports are one site.
/// Browsers tell whose page asks; following a link is a person's doing.
fn is_own_page(headers: &HeaderMap, base: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let origin = text("origin").is_none_or(|origin| origin.eq_ignore_ascii_case(base));
    let site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    origin && (site || text("sec-fetch-mode") == Some("navigate"))
}

/// Whether the key's organisation owns the sandbox. No permission is needed for toolbox and preview access (observed).
fn owns(cp: &ControlPlane, token: &str, target: &ToolboxTarget) -> bool {
    cp.authenticate(token).is_some_and(|identity| identity.organization_id == target.organization_id)
}

/// The token of `Authorization: Bearer …`; the scheme's case doesn't matter (observed).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares secrets by their hashes, so that timing tells nothing about them.
fn same(given: &str, secret: &str) -> bool {
    !secret.is_empty() && Sha256::digest(given) == Sha256::digest(secret)
}

/// Removes the query parameters called one of `names`, leaving every other byte as the client wrote it.
/// Returns their decoded values in order.
pub fn take_query(uri: &mut Uri, names: &[&str]) -> Vec<String> {
    let Some(query) = uri.query().filter(|query| names.iter().any(|name| query.contains(name))) else {
        return Vec::new();
    };
    let name_of = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).to_owned();
    let (taken, kept): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|pair| names.contains(&name_of(pair).as_str()));
    let values = taken.iter().filter_map(|pair| pair.split_once('=')).map(|(_, value)| decode(value)).collect();
    let rest = if kept.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), kept.join("&")) };
    *uri = with_path(uri, &rest);
    values
}

/// The same URI without an auth query.
pub fn without_token(uri: &Uri) -> Uri {
    let mut uri = uri.clone();
    take_query(&mut uri, &[AUTH_QUERY]);
    uri
}

/// The first value of a query parameter, decoded.
pub fn query_value(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| decode(value)).next()
}

/// The same URI with another path and query, which must be a piece of a valid one.
pub fn with_path(uri: &Uri, path_and_query: &str) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(path_and_query).ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

fn decode(value: &str) -> String {
    percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// The value of a cookie.
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// Removes the cookies with such a name from the Cookie headers.
fn take_cookies(headers: &mut HeaderMap, is_taken: impl Fn(&str) -> bool) {
    let taken = |pair: &str| is_taken(pair.trim().split('=').next().unwrap_or_default());
    let all = headers.get_all(header::COOKIE).iter();
    let all: Vec<String> = all.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
    if !all.iter().any(|cookies| cookies.split(';').any(taken)) {
        return;
    }
    let kept: Vec<&str> =
        all.iter().flat_map(|cookies| cookies.split(';')).filter(|pair| !taken(pair)).map(str::trim).collect();
    headers.remove(header::COOKIE);
    if let Some(value) = HeaderValue::from_str(&kept.join("; ")).ok().filter(|value| !value.is_empty()) {
        headers.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_parameters_leave_the_query() {
        let mut uri: Uri = "/a?x=%20&DAYTONA_SANDBOX_AUTH_KEY=a%2Fb&y={z:1}&y".parse().expect("uri");
        assert_eq!(take_query(&mut uri, &[AUTH_QUERY]), ["a/b"]);
        assert_eq!(uri.to_string(), "/a?x=%20&y={z:1}&y");
        let mut uri: Uri = "/a?DAYTONA_SANDBOX_AUTH_KEY=k".parse().expect("uri");
        assert_eq!(take_query(&mut uri, &[AUTH_QUERY]), ["k"]);
        assert_eq!(uri.to_string(), "/a");
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_auth_cookies_are_taken() {
        let mut headers = headers(&[("cookie", "a=1; daytona-sandbox-auth-x=t=; b=2;daytona-sandbox-auth-y=u")]);
        assert_eq!(cookie(&headers, "daytona-sandbox-auth-x").as_deref(), Some("t="));
        take_cookies(&mut headers, |name| name.starts_with(COOKIE_PREFIX));
        assert_eq!(headers[header::COOKIE], "a=1; b=2");
        take_cookies(&mut headers, |name| name.len() == 1);
        assert!(!headers.contains_key(header::COOKIE));
    }

    #[test]
    fn cookies_are_for_own_pages_and_people() {
        let own = |pairs: &[(&'static str, &'static str)]| is_own_page(&headers(pairs), "http://127.0.0.1:4000");
        assert!(own(&[]), "no browser");
        assert!(own(&[("origin", "http://127.0.0.1:4000"), ("sec-fetch-site", "same-origin")]));
        assert!(own(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]));
        assert!(!own(&[("origin", "http://127.0.0.1:4001"), ("sec-fetch-site", "same-site")]));
        assert!(!own(&[("origin", "http://127.0.0.1:4001"), ("sec-fetch-mode", "navigate")]), "a form of another page");
        assert!(!own(&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")]), "an image of another page");
        assert!(!own(&[("origin", "null")]));
    }

    #[test]
    fn bearer_scheme_is_case_insensitive() {
        let headers =
            |value: &'static str| [(header::AUTHORIZATION, HeaderValue::from_static(value))].into_iter().collect();
        assert_eq!(bearer(&headers("bearer k")), Some("k"));
        assert_eq!(bearer(&headers("Basic k")), None);
    }
}
