//! The ways to a sandbox's toolbox and ports: credentials, what is stripped, the old path, previews, upgrades, streams.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Method, Response, redirect::Policy};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Sandbox, client, eventually, new_key, sandbox, server};

const PORT: u16 = 4100;

/// A sandbox with `echo.py` listening on [`PORT`].
async fn echoing() -> Sandbox {
    let sandbox = sandbox().await;
    let program = include_str!("echo.py");
    let start = format!(
        "cat > /tmp/echo.py <<'EOF'\n{program}\nEOF\nsetsid python3 /tmp/echo.py {PORT} >/dev/null 2>&1 </dev/null &"
    );
    sandbox.run(&start).await;
    eventually("echo.py listens", async || (preview(&sandbox, "/").await.status() == 200).then_some(())).await;
    sandbox
}

/// A request to the preview host of a port, by name as a browser would.
async fn preview_of(client: &Client, port: u16, name: &str, path: &str) -> Response {
    let base = server().base_url.as_str();
    let at = base.rsplit(':').next().expect("port");
    client
        .get(format!("{base}{path}"))
        .header("host", format!("{port}-{name}.localhost:{at}"))
        .send()
        .await
        .expect("answer")
}

async fn preview(sandbox: &Sandbox, path: &str) -> Response {
    preview_of(&sandbox.client, PORT, &sandbox.id, path).await
}

async fn body(response: Response) -> Value {
    response.json().await.expect("JSON")
}

/// The values of a header that `echo.py` saw.
fn seen<'a>(echo: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = echo["headers"].as_array().expect("headers");
    let named = headers.iter().filter(|pair| pair[0].as_str().is_some_and(|own| own.eq_ignore_ascii_case(name)));
    named.map(|pair| pair[1].as_str().expect("text")).collect()
}

fn not_following() -> Client {
    Client::builder().redirect(Policy::none()).build().expect("client")
}

#[tokio::test]
async fn every_credential_opens_the_toolbox() {
    let sandbox = sandbox().await;
    let (url, token) = (sandbox.url("/version"), sandbox.preview_token().await);
    let anonymous = Client::new();
    let ways = [
        anonymous.get(&url).bearer_auth(&sandbox.key),
        anonymous.get(&url).header("authorization", format!("bearer {}", sandbox.key)),
        anonymous.get(&url).header("x-daytona-preview-token", &token),
        anonymous.get(format!("{url}?DAYTONA_SANDBOX_AUTH_KEY={token}")),
        anonymous.get(&url).header("cookie", format!("a=b; daytona-sandbox-auth-{}={token}", sandbox.id)),
        anonymous.get(&url).bearer_auth("wrong").header("x-daytona-preview-token", &token),
    ];
    for way in ways {
        let answer = way.send().await.expect("answer");
        assert_eq!(answer.status(), 200);
        assert!(body(answer).await["version"].is_string());
    }
}

#[tokio::test]
async fn strangers_unknown_ids_and_names_are_the_same_401() {
    let sandbox = sandbox().await;
    let stranger = client(&new_key().await);
    let (_, dto) = sandbox.api(Method::GET, "").await;
    let by_name = format!("{}/toolbox/{}-x/version", server().base_url, dto["name"].as_str().expect("name"));
    let cases = [
        stranger.get(sandbox.url("/version")),
        stranger.get(format!("{}/toolbox/11111111-1111-4111-8111-111111111111/version", server().base_url)),
        sandbox.client.get(by_name),
    ];
    for request in cases {
        let answer = request.send().await.expect("answer");
        assert_eq!(answer.status(), 401);
        assert_eq!(body(answer).await["message"], "unauthorized: authentication failed: Bearer token is invalid");
    }
}

