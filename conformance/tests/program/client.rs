//! `client`, with a server that only seems to be a daytona-mock: what it is started with, and what is asked of it.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use serde_json::{Value, json};

use super::{
    Instead, Program, bare,
    report::{fits_schema, names},
    told,
};
use crate::support::{Asked, Fake};

/// Its journal has one call; faults with an unknown effect are refused.
fn mock() -> Fake {
    mock_of(
        json!({"plane": "api", "method": "GET", "path": "/api/sandbox", "operationId": "listSandboxes", "status": 200}),
    )
}

fn mock_of(call: Value) -> Fake {
    Fake::start(move |asked, _| match (asked.path.contains("journal"), asked.path.contains("faults")) {
        (true, _) => Some(Instead::Answer(200, "", journal(asked, &call))),
        (_, true) if asked.body["effect"]["type"] == "nope" => {
            Some(Instead::Answer(400, "", json!({"message": "unknown variant `nope`"})))
        }
        (_, true) => Some(Instead::Answer(201, "", json!({"id": "fault-1"}))),
        _ => None,
    })
}

fn journal(asked: &Asked, call: &Value) -> Value {
    let first = asked.path.contains("since=0");
    let mut call = call.clone();
    (call["id"], call["revision"], call["at"]) = (json!(1), json!(1), json!("2026-01-01T00:00:00Z"));
    json!({"entries": if first { vec![call] } else { vec![] }, "next": 1, "evicted": 0, "lost": 0})
}

/// Runs `client` with a program in place of daytona-mock that keeps its arguments and variables in a file.
fn client(program: &Program, arguments: &[&str]) -> Command {
    client_of(program, arguments, &["true"])
}

