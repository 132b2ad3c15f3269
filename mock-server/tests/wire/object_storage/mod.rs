//! Object storage: what an S3 client may do with the credentials of `getPushAccess`, and what it may not.

mod copies;
mod signed;
mod signer;

use base64::{Engine, engine::general_purpose::STANDARD};
use daytona_mock::MockServer;
use reqwest::Method;
use serde_json::{Value, json};

pub use self::signer::{Ask, Bucket};
use crate::{
    snapshots::Account,
    support::{client, config, new_key, server},
};

/// The text between two tags.
fn tag<'a>(xml: &'a str, name: &str) -> &'a str {
    let rest = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name}: {xml}")).1;
    rest.split_once(&format!("</{name}>")).expect("an end").0
}

fn all<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(start.as_str()).skip(1).map(|rest| rest.split_once(end.as_str()).expect("an end").0).collect()
}

async fn bucket() -> Bucket {
    Bucket::of(&Account::new().await).await
}

#[tokio::test]
async fn push_access_is_what_sdks_need() {
    let account = Account::new().await;
    let access = account.ok(Method::GET, "/object-storage/push-access", json!({})).await;
    let keys: Vec<&str> = access.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = ["accessKey", "secret", "sessionToken", "storageUrl", "organizationId", "bucket", "region"];
    assert_eq!(keys, expected);
    assert_eq!((&access["bucket"], &access["storageUrl"]), (&json!("daytona"), &json!(server().base_url)));
    let url = format!("{}/object-storage/push-access", server().api_url);
    let python = account.client.get(&url).header("x-daytona-source", "sdk-python").send().await.expect("answer");
    let python: Value = python.json().await.expect("JSON");
    assert_eq!(python["storageUrl"], json!(server().base_url.replacen("http://", "https://", 1)));
    let body = json!({"name": "none", "permissions": ["read:volumes"]});
    let none = account.ok(Method::POST, "/api-keys", body).await["value"].as_str().expect("a key").to_owned();
    assert_eq!(client(&none).get(url).send().await.expect("answer").status(), 403);
}

