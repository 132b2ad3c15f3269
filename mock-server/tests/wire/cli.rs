//! The program as people and scripts run it.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{self, PATIENCE, eventually_blocking};

/// A server of its own data directory, started by its command line.
pub struct Running {
    pub child: Child,
    pub ready: Value,
}

pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(support::binary());
    command
        .args(args)
        .env("XDG_CACHE_HOME", cache_home())
        .env("XDG_STATE_HOME", dir)
        .env_remove("DAYTONA_MOCK_DATA_DIR");
    if let Ok(tier) = std::env::var("DAYTONA_MOCK_TEST_ISOLATION") {
        command.env("DAYTONA_MOCK_ISOLATION", tier);
    }
    command
}

/// Its `daytona-mock` leads to the bases that all tests share.
fn cache_home() -> PathBuf {
    let shared = support::cache_dir();
    let home = shared.join("xdg");
    fs::create_dir_all(&home).expect("mkdir");
    _ = std::os::unix::fs::symlink(&shared, home.join("daytona-mock"));
    home
}

pub fn start(dir: &Path, args: &[&str]) -> Running {
    start_command(dir, command(dir, args))
}

pub fn start_command(dir: &Path, mut command: Command) -> Running {
    command.args(["--listen", "127.0.0.1:0"]);
    start_listening(dir, command)
}

