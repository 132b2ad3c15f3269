//! Object storage: what clients upload build contexts to, as S3 speaks (`s3s` has the protocol: signatures, streams in
//! chunks, XML). One bucket, [`BUCKET`], at the root of the server's port, as MinIO clients take no path in an endpoint;
//! whoever has credentials of an organisation sees what is below `<organisation>/` and nothing else.

mod access;
mod listing;
mod multipart;
mod operations;
mod receive;

use std::sync::Arc;

use axum::{body::Body, response::Response};
use http::{Request, StatusCode, header};
use s3s::service::{S3Service, S3ServiceBuilder};

use crate::{gateway::origin::Origin, model::ControlPlane};

/// The one bucket (observed).
pub const BUCKET: &str = "daytona";

/// What clients sign for. Any is accepted.
pub const REGION: &str = "us-east-1";

/// The S3 service of a server. Cheap to clone.
#[derive(Clone)]
pub struct Storage(S3Service);

impl Storage {
    pub fn new(cp: &Arc<ControlPlane>) -> Storage {
        let mut builder = S3ServiceBuilder::new(operations::Operations(cp.clone()));
        builder.set_auth(access::Secrets(cp.clone()));
        builder.set_access(access::OwnObjects(cp.clone()));
        Storage(builder.build())
    }

    /// Whether a request is for the storage: below the bucket, or signed as only S3's are (a list of buckets).
    pub fn concerns<B>(request: &Request<B>) -> bool {
        let first = request.uri().path().trim_start_matches('/').split('/').next();
        let signed = request.headers().get(header::AUTHORIZATION).is_some_and(|a| a.as_bytes().starts_with(b"AWS4-"));
        first == Some(BUCKET) || signed
    }

    /// Answers a request, whose path is still as it was signed.
    pub async fn answer(&self, request: Request<Body>) -> Response {
        match self.0.call(request.map(s3s::Body::http_body_unsync)).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                tracing::warn!(?error, "object storage");
                let mut response = Response::default();
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        }
    }

    /// `storageUrl` for a client that reached the server at `origin`. The Python SDKs' S3 client takes `https` only.
    pub fn url(origin: &Origin, python: bool) -> String {
        let scheme = if python { "https" } else { &origin.scheme };
        format!("{scheme}://{}", origin.authority)
    }
}
