//! How a request to a sandbox proves itself, in the order in which the ways are tried (observed): bearer key,
//! preview token header, auth query, auth cookie. Whatever served as a credential never reaches the sandbox.

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts, uri::PathAndQuery};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use super::error::ProxyError;
use crate::model::{ControlPlane, ToolboxTarget};

pub const PREVIEW_TOKEN: HeaderName = HeaderName::from_static("x-daytona-preview-token");
const AUTH_QUERY: &str = "DAYTONA_SANDBOX_AUTH_KEY";
const COOKIE_PREFIX: &str = "daytona-sandbox-auth-";
const MISSING: &str = "missing authentication: provide a preview access token (via header, query parameter, or cookie) \
                       or use an API key or JWT";

/// Takes out what would open the sandbox called `id`, whether or not it is needed.
pub fn strip_tokens(id: &str, parts: &mut Parts) {
    parts.headers.remove(PREVIEW_TOKEN);
    take_query(&mut parts.uri, &[AUTH_QUERY]);
    take_cookie(&mut parts.headers, &format!("{COOKIE_PREFIX}{id}"));
}

/// Lets the request through to `target` (the sandbox called `id`), stripped of its credentials, or says why not.
pub fn authorize(
    cp: &ControlPlane,
    id: &str,
    target: Option<&ToolboxTarget>,
    parts: &mut Parts,
) -> Result<(), ProxyError> {
    let mut failed = Vec::new();
    let mut passed = false;
    if let Some(token) = bearer(&parts.headers) {
        passed = target.is_some_and(|target| owns(cp, token, target));
        if passed {
            parts.headers.remove(header::AUTHORIZATION);
        } else {
            failed.push("Bearer token is invalid");
        }
    }
    let opens = |token: &str| target.is_some_and(|target| same(token, &target.preview_token));
    if let Some(token) = parts.headers.remove(PREVIEW_TOKEN).filter(|_| !passed) {
        passed = token.to_str().is_ok_and(opens);
        failed.extend((!passed).then_some("Auth key header is invalid"));
    }
    if let Some(token) = take_query(&mut parts.uri, &[AUTH_QUERY]).pop().filter(|_| !passed) {
        passed = opens(&token);
        failed.extend((!passed).then_some("Auth key query parameter is invalid"));
    }
    if let Some(token) = take_cookie(&mut parts.headers, &format!("{COOKIE_PREFIX}{id}")).filter(|_| !passed) {
        // The original falls silent about a stale cookie: the other ways are what a client can mend.
        passed = opens(&token);
    }
    match (passed, failed.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => Err(ProxyError::unauthorized(MISSING)),
        (false, false) => Err(ProxyError::unauthorized(format_args!("authentication failed: {}", failed.join(",")))),
    }
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

/// Removes the cookies called `name` from the Cookie headers; returns the first one's value.
fn take_cookie(headers: &mut HeaderMap, name: &str) -> Option<String> {
    let all: Vec<String> =
        headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    if !all.iter().any(|cookies| cookies.contains(name)) {
        return None;
    }
    let is_named = |pair: &&str| pair.split_once('=').is_some_and(|(key, _)| key == name);
    let pairs = all.iter().flat_map(|cookies| cookies.split(';')).map(str::trim);
    let (taken, kept): (Vec<&str>, Vec<&str>) = pairs.partition(is_named);
    headers.remove(header::COOKIE);
    if let Some(value) = Some(kept.join("; ")).filter(|text| !text.is_empty()) {
        headers.insert(header::COOKIE, HeaderValue::from_str(&value).ok()?);
    }
    taken.first().and_then(|pair| pair.split_once('=')).map(|(_, value)| value.to_owned())
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

    #[test]
    fn only_the_auth_cookie_is_taken() {
        let mut headers: HeaderMap =
            [(header::COOKIE, HeaderValue::from_static("a=1; daytona-sandbox-auth-x=t=; b=2"))].into_iter().collect();
        assert_eq!(take_cookie(&mut headers, "daytona-sandbox-auth-x").as_deref(), Some("t="));
        assert_eq!(headers[header::COOKIE], "a=1; b=2");
    }

    #[test]
    fn bearer_scheme_is_case_insensitive() {
        let headers =
            |value: &'static str| [(header::AUTHORIZATION, HeaderValue::from_static(value))].into_iter().collect();
        assert_eq!(bearer(&headers("bearer k")), Some("k"));
        assert_eq!(bearer(&headers("Basic k")), None);
    }
}