/// The same where the command says already what to listen on.
pub fn start_listening(dir: &Path, mut command: Command) -> Running {
    let file = dir.join("ready.json");
    command.arg("--ready-file").arg(&file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    // The first of all starts makes a base.
    eventually_blocking("a ready file", 5 * PATIENCE, || {
        if let Some(status) = child.try_wait().expect("wait") {
            let mut text = String::new();
            _ = child.stderr.take().expect("piped").read_to_string(&mut text);
            panic!("{status}: {text}");
        }
        file.exists().then_some(())
    });
    let ready = serde_json::from_slice(&fs::read(file).expect("ready file")).expect("JSON");
    Running { child, ready }
}

impl Running {
    pub fn text(&self, field: &str) -> &str {
        self.ready[field].as_str().expect("text")
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("signal");
    }

    pub fn ended(&mut self) -> ExitStatus {
        eventually_blocking("its end", PATIENCE, || self.child.try_wait().expect("wait"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

pub fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().expect("runs")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

#[test]
fn usage_errors_exit_with_2_and_help_with_0() {
    let dir = tempfile::tempdir().expect("temp dir");
    assert_eq!(run(dir.path(), &["--no-such-flag"]).status.code(), Some(2));
    assert_eq!(run(dir.path(), &["--isolation", "vm"]).status.code(), Some(2));
    assert_eq!(run(dir.path(), &["--help"]).status.code(), Some(0));
    let version = run(dir.path(), &["--version"]);
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("daytona-mock {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn without_a_server_env_and_health_fail_and_say_why() {
    let dir = tempfile::tempdir().expect("temp dir");
    for name in ["env", "health"] {
        let output = run(dir.path(), &[name]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("no server is running"), "{name}");
    }
}

#[test]
fn wrong_options_are_start_up_errors() {
    let dir = tempfile::tempdir().expect("temp dir");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    for args in
        [["--ephemeral", "--listen", &address], ["--ephemeral", "--public-url", "x/y"], ["--ephemeral", "--log", "=="]]
    {
        let output = run(dir.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("daytona-mock: "), "{args:?}");
    }
}

#[test]
fn a_server_says_how_to_reach_it_until_it_is_told_to_end() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut server = start(dir.path(), &["--json", "--api-key", "dtn_given"]);
    let file = dir.path().join("ready.json");
    assert_eq!(mode(&file), 0o600);
    assert!(server.text("apiUrl").ends_with("/api"), "{}", server.ready);
    assert!(server.text("toolboxUrl").ends_with("/toolbox"), "{}", server.ready);
    assert_eq!(server.text("apiKey"), "dtn_given");
    assert_eq!(server.ready["pid"], server.child.id());

    let env = run(dir.path(), &["env"]);
    let expected = format!("export DAYTONA_API_URL={}\nexport DAYTONA_API_KEY=dtn_given\n", server.text("apiUrl"));
    assert_eq!(String::from_utf8_lossy(&env.stdout), expected);
    let health = run(dir.path(), &["health"]);
    assert_eq!(health.status.code(), Some(0));
    let health: Value = serde_json::from_slice(&health.stdout).expect("JSON");
    assert_eq!((&health["status"], &health["isolation"]), (&"ok".into(), &server.ready["isolation"]));

    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().code(), Some(0));
    let mut line = String::new();
    server.child.stdout.take().expect("piped").read_to_string(&mut line).expect("text");
    assert_eq!(serde_json::from_str::<Value>(&line).expect("one line of JSON"), server.ready);
    assert!(!file.exists());
    assert!(dir.path().join("daytona-mock").is_dir(), "data stay");
    assert_eq!(run(dir.path(), &["health"]).status.code(), Some(1));
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = start(dir.path(), &[]);
    let output = run(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(&format!("pid {}", server.child.id())), "{text}");
}

#[test]
fn ephemeral_data_go_with_the_server() {
    let dir = tempfile::tempdir().expect("temp dir");
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary).expect("mkdir");
    let mut ephemeral = command(dir.path(), &["--ephemeral"]);
    ephemeral.env("TMPDIR", &temporary);
    let mut server = start_command(dir.path(), ephemeral);
    assert_eq!(fs::read_dir(&temporary).expect("dir").count(), 1);
    server.signal(Signal::SIGINT);
    assert_eq!(server.ended().code(), Some(0));
    assert_eq!(fs::read_dir(&temporary).expect("dir").count(), 0);
}

/// The control plane or a toolbox of this server, asked from outside.
pub async fn call(server: &Running, method: Method, path: &str, body: Value) -> Value {
    let url = format!("{}{path}", server.text("apiUrl").trim_end_matches("/api"));
    let request = support::client(server.text("apiKey")).request(method, url).json(&body);
    request.send().await.expect("answer").json().await.expect("JSON")
}

pub async fn execute(server: &Running, id: &str, command: &str) -> String {
    let path = format!("/toolbox/{id}/process/execute");
    let answer = call(server, Method::POST, &path, json!({"command": command})).await;
    answer["result"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Whether a process of this machine has `marker` in its command line.
pub fn running(marker: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let mut lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| line.windows(marker.len()).any(|window| window == marker.as_bytes()))
}

#[tokio::test]
async fn a_killed_server_leaves_no_process_and_its_sandboxes_come_back() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut server = start(dir.path(), &[]);
    let key = server.text("apiKey").to_owned();
    assert_eq!(mode(&dir.path().join("daytona-mock/api-key")), 0o600);
    let started = call(&server, Method::POST, "/api/sandbox", json!({"name": "one"})).await;
    let id = started["id"].as_str().expect("id").to_owned();
    let stopped = call(&server, Method::POST, "/api/sandbox", json!({"name": "two"})).await;
    let two = format!("/api/sandbox/{}", stopped["id"].as_str().expect("id"));
    let stopping = call(&server, Method::POST, &format!("{two}/stop"), json!({})).await;
    assert_eq!(stopping["desiredState"], "stopped", "{stopping}");
    let marker = format!("98{}", std::process::id());
    execute(&server, &id, &format!("echo kept > file; sleep {marker} >/dev/null 2>&1 </dev/null &")).await;
    // The shell answers as soon as it has forked; the fork becomes `sleep` a moment later.
    support::eventually("the background command runs", async || running(&marker).then_some(())).await;

    server.signal(Signal::SIGKILL);
    server.ended();
    support::eventually("no process is left", async || (!running(&marker)).then_some(())).await;
    assert_eq!(run(dir.path(), &["health"]).status.code(), Some(1), "a dead server is not a running one");

    fs::remove_file(dir.path().join("ready.json")).expect("left behind");
    let mut server = start(dir.path(), &[]);
    assert_eq!(server.text("apiKey"), key, "the key is kept");
    assert_eq!(execute(&server, &id, "cat file").await, "kept\n");
    let two = call(&server, Method::GET, "/api/sandbox/two", json!({})).await;
    assert_eq!(two["state"], "stopped", "{two}");

    // An orderly end stops the processes and leaves the files, too.
    execute(&server, &id, &format!("sleep {marker} >/dev/null 2>&1 </dev/null &")).await;
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().code(), Some(0));
    assert!(!running(&marker));
    let server = start(dir.path(), &[]);
    assert_eq!(execute(&server, &id, "cat file").await, "kept\n");
}

#[tokio::test]
async fn sandboxes_get_the_environment_that_was_given_and_no_more() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut command = command(dir.path(), &["--env", "GIVEN=1=2", "--env", "INHERITED", "--env", "NOT_THERE"]);
    command.envs([("INHERITED", "too"), ("SECRET", "s"), ("DAYTONA_MOCK_API_VERSION", "0.190.0")]);
    command.env("DAYTONA_MOCK_ALLOW_HOST", "mock.test,other.test");
    let server = start_command(dir.path(), command);
    let sandbox = call(&server, Method::POST, "/api/sandbox", json!({"env": {"OWN": "3"}})).await;
    let id = sandbox["id"].as_str().expect("id");
    let seen = execute(&server, id, "echo [$GIVEN] [$INHERITED] [$OWN]; env").await;
    assert!(seen.starts_with("[1=2] [too] [3]\n"), "{seen}");
    for absent in ["SECRET", "NOT_THERE", "DAYTONA_MOCK", "CARGO", "XDG_STATE_HOME"] {
        assert!(!seen.contains(absent), "{absent}: {seen}");
    }
    // The twins of flags.
    let config = call(&server, Method::GET, "/api/config", json!({})).await;
    assert_eq!(config["version"], "0.190.0");
    for (host, status) in [("mock.test", 200), ("other.test:80", 200), ("third.test", 421)] {
        let url = format!("{}/config", server.text("apiUrl"));
        let answer = reqwest::Client::new().get(url).header("host", host).send().await.expect("answer");
        assert_eq!(answer.status(), status, "{host}");
    }
}

/// The server's and its descendants' processes, descriptors and mounts, as counts.
fn footprint(server: &Running) -> [usize; 3] {
    let stats = fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, parent))
    });
    let parents: Vec<(u32, u32)> = stats.collect();
    let mut family = vec![server.child.id()];
    let mut at = 0;
    while let Some(of) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| pid));
        at += 1;
    }
    // What others have open can't always be seen.
    let open = |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let mounts =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/mountinfo")).map_or(0, |text| text.lines().count());
    [family.len(), family.iter().map(open).sum(), family.iter().map(mounts).sum()]
}

