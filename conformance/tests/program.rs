//! The program as people use it: its options, what it prints and writes, its exit codes, and what it leaves behind.

#[path = "program/client.rs"]
mod client;
#[path = "program/report.rs"]
mod report;
mod support;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use support::{Asked, Fake, Instead, KEY, config};
use tempfile::TempDir;

/// One that asks for the configuration only.
const PLAIN: &str = "auth/config_needs_no_key";
/// One with a sandbox.
const WITH_SANDBOX: &str = "files/missing_file_is_not_found";

/// The program, with a home of its own.
struct Program {
    home: TempDir,
    url: String,
}

impl Program {
    fn of(fake: &Fake) -> Self {
        Self { home: TempDir::new().unwrap(), url: fake.url.clone() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command.env("XDG_STATE_HOME", self.home.path()).env("DAYTONA_API_URL", &self.url).env("DAYTONA_API_KEY", KEY);
        command
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        told(self.command(arguments).output().expect("it runs"))
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn report(&self, dir: &str) -> Value {
        self.report_of(dir, "report.json")
    }

    fn report_of(&self, dir: &str, name: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.path(dir).join(name)).unwrap()).unwrap()
    }

    /// Ledgers that are left.
    fn ledgers(&self) -> usize {
        std::fs::read_dir(self.path("daytona-conformance/ledger")).map_or(0, Iterator::count)
    }
}

fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daytona-conformance"));
    for name in ["DAYTONA_API_URL", "DAYTONA_API_KEY", "DAYTONA_SECOND_API_KEY"] {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("no signal"), text(output.stdout), text(output.stderr))
}

fn good() -> Fake {
    Fake::start(|_, _| None)
}

/// Its configuration lacks a field that it must have.
fn lacking() -> Fake {
    Fake::start(|asked, _| asked.path.starts_with("/config").then(without_snapshot))
}

fn without_snapshot() -> Instead {
    let mut config = config();
    config.as_object_mut().unwrap().remove("defaultSnapshot");
    Instead::Answer(200, "", config)
}

fn is_download(asked: &Asked) -> bool {
    asked.path.contains("/files/download")
}

fn silent_downloads() -> Fake {
    Fake::start(|asked, _| is_download(asked).then_some(Instead::Silence))
}

#[test]
fn exit_codes_tell_a_verdict_from_a_mistake() {
    let (good, bad) = (good(), lacking());
    let (program, against_bad) = (Program::of(&good), Program::of(&bad));
    assert_eq!(program.run(&["run", PLAIN]).0, 0);
    assert_eq!(against_bad.run(&["run", PLAIN]).0, 1);
    let (code, _, why) = program.run(&["run", "no/such"]);
    assert!(code == 2 && why.contains("no scenario fits"), "{why}");
    let (code, _, why) = program.run(&["run", "--no-such-option"]);
    assert!(code == 2 && why.contains("--no-such-option"), "{why}");
    let (code, _, why) = told(bare(&["run", PLAIN]).output().unwrap());
    assert!(code == 2 && why.contains("--target mock"), "{why}");
    let (code, _, why) = program.run(&["run", PLAIN, "--api-url", "http://127.0.0.1:1/api"]);
    assert!(code == 2 && why.contains("no Daytona API"), "{why}");
    assert_eq!((program.ledgers(), against_bad.ledgers()), (0, 0), "who makes nothing has no ledger");
    for wrong in [
        ["--rps", "0"],
        ["--rps", "nan"],
        ["--max-minutes", "nan"],
        ["--max-minutes=-1", "--quiet"],
        ["--cases", "0"],
        ["--jobs", "0"],
        ["--timeout", "0"],
    ] {
        let (code, _, why) = program.run(&[&["run", PLAIN][..], &wrong].concat());
        assert!(code == 2 && why.contains("invalid value"), "{wrong:?}: {why}");
    }
    for command in [&["list"][..], &["list", "--json"], &["coverage"], &["explain", PLAIN], &["mutants", "--list"]] {
        assert_eq!(program.run(command).0, 0, "{command:?}");
    }
}

