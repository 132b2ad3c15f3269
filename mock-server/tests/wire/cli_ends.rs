//! How servers end: by one signal, by two, and what is left then.

use std::{
    fs::{self, OpenOptions},
    net::TcpStream,
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, User, mkfifo},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    cli::{Running, call, command, execute, run, running, start, start_command},
    images::has_images,
    support::{self, PATIENCE, copy_binary, eventually, eventually_blocking},
};

fn gone(file: &Path) {
    eventually_blocking("the ready file is withdrawn", PATIENCE, || (!file.exists()).then_some(()));
}

async fn sandbox(server: &Running, body: Value) -> String {
    let made = call(server, Method::POST, "/api/sandbox", body).await;
    made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

#[tokio::test]
async fn a_second_signal_ends_it_whatever_it_waits_for() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut server = start(dir.path(), &[]);
    let id = sandbox(&server, json!({})).await;
    let marker = format!("97{}", std::process::id());
    execute(&server, &id, &format!("echo kept > file; sleep {marker} >/dev/null 2>&1 </dev/null &")).await;
    eventually("the background command runs", async || running(&marker).then_some(())).await;
    // Work that blocks for ever: a journal that nobody reads.
    let minted = call(&server, Method::POST, "/__control/keys", json!({})).await;
    let text = |name: &str| minted[name].as_str().expect("text").to_owned();
    let journal = dir.path().join("daytona-mock/journal");
    fs::create_dir_all(&journal).expect("made");
    let fifo = journal.join(format!("{}.jsonl", text("organizationId")));
    _ = fs::remove_file(&fifo);
    mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
    let list = format!("{}/sandbox", server.text("apiUrl"));
    assert_eq!(support::client(&text("apiKey")).get(list).send().await.expect("answer").status(), 200);

    server.signal(Signal::SIGTERM);
    // Nothing but that work is left.
    eventually("no process is left", async || (!running(&marker)).then_some(())).await;
    let listen = server.text("listen").to_owned();
    eventually("nobody listens", async || TcpStream::connect(&listen).is_err().then_some(())).await;
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().code(), Some(1));
    fs::remove_file(&fifo).expect("removed");
    let server = start(dir.path(), &[]);
    assert_eq!(execute(&server, &id, "cat file").await, "kept\n");
}

#[test]
fn a_signal_ends_a_start_whatever_it_waits_for() {
    let dir = tempfile::tempdir().expect("temp dir");
    let seed = dir.path().join("seed.yaml");
    mkfifo(&seed, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
    let args = ["--ephemeral", "--listen", "127.0.0.1:0", "--seed", seed.to_str().expect("utf-8")];
    let mut child = command(dir.path(), &args).stderr(Stdio::null()).spawn().expect("starts");
    // Without a reader there is no writer. It reads for ever then: nothing is written.
    let _writer = eventually_blocking("it reads the seed", 5 * PATIENCE, || {
        OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&seed).ok()
    });
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("signal");
    let ended = eventually_blocking("its end", PATIENCE, || child.try_wait().expect("wait"));
    assert_eq!(ended.code(), Some(1));
}

#[tokio::test]
async fn processes_that_will_not_end_are_dead_when_the_end_is_forced() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut server = start(dir.path(), &[]);
    let id = sandbox(&server, json!({})).await;
    let marker = format!("96{}", std::process::id());
    execute(
        &server,
        &id,
        &format!("echo kept > file; (trap '' TERM INT HUP; exec sleep {marker}) >/dev/null 2>&1 </dev/null &"),
    )
    .await;
    eventually("the background command runs", async || running(&marker).then_some(())).await;
    server.signal(Signal::SIGINT);
    gone(&dir.path().join("ready.json"));
    server.signal(Signal::SIGINT);
    server.ended();
    eventually("no process is left", async || (!running(&marker)).then_some(())).await;
    let server = start(dir.path(), &[]);
    assert_eq!(execute(&server, &id, "cat file").await, "kept\n");
}

