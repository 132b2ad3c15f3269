//! `/__control/journal`: what clients did, as another program reads it.

use std::time::Duration;

use daytona_mock::{MockServer, config::Config};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    api::Api,
    pty::connected,
    support::{PATIENCE, Sandbox, Toolbox, config, sandbox, server},
};

fn of(sandbox: &Sandbox) -> Api {
    Api { url: server().api_url.clone(), key: sandbox.key.clone(), client: reqwest::Client::new() }
}

/// The entries that match a query.
pub async fn entries(api: &Api, query: &str) -> Vec<Value> {
    let (status, journal) = api.control("GET", &format!("/journal?{query}"), Value::Null).await;
    assert_eq!(status, 200, "{journal}");
    journal["entries"].as_array().expect("entries").clone()
}

async fn one(api: &Api, query: &str) -> Value {
    let mut all = entries(api, query).await;
    assert_eq!(all.len(), 1, "{query}: {all:#?}");
    all.remove(0)
}

#[tokio::test]
async fn a_request_and_its_answer_are_kept_without_secrets() {
    let api = Api::new().await;
    let body = json!({"name": "a", "labels": {"x": "y"}, "envVars": {"API_KEY": "hunter2", "MODE": "fast"}, "env": {"A_TOKEN": "hunter2"}});
    let request = api.request("POST", "/sandbox?access_token=hunter2&x=1").json(&body);
    let request = request.header("X-Daytona-Source", "sdk-typescript").header("X-Daytona-SDK-Version", "0.205.1");
    let created: Value =
        request.header("User-Agent", "test/1").send().await.expect("answer").json().await.expect("JSON");
    let entry = one(&api, "operation=createSandbox").await;
    assert_eq!(
        (&entry["plane"], &entry["method"], &entry["path"]),
        (&json!("api"), &json!("POST"), &json!("/api/sandbox"))
    );
    assert_eq!(entry["query"], "access_token=<redacted>&x=1");
    assert_eq!((&entry["status"], &entry["organizationId"]), (&json!(200), &created["organizationId"]));
    assert_eq!(entry["keyName"], "default");
    assert_eq!(entry["client"], json!({"source": "sdk-typescript", "version": "0.205.1", "userAgent": "test/1"}));
    assert_eq!(entry["request"]["headers"]["authorization"], "Bearer <redacted>");
    assert_eq!(entry["request"]["body"]["labels"], json!({"x": "y"}));
    assert_eq!(entry["request"]["body"]["envVars"], json!({"API_KEY": "<redacted>", "MODE": "fast"}));
    assert_eq!(entry["request"]["bytes"], body.to_string().len());
    assert_eq!(entry["response"]["body"]["id"], created["id"]);
    assert!(entry["response"]["bytes"].as_u64() > Some(100));
    let (first, end) = (entry["timing"]["firstByteMs"].as_f64(), entry["timing"]["endMs"].as_f64());
    assert!(first > Some(0.0) && end >= first, "{entry}");
    assert!(entry.get("aborted").is_none() && entry.get("error").is_none());
    assert!(!entry.to_string().contains("hunter2"), "{entry}");
}

#[tokio::test]
async fn failures_say_why() {
    let api = Api::new().await;
    api.get("/sandbox/nope").await;
    api.get("/nope").await;
    let failed = entries(&api, "status=4xx").await;
    assert_eq!(failed.len(), 2);
    assert_eq!(failed[0]["error"]["message"], "Sandbox with ID or name nope not found");
    assert_eq!((&failed[0]["operationId"], &failed[0]["sandbox"]), (&json!("getSandbox"), &json!("nope")));
    assert!(failed[1].get("operationId").is_none());
}

