//! What a registry says when it refuses (OCI distribution specification, "Error Codes").

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderName, StatusCode, header};
use serde_json::json;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    BlobUnknown,
    UploadUnknown,
    UploadInvalid,
    DigestInvalid,
    ManifestUnknown,
    ManifestInvalid,
    NameUnknown,
    SizeInvalid,
    Range,
    Busy,
    Denied,
    TooMany,
    Unsupported,
    Internal,
}

impl Problem {
    pub fn internal(error: impl std::fmt::Display) -> Problem {
        tracing::error!(%error, "registry");
        Problem::Internal
    }

    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Problem::BlobUnknown => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry"),
            Problem::UploadUnknown => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
            Problem::UploadInvalid => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", "blob upload invalid"),
            Problem::DigestInvalid => {
                (StatusCode::BAD_REQUEST, "DIGEST_INVALID", "provided digest did not match uploaded content")
            }
            Problem::ManifestUnknown => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown"),
            Problem::ManifestInvalid => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID", "manifest invalid"),
            Problem::NameUnknown => (StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry"),
            Problem::SizeInvalid => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "larger than it may be"),
            Problem::Range => (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", "pieces must come in order"),
            Problem::Busy => (StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID", "another request has this upload"),
            Problem::Denied => (StatusCode::FORBIDDEN, "DENIED", "requested access to the resource is denied"),
            Problem::TooMany => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "more than there may be"),
            Problem::Unsupported => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the operation is unsupported"),
            Problem::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "unknown error"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, message) = self.parts();
        (status, Json(json!({"errors": [{"code": code, "message": message}]}))).into_response()
    }
}

/// 401, with how to log in.
pub fn who_are_you() -> Response {
    let body = Json(json!({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}));
    let challenge = [
        (header::WWW_AUTHENTICATE, "Basic realm=\"daytona-mock\""),
        (HeaderName::from_static("docker-distribution-api-version"), "registry/2.0"),
    ];
    (StatusCode::UNAUTHORIZED, challenge, body).into_response()
}

pub fn digest_header() -> HeaderName {
    HeaderName::from_static("docker-content-digest")
}