#[tokio::test]
async fn credentials_do_not_reach_the_sandbox() {
    let sandbox = echoing().await;
    let token = sandbox.preview_token().await;
    let url = sandbox.url(&format!("/proxy/{PORT}/x?a=%20b&DAYTONA_SANDBOX_AUTH_KEY={token}&c"));
    let request = sandbox.client.get(url).header("x-daytona-preview-token", &token);
    let cookie = format!("mine=1; daytona-sandbox-auth-{}={token}", sandbox.id);
    let echo = body(request.header("cookie", cookie).header("x-mine", "kept").send().await.expect("answer")).await;
    assert_eq!(echo["path"], "/x?a=%20b&c");
    assert_eq!(seen(&echo, "x-mine"), ["kept"]);
    assert_eq!(seen(&echo, "cookie"), ["mine=1"]);
    assert_eq!(seen(&echo, "authorization"), [""; 0]);
    assert!(!echo.to_string().contains(&token) && !echo.to_string().contains(&sandbox.key), "{echo}");
}

#[tokio::test]
async fn a_bearer_that_opened_nothing_is_the_programs_own() {
    let sandbox = echoing().await;
    let request = Client::new().get(sandbox.url(&format!("/proxy/{PORT}/"))).bearer_auth("mine");
    let request = request.header("x-daytona-preview-token", sandbox.preview_token().await);
    let echo = body(request.send().await.expect("answer")).await;
    assert_eq!(seen(&echo, "authorization"), ["Bearer mine"]);
}

#[tokio::test]
async fn the_agent_is_told_the_host_but_no_legacy() {
    let sandbox = echoing().await;
    let request =
        sandbox.client.get(sandbox.url(&format!("/proxy/{PORT}/"))).header("x-daytona-legacy-toolbox", "true");
    let echo = body(request.send().await.expect("answer")).await;
    assert_eq!(seen(&echo, "x-forwarded-host"), [server().base_url.trim_start_matches("http://")]);
    assert_eq!(seen(&echo, "x-daytona-legacy-toolbox"), [""; 0]);
}

#[tokio::test]
async fn redirects_stay_below_the_toolbox() {
    let sandbox = echoing().await;
    let request = not_following().get(sandbox.url("/version/")).bearer_auth(&sandbox.key);
    let answer = request.send().await.expect("answer");
    assert_eq!(answer.status(), 301);
    assert_eq!(answer.headers()["location"], format!("/toolbox/{}/version", sandbox.id));
    let port = preview_of(&not_following(), PORT, &sandbox.id, "/redirect").await;
    assert_eq!(port.status(), 307);
    let token = sandbox.preview_token().await;
    let path = format!("/redirect?DAYTONA_SANDBOX_AUTH_KEY={token}");
    let port = preview_of(&not_following(), PORT, &sandbox.id, &path).await;
    assert_eq!((port.status().as_u16(), &port.headers()["location"]), (302, &"/elsewhere".parse().expect("header")));
}

#[tokio::test]
async fn a_stopped_sandbox_says_so() {
    let sandbox = sandbox().await;
    assert_eq!(sandbox.api(Method::POST, "/stop").await.0, 200);
    sandbox.until("stopped").await;
    let old = format!("{}/toolbox/{}/toolbox/version", server().api_url, sandbox.id).replace("version", "work-dir");
    for url in [sandbox.url("/work-dir"), old] {
        let answer = sandbox.client.get(url).send().await.expect("answer");
        assert_eq!(answer.status(), 400);
        let error = body(answer).await;
        assert_eq!(error["message"], "bad request: no IP address found. Is the Sandbox started?");
        assert_eq!(error["path"], format!("/sandboxes/{}/toolbox/work-dir", sandbox.id));
    }
    assert_eq!(sandbox.api(Method::POST, "/start").await.0, 200);
    sandbox.until("started").await;
    sandbox.run("true").await;
}

