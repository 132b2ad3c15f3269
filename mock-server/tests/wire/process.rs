//! `POST /process/execute`.

use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::{Toolbox, local_toolbox, toolbox};

async fn execute(tb: &Toolbox, body: Value) -> (u16, Value) {
    let res = tb.post("/process/execute", body).await;
    (res.status().as_u16(), res.json().await.expect("JSON"))
}

/// As an SDK of `version` sends it.
async fn execute_as(tb: &Toolbox, version: &str, command: &str) -> Value {
    let request = tb.client.post(format!("{}/process/execute", tb.url)).header("X-Daytona-SDK-Version", version);
    request.json(&json!({"command": command})).send().await.expect("answer").json().await.expect("JSON")
}

/// Waits until no process has `marker` in its command line.
async fn until_gone(marker: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while running(marker) {
        assert!(Instant::now() < deadline, "{marker} still runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn running(marker: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| line.windows(marker.len()).any(|window| window == marker.as_bytes()))
}

#[tokio::test]
async fn output_and_exit_code() {
    let tb = toolbox().await;
    assert_eq!(
        execute(&tb, json!({"command": "echo hi; exit 3"})).await,
        (200, json!({"exitCode": 3, "result": "hi\n"}))
    );
    assert_eq!(execute(&tb, json!({"command": "exit 300"})).await.1["exitCode"], 44);
    assert_eq!(execute(&tb, json!({"command": "kill -9 $$"})).await.1["exitCode"], -1);
    assert_eq!(execute(&tb, json!({"command": "no-such-command"})).await.1["exitCode"], 127);
    assert_eq!(execute(&tb, json!({"command": "if"})).await.1["exitCode"], 2);
}

#[tokio::test]
async fn both_streams_in_the_order_written() {
    let tb = toolbox().await;
    assert_eq!(tb.run("echo 1; echo 2 >&2; echo 3; printf 4 >&2").await, "1\n2\n3\n4");
}

#[tokio::test]
async fn the_command_is_the_shells_standard_input() {
    let tb = toolbox().await;
    assert_eq!(tb.run("cat\nrest of the script").await, "rest of the script");
    assert_eq!(tb.run("read x\nnext line\necho \"[$x]\"").await, "[next line]\n");
    // Longer than any argument list allows, and than the pipe holds.
    let long = format!("true '{}'\necho done", "x".repeat(3 << 20));
    assert_eq!(tb.run(&long).await, "done\n");
}

#[tokio::test]
async fn large_input_and_large_output_at_once() {
    let tb = toolbox().await;
    let input = "y".repeat(2 << 20);
    assert_eq!(tb.run(&format!("exec tee /dev/stderr\n{input}")).await.len(), 4 << 20);
}

#[tokio::test]
async fn input_that_nobody_reads() {
    let tb = toolbox().await;
    assert_eq!(tb.run(&format!("exec echo done\n{}", "y".repeat(2 << 20))).await, "done\n");
}

#[tokio::test]
async fn any_bytes() {
    let tb = toolbox().await;
    assert_eq!(tb.run(r"printf 'a\0b\377\342\202\254\342\202<&>'").await, "a\0b\u{fffd}€\u{fffd}\u{fffd}<&>");
    let large = tb.run("head -c 30000000 /dev/zero | tr '\\0' x; printf €").await;
    assert_eq!(large.len(), 30_000_003);
    assert!(large.ends_with("x€"));
}

#[tokio::test]
async fn working_directory() {
    let tb = local_toolbox().await;
    std::fs::create_dir(tb.dir.join("sub")).expect("mkdir");
    std::fs::write(tb.dir.join("file"), "").expect("write");
    let dir = tb.dir.canonicalize().expect("path");
    let pwd = |cwd: &'static str| execute(&tb, json!({"command": "pwd -P", "cwd": cwd}));
    assert_eq!(pwd("").await.1["result"], format!("{}\n", dir.display()));
    assert_eq!(pwd("sub").await.1["result"], format!("{}/sub\n", dir.display()));
    assert_eq!(pwd("/").await.1["result"], "/\n");
    let (status, missing) = pwd("nope").await;
    assert_eq!((status, &missing["exitCode"]), (200, &json!(-1)));
    assert!(missing["result"].as_str().expect("text").starts_with("fork/exec /"), "{missing}");
    assert!(missing["result"].as_str().expect("text").ends_with(": no such file or directory"), "{missing}");
    assert!(pwd("file").await.1["result"].as_str().expect("text").ends_with(": not a directory"));
    assert!(pwd("~").await.1["result"].as_str().expect("text").ends_with(": no such file or directory"));
}

#[tokio::test]
async fn environment_variables() {
    let tb = toolbox().await;
    let body = json!({"command": "echo $A $HOME", "envs": {"A": "a b; c $(d)", "HOME": "/x"}});
    assert_eq!(execute(&tb, body).await.1["result"], "a b; c $(d) /x\n");
    let (status, error) = execute(&tb, json!({"command": "true", "envs": {"1X": "1"}})).await;
    assert_eq!((status, &error["message"]), (400, &json!("bad request: invalid environment variable name: '1X'")));
    let (status, _) = execute(&tb, json!({"command": "true", "envs": {"X": "a\u{0}"}})).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn bad_requests() {
    let tb = toolbox().await;
    let required = "Key: 'ExecuteRequest.Command' Error:Field validation for 'Command' failed on the 'required' tag";
    for (body, message) in [
        (json!({}), format!("bad request: invalid request body: {required}")),
        (json!({"command": ""}), format!("bad request: invalid request body: {required}")),
        (json!({"command": " \n"}), "bad request: command cannot be empty or whitespace-only".to_owned()),
        (
            json!({"command": "true", "timeout": -1}),
            "bad request: invalid request body: json: cannot unmarshal number -1 \
            into Go struct field ExecuteRequest.timeout of type uint32"
                .to_owned(),
        ),
    ] {
        let (status, error) = execute(&tb, body).await;
        assert_eq!((status, &error["code"], &error["message"]), (400, &json!("BAD_REQUEST"), &json!(message)));
        assert_eq!(error["path"], "/process/execute");
    }
    assert_eq!(execute(&tb, json!({"command": "true", "timeout": 1.5})).await.0, 400);
    assert_eq!(tb.delete("/process/execute").await.status(), 404);
}

#[tokio::test]
async fn a_background_child_that_holds_the_output_is_waited_for() {
    let tb = toolbox().await;
    let start = Instant::now();
    assert_eq!(tb.run("(sleep 0.4; echo late) & echo now").await, "now\nlate\n");
    assert!(start.elapsed() >= Duration::from_millis(400));
    let start = Instant::now();
    tb.run("sleep 20.017 > /dev/null 2>&1 &").await;
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn timeout_kills_the_whole_group() {
    let tb = toolbox().await;
    let body = json!({"command": "sleep 77.123 & sleep 77.123; echo never", "timeout": 1});
    let (status, error) = execute(&tb, body).await;
    assert_eq!((status, &error["code"]), (408, &json!("PROCESS_EXECUTION_TIMEOUT")));
    assert_eq!(error["message"], "request timeout: command execution timeout");
    until_gone("77.123").await;
}

#[tokio::test]
async fn timeout_does_not_wait_for_an_escaped_holder_of_the_output() {
    let tb = toolbox().await;
    let start = Instant::now();
    let (status, _) = execute(&tb, json!({"command": "setsid sleep 15.5 & echo x", "timeout": 1})).await;
    assert_eq!(status, 408);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_command_along() {
    let tb = toolbox().await;
    let url = format!("{}/process/execute", tb.url);
    let request = tb.client.post(url).json(&json!({"command": "sleep 88.321"}));
    let pending = tokio::spawn(request.send());
    while !running("88.321") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pending.abort();
    until_gone("88.321").await;
}

#[tokio::test]
async fn sdks_before_the_shell_get_their_words_split() {
    let tb = local_toolbox().await;
    let sent = r#"sh -c "export K=$(echo 'YSBiOyBlY2hvIFg=' | base64 -d); echo [$K]""#;
    assert_eq!(execute_as(&tb, "0.108.1", sent).await, json!({"exitCode": 0, "result": "[a b; echo X]\n"}));
    assert_eq!(execute_as(&tb, "0.155.0", "echo $HOME '*'").await["result"], "$HOME *\n");
    assert_eq!(execute_as(&tb, "0.156.0", "echo '*'; echo x").await["result"], "*\nx\n");
    assert_eq!(execute_as(&tb, "unknown", "echo a; echo b").await["result"], "a\nb\n");
    assert_eq!(execute_as(&tb, "0.108.1", "no-such-program x").await["exitCode"], -1);
    assert_eq!(execute_as(&tb, "0.108.1", "''").await["message"], "bad request: empty command");
    let legacy = tb.client.post(format!("{}/process/execute", tb.url)).header("X-Daytona-Legacy-Toolbox", "1");
    let body: Value =
        legacy.json(&json!({"command": "echo $X;"})).send().await.expect("answer").json().await.expect("JSON");
    assert_eq!(body["result"], "$X;\n");
}

/// As `SandboxTsCodeToolbox` of SDKs before 0.167 builds it.
fn ts_node(code: &str, argv: &str) -> String {
    let code = BASE64_STANDARD.encode(code);
    let options = r#""{\\\"module\\\":\\\"CommonJS\\\"}""#;
    format!(
        " sh -c 'echo {code} | base64 --decode | npx ts-node -O {options} -e \"$(cat)\" x {argv} 2>&1 | grep -vE \"npm notice\"' "
    )
}

#[tokio::test]
async fn typescript_of_old_sdks_runs_without_ts_node() {
    let tb = toolbox().await;
    let command = ts_node("enum A { X = 4 }\nconsole.log(A.X, process.argv.slice(2), process.env.K)", "p q");
    assert_eq!(execute_as(&tb, "0.160.0", &command).await["result"], "4 [ 'p', 'q' ] undefined\n");
    let (inner, value) = (BASE64_STANDARD.encode(&command), BASE64_STANDARD.encode("a b"));
    let wrapped = format!("sh -c \"export K=$(echo '{value}' | base64 -d); echo '{inner}' | base64 -d | sh\"");
    assert_eq!(execute_as(&tb, "0.111.1", &wrapped).await["result"], "4 [ 'p', 'q' ] a b\n");
    let wrapped = format!("sh -c \"echo '{}' | base64 -d | sh\"", BASE64_STANDARD.encode(ts_node("let a: = 1", "")));
    let complaint = execute_as(&tb, "0.111.1", &wrapped).await;
    assert!(complaint["result"].as_str().expect("text").starts_with("TSError: "), "{complaint}");
}

#[tokio::test]
async fn many_at_once() {
    let tb = toolbox().await;
    let runs = (0..50).map(|i| {
        let tb = &tb;
        async move { assert_eq!(tb.run(&format!("echo {i}")).await, format!("{i}\n")) }
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn nulls_and_halves_of_characters_are_taken_as_the_original_takes_them() {
    let tb = toolbox().await;
    let request = json!({"command": "echo \"[$A]\"", "envs": {"A": null}});
    assert_eq!(execute(&tb, request).await, (200, json!({"exitCode": 0, "result": "[]\n"})));
    let cut = tb.client.post(format!("{}/process/execute", tb.url)).body(r#"{"command":"echo \ud83d"}"#);
    let body: Value = cut.send().await.expect("answer").json().await.expect("JSON");
    assert_eq!(body["result"], "\u{fffd}\n");
}
