//! The main program of an image or snapshot, in a session of its own.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    images::{
        has_images,
        registry::{Pack, Registry, layer, programs},
    },
    snapshots::Account,
    support::{Sandbox, eventually},
};

async fn get(sandbox: &Sandbox, path: &str, version: Option<&str>) -> (u16, String) {
    let mut request = sandbox.client.get(sandbox.url(&format!("/process/session/entrypoint{path}")));
    if let Some(version) = version {
        request = request.header("x-daytona-sdk-version", version);
    }
    let answer = request.send().await.expect("answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

async fn made(account: &Account, name: &str, image: &str, entrypoint: Value) -> Sandbox {
    account.ok(Method::POST, "/snapshots", json!({"name": name, "imageName": image, "entrypoint": entrypoint})).await;
    assert_eq!(account.made(name).await["state"], "active");
    let sandbox = account.sandbox(json!({"snapshot": name})).await;
    sandbox.until("started").await;
    sandbox
}

#[tokio::test]
async fn the_main_program_runs_in_its_session() {
    if !has_images() {
        return;
    }
    let (account, registry) = (Account::new().await, Registry::start().await);
    let script = "echo up in $PWD as $WHO; echo oops >&2; exec sleep 1000";
    let settings = json!({"Env": ["WHO=image"], "WorkingDir": "/srv", "Entrypoint": ["sh", "-c"], "Cmd": [script]});
    let image = registry.push("with/main:1", &[programs(), layer(Pack::Gzip, "mkdir -p srv; chmod 755 srv")], settings);
    let sandbox = made(&account, "main", &image, json!([])).await;

    let session = json!({"sessionId": "entrypoint", "commands": [
        {"id": "entrypoint_command", "command": format!("'sh' '-c' '{script}'")}
    ]});
    let (status, text) = get(&sandbox, "", None).await;
    assert_eq!((status, serde_json::from_str::<Value>(&text).expect("JSON")), (200, session));
    let listed = sandbox.client.get(sandbox.url("/process/session")).send().await.expect("answer");
    assert!(listed.text().await.expect("text").contains("entrypoint_command"));
    let whole = eventually("its output", async || {
        let (_, text) = get(&sandbox, "/logs", Some("0.200.0")).await;
        let logs: Value = serde_json::from_str(&text).expect("JSON");
        (logs["stderr"] != "" && logs["stdout"] != "").then_some(logs)
    })
    .await;
    assert_eq!((&whole["stdout"], &whole["stderr"]), (&json!("up in /srv as image\n"), &json!("oops\n")));
    // Older clients and others get the markers (observed).
    for version in [None, Some("0.150.0")] {
        let (status, text) = get(&sandbox, "/logs", version).await;
        assert!(status == 200 && text.contains("\u{1}\u{1}\u{1}up in /srv"), "{text:?}");
    }
    for (method, path, body) in [
        (Method::DELETE, "", json!({})),
        (Method::POST, "/exec", json!({"command": "true"})),
        (Method::POST, "/command/entrypoint_command/input", json!({"data": "x"})),
    ] {
        let url = sandbox.url(&format!("/process/session/entrypoint{path}"));
        let answer = sandbox.client.request(method, url).json(&body).send().await.expect("answer");
        assert_eq!(answer.status(), 400);
    }

    // A start runs it again, with a log of its own.
    sandbox.api(Method::POST, "/stop").await;
    sandbox.until("stopped").await;
    sandbox.api(Method::POST, "/start").await;
    sandbox.until("started").await;
    eventually("its output", async || {
        let (_, text) = get(&sandbox, "/logs", Some("0.200.0")).await;
        text.contains(r#""stdout":"up in /srv as image\n""#).then_some(())
    })
    .await;

    // A snapshot's own goes before the image's; one that ends leaves the sandbox as it is.
    let ends = made(&account, "ends", &image, json!(["sh", "-c", "exit 3"])).await;
    eventually("its end", async || get(&ends, "", None).await.1.contains(r#""exitCode":3"#).then_some(())).await;
    assert_eq!(ends.run("echo still here").await, "still here\n");
}

/// As in the default image; it is started for the first who asks.
#[tokio::test]
async fn the_main_program_of_the_ready_made_snapshots_does_nothing() {
    let sandbox = crate::support::sandbox().await;
    let sessions = sandbox.client.get(sandbox.url("/process/session")).send().await.expect("answer");
    assert_eq!(sessions.text().await.expect("text"), "[]");
    let asked = (0..5).map(|_| get(&sandbox, "", None));
    let session = json!({"sessionId": "entrypoint", "commands": [
        {"id": "entrypoint_command", "command": "'sleep' 'infinity'"}
    ]});
    for (status, text) in futures_util::future::join_all(asked).await {
        assert_eq!((status, serde_json::from_str::<Value>(&text).expect("JSON")), (200, session.clone()));
    }
    eventually("one runs", async || (sandbox.run("pgrep -cx sleep || true").await == "1\n").then_some(())).await;
    let logs = json!({"output": "", "stdout": "", "stderr": ""});
    let (status, text) = get(&sandbox, "/logs", Some("0.200.0")).await;
    assert_eq!((status, serde_json::from_str::<Value>(&text).expect("JSON")), (200, logs));
    let path = "/command/entrypoint_command";
    assert_eq!(get(&sandbox, path, None).await.0, 200);
    sandbox.api(Method::POST, "/stop").await;
    sandbox.until("stopped").await;
}
