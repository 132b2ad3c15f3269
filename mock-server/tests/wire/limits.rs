//! Bounds that are set at start hold in the server and in every sandbox; rate limits speak as the real throttler.

use daytona_mock::{MockServer, config::Config, limits::Limits};
use reqwest::{Response, header::HeaderMap};
use serde_json::{Value, json};

use crate::{
    api::Api,
    support::config,
    timers::{advance, freeze},
};

async fn start(config: Config) -> (MockServer, Api) {
    let server = MockServer::start(config).await.expect("the server starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    (server, api)
}

fn message(body: &Value) -> &str {
    body["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn the_server_keeps_its_limits() {
    let limits = Limits { api_body: 200, sandboxes: 1, api_keys: 2, organizations: 2, ..Limits::default() };
    let (server, api) = start(Config { limits, ..config() }).await;
    api.named("only").await;
    api.refused("POST", "/sandbox", json!({}), 400, "No available runners").await;
    api.refused("POST", "/sandbox", json!({"name": "x".repeat(200)}), 413, "request entity too large").await;
    assert_eq!(api.post("/api-keys", json!({"name": "second", "permissions": []})).await.0, 201);
    let full = "API key quota exceeded. Maximum allowed: 2";
    api.refused("POST", "/api-keys", json!({"name": "third", "permissions": []}), 400, full).await;
    assert_eq!(api.control("POST", "/keys", Value::Null).await.0, 201);
    let (status, body) = api.control("POST", "/keys", Value::Null).await;
    assert_eq!((status, message(&body)), (400, "Organization quota exceeded. Maximum allowed: 2"));
    server.shutdown().await;
}

#[tokio::test]
async fn sandboxes_keep_their_limits() {
    let limits = Limits {
        json_body: 2_000,
        output: 1_000,
        environment: 1_000,
        entries: 3,
        bulk_paths: 2,
        replace_size: 10,
        parts: 2,
        sessions: 1,
        session_commands: 1,
        session_log: 2_000,
        ptys: 1,
        ..Limits::default()
    };
    let (server, api) = start(Config { limits, ..config() }).await;
    let sandbox = api.sandbox(json!({})).await;
    let base = format!("{}/{}", server.toolbox_url, sandbox["id"].as_str().expect("id"));
    let post = async |path: &str, body: Value| {
        let request = api.client.post(format!("{base}{path}")).bearer_auth(&api.key).json(&body);
        crate::api::answer(request.send().await.expect("answer")).await
    };
    let run = async |command: &str| post("/process/execute", json!({"command": command})).await;
    let refused = |(status, body): (u16, Value), part: &str| {
        assert!(status == 400 && message(&body).contains(part), "{part}: {status} {body}");
    };
    refused(run(&"x".repeat(2_000)).await, "request body too large");
    let (status, body) = run("seq 1000").await;
    assert!(status >= 400 && message(&body).contains("output exceeds"), "{status} {body}");
    assert_eq!(run("mkdir d; cd d; echo old > 1; touch 2 3 4; seq 100 > long").await.1["exitCode"], 0);
    let list = api.client.get(format!("{base}/files?path=d")).bearer_auth(&api.key).send().await.expect("answer");
    refused(crate::api::answer(list).await, "more than 3 entries");
    let replace = |files: &[&str]| json!({"files": files, "pattern": "old", "newValue": "new"});
    refused(post("/files/replace", replace(&["d/1", "d/2", "d/3"])).await, "more than 2 files");
    let (_, body) = post("/files/replace", replace(&["d/1", "d/long"])).await;
    assert_eq!((&body[0]["success"], &body[1]["success"]), (&json!(true), &json!(false)), "{body}");
    refused(post("/env", json!({"set": {"A": "x".repeat(1_000)}})).await, "environment is too large");
    assert_eq!(post("/process/session", json!({"sessionId": "a"})).await.0, 201);
    refused(post("/process/session", json!({"sessionId": "b"})).await, "no more than 1 sessions");
    let command = json!({"command": "for i in $(seq 500); do echo $i$i$i; done"});
    let (_, done) = post("/process/session/a/exec", command.clone()).await;
    assert!(done["output"].as_str().is_some_and(|output| output.len() < 3_000), "{done}");
    refused(post("/process/session/a/exec", command).await, "no more than 1 commands");
    assert_eq!(post("/process/pty", json!({"id": "a"})).await.0, 201);
    refused(post("/process/pty", json!({"id": "b"})).await, "no more than 1 PTY sessions");
    server.shutdown().await;
}

fn limited(all: &[&str]) -> Config {
    let rate_limits = all.iter().map(|text| text.parse().expect("a rate limit")).collect();
    Config { rate_limits, ..config() }
}

/// The headers of a limiter, in order of name.
fn told(headers: &HeaderMap) -> Vec<String> {
    let wanted = |name: &str| name.starts_with("x-ratelimit") || name.starts_with("retry-after");
    let all = headers.iter().filter(|(name, _)| wanted(name.as_str()));
    let mut all: Vec<_> = all.map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
    all.sort();
    all
}

async fn send(api: &Api, method: &str, path: &str) -> Response {
    api.request(method, path).send().await.expect("answer")
}

async fn throttled(response: Response, headers: &[&str]) {
    assert_eq!(told(response.headers()), headers);
    let (status, body) = crate::api::answer(response).await;
    assert_eq!((status, message(&body)), (429, "ThrottlerException: Too Many Requests"), "{body}");
    assert_eq!(body["error"], "Too Many Requests");
}

#[tokio::test]
async fn limits_of_an_organisation_are_told_and_kept() {
    let (server, api) = start(limited(&["authenticated=3/20", "sandbox-create=1/20", "sandbox-lifecycle=1/20"])).await;
    freeze(&api).await;
    let (_, config) = api.get("/config").await;
    assert_eq!(config["rateLimit"]["sandboxCreate"], json!({"ttl": 20, "limit": 1}));
    let other = api.control("POST", "/keys", Value::Null).await.1;
    let other = api.with_key(other["apiKey"].as_str().expect("a key"));
    let of = |name: &str, limit: u32, left: u32| {
        vec![
            format!("x-ratelimit-limit-{name}: {limit}"),
            format!("x-ratelimit-remaining-{name}: {left}"),
            format!("x-ratelimit-reset-{name}: 20"),
        ]
    };
    for (path, left) in [("/sandbox", 2), ("/sandbox/nope", 1), ("/sandbox", 0)] {
        assert_eq!(told(send(&api, "GET", path).await.headers()), of("authenticated", 3, left));
    }
    throttled(send(&api, "GET", "/sandbox").await, &["retry-after-authenticated: 20"]).await;
    assert_eq!(told(send(&other, "GET", "/sandbox").await.headers()), of("authenticated", 3, 2));
    let created = send(&api, "POST", "/sandbox").await;
    assert_eq!((created.status().as_u16(), told(created.headers())), (200, of("sandbox-create", 1, 0)));
    throttled(send(&api, "POST", "/sandbox").await, &["retry-after-sandbox-create: 20"]).await;
    let stop = send(&api, "POST", "/sandbox/nope/stop").await;
    assert_eq!((stop.status().as_u16(), told(stop.headers())), (404, of("sandbox-lifecycle", 1, 0)));
    throttled(send(&api, "DELETE", "/sandbox/nope").await, &["retry-after-sandbox-lifecycle: 20"]).await;
    for path in ["/config", "/nope"] {
        assert!(told(send(&api, "GET", path).await.headers()).is_empty(), "{path}");
    }
    advance(&api, 1).await;
    assert_eq!(send(&api, "GET", "/sandbox").await.status(), 200);
    server.shutdown().await;
}

#[tokio::test]
async fn health_is_counted_by_address_and_old_toolbox_paths_by_failures_only() {
    let (server, api) = start(limited(&["anonymous=1/20", "authenticated=1/20", "failed-auth=2/20"])).await;
    freeze(&api).await;
    let id = api.named("limited").await;
    let left =
        ["x-ratelimit-limit-anonymous: 1", "x-ratelimit-remaining-anonymous: 0", "x-ratelimit-reset-anonymous: 20"];
    assert_eq!(told(send(&api, "GET", "/health").await.headers()), left);
    throttled(send(&api, "GET", "/health").await, &["retry-after-anonymous: 20"]).await;
    let old = format!("/toolbox/{id}/toolbox/work-dir");
    for _ in 0..3 {
        let answer = send(&api, "GET", &old).await;
        assert_eq!((answer.status().as_u16(), told(answer.headers()).len()), (200, 0));
    }
    let nobody = api.with_key("wrong");
    assert_eq!(send(&nobody, "GET", &old).await.status(), 401);
    for (caller, path) in [(&nobody, &*old), (&api, &old), (&api, "/health"), (&api, "/sandbox")] {
        let answer = send(caller, "GET", path).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"20".parse().expect("value")));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn failed_authentication_closes_everything_to_its_address() {
    let (server, api) = start(limited(&["failed-auth=3/20"])).await;
    freeze(&api).await;
    let nobody = api.with_key("wrong");
    let headers = |left: u32| {
        ["limit-failed-auth: 3", &format!("remaining-failed-auth: {left}"), "reset-failed-auth: 20"]
            .map(|rest| format!("x-ratelimit-{rest}"))
    };
    for left in [2, 1] {
        let answer = send(&nobody, "GET", "/sandbox").await;
        assert_eq!((answer.status().as_u16(), told(answer.headers())), (401, headers(left).to_vec()));
    }
    let all = headers(0);
    let all = ["retry-after: 20", &all[0], &all[1], &all[2]];
    throttled(send(&nobody, "GET", "/sandbox").await, &all).await;
    throttled(send(&api, "GET", "/sandbox").await, &all).await;
    throttled(send(&api, "GET", "/config").await, &all).await;
    advance(&api, 1).await;
    assert!(told(send(&api, "GET", "/sandbox").await.headers()).is_empty());
    server.shutdown().await;
}
