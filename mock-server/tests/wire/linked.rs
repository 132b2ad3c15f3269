//! Sandboxes that are linked to another one: names, traffic, and what goes with what.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::{Api, id},
    images::has_images,
    store::open,
    support::{Sandbox, client, eventually, new_key, server},
};

/// A sandbox with a name, in the organisation of a client.
async fn named(api: &Api, body: Value) -> Sandbox {
    let made = api.sandbox(body).await;
    let sandbox = Sandbox { id: id(&made), key: api.key.clone(), client: api.client.clone() };
    sandbox.until("started").await;
    sandbox
}

async fn account() -> Api {
    let key = new_key().await;
    Api { url: server().api_url.clone(), client: client(&key), key }
}

const SERVE: &str = "mkdir -p ~/www && hostname > ~/www/who && cd ~/www && (setsid python3 -m http.server 3000 \
    >/dev/null 2>&1 </dev/null &); until python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 3000))' \
    2>/dev/null; do :; done";

fn fetch(name: &str) -> String {
    let url = format!("http://{name}:3000/who");
    format!(
        "python3 -c 'import urllib.request as r; print(r.urlopen(\"{url}\", timeout=20).read().decode(), end=\"\")'"
    )
}

#[tokio::test]
async fn linked_sandboxes_reach_each_other_by_name() {
    if !has_images() {
        return;
    }
    let api = account().await;
    let owner = named(&api, json!({"name": "Own"})).await;
    let linked = json!({"name": "one", "linkedSandbox": "Own", "autoDeleteInterval": 0});
    let one = named(&api, linked).await;
    let two = named(&api, json!({"name": "two", "linkedSandbox": owner.id, "autoDeleteInterval": 0, "networkAllowList": "203.0.113.0/24"})).await;
    assert_eq!(one.api(Method::GET, "").await.1["linkedSandboxId"], json!(owner.id));
    for sandbox in [&owner, &one, &two] {
        sandbox.run(SERVE).await;
    }
    for (from, to, name) in [
        (&one, &owner, "own"),
        (&owner, &one, "one"),
        (&two, &one, "one"),
        (&one, &two, "TWO"),
        (&owner, &owner, "own"),
    ] {
        assert_eq!(from.run(&fetch(name)).await, format!("{}\n", to.id), "{name}");
    }
    // A port that nobody listens on is refused at once, and strangers are out of reach.
    let closed = "python3 -c 'import socket; socket.create_connection((\"own\", 3001), 20)' 2>&1 | tail -1";
    assert!(one.run(closed).await.contains("ConnectionRefusedError"));
    let stranger = named(&api, json!({"name": "stranger"})).await;
    let resolve = "python3 -c 'import socket; print(socket.gethostbyname(\"own\"))' 2>/dev/null || echo unknown";
    assert_eq!(stranger.run(resolve).await, "unknown\n");
    let late = named(&api, json!({"name": "late", "linkedSandbox": "Own", "autoDeleteInterval": 0})).await;
    late.run(SERVE).await;
    assert_eq!(owner.run(&fetch("late")).await, format!("{}\n", late.id), "who comes later is known too");

    // They go with their owner.
    assert_eq!(owner.api(Method::DELETE, "").await.0, 200);
    for sandbox in [&owner, &one, &two, &late] {
        eventually("gone", async || (sandbox.api(Method::GET, "").await.0 == 404).then_some(())).await;
    }
    assert_eq!(stranger.api(Method::GET, "").await.1["state"], "started");
}

#[tokio::test]
async fn what_links_refuse() {
    let api = Api::new().await;
    api.named("own").await;
    let ephemeral = "Linked sandboxes must be ephemeral (set autoDeleteInterval to 0)";
    api.refused("POST", "/sandbox", json!({"linkedSandbox": "own"}), 400, ephemeral).await;
    api.refused("POST", "/sandbox", json!({"linkedSandbox": "nope"}), 400, ephemeral).await;
    let unknown = json!({"linkedSandbox": "nope", "autoDeleteInterval": 0});
    api.refused("POST", "/sandbox", unknown, 404, "Sandbox with ID or name nope not found").await;
    let one = api.sandbox(json!({"name": "one", "linkedSandbox": "own", "autoDeleteInterval": 0})).await;
    let chained = format!(
        "Linked sandbox {} is itself linked to another sandbox; chained links are not allowed",
        one["id"].as_str().expect("an id")
    );
    let body = json!({"linkedSandbox": "one", "autoDeleteInterval": 0});
    api.refused("POST", "/sandbox", body, 400, &chained).await;
    let build = json!({"linkedSandbox": "own", "buildInfo": {"dockerfileContent": "FROM x:1"}});
    let text = "linkedSandbox is not supported with declarative builds. Create a sandbox from a snapshot";
    api.refused("POST", "/sandbox", build, 400, text).await;
    // A stopped owner is fine, and a follower that stops is gone by itself.
    api.post("/sandbox/own/stop?force=true", Value::Null).await;
    api.until("own", "stopped").await;
    api.sandbox(json!({"name": "two", "linkedSandbox": "own", "autoDeleteInterval": 0})).await;
    assert_eq!(api.post("/sandbox/one/stop", Value::Null).await.1["state"], "destroying");
    api.until_gone(one["id"].as_str().expect("an id")).await;
    assert_eq!(api.get("/sandbox/two").await.0, 200);
}

#[tokio::test]
async fn followers_of_who_is_gone_go_after_a_restart() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = open(dir.path(), &[]).await;
    let owner = api.named("own").await;
    api.sandbox(json!({"name": "one", "linkedSandbox": "own", "autoDeleteInterval": 0})).await;
    server.shutdown().await;
    // As if the server had been killed between the two deletions.
    let db = rusqlite::Connection::open(dir.path().join("control.sqlite")).expect("the store");
    db.execute("DELETE FROM record WHERE kind = 'sandbox' AND key = ?1", [&owner]).expect("deleted");
    drop(db);
    let (server, api) = open(dir.path(), &[]).await;
    eventually("the follower is gone", async || (api.get("/sandbox/one").await.0 == 404).then_some(())).await;
    server.shutdown().await;
}
