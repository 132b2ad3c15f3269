//! Sandboxes as the server drives them: launched, talked to, stopped, started again, removed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use daytona_mock::runtime::{BaseChoice, Isolation, NetworkPolicy, Runtime, RuntimeConfig, Sandbox, SandboxSpec};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::isolation;

mod ends;

struct World {
    runtime: Arc<Runtime>,
    dir: tempfile::TempDir,
}

fn config(data_dir: PathBuf) -> RuntimeConfig {
    let path = |name: &str, default: &str| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| default.into()));
    RuntimeConfig {
        data_dir,
        cache_dir: path("DAYTONA_MOCK_TEST_CACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/bases")),
        isolation: isolation(),
        base: BaseChoice::Host,
        base_include: Vec::new(),
        git_mirrors: None,
        upstream_ca: Vec::new(),
        limits: Default::default(),
        binary: path("DAYTONA_MOCK_TEST_BINARY", env!("CARGO_BIN_EXE_daytona-mock")),
    }
}

impl World {
    async fn start() -> World {
        let dir = tempfile::tempdir().expect("temp dir");
        let runtime = Runtime::start(config(dir.path().join("data"))).await.expect("runtime");
        World { runtime, dir }
    }

    /// False, and said, in a tier that lacks what a test is about.
    fn isolates(&self, test: &str) -> bool {
        self.has(test, &[Isolation::Root, Isolation::Subuid, Isolation::Single])
    }

    fn has(&self, test: &str, tiers: &[Isolation]) -> bool {
        let tier = self.runtime.info().isolation;
        if !tiers.contains(&tier) {
            println!("SKIPPED in tier {tier}: {test}");
        }
        tiers.contains(&tier)
    }

    async fn launch(&self) -> Arc<Sandbox> {
        self.runtime.launch(&spec()).await.expect("launch")
    }
}

fn spec() -> SandboxSpec {
    SandboxSpec {
        id: uuid::Uuid::new_v4().to_string(),
        env: BTreeMap::from([("DAYTONA_TEST".to_owned(), "yes".to_owned())]),
        user: "daytona".into(),
        ..SandboxSpec::default()
    }
}

async fn request(sandbox: &Sandbox, method: &str, path: &str, body: Value) -> (u16, Bytes) {
    let stream = sandbox.connect().await.expect("connect");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "sandbox")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("request");
    let response = sender.send_request(request).await.expect("response");
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.expect("body").to_bytes())
}

/// Output of a shell command inside, and its exit code.
pub async fn execute(sandbox: &Sandbox, command: &str) -> (i64, String) {
    let (status, body) = request(sandbox, "POST", "/process/execute", json!({"command": command, "timeout": 60})).await;
    assert_eq!(status, 200, "{command}: {}", String::from_utf8_lossy(&body));
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    (body["exitCode"].as_i64().expect("exit code"), body["result"].as_str().unwrap_or_default().trim().to_owned())
}

/// Output of a command that must succeed.
async fn sh(sandbox: &Sandbox, command: &str) -> String {
    let (code, output) = execute(sandbox, command).await;
    assert_eq!(code, 0, "{command}: {output}");
    output
}

/// Waits until `condition` holds.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Host pids of processes with `text` on their command line.
fn processes_with(text: &str) -> Vec<i32> {
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    })
    .collect()
}

/// A number that no other process has on its command line.
fn marker() -> String {
    format!("{}", 100_000_000 + uuid::Uuid::new_v4().as_u128() % 100_000_000)
}

