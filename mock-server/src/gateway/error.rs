//! The proxy's error envelope: `{statusCode, message, source, code, timestamp, path, method}` (observed at `/toolbox`
//! and on preview hosts; `source` is what current SDKs read besides).

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use serde_json::json;

use crate::api::ApiError;

/// A request that the gateway refuses by itself.
#[derive(Debug, PartialEq, Eq)]
pub struct ProxyError {
    pub status: StatusCode,
    /// None for what the proxy has from the API (observed).
    pub code: Option<&'static str>,
    pub message: String,
    /// Stands in for the request's own path in the envelope.
    pub path: Option<String>,
}

impl ProxyError {
    fn new(status: StatusCode, code: &'static str, message: String) -> ProxyError {
        ProxyError { status, code: Some(code), message, path: None }
    }

    /// 400 `bad request: …`
    pub fn bad_request(message: impl std::fmt::Display) -> ProxyError {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", format!("bad request: {message}"))
    }

    /// 401 `unauthorized: …`
    pub fn unauthorized(message: impl std::fmt::Display) -> ProxyError {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", format!("unauthorized: {message}"))
    }

    /// 404 `not found: …`
    pub fn not_found(message: impl std::fmt::Display) -> ProxyError {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("not found: {message}"))
    }

    /// 421: the Host is not one of ours.
    pub fn misdirected(host: &str) -> ProxyError {
        let message = format!(
            "misdirected request: this server does not answer to the host name {host:?}; \
             start it with --allow-host {name} (or DAYTONA_MOCK_ALLOW_HOST) to allow it",
            name = if host.is_empty() { "NAME" } else { host },
        );
        Self::new(StatusCode::MISDIRECTED_REQUEST, "MISDIRECTED_REQUEST", message)
    }

    /// 502: the sandbox went away while it was asked.
    pub fn bad_gateway(message: impl std::fmt::Display) -> ProxyError {
        Self::new(StatusCode::BAD_GATEWAY, "BAD_GATEWAY", format!("bad gateway: {message}"))
    }

    /// An error of the API, which the proxy asked.
    pub fn relayed(error: ApiError) -> ProxyError {
        ProxyError { status: error.status, code: None, message: error.message, path: None }
    }

    /// With the path that the original's inner hop reports.
    pub fn at(mut self, path: String) -> ProxyError {
        self.path = Some(path);
        self
    }

    /// The answer to `method path`.
    pub fn response(self, method: &Method, path: &str) -> Response<Body> {
        let mut body = json!({
            "statusCode": self.status.as_u16(),
            "message": self.message,
            "source": "DAYTONA_PROXY",
            "code": self.code,
            "timestamp": crate::toolbox::error::timestamp(chrono::Utc::now()),
            "path": self.path.as_deref().unwrap_or(path),
            "method": method.as_str(),
        });
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        (self.status, axum::Json(body)).into_response()
    }
}
