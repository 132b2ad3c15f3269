//! What a sandbox costs, without the gateway: `cargo bench -p daytona-mock --bench sandbox -- [directory|host] [N]`.
//!
//! Start of the runtime over a warm base, launch until the first execute is answered, the next execute, stop, start over
//! the same files, removal, memory of idle sandboxes; then snapshot, fork, archive and restoration of 10,000 files.
//! Figures are printed, not judged.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use daytona_mock::runtime::{BaseChoice, IsolationChoice, Runtime, RuntimeConfig, Sandbox, SandboxSpec};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let count: usize = args.get(1).and_then(|count| count.parse().ok()).unwrap_or(100);
    let temp = tempfile::tempdir().expect("directory");
    let base = match args.first().map(String::as_str) {
        Some("directory") => BaseChoice::Directory(directory_base(temp.path())),
        _ => BaseChoice::Host,
    };
    let config = |name: &str| RuntimeConfig {
        data_dir: temp.path().join(name),
        cache_dir: temp.path().join("cache"),
        isolation: IsolationChoice::Auto,
        base: base.clone(),
        base_include: Vec::new(),
        git_mirrors: None,
        upstream_ca: Vec::new(),
        limits: Default::default(),
        binary: env!("CARGO_BIN_EXE_daytona-mock").into(),
    };
    Runtime::start(config("first")).await.expect("runtime").shutdown().await;
    let started = Instant::now();
    let runtime = Runtime::start(config("data")).await.expect("runtime");
    println!("runtime, warm base: {:?} ({}, {})", started.elapsed(), runtime.info().isolation, runtime.info().base);

    let specs: Vec<_> = (0..count).map(|_| spec()).collect();
    let mut sandboxes = Vec::new();
    let (mut launch, mut first, mut next) = (Vec::new(), Vec::new(), Vec::new());
    for spec in &specs {
        let started = Instant::now();
        let sandbox = runtime.launch(spec).await.expect("launch");
        launch.push(started.elapsed());
        execute(&sandbox).await;
        first.push(started.elapsed());
        let started = Instant::now();
        execute(&sandbox).await;
        next.push(started.elapsed());
        sandboxes.push(sandbox);
    }
    show("launch", &mut launch);
    show("launch to first execute", &mut first);
    show("execute again, fresh connection", &mut next);
    // Idle blocking threads have gone by then.
    tokio::time::sleep(Duration::from_secs(3)).await;
    memory(&sandboxes);

    let mut stop = Vec::new();
    for sandbox in sandboxes.drain(..) {
        let started = Instant::now();
        sandbox.stop(Duration::from_secs(5)).await;
        stop.push(started.elapsed());
    }
    show("stop", &mut stop);
    let mut again = Vec::new();
    for spec in &specs {
        let started = Instant::now();
        let sandbox = runtime.launch(spec).await.expect("launch");
        execute(&sandbox).await;
        again.push(started.elapsed());
        sandbox.stop(Duration::ZERO).await;
    }
    show("start again to first execute", &mut again);
    let mut remove = Vec::new();
    for spec in &specs {
        let started = Instant::now();
        runtime.remove(&spec.id).await.expect("remove");
        remove.push(started.elapsed());
    }
    show("remove", &mut remove);
    let started = Instant::now();
    let together = (0..50).map(|_| async { execute(&runtime.launch(&spec()).await.expect("launch")).await });
    futures_util::future::join_all(together).await;
    println!("50 at once, all executed: {:?}", started.elapsed());
    many_files(&runtime).await;
    runtime.shutdown().await;
}

/// What the control plane does with a sandbox of 10,000 files.
async fn many_files(runtime: &Arc<Runtime>) {
    const FILL: &str =
        "cd ~ && for d in $(seq 100); do mkdir d$d && for f in $(seq 100); do echo $d $f > d$d/$f; done; done; echo ok";
    let spec = spec();
    let sandbox = runtime.launch(&spec).await.expect("launch");
    run(&sandbox, FILL).await;
    let (mut fork, mut pause) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let id = uuid::Uuid::new_v4().to_string();
        let started = Instant::now();
        runtime.fork(&sandbox, &id).await.expect("fork");
        fork.push(started.elapsed());
        runtime.remove(&id).await.expect("remove");
        let started = Instant::now();
        sandbox.freeze().await.expect("freeze");
        sandbox.thaw();
        pause.push(started.elapsed());
    }
    show("fork of 10,000 files, running", &mut fork);
    show("pause and resume", &mut pause);
    sandbox.stop(Duration::ZERO).await;
    let (mut archive, mut restore) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let started = Instant::now();
        runtime.archive(&spec.id, Default::default()).await.expect("archive");
        runtime.clear_away(&spec.id).await.expect("remove");
        archive.push(started.elapsed());
        let started = Instant::now();
        let sandbox = runtime.launch(&spec).await.expect("restore");
        restore.push(started.elapsed());
        run(&sandbox, "test $(ls ~ | wc -l) = 100 && echo ok").await;
        sandbox.stop(Duration::ZERO).await;
    }
    show("archive of 10,000 files", &mut archive);
    show("restoration and start", &mut restore);
    let started = Instant::now();
    runtime.commit(&spec.id, "s-bench").await.expect("commit");
    println!("snapshot of 10,000 files, stopped: {:?}", started.elapsed());
}

fn spec() -> SandboxSpec {
    SandboxSpec { id: uuid::Uuid::new_v4().to_string(), user: "daytona".into(), ..SandboxSpec::default() }
}

/// A small root file system with a static shell, if this machine has one, else with copies of `sh` and its libraries.
fn directory_base(temp: &Path) -> std::path::PathBuf {
    let root = temp.join("base");
    for dir in ["bin", "etc", "home/daytona", "root", "tmp", "usr/bin"] {
        fs::create_dir_all(root.join(dir)).expect("base");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\ndaytona:x:1000:1000::/home/daytona:/bin/sh\n")
        .expect("passwd");
    let libraries = std::process::Command::new("ldd").arg("/bin/sh").output().expect("ldd");
    let text = String::from_utf8_lossy(&libraries.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/')).chain(["/bin/sh"]);
    for path in paths {
        let target = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().expect("absolute")).expect("base");
        fs::copy(path, target).expect("copy");
    }
    fs::copy("/bin/sh", root.join("usr/bin/sh")).expect("copy");
    root
}

async fn execute(sandbox: &Arc<Sandbox>) {
    run(sandbox, "echo ok").await;
}

/// Runs a command that ends by printing `ok`.
async fn run(sandbox: &Arc<Sandbox>, command: &str) {
    let stream = sandbox.connect().await.expect("connect");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
    tokio::spawn(connection);
    let request = hyper::Request::post("/process/execute")
        .header("host", "sandbox")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(serde_json::json!({"command": command}).to_string())))
        .expect("request");
    let response = sender.send_request(request).await.expect("response");
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.expect("body").to_bytes();
    assert!(body.windows(2).any(|two| two == b"ok"), "{body:?}");
}

fn show(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{what}: p50 {:?}, p95 {:?}, max {:?}", at(50), at(95), at(100));
}

fn memory(sandboxes: &[Arc<Sandbox>]) {
    let sum = |field: &str| {
        let each = sandboxes.iter().filter_map(|sandbox| {
            let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", sandbox.pid())).ok()?;
            let line = text.lines().find(|line| line.starts_with(field))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        each.sum::<u64>() / sandboxes.len().max(1) as u64
    };
    println!(
        "idle sandbox: PSS {} kB, private dirty {} kB, RSS {} kB",
        sum("Pss:"),
        sum("Private_Dirty:"),
        sum("Rss:")
    );
}