#[tokio::test]
async fn a_sandbox_is_a_machine_of_its_own() {
    let world = World::start().await;
    if !world.isolates("a machine of its own") {
        return;
    }
    let sandbox = world.launch().await;
    assert_eq!(sh(&sandbox, "whoami; id -u; id -g; pwd").await, "daytona\n1000\n1000\n/home/daytona");
    assert_eq!(sh(&sandbox, "hostname; cat /etc/hostname").await, format!("{0}\n{0}", sandbox.id()));
    assert_eq!(sh(&sandbox, "cat /proc/1/comm").await, "daytona-agent");
    let mut names: Vec<_> = sh(&sandbox, "env | cut -d= -f1 | sort").await.lines().map(str::to_owned).collect();
    names.retain(|name| name != "_" && name != "PWD" && name != "OLDPWD" && name != "SHLVL");
    assert_eq!(names, ["DAYTONA_TEST", "HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER"]);
    let processes = sh(&sandbox, "ls -d /proc/[0-9]* | wc -l").await;
    assert!(processes.parse::<u32>().expect("a number") < 8, "host processes show: {processes}");
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn nothing_of_the_host_shows() {
    let world = World::start().await;
    if !world.isolates("nothing of the host shows") {
        return;
    }
    let sandbox = world.launch().await;
    let sudo = if sh(&sandbox, "command -v sudo || true").await.is_empty() { "" } else { "sudo" };
    assert_eq!(sh(&sandbox, "tr '\\0' ' ' < /proc/1/cmdline").await, "daytona-agent");
    let (_, environment) = execute(&sandbox, &format!("{sudo} tr '\\0' '\\n' < /proc/1/environ")).await;
    assert!(!environment.contains("CARGO"), "{environment}");
    for command in ["cat /proc/1/environ", "ls /proc/1/fd/", "ls /proc/1/cwd/", "cat /proc/1/mem", "kill -9 1 && false"]
    {
        assert_ne!(execute(&sandbox, command).await.0, 0, "{command}");
    }
    let data_dir = world.dir.path().display().to_string();
    assert_ne!(execute(&sandbox, &format!("ls {data_dir}")).await.0, 0, "the host's files show");
    assert_eq!(sh(&sandbox, "ls /home").await, "daytona");
    assert_eq!(sh(&sandbox, &format!("{sudo} ls /root")).await, "");
    let (_, mounts) = execute(&sandbox, "cut -d' ' -f5 /proc/self/mountinfo").await;
    assert!(!mounts.contains("/mnt") && !mounts.contains("/sys/fs"), "{mounts}");
    // Descriptors of the agent don't reach its children.
    assert_eq!(sh(&sandbox, "ls /proc/self/fd | wc -l").await, "4");
    // The agent, and with it the sandbox, survives this; its own shell may not.
    let _ = request(&sandbox, "POST", "/process/execute", json!({"command": "kill -9 -1", "timeout": 10})).await;
    assert_eq!(sh(&sandbox, "echo alive").await, "alive");
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn root_inside_is_not_root_outside() {
    let world = World::start().await;
    if !world.isolates("root inside is not root outside") {
        return;
    }
    let sandbox = world.launch().await;
    assert_eq!(sh(&sandbox, "sudo id -u; sudo whoami").await, "0\nroot");
    for command in [
        "sudo sh -c 'echo x > /proc/sys/kernel/core_pattern'",
        "sudo sh -c 'echo h > /proc/sysrq-trigger'",
        "sudo sh -c 'echo 1 > /proc/sys/kernel/panic'",
        "sudo mknod /tmp/disk b 254 0",
        "sudo mount -t ext4 /dev/vda /mnt",
        "sudo cat /proc/kcore",
        "sudo hostname x && sudo sh -c 'echo 1 > /sys/kernel/uevent_helper'",
        "sudo touch /usr/../proc/1/root/../x",
    ] {
        let (code, output) = execute(&sandbox, command).await;
        assert_ne!(code, 0, "{command}: {output}");
    }
    let outside = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("core_pattern");
    assert_ne!(outside.trim(), "x");
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn ids_are_real() {
    let world = World::start().await;
    if !world.has("several ids", &[Isolation::Root, Isolation::Subuid]) {
        return;
    }
    let sandbox = world.launch().await;
    assert_ne!(execute(&sandbox, "touch /etc/x").await.0, 0);
    sh(&sandbox, "sudo touch /etc/x && sudo chown 33:33 /etc/x").await;
    assert_eq!(sh(&sandbox, "stat -c '%u %g' /etc/x / /etc /home/daytona").await, "33 33\n0 0\n0 0\n1000 1000");
    assert_eq!(sh(&sandbox, "sudo -u '#33' id -u").await, "33");
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn sudo_takes_the_usual_options() {
    let world = World::start().await;
    if !world.isolates("sudo") {
        return;
    }
    let sandbox = world.launch().await;
    for (command, expected) in [
        ("sudo -n true && echo ok", "ok"),
        ("sudo A=b sh -c 'echo $A'", "b"),
        ("A=b sudo -E sh -c 'echo $A'", "b"),
        ("A=b sudo sh -c 'echo $A'", ""),
        ("sudo -u daytona whoami", "daytona"),
        ("sudo sudo -u daytona whoami", "daytona"),
        ("sudo sudo id -u", "0"),
        ("sudo -H sh -c 'echo $HOME'", "/root"),
        ("sudo -i pwd", "/root"),
        ("sudo -s 'echo hi; id -u' 2>/dev/null || sudo sh -c 'echo hi; id -u'", "hi\n0"),
        ("sudo -- echo x", "x"),
        ("cd /tmp && sudo pwd", "/tmp"),
        ("sudo sh -c 'echo $SUDO_USER $USER'", "daytona root"),
    ] {
        assert_eq!(sh(&sandbox, command).await, expected, "{command}");
    }
    assert_eq!(execute(&sandbox, "sudo sh -c 'exit 7'").await.0, 7);
    assert_ne!(execute(&sandbox, "sudo no-such-program").await.0, 0);
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn ports_inside_are_reached() {
    let world = World::start().await;
    if !world.isolates("ports of its own") {
        return;
    }
    let sandbox = world.launch().await;
    let serve = |host: &str, port: u16| {
        format!(
            "setsid python3 -c 'import socket\ns=socket.socket(socket.AF_INET6 if \":\" in \"{host}\" else socket.AF_INET)\n\
             s.bind((\"{host}\",{port}));s.listen()\nopen(\"/tmp/{port}\",\"w\")\nwhile 1:\n c=s.accept()[0];c.sendall(b\"hi\");c.close()' \
             >/dev/null 2>&1 </dev/null & until [ -e /tmp/{port} ]; do :; done"
        )
    };
    sh(&sandbox, &serve("127.0.0.1", 3000)).await;
    sh(&sandbox, &serve("::1", 80)).await;
    for port in [3000, 80] {
        let mut stream = sandbox.connect_port(port).await.expect("connect");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "hi");
        let _ = stream.write_all(b"x").await;
    }
    let refused = sandbox.connect_port(3999).await.expect_err("nothing listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn bad_specs_are_refused() {
    let world = World::start().await;
    for id in ["", "..", "a/b", "../../etc", "a b", &"x".repeat(65)] {
        world.runtime.launch(&SandboxSpec { id: id.to_owned(), ..spec() }).await.err().expect(id);
        world.runtime.remove(id).await.expect_err(id);
    }
    if world.isolates("users") {
        let error =
            world.runtime.launch(&SandboxSpec { user: "nobody-here".into(), ..spec() }).await.err().expect("no user");
        assert!(error.to_string().contains("unable to find user nobody-here"), "{error}");
        let root = world.runtime.launch(&SandboxSpec { user: "root".into(), ..spec() }).await;
        if world.has("user root", &[Isolation::Root, Isolation::Subuid]) {
            let root = root.expect("root");
            assert_eq!(
                sh(&root, "id -un; echo $HOME; grep CapEff /proc/self/status | grep -c 0000000000000000 || true").await,
                "root\n/root\n0"
            );
        }
    }
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn large_environments_arrive() {
    let world = World::start().await;
    let mut spec = spec();
    spec.env.extend((0..300).map(|n| (format!("VAR_{n}"), "x".repeat(2000))));
    let sandbox = world.runtime.launch(&spec).await.expect("launch");
    assert_eq!(sh(&sandbox, "env | grep -c ^VAR_").await, "300");
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn many_start_at_once() {
    let world = World::start().await;
    let started = Instant::now();
    let launches = (0..20).map(|_| async {
        let sandbox = world.launch().await;
        sh(&sandbox, "echo ok").await
    });
    let answers = futures_util::future::join_all(launches).await;
    println!("20 at once: {:?}", started.elapsed());
    assert!(answers.iter().all(|answer| answer == "ok"));
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn sandboxes_get_out_unless_the_policy_says_no() {
    let world = World::start().await;
    if !world.isolates("a network of its own") {
        return;
    }
    let outbound = &world.runtime.info().capabilities["outbound"];
    if !outbound.available {
        println!("SKIPPED: no way out: {}", outbound.detail);
        return;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"hi from outside").await;
        }
    });
    let sandbox = world.launch().await;
    let ask = format!(
        "python3 -c 'import socket; s=socket.create_connection((\"10.0.2.2\", {port}), 2); print(s.recv(99).decode())'"
    );
    assert_eq!(sh(&sandbox, &ask).await, "hi from outside");
    sandbox.set_network_policy(NetworkPolicy { block_all: true, ..Default::default() });
    assert_ne!(execute(&sandbox, &ask).await.0, 0);
    sandbox.set_network_policy(NetworkPolicy::default());
    assert_eq!(sh(&sandbox, &ask).await, "hi from outside");
    world.runtime.own_ports().add(port);
    assert_ne!(execute(&sandbox, &ask).await.0, 0, "the server's own port is reached");
    world.runtime.shutdown().await;
}
