//! `/process/session`: CRUD, commands, input.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Toolbox, local_toolbox, toolbox};

/// A session with the client of some SDK version.
pub struct Session {
    pub tb: Toolbox,
    pub version: Option<&'static str>,
}

pub async fn session(version: Option<&'static str>) -> Session {
    session_in(toolbox().await, version).await
}

/// In a toolbox whose files can be looked at from outside.
async fn local_session(version: Option<&'static str>) -> Session {
    session_in(local_toolbox().await, version).await
}

async fn session_in(tb: Toolbox, version: Option<&'static str>) -> Session {
    assert_eq!(tb.post("/process/session", json!({"sessionId": "s"})).await.status(), 201);
    Session { tb, version }
}

impl Session {
    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/process/session/s{path}", self.tb.url);
        let mut request = self.tb.client.request(method.parse().expect("method"), url).json(&body);
        if let Some(version) = self.version {
            request = request.header("X-Daytona-SDK-Version", version);
        }
        let res = request.send().await.expect("answer");
        (res.status().as_u16(), res.json().await.unwrap_or_default())
    }

    /// Runs a command to its end.
    pub async fn exec(&self, command: &str) -> Value {
        let (status, body) = self.call("POST", "/exec", json!({"command": command})).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Starts one; its id.
    pub async fn start(&self, command: &str) -> String {
        let (status, body) = self.call("POST", "/exec", json!({"command": command, "runAsync": true})).await;
        assert_eq!(status, 202, "{body}");
        body["cmdId"].as_str().expect("id").to_owned()
    }

    /// Waits until the command has an exit code.
    pub async fn exit_code(&self, id: &str) -> i64 {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let (status, body) = self.call("GET", &format!("/command/{id}"), json!(null)).await;
            assert_eq!(status, 200, "{body}");
            if let Some(code) = body["exitCode"].as_i64() {
                return code;
            }
            assert!(Instant::now() < deadline, "{id} still runs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

const NEW: Option<&str> = Some("0.216.0");

#[tokio::test]
async fn sessions_are_made_listed_and_deleted() {
    let s = local_session(NEW).await;
    assert_eq!(s.call("GET", "", json!(null)).await, (200, json!({"sessionId": "s", "commands": []})));
    let list: Value = s.tb.get("/process/session").await.json().await.expect("JSON");
    assert_eq!(list, json!([{"sessionId": "s", "commands": []}]));
    let run = s.exec("exit_with() { return $1; }; exit_with 3").await;
    let expected = json!({"id": run["cmdId"], "command": "exit_with() { return $1; }; exit_with 3", "exitCode": 3});
    assert_eq!(s.call("GET", "", json!(null)).await.1["commands"], json!([expected]));
    let id = run["cmdId"].as_str().expect("id");
    assert_eq!(s.call("GET", &format!("/command/{id}"), json!(null)).await, (200, expected));
    let dir = s.tb.dir.join(".daytona/sessions/s");
    assert!(dir.join(id).join("output.log").exists());
    assert_eq!(s.call("DELETE", "", json!(null)).await.0, 204);
    assert!(!dir.exists());
    for (method, path) in [("GET", ""), ("DELETE", ""), ("POST", "/exec"), ("GET", &*format!("/command/{id}/logs"))] {
        let (status, error) = s.call(method, path, json!({"command": "true"})).await;
        assert_eq!((status, &error["message"]), (404, &json!("not found: session not found")), "{method} {path}");
    }
    assert_eq!(s.tb.post("/process/session", json!({"sessionId": "s"})).await.status(), 201);
}

#[tokio::test]
async fn bad_sessions() {
    let s = session(NEW).await;
    let create = |body: Value| async { s.tb.post("/process/session", body).await };
    let error: Value = create(json!({"sessionId": "s"})).await.json().await.expect("JSON");
    assert_eq!((&error["statusCode"], &error["message"]), (&json!(409), &json!("conflict: session already exists")));
    for body in [json!({}), json!({"sessionId": ""}), json!({"sessionId": 1}), json!([])] {
        let error: Value = create(body).await.json().await.expect("JSON");
        assert_eq!((&error["statusCode"], &error["code"]), (&json!(400), &json!("INVALID_REQUEST_BODY")));
    }
    let error: Value = create(json!({"sessionId": "entrypoint"})).await.json().await.expect("JSON");
    assert_eq!(error["message"], "bad request: provided session ID is reserved and cannot be created/overridden");
}

#[tokio::test]
async fn without_a_main_program_there_is_no_session_of_it() {
    let s = local_session(NEW).await;
    for path in [
        "/process/session/entrypoint",
        "/process/session/entrypoint/logs",
        "/process/session/entrypoint/logs?follow=true",
    ] {
        let res = s.tb.get(path).await;
        assert_eq!(res.status(), 404);
        assert_eq!(res.json::<Value>().await.expect("JSON")["message"], "not found: session not found");
    }
    let message = |res: reqwest::Response| async {
        (res.status().as_u16(), res.json::<Value>().await.expect("JSON")["message"].clone())
    };
    let deleted = message(s.tb.delete("/process/session/entrypoint").await).await;
    assert_eq!(deleted, (400, json!("bad request: can't delete entrypoint session")));
    let run = message(s.tb.post("/process/session/entrypoint/exec", json!({"command": "true"})).await).await;
    assert_eq!(run, (400, json!("bad request: can't execute command in entrypoint session")));
    let sent = message(s.tb.post("/process/session/entrypoint/command/x/input", json!({"data": "x"})).await).await;
    assert_eq!(sent, (400, json!("bad request: can't send input to entrypoint session")));
}

#[tokio::test]
async fn odd_ids() {
    let tb = local_toolbox().await;
    for id in ["a b", "ü/../x", "..", "'; exit 1 #", &"long".repeat(100)] {
        assert_eq!(tb.post("/process/session", json!({"sessionId": id})).await.status(), 201, "{id}");
        let mut url: reqwest::Url = format!("{}/process/session", tb.url).parse().expect("URL");
        url.path_segments_mut().expect("segments").extend([&id.replace("..", "%2E%2E")[..]]);
        if id == ".." {
            continue; // A URL can't name it.
        }
        let url = url.as_str().replace("%252E", "%2E");
        let res =
            tb.client.post(format!("{url}/exec")).json(&json!({"command": "echo ok"})).send().await.expect("answer");
        if id.contains('/') {
            assert_eq!(res.status(), 404, "it is listed and can't be addressed (observed)");
            continue;
        }
        assert_eq!(res.status(), 200, "{url}");
        assert_eq!(res.json::<Value>().await.expect("JSON")["output"], "ok\n");
    }
    let names: Vec<_> = std::fs::read_dir(tb.dir.join(".daytona/sessions")).expect("dir").flatten().collect();
    assert_eq!(names.len(), 3);
}

#[tokio::test]
async fn state_persists_between_commands() {
    let s = session(NEW).await;
    s.exec("cd /tmp; export A=1; B='x y'; f() { echo \"f:$A:$B\"; }").await;
    let run = s.exec("pwd; f; sh -c 'echo $A$B'").await;
    assert_eq!(run["stdout"], "/tmp\nf:1:x y\n1\n");
    let keys: Vec<_> = run.as_object().expect("object").keys().cloned().collect();
    assert_eq!(keys, ["cmdId", "output", "stdout", "stderr", "exitCode"]);
}

#[tokio::test]
async fn output_by_sdk_version() {
    let command = "echo out; sleep 0.05; echo err >&2; sleep 0.05; printf end";
    let marked = "\u{1}\u{1}\u{1}out\n\u{2}\u{2}\u{2}err\n\u{1}\u{1}\u{1}end\n";
    for (version, output, stdout, stderr) in [
        (NEW, marked, json!("out\nend\n"), json!("err\n")),
        (Some("0.166.0"), marked, json!(null), json!(null)),
        (Some("unknown"), marked, json!(null), json!(null)),
        (Some("0.26.0"), "out\nerr\nend\n", json!(null), json!(null)),
        (None, "out\nerr\nend\n", json!(null), json!(null)),
    ] {
        let run = session(version).await.exec(command).await;
        assert_eq!(
            [&run["output"], &run["stdout"], &run["stderr"], &run["exitCode"]],
            [&json!(output), &stdout, &stderr, &json!(0)]
        );
    }
    let run = session(NEW).await.exec("true").await;
    assert_eq!([&run["output"], &run["stdout"], &run["stderr"]], ["", "", ""]);
}

#[tokio::test]
async fn any_bytes_and_much_output() {
    let s = session(NEW).await;
    let run = s.exec(r"printf 'a\0b\377c'").await;
    assert_eq!(run["stdout"], "a\0b\u{fffd}c\n");
    let run = s.exec("head -c 5000000 /dev/zero | tr '\\0' x; seq 100000 >&2").await;
    assert_eq!(run["stdout"].as_str().expect("text").len(), 5_000_001);
    assert!(run["stderr"].as_str().expect("text").ends_with("\n99999\n100000\n"));
}

#[tokio::test]
async fn exit_codes_and_syntax_errors() {
    let s = session(NEW).await;
    assert_eq!(s.exec("(exit 7)").await["exitCode"], 7);
    assert_eq!(s.exec("no-such-command").await["exitCode"], 127);
    let broken = s.exec("if then").await;
    assert_ne!(broken["exitCode"], 0);
    assert!(broken["stderr"].as_str().expect("text").contains("cmd.sh"), "{broken}");
    assert_eq!(s.exec("echo still here").await["stdout"], "still here\n");
}

#[tokio::test]
async fn a_hostile_shell_environment_changes_nothing() {
    let s = session(NEW).await;
    s.exec("echo() { builtin echo fooled; }; trap 'builtin echo trapped' DEBUG; set -x; set -u; IFS=0123456789-").await;
    let run = s.exec("printf 'x\\n'; (exit 5)").await;
    assert_eq!(run["exitCode"], 5);
    assert!(run["stdout"].as_str().expect("text").contains("x\n"));
}

#[tokio::test]
async fn exit_ends_the_command_and_the_session() {
    let s = session(NEW).await;
    let run = s.exec("echo bye; exit 4").await;
    assert_eq!((&run["stdout"], &run["exitCode"]), (&json!("bye\n"), &json!(4)));
    let (status, error) = s.call("POST", "/exec", json!({"command": "true"})).await;
    assert_eq!((status, &error["code"]), (410, &json!("SESSION_ENDED")));
    assert_eq!(s.call("GET", "", json!(null)).await.1["commands"][0]["exitCode"], 4);
    assert_eq!(s.call("DELETE", "", json!(null)).await.0, 204);
}

#[tokio::test]
async fn a_shell_that_is_killed_or_replaced_ends_the_session() {
    let s = session(NEW).await;
    assert_eq!(s.exec("kill -9 $$").await["exitCode"], -1);
    assert_eq!(s.call("POST", "/exec", json!({"command": "true"})).await.0, 410);
    let s = session(NEW).await;
    let run = s.exec("exec sh -c 'sleep 0.1; echo replaced; exit 6'").await;
    assert_eq!((&run["stdout"], &run["exitCode"]), (&json!("replaced\n"), &json!(6)));
}

#[tokio::test]
async fn commands_wait_for_each_other() {
    let s = session(NEW).await;
    let first = s.start("sleep 0.3; echo first >> order").await;
    let start = Instant::now();
    let second = s.exec("echo second >> order; cat order").await;
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(second["stdout"], "first\nsecond\n");
    assert_eq!(s.exit_code(&first).await, 0);
}

#[tokio::test]
async fn asynchronous_commands_answer_at_once() {
    let s = session(NEW).await;
    for name in ["runAsync", "async"] {
        let (status, body) = s.call("POST", "/exec", json!({"command": "sleep 0.2; (exit 3)", name: true})).await;
        let id = body["cmdId"].as_str().expect("id").to_owned();
        assert_eq!(
            (status, body),
            (202, json!({"cmdId": id, "output": null, "stdout": null, "stderr": null, "exitCode": null}))
        );
        let (_, command) = s.call("GET", &format!("/command/{id}"), json!(null)).await;
        assert_eq!(command, json!({"id": id, "command": "sleep 0.2; (exit 3)"}));
        assert_eq!(s.exit_code(&id).await, 3);
    }
}

#[tokio::test]
async fn a_background_child_that_holds_the_output_delays_the_end() {
    let s = session(NEW).await;
    let start = Instant::now();
    let run = s.exec("(sleep 0.4; echo late) & echo now").await;
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!(run["stdout"], "now\nlate\n");
    let start = Instant::now();
    s.exec("sleep 30.003 >/dev/null 2>&1 &").await;
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn bad_commands() {
    let s = session(NEW).await;
    for body in [
        json!({}),
        json!({"command": ""}),
        json!({"command": " \n"}),
        json!({"command": 1}),
        json!({"command": "x", "runAsync": "yes"}),
    ] {
        let (status, error) = s.call("POST", "/exec", body).await;
        assert_eq!((status, &error["code"]), (400, &json!("INVALID_REQUEST_BODY")));
    }
    for (method, path) in [("GET", "/command/nope"), ("GET", "/command/nope/logs"), ("POST", "/command/nope/input")] {
        let (status, error) = s.call(method, path, json!({"data": "x"})).await;
        assert_eq!((status, &error["message"]), (404, &json!("not found: command not found")), "{path}");
    }
}

#[tokio::test]
async fn synchronous_commands_read_nothing() {
    let s = session(NEW).await;
    assert_eq!(s.exec("cat; echo end").await["stdout"], "end\n");
}

#[tokio::test]
async fn input_reaches_the_program_and_its_log() {
    let s = session(NEW).await;
    let id = s.start("read a; read b; echo \"got [$a] [$b]\"").await;
    for data in ["one", "two\n"] {
        assert_eq!(s.call("POST", &format!("/command/{id}/input"), json!({"data": data})).await.0, 204);
    }
    assert_eq!(s.exit_code(&id).await, 0);
    let (_, logs) = s.call("GET", &format!("/command/{id}/logs"), json!(null)).await;
    let mut lines: Vec<_> = logs["stdout"].as_str().expect("text").lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["got [one] [two]", "one", "two"]);
}

#[tokio::test]
async fn input_can_be_kept_out_of_the_log() {
    let s = session(NEW).await;
    let body = json!({"command": "read a; echo \"got [$a]\"", "runAsync": true, "suppressInputEcho": true});
    let (_, started) = s.call("POST", "/exec", body).await;
    let id = started["cmdId"].as_str().expect("id");
    assert_eq!(s.call("POST", &format!("/command/{id}/input"), json!({"data": "secret"})).await.0, 204);
    assert_eq!(s.exit_code(id).await, 0);
    let (_, logs) = s.call("GET", &format!("/command/{id}/logs"), json!(null)).await;
    assert_eq!(logs["stdout"], "got [secret]\n");
}

#[tokio::test]
async fn bad_input() {
    let s = session(NEW).await;
    let id = s.start("read a").await;
    let path = format!("/command/{id}/input");
    for body in [json!({}), json!({"data": ""}), json!({"data": 1})] {
        let (status, error) = s.call("POST", &path, body).await;
        assert_eq!((status, &error["code"]), (400, &json!("INVALID_REQUEST_BODY")));
    }
    assert_eq!(s.call("POST", &path, json!({"data": "x"})).await.0, 204);
    s.exit_code(&id).await;
    let (status, error) = s.call("POST", &path, json!({"data": "x"})).await;
    assert_eq!((status, &error["code"]), (410, &json!("COMMAND_ALREADY_COMPLETED")));
    assert_eq!(error["message"], "gone: command has already completed with exit code 0");
}

#[tokio::test]
async fn deleting_ends_every_process_and_every_waiting_call() {
    let s = local_session(NEW).await;
    let naps = [1, 2, 3].map(nap);
    s.start(&format!("setsid sleep {} & sleep {} & sleep {}", naps[0], naps[1], naps[2])).await;
    let waiting = s.call("POST", "/exec", json!({"command": "true"}));
    let delete = async {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !naps.iter().all(|nap| running(nap)) {
            assert!(Instant::now() < deadline, "not started");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let start = Instant::now();
        assert_eq!(s.call("DELETE", "", json!(null)).await.0, 204);
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    };
    let ((status, error), ()) = tokio::join!(waiting, delete);
    assert_eq!((status, &error["code"]), (410, &json!("SESSION_ENDED")));
    assert!(!naps.iter().any(|nap| running(nap)));
}

#[tokio::test]
async fn what_ignores_sigterm_is_killed() {
    let s = local_session(NEW).await;
    let (first, second) = (nap(4), nap(5));
    s.start(&format!("trap '' TERM; sleep {first} & touch ready; wait; sleep {second}")).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !running(&first) || !s.tb.dir.join("ready").exists() {
        assert!(Instant::now() < deadline, "not started");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(s.call("DELETE", "", json!(null)).await.0, 204);
    assert!(!running(&first) && !running(&second));
}

/// How long a process of this very test run sleeps: what finds it again among all of the machine.
fn nap(n: u32) -> String {
    format!("{}.{n}", 1_000_000 + std::process::id())
}

fn running(marker: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| line.windows(marker.len()).any(|window| window == marker.as_bytes()))
}

#[tokio::test]
async fn what_waits_behind_an_exit_never_hangs() {
    let s = session(NEW).await;
    s.start("read x; exit 4").await;
    let id = s.start("echo never").await;
    let waiting = s.call("POST", "/exec", json!({"command": "echo never"}));
    let first = s.call("GET", "", json!(null)).await.1["commands"][0]["id"].as_str().expect("id").to_owned();
    let input = format!("/command/{first}/input");
    let exit = s.call("POST", &input, json!({"data": "go"}));
    let ((status, error), (sent, _)) = tokio::join!(waiting, exit);
    assert_eq!(sent, 204);
    assert_eq!((status, &error["code"]), (410, &json!("SESSION_ENDED")));
    assert_eq!(s.exit_code(&first).await, 4);
    // It never ran, so it has neither an exit code nor an output, and takes no input.
    let (status, command) = s.call("GET", &format!("/command/{id}"), json!(null)).await;
    assert_eq!((status, command), (200, json!({"id": id, "command": "echo never"})));
    let (_, logs) = s.call("GET", &format!("/command/{id}/logs"), json!(null)).await;
    assert_eq!(logs, json!({"output": "", "stdout": "", "stderr": ""}));
    let (status, error) = s.call("POST", &format!("/command/{id}/input"), json!({"data": "x"})).await;
    assert_eq!((status, &error["message"]), (410, &json!("gone: session process has exited")));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_no_command() {
    let s = session(NEW).await;
    let body = json!({"command": "sleep 0.5; echo done > left"});
    let request = s.tb.client.post(format!("{}/process/session/s/exec", s.tb.url)).json(&body);
    assert!(request.timeout(Duration::from_millis(200)).send().await.is_err());
    let run = s.exec("cat left").await;
    assert_eq!(run["stdout"], "done\n");
    let codes: Vec<Value> = s.call("GET", "", json!(null)).await.1["commands"].as_array().expect("list").clone();
    assert!(codes.iter().all(|command| command["exitCode"] == 0), "{codes:?}");
}

#[tokio::test]
async fn the_end_of_a_command_is_told_at_once() {
    let s = session(NEW).await;
    s.exec("true").await;
    let start = Instant::now();
    for _ in 0..20 {
        s.exec("true").await;
    }
    // The original looks every 50 ms: it would take a second.
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_trap_that_prints_does_not_hold_up_commands() {
    let session = session(None).await;
    session.exec("trap 'printf .' DEBUG").await;
    assert_eq!(session.exec("(exit 3)").await["exitCode"], 3);
    assert_eq!(session.exec("printf() { echo mine; }").await["exitCode"], 0);
    assert_eq!(session.exec("true").await["exitCode"], 0);
}
