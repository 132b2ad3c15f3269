//! `daytona-conformance sdk` itself, with a driver that is right, and with the same one wrong in one way each: every scenario can
//! pass, and every scenario can fail. It needs the program `daytona-mock` beside this one (`cargo build -p daytona-mock`).

use std::{collections::BTreeSet, path::PathBuf, process::Command, time::Duration};

use daytona_conformance::{
    mock::Mock,
    sdk::{
        Outcome, Plan, Sdk, protocol,
        report::{Comparison, html},
        run, scenarios,
        world::Server,
    },
};
use futures_util::{StreamExt, stream};
use serde_json::Value;

/// Ways to be wrong, and the scenarios that must notice.
const WRONG: &[(&str, &[&str])] = &[
    (
        "no-status",
        &["errors/status_400", "errors/status_404", "errors/status_409", "errors/status_429", "errors/status_500"],
    ),
    ("one-class", &["errors/status_401", "errors/status_403", "errors/status_408"]),
    ("message", &["errors/status_422", "errors/status_502", "files/full_disk_is_told"]),
    ("no-headers", &["errors/rate_limit_says_when"]),
    ("no-code", &["errors/code_is_told"]),
    ("missing-file", &["errors/missing_file"]),
    ("syntax-error", &["errors/not_json"]),
    ("upload-class", &["errors/same_class_everywhere"]),
    ("socket-status", &["errors/refused_socket", "pty/id_in_use"]),
    ("connection-class", &["errors/nobody_there"]),
    (
        "key-in-message",
        &["secrets/key_not_in_refusals", "secrets/key_not_in_broken_connections", "secrets/key_not_in_socket_errors"],
    ),
    ("key-in-url", &["secrets/key_not_in_urls"]),
    ("open-config", &["wire/authorization"]),
    ("no-source", &["wire/source"]),
    ("no-version", &["wire/version"]),
    ("unknown-field", &["wire/contract"]),
    ("deprecated", &["wire/nothing_deprecated"]),
    ("raw-names", &["wire/names_are_encoded"]),
    ("first-page", &["lists/all_pages"]),
    ("no-labels", &["lists/labels_on_every_page"]),
    ("swallow-pages", &["lists/failing_page_is_told"]),
    (
        "retry-all",
        &[
            "retries/create_after_502",
            "retries/create_after_close",
            "retries/create_after_reset",
            "retries/command_after_close",
            "retries/command_after_reset",
        ],
    ),
    ("no-retry", &["retries/read_after_reset"]),
    ("retry-429", &["retries/rate_limit_is_obeyed"]),
    ("retry-refusals", &["retries/refusals_are_final"]),
    ("timeout-words", &["timeouts/request", "timeouts/create"]),
    ("late", &["timeouts/command", "timeouts/start", "timeouts/download"]),
    ("timeout-anonymous", &["timeouts/create_names_the_sandbox"]),
    ("poll-on", &["timeouts/quiet_afterwards"]),
    ("cancel-lazy", &["cancel/upload", "cancel/download", "cancel/command", "cancel/followed_logs"]),
    ("cancel-breaks", &["cancel/client_survives"]),
    ("wait-on-error", &["waits/create_ends_on_error", "waits/start_ends_on_error", "waits/start_ends_when_deleted"]),
    ("no-reason", &["waits/create_says_why"]),
    ("give-up", &["waits/one_failed_look_is_no_end"]),
    ("hasty", &["waits/polling_is_bounded", "events/save_looks"]),
    ("always-events", &["waits/polling_has_no_events"]),
    ("delete-early", &["waits/delete_waits"]),
    ("stale", &["waits/state_is_fresh"]),
    ("no-events-use", &["events/end_a_wait"]),
    ("needs-events", &["events/are_not_needed"]),
    ("no-reconnect", &["events/come_back"]),
    ("storm", &["events/no_storm"]),
    ("decode-each", &["text/command", "text/followed_logs", "text/interpreter"]),
    ("decode-pty", &["text/terminal"]),
    ("strict-utf8", &["text/invalid_bytes"]),
    ("latin-input", &["text/input"]),
    ("mix", &["logs/streams_apart", "logs/afterwards"]),
    ("marker-per-message", &["logs/marker_cut"]),
    ("marker-inside", &["logs/marker_ends_message"]),
    ("strip-control", &["logs/bytes_like_markers"]),
    ("never-ends", &["logs/end_with_the_command"]),
    ("close-is-end", &["logs/breaking_off_is_told", "logs/lost_connection_is_told"]),
    ("last-message", &["logs/large"]),
    ("at-end", &["logs/come_at_once"]),
    ("exit-zero", &["pty/exit_code", "pty/exit_code_of_close_frame", "pty/kill"]),
    ("size", &["pty/size"]),
    ("break-hang", &["pty/breaking_off_ends_the_wait", "pty/wait_after_the_break"]),
    ("break-silent", &["pty/breaking_off_is_told"]),
    ("hasty-connect", &["pty/slow_shell"]),
    ("lost-input", &["pty/input_after_the_end"]),
    ("one-wait", &["pty/two_waits"]),
    ("no-env", &["pty/environment"]),
    ("bytes", &["files/bytes"]),
    ("slurp", &["files/upload_is_streamed", "files/download_is_streamed"]),
    ("cut-ok", &["files/cut_download_is_told"]),
    ("pad", &["files/empty"]),
    ("stay", &["ends/after_close", "ends/without_close", "ends/without_events"]),
];