#[tokio::test]
async fn objects_are_put_read_listed_and_deleted() {
    let bucket = bucket().await;
    let key = bucket.key("abc/context.tar");
    let (status, missing) = bucket.text(Ask::new(Method::GET, &key)).await;
    assert_eq!((status, tag(&missing, "Code")), (404, "NoSuchKey"));
    assert_eq!(bucket.send(Ask::new(Method::HEAD, &key)).await.status(), 404);
    let kind = [("content-type", "application/x-tar"), ("x-amz-meta-who", "me")];
    let put = bucket.send(Ask::new(Method::PUT, &key).headers(&kind).body("0123456789")).await;
    assert_eq!(put.status(), 200);
    assert_eq!(put.headers()["etag"], "\"781e5e245d69b566979b86e28d23f2c7\"");

    let head = bucket.send(Ask::new(Method::HEAD, &key)).await;
    let header = |name: &str| head.headers()[name].to_str().expect("text");
    assert_eq!((head.status().as_u16(), header("content-length"), header("x-amz-meta-who")), (200, "10", "me"));
    assert_eq!((header("content-type"), header("etag")), ("application/x-tar", "\"781e5e245d69b566979b86e28d23f2c7\""));
    for (range, status, part) in [("bytes=2-4", 206, "234"), ("bytes=-3", 206, "789"), ("bytes=8-99", 206, "89")] {
        let got = bucket.text(Ask::new(Method::GET, &key).headers(&[("range", range)])).await;
        assert_eq!((got.0, got.1.as_str()), (status, part), "{range}");
    }
    let (status, beyond) = bucket.text(Ask::new(Method::GET, &key).headers(&[("range", "bytes=10-")])).await;
    assert_eq!((status, tag(&beyond, "Code")), (416, "InvalidRange"));

    bucket.put(&bucket.key("abc/b & c/ü%.txt"), "x").await;
    bucket.put(&bucket.key("abd"), "y").await;
    let prefix = bucket.key("abc/");
    let list = |query: Vec<(&'static str, String)>| {
        let bucket = bucket.clone();
        async move {
            let query: Vec<_> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let (status, xml) = bucket.text(Ask::new(Method::GET, "").query(&query)).await;
            assert_eq!(status, 200, "{xml}");
            xml
        }
    };
    let page = list(vec![("list-type", "2".into()), ("prefix", prefix.clone()), ("max-keys", "1".into())]).await;
    assert_eq!((tag(&page, "KeyCount"), tag(&page, "IsTruncated")), ("1", "true"));
    let token = tag(&page, "NextContinuationToken").replace("&amp;", "&");
    let rest = list(vec![("list-type", "2".into()), ("prefix", prefix.clone()), ("continuation-token", token)]).await;
    assert_eq!((all(&page, "Key").len(), all(&rest, "Key").len(), tag(&rest, "IsTruncated")), (1, 1, "false"));
    assert_eq!(all(&rest, "Key"), [key.as_str()]);
    let plain =
        list(vec![("prefix", prefix.clone()), ("delimiter", "/".into()), ("encoding-type", "url".into())]).await;
    assert_eq!(all(&plain, "CommonPrefixes").len(), 1, "{plain}");
    assert!(plain.contains("b%20%26%20c/"), "{plain}");
    let whole = list(vec![("list-type", "2".into()), ("prefix", bucket.organization.clone())]).await;
    assert_eq!(all(&whole, "Key").len(), 3);

    assert_eq!(bucket.send(Ask::new(Method::DELETE, &key)).await.status(), 204);
    assert_eq!(bucket.send(Ask::new(Method::DELETE, &key)).await.status(), 204);
    let both = format!(
        "<Delete><Object><Key>{}</Key></Object><Object><Key>other/x</Key></Object></Delete>",
        bucket.key("abd")
    );
    let md5 = STANDARD.encode(md5(both.as_bytes()));
    let ask = Ask::new(Method::POST, "").query(&[("delete", "")]);
    let (status, deleted) = bucket.text(ask.headers(&[("content-md5", &md5)]).body(both)).await;
    assert_eq!((status, tag(&deleted, "Code")), (200, "AccessDenied"), "{deleted}");
    assert_eq!(bucket.send(Ask::new(Method::HEAD, &bucket.key("abd"))).await.status(), 404);
}

fn md5(bytes: &[u8]) -> [u8; 16] {
    use s3s::crypto::{Checksum, Md5};
    Md5::checksum(bytes)
}

#[tokio::test]
async fn the_bucket_says_that_it_is_there() {
    let bucket = bucket().await;
    let root = Bucket { url: bucket.url.replace("/daytona", "/"), ..bucket.clone() };
    let (status, list) = root.text(Ask::new(Method::GET, "")).await;
    assert_eq!((status, tag(&list, "Name")), (200, "daytona"), "{list}");
    assert!(tag(&list, "CreationDate").parse::<chrono::DateTime<chrono::Utc>>().is_ok(), "{list}");
    assert_eq!(bucket.send(Ask::new(Method::HEAD, "")).await.status(), 200);
    let (status, location) = bucket.text(Ask::new(Method::GET, "").query(&[("location", "")])).await;
    assert!(status == 200 && location.contains("LocationConstraint"), "{location}");
}