#[test]
fn a_scenario_is_explained_and_an_unknown_one_guessed() {
    let program = Program::of(&good());
    let (code, text, _) = program.run(&["explain", "files/upload_creates_parents"]);
    assert_eq!(code, 0);
    for part in ["files/upload_creates_parents", "level     Must", "judges    UploadFile", "run it    "] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (code, _, why) = program.run(&["explain", "upload_creates"]);
    assert!(code == 2 && why.contains("did you mean files/upload_creates_parents"), "{why}");
}

#[test]
fn an_interrupted_run_reports_and_cleans_up() {
    let fake = silent_downloads();
    let program = Program::of(&fake);
    let run = program.start(&["run", PLAIN, WITH_SANDBOX, "--jobs", "1", "--report", &program.arg("out")]);
    let made = fake.wait_for(|asked| asked.method == "POST" && asked.path == "/sandbox");
    fake.wait_for(is_download);
    let id = made.body["labels"]["conformance-run"].as_str().expect("the run's label").to_owned();
    assert_eq!(made.body["labels"]["conformance"], "true");
    assert!(made.body["autoStopInterval"].is_u64() && made.body["autoDeleteInterval"].is_u64(), "{}", made.body);
    kill(Pid::from_raw(run.id().cast_signed()), Signal::SIGINT).unwrap();
    let (code, printed, said) = told(run.wait_with_output().unwrap());
    assert_eq!(code, 2, "{printed}");
    assert!(said.contains("cleaning up"), "{said}");
    let report = program.report("out");
    assert_eq!((&report["partial"], &report["run"]), (&json!(true), &json!(id)));
    let outcomes = |report: &Value| -> Vec<Value> {
        report["scenarios"].as_array().unwrap().iter().map(|scenario| scenario["outcome"].clone()).collect()
    };
    assert_eq!(outcomes(&report), [json!("pass"), json!("not-run")]);
    assert_eq!(fake.sandboxes(), [] as [Value; 0]);
    assert_eq!(program.ledgers(), 0, "nothing is left, so no ledger is");
}

#[test]
fn an_interrupted_start_leaves_no_server() {
    let home = TempDir::new().unwrap();
    let told_to = home.path().join("pid");
    let server =
        || std::fs::read_to_string(&told_to).ok().and_then(|pid| Some(Pid::from_raw(pid.trim().parse().ok()?)));
    for command in [
        &["run", "--target", "mock"][..],
        &["diff", "--left", "mock", "--right", "mock"],
        &["client", "--", "true"],
        &["sdk", "--", "true"],
        &["mutants"],
    ] {
        let mut program = bare(command);
        program.env("DAYTONA_MOCK_BIN", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/never_ready.sh"));
        program.env("PID_FILE", &told_to).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = program.spawn().expect("it runs");
        let pid = eventually("the server begins", server);
        kill(Pid::from_raw(program.id().cast_signed()), Signal::SIGINT).unwrap();
        let (code, _, said) = told(program.wait_with_output().unwrap());
        assert!(code == 2 && said.contains("interrupted"), "{command:?}: {code} {said}");
        // Who is dead and not yet waited for has no command line either.
        eventually("the server ends", || {
            std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty()).then_some(())
        });
        std::fs::remove_file(&told_to).unwrap();
    }
}

/// What comes to be within a while.
fn eventually<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = there() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_a_killed_run_leaves_is_swept_and_nothing_else() {
    let fake = silent_downloads();
    let program = Program::of(&fake);
    let mut run = program.start(&["run", WITH_SANDBOX]);
    let made = fake.wait_for(|asked| asked.method == "POST" && asked.path == "/sandbox");
    fake.wait_for(is_download);
    run.kill().unwrap();
    run.wait().unwrap();
    let id = made.body["labels"]["conformance-run"].as_str().unwrap();
    assert_eq!((fake.sandboxes().len(), program.ledgers()), (1, 1));
    fake.put("somebody's", json!({"conformance": "no", "team": "a"}));
    fake.put("bare", json!({}));
    fake.put("another-run", json!({"conformance": "true", "conformance-run": "another"}));
    let there = || fake.sandboxes().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let (code, told, _) = program.run(&["sweep", "--run", id]);
    assert!(code == 0 && told.contains("0 left"), "{told}");
    assert_eq!(there(), ["somebody's", "bare", "another-run"]);
    assert_eq!(program.ledgers(), 0);
    assert_eq!(program.run(&["sweep", "--older-than", "100000d"]).0, 0);
    assert_eq!(there().len(), 3, "too young");
    assert_eq!(program.run(&["sweep", "--older-than", "1h"]).0, 0);
    assert_eq!(there(), ["somebody's", "bare"]);
    for wrong in [&["sweep"][..], &["sweep", "--older-than", "soon"], &["sweep", "--run", "a", "--older-than", "1h"]] {
        assert_eq!(program.run(wrong).0, 2, "{wrong:?}");
    }
    let mut deleted: Vec<_> = fake.asked().into_iter().filter(|asked| asked.method == "DELETE").collect();
    deleted.dedup_by(|one, other| one.path == other.path);
    assert_eq!(deleted.len(), 2, "nothing else was tried: {deleted:?}");
}

