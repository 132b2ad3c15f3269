//! `client`, with a server that only seems to be a daytona-mock: what it is started with, and what is asked of it.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use serde_json::{Value, json};

use super::{Instead, Program, bare, told};
use crate::support::{Asked, Fake};

/// Its journal has one call; faults with an unknown effect are refused.
fn mock() -> Fake {
    Fake::start(|asked, _| match (asked.path.contains("journal"), asked.path.contains("faults")) {
        (true, _) => Some(Instead::Answer(200, "", journal(asked))),
        (_, true) if asked.body["effect"]["type"] == "nope" => {
            Some(Instead::Answer(400, "", json!({"message": "unknown variant `nope`"})))
        }
        (_, true) => Some(Instead::Answer(201, "", json!({"id": "fault-1"}))),
        _ => None,
    })
}

fn journal(asked: &Asked) -> Value {
    let first = asked.path.contains("since=0");
    let call = json!({"id": 1, "revision": 1, "at": "2026-01-01T00:00:00Z", "plane": "api", "method": "GET",
        "path": "/api/sandbox", "operationId": "listSandboxes", "status": 200});
    json!({"entries": if first { vec![call] } else { vec![] }, "next": 1, "evicted": 0, "lost": 0})
}

/// Runs `client` with a program in place of daytona-mock that keeps its arguments and variables in a file.
fn client(program: &Program, arguments: &[&str]) -> Command {
    let ready = json!({"apiUrl": program.url, "apiKey": super::KEY});
    let seen = program.arg("seen");
    let script = format!("#!/bin/sh\n{{ echo \"$@\"; env; }} >{seen}\necho '{ready}'\nexec sleep 60\n");
    fs::write(program.path("mock"), script).unwrap();
    fs::set_permissions(program.path("mock"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = bare(&[&["client"][..], arguments, &["--", "true"]].concat());
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