#[tokio::test]
async fn the_toolbox_and_previews_are_told_apart() {
    let sandbox = sandbox().await;
    let api = of(&sandbox);
    sandbox.run("echo hello").await;
    let entry = one(&api, "plane=toolbox").await;
    assert_eq!((&entry["operationId"], &entry["sandbox"]), (&json!("ExecuteCommand"), &json!(sandbox.id)));
    assert_eq!(entry["request"]["body"], json!({"command": "echo hello"}));
    assert_eq!(entry["response"]["body"]["result"], "hello\n");
    // Without a key it is its sandbox's all the same.
    let refused = reqwest::get(sandbox.url("/version")).await.expect("answer");
    assert_eq!(refused.status(), 401);
    let entry = one(&api, "operation=GetVersion").await;
    assert_eq!((&entry["status"], entry.get("keyName")), (&json!(401), None));
    assert!(entry["error"]["message"].as_str().is_some_and(|text| text.contains("missing authentication")));
    let secret = json!({"command": "export TOKEN=hunter2hunter2; echo hi"});
    sandbox.client.post(sandbox.url("/process/execute")).json(&secret).send().await.expect("answer");
    let kept = entries(&api, "operation=ExecuteCommand").await.pop().expect("one");
    assert_eq!(kept["request"]["body"]["command"], "export TOKEN=<redacted>; echo hi");
    // By the old path, too.
    sandbox
        .client
        .get(format!("{}/toolbox/{}/toolbox/work-dir", server().api_url, sandbox.id))
        .send()
        .await
        .expect("answer");
    assert_eq!(one(&api, "operation=GetWorkDir").await["plane"], "toolbox");
    let (_, link) = sandbox.api(reqwest::Method::GET, "/ports/4999/signed-preview-url").await;
    let url = link["url"].as_str().expect("a link");
    reqwest::get(url).await.expect("answer");
    let entry = one(&api, "plane=preview").await;
    assert_eq!((&entry["port"], &entry["sandbox"], &entry["status"]), (&json!(4999), &json!(sandbox.id), &json!(502)));
    let token = link["token"].as_str().expect("a token");
    for entry in entries(&api, "").await {
        assert!(!entry.to_string().contains(token), "{entry}");
    }
}

#[tokio::test]
async fn web_sockets_are_counted_frame_by_frame_with_their_close() {
    let sandbox = sandbox().await;
    let api = of(&sandbox);
    let mut tb = Toolbox::new(sandbox.url(""), sandbox.client.clone());
    tb.key = Some(sandbox.key.clone());
    tb.post("/process/pty", json!({"id": "p", "cols": 80, "rows": 24})).await;
    let mut terminal = connected(&tb, "p/connect", "").await;
    let open = one(&api, "operation=ConnectPtySession").await;
    assert_eq!((&open["status"], &open["websocket"]["open"]), (&json!(101), &json!(true)));
    terminal.type_in("echo a-$((40+2))\n").await;
    terminal.until("a-42").await;
    let close = CloseFrame { code: CloseCode::Normal, reason: "enough".into() };
    terminal.stream.close(Some(close)).await.expect("closes");
    while terminal.next().await {}
    drop(terminal);
    let closed = one(&api, "operation=ConnectPtySession&open=false&until=1").await;
    let socket = &closed["websocket"];
    assert_eq!((&socket["open"], &socket["fromClient"]["binary"]), (&json!(false), &json!(1)), "{socket}");
    let close = &socket["close"];
    assert_eq!((&close["by"], &close["code"], &close["reason"]), (&json!("client"), &json!(1000), &json!("enough")));
    assert!(socket["fromServer"]["binary"].as_u64() >= Some(1) && socket["fromServer"]["text"].as_u64() >= Some(1));
    assert!(closed["revision"].as_u64() > open["revision"].as_u64() && closed["id"] == open["id"]);

    let mut terminal = connected(&tb, "p/connect", "").await;
    tb.delete("/process/pty/p").await;
    while terminal.next().await {}
    drop(terminal);
    let last = entries(&api, "operation=ConnectPtySession&open=false&until=2").await.pop().expect("one");
    assert_eq!(last["websocket"]["close"]["by"], "server", "{last}");
}

#[tokio::test]
async fn event_sockets_belong_to_the_key_that_came_inside() {
    let api = Api::new().await;
    let url = format!("{}/socket.io/?EIO=4&transport=websocket", api.url).replacen("http", "ws", 1);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("connects");
    socket.next().await.expect("open").expect("a frame");
    socket.send(Message::text(format!("40{}", json!({"token": api.key})))).await.expect("sends");
    while !socket.next().await.expect("open").expect("a frame").to_string().starts_with("40") {}
    let open = one(&api, "plane=events&open=true&until=1").await;
    assert_eq!(open["keyName"], "default", "it is known while it is open");
    socket.close(None).await.expect("closes");
    while socket.next().await.is_some() {}
    let entry = one(&api, "plane=events&open=false&until=1").await;
    assert!(entry["websocket"]["fromServer"]["text"].as_u64() >= Some(2), "{entry}");
    assert!(!entry.to_string().contains(&api.key));
}

