//! Each effect of faults, and each part of their rules, acting on what it is meant for and silent on the rest: a row each.
//! What there is to be shown comes from the server's own refusals, so that a new one fails here until it has its row.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{SinkExt, StreamExt};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    api::{Api, answer, id},
    images::has_images,
    pty::upgrade,
    support::{PATIENCE, Toolbox, eventually, server},
};

/// What a client does, and looks at afterwards.
enum Ask {
    /// The answer's status, or `broken`.
    Api(&'static str, &'static str),
    /// The same, of a sandbox's toolbox: name, method, path.
    Tool(&'static str, &'static str, &'static str),
    /// The state that a new sandbox of this name gets to.
    Create(&'static str),
    /// The same, of one that is built.
    Build(&'static str),
    /// Asks the toolbox of a sandbox of this name; the sandbox's state afterwards.
    Live(&'static str),
    /// A terminal of a sandbox types `é`: `whole` or `cut`, or `closed` with the code.
    Terminal(&'static str),
    /// By how many seconds the time of a sandbox is off.
    Age(&'static str),
}
use Ask::{Age, Api as Call, Build, Create, Live, Terminal, Tool};

/// Name, the fault, what it is meant for, what that shows, what it isn't meant for.
type Row = (&'static str, Value, Ask, &'static str, Ask);

fn rows() -> Vec<Row> {
    let api = |effect: Value| json!({"match": {"operation": "listSandboxes"}, "effect": effect});
    let of_a = |effect: Value| json!({"match": {"sandbox": "a", "plane": "toolbox"}, "effect": effect});
    let list = || Call("GET", "/sandbox");
    let regions = || Call("GET", "/regions");
    let version = |name| Tool(name, "GET", "/version");
    vec![
        ("status", api(json!({"type": "status", "status": 503})), list(), "503", regions()),
        ("rateLimited", api(json!({"type": "rateLimited"})), list(), "429", regions()),
        // Longer than who asks has patience.
        ("delay", api(json!({"type": "delay", "seconds": 600})), list(), "broken", regions()),
        ("hang", api(json!({"type": "hang"})), list(), "broken", regions()),
        ("reset", api(json!({"type": "reset"})), list(), "broken", regions()),
        ("truncate", api(json!({"type": "truncate", "bytes": 3})), list(), "broken", regions()),
        ("commitThenFail", api(json!({"type": "commitThenFail"})), list(), "502", regions()),
        ("commitThenDrop", api(json!({"type": "commitThenDrop"})), list(), "broken", regions()),
        (
            "websocketClose",
            of_a(json!({"type": "websocketClose", "code": 4123})),
            Terminal("a"),
            "closed 4123",
            Terminal("b"),
        ),
        ("splitFrames", of_a(json!({"type": "splitFrames"})), Terminal("a"), "cut", Terminal("b")),
        (
            "slow",
            json!({"match": {"sandbox": "slow"}, "effect": {"type": "slow", "state": "creating"}}),
            Create("slow"),
            "creating",
            Create("quick"),
        ),
        (
            "startFailure",
            json!({"match": {"sandbox": "bad"}, "effect": {"type": "startFailure"}}),
            Create("bad"),
            "error",
            Create("good"),
        ),
        (
            "buildFailure",
            json!({"match": {"sandbox": "built"}, "effect": {"type": "buildFailure"}}),
            Build("built"),
            "build_failed",
            Create("plain"),
        ),
        (
            "diskFull",
            of_a(json!({"type": "diskFull"})),
            Tool("a", "POST", "/files/folder?path=/tmp/full&mode=755"),
            "400",
            Tool("a", "GET", "/files?path=/tmp"),
        ),
        ("quota", json!({"effect": {"type": "quota"}}), Create("much"), "refused", list()),
        ("unreachable", of_a(json!({"type": "unreachable"})), version("a"), "502", version("b")),
        (
            "clockSkew",
            json!({"match": {"operation": "getSandbox", "sandbox": "a"}, "effect": {"type": "clockSkew", "seconds": -60}}),
            Age("a"),
            "-60",
            Age("b"),
        ),
        // Last, as it leaves nothing that runs.
        ("die", of_a(json!({"type": "die"})), Live("a"), "stopped", Live("b")),
    ]
}

/// One request, not for long.
async fn status(request: RequestBuilder) -> String {
    let whole = async {
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        answer.bytes().await.map(|_| status)
    };
    match tokio::time::timeout(PATIENCE, whole).await.expect("in time") {
        Ok(status) => status.to_string(),
        Err(_) => "broken".into(),
    }
}

struct World {
    api: Api,
    created: [String; 2],
}

impl World {
    async fn new() -> World {
        let api = Api::new().await;
        let mut created = [String::new(), String::new()];
        for (name, time) in ["a", "b"].into_iter().zip(&mut created) {
            api.named(name).await;
            *time = api.get(&format!("/sandbox/{name}")).await.1["createdAt"].as_str().expect("a time").into();
        }
        World { api, created }
    }

    async fn state(&self, name: &str) -> String {
        let (_, sandbox) = self.api.get(&format!("/sandbox/{name}")).await;
        sandbox["state"].as_str().unwrap_or("refused").into()
    }

    async fn url(&self, name: &str) -> String {
        format!("{}/toolbox/{}", server().base_url, id(&self.api.get(&format!("/sandbox/{name}")).await.1))
    }

    async fn tool(&self, name: &str, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse().expect("a method");
        self.api.client.request(method, self.url(name).await + path).bearer_auth(&self.api.key)
    }

    /// What there is to see. Whatever waits for good is given up soon.
    async fn ask(&self, ask: &Ask, wanted: &str) -> String {
        let short = |request: RequestBuilder| match wanted {
            "broken" => request.timeout(Duration::from_millis(300)),
            _ => request,
        };
        match ask {
            Ask::Api(method, path) => status(short(self.api.request(method, path))).await,
            Tool(name, method, path) => status(short(self.tool(name, method, path).await)).await,
            Create(name) => {
                self.api.post("/sandbox", json!({"name": name})).await;
                self.state(name).await
            }
            Build(name) => {
                let build = json!({"name": name, "buildInfo": {"dockerfileContent": "FROM debian:12\n"}});
                self.api.post("/sandbox", build).await;
                self.api.until(name, wanted).await;
                wanted.into()
            }
            Live(name) => {
                assert_eq!(status(self.tool(name, "GET", "/version").await).await, "200");
                if !wanted.is_empty() {
                    self.api.until(name, wanted).await;
                }
                self.state(name).await
            }
            Terminal(name) => self.terminal(name).await,
            Age(name) => {
                let time = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().expect("a time");
                let (_, sandbox) = self.api.get(&format!("/sandbox/{name}")).await;
                let before = time(&self.created[usize::from(*name == "b")]);
                (time(sandbox["createdAt"].as_str().expect("a time")) - before).num_seconds().to_string()
            }
        }
    }

    async fn terminal(&self, name: &str) -> String {
        let mut tb = Toolbox::new(self.url(name).await, self.api.client.clone());
        tb.key = Some(self.api.key.clone());
        let pty = uuid::Uuid::new_v4();
        let (mut stream, _) =
            upgrade(&tb, &format!("create-connect?id={pty}&cols=80&rows=24"), "").await.expect("upgrade");
        // A closed one can't be typed into.
        _ = stream.send(Message::Binary("printf '<%s>' 'é'\n".into())).await;
        let (mut bytes, mut cut) = (Vec::new(), false);
        loop {
            match tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time") {
                Some(Ok(Message::Close(frame))) => break format!("closed {}", u16::from(frame.expect("a code").code)),
                Some(Ok(Message::Binary(piece))) => {
                    cut |= std::str::from_utf8(&piece).is_err();
                    bytes.extend_from_slice(&piece);
                }
                Some(Ok(_)) => {}
                end => break format!("{end:?}"),
            }
            if String::from_utf8_lossy(&bytes).contains("<é>") {
                break if cut { "cut" } else { "whole" }.into();
            }
        }
    }

    async fn fault(&self, rule: &Value) -> String {
        let (status, fault) = self.api.control("POST", "/faults", rule.clone()).await;
        assert_eq!(status, 201, "{rule}: {fault}");
        fault["id"].as_str().expect("an id").to_owned()
    }

    async fn hits(&self, id: &str) -> u64 {
        let (_, fault) = self.api.control("GET", &format!("/faults/{id}"), Value::Null).await;
        fault["hits"].as_u64().expect("a count")
    }

    async fn clear(&self) {
        assert_eq!(self.api.control("DELETE", "/faults", Value::Null).await.0, 204);
    }
}

/// What the other one shows with and without faults.
fn silent(ask: &Ask) -> &'static str {
    match ask {
        Ask::Api(..) | Tool(..) => "200",
        Create(_) | Build(_) | Live(_) => "started",
        Terminal(_) => "whole",
        Age(_) => "0",
    }
}

#[tokio::test]
async fn each_effect_acts_and_is_silent() {
    let world = World::new().await;
    for (name, rule, meant, wanted, other) in rows() {
        let fault = world.fault(&rule).await;
        assert_eq!(world.ask(&other, "").await, silent(&other), "{name} on what it isn't meant for");
        assert_eq!(world.hits(&fault).await, 0, "{name} on what it isn't meant for");
        assert_eq!(world.ask(&meant, wanted).await, wanted, "{name}");
        assert!(world.hits(&fault).await > 0, "{name}");
        world.clear().await;
    }
}

/// Name, a matcher, a request that fits and one that doesn't.
fn matchers() -> Vec<(&'static str, Value, [Ask; 2])> {
    let get = |path| Call("GET", path);
    vec![
        ("operation", json!("getSandbox"), [get("/sandbox/a"), get("/sandbox")]),
        ("sandbox", json!(["a"]), [get("/sandbox/a"), get("/sandbox/b")]),
        ("method", json!("post"), [Call("POST", "/sandbox/a/autostop/15"), get("/sandbox/a")]),
        ("path", json!("/api/conf*"), [get("/config"), get("/sandbox")]),
        ("plane", json!("toolbox"), [Tool("a", "GET", "/version"), get("/sandbox/a")]),
        // `sdk` needs a header: see below.
    ]
}

#[tokio::test]
async fn each_matcher_fits_and_does_not() {
    let world = World::new().await;
    let rule = |name: &str, value: &Value| json!({"match": {name: value}, "effect": {"type": "status", "status": 418}});
    for (name, value, [fits, other]) in matchers() {
        let fault = world.fault(&rule(name, &value)).await;
        assert_eq!(world.ask(&other, "").await, "200", "{name}");
        assert_eq!(world.hits(&fault).await, 0, "{name}");
        assert_eq!(world.ask(&fits, "").await, "418", "{name}");
        world.clear().await;
    }
    world.fault(&rule("sdk", &json!("sdk-python"))).await;
    for (source, wanted) in [("sdk-typescript/1", "200"), ("sdk-Python/1", "418")] {
        let request = world.api.request("GET", "/config").header("X-Daytona-Source", source);
        assert_eq!(status(request).await, wanted, "{source}");
    }
}

/// Name, what a rule has of it, the statuses of requests.
fn counts() -> Vec<(&'static str, Value, [u16; 4])> {
    vec![
        ("nth", json!({"nth": 2}), [200, 418, 200, 200]),
        ("nth", json!({"nth": {"from": 2, "to": 3}}), [200, 418, 418, 200]),
        ("times", json!({"times": 1}), [418, 200, 200, 200]),
        ("probability", json!({"probability": 1}), [418, 418, 418, 418]),
        ("probability", json!({"probability": 0}), [200, 200, 200, 200]),
        ("seed", json!({"probability": 0.5, "seed": 1}), [200, 200, 200, 418]),
        ("seed", json!({"probability": 0.5, "seed": 7}), [418, 418, 200, 200]),
    ]
}

#[tokio::test]
async fn each_count_and_chance_is_kept() {
    let world = World::new().await;
    for (name, mut rule, wanted) in counts() {
        rule["effect"] = json!({"type": "status", "status": 418});
        world.fault(&rule).await;
        for wanted in wanted {
            assert_eq!(world.api.get("/config").await.0, wanted, "{name}: {rule}");
        }
        world.clear().await;
    }
}

/// The names that a refusal offers instead of one that there is not.
async fn offered(api: &Api, rule: Value) -> BTreeSet<String> {
    let (status, refusal) = api.control("POST", "/faults", rule).await;
    let text = refusal["message"].as_str().expect("a text");
    let (_, names) = text.split_once("expected one of ").unwrap_or_else(|| panic!("{status}: {text}"));
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[tokio::test]
async fn nothing_that_faults_can_do_is_without_a_row() {
    let api = Api::new().await;
    let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<BTreeSet<String>>();
    let effects = offered(&api, json!({"effect": {"type": "?"}})).await;
    assert_eq!(names(rows().iter().map(|row| row.0).collect()), effects);
    let matched = offered(&api, json!({"match": {"?": 0}, "effect": {"type": "hang"}})).await;
    assert_eq!(names(matchers().iter().map(|row| row.0).chain(["sdk"]).collect()), matched);
    let parts = offered(&api, json!({"?": 0, "effect": {"type": "hang"}})).await;
    assert_eq!(names(counts().iter().map(|row| row.0).chain(["match", "effect"]).collect()), parts);
    let held = offered(&api, json!({"effect": {"type": "slow", "state": "?"}})).await;
    assert_eq!(names(self::held()), held);
}

/// The states of `slow`.
fn held() -> Vec<&'static str> {
    transitions()
        .into_iter()
        .map(|row| row.0)
        .chain(["building_snapshot", "pulling_snapshot", "deactivating_snapshot"])
        .collect()
}

/// Each transition of a machine in an order in which they can follow: who it happens to, the request that begins it, and
/// the state that comes of it.
fn transitions() -> Vec<(&'static str, &'static str, &'static str, &'static str, Value, &'static str)> {
    let machine = json!({"name": "m", "snapshot": "daytona-vm-small"});
    vec![
        ("creating", "m", "POST", "/sandbox", machine, "started"),
        ("resizing", "m", "POST", "/sandbox/m/resize", json!({"cpu": 2}), "started"),
        ("snapshotting", "m", "POST", "/sandbox/m/snapshot", json!({"name": "s"}), "started"),
        ("pausing", "m", "POST", "/sandbox/m/pause", Value::Null, "paused"),
        ("resuming", "m", "POST", "/sandbox/m/start", Value::Null, "started"),
        ("forking", "m", "POST", "/sandbox/m/fork", json!({"name": "f"}), "started"),
        ("destroying", "f", "DELETE", "/sandbox/f", Value::Null, ""),
        ("stopping", "m", "POST", "/sandbox/m/stop", Value::Null, "stopped"),
        ("starting", "m", "POST", "/sandbox/m/start", Value::Null, "started"),
        ("stopping", "m", "POST", "/sandbox/m/stop", Value::Null, "stopped"),
        ("archiving", "m", "POST", "/sandbox/m/archive", Value::Null, "archived"),
        ("restoring", "m", "POST", "/sandbox/m/start", Value::Null, "started"),
    ]
}

#[tokio::test]
async fn each_transition_is_held_and_let_go() {
    if !has_images() {
        return;
    }
    let world = World { api: Api::new().await, created: [String::new(), String::new()] };
    let api = &world.api;
    for (state, name, method, path, body, then) in transitions() {
        let slow = |name: &str| json!({"match": {"sandbox": name}, "effect": {"type": "slow", "state": state}});
        let (fault, others) = (world.fault(&slow(name)).await, world.fault(&slow("nobody")).await);
        // What is to go has lost its name by then.
        let name = match state {
            "destroying" => id(&api.until(name, "started").await),
            _ => name.to_owned(),
        };
        let request = api.request(method, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        let begun = tokio::spawn(async move { answer(request.send().await.expect("answer")).await });
        api.until(&name, state).await;
        eventually("it is held", async || (world.hits(&fault).await > 0).then_some(())).await;
        assert_eq!((world.state(&name).await.as_str(), world.hits(&others).await), (state, 0), "it stays so");
        world.clear().await;
        let (status, body) = begun.await.expect("no panic");
        assert!(status < 300, "{state}: {body}");
        match then {
            "" => api.until_gone(&name).await,
            then => drop(api.until(&name, then).await),
        }
    }
}

#[tokio::test]
async fn snapshots_are_meant_by_their_name() {
    if !has_images() {
        return;
    }
    let world = World { api: Api::new().await, created: [String::new(), String::new()] };
    let api = &world.api;
    let build = json!({"buildInfo": {"dockerfileContent": "FROM debian:12\nENV A=1\n"}});
    let state = async |name: &str| api.get(&format!("/snapshots/{name}")).await.1["state"].clone();
    let is = async |name: &str, wanted: &str| {
        eventually(&format!("{name} is {wanted}"), async || (state(name).await == wanted).then_some(())).await;
    };
    for (held, shown, body) in
        [("building_snapshot", "building", &build), ("pulling_snapshot", "pulling", &json!({"imageName": "debian:12"}))]
    {
        let make = async |name: &str| {
            let mut body = body.clone();
            body["name"] = json!(name);
            let (status, made) = api.post("/snapshots", body).await;
            assert_eq!(status, 200, "{made}");
        };
        let name = format!("held-{shown}");
        let rule = json!({"match": {"sandbox": name}, "effect": {"type": "slow", "state": held}});
        let fault = world.fault(&rule).await;
        make(&name).await;
        make(&format!("free-{shown}")).await;
        is(&format!("free-{shown}"), "active").await;
        eventually("it is held", async || (world.hits(&fault).await > 0).then_some(())).await;
        assert_eq!(state(&name).await, shown);
        world.clear().await;
        is(&name, "active").await;
    }
    let id = id(&api.get("/snapshots/held-building").await.1);
    let activate = format!("/snapshots/{id}/activate");
    let rule =
        json!({"match": {"sandbox": "held-building"}, "effect": {"type": "slow", "state": "deactivating_snapshot"}});
    world.fault(&rule).await;
    for _ in 0..2 {
        assert_eq!(api.post(&format!("/snapshots/{id}/deactivate"), Value::Null).await.0, 204);
        let still = "Snapshot deactivation is still in progress. Please try again in a few minutes.";
        api.refused("POST", &activate, Value::Null, 400, still).await;
    }
    assert_eq!(state("held-building").await, "inactive");
    world.clear().await;
    eventually("it can be activated", async || (api.post(&activate, Value::Null).await.0 == 200).then_some(())).await;
    is("held-building", "active").await;
    world.fault(&json!({"match": {"sandbox": "bad"}, "effect": {"type": "buildFailure", "reason": "no layer"}})).await;
    // Builds of sandboxes alone are `build_failed`.
    for (name, wanted) in [("bad", "error"), ("good", "active")] {
        let mut body = build.clone();
        body["name"] = json!(name);
        api.post("/snapshots", body).await;
        is(name, wanted).await;
    }
    assert_eq!(api.get("/snapshots/bad").await.1["errorReason"], "no layer");
}