fn client_of(program: &Program, arguments: &[&str], words: &[&str]) -> Command {
    let ready = json!({"apiUrl": program.url, "apiKey": super::KEY});
    let seen = program.arg("seen");
    let script = format!("#!/bin/sh\n{{ echo \"$@\"; env; }} >{seen}\necho '{ready}'\nexec sleep 60\n");
    fs::write(program.path("mock"), script).unwrap();
    fs::set_permissions(program.path("mock"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = bare(&[&["client"][..], arguments, &["--"], words].concat());
    command.env("DAYTONA_MOCK_BIN", program.path("mock"));
    command
}

#[test]
fn a_private_server_is_strict_and_hears_nothing_of_another() {
    let program = Program::of(&mock());
    let mut command = client(&program, &[]);
    command.env("DAYTONA_MOCK_READY_FILE", "/of/another").env("DAYTONA_MOCK_BASE", "/base");
    let (code, said, why) = told(command.output().unwrap());
    assert_eq!(code, 0, "{said}{why}");
    assert!(said.contains("rules, 1 call, "), "{said}");
    let seen = fs::read_to_string(program.path("seen")).unwrap();
    assert!(seen.lines().next().unwrap().contains("--strict"), "{seen}");
    assert!(seen.contains("DAYTONA_MOCK_BASE=/base") && !seen.contains("/of/another"), "{seen}");
}

#[test]
fn faults_are_there_before_the_program() {
    let fake = mock();
    let program = Program::of(&fake);
    fs::write(program.path("fault.json"), r#"{"effect": {"type": "delay"}}"#).unwrap();
    let from_file = format!("@{}", program.arg("fault.json"));
    let one = r#"{"effect": {"type": "reset"}}"#;
    let (code, said, why) = told(client(&program, &["--fault", one, "--fault", &from_file]).output().unwrap());
    assert_eq!(code, 0, "{said}{why}");
    let effects: Vec<Value> = fake.asked().iter().map(|asked| asked.body["effect"]["type"].clone()).take(2).collect();
    assert_eq!(effects, ["reset", "delay"]);
    for (wrong, said) in [(r#"{"effect": {"type": "nope"}}"#, "unknown variant"), ("{", "JSON"), ("@/nope", "/nope")] {
        let (code, _, why) = told(client(&program, &["--fault", wrong]).output().unwrap());
        assert!(code == 2 && why.contains(said), "{wrong}: {why}");
    }
}

#[test]
fn a_report_that_cannot_be_written_costs_no_verdict() {
    let program = Program::of(&mock());
    let (code, said, why) = told(client(&program, &["--report", "/proc/x"]).output().unwrap());
    assert!(code == 2 && why.contains("/proc/x"), "{why}");
    assert!(said.contains("every MUST holds"), "{said}");
}

#[test]
fn an_exit_code_that_is_expected_is_named() {
    let program = Program::of(&mock());
    fs::write(program.path("contract.toml"), "[program]\nexit = 3").unwrap();
    let (code, said, _) = told(client(&program, &["--contract", &program.arg("contract.toml")]).output().unwrap());
    assert!(code == 3 && said.contains("expects exit code 3"), "{said}");
}

/// A sandbox with this id was created, and not deleted.
fn left(id: &str) -> Value {
    json!({"plane": "api", "method": "POST", "path": "/api/sandbox", "operationId": "createSandbox", "status": 200,
        "request": {"body": {"name": "n", "labels": {"project": "p"}}},
        "response": {"body": {"id": id, "state": "started"}}})
}

#[test]
fn an_interrupted_program_cleans_up_and_is_not_judged_for_what_it_would_have_done() {
    let program = Program::of(&mock_of(left("s")));
    let report = program.arg("out");
    let script =
        "trap 'echo cleaned; exit 0' INT; trap 'echo killed; exit 0' TERM; echo up; while :; do sleep 0.02; done";
    let mut command = client_of(&program, &["--report", &report], &["sh", "-c", script]);
    let mut running = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut up, mut out) = ([0; 3], running.stdout.take().unwrap());
    out.read_exact(&mut up).unwrap();
    kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGINT).unwrap();
    let mut said = String::new();
    out.read_to_string(&mut said).unwrap();
    let code = running.wait().unwrap().code();
    assert!(said.starts_with("cleaned\n"), "{said}");
    assert!(
        code == Some(3) && said.contains("(interrupted)") && said.contains("didn't come to its end"),
        "{code:?} {said}"
    );
    let report = program.report_of("out", "client.json");
    assert_eq!(report["unfinished"], true);
    // Left to itself it is.
    let (code, said, _) = told(client(&program, &[]).output().unwrap());
    assert!(code == 1 && said.contains("FAIL sandboxes/are_deleted"), "{said}");
}

#[test]
fn what_requests_say_moves_no_terminal_and_breaks_no_report() {
    let program = Program::of(&mock_of(left("a\u{1b}[2Jb\u{fffe}")));
    let (code, said, _) = told(client(&program, &["--report", &program.arg("out")]).output().unwrap());
    assert!(code == 1 && said.contains("[2Jb") && !said.contains('\u{1b}'), "{said}");
    let junit = fs::read_to_string(program.path("out").join("client.xml")).unwrap();
    assert!(!junit.contains('\u{fffe}') && quick_junit::Report::deserialize_from_str(&junit).is_ok(), "{junit}");
}

#[test]
fn the_json_is_as_its_schema_and_its_page_say() {
    let program = Program::of(&mock_of(left("s")));
    let contract =
        "[program]\nexit = 3\n[allow]\n\"sandboxes/are_deleted\" = \"it stays\"\n[[expect]]\ncall = \"stopSandbox\"";
    fs::write(program.path("contract.toml"), contract).unwrap();
    let (contract, report) = (program.arg("contract.toml"), program.arg("out"));
    _ = client(&program, &["--contract", &contract, "--report", &report]).output().unwrap();
    let report = program.report_of("out", "client.json");
    let schema = include_str!("../../client.schema.json");
    fits_schema(schema, &report).unwrap_or_else(|why| panic!("{why}"));
    let mut found = vec!["unfinished".to_owned()];
    names(&report, &mut found);
    let described = include_str!("../../report.md").split("# client.json").nth(1).unwrap();
    for name in found {
        assert!(described.contains(&format!("`{name}`")) || described.contains(&format!("`{name}?`")), "{name}");
    }
    for (at, value) in
        [("/schema", json!(2)), ("/rules/0/level", json!("may")), ("/calls", json!(-1)), ("/rules/0/id", json!("x"))]
    {
        let mut bad = report.clone();
        *bad.pointer_mut(at).unwrap() = value;
        assert!(fits_schema(schema, &bad).is_err(), "{at}");
    }
}