/// Drivers at the same time.
const AT_ONCE: usize = 6;

fn fake(arguments: &str) -> Sdk {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fake_driver.py");
    Sdk { name: "fake".to_owned(), command: format!("python3 '{}' {arguments}", program.display()) }
}

fn plan(globs: &[&str], jobs: usize) -> Plan {
    Plan { globs: globs.iter().map(|id| (*id).to_owned()).collect(), jobs, limit: Duration::from_secs(120) }
}

async fn server() -> (Mock, Server) {
    let mock = Mock::start().await.expect("daytona-mock starts: cargo build -p daytona-mock makes it");
    let server = Server::new(&mock.api_url, &mock.api_key).expect("a client");
    (mock, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_sdk_passes_everything() {
    let (mock, server) = server().await;
    let started = chrono::Utc::now();
    let column = run::run(&server, &fake(""), &plan(&[], AT_ONCE), &|_| {}).await.expect("a run");
    mock.stop().await;
    let bad: Vec<_> = column.results.iter().filter(|result| result.outcome != Outcome::Pass).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let comparison = Comparison::new(started, vec![column]);
    assert_eq!(comparison.exit_code(), 0);
    let page = html::to_string(&comparison);
    assert!(page.contains("errors/status_404") && !page.contains("http://") && !page.contains("<script"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_can_fail() {
    let known: BTreeSet<&str> = WRONG.iter().flat_map(|(_, ids)| ids.iter().copied()).collect();
    let all: BTreeSet<&str> = scenarios::all().map(|scenario| scenario.id).collect();
    assert_eq!(known, all, "the table of this test");
    let (mock, server) = server().await;
    let tried = stream::iter(WRONG).map(|(mode, ids)| {
        let server = &server;
        async move {
            let sdk = fake(&format!("--wrong {mode}"));
            let column = run::run(server, &sdk, &plan(ids, ids.len().min(3)), &|_| {}).await.expect("a run");
            let noticed = |result: &&run::Result| !matches!(result.outcome, Outcome::Fail | Outcome::Warn);
            column.results.iter().filter(noticed).map(|result| format!("{mode}: {result:?}")).collect::<Vec<_>>()
        }
    });
    let unnoticed: Vec<String> = tried.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.concat();
    mock.stop().await;
    assert!(unnoticed.is_empty(), "not noticed: {unnoticed:#?}");
}

/// The page says what is said: both directions of a whole walk are as the schema has them.
#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_the_protocol() {
    let (mock, server) = server().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (asked, told) = (directory.path().join("asked"), directory.path().join("told"));
    let inner = fake("").command;
    let line = format!("tee -a '{}' | {inner} | tee -a '{}'", asked.display(), told.display());
    let sdk = Sdk { name: "fake".to_owned(), command: format!("sh -c \"{line}\"") };
    let globs = [
        "wire/contract",
        "errors/status_404",
        "cancel/followed_logs",
        "text/*",
        "pty/exit_code",
        "lists/*",
        "waits/delete_waits",
        "timeouts/*",
    ];
    let column = run::run(&server, &sdk, &plan(&globs, 1), &|_| {}).await.expect("a run");
    mock.stop().await;
    assert!(column.results.iter().all(|result| result.outcome == Outcome::Pass), "{:#?}", column.results);
    let lines = |path| {
        let text = std::fs::read_to_string(path).expect("lines");
        text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect::<Vec<_>>()
    };
    let (asked, told) = (lines(asked), lines(told));
    let schema = Schema::new();
    let mut ops = std::collections::BTreeMap::new();
    for request in &asked {
        schema.check("request", request);
        ops.insert(request["id"].as_u64(), request["op"].as_str().expect("an op").to_owned());
    }
    // Ids count anew with each driver, and requests are the same in the order of one job.
    for line in &told {
        schema.check("line", line);
        if let (Some(result), true) = (line.get("ok"), asked.iter().filter(|one| one["id"] == line["id"]).count() == 1)
        {
            schema.check(&format!("results/{}", ops[&line["id"].as_u64()]), result);
        }
    }
    assert!(told.iter().any(|line| line["event"] == "data") && told.iter().any(|line| line["error"].is_object()));
    let spoken: BTreeSet<&str> = ops.values().map(String::as_str).collect();
    assert!(spoken.len() > 18, "{spoken:?}");
}

/// Parts of the protocol's schema.
struct Schema(Value);

impl Schema {
    fn new() -> Self {
        Self(serde_json::from_str(protocol::SCHEMA).expect("JSON"))
    }

    /// Panics if a value isn't as the definition says.
    fn check(&self, definition: &str, value: &Value) {
        let mut compiler = boon::Compiler::new();
        let mut schemas = boon::Schemas::new();
        compiler.add_resource("protocol.json", self.0.clone()).expect("a schema");
        let at = format!("protocol.json#/$defs/{definition}");
        let index = compiler.compile(&at, &mut schemas).unwrap_or_else(|error| panic!("{at}: {error}"));
        if let Err(error) = schemas.validate(value, index) {
            panic!("{definition}: {value}: {error:#}");
        }
    }
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    let refused = |definition: &'static str, text: &'static str| {
        std::panic::catch_unwind(|| Schema::new().check(definition, &serde_json::from_str(text).expect("JSON")))
            .is_err()
    };
    Schema::new().check("request", &serde_json::json!({"id": 1, "op": "get", "args": {"sandbox": "a"}}));
    assert!(refused("request", r#"{"id": 1, "op": "get", "args": {"sandbx": "a"}}"#));
    assert!(refused("request", r#"{"id": 1, "op": "fly", "args": {}}"#));
    assert!(refused("line", r#"{"id": 1, "ok": {}, "error": {"class": "A", "message": ""}}"#));
    assert!(refused("line", r#"{"id": 1, "error": {"message": ""}}"#));
}

#[test]
fn every_operation_is_in_the_schema() {
    let schema: Value = serde_json::from_str(protocol::SCHEMA).expect("JSON");
    let keys =
        |name: &str| schema["$defs"][name].as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys("args"), keys("results"));
    let page = include_str!("../../fixtures/drivers/README.md");
    let missing: Vec<String> = keys("args").into_iter().filter(|op| !page.contains(&format!("`{op}`"))).collect();
    assert!(missing.is_empty(), "the page doesn't name {missing:?}");
}

#[test]
fn what_is_no_driver_is_no_verdict() {
    let program = env!("CARGO_BIN_EXE_daytona-conformance");
    let ran =
        Command::new(program).args(["sdk", "--only", "errors/status_404", "--", "true"]).output().expect("it runs");
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
    let ran = Command::new(program).args(["sdk", "--only", "no/such", "--", "true"]).output().expect("it runs");
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
}