#[tokio::test]
async fn the_old_path_leads_to_the_same_toolbox() {
    let sandbox = sandbox().await;
    let old = |path: &str| format!("{}/toolbox/{}/toolbox{path}", server().api_url, sandbox.id);
    let dir = body(sandbox.client.get(old("/project-dir")).send().await.expect("answer")).await;
    assert!(dir["dir"].is_string(), "{dir}");
    let files = sandbox.client.get(old("/files")).send().await.expect("answer");
    assert_eq!(files.status(), 200);
    // No shell: the string is split into arguments.
    let run = sandbox.client.post(old("/process/execute")).json(&json!({"command": "echo $HOME '&' x"}));
    assert_eq!(body(run.send().await.expect("answer")).await["result"], "$HOME & x\n");
    let session = sandbox.client.post(old("/process/session")).json(&json!({"sessionId": "s"}));
    assert_eq!(session.send().await.expect("answer").status(), 200);
}

/// What the clients generated from the old API ask for (npm `@daytonaio/api-client` 0.108, `toolbox-api.js`).
#[tokio::test]
async fn the_old_path_serves_all_that_old_clients_ask_for() {
    let sandbox = sandbox().await;
    for route in include_str!("old_toolbox_routes.txt").lines() {
        let (method, path) = route.split_once(' ').expect("method and path");
        let url = format!("{}/toolbox/{}/toolbox{path}", server().api_url, sandbox.id);
        let method: Method = method.parse().expect("method");
        let answer = sandbox.client.request(method.clone(), &url).json(&json!({})).send().await.expect("answer");
        let answered = (answer.status(), answer.text().await.expect("text"));
        // Neither the API's nor the agent's word for a route that isn't there.
        assert!(!answered.1.contains("Cannot ") && !answered.1.contains("404 page not found"), "{route}: {answered:?}");
        let slash = sandbox.client.request(method, format!("{url}/")).json(&json!({})).send().await.expect("answer");
        assert_eq!(slash.status(), answered.0, "{route} with a slash at its end");
    }
    for (method, path) in
        [(Method::PUT, "/files"), (Method::GET, "/process/execute"), (Method::POST, "/process/code-run")]
    {
        let url = format!("{}/toolbox/{}/toolbox{path}", server().api_url, sandbox.id);
        let answer = sandbox.client.request(method.clone(), url).send().await.expect("answer");
        assert_eq!(answer.status(), 404);
        let message = format!("Cannot {method} /api/toolbox/{}/toolbox{path}", sandbox.id);
        assert_eq!(body(answer).await["message"], message);
    }
}

#[tokio::test]
async fn the_old_path_refuses_as_the_api_does() {
    let sandbox = sandbox().await;
    let at = |id: &str, path: &str| format!("{}/toolbox/{id}/toolbox{path}", server().api_url);
    let unknown = "11111111-1111-4111-8111-111111111111";
    let stranger = client(&new_key().await);
    let cases = [
        (Client::new().get(at(&sandbox.id, "/work-dir")), 401, "Invalid credentials".to_owned()),
        (sandbox.client.get(at(unknown, "/work-dir")), 404, format!("Sandbox with ID or name {unknown} not found")),
        (stranger.get(at(&sandbox.id, "/work-dir")), 404, format!("Sandbox with ID or name {} not found", sandbox.id)),
        (
            sandbox.client.get(at(&sandbox.id, "/nope")),
            404,
            format!("Cannot GET /api/toolbox/{}/toolbox/nope", sandbox.id),
        ),
    ];
    for (request, status, message) in cases {
        let answer = request.send().await.expect("answer");
        assert_eq!(answer.status(), status);
        let error = body(answer).await;
        let keys: Vec<&String> = error.as_object().expect("object").keys().collect();
        assert_eq!(keys, ["path", "timestamp", "statusCode", "error", "message"]);
        assert_eq!(error["message"], message);
    }
}

