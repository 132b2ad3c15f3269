//! How the control plane's HTTP behaves for every route: envelope, bodies, paths, tags, limits.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    api::{Api, answer, keys},
    support::{sandbox, server},
};

#[tokio::test]
async fn the_envelope() {
    let api = Api::new().await;
    let (status, body) = api.get("/nope?x=1").await;
    assert_eq!(status, 404);
    assert_eq!(keys(&body), ["path", "timestamp", "statusCode", "error", "message"]);
    assert_eq!(body["path"], "/api/nope?x=1");
    assert_eq!((&body["statusCode"], &body["error"]), (&json!(404), &json!("Not Found")));
    assert_eq!(body["message"], "Cannot GET /api/nope");
    let time = body["timestamp"].as_str().expect("text");
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_404_with_or_without_a_key() {
    let api = Api::new().await;
    for key in [api.key.as_str(), "wrong"] {
        let api = api.with_key(key);
        api.refused("POST", "/sandbox/x/nope", json!({}), 404, "Cannot POST /api/sandbox/x/nope").await;
        api.refused("PATCH", "/sandbox", json!({}), 404, "Cannot PATCH /api/sandbox").await;
        api.refused("POST", "/health", json!({}), 404, "Cannot POST /api/health").await;
        api.refused("GET", "//sandbox", Value::Null, 404, "Cannot GET /api//sandbox").await;
    }
}

#[tokio::test]
async fn paths_in_any_case_with_one_trailing_slash() {
    let api = Api::new().await;
    for path in ["/sandbox", "/sandbox/", "/SANDBOX", "/SandBox/?limit=1", "/sandbox?"] {
        assert_eq!(api.get(path).await.0, 200, "{path}");
    }
    api.refused("GET", "/SANDBOX/Abc/", Value::Null, 404, "Sandbox with ID or name Abc not found").await;
    assert_eq!(api.get("/sandbox//").await.0, 404);
}

#[tokio::test]
async fn head_works_where_get_does() {
    let api = Api::new().await;
    let res = api.request("HEAD", "/sandbox").send().await.expect("answer");
    assert_eq!(res.status(), 200);
    assert_eq!(res.text().await.expect("text"), "");
    assert_eq!(api.request("HEAD", "/nope").send().await.expect("answer").status(), 404);
}

#[tokio::test]
async fn bad_json_is_refused_before_the_key_is_looked_at() {
    let api = Api::new().await;
    let expected = json!({"message": "Invalid JSON in request body", "error": "Bad Request", "statusCode": 400});
    for key in [api.key.as_str(), "wrong"] {
        for body in ["{\"a\":", "\"x\"", "5"] {
            let request = api.with_key(key).request("POST", "/sandbox");
            let request = request.header("content-type", "application/json").body(body);
            assert_eq!(answer(request.send().await.expect("answer")).await, (400, expected.clone()), "{body}");
        }
    }
}

#[tokio::test]
async fn what_is_no_json_object_counts_as_an_empty_one() {
    let api = Api::new().await;
    for (kind, body) in
        [("application/json", "[1]"), ("text/xml", "<a/>"), ("text/plain", "{"), ("application/json", "")]
    {
        let request = api.request("PUT", "/sandbox/x/labels").header("content-type", kind).body(body);
        assert_eq!(answer(request.send().await.expect("answer")).await.0, 404, "{kind} {body}");
    }
    let request = api.request("POST", "/api-keys").header("content-type", "application/x-www-form-urlencoded");
    let (status, body) = answer(request.body("name=a+b").send().await.expect("answer")).await;
    assert_eq!(status, 400);
    assert!(body["message"].as_str().is_some_and(|text| text.starts_with("each value in permissions")), "{body}");
}

#[tokio::test]
async fn too_large_a_body_is_413() {
    let api = Api::new().await;
    let body = vec![b' '; 10 * 1024 * 1024 + 1];
    let request = api.request("POST", "/sandbox").header("content-type", "application/json").body(body);
    let (status, body) = answer(request.send().await.expect("answer")).await;
    assert_eq!((status, &body["error"]), (413, &json!("Payload Too Large")));
}

#[tokio::test]
async fn json_has_a_weak_tag_and_304_follows() {
    let api = Api::new().await;
    let res = api.request("GET", "/config").send().await.expect("answer");
    let tag = res.headers()["etag"].to_str().expect("text").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    assert_eq!(res.headers()["content-type"], "application/json; charset=utf-8");
    let again = api.request("GET", "/config").header("if-none-match", &tag).send().await.expect("answer");
    assert_eq!(again.status(), 304);
    assert_eq!(again.text().await.expect("text"), "");
    let strong = tag.trim_start_matches("W/");
    for list in [format!("\"x\", {tag}"), strong.to_owned(), "*".to_owned()] {
        let one = api.request("GET", "/config").header("if-none-match", &list).send().await.expect("answer");
        assert_eq!(one.status(), 304, "{list}");
    }
    let other = api.request("GET", "/config").header("if-none-match", "W/\"x\"").send().await.expect("answer");
    assert_eq!(other.status(), 200);
}

#[tokio::test]
async fn config_and_health_and_regions() {
    let client = reqwest::Client::new();
    let open = |path: &str| client.get(format!("{}{path}", server().api_url)).send();
    let (status, config) = answer(open("/config").await.expect("answer")).await;
    assert_eq!(status, 200);
    assert_eq!(config["maxAutoArchiveInterval"], 43200);
    assert_eq!(config["proxyToolboxUrl"], format!("{}/toolbox", server().base_url));
    assert!(config["oidc"]["provider"].is_string() && config["mock"]["version"].is_string(), "{config}");
    assert!(config.get("analyticsApiUrl").is_none());
    let (_, health) = answer(open("/health").await.expect("answer")).await;
    assert_eq!(health["status"], "ok");
    assert_eq!(answer(open("/HEALTH").await.expect("answer")).await.1, health);
    let with = client.get(format!("{}/health", server().api_url)).header("origin", "http://x.example");
    let with = with.send().await.expect("answer");
    let header = |name: &str| with.headers().get(name).map_or("", |value| value.to_str().expect("text")).to_owned();
    assert_eq!(header("access-control-allow-origin"), "http://x.example");
    assert_eq!((header("vary"), header("content-type")), ("Origin".into(), "application/json; charset=utf-8".into()));
    let tag = header("etag");
    assert!(tag.starts_with("W/\""), "{tag}");
    let again = client.get(format!("{}/health", server().api_url)).header("if-none-match", tag);
    assert_eq!(again.send().await.expect("answer").status(), 304);
    assert_eq!(open("/health/ready").await.expect("answer").status(), 401);
    assert_eq!(answer(open("/shared-regions").await.expect("answer")).await.1[0]["id"], "us");
    assert_eq!(open("/regions").await.expect("answer").status(), 401);
    let api = Api::new().await;
    assert_eq!(api.get("/regions").await.1[0]["regionType"], "shared");
    // It is for a key of its own.
    api.refused("GET", "/health/ready", Value::Null, 403, "Invalid authentication context").await;
    api.refused("GET", "/regions/us", Value::Null, 404, "Region not found").await;
}

#[tokio::test]
async fn snapshots_and_organisations_can_be_read() {
    let api = Api::new().await;
    let (_, page) = api.get("/snapshots").await;
    // Three sizes, each as a container and as a machine.
    assert_eq!((&page["total"], &page["totalPages"]), (&json!(6), &json!(1)));
    let (_, found) = api.get("/snapshots?name=LARGE").await;
    assert_eq!(found["items"][0]["name"], "daytona-large");
    let (status, one) = api.get("/snapshots/daytona-medium").await;
    assert_eq!((status, &one["cpu"], &one["mem"], &one["sourceSandboxId"]), (200, &json!(2), &json!(4), &Value::Null));
    assert_eq!(api.get(&format!("/snapshots/{}", one["id"].as_str().expect("id"))).await.1, one);
    api.refused("GET", "/snapshots/nope", Value::Null, 404, "Snapshot with name nope not found").await;
    let words = "sort must be one of the following values: name, state, lastUsedAt, createdAt";
    api.refused("GET", "/snapshots?sort=x", Value::Null, 400, words).await;
    let (_, organizations) = api.get("/organizations").await;
    let own = organizations[0]["id"].as_str().expect("id").to_owned();
    assert_eq!(api.get(&format!("/organizations/{own}")).await.1["personal"], true);
    let wrong = "Invalid authentication context";
    api.refused("GET", "/organizations/nope", Value::Null, 403, wrong).await;
}

#[tokio::test]
async fn what_is_not_emulated_yet_says_so_by_name() {
    let api = Api::new().await;
    let path = "/users/me/pending-sso-links";
    let (status, body) = api.get(path).await;
    assert_eq!((status, &body["error"]), (501, &json!("Not Implemented")));
    let text = format!("listPendingSsoLinks is not emulated yet by daytona-mock {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(body["message"], text);
    api.with_key("wrong").refused("GET", path, Value::Null, 401, "Invalid credentials").await;
    api.refused("GET", "/jobs", Value::Null, 403, "Invalid authentication context").await;
}

/// The table of operations says the truth: 501 exactly where it says that nothing is emulated.
#[tokio::test]
async fn every_operation_is_answered_as_the_table_says() {
    use daytona_mock::api::operations::{OPERATIONS, Support};
    let api = Api::new().await;
    for op in OPERATIONS.iter().filter(|op| op.id != "createApiKey") {
        let path: Vec<&str> = op.path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
        let (status, body) = api.call(op.method, &path.join("/"), json!({"buildInfo": 5})).await;
        match op.support {
            Support::Emulated => assert_ne!(status, 501, "{} {body}", op.id),
            Support::Internal => assert_eq!(status, 403, "{} {body}", op.id),
            // As the original does where it is switched off.
            Support::Refused => assert!(status == 403 || status == 404, "{} {status} {body}", op.id),
            // Some are refused first because of the sandbox that isn't there.
            Support::Later => assert!(status == 501 || status == 404, "{} {status} {body}", op.id),
        }
        let text = body["message"].as_str().unwrap_or_default();
        let off = op.support == Support::Refused;
        assert!(off || status != 404 || !text.starts_with("Cannot "), "{} {body}", op.id);
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_keeps_the_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = server().base_url.trim_start_matches("http://");
    for (path, kept) in [("/toolbox/nope/process/execute", true), ("/toolbox/nope/files/upload", false)] {
        let mut stream = tokio::net::TcpStream::connect(host).await.expect("connects");
        let length = if kept { 10_000 } else { 1 << 30 };
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        // While another request is answered, this one is refused for want of a key.
        reqwest::get(format!("{}/health", server().base_url)).await.expect("answer");
        stream.write_all(&[b'x'; 10_000]).await.expect("sent");
        if kept {
            let next = format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(next.as_bytes()).await.expect("sent");
        }
        let mut answers = Vec::new();
        // Reset under what was sent for nobody, perhaps.
        let _ = stream.read_to_end(&mut answers).await;
        let answers = String::from_utf8_lossy(&answers);
        assert!(answers.starts_with("HTTP/1.1 401 "), "{answers}");
        assert_eq!(answers.contains("HTTP/1.1 200 "), kept, "{answers}");
        assert_eq!(answers.split("\r\n\r\n").next().expect("head").contains("connection: close"), !kept, "{answers}");
    }
}

/// Go's `net/http` takes a failed write for the end of it all.
#[tokio::test]
async fn who_is_refused_early_may_send_to_the_end_and_reads_why() {
    const SIZE: usize = 8 << 20;
    let sandbox = sandbox().await;
    let (id, key) = (&sandbox.id, &sandbox.key);
    let address = server().base_url.trim_start_matches("http://");
    for (path, key, status) in [
        (format!("/toolbox/{id}/files/upload-v2?path=x"), "wrong", "401"),
        (format!("/toolbox/{id}/files/nowhere"), key, "404"),
        ("/api/nowhere".to_owned(), key, "404"),
    ] {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-length: {SIZE}\r\nconnection: \
             close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let piece = vec![b'x'; 64 << 10];
        for _ in 0..SIZE / piece.len() {
            stream.write_all(&piece).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("whole");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
}
