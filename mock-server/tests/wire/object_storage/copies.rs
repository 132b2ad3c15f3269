//! Copies without the client's help, and what an object tells its readers.

use reqwest::{Method, Response};

use super::{Ask, Bucket, all, bucket, tag};

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

const TOLD: [(&str, &str); 7] = [
    ("content-type", "application/x-tar"),
    ("cache-control", "max-age=60"),
    ("content-disposition", "attachment; filename=\"a.tar\""),
    ("content-encoding", "gzip"),
    ("content-language", "de"),
    ("expires", "Sun, 06 Nov 2033 08:49:37 GMT"),
    ("x-amz-meta-who", "me"),
];

/// What a reader is told.
async fn told(bucket: &Bucket, key: &str, method: Method) -> Vec<(&'static str, String)> {
    let answer = bucket.send(Ask::new(method, key)).await;
    assert_eq!(answer.status(), 200);
    TOLD.iter().map(|(name, _)| (*name, header(&answer, name).to_owned())).collect()
}

fn as_told() -> Vec<(&'static str, String)> {
    TOLD.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[tokio::test]
async fn readers_are_told_what_writers_said() {
    let bucket = bucket().await;
    let key = bucket.key("a");
    let put = bucket.send(Ask::new(Method::PUT, &key).headers(&TOLD).body("bytes")).await;
    assert_eq!(put.status(), 200, "{}", put.text().await.expect("text"));
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(told(&bucket, &key, method).await, as_told());
    }
    let query = [("response-cache-control", "no-store"), ("response-content-disposition", "inline")];
    let other = bucket.send(Ask::new(Method::GET, &key).query(&query)).await;
    assert_eq!((header(&other, "cache-control"), header(&other, "content-disposition")), ("no-store", "inline"));
    assert_eq!(header(&other, "content-language"), "de");
    let long = "x".repeat(2048);
    let (status, refused) =
        bucket.text(Ask::new(Method::PUT, &key).headers(&[("x-amz-meta-who", &long)]).body("")).await;
    assert_eq!((status, tag(&refused, "Code")), (400, "MetadataTooLarge"));
    let multipart = bucket.key("parts");
    let begin = Ask::new(Method::POST, &multipart).query(&[("uploads", "")]).headers(&TOLD);
    let id = tag(&bucket.text(begin).await.1, "UploadId").to_owned();
    complete(&bucket, &multipart, &id, &[put_part(&bucket, &multipart, &id, "part").await]).await;
    assert_eq!(told(&bucket, &multipart, Method::HEAD).await, as_told());
}

async fn put_part(bucket: &Bucket, key: &str, id: &str, body: &str) -> String {
    let query = [("partNumber", "1"), ("uploadId", id)];
    let put = bucket.send(Ask::new(Method::PUT, key).query(&query).body(body)).await;
    header(&put, "etag").to_owned()
}

async fn complete(bucket: &Bucket, key: &str, id: &str, tags: &[String]) {
    let part =
        |(n, tag): (usize, &String)| format!("<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>", n + 1);
    let parts: String = tags.iter().enumerate().map(part).collect();
    let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let (status, done) = bucket.text(Ask::new(Method::POST, key).query(&[("uploadId", id)]).body(body)).await;
    assert_eq!(status, 200, "{done}");
}

#[tokio::test]
async fn objects_are_copied_with_or_without_their_headers() {
    let bucket = bucket().await;
    let (from, to) = (bucket.key("a b/ü"), bucket.key("copy"));
    bucket.send(Ask::new(Method::PUT, &from).headers(&TOLD).body("0123456789")).await;
    let source = format!("/daytona/{}/a%20b/%C3%BC", bucket.organization);
    let copy = async |key: &str, more: &[(&str, &str)]| {
        let headers: Vec<_> = [("x-amz-copy-source", source.as_str())].iter().chain(more).copied().collect();
        bucket.text(Ask::new(Method::PUT, key).headers(&headers)).await
    };
    let (status, done) = copy(&to, &[]).await;
    assert_eq!(
        (status, tag(&done, "ETag").replace("&quot;", "\"").as_str()),
        (200, "\"781e5e245d69b566979b86e28d23f2c7\""),
        "{done}"
    );
    assert!(tag(&done, "LastModified").parse::<chrono::DateTime<chrono::Utc>>().is_ok(), "{done}");
    assert_eq!(told(&bucket, &to, Method::GET).await, as_told());
    assert_eq!(bucket.text(Ask::new(Method::GET, &to)).await.1, "0123456789");
    let replace = [("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-new", "1"), ("content-type", "text/plain")];
    for key in [&to, &from] {
        assert_eq!(copy(key, &replace).await.0, 200, "onto itself, too");
        let head = bucket.send(Ask::new(Method::HEAD, key)).await;
        assert_eq!((header(&head, "x-amz-meta-new"), header(&head, "x-amz-meta-who")), ("1", ""));
        assert_eq!((header(&head, "content-type"), header(&head, "cache-control")), ("text/plain", ""));
    }
    let refused = async |key: &str, more: &[(&str, &str)]| {
        let (status, refused) = copy(key, more).await;
        (status, tag(&refused, "Code").to_owned())
    };
    assert_eq!(refused(&from, &[]).await, (400, "InvalidRequest".into()), "onto itself");
    let other = [("x-amz-copy-source-if-match", "\"00\"")];
    assert_eq!(refused(&to, &other).await, (412, "PreconditionFailed".into()));
    let same = [("x-amz-copy-source-if-none-match", "\"781e5e245d69b566979b86e28d23f2c7\"")];
    assert_eq!(refused(&to, &same).await, (412, "PreconditionFailed".into()));
}