#[tokio::test]
async fn the_old_path_streams_the_logs_of_a_session() {
    let sandbox = sandbox().await;
    let old = |path: &str| format!("{}/toolbox/{}/toolbox/process/session{path}", server().api_url, sandbox.id);
    let post = async |path: &str, json: Value| {
        body(sandbox.client.post(old(path)).json(&json).send().await.expect("answer")).await
    };
    sandbox.client.post(old("")).json(&json!({"sessionId": "s"})).send().await.expect("answer");
    let command = "echo one; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo two";
    let started = post("/s/exec", json!({"command": command, "runAsync": true})).await;
    let logs = old(&format!("/s/command/{}/logs?follow=true", started["cmdId"].as_str().expect("id")));
    let mut answer = sandbox.client.get(logs).send().await.expect("answer");
    let first = answer.chunk().await.expect("streams").expect("some");
    assert!(String::from_utf8_lossy(&first).contains("one"));
    sandbox.run("touch /tmp/go").await;
    assert!(answer.text().await.expect("ends").contains("two"));
}

#[tokio::test]
async fn signed_urls_open_one_file_without_a_key() {
    let sandbox = sandbox().await;
    let (_, key) = sandbox.api(Method::GET, "/signing-key").await;
    let path = "/home/daytona/a file";
    let url = |key: &str, method: &str, expires: u64| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length");
        mac.update(format!("v1:files:{method}:{path}:{expires}").as_bytes());
        let signature = BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        let name = if method == "GET" { "download" } else { "upload-v2" };
        sandbox.url(&format!("/files/{name}?path=%2Fhome/daytona/a+file&expires={expires}&signature=v1_{signature}"))
    };
    let key = key.as_str().expect("raw text");
    let anonymous = Client::new();
    let upload = anonymous.post(url(key, "POST", 0)).header("content-type", "application/octet-stream").body("hello");
    assert_eq!(upload.send().await.expect("answer").status(), 200);
    let get = async |url: String| anonymous.get(url).send().await.expect("answer");
    let far = 4_102_444_800;
    assert_eq!(get(url(key, "GET", far)).await.text().await.expect("text"), "hello");
    assert_eq!(get(url("wrong", "GET", far)).await.status(), 401);
    assert_eq!(get(url(key, "GET", 1_000_000_000)).await.status(), 401);
    assert_eq!(get(url(key, "POST", far).replace("upload-v2", "download")).await.status(), 401);
    assert_eq!(get(url(key, "GET", far).replace("a+file", "b+file")).await.status(), 401);
    assert_eq!(get(url(key, "GET", far).replace("/files/download", "/files/info")).await.status(), 401);
    sandbox.api(Method::POST, "/signing-key/rotate").await;
    assert_eq!(get(url(key, "GET", far)).await.status(), 401);
}

#[tokio::test]
async fn previews_of_private_and_public_sandboxes() {
    let sandbox = echoing().await;
    let anonymous = not_following();
    assert_eq!(preview_of(&anonymous, PORT, &sandbox.id, "/").await.status(), 307);
    let echo = body(preview(&sandbox, "/a?b").await).await;
    assert_eq!(echo["path"], "/a?b");
    assert_eq!(seen(&echo, "host"), [format!("localhost:{PORT}")]);
    assert_eq!(seen(&echo, "authorization"), [""; 0]);
    assert_eq!(sandbox.api(Method::POST, "/public/true").await.0, 201);
    assert_eq!(preview_of(&anonymous, PORT, &sandbox.id, "/").await.status(), 200);
    assert_eq!(preview_of(&anonymous, 2280, &sandbox.id, "/version").await.status(), 307);
    let dead = preview_of(&anonymous, 4999, &sandbox.id, "/").await;
    assert_eq!(dead.status(), 502);
    assert_eq!(dead.bytes().await.expect("body").len(), 0);
}

#[tokio::test]
async fn a_signed_preview_is_its_own_credential_for_its_port() {
    let sandbox = echoing().await;
    let (_, signed) = sandbox.api(Method::GET, &format!("/ports/{PORT}/signed-preview-url")).await;
    let token = signed["token"].as_str().expect("token");
    assert_eq!(preview_of(&Client::new(), PORT, token, "/").await.status(), 200);
    assert_eq!(preview_of(&not_following(), 2280, token, "/version").await.status(), 307);
}

