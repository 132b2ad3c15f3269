//! What comes late: tasks that find the sandbox changed, requests for what goes just now, files that nobody knows when the
//! server starts, and more creations at once than a quota has room for.

use std::{path::Path, time::Duration};

use daytona_mock::model::{ErrorKind, NewSandbox, Strict, secrets::SecretChange};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    api::Api,
    images::has_images,
    model::World,
    moving::run,
    store::{open, serve},
    support::eventually,
};

/// Holds a state of all sandboxes until the fault is released; the fault's id.
async fn slow(api: &Api, state: &str) -> String {
    let (status, held) = api.control("POST", "/faults", json!({"effect": {"type": "slow", "state": state}})).await;
    assert_eq!(status, 201, "{held}");
    held["id"].as_str().expect("an id").to_owned()
}

/// Lets the late task go on, and gives it the time that twenty commands take; all of these are answered.
async fn released(api: &Api, fault: &str, name: &str) {
    assert_eq!(api.control("POST", &format!("/faults/{fault}/release"), Value::Null).await.0, 200);
    for _ in 0..20 {
        assert_eq!(run(api, name, "sleep 0.02; echo runs").await, "runs\n");
    }
}

#[tokio::test]
async fn a_pause_that_comes_late_leaves_the_next_run_alone() {
    let (api, machine) = crate::pause::machine(json!({"name": "m"})).await;
    let held = slow(&api, "pausing").await;
    assert_eq!(api.post("/sandbox/m/pause", Value::Null).await.0, 200);
    let kill = json!({"match": {"sandbox": "m"}, "effect": {"type": "die"}});
    assert_eq!(api.control("POST", "/faults", kill).await.0, 201);
    api.until(&machine.id, "stopped").await;
    assert_eq!(api.post("/sandbox/m/start", Value::Null).await.0, 200);
    api.until(&machine.id, "started").await;
    tokio::time::timeout(Duration::from_secs(30), released(&api, &held, "m")).await.expect("nothing stands still");
    assert_eq!(api.get("/sandbox/m").await.1["state"], "started");
}