#[tokio::test]
async fn a_client_that_goes_away_is_seen() {
    let sandbox = sandbox().await;
    let api = of(&sandbox);
    let request = sandbox.client.post(sandbox.url("/process/execute")).json(&json!({"command": "sleep 600"}));
    let gone = tokio::time::timeout(Duration::from_millis(300), request.send()).await;
    assert!(gone.is_err());
    let entry = one(&api, "status=none&until=1").await;
    assert_eq!((&entry["operationId"], &entry["aborted"]), (&json!("ExecuteCommand"), &json!(true)));
}

#[tokio::test]
async fn waiting_is_ended_by_the_request_that_is_waited_for() {
    let api = Api::new().await;
    let waiter = api.with_key(&api.key);
    let waiting =
        tokio::spawn(
            async move { waiter.control("GET", "/journal?until=listSandboxes&timeout=20", Value::Null).await },
        );
    tokio::time::timeout(PATIENCE, async {
        api.get("/config").await;
        api.get("/sandbox").await;
        let (status, journal) = waiting.await.expect("no panic");
        assert_eq!((status, journal["entries"].as_array().map(Vec::len)), (200, Some(1)));
    })
    .await
    .expect("in time");
    let late = "/journal?until=2&operation=listSandboxes&timeout=0.01";
    let (status, body) = api.control("GET", late, Value::Null).await;
    assert_eq!((status, &body["message"]), (408, &json!("within 0.01 s there were 1 of 2 entries that match")));
}

#[tokio::test]
async fn pages_filters_and_forms() {
    let api = Api::new().await;
    for path in ["/config", "/sandbox", "/nope", "/sandbox/x", "/regions"] {
        api.get(path).await;
    }
    let (_, first) = api.control("GET", "/journal?limit=2", Value::Null).await;
    assert_eq!(first["entries"].as_array().map(Vec::len), Some(2));
    let rest = entries(&api, &format!("since={}", first["next"])).await;
    assert_eq!(rest.len(), 3);
    assert_eq!((&first["evicted"], &first["lost"]), (&json!(0), &json!(0)));
    assert_eq!(entries(&api, "path=/api/sandbox").await.len(), 2);
    assert_eq!(entries(&api, "operation=listSandboxes,getSandbox&status=200").await.len(), 1);
    assert_eq!(entries(&api, "operation=list*").await.len(), 2, "sandboxes and regions");
    assert_eq!(entries(&api, "status=failed&method=GET&key=default").await.len(), 2);
    let (status, har) = api.control("GET", "/journal?format=har&operation=getSandbox", Value::Null).await;
    let entry = &har["log"]["entries"][0];
    assert_eq!((status, &har["log"]["version"]), (200, &json!("1.2")));
    assert_eq!((&entry["response"]["status"], &entry["_operationId"]), (&json!(404), &json!("getSandbox")));
    assert!(entry["request"]["url"].as_str().is_some_and(|url| url.ends_with("/api/sandbox/x")));
    assert!(entry["response"]["content"]["text"].as_str().is_some_and(|text| text.contains("not found")));
    let lines = api.client.get(format!("{}/journal?format=jsonl", api.url.replace("/api", "/__control")));
    let lines = lines.bearer_auth(&api.key).send().await.expect("answer").text().await.expect("text");
    assert_eq!(lines.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(), 5);
    for (query, message) in [
        ("nope=1", "there is no filter nope"),
        ("operation=listSandbox", "did you mean listSandboxes?"),
        ("until=nope", "there is no operation nope"),
        ("plane=zzz", "plane must be one of"),
        ("status=abc", "status must be such as"),
        ("limit=0", "limit must be"),
        ("timeout=-1", "timeout must be"),
        ("format=xml", "format must be"),
        ("since=x", "since must be"),
    ] {
        let (status, body) = api.control("GET", &format!("/journal?{query}"), Value::Null).await;
        assert!(status == 400 && body["message"].as_str().is_some_and(|text| text.contains(message)), "{body}");
    }
}

