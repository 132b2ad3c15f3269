//! An S3 client of the tests' own: signs as version 4 says, whole bodies and streams in chunks.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::snapshots::Account;

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &PLAIN.remove(b'/');

/// Credentials and the way to the storage.
#[derive(Clone)]
pub struct Bucket {
    pub url: String,
    pub access_key: String,
    pub secret: String,
    pub token: String,
    pub organization: String,
    pub client: reqwest::Client,
}

/// What to ask.
pub struct Ask<'a> {
    pub method: Method,
    /// Below the bucket; empty is the bucket itself.
    pub key: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Vec<u8>,
}

impl<'a> Ask<'a> {
    pub fn new(method: Method, key: &'a str) -> Ask<'a> {
        Ask { method, key, query: &[], headers: &[], body: Vec::new() }
    }

    pub fn query(self, query: &'a [(&'a str, &'a str)]) -> Ask<'a> {
        Ask { query, ..self }
    }

    pub fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Ask<'a> {
        Ask { headers, ..self }
    }

    pub fn body(self, body: impl Into<Vec<u8>>) -> Ask<'a> {
        Ask { body: body.into(), ..self }
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

impl Bucket {
    /// With fresh credentials of an account.
    pub async fn of(account: &Account) -> Bucket {
        let access = account.ok(Method::GET, "/object-storage/push-access", json!({})).await;
        Bucket::with(&access)
    }

    pub fn with(access: &Value) -> Bucket {
        let text = |name: &str| access[name].as_str().unwrap_or_else(|| panic!("{name}: {access}")).to_owned();
        Bucket {
            url: format!("{}/{}", text("storageUrl"), text("bucket")),
            access_key: text("accessKey"),
            secret: text("secret"),
            token: text("sessionToken"),
            organization: text("organizationId"),
            client: reqwest::Client::new(),
        }
    }

    /// A key of the account's own.
    pub fn key(&self, rest: &str) -> String {
        format!("{}/{rest}", self.organization)
    }

    pub async fn send(&self, ask: Ask<'_>) -> Response {
        self.try_send(ask).await.expect("an answer")
    }

    /// The same where the server may die.
    pub async fn try_send(&self, ask: Ask<'_>) -> reqwest::Result<Response> {
        let digest = sha256(&ask.body);
        self.send_signed(ask, &digest, |body, _, _, _| body).await
    }

    /// The same with a body in signed chunks, whose checksum comes after it.
    pub async fn send_in_chunks(&self, ask: Ask<'_>, trailer: &str) -> Response {
        let trailer = trailer.to_owned();
        let chunks = move |body: Vec<u8>, signature: String, key: Vec<u8>, scope: String| {
            let (mut out, mut last) = (Vec::new(), signature);
            let (time, scope) = scope.split_once('\n').expect("time and scope");
            for chunk in body.chunks(70_000).chain([&[][..]]) {
                let text =
                    format!("AWS4-HMAC-SHA256-PAYLOAD\n{time}\n{scope}\n{last}\n{}\n{}", sha256(b""), sha256(chunk));
                last = hex(&mac(&key, &text));
                out.extend_from_slice(format!("{:x};chunk-signature={last}\r\n", chunk.len()).as_bytes());
                out.extend_from_slice(chunk);
                if !chunk.is_empty() {
                    out.extend_from_slice(b"\r\n");
                }
            }
            let hash = sha256(format!("{trailer}\n").as_bytes());
            let text = format!("AWS4-HMAC-SHA256-TRAILER\n{time}\n{scope}\n{last}\n{hash}");
            let signature = hex(&mac(&key, &text));
            out.extend_from_slice(format!("{trailer}\r\nx-amz-trailer-signature:{signature}\r\n\r\n").as_bytes());
            out
        };
        self.send_signed(ask, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", chunks).await.expect("an answer")
    }

    async fn send_signed(
        &self,
        ask: Ask<'_>,
        digest: &str,
        encode: impl FnOnce(Vec<u8>, String, Vec<u8>, String) -> Vec<u8>,
    ) -> reqwest::Result<Response> {
        let now = chrono::Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
        let (scheme, rest) = self.url.split_once("://").expect("an URL");
        let (host, bucket) = rest.split_once('/').expect("a bucket");
        let path = match ask.key {
            "" => format!("/{bucket}"),
            key => format!("/{bucket}/{}", utf8_percent_encode(key, PATH)),
        };
        let encode_text = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
        let mut query: Vec<_> =
            ask.query.iter().map(|(name, value)| format!("{}={}", encode_text(name), encode_text(value))).collect();
        query.sort();
        let query = query.join("&");
        let mut headers: Vec<(String, String)> = [
            ("host", host),
            ("x-amz-content-sha256", digest),
            ("x-amz-date", &now),
            ("x-amz-security-token", &self.token),
        ]
        .iter()
        .chain(ask.headers)
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{digest}", ask.method);
        let day = &now[..8];
        let scope = format!("{day}/us-east-1/s3/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let key = mac(format!("AWS4{}", self.secret).as_bytes(), day);
        let key = ["us-east-1", "s3", "aws4_request"].iter().fold(key, |key, part| mac(&key, part));
        let signature = hex(&mac(&key, &text));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key
        );
        let body = encode(ask.body, signature, key, format!("{now}\n{scope}"));
        let url = format!("{scheme}://{host}{path}{}{query}", if query.is_empty() { "" } else { "?" });
        let mut request = self.client.request(ask.method, url).header("authorization", authorization).body(body);
        for (name, value) in headers.iter().filter(|(name, _)| name != "host") {
            request = request.header(name, value);
        }
        request.send().await
    }

    /// Base64 of a signature of version 2.
    fn sign_2(&self, text: &str) -> String {
        let mut mac = Hmac::<sha1::Sha1>::new_from_slice(self.secret.as_bytes()).expect("any length");
        mac.update(text.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }

    /// The organisation's objects, listed as boto3 does with signatures of version 2.
    pub async fn list_2(&self) -> Response {
        let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let text = format!("GET\n\n\n{date}\nx-amz-security-token:{}\n/daytona/", self.token);
        let request = self.client.get(format!("{}?list-type=2&prefix={}%2F", self.url, self.organization));
        let request = request.header("date", date).header("x-amz-security-token", &self.token);
        let authorization = format!("AWS {}:{}", self.access_key, self.sign_2(&text));
        request.header("authorization", authorization).send().await.expect("an answer")
    }

    /// A URL that reads an object for a minute, as version 2 of the signatures has it.
    pub fn presigned(&self, key: &str) -> String {
        let (_, rest) = self.url.split_once("://").expect("an URL");
        let (_, bucket) = rest.split_once('/').expect("a bucket");
        let expires = chrono::Utc::now().timestamp() + 60;
        let path = utf8_percent_encode(key, PATH).to_string();
        let text = format!("GET\n\n\n{expires}\nx-amz-security-token:{}\n/{bucket}/{path}", self.token);
        let signature = self.sign_2(&text);
        let pairs = [
            ("AWSAccessKeyId", &self.access_key),
            ("Signature", &signature),
            ("x-amz-security-token", &self.token),
            ("Expires", &expires.to_string()),
        ];
        let encode = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
        let query: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        format!("{}/{path}?{}", self.url, query.join("&"))
    }

    /// The fields of a form that may put what is below `prefix`, as `generate_presigned_post` of boto3 makes them.
    pub fn form(&self, key: &str, prefix: &str) -> Vec<(&'static str, String)> {
        let now = chrono::Utc::now();
        let (date, day) = (now.format("%Y%m%dT%H%M%SZ").to_string(), now.format("%Y%m%d").to_string());
        let credential = format!("{}/{day}/us-east-1/s3/aws4_request", self.access_key);
        let policy = json!({
            "expiration": (now + chrono::Duration::minutes(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "conditions": [
                {"bucket": "daytona"},
                ["starts-with", "$key", prefix],
                ["starts-with", "$content-type", ""],
                {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
                {"x-amz-credential": credential},
                {"x-amz-date": date},
                {"x-amz-security-token": self.token},
            ],
        });
        let policy = STANDARD.encode(policy.to_string());
        let secret = mac(format!("AWS4{}", self.secret).as_bytes(), &day);
        let secret = ["us-east-1", "s3", "aws4_request"].iter().fold(secret, |key, part| mac(&key, part));
        let signature = hex(&mac(&secret, &policy));
        vec![
            ("key", key.to_owned()),
            ("content-type", "text/plain".to_owned()),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential", credential),
            ("x-amz-date", date),
            ("x-amz-security-token", self.token.clone()),
            ("policy", policy),
            ("x-amz-signature", signature),
        ]
    }

    /// Puts an object, which must work.
    pub async fn put(&self, key: &str, body: impl Into<Vec<u8>>) {
        let answer = self.send(Ask::new(Method::PUT, key).body(body)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap_or_default());
    }

    /// Status and text.
    pub async fn text(&self, ask: Ask<'_>) -> (u16, String) {
        let answer = self.send(ask).await;
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }
}
