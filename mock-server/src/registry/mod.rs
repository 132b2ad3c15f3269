//! A registry on the server's own port, for what clients push: the parts of the OCI distribution specification that
//! `docker push`, podman, skopeo and crane use. Everybody sees the repositories below `<organisation>/` and nothing else.

mod answers;
pub mod names;
mod uploads;

use std::sync::Arc;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use self::{
    answers::{Problem, digest_header},
    names::{Target, parse},
};
use crate::model::{
    ControlPlane,
    pushed::{MAX_MANIFEST, PushedImages, digest_of},
};

/// Answers one request below `/v2`.
pub async fn answer(cp: &Arc<ControlPlane>, request: Request<Body>) -> Response {
    let owner = match caller(cp, request.headers()) {
        Some(owner) => owner,
        None => return answers::who_are_you(),
    };
    let (method, target) = (request.method().clone(), parse(request.uri().path()));
    let answered = match target {
        Some(Target::Root) => Ok(StatusCode::OK.into_response()),
        Some(Target::Named { repository, .. }) if !is_own(&repository, &owner) => Err(Problem::Denied),
        Some(Target::Named { repository, what }) => {
            let place = Place { cp: cp.clone(), images: cp.pushed_images(&owner), repository };
            place.answer(&method, what, request).await
        }
        None => Err(Problem::NameUnknown),
    };
    let mut response = answered.unwrap_or_else(Problem::into_response);
    response.headers_mut().insert("docker-distribution-api-version", http::HeaderValue::from_static("registry/2.0"));
    if method == Method::HEAD { response.map(|_| Body::empty()) } else { response }
}

fn is_own(repository: &str, owner: &str) -> bool {
    repository.strip_prefix(owner).is_some_and(|rest| rest.starts_with('/'))
}

/// The organisation of the credentials of `getTransientPushAccess`.
fn caller(cp: &ControlPlane, headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, pair) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(pair.trim()).ok()?).ok()?;
    let (username, secret) = pair.split_once(':')?;
    cp.pusher(username, secret).ok()
}

/// A repository of the caller's organisation.
struct Place {
    cp: Arc<ControlPlane>,
    images: PushedImages,
    repository: String,
}

impl Place {
    async fn answer(&self, method: &Method, what: names::What, request: Request<Body>) -> Result<Response, Problem> {
        use names::What;
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match what {
            What::Blob(digest) if reads => self.blob(&digest).await,
            What::Manifest(reference) if reads => self.manifest(&reference).await,
            What::Manifest(reference) if method == Method::PUT => self.put_manifest(&reference, request).await,
            What::Tags if reads => {
                let (images, repository) = (self.images.clone(), self.repository.clone());
                let tags = blocking(move || Ok(images.tags(&repository))).await?;
                Ok(axum::Json(json!({"name": self.repository, "tags": tags})).into_response())
            }
            What::Uploads if method == Method::POST => self.begin(request).await,
            What::Upload(id) => match *method {
                Method::PATCH => self.append(&id, request).await,
                Method::PUT => self.finish(&id, request).await,
                Method::GET => self.progress(&id).await,
                Method::DELETE => self.give_up(&id).await,
                _ => Err(Problem::Unsupported),
            },
            _ => Err(Problem::Unsupported),
        }
    }

    async fn blob(&self, digest: &str) -> Result<Response, Problem> {
        let path = self.images.blob(digest).ok_or(Problem::DigestInvalid)?;
        let file = tokio::fs::File::open(path).await.map_err(|_| Problem::BlobUnknown)?;
        let length = file.metadata().await.map_err(Problem::internal)?.len();
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_LENGTH, length.to_string()),
            (digest_header(), digest.to_owned()),
        ];
        Ok((headers, Body::from_stream(ReaderStream::with_capacity(file, 64 << 10))).into_response())
    }

    async fn manifest(&self, reference: &str) -> Result<Response, Problem> {
        let (images, repository, reference) = (self.images.clone(), self.repository.clone(), reference.to_owned());
        let find = move || images.find(&repository, &reference).ok_or(Problem::ManifestUnknown);
        let (pushed, bytes) = blocking(find).await?;
        let headers = [
            (header::CONTENT_TYPE, pushed.media_type),
            (header::CONTENT_LENGTH, bytes.len().to_string()),
            (digest_header(), pushed.digest),
        ];
        Ok((headers, bytes).into_response())
    }

    async fn put_manifest(&self, reference: &str, request: Request<Body>) -> Result<Response, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let body = Limited::new(request.into_body(), MAX_MANIFEST).collect().await;
        let bytes = body.map_err(|_| Problem::SizeInvalid)?.to_bytes();
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| Problem::ManifestInvalid)?;
        let kind = kind.or_else(|| value["mediaType"].as_str().map(str::to_owned));
        let kind = kind.filter(|kind| kind.is_ascii()).ok_or(Problem::ManifestInvalid)?;
        let (images, repository, reference) = (self.images.clone(), self.repository.clone(), reference.to_owned());
        let keep = move || {
            check_parts(&images, &repository, &value)?;
            if reference.starts_with("sha256:") && reference != digest_of(&bytes) {
                return Err(Problem::DigestInvalid);
            }
            images.keep(&repository, &reference, &kind, &bytes).map_err(Problem::internal)
        };
        let kept = blocking(keep).await?;
        let location = format!("/v2/{}/manifests/{}", kept.repository, kept.digest);
        Ok((StatusCode::CREATED, [(header::LOCATION, location), (digest_header(), kept.digest)]).into_response())
    }
}

/// What a manifest names must be here before it.
fn check_parts(images: &PushedImages, repository: &str, manifest: &Value) -> Result<(), Problem> {
    let digest = |part: &Value| part["digest"].as_str().unwrap_or_default().to_owned();
    let list = |name: &str| manifest[name].as_array().into_iter().flatten().map(digest).collect::<Vec<_>>();
    if !manifest["manifests"].is_null() {
        let there = |digest: &String| images.find(repository, digest).is_some();
        return if list("manifests").iter().all(there) { Ok(()) } else { Err(Problem::ManifestUnknown) };
    }
    let mut parts = list("layers");
    parts.push(digest(&manifest["config"]));
    let there = |digest: &String| images.blob(digest).is_some_and(|path| path.is_file());
    if parts.iter().all(there) { Ok(()) } else { Err(Problem::BlobUnknown) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?
}
