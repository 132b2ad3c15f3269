//! Archives: files go into one file and come back whole, whatever happens in between.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::{Api, id},
    images::has_images,
    store::{open, serve},
    support::{Sandbox, client, eventually, new_key, server},
    timers::{advance, frozen},
};

const BUSY: &str = "Sandbox state change in progress";

/// A stopped container with files of all kinds.
async fn stopped() -> (Api, Sandbox) {
    let key = new_key().await;
    let client = client(&key);
    let api = Api { url: server().api_url.clone(), key: key.clone(), client: client.clone() };
    let sandbox = Sandbox { id: id(&api.sandbox(json!({})).await), key, client };
    sandbox.until("started").await;
    let fill = "cd; mkdir -p d/e; echo deep > d/e/f; ln d/e/f hard; ln -s d/e/f soft; chmod 4750 hard; mkfifo pipe; \
        truncate -s 50M sparse; printf x | dd of=sparse bs=1 seek=40000000 conv=notrunc 2>/dev/null; \
        sudo touch /etc/mine; sudo rm -rf /etc/skel; touch -d @1000000000.5 d";
    sandbox.run(fill).await;
    sandbox.api(Method::POST, "/stop").await;
    sandbox.until("stopped").await;
    (api, sandbox)
}

#[tokio::test]
async fn files_come_back_from_an_archive() {
    if !has_images() {
        return;
    }
    let (api, sandbox) = stopped().await;
    let own = crate::support::run_dir().join("sandboxes").join(&sandbox.id);
    assert!(own.exists());
    let path = |operation: &str| format!("/sandbox/{}/{operation}", sandbox.id);
    let (status, archiving) = sandbox.api(Method::POST, "/archive").await;
    assert_eq!(
        (status, &archiving["state"], &archiving["desiredState"]),
        (200, &json!("archiving"), &json!("archived"))
    );
    assert_eq!(archiving["backupState"], "None");
    sandbox.until("archived").await;
    let (_, archived) = sandbox.api(Method::GET, "").await;
    assert_eq!((&archived["backupState"], &archived["runnerId"]), (&json!("Completed"), &Value::Null));
    assert!(archived["backupCreatedAt"].is_string());
    eventually("its files are gone", async || (!own.exists()).then_some(())).await;
    assert_eq!(api.get("/sandbox?states=archived").await.1["items"][0]["id"], json!(sandbox.id));
    for (operation, status, message) in [
        ("stop", 400, "Sandbox is not in a stoppable state"),
        ("archive", 400, "Sandbox is not stopped"),
        ("pause", 400, "Sandbox must be in started state to pause"),
        ("recover", 400, "Sandbox is not in a recoverable state"),
        ("fork", 422, "Forking is not supported for this sandbox"),
    ] {
        api.refused("POST", &path(operation), json!({}), status, message).await;
    }
    let resize = "Sandbox must be in started or stopped state to resize";
    api.refused("POST", &path("resize"), json!({"cpu": 2}), 400, resize).await;
    assert_eq!(sandbox.api(Method::POST, "/backup").await.0, 201);
    assert_eq!(sandbox.api(Method::GET, "/ports/80/preview-url").await.0, 200);
    let toolbox = sandbox.client.get(sandbox.url("/version")).send().await.expect("answer");
    let text = format!("bad request: failed to get runner info: Sandbox with ID {} not found", sandbox.id);
    assert_eq!(crate::api::answer(toolbox).await.1["message"], text);

    let (status, answer) = sandbox.api(Method::POST, "/start").await;
    assert_eq!((status, &answer["state"], &answer["desiredState"]), (200, &json!("archived"), &json!("started")));
    assert!(answer.get("lastActivityAt").is_none());
    sandbox.until("started").await;
    let (_, started) = sandbox.api(Method::GET, "").await;
    assert_eq!(started["backupState"], "None");
    assert!(started["runnerId"].is_string() && started["backupCreatedAt"].is_string());
    let look = "cd; cat d/e/f hard soft; stat -c '%h %a' hard; test -p pipe && echo pipe; stat -c '%s' sparse; \
        test $(du -k sparse | cut -f1) -lt 5000 && echo sparse; tail -c +40000001 sparse | head -c 1; echo; \
        stat -c %.9Y d; stat -c %U /etc/mine; ls /etc/skel 2>/dev/null || echo none; sudo rm /etc/mine";
    let owner = if sandbox.run("stat -c %U /etc/passwd").await == "root\n" { "root" } else { "daytona" };
    let expected =
        format!("deep\ndeep\ndeep\n2 4750\npipe\n52428800\nsparse\nx\n1000000000.500000000\n{owner}\nnone\n");
    assert_eq!(sandbox.run(look).await, expected);
    let archive = crate::support::run_dir().join("archive").join(format!("{}.tar.zst", sandbox.id));
    assert!(!archive.exists(), "the archive is in nobody's way");
}

