//! How the original's HTTP layer behaves, for every route at once (observed): case-insensitive paths, one trailing
//! slash, bodies before authentication, the envelope, weak ETags, and answers for what isn't routed.

use std::{
    hash::{DefaultHasher, Hasher},
    sync::Arc,
};

use axum::{
    Extension, Router,
    extract::{OriginalUri, Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{
    audit,
    auth::{self, Caller},
    body,
    error::{self, ApiError},
    operations, permissions,
    rate_limits::RateLimits,
};
use crate::model::ControlPlane;

/// Gives a table of routes these manners and its state.
pub fn finish(routes: Router<Arc<ControlPlane>>, cp: Arc<ControlPlane>, limits: Arc<RateLimits>) -> Router {
    let routes = routes.layer(Extension(limits.clone()));
    let table: Router = routes.method_not_allowed_fallback(unrouted).fallback(unrouted).with_state(cp.clone());
    Router::new().fallback(move |OriginalUri(uri): OriginalUri, request: Request| {
        answer(table.clone(), cp.clone(), limits.clone(), uri, request)
    })
}

async fn answer(table: Router, cp: Arc<ControlPlane>, limits: Arc<RateLimits>, uri: Uri, request: Request) -> Response {
    let method = request.method().clone();
    let tag = request.headers().get(header::IF_NONE_MATCH).cloned();
    let (guarded, original) = (cp.clone(), uri.clone());
    let serve = async |request| guarded_by(&guarded, table, &original, request).await;
    let response = match body::read(canonical(request, &uri), cp.config().limits.api_body).await {
        Ok(request) => limits.answer(&cp, request, serve).await,
        Err(response) => response,
    };
    let response = error::render(response, method.as_str(), &uri);
    tagged(response, &method, tag.as_ref()).await
}

/// Answers who may ask for the operation: else 401, then 403, before anything of the request is looked at (observed).
/// Once it is answered, it goes into the audit log.
async fn guarded_by(cp: &ControlPlane, table: Router, uri: &Uri, mut request: Request) -> Response {
    let serve = async |request| table.oneshot(request).await.unwrap_or_else(|never| match never {});
    let Some(operation) = operations::find(method_of(request.method()), request.uri().path()) else {
        return serve(request).await;
    };
    let known = auth::identify(cp, request.headers(), request.uri());
    let allowed = permissions::check(operation, known.as_ref());
    request.extensions_mut().insert(auth::Known(known));
    let (draft, method) = (audit::Draft::of(cp, operation, &request), request.method().clone());
    let response = match allowed {
        Ok(()) => serve(request).await,
        Err(refusal) => refusal.into_response(),
    };
    match draft {
        Some(draft) => draft.note(cp, error::render(response, method.as_str(), uri)).await,
        None => response,
    }
}

/// The same request for the path as the routes spell it. `uri` is the whole one: nesting has lost doubled slashes, which
/// lead nowhere (observed).
fn canonical(mut request: Request, uri: &Uri) -> Request {
    let path = uri.path().strip_prefix("/api").filter(|path| path.starts_with('/')).unwrap_or("/");
    let bare = path.strip_suffix('/').filter(|bare| !bare.is_empty() && !bare.ends_with('/')).unwrap_or(path);
    let upper = bare.bytes().any(|byte| byte.is_ascii_uppercase());
    let known = if upper { operations::find(method_of(request.method()), bare) } else { None };
    let path = known.map_or_else(|| bare.to_owned(), |operation| operation.canonical(bare));
    if path == request.uri().path() {
        return request;
    }
    let full = request.uri().query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(full).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// HEAD works wherever GET does (observed).
fn method_of(method: &Method) -> &str {
    if method == Method::HEAD { "GET" } else { method.as_str() }
}

/// What no handler answers: 501 for the contract's operations, 404 for everything else.
pub async fn unrouted(State(cp): State<Arc<ControlPlane>>, uri: OriginalUri, request: Request) -> Response {
    let known = operations::find(method_of(request.method()), request.uri().path());
    if known.is_none() {
        return ApiError::not_found(format!("Cannot {} {}", request.method(), uri.path())).into_response();
    }
    let (mut parts, _) = request.into_parts();
    match <Caller as axum::extract::FromRequestParts<_>>::from_request_parts(&mut parts, &cp).await {
        Err(refusal) => refusal.into_response(),
        Ok(_) => ApiError::not_emulated().into_response(),
    }
}

/// Adds the weak tag of a JSON body; 304 for a client that has it.
async fn tagged(response: Response, method: &Method, known: Option<&HeaderValue>) -> Response {
    let is_json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    if !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let Ok(tag) = HeaderValue::from_str(&weak_tag(&bytes)) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    parts.headers.insert(header::ETAG, tag.clone());
    let reads = matches!(*method, Method::GET | Method::HEAD) && parts.status == StatusCode::OK;
    if reads && known.is_some_and(|known| names(known, &tag)) {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        return Response::from_parts(parts, axum::body::Body::empty());
    }
    Response::from_parts(parts, axum::body::Body::from(bytes))
}

/// Whether `If-None-Match` has the tag in its list; weak ones are equal to strong ones there (RFC 9110, 13.1.2).
fn names(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let strong = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else { return false };
    // Our tags have no comma.
    known.split(',').map(str::trim).any(|one| one == "*" || strong(one) == strong(tag))
}

fn weak_tag(bytes: &Bytes) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("W/\"{:x}-{:016x}\"", bytes.len(), hasher.finish())
}