#[tokio::test]
async fn an_archive_that_comes_late_leaves_the_next_run_alone() {
    if !has_images() {
        return;
    }
    let api = Api::new().await;
    api.named("a").await;
    run(&api, "a", "echo mine > ~/note").await;
    api.post("/sandbox/a/stop", Value::Null).await;
    api.until("a", "stopped").await;
    let held = slow(&api, "archiving").await;
    assert_eq!(api.post("/sandbox/a/archive", Value::Null).await.0, 200);
    assert_eq!(api.post("/sandbox/a/start", Value::Null).await.0, 200);
    api.until("a", "started").await;
    released(&api, &held, "a").await;
    let (_, now) = api.get("/sandbox/a").await;
    assert_eq!((&now["state"], &now["backupState"]), (&json!("started"), &json!("None")), "{now}");
    assert_eq!(run(&api, "a", "cat ~/note").await, "mine\n");
    let archive = crate::support::run_dir().join("archive");
    let own = now["id"].as_str().expect("an id");
    let archives = std::fs::read_dir(archive).into_iter().flatten().flatten();
    assert!(!archives.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().contains(own)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_just_now_gets_neither_secrets_nor_tokens() {
    let world = World::open().await;
    let (cp, owner) = (&world.cp, &world.caller.organization_id);
    let value = SecretChange { value: Some("v".into()), ..SecretChange::default() };
    cp.add_secret(owner, "s".into(), value).await.expect("made");
    let seen = world.create().await;
    cp.delete(&seen).await.expect("begun");
    let attached = cp.set_secrets(&seen, &[("TOKEN".into(), "s".into())]).await;
    assert_eq!(attached.map(drop).map_err(|error| error.kind), Err(ErrorKind::NotFound));
    eventually("it is gone", async || cp.owner_of(&seen.id).is_none().then_some(())).await;
    // Who had seen it before asks now.
    let opened = cp.create_ssh_access(&seen, 1.0).await.map(drop).map_err(|error| error.kind);
    let signed = cp.sign_preview(&seen, 80, 60).await.map(drop).map_err(|error| error.kind);
    assert_eq!((opened, signed), (Err(ErrorKind::NotFound), Err(ErrorKind::NotFound)));
    cp.shutdown().await;
}

#[tokio::test]
async fn tokens_made_while_a_sandbox_goes_open_nothing_afterwards() {
    let api = Api::new().await;
    for _ in 0..2 {
        let id = api.named("t").await;
        let access = format!("/sandbox/{id}/ssh-access?expiresInMinutes=5");
        let many = join_all((0..10).map(|_| api.post(&access, Value::Null)));
        let path = format!("/sandbox/{id}");
        let (made, (deleted, _)) = tokio::join!(many, api.delete(&path));
        assert_eq!(deleted, 200);
        assert!(made.iter().all(|(status, _)| [200, 404].contains(status)), "{made:?}");
        api.until_gone(&id).await;
        for token in made.iter().filter_map(|(_, access)| access["token"].as_str()) {
            let (_, told) = api.get(&format!("/sandbox/ssh-access/validate?token={token}")).await;
            assert_eq!(told["valid"], false, "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_world_that_ends_with_work_in_flight_leaves_nothing() {
    let world = World::open().await;
    let cp = &world.cp;
    let place = cp.mint(None, None).await.expect("minted");
    let caller = cp.authenticate(&place.value).expect("a good key");
    let owner = caller.organization_id.clone();
    let mut swept = cp.swept();
    cp.clock().freeze();
    cp.set_terms(&owner, Some(Duration::from_secs(60)), Strict::Default).await.expect("set");
    // All were let in before the end.
    let drafts: Vec<_> = (0..16).map(|_| cp.draft(&caller, NewSandbox::default()).expect("fine")).collect();
    let ids: Vec<String> = drafts.iter().map(|draft| draft.id.clone()).collect();
    let in_flight = drafts.chunks(4).map(|some| async move {
        for draft in some {
            // Some come too late.
            drop(cp.create(draft.clone()).await);
        }
    });
    let ending = async {
        eventually("one is there", async || ids.iter().any(|id| cp.owner_of(id).is_some()).then_some(())).await;
        cp.clock().advance(Duration::from_secs(61));
    };
    tokio::join!(join_all(in_flight), ending);
    assert_eq!(swept.recv().await.expect("it is swept"), owner);
    let left: Vec<_> = ids.iter().filter(|id| cp.owner_of(id).is_some()).collect();
    assert!(left.is_empty(), "{} of {} are nobody's", left.len(), ids.len());
    assert!(cp.authenticate(&place.value).is_none());
    let late = cp.draft(&caller, NewSandbox::default());
    assert!(late.is_err() || cp.create(late.expect("fine")).await.is_err());
    eventually("no files", async || cp.runtime().known_ids().is_ok_and(|ids| ids.is_empty()).then_some(())).await;
    cp.shutdown().await;
}

#[tokio::test]
async fn of_fifty_at_once_a_quota_lets_in_as_many_as_it_says() {
    let api = Api::new().await;
    let quota = json!({"quota": {"cpu": 10, "memory": 100, "disk": 1000, "volumes": 10, "snapshots": 11}});
    assert_eq!(api.control("PATCH", "/organization", quota).await.0, 200);
    let sandboxes = join_all((0..50).map(|n| api.post("/sandbox", json!({"name": format!("s{n}")}))));
    let volumes = join_all((0..50).map(|n| api.post("/volumes", json!({"name": format!("v{n}")}))));
    // They are made of nothing, and count while they are built.
    let snapshot = |n| json!({"name": format!("n{n}"), "buildInfo": {"dockerfileContent": "FROM scratch\n"}});
    let snapshots = join_all((0..50).map(|n| api.post("/snapshots", snapshot(n))));
    let held = slow(&api, "building_snapshot").await;
    let (sandboxes, volumes, snapshots) = tokio::join!(sandboxes, volumes, snapshots);
    for (what, answers) in [("CPU limit", sandboxes), ("Volume quota", volumes), ("Snapshot quota", snapshots)] {
        let (fine, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status < 300);
        assert_eq!(fine.len(), 10, "{what}: {:?}", refused.first());
        let told = |(status, body): &(u16, Value)| *status == 400 && body.to_string().contains(what);
        assert!(refused.iter().all(told), "{refused:?}");
    }
    assert_eq!(api.get("/sandbox").await.1["items"].as_array().map(Vec::len), Some(10));
    assert_eq!(api.get("/volumes").await.1.as_array().map(Vec::len), Some(10));
    // As many stopped ones can't all start again.
    let (_, list) = api.get("/sandbox").await;
    let names: Vec<String> = crate::api::names(&list).into_iter().map(|name| name.to_string()).collect();
    let api = &api;
    join_all(names.iter().map(|name| async move {
        api.post(&format!("/sandbox/{name}/stop?force=true"), Value::Null).await;
        api.until(name, "stopped").await;
    }))
    .await;
    api.control("PATCH", "/organization", json!({"quota": {"cpu": 3, "memory": 100, "disk": 1000}})).await;
    let started = join_all(
        names.iter().map(|name| async move { api.post(&format!("/sandbox/{name}/start"), Value::Null).await.0 }),
    );
    assert_eq!(started.await.into_iter().filter(|status| *status == 200).count(), 3);
    api.control("DELETE", &format!("/faults/{held}"), Value::Null).await;
    api.control("POST", "/reset", Value::Null).await;
}

fn names_in(data: &Path, dir: &str) -> Vec<String> {
    let entries = std::fs::read_dir(data.join(dir)).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn files_that_nobody_knows_go_at_the_start_and_new_ones_stay() {
    if !has_images() {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let first = serve(dir.path()).await;
    first.api.named("kept").await;
    run(&first.api, "kept", "echo kept > ~/note").await;
    assert!(first.api.post("/volumes", json!({"name": "kept"})).await.0 < 300);
    let (_, made) = first.api.post("/sandbox/kept/snapshot", json!({"name": "kept"})).await;
    let organization = made["organizationId"].as_str().expect("an id").to_owned();
    let active = async || (first.api.get("/snapshots/kept").await.1["state"] == "active").then_some(());
    eventually("a snapshot", active).await;
    first.kill();
    // As a server leaves them that is killed between a file and its record, or between a record and its file.
    let nobody = "0ddba110-0000-4000-8000-000000000000";
    let strays = [
        format!("sandboxes/{nobody}/up"),
        format!("volumes/{nobody}/d"),
        format!("layers/s-{nobody}-0ddba110/0"),
        format!("registry/{nobody}/blobs"),
        format!("registry/{organization}/uploads"),
    ];
    for stray in &strays {
        std::fs::create_dir_all(dir.path().join(stray)).expect("made");
        std::fs::write(dir.path().join(stray).join("file"), "stray").expect("written");
    }
    for file in [format!("archive/{nobody}.tar.zst"), format!("objects/{nobody}")] {
        std::fs::create_dir_all(dir.path().join(&file).parent().expect("a parent")).expect("made");
        std::fs::write(dir.path().join(file), "stray").expect("written");
    }
    let (server, api) = open(dir.path(), &[]).await;
    // At once: what is new has no record for a moment, either.
    api.until("kept", "started").await;
    assert!(api.post("/volumes", json!({"name": "new"})).await.0 < 300);
    api.post("/sandbox/kept/snapshot", json!({"name": "new"})).await;
    let gone = async || {
        let left = ["sandboxes", "volumes", "layers", "registry", "archive", "objects"];
        let left: Vec<String> = left.iter().flat_map(|name| names_in(dir.path(), name)).collect();
        let uploads = names_in(dir.path(), &format!("registry/{organization}/uploads"));
        (!left.iter().any(|name| name.contains(nobody)) && uploads.is_empty()).then_some(())
    };
    eventually("what is nobody's goes", gone).await;
    eventually("a snapshot", async || (api.get("/snapshots/new").await.1["state"] == "active").then_some(())).await;
    for (name, volume) in [("kept", "kept"), ("new", "new")] {
        let mounted = json!([{"volumeId": volume, "mountPath": "/home/daytona/v"}]);
        api.sandbox(json!({"name": format!("of-{name}"), "snapshot": name, "volumes": mounted})).await;
        assert_eq!(run(&api, &format!("of-{name}"), "cat ~/note; touch ~/v/fine && echo fine").await, "kept\nfine\n");
    }
    server.shutdown().await;
}
