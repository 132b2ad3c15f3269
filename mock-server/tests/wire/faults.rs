//! `/__control/faults`: each effect acts on what it is meant for, and leaves the rest alone.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::Api,
    journal::entries,
    support::{PATIENCE, Sandbox, eventually, sandbox, server},
    timers::{advance, frozen},
};

pub async fn fault(api: &Api, rule: Value) -> String {
    let (status, fault) = api.control("POST", "/faults", rule.clone()).await;
    assert_eq!(status, 201, "{rule}: {fault}");
    fault["id"].as_str().expect("an id").to_owned()
}

pub async fn hits(api: &Api, id: &str) -> u64 {
    let (status, fault) = api.control("GET", &format!("/faults/{id}"), Value::Null).await;
    assert_eq!(status, 200, "{fault}");
    fault["hits"].as_u64().expect("a count")
}

pub fn of(sandbox: &Sandbox) -> Api {
    Api { url: server().api_url.clone(), key: sandbox.key.clone(), client: reqwest::Client::new() }
}

/// Whether a request never gets a whole answer.
async fn breaks(request: reqwest::RequestBuilder) -> bool {
    let sent = tokio::time::timeout(PATIENCE, request.send()).await.expect("in time");
    match sent {
        Ok(answer) => tokio::time::timeout(PATIENCE, answer.bytes()).await.expect("in time").is_err(),
        Err(_) => true,
    }
}

#[tokio::test]
async fn a_status_with_its_envelope_headers_and_body() {
    let (api, other) = (Api::new().await, Api::new().await);
    let rule = json!({"match": {"operation": "listSandboxes"}, "nth": 2,
        "effect": {"type": "status", "status": 503, "message": "down", "code": "DOWN", "headers": {"Retry-After": "3"}}});
    let id = fault(&api, rule).await;
    assert_eq!(api.get("/sandbox").await.0, 200, "the first is not meant");
    assert_eq!(other.get("/sandbox").await.0, 200, "nor are others");
    let answer = api.request("GET", "/sandbox").send().await.expect("answer");
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"3".parse().expect("a value")));
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(
        (&body["error"], &body["message"], &body["path"]),
        (&json!("Service Unavailable"), &json!("down"), &json!("/api/sandbox"))
    );
    assert_eq!(body["code"], "DOWN", "the API's own failures have none");
    assert_eq!(api.get("/sandbox").await.0, 200, "nor is the third");
    assert_eq!(hits(&api, &id).await, 1);
    assert_eq!(entries(&api, "faults=true").await[0]["faults"], json!([id]));
    fault(
        &api,
        json!({"match": {"path": "/api/conf*"}, "effect": {"type": "status", "status": 418, "body": {"a": 1}}}),
    )
    .await;
    assert_eq!(api.get("/config").await, (418, json!({"a": 1})));
    assert_eq!(api.control("DELETE", "/faults", Value::Null).await.0, 204);
    assert_eq!(api.get("/config").await.0, 200);
}

#[tokio::test]
async fn rate_limits_look_like_the_throttlers() {
    let api = Api::new().await;
    fault(&api, json!({"match": {"operation": "createSandbox"}, "times": 1, "effect": {"type": "rateLimited", "retryAfter": 7}})).await;
    assert_eq!(api.get("/sandbox").await.0, 200);
    let answer = api.request("POST", "/sandbox").json(&json!({})).send().await.expect("answer");
    let headers = answer.headers().clone();
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!((&body["statusCode"], &body["message"]), (&json!(429), &json!("ThrottlerException: Too Many Requests")));
    assert_eq!(headers["retry-after-sandbox-create"], "7");
    assert!(!headers.contains_key("retry-after") && !headers.contains_key("x-ratelimit-limit-sandbox-create"));
    api.named("a").await;
    fault(
        &api,
        json!({"match": {"operation": "getSandbox"}, "effect": {"type": "rateLimited", "limit": "failed-auth"}}),
    )
    .await;
    let answer = api.request("GET", "/sandbox/a").send().await.expect("answer");
    assert!(
        answer.headers().contains_key("retry-after") && answer.headers().contains_key("x-ratelimit-limit-failed-auth")
    );
}