async fn live_and_die(server: &Running) {
    let sandbox = call(server, Method::POST, "/api/sandbox", json!({})).await;
    let path = format!("/api/sandbox/{}", sandbox["id"].as_str().expect("id"));
    let until = async |state: &str| {
        support::eventually(state, async || {
            let now = call(server, Method::GET, &path, json!({})).await;
            (now["state"] == state || now["statusCode"] == 404).then_some(())
        })
        .await;
    };
    let id = sandbox["id"].as_str().expect("id");
    execute(server, id, "curl -s http://10.0.2.2:1/ ; sleep 1000 >/dev/null 2>&1 </dev/null &").await;
    call(server, Method::POST, &format!("{path}/stop"), json!({})).await;
    until("stopped").await;
    call(server, Method::POST, &format!("{path}/start"), json!({})).await;
    until("started").await;
    execute(server, id, "setsid sleep 1000 >/dev/null 2>&1 </dev/null &").await;
    call(server, Method::DELETE, &path, json!({})).await;
    until("destroyed").await;
}

#[tokio::test]
async fn lives_leave_no_process_descriptor_mount_or_file_behind() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = start(dir.path(), &[]);
    // The first one mounts the base, and opens what stays open.
    live_and_die(&server).await;
    let before = footprint(&server);
    for _ in 0..3 {
        futures_util::future::join_all((0..6).map(|_| live_and_die(&server))).await;
    }
    // Connections of this test may have been among what was open before, but far fewer than there were lives.
    let back = |now: [usize; 3]| now.iter().zip(before).all(|(now, before)| *now <= before);
    support::eventually(&format!("as few as before: {before:?}"), async || back(footprint(&server)).then_some(()))
        .await;
    let left = fs::read_dir(dir.path().join("daytona-mock/sandboxes")).expect("sandboxes").count();
    assert_eq!(left, 0);
}

#[test]
fn the_controls_work_from_a_shell() {
    let dir = tempfile::tempdir().expect("temp dir");
    let _server = start(dir.path(), &["--json", "--strict"]);
    let ctl = |args: &[&str]| {
        let output = run(dir.path(), &[&["ctl"], args].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str::<Value>(&text).unwrap_or(Value::Null)
    };
    let key = ctl(&["keys", "--name", "mine", "--ttl", "3600", "--strict", "off"]);
    assert!(key["apiKey"].as_str().is_some() && key["endsAt"].as_str().is_some(), "{key}");
    let rule = r#"{"match": {"operation": "listSandboxes"}, "effect": {"type": "hang"}}"#;
    let fault = ctl(&["faults", "add", rule]);
    let id = fault["id"].as_str().expect("an id");
    assert_eq!(ctl(&["faults", "release", id])["released"], true);
    assert_eq!(ctl(&["faults"])["items"].as_array().map(Vec::len), Some(1));
    ctl(&["faults", "remove", id]);
    ctl(&["faults", "clear"]);
    assert_eq!(
        ctl(&["organization", r#"{"quota": {"cpu": 7}}"#])["quota"]["cpu"],
        ctl(&["organization"])["quota"]["cpu"]
    );
    let hook = ctl(&["webhooks", "add", "http://127.0.0.1:1/", "--events", "sandbox.created"])["id"].clone();
    assert_eq!(ctl(&["webhooks"])["endpoints"][0]["id"], hook);
    let hook = hook.as_str().expect("an id");
    assert_eq!(ctl(&["webhooks", "deliveries", hook])["items"], serde_json::json!([]));
    ctl(&["webhooks", "remove", hook]);
    assert_eq!(ctl(&["clock", "freeze"])["frozen"], true);
    ctl(&["clock", "advance", "60"]);
    assert_eq!(ctl(&["clock", "run"])["frozen"], false);
    assert_eq!(ctl(&["clock"])["frozen"], false);
    assert_eq!(ctl(&["journal", "status=failed", "operation=createSandbox"])["entries"], serde_json::json!([]));
    ctl(&["journal", "--clear"]);
    ctl(&["reset"]);
    for (args, says) in [
        (["ctl", "journal", "nope=1"], "there is no filter nope"),
        (["ctl", "journal", "nope"], "expected NAME=VALUE"),
        (["ctl", "--key=dtn_wrong", "reset"], "401 Invalid credentials"),
    ] {
        let output = run(dir.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{args:?}");
    }
}