#[tokio::test]
async fn only_what_is_ones_own_is_copied() {
    let (own, other) = (bucket().await, bucket().await);
    let secret = other.key("secret");
    other.put(&secret, "secret").await;
    own.put(&own.key("mine"), "mine").await;
    for (source, to, code) in [
        (format!("daytona/{secret}"), own.key("x"), "AccessDenied"),
        (format!("daytona/{}", own.key("mine")), secret.clone(), "AccessDenied"),
        (format!("elsewhere/{}", own.key("mine")), own.key("x"), "AccessDenied"),
        (format!("daytona/{}", own.key("none")), own.key("x"), "NoSuchKey"),
        (format!("daytona/{}?versionId=1", own.key("mine")), own.key("x"), "NoSuchVersion"),
    ] {
        let (_, refused) = own.text(Ask::new(Method::PUT, &to).headers(&[("x-amz-copy-source", &source)])).await;
        assert_eq!(tag(&refused, "Code"), code, "{source}");
    }
    assert_eq!(other.text(Ask::new(Method::GET, &secret)).await.1, "secret");
    assert_eq!(own.text(Ask::new(Method::GET, &own.key("x"))).await.0, 404);
}

#[tokio::test]
async fn parts_are_copied_and_attributes_told() {
    let bucket = bucket().await;
    let (from, to) = (bucket.key("from"), bucket.key("to"));
    let bytes: Vec<u8> = (0..6_u32 << 20).map(|n| (n % 251) as u8).collect();
    let sum = [("x-amz-checksum-sha256", sha256(&bytes))];
    let put = bucket
        .send(Ask::new(Method::PUT, &from).headers(&sum.each_ref().map(|(n, v)| (*n, v.as_str()))).body(bytes.clone()))
        .await;
    assert_eq!(put.status(), 200);
    let id = tag(&bucket.text(Ask::new(Method::POST, &to).query(&[("uploads", "")])).await.1, "UploadId").to_owned();
    let source = format!("daytona/{from}");
    let copy = async |number: &str, range: &str| {
        let headers = [("x-amz-copy-source", source.as_str()), ("x-amz-copy-source-range", range)];
        let query = [("partNumber", number), ("uploadId", id.as_str())];
        bucket.text(Ask::new(Method::PUT, &to).query(&query).headers(&headers)).await
    };
    let mut tags = Vec::new();
    for (number, range) in [("1", "bytes=0-5242879"), ("2", "bytes=5242880-6291455")] {
        let (status, done) = copy(number, range).await;
        assert_eq!(status, 200, "{done}");
        tags.push(tag(&done, "ETag").to_owned());
    }
    for range in ["bytes=9999999-99999999", "0-1", "bytes=x"] {
        let (status, refused) = copy("3", range).await;
        assert_eq!((status, tag(&refused, "Code")), (400, "InvalidArgument"), "{range}");
    }
    complete(&bucket, &to, &id, &tags).await;
    let whole = bucket.send(Ask::new(Method::GET, &to)).await.bytes().await.expect("bytes");
    assert!(whole == bytes, "{} bytes", whole.len());
    let attributes = async |key: &str| {
        let wanted = [("x-amz-object-attributes", "ETag,Checksum,ObjectParts,StorageClass,ObjectSize")];
        bucket.text(Ask::new(Method::GET, key).query(&[("attributes", "")]).headers(&wanted)).await
    };
    let (status, one) = attributes(&from).await;
    assert_eq!((status, tag(&one, "ObjectSize"), tag(&one, "StorageClass")), (200, "6291456", "STANDARD"), "{one}");
    assert_eq!((tag(&one, "ChecksumSHA256"), all(&one, "ObjectParts").len()), (sum[0].1.as_str(), 0), "{one}");
    let (_, two) = attributes(&to).await;
    assert!(tag(&two, "ETag").ends_with("-2\"") && two.contains(">2</"), "{two}");
    assert_eq!(attributes(&bucket.key("none")).await.0, 404);
}

fn sha256(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use sha2::{Digest, Sha256};
    STANDARD.encode(Sha256::digest(bytes))
}
