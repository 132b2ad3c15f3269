//! Machines stand still and go on, with their memory.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::Api,
    support::{Sandbox, client, eventually, new_key, server},
    timers::{advance, frozen},
};

const NO_PAUSE: &str = "Sandbox must be in started state to pause";

/// A started machine in an organisation of its own.
pub async fn machine(body: Value) -> (Api, Sandbox) {
    let key = new_key().await;
    let client = client(&key);
    let api = Api { url: server().api_url.clone(), key: key.clone(), client: client.clone() };
    let mut asked = json!({"snapshot": "daytona-vm-small"});
    asked.as_object_mut().expect("an object").extend(body.as_object().cloned().unwrap_or_default());
    let made = api.sandbox(asked).await;
    let sandbox = Sandbox { id: made["id"].as_str().expect("an id").to_owned(), key, client };
    sandbox.until("started").await;
    (api, sandbox)
}

/// What a process that counts as fast as it can has counted, by the processor time that it took.
fn processor_time(marker: &str) -> Option<u64> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let counting = processes.into_iter().find(|path| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == marker.as_bytes())
    });
    let text = std::fs::read_to_string(counting?.join("schedstat")).ok()?;
    text.split(' ').next()?.parse().ok()
}

#[tokio::test]
async fn a_paused_machine_stands_still_and_goes_on_with_its_memory() {
    let (api, sandbox) = machine(json!({})).await;
    assert_eq!(sandbox.api(Method::GET, "").await.1["sandboxClass"], "linux-vm");
    let session = json!({"sessionId": "memory"});
    let post = |path: &str, body: Value| sandbox.client.post(sandbox.url(path)).json(&body).send();
    assert_eq!(post("/process/session", session).await.expect("answer").status(), 201);
    let run = async |command: &str| -> Value {
        let answer = post("/process/session/memory/exec", json!({"command": command})).await.expect("answer");
        answer.json().await.expect("JSON")
    };
    run("KEPT=in-memory").await;
    let marker = format!("count{}", 100_000_000 + uuid::Uuid::new_v4().as_u128() % 100_000_000);
    sandbox.run(&format!("(setsid sh -c 'while :; do :; done' {marker} >/dev/null 2>&1 </dev/null &); true")).await;
    eventually("it counts", async || processor_time(&marker)).await;

    let (status, pausing) = sandbox.api(Method::POST, "/pause").await;
    let states = (&pausing["state"], &pausing["desiredState"]);
    assert_eq!((status, states), (200, (&json!("pausing"), &json!("paused"))), "{pausing}");
    sandbox.until("paused").await;
    // Its last step to a stand is counted, too.
    let before = eventually("it stands", async || {
        let time = processor_time(&marker).expect("it is there");
        tokio::task::yield_now().await;
        (processor_time(&marker) == Some(time)).then_some(time)
    })
    .await;
    for _ in 0..30 {
        assert_eq!(sandbox.api(Method::GET, "").await.1["state"], "paused");
    }
    assert_eq!(processor_time(&marker), Some(before), "it counts on");

    let toolbox = sandbox.client.get(sandbox.url("/version")).send().await.expect("answer");
    let (status, answer) = crate::api::answer(toolbox).await;
    assert_eq!(
        (status, answer["message"].as_str()),
        (400, Some("bad request: no IP address found. Is the Sandbox started?"))
    );
    let path = |operation: &str| format!("/sandbox/{}/{operation}", sandbox.id);
    for (operation, status, message) in [
        ("pause", 400, NO_PAUSE),
        ("archive", 400, "Sandbox is not stopped"),
        ("fork", 400, "Sandbox must be in started state to fork"),
        ("recover", 400, "Sandbox is not in a recoverable state"),
    ] {
        api.refused("POST", &path(operation), json!({}), status, message).await;
    }
    let text = "Sandbox must be in started or stopped state to create a snapshot";
    api.refused("POST", &path("snapshot"), json!({"name": "s"}), 400, text).await;
    let page = api.get("/sandbox?states=paused").await.1;
    assert_eq!(page["items"][0]["id"], json!(sandbox.id));

    let token = sandbox.preview_token().await;
    let (status, started) = sandbox.api(Method::POST, "/start").await;
    assert_eq!((status, &started["state"]), (200, &json!("started")));
    assert_eq!(sandbox.preview_token().await, token, "a new token comes with a start, not with a resumption");
    assert_eq!(run("echo $KEPT").await["output"].as_str().map(str::trim), Some("in-memory"));
    eventually("it counts on", async || processor_time(&marker).filter(|now| *now > before)).await;
    sandbox.run(&format!("pkill -KILL -f {marker} || true")).await;
}

