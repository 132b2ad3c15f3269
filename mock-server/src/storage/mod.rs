//! Object storage: what clients upload build contexts to, as S3 speaks (`s3s` has the protocol: signatures, streams in
//! chunks, XML). One bucket, [`BUCKET`], at the root of the server's port, as MinIO clients take no path in an endpoint;
//! whoever has credentials of an organisation sees what is below `<organisation>/` and nothing else.

mod access;
mod copying;
mod listing;
mod multipart;
mod operations;
mod receive;
mod told;

use std::sync::Arc;

use axum::{body::Body, response::Response};
use http::{Request, StatusCode, header};
use s3s::{
    config::{S3Config, StaticConfigProvider},
    service::{S3Service, S3ServiceBuilder},
};

use crate::{gateway::origin::Origin, model::ControlPlane};

/// The one bucket (observed).
pub const BUCKET: &str = "daytona";

/// Bytes of a file that comes with an HTML form: it is in memory before it is an object. (PUT has no such bound.)
const FORM: u64 = 64 << 20;
/// Bytes of the form's other fields.
const FORM_FIELDS: usize = 1 << 20;

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
        let mut config = S3Config::default();
        (config.post_object_max_file_size, config.form_max_fields_size) = (FORM, FORM_FIELDS);
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        Storage(builder.build())
    }

    /// Whether a request is for the storage: below the bucket, or signed as only S3's are (a list of buckets).
    pub fn concerns<B>(request: &Request<B>) -> bool {
        let first = request.uri().path().trim_start_matches('/').split('/').next();
        let signed = request
            .headers()
            .get(header::AUTHORIZATION)
            .is_some_and(|a| a.as_bytes().starts_with(b"AWS4-") || a.as_bytes().starts_with(b"AWS "));
        first == Some(BUCKET) || signed
    }

    /// Answers a request, whose path is still as it was signed.
    pub async fn answer(&self, mut request: Request<Body>) -> Response {
        access::as_signed(&mut request);
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
