//! What stands in for images offline, and container engines that build instead of the server.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use daytona_mock::{MockServer, StartupError, config::Config, model::OfflineBase};
use serde_json::{Value, json};

use crate::{
    api::Api,
    images::{
        has_images,
        registry::{Pack, layer, programs, sha256},
    },
    support::{config, eventually},
};

async fn start(config: Config) -> (MockServer, Api) {
    let server = MockServer::start(config).await.expect("the server starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    (server, api)
}

/// Builds a snapshot; what became of it, and its log.
async fn built(api: &Api, name: &str, dockerfile: &str) -> (Value, String) {
    let body = json!({"name": name, "buildInfo": {"dockerfileContent": dockerfile}});
    let (status, answer) = api.post("/snapshots", body).await;
    assert_eq!(status, 200, "{answer}");
    let snapshot = eventually(name, async || {
        let (_, snapshot) = api.get(&format!("/snapshots/{name}")).await;
        let over = !["pending", "building"].contains(&snapshot["state"].as_str().unwrap_or_default());
        over.then_some(snapshot)
    })
    .await;
    let (_, url) = api.get(&format!("/snapshots/{}/build-logs-url", snapshot["id"].as_str().expect("an id"))).await;
    let log = api.client.get(url["url"].as_str().expect("an URL")).bearer_auth(&api.key).send().await.expect("a log");
    (snapshot, log.text().await.expect("text"))
}

async fn said(api: &Api, snapshot: &str, command: &str) -> Value {
    let sandbox = api.sandbox(json!({"snapshot": snapshot})).await;
    let (base, id) = (sandbox["toolboxProxyUrl"].as_str().expect("url"), sandbox["id"].as_str().expect("id"));
    let url = format!("{base}/{id}/process/execute");
    let answer = api.client.post(url).bearer_auth(&api.key).json(&json!({"command": command})).send().await;
    answer.expect("answer").json::<Value>().await.expect("JSON")["result"].clone()
}

#[tokio::test]
async fn a_root_file_system_stands_in_for_well_known_images() {
    if !has_images() {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let base = dir.path().join("base.tar");
    let whole = layer(Pack::Plain, "mkdir srv etc; echo mine > srv/mine");
    fs::write(&base, &whole.blob).expect("written");
    let missing = Config { offline_base: OfflineBase::Path(dir.path().join("none")), ..config() };
    let refused = MockServer::start(missing).await.err().expect("refused").to_string();
    assert!(refused.contains("--offline-base"), "{refused}");

    let programs = programs();
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("a directory");
    tar::Archive::new(flate2::read::GzDecoder::new(programs.blob.as_slice())).unpack(&root).expect("unpacked");
    fs::write(root.join("srv-mine"), "directory").expect("written");
    let (server, api) = start(Config { offline_base: OfflineBase::Path(root), ..config() }).await;
    let (snapshot, log) = built(&api, "slim", "FROM python:3.12-slim-bookworm\nRUN cat /srv-mine > /seen\n").await;
    if !log.contains("stands in for it") {
        println!("skipped: this machine reaches Docker Hub");
        return server.shutdown().await;
    }
    assert_eq!(snapshot["state"], "active", "{log}");
    assert!(log.contains("--offline-base ("), "{log}");
    assert_eq!(said(&api, "slim", "cat /seen").await, "directory");
    let (failed, log) = built(&api, "strange", "FROM strange/image:1\nRUN true\n").await;
    assert_eq!(failed["state"], "error", "{log}");
    server.shutdown().await;

    let (server, api) = start(Config { offline_base: OfflineBase::Path(base), ..config() }).await;
    let (snapshot, log) = built(&api, "tar", "FROM debian:12\nCOPY <<E /x\nx\nE\n").await;
    assert_eq!(snapshot["state"], "active", "{log}");
    server.shutdown().await;
}

/// A program that takes what engines take, and has one image: what `docker save` would write, beside it.
fn fake_engine(dir: &Path, name: &str) -> String {
    let layers = [programs(), layer(Pack::Plain, "mkdir srv; echo engine > srv/made")];
    let config = json!({"os": "linux", "config": {"Env": ["BY=engine"], "Entrypoint": ["sleep", "9"]},
        "rootfs": {"diff_ids": layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>()}});
    let mut out = tar::Builder::new(fs::File::create(dir.join("saved.tar")).expect("a file"));
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        out.append_data(&mut header, name, bytes).expect("appended");
    };
    let names: Vec<String> = layers.iter().map(|layer| format!("blobs/{}", &sha256(&layer.blob)[7..])).collect();
    layers.iter().zip(&names).for_each(|(layer, name)| add(name, &layer.blob));
    add("config.json", config.to_string().as_bytes());
    add("manifest.json", json!([{"Config": "config.json", "Layers": names}]).to_string().as_bytes());
    out.finish().expect("whole");
    let script = "#!/bin/sh\nset -e\nhere=$(dirname \"$0\")\necho \"$@\" >> $here/calls\ncase $1 in\n\
        build) cat $3; grep -q FAIL $3 && { echo broken >&2; exit 3; }; echo built it;;\n\
        save) while [ $1 != --output ]; do shift; done; cp $here/saved.tar $2;;\n\
        push) to=${4#docker-archive:}; cp $here/saved.tar ${to%%:*};;\nesac\n";
    let path = dir.join(name);
    fs::write(&path, script).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    path.to_str().expect("text").to_owned()
}

#[tokio::test]
async fn an_engine_builds_where_it_is_asked_to() {
    if !has_images() {
        return;
    }
    for name in ["docker", "podman", "buildah"] {
        let dir = tempfile::tempdir().expect("temp dir");
        let engine = fake_engine(dir.path(), name);
        let env = vec![("PROXY".to_owned(), "none".to_owned())];
        let (server, api) = start(Config { builder: Some(engine.parse().expect("an engine")), env, ..config() }).await;
        let (snapshot, log) = built(&api, "made", "FROM whatever:1\nRUN true\n").await;
        assert_eq!(snapshot["state"], "active", "{name}: {log}");
        assert_eq!(snapshot["entrypoint"], json!(["sleep", "9"]));
        for line in ["FROM whatever:1", "\nbuilt it\n", "Successfully built"] {
            assert!(log.contains(line), "{name}, {line}: {log}");
        }
        assert_eq!(said(&api, "made", "cat /srv/made; echo $BY").await, "engine\nengine\n");
        let calls = fs::read_to_string(dir.path().join("calls")).expect("calls");
        assert!(calls.contains("--build-arg PROXY=none") && calls.contains("localhost/daytona-mock:"), "{calls}");
        let (failed, log) = built(&api, "failed", "FROM whatever:1\nRUN FAIL\n").await;
        assert_eq!(failed["state"], "error", "{log}");
        let reason = failed["errorReason"].as_str().expect("a reason");
        assert!(reason.contains(&format!("{name} build ended with")) && log.contains("broken"), "{reason}\n{log}");
        server.shutdown().await;
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told_at_the_start() {
    let config = Config { builder: Some("/no/such/podman".parse().expect("an engine")), ..config() };
    let refused = MockServer::start(config).await.err().expect("refused");
    assert!(matches!(refused, StartupError::Builder { .. }), "{refused}");
    assert!(refused.to_string().contains("/no/such/podman"), "{refused}");
}
