//! Sandboxes as the server drives them: launched, talked to, stopped, started again, removed.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use daytona_mock::runtime::{BaseChoice, Isolation, IsolationChoice, Runtime, RuntimeConfig, Sandbox, SandboxSpec};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

struct World {
    runtime: Arc<Runtime>,
    dir: tempfile::TempDir,
}

/// The tier that the tests run in: told, or the best of this machine.
fn isolation() -> IsolationChoice {
    match std::env::var("DAYTONA_MOCK_TEST_ISOLATION").as_deref() {
        Ok("root") => IsolationChoice::Exactly(Isolation::Root),
        Ok("subuid") => IsolationChoice::Exactly(Isolation::Subuid),
        Ok("single") => IsolationChoice::Exactly(Isolation::Single),
        Ok("process") => IsolationChoice::Exactly(Isolation::Process),
        _ => IsolationChoice::Auto,
    }
}

fn config(dir: &std::path::Path) -> RuntimeConfig {
    let base = dir.join("base");
    for name in ["etc", "home/daytona", "tmp", "usr"] {
        std::fs::create_dir_all(base.join(name)).expect("base");
    }
    for name in ["bin", "lib", "lib64", "sbin"] {
        let _ = std::os::unix::fs::symlink(format!("usr/{name}"), base.join(name));
    }
    std::fs::write(base.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\ndaytona:x:1000:1000::/home/daytona:/bin/sh\n")
        .expect("passwd");
    let _ = std::os::unix::fs::chown(base.join("home/daytona"), Some(1000), Some(1000));
    RuntimeConfig {
        data_dir: dir.join("data"),
        cache_dir: dir.join("cache"),
        isolation: isolation(),
        base: BaseChoice::Directory(base),
        base_include: vec![PathBuf::from("/usr")],
        git_mirrors: None,
        binary: env!("CARGO_BIN_EXE_daytona-mock").into(),
    }
}

async fn world() -> World {
    let dir = tempfile::tempdir().expect("temp dir");
    let runtime = Runtime::start(config(dir.path())).await.expect("runtime");
    World { runtime, dir }
}

fn spec() -> SandboxSpec {
    SandboxSpec {
        id: uuid::Uuid::new_v4().to_string(),
        env: BTreeMap::new(),
        user: "daytona".into(),
        network: Default::default(),
    }
}

async fn request(sandbox: &Sandbox, method: &str, path: &str, body: serde_json::Value) -> (u16, Bytes) {
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

/// Output of a shell command inside.
async fn sh(sandbox: &Sandbox, command: &str) -> String {
    let (status, body) =
        request(sandbox, "POST", "/process/execute", serde_json::json!({"command": command, "timeout": 30})).await;
    assert_eq!(status, 200, "{command}: {}", String::from_utf8_lossy(&body));
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    body["result"].as_str().unwrap_or_default().trim().to_owned()
}

#[tokio::test]
async fn a_sandbox_answers() {
    let world = world().await;
    let spec = spec();
    let sandbox = world.runtime.launch(&spec).await.expect("launch");
    let (status, body) = request(&sandbox, "GET", "/version", serde_json::Value::Null).await;
    assert_eq!(status, 200, "{body:?}");
    println!(
        "{}",
        sh(
            &sandbox,
            "id; whoami; hostname; env; pwd; ps aux; cat /proc/1/cmdline /proc/self/mountinfo; ls -la / /home /etc"
        )
        .await
    );
    sandbox.stop(Duration::from_secs(5)).await;
    world.runtime.shutdown().await;
    drop(world.dir);
}
