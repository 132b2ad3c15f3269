//! The toolbox's one error type and the one place that renders it
//! (`{statusCode, message, source, code, timestamp, path, method}`, the *current* envelope of the toolbox contract).

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;

/// A failed toolbox request. `message` is sent as it is; constructors add the daemon's prefixes.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ToolboxError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

impl ToolboxError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        ToolboxError { status, code, message: message.into() }
    }

    /// 400 `bad request: …`
    pub fn bad_request(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", format!("bad request: {message}"))
    }

    /// 400 `invalid body request: …`
    pub fn invalid_body(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST_BODY", format!("invalid body request: {message}"))
    }

    /// 404 `not found: …`
    pub fn not_found(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("not found: {message}"))
    }

    /// 409 `conflict: …`
    pub fn conflict(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::CONFLICT, "CONFLICT", format!("conflict: {message}"))
    }

    /// 410 `gone: …`
    pub fn gone(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::GONE, "GONE", format!("gone: {message}"))
    }

    /// 500 `internal server error: …`
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_SERVER_ERROR",
            format!("internal server error: {message}"),
        )
    }

    /// The envelope, for places that render errors themselves (bulk-download parts).
    pub fn body(&self, path: &str, method: &str) -> serde_json::Value {
        json!({
            "statusCode": self.status.as_u16(),
            "message": self.message,
            "source": "DAYTONA_DAEMON",
            "code": self.code,
            "timestamp": super::error::timestamp(chrono::Utc::now()),
            "path": path,
            "method": method,
        })
    }
}

impl IntoResponse for ToolboxError {
    fn into_response(self) -> Response {
        // The body is written by `envelope`, which knows the path.
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// RFC 3339 with nanoseconds, trailing zeros trimmed, `Z` (observed).
pub fn timestamp(time: chrono::DateTime<chrono::Utc>) -> String {
    let text = time.format("%Y-%m-%dT%H:%M:%S%.9f").to_string();
    format!("{}Z", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Middleware: renders [`ToolboxError`]s and adds `X-Request-Id` to every answer (observed).
pub async fn envelope(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ToolboxError>() {
        let body = super::json::to_vec(&error.body(&path, method.as_str()));
        response = (error.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    }
    let id = uuid::Uuid::new_v4().to_string();
    response.headers_mut().insert("x-request-id", HeaderValue::from_str(&id).expect("a UUID is a header value"));
    response
}

/// The router's own 404: `404 page not found` as plain text (observed).
pub async fn page_not_found() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], "404 page not found").into_response()
}
