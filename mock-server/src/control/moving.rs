//! `GET /__control/save`: everything that the calling key's organisation owns, files included, as one tar
//! ([`crate::model`], `moving`). Its sandboxes stand still meanwhile, and what is deleted meanwhile is in it. With
//! `?secrets=true` values of secrets, passwords of registries, signing secrets of webhooks and signing keys are in it, else
//! they are left out.
//!
//! `POST /__control/restore` with such a tar as its body: 201 and `{sandboxes: [{id, name}], snapshots, volumes, secrets,
//! ids: {old: new}, notes: []}`. Ids stay where they are free. What ran runs again when the answer comes. The organisation
//! must be empty (409); after a failure it still is.
//!
//! Both are for owners of the organisation.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    response::IntoResponse,
};
use futures_util::TryStreamExt;
use http::{HeaderName, HeaderValue, Uri, header};
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use crate::{
    api::{ApiError, ApiResult, Caller, created},
    model::ControlPlane,
};

/// Bytes that are read from disk at once.
const PIECE: usize = 256 << 10;

pub async fn save(State(cp): State<Arc<ControlPlane>>, caller: Caller, uri: Uri) -> ApiResult {
    caller.owner_of(&cp, caller.organization())?;
    let secrets = wants_secrets(uri.query().unwrap_or_default())?;
    let file = cp.save_world(caller.organization(), secrets).await?;
    let internal = |error: io::Error| ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let size = file.metadata().map_err(internal)?.len();
    let headers: [(HeaderName, HeaderValue); 2] =
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar")), (header::CONTENT_LENGTH, size.into())];
    let body = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE);
    Ok((headers, Body::from_stream(body)).into_response())
}

fn wants_secrets(query: &str) -> ApiResult<bool> {
    let mut wants = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("secrets", "true") => wants = true,
            ("secrets", "false") => wants = false,
            ("access_token", _) => {}
            _ => return Err(ApiError::bad_request(format!("{name}={value}: there is secrets=true and secrets=false"))),
        }
    }
    Ok(wants)
}

/// The body is read as it comes.
pub async fn restore(State(cp): State<Arc<ControlPlane>>, caller: Caller, request: Request) -> ApiResult {
    caller.owner_of(&cp, caller.organization())?;
    let body = request.into_body().into_data_stream().map_err(io::Error::other);
    let from = SyncIoBridge::new(StreamReader::new(body));
    Ok(created(&cp.restore_world(&caller.0, from).await?.value))
}

/// Whether the body of a request must not be read before its handler does.
pub fn streams(path: &str) -> bool {
    path == "/restore"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_questions_are_answered() {
        assert_eq!([wants_secrets(""), wants_secrets("secrets=true&access_token=x")], [Ok(false), Ok(true)]);
        assert!(wants_secrets("secret=true").is_err() && wants_secrets("secrets=yes").is_err());
    }
}