#[tokio::test]
async fn an_archived_one_is_deleted_and_an_ephemeral_one_is_not_archived() {
    let (api, sandbox) = stopped().await;
    sandbox.api(Method::POST, "/archive").await;
    sandbox.until("archived").await;
    let (status, deleted) = sandbox.api(Method::DELETE, "").await;
    assert_eq!((status, &deleted["desiredState"]), (200, &json!("destroyed")));
    api.refused("DELETE", &format!("/sandbox/{}", sandbox.id), Value::Null, 409, BUSY).await;
    eventually("it is gone", async || (sandbox.api(Method::GET, "").await.0 == 404).then_some(())).await;
    let archive = crate::support::run_dir().join("archive").join(format!("{}.tar.zst", sandbox.id));
    assert!(!archive.exists());
    let (_, ephemeral) = api.post("/sandbox", json!({"autoDeleteInterval": 0})).await;
    let path = format!("/sandbox/{}/archive", id(&ephemeral));
    api.refused("POST", &path, Value::Null, 400, "Sandbox is not stopped").await;
}

/// A snapshot takes a stopped sandbox's files away, as a layer below it: there is nothing to put into the archive.
#[tokio::test]
async fn one_without_files_of_its_own_comes_back() {
    if !has_images() {
        return;
    }
    let (api, sandbox) = stopped().await;
    for round in 0..2 {
        for name in ["of its files", "of none"] {
            let body = json!({"name": format!("{name} {round}")});
            assert_eq!(api.post(&format!("/sandbox/{}/snapshot", sandbox.id), body).await.0, 200);
            sandbox.until("stopped").await;
        }
        assert_eq!(sandbox.api(Method::POST, "/archive").await.0, 200);
        sandbox.until("archived").await;
        assert_eq!(sandbox.api(Method::POST, "/start").await.0, 200);
        api.until(&sandbox.id, "started").await;
        assert_eq!(sandbox.run("cat ~/soft && touch ~/more && ls ~/more").await, "deep\n/home/daytona/more\n");
        assert_eq!(sandbox.api(Method::POST, "/stop?force=true").await.0, 200);
        sandbox.until("stopped").await;
    }
}

#[tokio::test]
async fn a_start_ends_the_archiving_and_so_does_a_deletion() {
    if !has_images() {
        return;
    }
    let (api, sandbox) = stopped().await;
    for round in 0..5 {
        sandbox.api(Method::POST, "/archive").await;
        // Whoever is faster: files are there in the end.
        let (status, answer) = sandbox.api(Method::POST, "/start").await;
        assert_eq!(status, 200, "{answer}");
        sandbox.until("started").await;
        assert_eq!(sandbox.run("cat ~/soft").await, "deep\n", "round {round}");
        sandbox.api(Method::POST, "/stop?force=true").await;
        sandbox.until("stopped").await;
    }
    sandbox.api(Method::POST, "/archive").await;
    assert_eq!(sandbox.api(Method::DELETE, "").await.0, 200);
    eventually("it is gone", async || (sandbox.api(Method::GET, "").await.0 == 404).then_some(())).await;
    assert_eq!(api.get("/sandbox").await.1["items"], json!([]));
}