#[test]
fn a_baseline_is_written_accepts_and_goes_stale() {
    let (bad, good) = (lacking(), good());
    let (program, mended) = (Program::of(&bad), Program::of(&good));
    let file = program.arg("accepted.txt");
    let other = "files/missing_file_is_not_found:status # it is known";
    std::fs::write(&file, format!("{other}\n")).unwrap();
    let (code, ..) = program.run(&["run", PLAIN, "--baseline", &file, "--write-baseline", &file]);
    assert_eq!(code, 1);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("auth/config_needs_no_key:shape:ConfigController_getConfig\n"), "{text}");
    assert!(text.contains(other), "entries of scenarios that didn't run stay: {text}");
    let (code, told, _) = program.run(&["run", PLAIN, "--baseline", &file]);
    assert!(code == 0 && told.contains("accepted by the baseline"), "{told}");
    let (code, told, _) = mended.run(&["run", PLAIN, "--baseline", &file]);
    assert!(code == 1 && told.contains("STALE"), "{told}");
    std::fs::write(&file, "no/such:check\n").unwrap();
    let (code, _, why) = program.run(&["run", PLAIN, "--baseline", &file]);
    assert!(code == 2 && why.contains("no/such"), "{why}");
}

#[test]
fn the_first_failure_ends_a_run_that_fails_fast() {
    let program = Program::of(&lacking());
    let report = program.arg("out");
    let (code, ..) =
        program.run(&["run", "auth/*", "--area", "auth", "--jobs", "1", "--fail-fast", "--report", &report]);
    assert_eq!(code, 1, "it is a verdict");
    let report = program.report("out");
    assert_eq!(report["totals"]["FAIL"], 1);
    assert!(report["totals"]["not run"].as_u64() > Some(3), "{}", report["totals"]);
    assert_eq!(report["partial"], true);
}

#[test]
fn attempts_are_told() {
    let fake = Fake::start(|asked, number| (number == 2 && asked.path.starts_with("/config")).then(without_snapshot));
    let program = Program::of(&fake);
    let report = program.arg("out");
    let (code, printed, _) = program.run(&["run", PLAIN, "--retry-flaky", "2", "--report", &report]);
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("FLAKY: auth/config_needs_no_key passed at attempt 2"), "{printed}");
    let attempts = &program.report("out")["scenarios"][0]["earlierAttempts"];
    assert_eq!((attempts.as_array().map(Vec::len), &attempts[0]["outcome"]), (Some(1), &json!("fail")));
    let file = |name: &str| std::fs::read_to_string(program.path("out").join(name)).unwrap();
    assert!(file("junit.xml").contains("<flakyFailure"), "{}", file("junit.xml"));
    assert!(file("report.html").contains("Passed at another attempt"));
}

