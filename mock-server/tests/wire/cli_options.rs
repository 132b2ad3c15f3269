//! Flags and the variables that stand for them.

use std::{fs::File, io::Read, process::Command};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{Running, call, command, execute, run, start_command, start_listening};

/// Every variable of `serve`, as its help names the flags.
fn twins(help: &str) -> Vec<String> {
    let flags = help
        .lines()
        .filter_map(|line| line.trim_start().split([' ', ',', '[', '=']).find(|word| word.starts_with("--")));
    let flags = flags.filter(|flag| !matches!(*flag, "--help" | "--version"));
    flags.map(|flag| format!("DAYTONA_MOCK_{}", flag[2..].replace('-', "_").to_uppercase())).collect()
}

#[test]
fn a_misspelt_variable_is_told() {
    let dir = tempfile::tempdir().expect("temp dir");
    // It doesn't even start.
    let mut command = command(dir.path(), &["--ephemeral", "--public-url", "x/y"]);
    command.envs([("DAYTONA_MOCK_LISTN", "x"), ("DAYTONA_MOCK_STRICT", "off"), ("DAYTONA_MOCK_OF_MY_OWN", "1")]);
    let said = command.output().expect("runs").stderr;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("DAYTONA_MOCK_LISTN is no option; did you mean DAYTONA_MOCK_LISTEN?"), "{said}");
    assert_eq!(said.matches("did you mean").count(), 1, "{said}");
}

#[tokio::test]
async fn an_empty_variable_is_as_if_it_were_not_there() {
    let dir = tempfile::tempdir().expect("temp dir");
    let help = run(dir.path(), &["serve", "-h"]);
    let twins = twins(&String::from_utf8_lossy(&help.stdout));
    for expected in ["DAYTONA_MOCK_API_KEY", "DAYTONA_MOCK_STRICT", "DAYTONA_MOCK_PUBLIC_URL", "DAYTONA_MOCK_JSON"] {
        assert!(twins.iter().any(|twin| twin == expected), "{expected} in {twins:?}");
    }
    let mut command = command(dir.path(), &[]);
    // The tests' tier stays.
    command.envs(twins.iter().filter(|twin| *twin != "DAYTONA_MOCK_ISOLATION").map(|twin| (twin, "")));
    let server = start_command(dir.path(), command);
    assert!(server.text("apiKey").starts_with("dtn_"), "{}", server.ready);
    let sandboxes = format!("{}/sandbox", server.text("apiUrl"));
    for (query, authorization) in
        [("?access_token=", None), ("?access_token", None), ("", Some("Bearer ")), ("", Some("Bearer"))]
    {
        let request = reqwest::Client::new().get(format!("{sandboxes}{query}"));
        let request = authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
        assert_eq!(request.send().await.expect("answer").status(), 401, "{query} {authorization:?}");
    }
}

#[test]
fn an_empty_key_is_none() {
    let dir = tempfile::tempdir().expect("temp dir");
    for key in ["", " ", "a,", "a\nb"] {
        let output = run(dir.path(), &["--ephemeral", "--listen", "127.0.0.1:0", "--api-key", key]);
        assert_eq!(output.status.code(), Some(2), "{key:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--api-key"), "{key:?}");
    }
}

#[tokio::test]
async fn switches_are_turned_by_variables() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut on = command(dir.path(), &[]);
    on.envs([("DAYTONA_MOCK_EPHEMERAL", "1"), ("DAYTONA_MOCK_JSON", "yes"), ("DAYTONA_MOCK_STRICT", "true")]);
    let mut server = start_command(dir.path(), on);
    assert!(!dir.path().join("daytona-mock").exists(), "temporary data");
    let journal = format!("/api/sandbox?nonsense={}", std::process::id());
    call(&server, Method::GET, &journal, json!({})).await;
    let seen = call(&server, Method::GET, "/__control/journal?violations=true", json!({})).await;
    assert!(seen["entries"].as_array().is_some_and(|entries| !entries.is_empty()), "{seen}");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().code(), Some(0));
    let mut line = String::new();
    server.child.stdout.take().expect("piped").read_to_string(&mut line).expect("text");
    assert_eq!(serde_json::from_str::<Value>(&line).expect("one line of JSON"), server.ready);

    let data = dir.path().join("data");
    let mut off = command(dir.path(), &["--data-dir", data.to_str().expect("utf-8")]);
    off.envs([("DAYTONA_MOCK_EPHEMERAL", "off"), ("DAYTONA_MOCK_JSON", "0"), ("DAYTONA_MOCK_STRICT", "no")]);
    let server = start_command(dir.path(), off);
    assert!(data.join("control.sqlite").exists());
    call(&server, Method::GET, &journal, json!({})).await;
    let seen = call(&server, Method::GET, "/__control/journal?violations=true", json!({})).await;
    assert_eq!(seen["entries"], json!([]), "{seen}");

    for (variable, value) in [("JSON", "maybe"), ("EPHEMERAL", "2"), ("STRICT", "very")] {
        let output = command(dir.path(), &[]).env(format!("DAYTONA_MOCK_{variable}"), value).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{variable}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    for (args, code, says) in [
        (["--api-version", ""], 2, "--api-version"),
        (["--api-version", "1 2"], 2, "--api-version"),
        (["--allow-host", "a b"], 2, "--allow-host"),
        (["--allow-host", ""], 2, "--allow-host"),
        (["--env", "=x"], 1, "--env: invalid environment variable: ''"),
        (["--env", ""], 1, "--env: invalid environment variable: ''"),
        (["--ssh-listen", "nowhere"], 2, "--ssh-listen"),
        (["--public-url", ""], 1, "--public-url"),
    ] {
        let output = run(dir.path(), &[&["--ephemeral", "--listen", "localhost:0"][..], &args].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(says), "{args:?}: {text}");
    }
    assert_eq!(run(dir.path(), &["--listen", "127.0.0.1"]).status.code(), Some(2));
}

