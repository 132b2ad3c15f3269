//! A sandbox's life: start, stop, delete, and what each state refuses.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::{Api, id},
    support::{eventually, sandbox, server},
};

const BUSY: &str = "Sandbox state change in progress";
/// What reads who saw the state before the winner changed it.
const OUTRUN: &str = "Sandbox was modified by another operation";

#[tokio::test]
async fn stop_and_start_keep_the_files() {
    let api = Api::new().await;
    let sandbox = api.named("keeper").await;
    let run = async |command: &str| {
        let url = format!("{}/toolbox/{sandbox}/process/execute", server().base_url);
        let body = json!({"command": command});
        let answer = api.client.post(url).bearer_auth(&api.key).json(&body).send().await.expect("answer");
        (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
    };
    assert_eq!(run("echo kept > note").await.0, 200);
    let (_, before) = api.get("/sandbox/keeper/ports/80/preview-url").await;
    let (status, stopping) = api.post("/sandbox/keeper/stop", Value::Null).await;
    assert_eq!((status, &stopping["state"], &stopping["desiredState"]), (200, &json!("stopping"), &json!("stopped")));
    assert!(stopping.get("lastActivityAt").is_none());
    api.until("keeper", "stopped").await;
    assert_eq!(run("cat note").await.0, 400);
    let (status, started) = api.post("/sandbox/keeper/start", Value::Null).await;
    assert_eq!((status, &started["state"]), (200, &json!("started")), "start waits");
    assert_eq!(run("cat note").await.1["result"], "kept\n");
    let (_, after) = api.get("/sandbox/keeper/ports/80/preview-url").await;
    assert_ne!(before["token"], after["token"], "each start has its own preview token");
}

/// Processes get a second to end; who ended isn't waited for, whoever has to reap it.
#[tokio::test]
async fn a_stop_waits_only_for_those_who_live() {
    let mut fastest = Duration::MAX;
    // Some other test may have the machine for itself once.
    for _ in 0..5 {
        let sandbox = sandbox().await;
        let post = async |path: &str, body: Value| {
            let answer = sandbox.client.post(sandbox.url(path)).json(&body).send().await.expect("answer");
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
        };
        for number in 0..3 {
            post("/process/session", json!({"sessionId": format!("s{number}")})).await;
            let command = json!({"command": "sleep 1000", "runAsync": true});
            post(&format!("/process/session/s{number}/exec"), command).await;
            post("/process/pty", json!({"id": format!("p{number}")})).await;
        }
        let started = Instant::now();
        assert_eq!(sandbox.api(Method::POST, "/stop").await.0, 200);
        let stopped = async || (sandbox.api(Method::GET, "").await.1["state"] == "stopped").then_some(());
        eventually("the sandbox is stopped", stopped).await;
        fastest = fastest.min(started.elapsed());
    }
    assert!(fastest < Duration::from_millis(900), "{fastest:?}");
}

#[tokio::test]
async fn what_each_state_refuses() {
    let api = Api::new().await;
    let sandbox = api.named("s").await;
    let post = |operation: &str| format!("/sandbox/{sandbox}/{operation}");
    let (status, same) = api.post(&post("start"), Value::Null).await;
    assert_eq!((status, &same["state"]), (200, &json!("started")), "starting what is started does nothing");
    for (operation, status, message) in [
        ("pause", 422, "Pausing is not supported for this sandbox"),
        ("fork", 422, "Forking is not supported for this sandbox"),
        ("archive", 400, "Sandbox is not stopped"),
        ("recover", 400, "Sandbox is not in a recoverable state"),
    ] {
        api.refused("POST", &post(operation), json!({}), status, message).await;
    }
    let unsafe_name = "name must not contain HTML tags, URLs, or control characters";
    api.refused("POST", &post("fork"), json!({"name": "<b>"}), 400, unsafe_name).await;
    api.refused("POST", &post("snapshot"), json!({}), 400, "name must be a string").await;
    assert_eq!(api.post(&post("backup"), Value::Null).await.0, 201);
    api.post(&post("stop?force=true"), Value::Null).await;
    api.until(&sandbox, "stopped").await;
    for (operation, status, message) in [
        ("stop", 400, "Sandbox is not in a stoppable state"),
        ("pause", 400, "Sandbox must be in started state to pause"),
        ("fork", 422, "Forking is not supported for this sandbox"),
        ("recover", 400, "Sandbox is not in a recoverable state"),
    ] {
        api.refused("POST", &post(operation), json!({}), status, message).await;
    }
}

#[tokio::test]
async fn delete_frees_the_name_at_once_and_the_rest_soon() {
    let api = Api::new().await;
    let sandbox = api.named("gone").await;
    let (status, deleted) = api.delete("/sandbox/gone").await;
    assert_eq!((status, &deleted["state"], &deleted["desiredState"]), (200, &json!("destroying"), &json!("destroyed")));
    assert!(deleted["name"].as_str().is_some_and(|name| name.starts_with("DESTROYED_gone_")), "{deleted}");
    assert!(deleted.get("lastActivityAt").is_none());
    let (status, read) = api.get(&format!("/sandbox/{sandbox}")).await;
    assert_eq!((status, &read["state"]), (200, &json!("destroying")), "SDK 0.108 reads it once more");
    api.refused("GET", "/sandbox/gone", Value::Null, 404, "Sandbox with ID or name gone not found").await;
    api.refused("DELETE", "/sandbox/gone", Value::Null, 404, "Sandbox with ID or name gone not found").await;
    api.refused("DELETE", &format!("/sandbox/{sandbox}"), Value::Null, 409, BUSY).await;
    api.refused("POST", &format!("/sandbox/{sandbox}/start"), Value::Null, 409, BUSY).await;
    assert_eq!(api.get("/sandbox").await.1["items"][0]["state"], "destroying");
    api.named("gone").await;
    api.until_gone(&sandbox).await;
    let missing = format!("Sandbox with ID or name {sandbox} not found");
    api.refused("DELETE", &format!("/sandbox/{sandbox}"), Value::Null, 404, &missing).await;
    assert_eq!(api.get("/sandbox").await.1["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn stopped_ones_are_deleted_too_and_ephemeral_ones_by_stopping() {
    let api = Api::new().await;
    let stopped = api.named("stopped").await;
    api.post("/sandbox/stopped/stop?force=true", Value::Null).await;
    api.until(&stopped, "stopped").await;
    assert_eq!(api.delete("/sandbox/stopped").await.1["state"], "destroying");
    api.until_gone(&stopped).await;
    let ephemeral = id(&api.sandbox(json!({"name": "e", "autoDeleteInterval": 0})).await);
    api.refused("POST", "/sandbox/e/backup", Value::Null, 400, "Ephemeral sandboxes cannot be backed up").await;
    let (status, stopping) = api.post("/sandbox/e/stop", Value::Null).await;
    assert_eq!((status, &stopping["state"]), (200, &json!("destroying")));
    api.until_gone(&ephemeral).await;
}

#[tokio::test]
async fn of_parallel_calls_one_succeeds() {
    let api = Api::new().await;
    let sandbox = api.named("busy").await;
    for (operation, after) in [("stop", "stopped"), ("start", "started")] {
        let path = format!("/sandbox/{sandbox}/{operation}");
        let mut answers = futures_util::future::join_all((0..5).map(|_| api.post(&path, Value::Null))).await;
        answers.sort_by_key(|(status, _)| *status);
        assert_eq!(answers[0].0, 200, "{answers:?}");
        let fine = |(status, body): &(u16, Value)| {
            let lost = body["message"] == BUSY || body["message"] == OUTRUN;
            *status == 200 || *status == 409 && lost || *status == 400 && operation == "stop"
        };
        assert!(answers.iter().all(fine), "{answers:?}");
        api.until(&sandbox, after).await;
    }
    let path = format!("/sandbox/{sandbox}");
    let answers = futures_util::future::join_all((0..5).map(|_| api.delete(&path))).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1, "{answers:?}");
}

#[tokio::test]
async fn relatives_and_builds_there_are_none() {
    let api = Api::new().await;
    let sandbox = api.named("r").await;
    assert_eq!(api.get("/sandbox/r/forks").await, (200, json!([])));
    assert_eq!(api.get("/sandbox/r/ancestors").await, (200, json!([])));
    let text = format!("Parent sandbox not found for sandbox {sandbox}");
    api.refused("GET", "/sandbox/r/parent", Value::Null, 404, &text).await;
    api.refused("GET", "/sandbox/r/build-logs", Value::Null, 404, "Sandbox with ID or name r has no build info").await;
    api.refused("GET", "/sandbox/r/build-logs-url", Value::Null, 404, "Sandbox r has no build info").await;
    let (_, url) = api.get("/sandbox/r/toolbox-proxy-url").await;
    assert_eq!(url["url"], format!("{}/toolbox", server().base_url));
    let dates = "from must be a valid ISO 8601 date string, to must be a valid ISO 8601 date string";
    api.refused("GET", "/sandbox/r/telemetry/metrics", Value::Null, 400, dates).await;
    let (_, metrics) = api.get("/sandbox/r/telemetry/metrics?from=2026-01-01&to=2026-01-02").await;
    assert_eq!(metrics, json!({"series": []}));
    assert_eq!(api.get("/sandbox/r/telemetry/traces/x").await, (200, json!([])));
}