#[tokio::test]
async fn port_2280_is_the_toolbox() {
    let sandbox = sandbox().await;
    let version = preview_of(&sandbox.client, 2280, &sandbox.id, "/version").await;
    assert!(body(version).await["version"].is_string());
}

#[tokio::test]
async fn an_upgraded_connection_carries_any_bytes_both_ways() {
    let sandbox = echoing().await;
    for (host, path) in [
        (format!("{PORT}-{}.localhost", sandbox.id), "/".to_owned()),
        ("localhost".to_owned(), format!("/toolbox/{}/proxy/{PORT}/", sandbox.id)),
    ] {
        let address = server().base_url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n",
            sandbox.key
        );
        stream.write_all(head.as_bytes()).await.expect("writes");
        stream.write_all(b"hello ").await.expect("writes");
        let mut answer = Vec::new();
        while !answer.ends_with(b"HELLO ") {
            assert!(stream.read_buf(&mut answer).await.expect("reads") > 0, "{}", String::from_utf8_lossy(&answer));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"));
        // The client has nothing more to say, and still gets what was for it.
        stream.write_all(b"there").await.expect("writes");
        stream.shutdown().await.expect("half closes");
        answer.clear();
        stream.read_to_end(&mut answer).await.expect("reads");
        assert_eq!(answer, b"THEREBYE");
    }
}

#[tokio::test]
async fn large_bodies_pass_whole() {
    let sandbox = echoing().await;
    let data: Vec<u8> = (0..48_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let digest: String = Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
    let url = sandbox.url("/files/upload-v2?path=big");
    let upload = sandbox.client.post(url).header("content-type", "application/octet-stream").body(data.clone());
    assert_eq!(upload.send().await.expect("answer").status(), 200);
    let down = sandbox.client.get(sandbox.url("/files/download?path=big")).send().await.expect("answer");
    assert!(down.bytes().await.expect("body") == data, "other bytes came back");
    let post = sandbox.client.post(sandbox.url(&format!("/proxy/{PORT}/"))).body(data);
    assert_eq!(post.send().await.expect("answer").text().await.expect("text"), digest);
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_command_along() {
    let sandbox = sandbox().await;
    let sleep =
        sandbox.client.post(sandbox.url("/process/execute")).json(&json!({"command": "touch /tmp/on; sleep 7654"}));
    let waiting = tokio::spawn(sleep.send());
    let count = async |what: &str| sandbox.run(&format!("ls /tmp/on 2>/dev/null; pgrep -fc '{what}' || true")).await;
    eventually("the command runs", async || count("^sleep 7654").await.contains("on\n1").then_some(())).await;
    waiting.abort();
    eventually("the command is gone", async || count("^sleep 7654").await.contains("on\n0").then_some(())).await;
}

#[tokio::test]
async fn connections_into_the_sandbox_are_used_again() {
    let sandbox = echoing().await;
    let peer = async || body(preview(&sandbox, "/").await).await["peer"].clone();
    // The kept connection may be another one only if it was closed meanwhile.
    let first = peer().await;
    let mut same = false;
    for _ in 0..5 {
        same |= peer().await == first;
    }
    assert!(same);
}

#[tokio::test]
async fn calls_count_as_activity_unless_they_ask_not_to() {
    let sandbox = sandbox().await;
    let last = async || sandbox.api(Method::GET, "").await.1["lastActivityAt"].as_str().expect("time").to_owned();
    let before = last().await;
    let quiet = sandbox.client.get(sandbox.url("/version")).header("x-daytona-skip-last-activity-update", "true");
    assert_eq!(quiet.send().await.expect("answer").status(), 200);
    assert_eq!(last().await, before);
    // Activity is kept by the second.
    let active = async || {
        sandbox.run("true").await;
        (last().await > before).then_some(())
    };
    eventually("activity is noted", active).await;
}