#[test]
fn a_name_can_be_listened_on() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server =
        start_listening(dir.path(), command(dir.path(), &["--listen", "localhost:0", "--ssh-listen", "localhost:0"]));
    for field in ["listen", "sshListen"] {
        let address: std::net::SocketAddr = server.text(field).parse().expect("an address");
        assert!(address.ip().is_loopback() && address.port() != 0, "{}", server.ready);
    }
}

async fn variables(server: &Running) -> String {
    let sandbox = call(server, Method::POST, "/api/sandbox", json!({})).await;
    execute(server, sandbox["id"].as_str().expect("id"), "env").await
}

#[tokio::test]
async fn a_variable_may_have_lines() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut by_flag = command(dir.path(), &["--ephemeral", "--env", "MULTI=l1\nLEAKED\nTWO=2"]);
    by_flag.env("LEAKED", "of the host");
    let seen = variables(&start_command(dir.path(), by_flag)).await;
    assert!(seen.contains("MULTI=l1\nLEAKED\nTWO=2\n") && !seen.contains("of the host"), "{seen}");

    let dir = tempfile::tempdir().expect("temp dir");
    let mut by_variable = command(dir.path(), &["--ephemeral"]);
    by_variable.envs([("DAYTONA_MOCK_ENV", "ONE=1\n\nNAMED\nTWO=2 = 2\n"), ("NAMED", "of the host")]);
    let seen = variables(&start_command(dir.path(), by_variable)).await;
    for line in ["ONE=1", "NAMED=of the host", "TWO=2 = 2"] {
        assert!(seen.lines().any(|own| own == line), "{line} in {seen}");
    }
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours() {
    let dir = tempfile::tempdir().expect("temp dir");
    let log = dir.path().join("log");
    let program = command(dir.path(), &[]).get_program().to_owned();
    let mut logged = Command::new("sh");
    let script = format!("exec '{}' --log trace \"$@\" 2>'{}'", program.display(), log.display());
    logged.args(["-c", &script, "sh"]);
    for (name, value) in command(dir.path(), &[]).get_envs() {
        match value {
            Some(value) => logged.env(name, value),
            None => logged.env_remove(name),
        };
    }
    let mut server = start_command(dir.path(), logged);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().code(), Some(0));
    let mut text = String::new();
    File::open(log).expect("a log").read_to_string(&mut text).expect("text");
    assert!(!text.is_empty() && !text.contains('\x1b'), "{text}");
}

#[test]
fn a_tier_that_cannot_be_had_comes_with_its_ways_out() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    for tier in ["subuid", "single"] {
        let output = run(dir.path(), &["--ephemeral", "--isolation", tier, "--listen", "127.0.0.1:0"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("leave --isolation out") && !text.contains("run the server as root"), "{text}");
    }
    let ranges = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    if ranges.lines().any(|line| line.starts_with("nobody:") || line.starts_with("65534:")) {
        return;
    }
    crate::moving_tiers::give_away(dir.path());
    let mut ordinary = crate::moving_tiers::program(dir.path());
    let output = ordinary.args(["doctor", "--isolation", "subuid"]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let commands = ["sudo usermod --add-subuids ", "| sudo tee -a /etc/subuid"];
    assert!(commands.iter().any(|command| text.contains(command)), "{text}");
}