#[test]
fn a_deadline_ends_a_run() {
    let fake = silent_downloads();
    let program = Program::of(&fake);
    let began = Instant::now();
    let (code, told, _) = program.run(&["run", WITH_SANDBOX, "--deadline", "1"]);
    assert!(code == 2 && told.contains("the run did not finish"), "{told}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(fake.sandboxes(), [] as [Value; 0]);
}

#[test]
fn budgets_bound_what_is_made() {
    let fake = good();
    let program = Program::of(&fake);
    for budget in [["--max-sandboxes", "0"], ["--max-minutes", "0"]] {
        let report = program.arg("out");
        let arguments = [&["run", WITH_SANDBOX, "--report", &report][..], &budget[..]].concat();
        let (code, told, _) = program.run(&arguments);
        assert_eq!(code, 2, "{told}");
        let scenario = &program.report("out")["scenarios"][0];
        assert_eq!(scenario["outcome"], "not-run");
        assert!(scenario["reason"].as_str().unwrap().contains("used up"), "{scenario}");
    }
    assert!(!fake.asked().iter().any(|asked| asked.method == "POST"), "nothing was made");
}

/// Also of the work in a sandbox that many scenarios share.
#[test]
fn minutes_bound_a_shared_sandbox_and_the_run_says_so() {
    let fake = good();
    let program = Program::of(&fake);
    let (_, told, _) = program.run(&["run", "files/*", "--jobs", "1", "--max-minutes", "0.0001"]);
    assert!(told.contains("the budget of sandbox minutes is used up") && told.contains("of 0.0001"), "{told}");
    assert!(told.contains("the run did not finish"), "{told}");
}

/// Time that is waited because the suite was told to is no scenario's.
#[test]
fn a_slow_pace_and_a_limiter_cost_no_scenario_its_verdict() {
    let fake = good();
    let program = Program::of(&fake);
    let began = Instant::now();
    let (code, told, _) = program.run(&["run", PLAIN, "--rps", "1", "--timeout", "0.9"]);
    assert_eq!(code, 0, "{told}");
    assert!(began.elapsed() >= Duration::from_secs(2), "three requests, one a second: {:?}", began.elapsed());
    for header in ["Retry-After: 2\r\n", "Retry-After-Sandbox-List: 2\r\nRetry-After: 1\r\n"] {
        let limited = Fake::start(move |_, number| (number == 2).then(|| Instead::Answer(429, header, json!({}))));
        let program = Program::of(&limited);
        let began = Instant::now();
        let (code, told, _) = program.run(&["run", PLAIN, "--timeout", "1", "--verbose"]);
        assert_eq!(code, 0, "{header}: {told}");
        assert!(began.elapsed() >= Duration::from_secs(2), "{header}: {:?}", began.elapsed());
    }
    let closed = Fake::start(|asked, number| {
        (number >= 2 && asked.path.starts_with("/config"))
            .then(|| Instead::Answer(429, "Retry-After-authenticated: 3600\r\n", json!({})))
    });
    let (code, told, _) = Program::of(&closed).run(&["run", PLAIN]);
    assert!(code == 2 && told.contains("rate limited for longer"), "no verdict: {told}");
}

#[test]
fn a_record_is_kept_with_its_provenance_and_compared() {
    let (good, bad) = (good(), lacking());
    let (program, other) = (Program::of(&good), Program::of(&bad));
    let (left, right) = (program.arg("left.json"), program.arg("right.json"));
    for (program, file) in [(&program, &left), (&other, &right)] {
        let (code, told, why) = program.run(&["record", PLAIN, "--out", file]);
        assert!(code == 0 && told.contains("1 scenario of server 0.205.1"), "{told}{why}");
    }
    let record: Value = serde_json::from_str(&std::fs::read_to_string(&left).unwrap()).unwrap();
    assert_eq!((&record["schema"], &record["serverVersion"]), (&json!(1), &json!("0.205.1")));
    assert_eq!(record["suiteVersion"], env!("CARGO_PKG_VERSION"));
    let (code, told, _) = program.run(&["diff", "--left", &left, "--right", &left]);
    assert!(code == 0 && told.contains("0 differences"), "{told}");
    let (code, told, _) = program.run(&["diff", PLAIN, "--left", &left, "--right", &bad.url, "--right-key", KEY]);
    assert!(code == 1 && told.contains("/defaultSnapshot") && told.contains("not there"), "{told}");
    let (code, told, _) = program.run(&["diff", "--left", &left, "--right", &right, "--json"]);
    let differences: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &differences[0]["field"]), (1, &json!("/defaultSnapshot")));
    let (code, _, why) = program.run(&["diff", "--left", &left, "--right", &bad.url]);
    assert!(code == 2 && why.contains("--right-key"), "{why}");
    assert!(Path::new(&left).is_file());
}
