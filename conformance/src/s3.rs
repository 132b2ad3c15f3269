//! As much of an S3 client as scenarios need: requests signed as version 4 says.

use chrono::Utc;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use sha2::{Digest, Sha256};

use crate::{
    client::{Answer, Client, Request},
    stop::{Result, Stop},
};

/// Credentials of `getPushAccess`.
#[derive(Clone)]
pub struct Storage {
    pub client: Client,
    /// Scheme and host.
    pub url: String,
    pub bucket: String,
    pub organization: String,
    pub region: String,
    pub access_key: String,
    pub secret: String,
    pub token: String,
}

impl Storage {
    pub fn of(client: &Client, access: &Answer) -> Result<Storage> {
        let url = access.string("/storageUrl")?.trim_end_matches('/').to_owned();
        let region = access.at("/region").as_str().unwrap_or("us-east-1").to_owned();
        Ok(Storage {
            client: client.at(&url, None),
            url,
            bucket: access.string("/bucket")?,
            organization: access.string("/organizationId")?,
            region,
            access_key: access.string("/accessKey")?,
            secret: access.string("/secret")?,
            token: access.string("/sessionToken")?,
        })
    }

    /// A signed request for a key of plain characters, or the bucket itself. `query` is sorted and plain, too.
    pub fn request(&self, method: Method, key: &str, query: &str, body: &[u8]) -> Result<Request> {
        let host = self.url.split("://").nth(1).ok_or_else(|| Stop::untestable("storageUrl is no URL"))?;
        let path = format!("/{}{}{key}", self.bucket, if key.is_empty() { "" } else { "/" });
        let (time, digest) = (Utc::now().format("%Y%m%dT%H%M%SZ").to_string(), hex(&Sha256::digest(body)));
        let headers = [
            ("host", host),
            ("x-amz-content-sha256", &digest),
            ("x-amz-date", &time),
            ("x-amz-security-token", &self.token),
        ];
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names = headers.map(|(name, _)| name).join(";");
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}");
        let scope = format!("{}/{}/s3/aws4_request", &time[..8], self.region);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let key = scope.split('/').fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| mac(&key, part));
        let signature = hex(&mac(&key, &text));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key
        );
        let separator = if query.is_empty() { "" } else { "?" };
        let mut request = self.client.request(method, &format!("{path}{separator}{query}"));
        for (name, value) in headers.into_iter().skip(1) {
            request = request.header(name, value);
        }
        Ok(request.header("authorization", authorization).body("", body.to_vec()))
    }

    pub async fn send(&self, method: Method, key: &str, query: &str, body: &[u8]) -> Result<Answer> {
        self.request(method, key, query, body)?.send().await
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