#[tokio::test]
async fn stopped_ones_are_archived_by_themselves() {
    let (server, api) = frozen().await;
    api.sandbox(json!({"name": "a", "autoArchiveInterval": 60})).await;
    api.sandbox(json!({"name": "most", "autoArchiveInterval": 0})).await;
    api.sandbox(json!({"name": "first", "autoArchiveInterval": 60, "autoDeleteInterval": 30})).await;
    assert_eq!(api.get("/sandbox/most").await.1["autoArchiveInterval"], 43_200);
    for name in ["a", "most", "first"] {
        api.post(&format!("/sandbox/{name}/stop?force=true"), Value::Null).await;
        api.until(name, "stopped").await;
    }
    advance(&api, 59).await;
    assert_eq!(api.get("/sandbox/a").await.1["state"], "stopped");
    assert_ne!(api.get("/sandbox/first").await.1["state"], "archived", "deletion comes first");
    advance(&api, 1).await;
    api.until("a", "archived").await;
    assert_eq!(api.get("/sandbox/most").await.1["state"], "stopped");
    advance(&api, 43_200).await;
    api.until("most", "archived").await;
    server.shutdown().await;
}

/// An archived or archiving sandbox is whole after a kill, however far it got.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_while_archiving_or_restoring_loses_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let serving = serve(dir.path()).await;
    let made = serving.api.sandbox(json!({"name": "a", "autoStopInterval": 0})).await;
    let run = async |api: &Api, command: &str| {
        let (_, sandbox) = api.get("/sandbox/a").await;
        let base = sandbox["toolboxProxyUrl"].as_str().expect("a URL").to_owned();
        let url = format!("{base}/{}/process/execute", id(&made));
        let answer = api.client.post(url).bearer_auth(&api.key).json(&json!({"command": command})).send().await;
        crate::api::answer(answer.expect("answer")).await.1["result"].as_str().unwrap_or_default().to_owned()
    };
    run(&serving.api, "cd; mkdir many; for i in $(seq 3000); do echo $i > many/$i; done").await;
    serving.api.post("/sandbox/a/stop?force=true", Value::Null).await;
    serving.api.until("a", "stopped").await;
    let mut serving = serving;
    for round in 0..4_u64 {
        assert_eq!(serving.api.post("/sandbox/a/archive", Value::Null).await.0, 200);
        if round % 2 == 0 {
            serving.kill();
            serving = serve(dir.path()).await;
        }
        serving.api.until("a", "archived").await;
        assert_eq!(serving.api.post("/sandbox/a/start", Value::Null).await.0, 200);
        if round < 2 {
            serving.kill();
            serving = serve(dir.path()).await;
        }
        serving.api.until("a", "started").await;
        assert_eq!(
            run(&serving.api, "cat ~/many/* | sort -n | sha256sum | cut -c1-8; ls ~/many | wc -l").await,
            run(&serving.api, "seq 3000 | sha256sum | cut -c1-8; echo 3000").await
        );
        serving.api.post("/sandbox/a/stop?force=true", Value::Null).await;
        serving.api.until("a", "stopped").await;
    }
    serving.kill();
    let left: Vec<_> = std::fs::read_dir(dir.path().join("archive")).expect("there").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_a_killed_server_left_is_tidied() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = open(dir.path(), &[]).await;
    let id = api.named("a").await;
    api.post("/sandbox/a/stop?force=true", Value::Null).await;
    api.until("a", "stopped").await;
    api.post("/sandbox/a/archive", Value::Null).await;
    api.until("a", "archived").await;
    server.shutdown().await;
    let at = |path: &str| dir.path().join(path);
    std::fs::create_dir_all(at(&format!("sandboxes/{id}/up/0"))).expect("left files");
    for name in ["00000000-0000-4000-8000-000000000000.tar.zst", "unfinished.tmp"] {
        std::fs::write(at(&format!("archive/{name}")), "x").expect("left archives");
    }
    let (server, api) = open(dir.path(), &[]).await;
    assert_eq!(api.get("/sandbox/a").await.1["state"], "archived");
    let gone = |path: &Path| (!path.exists()).then_some(());
    eventually("files are gone", async || gone(&at(&format!("sandboxes/{id}")))).await;
    eventually("others' archives are gone", async || {
        (std::fs::read_dir(at("archive")).expect("there").count() == 1).then_some(())
    })
    .await;
    // A start that was killed right after it made the directory, which is not yet the sandbox's own.
    std::fs::create_dir(at(&format!("sandboxes/{id}"))).expect("a directory");
    api.post("/sandbox/a/start", Value::Null).await;
    api.until("a", "started").await;
    server.shutdown().await;
}
