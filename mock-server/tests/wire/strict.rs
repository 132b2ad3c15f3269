//! Strict mode: requests held against the contract, by key.

use daytona_mock::{MockServer, config::Config, model::Strict, strict::Strictness};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::{
    api::Api,
    journal::entries,
    support::{config, server},
};

async fn world(strict: Value) -> Api {
    let api = Api::new().await;
    let (status, minted) = api.control("POST", "/keys", json!({"strict": strict})).await;
    assert_eq!(status, 201, "{minted}");
    api.with_key(minted["apiKey"].as_str().expect("a key"))
}

#[tokio::test]
async fn violations_are_journalled_and_the_request_goes_on() {
    let api = world(json!("journal")).await;
    let (status, made) = api.post("/sandbox", json!({"name": "a", "lables": {"x": "y"}})).await;
    assert_eq!(status, 200, "{made}");
    api.get("/sandbox/a").await;
    let all = entries(&api, "").await;
    assert_eq!(all.len(), 2);
    let violation = &all[0]["violations"][0];
    assert_eq!((&violation["rule"], &violation["path"]), (&json!("unknown-field"), &json!("body.lables")));
    assert_eq!(violation["fix"], "did you mean labels?");
    assert_eq!(all[0]["request"]["body"]["lables"], json!({"x": "y"}), "the body is kept all the same");
    assert!(all[1].get("violations").is_none());
    assert_eq!(entries(&api, "violations=true").await.len(), 1);
}

#[tokio::test]
async fn violations_are_refused_with_what_would_be_right() {
    let api = world(json!("reject")).await;
    let (status, body) = api.post("/sandbox", json!({"auto_stop_interval": 5})).await;
    let text = "strict mode: unknown-field: body.auto_stop_interval is unknown and does nothing (did you mean autoStopInterval?)";
    assert_eq!((status, &body["message"]), (400, &json!(text)));
    assert_eq!(api.get("/sandbox").await.1["items"], json!([]), "nothing was carried out");
    let (status, body) = api.get("/sandboxes").await;
    assert!(
        status == 400 && body["message"].as_str().is_some_and(|text| text.contains("did you mean GET /sandbox?")),
        "{body}"
    );
    let id = api.named("a").await;
    let call = |path: &str, body: Value| {
        let url = format!("{}/toolbox/{id}{path}", server().base_url);
        api.client.post(url).bearer_auth(&api.key).json(&body).send()
    };
    let refused: Value =
        call("/process/execute", json!({"comand": "x"})).await.expect("answer").json().await.expect("JSON");
    let text = refused["message"].as_str().expect("a text");
    assert!(
        refused["statusCode"] == 400
            && text.contains("did you mean command?")
            && text.contains("body.command is missing"),
        "{text}"
    );
    let fine: Value =
        call("/process/execute", json!({"command": "echo fine"})).await.expect("answer").json().await.expect("JSON");
    assert_eq!(fine["result"], "fine\n");
    let old = api.client.get(format!("{}/toolbox/{id}/toolbox/work-dir", api.url)).bearer_auth(&api.key);
    assert_eq!(old.send().await.expect("answer").status(), 400, "the old path is deprecated");
    let plain = api.request("POST", "/sandbox").body("{\"name\": \"b\"}").send().await.expect("answer");
    let text = plain.text().await.expect("text");
    assert!(text.contains("missing-header") && text.contains("application/json"), "{text}");
}

