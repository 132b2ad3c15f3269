//! What a server keeps: keys, sandboxes, tokens, through a shutdown and through SIGKILL.

use std::{path::Path, process::Stdio};

use daytona_mock::{
    MockServer,
    config::Config,
    runtime::{Isolation, IsolationChoice},
};
use serde_json::{Value, json};

use crate::{
    api::Api,
    images::has_images,
    support::{binary, cache_dir, config, eventually, isolation},
};

pub async fn open(data_dir: &Path, keys: &[&str]) -> (MockServer, Api) {
    let api_keys = keys.iter().map(|key| (*key).to_owned()).collect();
    let config = Config { data_dir: Some(data_dir.to_owned()), api_keys, ..config() };
    let server = MockServer::start(config).await.expect("the server starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    (server, api)
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = open(dir.path(), &[]).await;
    let id = api.sandbox(json!({"name": "kept", "labels": {"a": "b"}})).await["id"].as_str().expect("id").to_owned();
    api.named("stopped").await;
    api.post("/sandbox/stopped/stop?force=true", Value::Null).await;
    api.until("stopped", "stopped").await;
    api.named("deleted").await;
    api.delete("/sandbox/deleted").await;
    let (_, link) = api.get("/sandbox/kept/ports/80/signed-preview-url?expiresInSeconds=3600").await;
    let (_, preview) = api.get("/sandbox/kept/ports/80/preview-url").await;
    let signing_key = api.get("/sandbox/kept/signing-key").await;
    let (_, made) = api.post("/api-keys", json!({"name": "more", "permissions": []})).await;
    let key = api.key.clone();
    server.shutdown().await;

    let (server, api) = open(dir.path(), &[]).await;
    assert_eq!(api.key, key);
    let kept = api.until("kept", "started").await;
    assert_eq!((&kept["id"], &kept["labels"]), (&json!(id), &json!({"a": "b"})));
    assert_eq!(api.get("/sandbox/stopped").await.1["state"], "stopped");
    assert_eq!(api.get("/sandbox?name=DESTROYED").await.1["items"], json!([]));
    assert_eq!(api.get("/sandbox/kept/signing-key").await, signing_key);
    assert_eq!(api.get("/sandbox/kept/ports/80/preview-url").await.1["token"], preview["token"]);
    let path = format!("/preview/{}/80/sandbox-id", link["token"].as_str().expect("a token"));
    assert_eq!(api.get(&path).await, (200, json!(id)));
    assert_eq!(api.with_key(made["value"].as_str().expect("a value")).get("/sandbox").await.0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn given_keys_are_good_while_they_are_given_and_keep_their_organisation() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = open(dir.path(), &["first", "second"]).await;
    let organization = api.get("/organizations").await.1[0]["id"].clone();
    assert_ne!(api.with_key("second").get("/organizations").await.1[0]["id"], organization);
    server.shutdown().await;
    let (server, api) = open(dir.path(), &["second"]).await;
    assert_eq!(api.with_key("first").get("/sandbox").await.0, 401);
    server.shutdown().await;
    let (server, api) = open(dir.path(), &["first"]).await;
    assert_eq!(api.get("/organizations").await.1[0]["id"], organization);
    server.shutdown().await;
    let own = std::fs::read_dir(dir.path()).expect("readable").filter_map(Result::ok);
    for file in own.filter(|file| file.metadata().is_ok_and(|m| m.is_file())) {
        let bytes = std::fs::read(file.path()).expect("readable");
        let holds = bytes.windows(6).any(|part| part == b"second");
        assert!(!holds || file.file_name() == "ready.json", "{:?} holds a key", file.path());
    }
}

pub struct Serving {
    child: std::process::Child,
    pub api: Api,
}

impl Serving {
    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }
}

/// The program as a process of its own, so that it can be killed.
pub async fn serve(data_dir: &Path) -> Serving {
    let mut command = std::process::Command::new(binary());
    command.arg("serve").env("XDG_CACHE_HOME", cache_dir());
    if let IsolationChoice::Exactly(tier) = isolation() {
        let tier = match tier {
            Isolation::Root => "root",
            Isolation::Subuid => "subuid",
            Isolation::Single => "single",
            Isolation::Process => "process",
        };
        command.args(["--isolation", tier]);
    }
    spawn(data_dir, command).await
}

/// The same by a command of the caller's.
pub async fn spawn(data_dir: &Path, mut command: std::process::Command) -> Serving {
    let ready = data_dir.join("test-ready.json");
    let _ = std::fs::remove_file(&ready);
    command.args(["--listen", "127.0.0.1:0", "--ready-file"]).arg(&ready).arg("--data-dir").arg(data_dir);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let told = eventually("a ready file", async || {
        let text = std::fs::read_to_string(&ready).unwrap_or_default();
        serde_json::from_str::<Value>(&text).ok()
    })
    .await;
    let text = |name: &str| told[name].as_str().expect("text").to_owned();
    Serving { child, api: Api { url: text("apiUrl"), key: text("apiKey"), client: reqwest::Client::new() } }
}

#[tokio::test]
async fn a_snapshot_that_was_promised_is_made_after_sigkill() {
    if !has_images() {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let first = serve(dir.path()).await;
    let hold = json!({"effect": {"type": "slow", "state": "snapshotting"}, "match": {}});
    assert_eq!(first.api.control("POST", "/faults", hold).await.0, 201);
    for (name, rests) in [("runs", false), ("rests", true)] {
        let sandbox = first.api.sandbox(json!({"name": name})).await;
        note(&first.api, &sandbox, name).await;
        if rests {
            first.api.post(&format!("/sandbox/{name}/stop"), Value::Null).await;
            first.api.until(name, "stopped").await;
        }
        let (status, told) = first.api.post(&format!("/sandbox/{name}/snapshot"), json!({"name": name})).await;
        assert_eq!((status, &told["state"]), (200, &json!("snapshotting")), "{told}");
    }
    first.kill();
    let second = serve(dir.path()).await;
    for (name, state) in [("runs", "started"), ("rests", "stopped")] {
        second.api.until(name, state).await;
        let (status, snapshot) = second.api.get(&format!("/snapshots/{name}")).await;
        assert_eq!((status, &snapshot["state"]), (200, &json!("active")), "it is there once the sandbox goes on");
        let made = second.api.sandbox(json!({"name": format!("of-{name}"), "snapshot": name})).await;
        assert_eq!(noted(&second.api, &made).await, name);
    }
    let (_, runs) = second.api.get("/sandbox/runs").await;
    assert_eq!(noted(&second.api, &runs).await, "runs", "and so are its files");
    second.kill();
}

fn toolbox(sandbox: &Value, path: &str) -> String {
    let text = |field: &str| sandbox[field].as_str().expect("text").to_owned();
    format!("{}/{}{path}", text("toolboxProxyUrl"), text("id"))
}

async fn note(api: &Api, sandbox: &Value, text: &str) {
    let request = api.client.post(toolbox(sandbox, "/files/upload-v2?path=note")).bearer_auth(&api.key);
    let request = request.header("content-type", "application/octet-stream").body(text.to_owned());
    let status = request.send().await.expect("answer").status();
    assert!(status.is_success(), "{status}");
}

async fn noted(api: &Api, sandbox: &Value) -> String {
    let request = api.client.get(toolbox(sandbox, "/files/download?path=note")).bearer_auth(&api.key);
    request.send().await.expect("answer").text().await.expect("text")
}

#[tokio::test]
async fn what_was_acknowledged_survives_sigkill() {
    let dir = tempfile::tempdir().expect("temp dir");
    let first = serve(dir.path()).await;
    let api = &first.api;
    api.sandbox(json!({"name": "kept"})).await;
    let run = async |api: &Api, command: &str| {
        let (_, sandbox) = api.get("/sandbox/kept").await;
        let url = format!(
            "{}/{}/process/execute",
            sandbox["toolboxProxyUrl"].as_str().expect("url"),
            sandbox["id"].as_str().expect("id")
        );
        let answer =
            api.client.post(url).bearer_auth(&api.key).json(&json!({"command": command})).send().await.expect("answer");
        answer.json::<Value>().await.expect("JSON")
    };
    run(api, "echo there > note").await;
    api.named("deleted").await;
    let made = api.put("/sandbox/kept/labels", json!({"labels": {"n": "1"}})).await;
    assert_eq!(api.delete("/sandbox/deleted").await.0, 200);
    first.kill();

    let second = serve(dir.path()).await;
    let kept = second.api.until("kept", "started").await;
    assert_eq!(kept["labels"], made.1["labels"]);
    assert_eq!(run(&second.api, "cat note").await["result"], "there\n");
    assert_eq!(second.api.get("/sandbox").await.1["items"].as_array().map(Vec::len), Some(1));
    second.api.control("POST", "/reset", Value::Null).await;
    second.kill();
}