/// Of HAR 1.2: the fields that must be there, and their kinds.
fn is_har(har: &Value) {
    let is = |value: &Value, kinds: &str| {
        for field in kinds.split(' ') {
            let (name, kind) = field.split_once(':').expect("a kind");
            let value = &value[name];
            let fine = match kind {
                "text" => value.is_string(),
                "number" => value.as_f64().is_some_and(|number| number >= -1.0),
                "list" => value.is_array(),
                _ => value.is_object(),
            };
            assert!(fine, "{name} must be {kind}: {value}");
        }
    };
    is(har, "log:object");
    is(&har["log"], "version:text creator:object entries:list");
    is(&har["log"]["creator"], "name:text version:text");
    for entry in har["log"]["entries"].as_array().expect("a list") {
        is(entry, "startedDateTime:text time:number request:object response:object cache:object timings:object");
        entry["startedDateTime"].as_str().expect("text").parse::<chrono::DateTime<chrono::Utc>>().expect("a time");
        let (request, response, timings) = (&entry["request"], &entry["response"], &entry["timings"]);
        is(request, "method:text url:text httpVersion:text cookies:list headers:list queryString:list");
        is(request, "headersSize:number bodySize:number");
        reqwest::Url::parse(request["url"].as_str().expect("text")).expect("a URL");
        is(response, "status:number statusText:text httpVersion:text cookies:list headers:list content:object");
        is(response, "redirectURL:text headersSize:number bodySize:number");
        is(&response["content"], "size:number mimeType:text");
        is(timings, "send:number wait:number receive:number");
        let sum: f64 = ["send", "wait", "receive"].iter().filter_map(|name| timings[name].as_f64()).sum();
        assert!((sum - entry["time"].as_f64().expect("a number")).abs() < 0.01, "{entry}");
        let pairs = [&request["headers"], &request["queryString"], &response["headers"]];
        pairs
            .iter()
            .flat_map(|list| list.as_array().expect("a list"))
            .for_each(|pair| is(pair, "name:text value:text"));
        if !request["postData"].is_null() {
            is(&request["postData"], "mimeType:text text:text");
        }
    }
}

#[tokio::test]
async fn whatever_happened_is_a_valid_archive() {
    let sandbox = sandbox().await;
    let api = of(&sandbox);
    let mut tb = Toolbox::new(sandbox.url(""), sandbox.client.clone());
    tb.key = Some(sandbox.key.clone());
    let terminal = crate::pty::terminal(&tb, "create-connect?id=p&cols=80&rows=24", "").await;
    drop(terminal);
    api.request("POST", "/sandbox?x=%20y")
        .body("{")
        .header("content-type", "application/json")
        .send()
        .await
        .expect("answer");
    api.control("POST", "/faults", json!({"match": {"operation": "listSandboxes"}, "effect": {"type": "reset"}})).await;
    assert!(api.request("GET", "/sandbox").send().await.is_err());
    entries(&api, "status=none&until=1").await;
    entries(&api, "operation=GetPtySession,ConnectPtySession&open=false&until=1").await;
    let (status, har) = api.control("GET", "/journal?format=har", Value::Null).await;
    assert_eq!(status, 200);
    assert!(har["log"]["entries"].as_array().is_some_and(|entries| entries.len() >= 4), "{har}");
    is_har(&har);
}

#[tokio::test]
async fn reset_and_delete_forget_one_world_only() {
    let (mine, other) = (Api::new().await, Api::new().await);
    for api in [&mine, &other] {
        api.get("/config").await;
    }
    assert_eq!(mine.control("POST", "/reset", Value::Null).await.0, 204);
    assert!(entries(&mine, "").await.is_empty());
    assert_eq!(entries(&other, "").await.len(), 1);
    mine.get("/config").await;
    assert_eq!(entries(&mine, "").await.len(), 1);
    assert_eq!(mine.control("DELETE", "/journal", Value::Null).await.0, 204);
    assert!(entries(&mine, "").await.is_empty());
    assert_eq!(mine.with_key("wrong").control("GET", "/journal", Value::Null).await.0, 401);
    let (status, body) = mine.control("GET", "/journal?all=true", Value::Null).await;
    assert_eq!((status, &body["message"]), (403, &json!("all=true is for the server's own key")));
}

#[tokio::test]
async fn the_servers_own_key_sees_what_belongs_to_nobody_and_the_disk_has_it_without_keys() {
    let data = tempfile::tempdir().expect("temp dir");
    let server = MockServer::start(Config { data_dir: Some(data.path().into()), ..config() }).await.expect("starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    api.with_key("dtn_wrongwrongwrong").get("/sandbox").await;
    api.get("/api-keys").await;
    assert!(entries(&api, "operation=listSandboxes").await.is_empty());
    let entry = one(&api, "all=true&operation=listSandboxes").await;
    assert_eq!((&entry["status"], entry.get("organizationId")), (&json!(401), None));
    server.shutdown().await;
    let mut text = String::new();
    for file in std::fs::read_dir(data.path().join("journal")).expect("a directory").flatten() {
        text.push_str(&std::fs::read_to_string(file.path()).expect("text"));
    }
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("\"listApiKeys\"") && !text.contains("wrongwrong") && !text.contains(&api.key));
}