#[tokio::test]
async fn a_paused_machine_is_stopped_or_deleted_as_it_is() {
    let (api, sandbox) = machine(json!({})).await;
    sandbox.run("echo kept > ~/file").await;
    sandbox.api(Method::POST, "/pause").await;
    sandbox.until("paused").await;
    let (status, stopping) = sandbox.api(Method::POST, "/stop").await;
    assert_eq!((status, &stopping["state"]), (200, &json!("stopping")));
    sandbox.until("stopped").await;
    api.refused("POST", &format!("/sandbox/{}/pause", sandbox.id), Value::Null, 400, NO_PAUSE).await;
    sandbox.api(Method::POST, "/start").await;
    sandbox.until("started").await;
    assert_eq!(sandbox.run("cat ~/file").await, "kept\n");
    sandbox.api(Method::POST, "/pause").await;
    sandbox.until("paused").await;
    assert_eq!(sandbox.api(Method::DELETE, "").await.1["state"], "destroying");
    api.until_gone(&sandbox.id).await;
}

#[tokio::test]
async fn containers_do_not_pause() {
    let api = Api::new().await;
    let id = api.named("c").await;
    let never = "Pausing is not supported for this sandbox";
    api.refused("POST", "/sandbox/c/pause", Value::Null, 422, never).await;
    api.refused("POST", "/sandbox/c/autopause/5", Value::Null, 422, never).await;
    api.refused("POST", "/sandbox", json!({"autoPauseInterval": 5}), 422, never).await;
    assert_eq!(api.get(&format!("/sandbox/{id}")).await.1["sandboxClass"], "container");
}

#[tokio::test]
async fn an_idle_machine_pauses_by_itself() {
    let (server, api) = frozen().await;
    let body = json!({"name": "m", "snapshot": "daytona-vm-small"});
    let made = api.sandbox(body).await;
    assert_eq!((&made["autoStopInterval"], &made["autoPauseInterval"]), (&json!(0), &json!(60)));
    let one = "At most one of autoStopInterval and autoPauseInterval may be non-zero";
    let ephemeral = "Ephemeral sandboxes cannot have auto-pause enabled. Set autoPauseInterval to 0";
    api.refused("POST", "/sandbox/m/autostop/5", Value::Null, 400, one).await;
    api.refused("POST", "/sandbox/m/autodelete/0", Value::Null, 400, ephemeral).await;
    for (body, text) in [
        (json!({"autoStopInterval": 5, "autoPauseInterval": 5}), one),
        (json!({"autoDeleteInterval": 0, "autoPauseInterval": 5}), ephemeral),
        (json!({"autoPauseInterval": -1}), "Auto-pause interval must be non-negative"),
    ] {
        let mut body = body;
        body["snapshot"] = json!("daytona-vm-small");
        api.refused("POST", "/sandbox", body, 400, text).await;
    }
    for (body, stop, pause) in [
        (json!({"autoStopInterval": 7}), 7, 0),
        (json!({"autoPauseInterval": 7}), 0, 7),
        (json!({"autoStopInterval": 0}), 0, 0),
        (json!({"autoDeleteInterval": 0}), 15, 0),
    ] {
        let mut body = body;
        body["snapshot"] = json!("daytona-vm-small");
        let made = api.sandbox(body).await;
        assert_eq!((&made["autoStopInterval"], &made["autoPauseInterval"]), (&json!(stop), &json!(pause)));
    }
    advance(&api, 59).await;
    assert_eq!(api.get("/sandbox/m").await.1["state"], "started");
    advance(&api, 1).await;
    api.until("m", "paused").await;
    api.post("/sandbox/m/start", Value::Null).await;
    assert_eq!(api.post("/sandbox/m/autopause/0", Value::Null).await.1["autoPauseInterval"], 0);
    assert_eq!(api.post("/sandbox/m/autostop/5", Value::Null).await.1["autoStopInterval"], 5);
    advance(&api, 5).await;
    api.until("m", "stopped").await;
    server.shutdown().await;
}

#[tokio::test]
async fn after_a_restart_a_paused_machine_is_stopped() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = crate::store::open(dir.path(), &[]).await;
    api.sandbox(json!({"name": "m", "snapshot": "daytona-vm-small"})).await;
    api.post("/sandbox/m/pause", Value::Null).await;
    api.until("m", "paused").await;
    server.shutdown().await;
    let (server, api) = crate::store::open(dir.path(), &[]).await;
    let (_, record) = api.get("/sandbox/m").await;
    assert_eq!((&record["state"], &record["desiredState"]), (&json!("stopped"), &json!("stopped")));
    assert_eq!(api.post("/sandbox/m/start", Value::Null).await.1["state"], "started");
    server.shutdown().await;
}
