//! Who may do what: signatures are checked by `s3s` with the secret that belongs to the access key; here the session token,
//! the end of the credentials and the prefix.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, uri::PathAndQuery};
use s3s::{
    S3Request, S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
    dto::PutObjectInput,
    path::S3Path,
    s3_error,
};

use super::BUCKET;
use crate::model::{ControlPlane, storage_keys::Refusal};

/// An upload by an HTML form, with a signed policy.
const FORM: &str = "PostObject";

/// The secrets of access keys.
pub struct Secrets(pub Arc<ControlPlane>);

#[async_trait::async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let secret = self.0.storage_secret(access_key).ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        Ok(SecretKey::from(secret))
    }
}

/// The organisation whose objects a request may touch; in the extensions of every request.
#[derive(Clone)]
pub struct Owner(String);

impl Owner {
    /// Of a request whose access was checked.
    pub fn of(extensions: &http::Extensions) -> S3Result<Owner> {
        extensions.get().cloned().ok_or_else(|| s3_error!(AccessDenied))
    }

    pub fn organization(&self) -> &str {
        &self.0
    }

    /// Refuses keys of others.
    pub fn must_own(&self, key: &str) -> S3Result<()> {
        let own = key.strip_prefix(&self.0).is_some_and(|rest| rest.starts_with('/'));
        if own { Ok(()) } else { Err(s3_error!(AccessDenied, "Access Denied")) }
    }
}

/// Lets everybody at what is below their own prefix.
pub struct OwnObjects(pub Arc<ControlPlane>);

#[async_trait::async_trait]
impl S3Access for OwnObjects {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let denied = || s3_error!(AccessDenied, "Access Denied");
        let credentials = cx.credentials().ok_or_else(denied)?;
        let operation = cx.s3_op().name();
        let owner = match session_token(cx.headers(), cx.uri()) {
            // Its token is a field of the form, which nobody sees here; the policy is signed with the secret, which
            // nobody has without the token.
            None if operation == FORM => self.0.storage_owner_of(&credentials.access_key),
            token => self.0.storage_owner(&credentials.access_key, &token.unwrap_or_default()),
        };
        let owner = owner.map(Owner).map_err(|refusal| match refusal {
            Refusal::Token => s3_error!(InvalidToken, "The provided token is malformed or otherwise invalid."),
            Refusal::Expired => s3_error!(ExpiredToken, "The provided token has expired."),
        })?;
        match cx.s3_path() {
            S3Path::Root if operation == "ListBuckets" => {}
            S3Path::Bucket { bucket } if &**bucket == BUCKET => match operation {
                "HeadBucket" | "GetBucketLocation" => {}
                // Its keys are in the body.
                "DeleteObjects" => {}
                // Its key is a field: below.
                FORM => {}
                "ListObjects" | "ListObjectsV2" | "ListMultipartUploads" => {
                    let prefix = in_query(cx.uri(), "prefix").unwrap_or_default();
                    // Without the slash too, as the CLI asks.
                    if prefix != owner.0 {
                        owner.must_own(&prefix)?;
                    }
                }
                _ => return Err(denied()),
            },
            S3Path::Object { bucket, key } if &**bucket == BUCKET => owner.must_own(key)?,
            _ => return Err(denied()),
        }
        cx.extensions_mut().insert(owner);
        Ok(())
    }

    /// The key of a form, too.
    async fn put_object(&self, req: &mut S3Request<PutObjectInput>) -> S3Result<()> {
        Owner::of(&req.extensions)?.must_own(&req.input.key)
    }
}

/// In a header, or in the query of a presigned URL.
fn session_token(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let header = headers.get("x-amz-security-token").and_then(|token| token.to_str().ok());
    header.map(str::to_owned).or_else(|| in_query(uri, "X-Amz-Security-Token"))
}

/// Makes a request of version 2 of the signatures (boto3's `signature_version="s3"`, `aws s3 presign` of CLI 1) what was
/// signed: the bucket's path has a slash at its end, and a presigned URL carries headers in its query (observed of boto3).
pub fn as_signed<B>(request: &mut Request<B>) {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let by_header = authorization.is_some_and(|value| value.as_bytes().starts_with(b"AWS "));
    let query = request.uri().query().unwrap_or_default().to_owned();
    let by_query = query.contains("AWSAccessKeyId=");
    if !by_header && !by_query {
        return;
    }
    if request.uri().path().trim_start_matches('/') == BUCKET {
        let whole = if query.is_empty() { format!("/{BUCKET}/") } else { format!("/{BUCKET}/?{query}") };
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(whole).ok();
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
    let pairs = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| by_query && name.starts_with("x-amz-"));
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            request.headers_mut().entry(name).or_insert(value);
        }
    }
}

fn in_query(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
