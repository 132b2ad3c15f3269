//! How sandboxes end: stopped, removed, killed; with their zygote, with their server.

use super::*;

/// The process that made another one.
fn parent_of(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok()).expect("parent")
}

/// Neither gone nor a zombie of whoever adopted it.
fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}

#[tokio::test]
async fn stop_ends_every_process() {
    let world = World::start().await;
    let sandbox = world.launch().await;
    let marker = marker();
    sh(&sandbox, &format!("setsid sleep {marker} >/dev/null 2>&1 </dev/null & disown; true")).await;
    sh(&sandbox, &format!("(setsid sh -c 'trap \"\" TERM HUP; sleep {marker}' >/dev/null 2>&1 </dev/null &) ; true"))
        .await;
    eventually("sleeps run", || processes_with(&marker).len() >= 3).await;
    sandbox.stop(Duration::from_secs(5)).await;
    assert_eq!(processes_with(&marker), Vec::<i32>::new());
    sandbox.exited().await;
    sandbox.connect_port(80).await.expect_err("nobody is there");
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn an_idle_sandbox_stops_at_once() {
    let world = World::start().await;
    let sandbox = world.launch().await;
    sh(&sandbox, "true").await;
    let started = Instant::now();
    sandbox.stop(Duration::from_secs(30)).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    world.runtime.shutdown().await;
}

/// The first process of a namespace never gets a signal that it doesn't listen for yet.
#[tokio::test]
async fn a_stop_right_after_the_start_is_heard() {
    let world = World::start().await;
    for _ in 0..10 {
        let sandbox = world.launch().await;
        let stopped = tokio::time::timeout(Duration::from_secs(30), sandbox.stop(Duration::from_secs(300))).await;
        assert!(stopped.is_ok(), "it waits to be killed");
    }
}

#[tokio::test]
async fn stop_without_grace_is_at_once() {
    let world = World::start().await;
    let sandbox = world.launch().await;
    let marker = marker();
    sh(&sandbox, &format!("(trap '' TERM; sleep {marker}) >/dev/null 2>&1 </dev/null & true")).await;
    sandbox.stop(Duration::ZERO).await;
    assert_eq!(processes_with(&marker), Vec::<i32>::new());
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn files_outlive_a_stop() {
    let world = World::start().await;
    let spec = spec();
    let mut sandbox = world.runtime.launch(&spec).await.expect("launch");
    sh(&sandbox, "echo kept > file; mkdir -p deep/er; chmod 000 deep/er").await;
    let isolates = world.isolates("files outside of home");
    if isolates {
        sh(
            &sandbox,
            "echo t > /tmp/t; sudo sh -c 'echo r > /run/r; echo 1.2.3.4 x >> /etc/hosts; rm /etc/resolv.conf'",
        )
        .await;
        sh(&sandbox, "sudo ln -s /nonexistent/escape /etc/resolv.conf").await;
    }
    for _ in 0..3 {
        world.runtime.launch(&spec).await.err().expect("it runs already");
        sandbox.stop(Duration::ZERO).await;
        sandbox = world.runtime.launch(&spec).await.expect("launch again");
        assert_eq!(sh(&sandbox, "cat file").await, "kept");
        if isolates {
            assert_eq!(sh(&sandbox, "cat /tmp/t /run/r").await, "t\nr");
            assert!(sh(&sandbox, "cat /etc/resolv.conf").await.starts_with("nameserver"));
        }
    }
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn removal_leaves_nothing() {
    let world = World::start().await;
    let spec = spec();
    let sandbox = world.runtime.launch(&spec).await.expect("launch");
    sh(&sandbox, "mkdir -p a/b/c; echo x > a/b/c/d; chmod 000 a/b/c a").await;
    assert_eq!(world.runtime.known_ids().expect("ids"), std::slice::from_ref(&spec.id));
    sandbox.stop(Duration::ZERO).await;
    world.runtime.remove(&spec.id).await.expect("remove");
    world.runtime.remove(&spec.id).await.expect("remove what is gone");
    assert_eq!(world.runtime.known_ids().expect("ids"), [""; 0]);
    for name in ["trash", "sandboxes"] {
        assert_eq!(fs::read_dir(world.dir.path().join("data").join(name)).expect(name).count(), 0, "{name}");
    }
    for pid in processes_with("daytona-agent") {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        assert!(!mounts.contains(&spec.id), "mounted in {pid}");
    }
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn orphans_are_reaped_and_children_are_not() {
    let world = World::start().await;
    let sandbox = world.launch().await;
    let orphans = "for i in 1 2 3 4 5 6 7 8 9 10; do (setsid sh -c 'sleep 0.0$i' >/dev/null 2>&1 </dev/null &); done";
    let commands = (0..20).map(|n| {
        let (sandbox, command) = (sandbox.clone(), format!("{orphans}; exit {n}"));
        async move { assert_eq!(execute(&sandbox, &command).await.0, n, "an exit status went astray") }
    });
    futures_util::future::join_all(commands).await;
    let pid = sandbox.pid();
    let zombies = || {
        let children = fs::read_dir(format!("/proc/{pid}/task")).expect("tasks").flatten();
        let lists = children.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let lists: Vec<String> = lists.collect();
        let pids = lists.iter().flat_map(|list| list.split_whitespace());
        pids.filter(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z ")))
            .count()
    };
    eventually("no zombies", || zombies() == 0).await;
    world.runtime.shutdown().await;
}

#[tokio::test]
async fn its_end_is_told_whoever_brings_it() {
    let world = World::start().await;
    let sandbox = world.launch().await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(sandbox.pid()), nix::sys::signal::Signal::SIGKILL).expect("kill");
    let exit = tokio::time::timeout(Duration::from_secs(10), sandbox.exited()).await.expect("told");
    assert!(exit.reason.contains("KILL"), "{exit:?}");
    sandbox.connect().await.expect_err("nobody is there");
    world.runtime.shutdown().await;
}

/// Processes that wait to be sandboxes: a launch needs none of them, and none outlives the server.
#[tokio::test]
async fn killed_spares_are_replaced() {
    let world = World::start().await;
    let first = world.launch().await;
    let zygote = parent_of(first.pid());
    let waiting = || {
        let children = fs::read_to_string(format!("/proc/{zygote}/task/{zygote}/children")).unwrap_or_default();
        let pids = children.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
        pids.filter(|pid| *pid != first.pid()).collect::<Vec<_>>()
    };
    eventually("processes wait", || !waiting().is_empty()).await;
    waiting().into_iter().for_each(kill);
    let second = world.launch().await;
    assert_eq!(sh(&second, "echo ok").await, "ok");
    eventually("others wait", || waiting().iter().any(|pid| *pid != second.pid())).await;
    let all = waiting();
    world.runtime.shutdown().await;
    eventually("nobody waits any more", || !all.iter().any(|pid| lives(*pid))).await;
}

#[tokio::test]
async fn a_killed_zygote_is_replaced() {
    let world = World::start().await;
    let spec = spec();
    let sandbox = world.runtime.launch(&spec).await.expect("launch");
    kill(parent_of(sandbox.pid()));
    sandbox.exited().await;
    let sandbox = world.runtime.launch(&spec).await.expect("launch again");
    assert_eq!(sh(&sandbox, "echo ok").await, "ok");
    world.runtime.shutdown().await;
}

/// Not a test: the server that the next ones kill or count descriptors of, in a process of its own.
#[tokio::test]
#[ignore = "run by the tests below"]
async fn helper_process() {
    let Some(dir) = std::env::var_os("HELPER_DIR").map(PathBuf::from) else { return };
    let runtime = Runtime::start(config(dir.join("data"))).await.expect("runtime");
    let spec = spec();
    let marker = std::env::var("HELPER_MARKER").expect("marker");
    let cycle = || async {
        let sandbox = runtime.launch(&spec).await.expect("launch");
        sh(&sandbox, &format!("setsid sleep {marker} >/dev/null 2>&1 </dev/null & true")).await;
        sandbox
    };
    let open = || fs::read_dir("/proc/self/fd").expect("descriptors").count();
    cycle().await.stop(Duration::ZERO).await;
    let before = open();
    for _ in 0..5 {
        cycle().await.stop(Duration::ZERO).await;
    }
    eventually("no descriptors leak", || open() <= before).await;
    let _sandbox = cycle().await;
    fs::write(dir.join("ready"), "").expect("ready");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_server_leaves_no_process() {
    let dir = tempfile::tempdir().expect("temp dir");
    let marker = marker();
    let mut server = tokio::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "runtime::ends::helper_process"])
        .env("HELPER_DIR", dir.path())
        .env("HELPER_MARKER", &marker)
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("helper");
    let ready = dir.path().join("ready");
    eventually("the helper is ready", || Path::new(&ready).exists()).await;
    assert!(!processes_with(&marker).is_empty());
    server.kill().await.expect("kill");
    eventually("all processes are gone", || processes_with(&marker).is_empty()).await;
    // And its data can be used at once.
    let runtime = Runtime::start(config(dir.path().join("data"))).await.expect("runtime");
    let ids = runtime.known_ids().expect("ids");
    assert_eq!(ids.len(), 1);
    let sandbox = runtime.launch(&SandboxSpec { id: ids[0].clone(), ..spec() }).await.expect("launch");
    assert_eq!(sh(&sandbox, "echo ok").await, "ok");
    runtime.shutdown().await;
}

#[tokio::test]
async fn leftovers_of_a_killed_server_are_cleaned_up() {
    let dir = tempfile::tempdir().expect("temp dir");
    let data = dir.path().join("data");
    let left = [data.join("trash/half"), data.join("sandboxes/probe-1")];
    for path in &left {
        fs::create_dir_all(path.join("a/b")).expect("leftover");
    }
    let runtime = Runtime::start(config(data.clone())).await.expect("runtime");
    assert_eq!(runtime.known_ids().expect("ids"), [""; 0]);
    eventually("leftovers are gone", || left.iter().all(|path| !path.exists())).await;
    runtime.launch(&spec()).await.expect("launch");
    runtime.launch(&spec()).await.expect("launch").stop(Duration::ZERO).await;
    runtime.shutdown().await;
    runtime.purge().await;
    assert!(["sandboxes", "trash", "volumes", "layers"].iter().all(|name| !data.join(name).exists()));
}