#[tokio::test]
async fn strangers_are_denied() {
    let (own, other) = (bucket().await, bucket().await);
    let theirs = other.key("x/context.tar");
    other.put(&theirs, "secret").await;
    let code = async |bucket: &Bucket, ask: Ask<'_>| {
        let (status, xml) = bucket.text(ask).await;
        (status, tag(&xml, "Code").to_owned())
    };
    let denied = (403, "AccessDenied".to_owned());
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        assert_eq!(code(&own, Ask::new(method, &theirs)).await, denied);
    }
    for prefix in ["", "x", &other.organization, &other.key(""), &own.organization[..35]] {
        let query = [("list-type", "2"), ("prefix", prefix)];
        assert_eq!(code(&own, Ask::new(Method::GET, "").query(&query)).await, denied, "{prefix}");
    }
    let sly = own.key("a//b/..c/.d/");
    own.put(&sly, "just a name").await;
    assert_eq!(own.text(Ask::new(Method::GET, &sly)).await, (200, "just a name".to_owned()));
    assert_eq!(code(&own, Ask::new(Method::PUT, &own.organization.clone())).await, denied);
    let elsewhere = Bucket { url: own.url.replace("/daytona", "/daytona-other"), ..own.clone() };
    assert_eq!(code(&elsewhere, Ask::new(Method::GET, &own.key("x"))).await, denied);

    let wrong_secret = Bucket { secret: other.secret.clone(), ..own.clone() };
    let key = own.key("x");
    assert_eq!(code(&wrong_secret, Ask::new(Method::GET, &key)).await, (403, "SignatureDoesNotMatch".to_owned()));
    let wrong_token = Bucket { token: other.token.clone(), ..own.clone() };
    assert_eq!(code(&wrong_token, Ask::new(Method::GET, &key)).await, (400, "InvalidToken".to_owned()));
    let unknown = Bucket { access_key: "AKIAIOSFODNN7EXAMPLE".into(), ..own.clone() };
    assert_eq!(code(&unknown, Ask::new(Method::GET, &key)).await, (403, "InvalidAccessKeyId".to_owned()));
    let unsigned = reqwest::get(format!("{}/{key}", own.url)).await.expect("answer");
    assert_eq!(unsigned.status(), 403);
    assert_eq!(tag(&unsigned.text().await.expect("text"), "Code"), "AccessDenied");
}

