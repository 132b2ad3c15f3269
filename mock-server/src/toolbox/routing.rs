//! How the original daemon routes, for every area at once (observed): no 405, no automatic HEAD or OPTIONS, and a
//! redirect where only a trailing slash stands between the request and a route.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tower::ServiceExt;

use super::{Ctx, error, operations};

/// Marks an answer that no route gave.
#[derive(Clone)]
struct NotRouted;

/// Marks a request that only asks whether its route exists.
#[derive(Clone)]
struct Probe;

/// Gives a table of routes the daemon's manners and its state.
pub fn finish(routes: Router<Ctx>, ctx: Ctx) -> Router {
    let table = table(routes, ctx);
    let probe = Arc::new(table.clone());
    // As a service behind one more router, so that the layers also see what axum itself adds to answers.
    Router::new()
        .fallback_service(table)
        .layer(middleware::from_fn_with_state(probe, manners))
        .layer(middleware::from_fn(error::envelope))
}

/// The routes alone; [`exists`] can ask them.
pub fn table(routes: Router<Ctx>, ctx: Ctx) -> Router {
    routes
        .route_layer(middleware::from_fn(answer_probe))
        .method_not_allowed_fallback(not_routed)
        .fallback(not_routed)
        .with_state(ctx)
}

/// Inside a matched route: a probe ends here, before its handler.
async fn answer_probe(request: Request, next: Next) -> Response {
    if request.extensions().get::<Probe>().is_some() {
        return StatusCode::NO_CONTENT.into_response();
    }
    next.run(request).await
}

async fn not_routed() -> Response {
    let mut response = error::page_not_found().await;
    response.extensions_mut().insert(NotRouted);
    response
}

async fn manners(State(table): State<Arc<Router>>, mut request: Request, next: Next) -> Response {
    if let Some(uri) = readable(request.uri()) {
        *request.uri_mut() = uri;
    }
    // axum answers HEAD with the GET handler; only what is proxied takes it.
    if request.method() == Method::HEAD && !request.uri().path().starts_with("/proxy/") {
        return error::page_not_found().await;
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    if response.extensions().get::<NotRouted>().is_none() {
        return response;
    }
    match other_form(&uri) {
        Some(other) if exists(&table, &method, &other).await => redirect(&method, &other),
        // A fresh one: axum added `Allow` to the answer for a known path.
        _ => match operations::not_emulated(&method, uri.path()) {
            Some(error) => error.into_response(),
            None => error::page_not_found().await,
        },
    }
}

/// As the original's router sees it (observed): `%2F` divides like `/`. And with names that aren't UTF-8 made readable, as
/// axum would refuse them with an answer of its own. What is proxied stays as it is.
fn readable(uri: &Uri) -> Option<Uri> {
    let lossy = |name: &str| {
        let text =
            percent_decode_str(name).decode_utf8().is_err().then(|| percent_decode_str(name).decode_utf8_lossy());
        text.map(|text| utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string())
    };
    let path = uri.path().replace("%2F", "/").replace("%2f", "/");
    let names: Vec<_> = path.split('/').map(|name| (name, lossy(name))).collect();
    let is_readable = path == uri.path() && names.iter().all(|(_, lossy)| lossy.is_none());
    if uri.path().starts_with("/proxy/") || is_readable {
        return None;
    }
    let names: Vec<&str> = names.iter().map(|(name, lossy)| lossy.as_deref().unwrap_or(name)).collect();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", names.join("/")).parse().ok()
}

/// The path with its trailing slash removed or added, query kept.
fn other_form(uri: &Uri) -> Option<String> {
    let path = match uri.path() {
        "/" => return None,
        path => path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned),
    };
    // `Location: //host` would lead away from here.
    let safe = path.starts_with('/') && !path.starts_with("//");
    safe.then(|| uri.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}")))
}

/// Whether a route answers this.
pub async fn exists(table: &Router, method: &Method, location: &str) -> bool {
    let probe = Request::builder().method(method).uri(location).extension(Probe).body(Body::empty());
    let Ok(probe) = probe else { return false };
    let Ok(answer) = table.clone().oneshot(probe).await;
    answer.extensions().get::<NotRouted>().is_none()
}

fn redirect(method: &Method, location: &str) -> Response {
    let Ok(value) = HeaderValue::from_str(location) else { return StatusCode::BAD_REQUEST.into_response() };
    if *method != Method::GET {
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, value)]).into_response();
    }
    let shown = location.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
    let headers =
        [(header::LOCATION, value), (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    (StatusCode::MOVED_PERMANENTLY, headers, format!("<a href=\"{shown}\">Moved Permanently</a>.\n\n")).into_response()
}
