//! Who may do what: signatures are checked by `s3s` with the secret that belongs to the access key; here the session token,
//! the end of the credentials and the prefix.

use std::sync::Arc;

use http::{HeaderMap, Uri};
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
    path::S3Path,
    s3_error,
};

use super::BUCKET;
use crate::model::{ControlPlane, storage_keys::Refusal};

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
        let token = session_token(cx.headers(), cx.uri()).unwrap_or_default();
        let owner =
            self.0.storage_owner(&credentials.access_key, &token).map(Owner).map_err(|refusal| match refusal {
                Refusal::Token => s3_error!(InvalidToken, "The provided token is malformed or otherwise invalid."),
                Refusal::Expired => s3_error!(ExpiredToken, "The provided token has expired."),
            })?;
        let operation = cx.s3_op().name();
        match cx.s3_path() {
            S3Path::Root if operation == "ListBuckets" => {}
            S3Path::Bucket { bucket } if &**bucket == BUCKET => match operation {
                "HeadBucket" | "GetBucketLocation" => {}
                // Its keys are in the body.
                "DeleteObjects" => {}
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
}

/// In a header, or in the query of a presigned URL.
fn session_token(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let header = headers.get("x-amz-security-token").and_then(|token| token.to_str().ok());
    header.map(str::to_owned).or_else(|| in_query(uri, "X-Amz-Security-Token"))
}

fn in_query(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