#[tokio::test]
async fn what_arrives_is_what_was_sent() {
    let bucket = bucket().await;
    let key = bucket.key("sums");
    for (header, value) in [
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-checksum-crc32c", "AAAAAA=="),
        ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="),
        ("x-amz-checksum-sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk="),
        ("x-amz-checksum-sha256", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
    ] {
        let (status, refused) =
            bucket.text(Ask::new(Method::PUT, &key).headers(&[(header, value)]).body("not empty")).await;
        assert_eq!((status, tag(&refused, "Code")), (400, "BadDigest"), "{header}");
        let empty = bucket.send(Ask::new(Method::PUT, &key).headers(&[(header, value)])).await;
        assert_eq!(empty.status(), 200, "{header}");
        if header != "content-md5" {
            assert_eq!(empty.headers()[header], value);
        }
    }
    let sum = bucket.send(Ask::new(Method::GET, &key).headers(&[("x-amz-checksum-mode", "ENABLED")])).await;
    assert_eq!(sum.status(), 200);
    // A body that isn't what was signed is refused, and what was there stays.
    let body = vec![7_u8; 200_000];
    let crc = STANDARD.encode(s3s::crypto::Crc32::checksum_u32(&body).to_be_bytes());
    let length = body.len().to_string();
    let headers = [
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", length.as_str()),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ];
    let ask = || Ask::new(Method::PUT, &key).headers(&headers).body(body.clone());
    let bad = bucket.send_in_chunks(ask(), "x-amz-checksum-crc32:AAAAAA==").await;
    assert_eq!(bad.status(), 400, "{}", bad.text().await.expect("text"));
    let good = bucket.send_in_chunks(ask(), &format!("x-amz-checksum-crc32:{crc}")).await;
    assert_eq!(good.status(), 200, "{}", good.text().await.expect("text"));
    assert_eq!(good.headers()["x-amz-checksum-crc32"], crc.as_str());
    let got = bucket.send(Ask::new(Method::GET, &key)).await.bytes().await.expect("bytes");
    assert!(got == body, "{} bytes came back", got.len());
}

#[tokio::test]
async fn what_is_large_comes_in_parts() {
    let bucket = bucket().await;
    let key = bucket.key("large/context.tar");
    let begin = async || {
        let (status, begun) = bucket.text(Ask::new(Method::POST, &key).query(&[("uploads", "")])).await;
        assert_eq!(status, 200, "{begun}");
        tag(&begun, "UploadId").to_owned()
    };
    let id = begin().await;
    let put = async |number: &str, body: Vec<u8>| {
        let query = [("partNumber", number), ("uploadId", &id)];
        let answer = bucket.send(Ask::new(Method::PUT, &key).query(&query).body(body)).await;
        assert_eq!(answer.status(), 200);
        answer.headers()["etag"].to_str().expect("text").to_owned()
    };
    let five = 5 << 20;
    put("1", vec![0; 10]).await;
    let (one, two) = (put("1", vec![b'a'; five]).await, put("2", vec![b'b'; five]).await);
    let three = put("3", b"end".to_vec()).await;
    let query = [("uploadId", id.as_str()), ("max-parts", "2")];
    let (_, parts) = bucket.text(Ask::new(Method::GET, &key).query(&query)).await;
    assert_eq!((all(&parts, "PartNumber"), tag(&parts, "IsTruncated")), (vec!["1", "2"], "true"));
    let prefix = bucket.key("");
    let (_, open) = bucket.text(Ask::new(Method::GET, "").query(&[("uploads", ""), ("prefix", &prefix)])).await;
    assert_eq!(all(&open, "UploadId"), [id.as_str()]);
    assert_eq!(bucket.send(Ask::new(Method::HEAD, &key)).await.status(), 404, "not before it is complete");

    let complete = async |parts: &[(&str, &str)]| {
        let part = |(n, tag): &(&str, &str)| format!("<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>");
        let xml: String = parts.iter().map(part).collect();
        let xml = format!("<CompleteMultipartUpload>{xml}</CompleteMultipartUpload>");
        bucket.text(Ask::new(Method::POST, &key).query(&[("uploadId", &id)]).body(xml)).await
    };
    for (bad, code) in [
        (vec![("2", two.as_str()), ("1", &one)], "InvalidPartOrder"),
        (vec![("1", two.as_str())], "InvalidPart"),
        (vec![("4", two.as_str())], "InvalidPart"),
    ] {
        let (status, refused) = complete(&bad).await;
        assert_eq!((status, tag(&refused, "Code")), (400, code));
    }
    let (status, done) = complete(&[("1", &one), ("2", &two), ("3", &three)]).await;
    assert_eq!(status, 200, "{done}");
    assert!(tag(&done, "ETag").contains("-3"), "{done}");
    let got = bucket.send(Ask::new(Method::GET, &key)).await.bytes().await.expect("bytes");
    assert!(got.len() == 2 * five + 3 && got[five - 1] == b'a' && got[five] == b'b' && got.ends_with(b"end"));
    assert_eq!(complete(&[("1", &one)]).await.0, 404);

    let id = begin().await;
    let gone = bucket.send(Ask::new(Method::DELETE, &key).query(&[("uploadId", &id)])).await;
    assert_eq!(gone.status(), 204);
    let query = [("partNumber", "1"), ("uploadId", id.as_str())];
    let (status, late) = bucket.text(Ask::new(Method::PUT, &key).query(&query).body("x")).await;
    assert_eq!((status, tag(&late, "Code")), (404, "NoSuchUpload"));
    for (number, status) in [("0", 400), ("10001", 400)] {
        let query = [("partNumber", number), ("uploadId", id.as_str())];
        assert_eq!(bucket.send(Ask::new(Method::PUT, &key).query(&query)).await.status(), status);
    }
}

/// A server of its own, whose clock is turned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_and_abandoned_uploads_end_and_objects_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let start = async || {
        let config = daytona_mock::config::Config { data_dir: Some(dir.path().to_owned()), ..config() };
        MockServer::start(config).await.expect("starts")
    };
    let running = start().await;
    let account = client(&running.api_key);
    let access = async |api: &str| -> Bucket {
        let answer = account.get(format!("{api}/object-storage/push-access")).send().await.expect("answer");
        Bucket::with(&answer.json::<Value>().await.expect("JSON"))
    };
    let old = access(&running.api_url).await;
    let key = old.key("kept");
    old.put(&key, "kept").await;
    old.put(&key, "kept again").await;
    let (_, begun) = old.text(Ask::new(Method::POST, &key).query(&[("uploads", "")])).await;
    let id = tag(&begun, "UploadId").to_owned();
    running.shutdown().await;

    let running = start().await;
    let url = format!("{}/daytona", running.api_url.trim_end_matches("/api"));
    let old = Bucket { url, ..old };
    assert_eq!(old.text(Ask::new(Method::GET, &key)).await, (200, "kept again".to_owned()));
    let objects = std::fs::read_dir(dir.path().join("objects")).expect("objects").count();
    assert_eq!(objects, 1, "what was replaced is gone");
    let turn = async |seconds: u32| {
        let url = format!("{}/__control/clock", running.api_url.trim_end_matches("/api"));
        account.post(url).json(&json!({"advance": seconds})).send().await.expect("turned");
    };
    turn(3601).await;
    let (status, late) = old.text(Ask::new(Method::GET, &key)).await;
    assert_eq!((status, tag(&late, "Code")), (400, "ExpiredToken"));
    turn(24 * 3600).await;
    let new = access(&running.api_url).await;
    crate::support::eventually("the upload is gone", async || {
        let parts = new.send(Ask::new(Method::GET, &key).query(&[("uploadId", &id)])).await;
        (parts.status() == 404).then_some(())
    })
    .await;
    assert_eq!(new.text(Ask::new(Method::GET, &key)).await.0, 200);
    running.shutdown().await;
}