#[tokio::test]
async fn delays_go_by_the_servers_clock() {
    let (server, api) = frozen().await;
    for at in ["head", "body"] {
        let id = fault(
            &api,
            json!({"match": {"operation": "listSandboxes"}, "effect": {"type": "delay", "seconds": 60, "at": at}}),
        )
        .await;
        let slow = tokio::spawn({
            let request = api.request("GET", "/sandbox");
            async move { request.send().await.expect("answer").bytes().await.expect("a body").len() }
        });
        assert_eq!(api.get("/regions").await.0, 200, "others go on");
        while hits(&api, &id).await == 0 {}
        assert!(!slow.is_finished());
        // The delay may begin to wait a moment after it is counted.
        let waiting = async {
            while !slow.is_finished() {
                advance(&api, 1).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
        assert!(slow.await.expect("no panic") > 2);
        api.control("DELETE", "/faults", Value::Null).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_hang_ends_when_it_is_released() {
    let api = Api::new().await;
    let id = fault(&api, json!({"match": {"operation": "listSandboxes"}, "effect": {"type": "hang"}})).await;
    let short = api.request("GET", "/sandbox").timeout(Duration::from_millis(200)).send().await;
    assert!(short.is_err_and(|error| error.is_timeout()));
    assert_eq!(api.get("/config").await.0, 200);
    assert_eq!(entries(&api, "operation=listSandboxes&until=1&open=false").await[0]["aborted"], true);
    let waiting = tokio::spawn({
        let request = api.request("GET", "/sandbox");
        async move { request.send().await.expect("answer").status().as_u16() }
    });
    let hung = &entries(&api, "operation=listSandboxes&until=1&open=true").await[0];
    assert_eq!((&hung["open"], &hung["status"], &hung["faults"]), (&json!(true), &Value::Null, &json!([id])), "{hung}");
    assert_eq!(api.control("POST", &format!("/faults/{id}/release"), Value::Null).await.0, 200);
    assert_eq!(waiting.await.expect("no panic"), 200);
    let over = &entries(&api, "operation=listSandboxes&until=1&status=200").await[0];
    assert_eq!((&over["id"], &over["open"]), (&hung["id"], &Value::Null), "its entry says how it ended");
    assert_eq!(api.get("/sandbox").await.0, 200, "for good");
}

#[tokio::test]
async fn connections_are_reset_and_bodies_cut() {
    let api = Api::new().await;
    let all = api.request("GET", "/sandbox").send().await.expect("answer").bytes().await.expect("a body");
    assert!(all.len() > 10);
    for (effect, received) in [
        (json!({"type": "reset"}), 0),
        (json!({"type": "reset", "afterBytes": 5}), 5),
        (json!({"type": "truncate", "bytes": 5}), 5),
        (json!({"type": "truncate"}), 0),
    ] {
        let id = fault(&api, json!({"match": {"operation": "listSandboxes"}, "effect": effect})).await;
        assert!(breaks(api.request("GET", "/sandbox")).await, "{effect}");
        assert!(!breaks(api.request("GET", "/config")).await);
        assert!(hits(&api, &id).await >= 1);
        let entry = entries(&api, "faults=true").await.pop().expect("one");
        assert_eq!(
            (&entry["aborted"], entry["response"]["bytes"].as_u64().unwrap_or(0)),
            (&json!(true), received),
            "{effect}"
        );
        api.control("DELETE", &format!("/faults/{id}"), Value::Null).await;
        assert!(!breaks(api.request("GET", "/sandbox")).await);
    }
}

#[tokio::test]
async fn a_create_commits_and_then_fails() {
    let api = Api::new().await;
    fault(&api, json!({"match": {"operation": "createSandbox"}, "nth": 1, "effect": {"type": "commitThenFail"}})).await;
    let (status, _) = api.post("/sandbox", json!({"name": "twin"})).await;
    assert_eq!(status, 502);
    assert_eq!(api.get("/sandbox/twin").await.1["state"], "started", "it was carried out");
    assert_eq!(api.post("/sandbox", json!({"name": "twin"})).await.0, 409, "and the second is the server's own answer");
}

#[tokio::test]
async fn what_is_carried_out_may_get_no_answer() {
    let api = Api::new().await;
    for (name, reset) in [("closed", false), ("reset", true)] {
        let effect = json!({"type": "commitThenDrop", "reset": reset});
        let id = fault(&api, json!({"match": {"operation": "createSandbox"}, "effect": effect})).await;
        assert!(api.request("POST", "/sandbox").json(&json!({"name": name})).send().await.is_err(), "{name}");
        assert_eq!(hits(&api, &id).await, 1);
        api.control("DELETE", &format!("/faults/{id}"), Value::Null).await;
        assert_eq!(api.get(&format!("/sandbox/{name}")).await.1["state"], "started", "it was carried out");
    }
    let entry = entries(&api, "faults=true").await.pop().expect("one");
    assert_eq!((&entry["aborted"], &entry["status"]), (&json!(true), &Value::Null));
    api.named("third").await;
}

#[tokio::test]
async fn provisioning_is_slow_until_it_was_asked_for_often_enough() {
    let api = Api::new().await;
    let slow = json!({"match": {"sandbox": "slow"}, "effect": {"type": "slow", "state": "creating", "polls": 3}});
    fault(&api, slow).await;
    let begun = Instant::now();
    let (status, created) = api.post("/sandbox", json!({"name": "slow"})).await;
    assert_eq!((status, &created["state"]), (200, &json!("creating")));
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(api.sandbox(json!({"name": "quick"})).await["name"], "quick");
    assert_eq!(api.get("/sandbox/quick").await.1["state"], "started", "another one is not held");
    for _ in 0..2 {
        assert_eq!(api.get("/sandbox/slow").await.1["state"], "creating");
    }
    let id = created["id"].as_str().expect("an id");
    api.until(id, "started").await;
}

/// The state, without asking for the sandbox.
async fn listed(api: &Api, name: &str) -> Value {
    let (_, page) = api.get(&format!("/sandbox?name={name}")).await;
    page["items"][0]["state"].clone()
}

#[tokio::test]
async fn polls_count_from_the_beginning_of_a_transition() {
    let api = Api::new().await;
    let id = api.named("a").await;
    for (hold, request, wanted) in [("stopping", "stop", "stopped"), ("starting", "start", "started")] {
        let slow = fault(&api, json!({"effect": {"type": "slow", "state": hold, "polls": 3}})).await;
        assert_eq!(api.post(&format!("/sandbox/a/{request}"), Value::Null).await.1["state"], hold);
        let polls = (0..2).map(|_| api.get("/sandbox/a"));
        assert!(futures_util::future::join_all(polls).await.iter().all(|(_, sandbox)| sandbox["state"] == hold));
        assert_eq!(listed(&api, "a").await, hold);
        api.get(&format!("/sandbox/{id}")).await;
        eventually("let go", async || (listed(&api, "a").await == wanted).then_some(())).await;
        assert_eq!(hits(&api, &slow).await, 1);
        api.control("DELETE", "/faults", Value::Null).await;
    }
}

#[tokio::test]
async fn transitions_may_be_those_of_some_requests() {
    let api = Api::new().await;
    let second = json!({"match": {"operation": "createSandbox"}, "nth": 2,
        "effect": {"type": "startFailure", "reason": "no runner"}});
    let second = fault(&api, second).await;
    assert_eq!(api.post("/sandbox", json!({"cpu": "much"})).await.0, 400, "it begins nothing");
    for (name, status) in [("a", 200), ("b", 400), ("c", 200)] {
        assert_eq!(api.post("/sandbox", json!({"name": name})).await.0, status, "{name}");
    }
    assert_eq!(
        (hits(&api, &second).await, api.get("/sandbox/b").await.1["errorReason"].clone()),
        (1, json!("no runner"))
    );
    let noted = entries(&api, "faults=true").await;
    assert_eq!((noted.len(), &noted[0]["faults"], &noted[0]["status"]), (1, &json!([second]), &json!(400)));
    api.control("DELETE", "/faults", Value::Null).await;

    for state in ["stopping", "starting"] {
        let held =
            json!({"match": {"sdk": "python", "sandbox": ["a", "c"]}, "effect": {"type": "slow", "state": state}});
        fault(&api, held).await;
    }
    let by = async |sdk: &str, name: &str, what: &str| {
        let request = api.request("POST", &format!("/sandbox/{name}/{what}")).header("x-daytona-source", sdk);
        assert_eq!(request.send().await.expect("answer").status(), 200);
    };
    by("sdk-python", "a", "stop").await;
    by("sdk-typescript", "c", "stop").await;
    api.until("c", "stopped").await;
    by("sdk-typescript", "c", "start").await;
    api.until("c", "started").await;
    assert_eq!(api.get("/sandbox/a").await.1["state"], "stopping");
    let built = json!({"match": {"method": "POST", "path": "/api/sandb*"}, "effect": {"type": "buildFailure"}});
    fault(&api, built).await;
    let (_, built) = api.post("/sandbox", json!({"buildInfo": {"dockerfileContent": "FROM debian:12\n"}})).await;
    api.until(built["id"].as_str().expect("an id"), "build_failed").await;
}

#[tokio::test]
async fn transitions_are_held_by_the_clock_or_until_released() {
    let (server, api) = frozen().await;
    api.named("a").await;
    let id = api.get("/sandbox/a").await.1["id"].as_str().expect("an id").to_owned();
    fault(&api, json!({"effect": {"type": "slow", "state": "stopping", "seconds": 60}})).await;
    api.post("/sandbox/a/stop", Value::Null).await;
    assert_eq!(api.get("/sandbox/a").await.1["state"], "stopping");
    let waiting = async {
        while api.get("/sandbox/a").await.1["state"] != "stopped" {
            advance(&api, 1).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
    let held = fault(&api, json!({"effect": {"type": "slow", "state": "starting"}})).await;
    let (status, starting) = api.post("/sandbox/a/start", Value::Null).await;
    assert_eq!((status, &starting["state"]), (200, &json!("starting")));
    advance(&api, 60).await;
    assert_eq!(api.get("/sandbox/a").await.1["state"], "starting");
    api.control("POST", &format!("/faults/{held}/release"), Value::Null).await;
    api.until(&id, "started").await;
    let held = fault(&api, json!({"effect": {"type": "slow", "state": "destroying"}})).await;
    api.delete("/sandbox/a").await;
    assert_eq!(api.get(&format!("/sandbox/{id}")).await.1["state"], "destroying");
    api.control("DELETE", &format!("/faults/{held}"), Value::Null).await;
    api.until_gone(&id).await;
    server.shutdown().await;
}

#[tokio::test]
async fn starts_and_builds_fail_with_their_reason() {
    let api = Api::new().await;
    fault(&api, json!({"match": {"sandbox": "bad"}, "effect": {"type": "startFailure", "reason": "no runner"}})).await;
    api.named("good").await;
    let (status, body) = api.post("/sandbox", json!({"name": "bad"})).await;
    assert_eq!((status, &body["message"]), (400, &json!("Sandbox failed to start: no runner")));
    let bad = api.get("/sandbox/bad").await.1;
    assert_eq!((&bad["state"], &bad["errorReason"]), (&json!("error"), &json!("no runner")));
    fault(&api, json!({"match": {"sandbox": "built"}, "effect": {"type": "buildFailure", "reason": "no layer"}})).await;
    let build = json!({"name": "built", "buildInfo": {"dockerfileContent": "FROM debian:12\n"}});
    let (_, built) = api.post("/sandbox", build).await;
    let built = api.until(built["id"].as_str().expect("an id"), "build_failed").await;
    assert_eq!(built["errorReason"], "no layer");
}

#[tokio::test]
async fn builds_are_held_and_others_are_not_and_one_failure_is_one() {
    if !crate::images::has_images() {
        return;
    }
    let api = Api::new().await;
    let slow = json!({"match": {"sandbox": "held"}, "effect": {"type": "slow", "state": "building_snapshot"}});
    let held = fault(&api, slow).await;
    fault(&api, json!({"match": {"sandbox": "bad"}, "effect": {"type": "buildFailure"}})).await;
    let build = async |name: &str| {
        let body = json!({"name": name, "buildInfo": {"dockerfileContent": "FROM debian:12\nENV A=1\n"}});
        api.post("/sandbox", body).await.1["id"].as_str().expect("an id").to_owned()
    };
    let (slow, bad, good) = (build("held").await, build("bad").await, build("good").await);
    api.until(&good, "started").await;
    api.until(&bad, "build_failed").await;
    assert_eq!(api.get(&format!("/sandbox/{slow}")).await.1["state"], "building_snapshot");
    api.control("POST", &format!("/faults/{held}/release"), Value::Null).await;
    api.until(&slow, "started").await;
}

#[tokio::test]
async fn events_are_bent_for_whom_they_are_meant() {
    let (api, other) = (Api::new().await, Api::new().await);
    let skew = json!({"match": {"plane": "events"}, "nth": 1, "effect": {"type": "clockSkew", "seconds": -7200}});
    let id = fault(&api, skew).await;
    // It never acts where there is nothing to bend.
    let status = fault(&api, json!({"match": {"plane": "events"}, "effect": {"type": "status", "status": 500}})).await;
    let mut sockets = [crate::events::Socket::with(&api.key).await, crate::events::Socket::with(&other.key).await];
    let mut seen = Vec::new();
    for (api, socket) in [&api, &other].into_iter().zip(&mut sockets) {
        let made = api.sandbox(json!({})).await;
        let (name, payload) = socket.event().await;
        assert_eq!(name, "sandbox.created");
        let time =
            |value: &Value| value.as_str().expect("a time").parse::<chrono::DateTime<chrono::Utc>>().expect("a time");
        seen.push((time(&payload["createdAt"]) - time(&made["createdAt"])).num_seconds());
    }
    assert_eq!(seen, [-7200, 0]);
    assert_eq!(entries(&api, "plane=events&open=true&until=1").await.len(), 1, "it is in the journal while it is open");
    assert_eq!((hits(&api, &id).await, hits(&api, &status).await), (1, 0));
    let close =
        json!({"match": {"plane": "events"}, "effect": {"type": "websocketClose", "code": 4001, "afterFrames": 2}});
    fault(&api, close).await;
    let mut closed = crate::events::Socket::with(&api.key).await;
    api.sandbox(json!({})).await;
    assert_eq!(closed.close_code().await, 4001);
    // Its entry comes when its connection is over, which is after its last frame.
    let both = async || (entries(&api, "plane=events").await.len() == 2).then_some(());
    eventually("one entry for each socket", both).await;
    let everybodys = entries(&api.with_key(&server().api_key), "plane=events&all=true").await;
    let mut ids: Vec<_> = everybodys.iter().map(|entry| entry["id"].as_u64().expect("a number")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), everybodys.len(), "for everybody, too");
}

#[tokio::test]
async fn a_sandbox_dies_on_its_own() {
    let api = Api::new().await;
    let (a, b) = (api.named("a").await, api.named("b").await);
    let id = fault(&api, json!({"match": {"sandbox": "a"}, "effect": {"type": "die"}})).await;
    api.until(&a, "stopped").await;
    assert_eq!((api.get("/sandbox/b").await.1["state"].clone(), hits(&api, &id).await), (json!("started"), 1));
    fault(&api, json!({"match": {"sandbox": "b", "operation": "GetVersion"}, "effect": {"type": "die"}})).await;
    let url = format!("{}/toolbox/{b}/version", server().base_url);
    assert_eq!(api.client.get(url).bearer_auth(&api.key).send().await.expect("answer").status(), 200);
    api.until(&b, "stopped").await;
}

#[tokio::test]
async fn full_disks_quotas_and_daemons_out_of_reach() {
    let sandbox = sandbox().await;
    let api = of(&sandbox);
    fault(&api, json!({"effect": {"type": "diskFull"}})).await;
    let upload = || sandbox.client.post(sandbox.url("/files/folder?path=/home/daytona/d&mode=755"));
    let full: Value = upload().send().await.expect("answer").json().await.expect("JSON");
    assert_eq!((&full["statusCode"], &full["source"]), (&json!(400), &json!("DAYTONA_DAEMON")));
    assert_eq!(full["message"], "bad request: mkdir /home/daytona/d: no space left on device");
    assert_eq!(
        sandbox.run("echo still; echo x > ~/written; cat ~/written").await,
        "still\nx\n",
        "commands go on writing"
    );
    let init = sandbox.client.post(sandbox.url("/git/init")).json(&json!({"path": "/home/daytona/r"})).send();
    let full: Value = init.await.expect("answer").json().await.expect("JSON");
    assert!(full["message"].as_str().is_some_and(|text| text.ends_with("no space left on device")), "{full}");
    let read = sandbox.client.get(sandbox.url("/files/download?path=/home/daytona/written")).send().await;
    assert_eq!(read.expect("answer").status(), 200, "reading needs no room");
    fault(&api, json!({"effect": {"type": "quota", "resource": "memory", "maximum": 4}})).await;
    let (status, body) = api.post("/sandbox", json!({})).await;
    let text = body["message"].as_str().expect("a text");
    assert!(
        status == 400 && text.starts_with("Total memory limit exceeded. Maximum allowed: 4GiB.\nTo increase"),
        "{text}"
    );
    assert_eq!(api.get("/sandbox").await.0, 200);
    fault(&api, json!({"match": {"sandbox": sandbox.id}, "effect": {"type": "unreachable"}})).await;
    let answer = sandbox.client.get(sandbox.url("/version")).send().await.expect("answer");
    assert_eq!(answer.status(), 502);
    assert_eq!(sandbox.api(Method::GET, "").await.0, 200);
    assert_eq!(api.control("POST", "/reset", Value::Null).await.0, 204);
    assert_eq!(api.control("GET", "/faults", Value::Null).await.1, json!({"items": []}), "a reset removes them");
}

#[tokio::test]
async fn clocks_are_skewed() {
    let api = Api::new().await;
    api.named("a").await;
    let time = |body: &Value| {
        body["createdAt"].as_str().expect("a time").parse::<chrono::DateTime<chrono::Utc>>().expect("a time")
    };
    let before = time(&api.get("/sandbox/a").await.1);
    let id =
        fault(&api, json!({"match": {"operation": "getSandbox"}, "effect": {"type": "clockSkew", "seconds": -3600}}))
            .await;
    let answer = api.request("GET", "/sandbox/a").send().await.expect("answer");
    let date = httpdate::parse_http_date(answer.headers()["date"].to_str().expect("text")).expect("a date");
    assert!(date.elapsed().expect("past") > Duration::from_secs(3500));
    let skewed = time(&answer.json().await.expect("JSON"));
    assert_eq!((before - skewed).num_seconds(), 3600);
    assert_eq!(time(&api.get("/sandbox").await.1["items"][0]), before, "another operation is not meant");
    api.control("DELETE", &format!("/faults/{id}"), Value::Null).await;
    assert_eq!(time(&api.get("/sandbox/a").await.1), before);
}

#[tokio::test]
async fn chances_are_the_same_for_the_same_seed() {
    let api = Api::new().await;
    let run = async || {
        let rule = json!({"match": {"sdk": "unlucky"}, "probability": 0.5, "seed": 7, "effect": {"type": "status", "status": 500}});
        let id = fault(&api, rule).await;
        let mut all = Vec::new();
        for _ in 0..20 {
            let request = api.request("GET", "/config").header("X-Daytona-Source", "sdk-unlucky");
            all.push(request.send().await.expect("answer").status().as_u16());
        }
        assert_eq!(api.get("/config").await.0, 200, "other clients are lucky");
        api.control("DELETE", &format!("/faults/{id}"), Value::Null).await;
        all
    };
    let first = run().await;
    assert!(first.contains(&200) && first.contains(&500), "{first:?}");
    assert_eq!(run().await, first);
}

#[tokio::test]
async fn bad_rules_are_refused_with_what_is_wrong() {
    let api = Api::new().await;
    for (rule, part) in [
        (json!({}), "effect"),
        (json!({"effect": {"type": "explode"}}), "unknown variant `explode`"),
        (json!({"effect": {"type": "hang"}, "matches": {}}), "unknown field `matches`"),
        (json!({"match": {"op": "x"}, "effect": {"type": "hang"}}), "unknown field `op`"),
        (json!({"nth": 0, "effect": {"type": "hang"}}), "nth counts from 1"),
        (json!({"probability": 2, "effect": {"type": "hang"}}), "probability must be"),
        (json!({"effect": {"type": "status", "status": 99}}), "status must be"),
        (json!({"effect": {"type": "websocketClose", "code": 1004}}), "close code"),
        (json!({"match": {"operation": "getSandbox"}, "effect": {"type": "diskFull"}}), "it acts on UploadFile"),
        (json!({"match": {"plane": "toolbox"}, "effect": {"type": "rateLimited"}}), "it acts on plane api"),
        (json!({"match": {"operation": "createSandbox"}, "effect": {"type": "websocketClose"}}), "ConnectPtySession"),
        (json!({"match": {"plane": "api"}, "effect": {"type": "unreachable"}}), "it acts on plane toolbox"),
        (json!({"match": {"operation": "listSandboxes"}, "effect": {"type": "die"}}), "that name a sandbox"),
        (json!({"match": {"plane": "toolbox"}, "effect": {"type": "startFailure"}}), "it acts on createSandbox"),
        (
            json!({"match": {"operation": "createSandbox"}, "effect": {"type": "slow", "state": "stopping"}}),
            "slow never acts on createSandbox: it acts on stopSandbox",
        ),
        (json!({"effect": {"type": "rateLimited", "limit": "bogus\r\n"}}), "limit must be one of anonymous"),
        (json!({"effect": {"type": "status", "status": 500, "headers": {"Content-Length": "3"}}}), "own affair"),
        (
            json!({"effect": {"type": "status", "status": 500, "headers": {"transfer-encoding": "chunked"}}}),
            "own affair",
        ),
        (json!({"match": {"operation": "createSandbx"}, "effect": {"type": "hang"}}), "did you mean createSandbox?"),
        (json!({"match": {"method": "FETCH"}, "effect": {"type": "hang"}}), "method must be one of"),
        (
            json!({"match": {"path": "*pty*"}, "effect": {"type": "hang"}}),
            "path *pty*: * stands for anything at the end",
        ),
        (json!({"match": {"sdk": []}, "effect": {"type": "hang"}}), "an empty list of sdk fits nothing"),
        (json!({"times": 0, "effect": {"type": "hang"}}), "times counts from 1"),
    ] {
        let (status, body) = api.control("POST", "/faults", rule.clone()).await;
        assert!(status == 400 && body["message"].as_str().is_some_and(|text| text.contains(part)), "{rule}: {body}");
    }
    for path in ["/faults/nope", "/faults/nope/release"] {
        let method = if path.ends_with("release") { "POST" } else { "DELETE" };
        let (status, body) = api.control(method, path, Value::Null).await;
        assert_eq!((status, &body["message"]), (404, &json!("there is no fault nope")));
    }
}
