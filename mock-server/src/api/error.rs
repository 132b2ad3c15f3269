//! The control plane's one error type and the one place that renders its envelope:
//! `{path, timestamp, statusCode, error, message}`, in this order (observed).

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, SecondsFormat, Utc};
use http::{StatusCode, Uri, header};
use serde::Serialize;
use serde_json::json;

use super::operations;
use crate::model::{ErrorKind, ModelError};

/// A failed request. The envelope is written by [`render`], which knows the path.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
    /// Of a failure that somebody asked for: the original's own have none.
    pub code: Option<String>,
}

/// What every handler answers.
pub type ApiResult<T = Response> = Result<T, ApiError>;

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError { status, message: message.into(), code: None }
    }

    pub fn bad_request(message: impl Into<String>) -> ApiError {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn not_found(message: impl Into<String>) -> ApiError {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 401: no, unknown or expired credentials.
    pub fn unauthorized() -> ApiError {
        Self::new(StatusCode::UNAUTHORIZED, "Invalid credentials")
    }

    /// 403: the key lacks a permission.
    pub fn denied() -> ApiError {
        Self::new(StatusCode::FORBIDDEN, "Access denied")
    }

    /// 403: right credentials of the wrong sort, or for another organisation.
    pub fn wrong_context() -> ApiError {
        Self::new(StatusCode::FORBIDDEN, "Invalid authentication context")
    }

    /// 501: [`render`] names the operation.
    pub fn not_emulated() -> ApiError {
        Self::new(StatusCode::NOT_IMPLEMENTED, "")
    }
}

impl From<ModelError> for ApiError {
    fn from(error: ModelError) -> ApiError {
        let status = match error.kind {
            ErrorKind::BadRequest => StatusCode::BAD_REQUEST,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::NotEmulated => return ApiError::not_emulated(),
            ErrorKind::Full => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::Internal => {
                tracing::error!(reason = error.message, "a request failed");
                return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "An unexpected error occurred.");
            }
        };
        ApiError::new(status, error.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives a failed answer its envelope, and leaves its headers. `uri` is the one that the client sent.
pub fn render(response: Response, method: &str, uri: &Uri) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let mut headers = response.headers().clone();
    let mut rendered = rendered(response, method, uri);
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        headers.remove(name);
    }
    rendered.headers_mut().extend(headers);
    rendered
}

fn rendered(mut response: Response, method: &str, uri: &Uri) -> Response {
    let status = response.status();
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        // Refused by an extractor (a path that isn't UTF-8, …); its own text is not for clients.
        let is_json =
            response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
        return if is_json { response } else { envelope(status, reason(status), None, uri) };
    };
    if error.status == StatusCode::NOT_IMPLEMENTED && error.message.is_empty() {
        let path = uri.path().strip_prefix("/api").unwrap_or_default().trim_end_matches('/');
        let id = operations::find(method, path).map_or("This operation", |op| op.id);
        let text = format!("{id} is not emulated yet by daytona-mock {}", env!("CARGO_PKG_VERSION"));
        return envelope(status, &text, None, uri);
    }
    envelope(error.status, &error.message, error.code, uri)
}

fn envelope(status: StatusCode, message: &str, code: Option<String>, uri: &Uri) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut body = json!({
        "path": path,
        "timestamp": time(Utc::now()),
        "statusCode": status.as_u16(),
        "error": reason(status),
        "message": message,
    });
    if let Some(code) = code {
        body["code"] = code.into();
    }
    json_response(status, &body)
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

/// ISO 8601 with milliseconds, the only form of times in answers.
pub fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A JSON answer with the original's content type.
pub fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).map(Bytes::from).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// 200 with JSON.
pub fn ok(value: &impl Serialize) -> Response {
    json_response(StatusCode::OK, value)
}

/// 201 with JSON.
pub fn created(value: &impl Serialize) -> Response {
    json_response(StatusCode::CREATED, value)
}

/// 200 with raw text: a quoted string would break the signatures of Go and Ruby clients.
pub fn text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}