#[tokio::test]
async fn a_reset_takes_objects_away() {
    let account = Account { key: new_key().await, client: client("") };
    let account = Account { client: client(&account.key), ..account };
    let bucket = Bucket::of(&account).await;
    let key = bucket.key("x");
    bucket.put(&key, "x").await;
    let reset = account.client.post(format!("{}/__control/reset", server().base_url)).send().await.expect("answer");
    assert_eq!(reset.status(), 204);
    assert_eq!(bucket.text(Ask::new(Method::GET, &key)).await.0, 404);
}

/// The same port speaks TLS, with a certificate of the user's own authority.
#[tokio::test]
async fn tls_is_spoken_on_the_same_port() {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let pem = reqwest::get(format!("{}/authority.pem", server().base_url)).await.expect("answer");
    let pem = pem.bytes().await.expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).expect("PEM")).expect("a certificate");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let address = server().base_url.trim_start_matches("http://");
    for name in ["127.0.0.1", "localhost"] {
        let stream = tokio::net::TcpStream::connect(address).await.expect("connects");
        let name = ServerName::try_from(name).expect("a name");
        let mut stream = connector.connect(name, stream).await.expect("a handshake");
        let request = format!(
            "GET /api/object-storage/push-access HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            server().api_key
        );
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(&format!("\"storageUrl\":\"https://{address}\"")), "{answer}");
    }
}

#[tokio::test]
async fn of_many_that_put_what_must_be_new_one_does_and_who_reads_gets_one_or_the_other() {
    let bucket = bucket().await;
    for round in 0..10 {
        let key = bucket.key(&format!("once/{round}"));
        let new = [("if-none-match", "*")];
        let put = async |n: usize| {
            let text = format!("{n}");
            bucket.send(Ask::new(Method::PUT, &key).headers(&new).body(text)).await.status().as_u16()
        };
        let (a, b, c, d) = tokio::join!(put(1), put(2), put(3), put(4));
        let mut all = [a, b, c, d];
        all.sort_unstable();
        assert_eq!(all, [200, 412, 412, 412], "round {round}");
        let replace = async {
            for n in 0..20 {
                bucket.put(&key, format!("{n}")).await;
            }
        };
        let read = async {
            for _ in 0..20 {
                assert_eq!(bucket.send(Ask::new(Method::GET, &key)).await.status(), 200);
            }
        };
        tokio::join!(replace, read);
    }
}