#[test]
fn a_ready_file_is_of_a_server_that_runs() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("ready.json");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    let path = file.to_str().expect("utf-8");
    let failing = ["--ephemeral", "--listen", &address, "--ready-file", path];
    // What a server that was killed left: its process is none of ours.
    let mut server = start(dir.path(), &["--api-key", "dtn_one"]);
    server.child.kill().expect("killed");
    server.ended();
    for left in [fs::read(&file).expect("left behind"), b"junk".to_vec()] {
        fs::write(&file, left).expect("written");
        assert_eq!(run(dir.path(), &failing).status.code(), Some(1));
        assert!(!file.exists());
    }
    // That of a server that runs isn't taken from it by one that fails.
    let server = start(dir.path(), &["--api-key", "dtn_one"]);
    assert_eq!(run(dir.path(), &failing).status.code(), Some(1));
    let told: Value = serde_json::from_slice(&fs::read(&file).expect("still there")).expect("JSON");
    assert_eq!(told, server.ready);
}

/// Makes what lies in layers, volumes and archives, some of it with modes and owners that keep plain users out.
async fn fill(server: &Running) {
    call(server, Method::POST, "/api/volumes", json!({"name": "data"})).await;
    let volumes = json!([{"volumeId": "data", "mountPath": "/home/daytona/data"}]);
    let id = sandbox(server, json!({"volumes": volumes})).await;
    let strict = "mkdir -p shut/in && echo x > shut/in/file && chmod 555 shut/in && chmod 0 shut; \
                  sudo mkdir -m 700 /srv/roots && sudo sh -c 'echo x > /srv/roots/file'; cp -r /etc/hostname data/; echo done";
    assert_eq!(execute(server, &id, strict).await, "done\n");
    call(server, Method::POST, &format!("/api/sandbox/{id}/snapshot"), json!({"name": "mine"})).await;
    eventually("the snapshot is made", async || {
        let snapshot = call(server, Method::GET, "/api/snapshots/mine", json!({})).await;
        (snapshot["state"] == "active").then_some(())
    })
    .await;
    let two = sandbox(server, json!({"snapshot": "mine"})).await;
    execute(server, &two, "echo more > file").await;
    call(server, Method::DELETE, &format!("/api/sandbox/{id}"), json!({})).await;
}

async fn leaves_nothing(home: &Path, temporary: &Path, mut command: Command) {
    command.env("TMPDIR", temporary);
    let mut server = start_command(home, command);
    assert_eq!(fs::read_dir(temporary).expect("dir").count(), 1);
    fill(&server).await;
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().code(), Some(0));
    let left: Vec<_> = fs::read_dir(temporary).expect("dir").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn temporary_data_go_whatever_was_made() {
    if !has_images() {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary).expect("mkdir");
    leaves_nothing(dir.path(), &temporary, command(dir.path(), &["--ephemeral"])).await;
}

#[tokio::test]
async fn temporary_data_of_ordinary_users_go_too() {
    if !nix::unistd::geteuid().is_root() || !has_images() {
        return;
    }
    let ranges = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let with_range = ranges.lines().filter_map(|line| User::from_name(line.split(':').next()?).ok()?);
    let with_range = with_range.filter(|user| !user.uid.is_root());
    let nobody = User::from_uid(65534.into()).ok().flatten();
    let all = nobody.map(|user| ("single", user)).into_iter().chain(with_range.map(|user| ("subuid", user)).take(1));
    for (tier, user) in all {
        let dir = tempfile::tempdir().expect("temp dir");
        let (home, temporary) = (dir.path().join("home"), dir.path().join("home/tmp"));
        fs::create_dir_all(&temporary).expect("made");
        for path in [&home, &temporary] {
            nix::unistd::chown(path, Some(user.uid), Some(user.gid)).expect("given away");
        }
        let program = dir.path().join("daytona-mock");
        copy_binary(&program);
        for path in [dir.path(), &program] {
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("readable");
        }
        let as_user = || {
            let mut command = Command::new(&program);
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir("/").env("HOME", &home);
            command.env_remove("XDG_RUNTIME_DIR").env("XDG_CACHE_HOME", &home).env("TMPDIR", &temporary);
            command
        };
        if !as_user().args(["doctor", "--isolation", tier, "--json"]).output().expect("runs").status.success() {
            println!("SKIPPED: {} can't have tier {tier} here", user.name);
            continue;
        }
        let mut command = as_user();
        command.args(["--ephemeral", "--isolation", tier]);
        leaves_nothing(&home, &temporary, command).await;
    }
}