/// What is answered to a request to a sandbox's toolbox, of any form.
async fn tool(api: &Api, id: &str, method: &str, path: &str, kind: &str, body: Vec<u8>) -> (u16, String) {
    let url = format!("{}/toolbox/{id}{path}", server().base_url);
    let mut request = api.client.request(method.parse().expect("a method"), url).bearer_auth(&api.key);
    if !kind.is_empty() {
        request = request.header("content-type", kind);
    }
    let answer = request.body(body).send().await.expect("answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

/// A body whose length nobody says.
fn chunked(text: &str) -> reqwest::Body {
    let pieces: Vec<std::io::Result<String>> =
        text.as_bytes().chunks(7).map(|piece| Ok(String::from_utf8_lossy(piece).into())).collect();
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
}

fn form(name: &str, content: &str) -> Vec<u8> {
    let part = |name: &str, content: &str| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
    };
    format!("{}{}--b--\r\n", part("files[0].path", "/tmp/up"), part(name, content)).into_bytes()
}

/// PyPI daytona 0.226.1 and npm @daytonaio/sdk 0.218.0 send what the published documents don't have yet.
#[tokio::test]
async fn the_newest_sdks_are_within_the_rules() {
    let api = world(json!("reject")).await;
    let (status, made) = api.post("/sandbox", json!({"name": "a", "queueTimeout": 30, "kvm": false})).await;
    assert_eq!(status, 200, "{made}");
    let (status, refused) = api.post("/sandbox", json!({"kvm": true, "gpuType": ["B200"]})).await;
    assert!(!refused["message"].as_str().unwrap_or_default().starts_with("strict mode"), "{status} {refused}");
    assert_eq!(api.get("/sandbox?minGpu=0&maxGpu=4").await.0, 200);
    let id = made["id"].as_str().expect("an id");
    let json = "application/json";
    for (path, body) in [
        ("/computeruse/mouse/down", json!({"button": "left", "x": 1, "y": 1})),
        ("/computeruse/mouse/up", json!({})),
        ("/computeruse/mouse/click", json!({"x": 1, "y": 1, "clicks": 2, "modifiers": ["ctrl"]})),
        ("/computeruse/mouse/drag", json!({"startX": 1, "startY": 1, "endX": 2, "endY": 2, "modifiers": []})),
        ("/computeruse/mouse/scroll", json!({"x": 1, "y": 1, "direction": "up", "modifiers": ["shift"]})),
        ("/computeruse/keyboard/down", json!({"key": "shift"})),
        ("/computeruse/keyboard/up", json!({"key": "shift"})),
    ] {
        let (status, text) = tool(&api, id, "POST", path, json, body.to_string().into()).await;
        assert!(!text.contains("strict mode"), "{path}: {status} {text}");
    }
    let (status, text) = tool(&api, id, "POST", "/env", "", b"{\"set\": {\"A\": \"1\"}}".to_vec()).await;
    assert_eq!(status, 200, "update_env() says no type: {text}");
    assert_eq!(entries(&api, "violations=true").await.len(), 0);
    for (path, kind, body, part) in [
        ("/env", "", "{\"sett\": {}}", "did you mean set?"),
        ("/env", "text/plain", "{\"set\": {}}", "missing-header"),
        ("/computeruse/keyboard/down", json, "{\"keys\": \"a\"}", "did you mean key?"),
        ("/computeruse/mouse/dwn", json, "{}", "did you mean POST /computeruse/mouse/down?"),
    ] {
        let (status, text) = tool(&api, id, "POST", path, kind, body.into()).await;
        assert!(status == 400 && text.contains(part), "{path}: {status} {text}");
    }
}

#[tokio::test]
async fn bodies_of_any_length_are_looked_at() {
    let api = world(json!("reject")).await;
    let typed = |method: &str, path: &str| api.request(method, path).header("content-type", "Application/JSON");
    let refused = async |request: reqwest::RequestBuilder, part: &str| {
        let answer = request.send().await.expect("answer");
        let (status, text) = (answer.status(), answer.text().await.expect("text"));
        assert!(status == 400 && text.contains(part), "{status} {text}");
    };
    refused(typed("POST", "/sandbox").body(chunked("{\"lables\": {}}")), "did you mean labels?").await;
    let padding = " ".repeat(2 << 20);
    refused(typed("POST", "/sandbox").body(format!("{{\"lables\": {{}}{padding}}}")), "did you mean labels?").await;
    // Else this client sends no body with it.
    let listed = |body: &str| api.request("GET", "/sandbox").header("transfer-encoding", "chunked").body(chunked(body));
    refused(listed("{}"), "body-on-get").await;
    let empty = listed("").send().await.expect("answer");
    assert_eq!(empty.status(), 200, "nothing is no body, however it is sent");
    let made = typed("POST", "/sandbox").body(chunked("{\"name\": \"a\"}")).send().await.expect("answer");
    assert_eq!(made.status(), 200);
    let id = api.get("/sandbox/a").await.1["id"].as_str().expect("an id").to_owned();
    let stopped = api.request("POST", "/sandbox/a/autostop/15").body(chunked("")).send().await.expect("answer");
    assert_eq!(stopped.status(), 201);
    let large = format!("{{\"command\": \"echo fine\"{padding}}}").into_bytes();
    let (status, text) = tool(&api, &id, "POST", "/process/execute", "application/json; charset=utf-8", large).await;
    assert!(status == 200 && text.contains("fine"), "{status} {text}");
    // Uploads pass whole, whatever of them was looked at.
    let content = "0123456789".repeat(300_000);
    let kind = "multipart/form-data; boundary=b";
    let (status, text) = tool(&api, &id, "POST", "/files/bulk-upload", kind, form("files[0].file", &content)).await;
    assert_eq!(status, 200, "{text}");
    let (status, text) = tool(&api, &id, "GET", "/files/download?path=/tmp/up", "", Vec::new()).await;
    assert!(status == 200 && text == content, "{status}, {} bytes", text.len());
}

#[tokio::test]
async fn paths_queries_and_forms_are_looked_at() {
    let api = world(json!("reject")).await;
    let id = api.named("a").await;
    for (method, path, part) in [
        ("POST", "/sandbox/a/public/yes", "isPublic in the path must be true or false"),
        ("GET", "/sandbox/a/ports/x/preview-url", "port in the path must be a number"),
        ("POST", "/sandbox/a/autostop/soon", "interval in the path must be a number"),
        ("GET", "/sandbox?states=started,stopped", "repeat it: states=started&states=stopped"),
        ("GET", "/sandbox?includeErroredDeleted=1", "must be true or false"),
        ("GET", "/healthx", "did you mean GET /health?"),
    ] {
        let (status, body) = api.call(method, path, Value::Null).await;
        assert!(status == 400 && body["message"].as_str().is_some_and(|text| text.contains(part)), "{path}: {body}");
    }
    assert_eq!(api.call("POST", "/sandbox/a/public/true", Value::Null).await.0, 201);
    assert_eq!(api.get("/sandbox/a/ports/80/preview-url").await.0, 200);
    let kind = "multipart/form-data; boundary=b";
    let made = api.request("POST", "/sandbox").header("content-type", kind).body(form("name", "b"));
    let text = made.send().await.expect("answer").text().await.expect("text");
    assert!(text.contains("missing-header"), "{text}");
    for (method, path, kind, body, part) in [
        ("POST", "/files/bulk-upload", kind, form("files[0].fil", "x"), "did you mean files[0].file?"),
        ("POST", "/files/bulk-upload", kind, form("file[1].path", "x"), "did you mean files[1].path?"),
        ("POST", "/files/upload-v2?path=/tmp/x", kind, form("flie", "x"), "did you mean file?"),
        ("GET", "/process/pty/create-connect?id=p&columns=80&rowz=24", "", Vec::new(), "did you mean cols?"),
        ("GET", "/process/pty/create-connect?cols=80", "", Vec::new(), "the query parameter id is missing"),
        ("GET", "/project-dirr", "", Vec::new(), "did you mean GET /project-dir?"),
        ("POST", "/process/exec", "application/json", b"{}".to_vec(), "did you mean POST /process/execute?"),
        ("POST", "/process/execute", "application/json", b"{\"cmd\": \"ls\"}".to_vec(), "did you mean command?"),
    ] {
        let (status, text) = tool(&api, &id, method, path, kind, body).await;
        assert!(status == 400 && text.contains(part), "{path}: {status} {text}");
    }
    assert_eq!(tool(&api, &id, "GET", "/project-dir", "", Vec::new()).await.0, 200);
    for (given, meant) in [
        (json!({"envVars": {}}), "env"),
        (json!({"env_vars": {}}), "env"),
        (json!({"autoStop": 5}), "autoStopInterval"),
        (json!({"buildInfo": {"dockerfile": "FROM x"}}), "dockerfileContent"),
    ] {
        let (status, body) = api.post("/sandbox", given.clone()).await;
        let text = body["message"].as_str().unwrap_or_default();
        assert!(status == 400 && text.contains(&format!("did you mean {meant}?")), "{given}: {text}");
    }
}

/// No document has it, and every SDK needs it.
#[tokio::test]
async fn terminals_are_opened_as_sdks_do() {
    let api = world(json!("reject")).await;
    let id = api.sandbox(json!({})).await["id"].as_str().expect("an id").to_owned();
    let url = format!("{}/toolbox/{id}/process/pty/create-connect?id=p&cols=80&rows=24", server().base_url);
    let mut request = IntoClientRequest::into_client_request(url.replacen("http", "ws", 1)).expect("a request");
    request.headers_mut().insert("authorization", format!("Bearer {}", api.key).parse().expect("a value"));
    tokio_tungstenite::connect_async(request).await.expect("it isn't refused");
    assert_eq!(entries(&api, "violations=true").await.len(), 0);
}

#[tokio::test]
async fn worlds_that_are_not_strict_are_as_before() {
    let api = Api::new().await;
    assert_eq!(api.post("/sandbox", json!({"lables": {}})).await.0, 200);
    assert!(entries(&api, "violations=true").await.is_empty());
    assert_eq!(api.control("POST", "/keys", json!({"strict": "maybe"})).await.0, 400);
}

#[tokio::test]
async fn a_strict_server_is_strict_with_all_but_those_who_were_let_off() {
    let server = MockServer::start(Config { strict: Some(Strictness::Reject), ..config() }).await.expect("starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    assert_eq!(api.get("/sandbox?limt=1").await.0, 400);
    let off = server.mint_with(None, Strict::Off).await.expect("a key");
    assert_eq!(api.with_key(&off.api_key).get("/sandbox?limt=1").await.0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn the_controls_are_methods_too() {
    let server = MockServer::start(config()).await.expect("starts");
    let key = server.mint().await.expect("a key");
    let world = server.world(&key.api_key).expect("its world");
    assert!(server.world("dtn_wrong").is_err());
    let api = Api { url: server.api_url.clone(), key: key.api_key.clone(), client: reqwest::Client::new() };
    let rule = json!({"match": {"operation": "listSandboxes"}, "effect": {"type": "status", "status": 500}});
    let id = world.fault(rule).await.expect("a fault");
    assert!(world.fault(json!({"effect": {"type": "nope"}})).await.is_err());
    assert_eq!(api.get("/sandbox").await.0, 500);
    assert!(world.remove_fault(&id) && world.faults().is_empty());
    api.named("a").await;
    let failed = world.journal(&[("status", "5xx")]).await.expect("entries");
    assert_eq!((failed.len(), &failed[0]["faults"]), (1, &json!([id])));
    assert!(world.journal(&[("stat", "5xx")]).await.is_err());
    let patience = std::time::Duration::from_millis(10);
    let misspelt = world.until(&[("operation", "createSandbx")], 1, patience).await.expect_err("refused");
    assert!(misspelt.to_string().contains("did you mean createSandbox?"), "{misspelt}");
    assert!(world.until(&[("operation", "createSandbox")], 2, patience).await.is_err());
    assert_eq!(world.until(&[("operation", "createSandbox")], 1, patience).await.expect("one").len(), 1);
    world.clear_journal().await;
    assert_eq!(world.har(&[]).await.expect("an archive")["log"]["entries"], json!([]));
    api.get("/sandbox").await;
    assert_eq!(world.har(&[]).await.expect("an archive")["log"]["entries"].as_array().map(Vec::len), Some(1));
    let seed = json!({"secrets": [{"name": "S", "value": "v"}], "sandboxes": [{"name": "b", "state": "stopped"}]});
    let sown = world.seed(seed).await.expect("sown");
    assert_eq!(
        (&sown["sandboxes"][0]["name"], api.get("/sandbox/b").await.1["state"].as_str()),
        (&json!("b"), Some("stopped"))
    );
    assert!(world.seed(json!({"sandboxes": [{"nam": "c"}]})).await.is_err());
    let changed = world.organization(json!({"suspended": {"reason": "late"}})).await.expect("changed");
    assert_eq!((&changed["suspended"], api.post("/sandbox", json!({})).await.0), (&json!(true), 403));
    world.organization(json!({"suspended": false, "quota": {"cpu": 3}})).await.expect("changed");
    assert!(world.organization(json!({"quota": {"wheels": 4}})).await.is_err());
    let hook = world.webhook(json!({"url": "http://127.0.0.1:1/"})).await.expect("a webhook");
    assert_eq!(world.webhooks()["endpoints"][0]["id"], hook["id"]);
    assert_eq!(world.deliveries(hook["id"].as_str().expect("an id")).expect("none yet")["items"], json!([]));
    let dies = json!({"match": {"sandbox": "a"}, "effect": {"type": "die"}});
    let id = world.fault(dies).await.expect("a fault");
    assert_ne!(api.get("/sandbox/a").await.1["state"], "started", "it is dead already");
    assert!(world.release_fault(&id) && !world.release_fault("none"));
    world.clear_faults();
    assert!(world.faults().is_empty());
    server.clock().freeze();
    let before = server.clock().now();
    server.advance(std::time::Duration::from_secs(60)).await;
    assert_eq!((server.clock().now() - before).num_seconds(), 60);
    world.reset().await.expect("a reset");
    assert_eq!(api.get("/sandbox").await.1["items"], json!([]));
    server.shutdown().await;
}
