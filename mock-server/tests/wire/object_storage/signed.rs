//! What others may do with a URL or a form that somebody signed for them.

use reqwest::{
    Client,
    multipart::{Form, Part},
};

use super::{Bucket, bucket, tag};

#[tokio::test]
async fn urls_of_version_2_are_good_as_they_were_signed() {
    let bucket = bucket().await;
    let key = bucket.key("a b/ü.txt");
    bucket.put(&key, "read me").await;
    let get = async |url: &str| {
        let answer = Client::new().get(url).send().await.expect("answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let url = bucket.presigned(&key);
    assert_eq!(get(&url).await, (200, "read me".into()));
    let other = bucket.presigned(&bucket.key("other"));
    let moved = url.replace("a%20b", "b");
    for (url, code) in [(moved, "SignatureDoesNotMatch"), (other, "NoSuchKey")] {
        assert_eq!(tag(&get(&url).await.1, "Code"), code, "{url}");
    }
    let list = bucket.list_2().await.text().await.expect("text");
    assert_eq!(tag(&list, "KeyCount"), "1", "{list}");
    let token = Bucket { token: "wrong".into(), ..bucket.clone() };
    assert_eq!(tag(&get(&token.presigned(&key)).await.1, "Code"), "InvalidToken");
}

async fn post(bucket: &Bucket, fields: Vec<(&'static str, String)>, file: &str) -> (u16, String) {
    let form = fields.into_iter().fold(Form::new(), |form, (name, value)| form.text(name, value));
    let form = form.part("file", Part::text(file.to_owned()).file_name("x"));
    let answer = Client::new().post(&bucket.url).multipart(form).send().await.expect("answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

#[tokio::test]
async fn forms_put_what_their_policy_allows() {
    let (own, other) = (bucket().await, bucket().await);
    let (key, prefix) = (own.key("form/x"), own.key("form/"));
    let (status, done) = post(&own, own.form(&key, &prefix), "sent").await;
    assert_eq!(status, 204, "{done}");
    let get = async |key: &str| own.send(super::Ask::new(reqwest::Method::GET, key)).await;
    let answer = get(&key).await;
    assert_eq!(answer.headers()["content-type"], "text/plain");
    assert_eq!(answer.text().await.expect("text"), "sent");

    let refused = async |fields, code: &str| {
        let (_, refused) = post(&own, fields, "sent").await;
        assert_eq!(tag(&refused, "Code"), code, "{refused}");
    };
    refused(own.form(&own.key("beyond"), &prefix), "InvalidPolicyDocument").await;
    refused(own.form(&other.key("x"), &other.key("")), "AccessDenied").await;
    let mut bent = own.form(&key, &prefix);
    bent.retain(|(name, _)| *name != "x-amz-signature");
    bent.push(("x-amz-signature", "0".repeat(64)));
    refused(bent, "SignatureDoesNotMatch").await;
    refused(vec![("key", own.key("nobody"))], "AccessDenied").await;
    assert_eq!(get(&own.key("beyond")).await.status(), 404);
}
