//! Blobs on their way: whole in one request, or in pieces that come in order.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use http::{HeaderName, Request, StatusCode, header};

use super::{
    Place,
    answers::{Problem, digest_header},
    blocking,
};
use crate::model::pushed::Upload;

impl Place {
    /// Begins an upload, or makes one of what is here already (`mount`), or takes it all at once (`digest`).
    pub(super) async fn begin(&self, request: Request<Body>) -> Result<Response, Problem> {
        if let Some(digest) = query(&request, "mount")
            && self.images.blob(&digest).is_some_and(|path| path.is_file())
        {
            return Ok(self.created(&digest));
        }
        let (images, most) = (self.images.clone(), self.cp.config().limits.uploads);
        let id = blocking(move || images.begin(most).map_err(Problem::internal)).await?.ok_or(Problem::TooMany)?;
        if query(&request, "digest").is_some() {
            let finished = self.finish(&id, request).await;
            if finished.is_err() {
                // Nobody knows its id.
                _ = self.give_up(&id).await;
            }
            return finished;
        }
        Ok(self.accepted(&id, 0))
    }

    pub(super) async fn append(&self, id: &str, request: Request<Body>) -> Result<Response, Problem> {
        let upload = self.take(id, request).await?;
        let length = blocking(move || Ok(upload.keep())).await?;
        Ok(self.accepted(id, length))
    }

    pub(super) async fn finish(&self, id: &str, request: Request<Body>) -> Result<Response, Problem> {
        let digest = query(&request, "digest").ok_or(Problem::DigestInvalid)?;
        let upload = self.take(id, request).await?;
        let (images, most) = (self.images.clone(), self.cp.config().limits.registry_blobs);
        let wanted = digest.clone();
        match blocking(move || images.finish(upload, &wanted, most).map_err(problem)).await? {
            true => Ok(self.created(&digest)),
            false => Err(Problem::DigestInvalid),
        }
    }

    pub(super) async fn progress(&self, id: &str) -> Result<Response, Problem> {
        let length = self.length(id).await?;
        let mut response = self.accepted(id, length);
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    pub(super) async fn give_up(&self, id: &str) -> Result<Response, Problem> {
        let path = self.images.upload(id).ok_or(Problem::UploadUnknown)?;
        tokio::fs::remove_file(path).await.map_err(|_| Problem::UploadUnknown)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn length(&self, id: &str) -> Result<u64, Problem> {
        let path = self.images.upload(id).ok_or(Problem::UploadUnknown)?;
        tokio::fs::metadata(path).await.map(|meta| meta.len()).map_err(|_| Problem::UploadUnknown)
    }

    /// Appends a body to an upload, which is this request's until it is kept, finished or dropped.
    async fn take(&self, id: &str, request: Request<Body>) -> Result<Upload, Problem> {
        let (images, id) = (self.images.clone(), id.to_owned());
        let mut upload = blocking(move || images.claim(&id).map_err(problem)).await?;
        if range_start(&request).is_some_and(|start| start != upload.length()) {
            return Err(Problem::Range);
        }
        let most = self.cp.config().limits.object_size as u64;
        let mut pieces = request.into_body().into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| Problem::UploadInvalid)?;
            if upload.length() + piece.len() as u64 > most {
                return Err(Problem::SizeInvalid);
            }
            // Who asks may go away: then it is free when this is written.
            upload = blocking(move || upload.append(&piece).map(|()| upload).map_err(Problem::internal)).await?;
        }
        Ok(upload)
    }

    fn accepted(&self, id: &str, length: u64) -> Response {
        let headers = [
            (header::LOCATION, format!("/v2/{}/blobs/uploads/{id}", self.repository)),
            (header::RANGE, format!("0-{}", length.saturating_sub(1))),
            (HeaderName::from_static("docker-upload-uuid"), id.to_owned()),
        ];
        (StatusCode::ACCEPTED, headers).into_response()
    }

    fn created(&self, digest: &str) -> Response {
        let location = format!("/v2/{}/blobs/{digest}", self.repository);
        (StatusCode::CREATED, [(header::LOCATION, location), (digest_header(), digest.to_owned())]).into_response()
    }
}

fn problem(error: std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::NotFound => Problem::UploadUnknown,
        std::io::ErrorKind::ResourceBusy => Problem::Busy,
        std::io::ErrorKind::QuotaExceeded => Problem::TooMany,
        _ => Problem::internal(error),
    }
}

/// Where a piece begins: `Content-Range: 10-19`, as the specification has it.
fn range_start(request: &Request<Body>) -> Option<u64> {
    let range = request.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.trim_start_matches("bytes ").split('-').next()?.parse().ok()
}

fn query(request: &Request<Body>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(request.uri().query()?.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
}
