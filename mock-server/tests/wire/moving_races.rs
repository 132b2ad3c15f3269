//! A world that is saved while things of it are deleted: the archive holds all that was there when the save began.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::{Api, answer},
    images::has_images,
    moving::{another, count, restored, run},
    object_storage::{Ask, Bucket},
    store::open,
    support::eventually,
};

/// A running sandbox `src` with a snapshot `snap` of its own, an unused volume `loose`, an object; so much is in the first
/// two that packing each takes longer than to delete the rest.
async fn furnish(api: &Api) -> Bucket {
    api.sandbox(json!({"name": "src", "autoStopInterval": 0})).await;
    run(api, "src", "echo kept > ~/note; head -c 60M /dev/urandom > ~/big").await;
    let (status, made) = api.post("/sandbox/src/snapshot", json!({"name": "snap"})).await;
    assert_eq!(status, 200, "{made}");
    eventually("a snapshot", async || (api.get("/snapshots/snap").await.1["state"] == "active").then_some(())).await;
    assert!(api.post("/volumes", json!({"name": "loose"})).await.0 < 300);
    let mounted = json!([{"volumeId": "loose", "mountPath": "/home/daytona/v"}]);
    api.sandbox(json!({"name": "filler", "volumes": mounted})).await;
    run(api, "filler", "mkdir ~/v/d; echo loose > ~/v/d/file").await;
    api.delete("/sandbox/filler").await;
    eventually("it is gone", async || (api.get("/sandbox/filler").await.0 == 404).then_some(())).await;
    let bucket = Bucket::with(&api.get("/object-storage/push-access").await.1);
    bucket.put(&bucket.key("abc/context.tar"), "an object").await;
    bucket
}

/// Begins to save; returns when records are taken and files are being packed.
async fn saving(api: &Api, data: &Path) -> tokio::task::JoinHandle<(u16, Vec<u8>)> {
    let (client, key) = (api.client.clone(), api.key.clone());
    let url = api.url.replace("/api", "/__control/save");
    let saving = tokio::spawn(async move {
        let got = client.get(url).bearer_auth(key).send().await.expect("answer");
        (got.status().as_u16(), got.bytes().await.expect("a body").to_vec())
    });
    let packing = || {
        let staged = std::fs::read_dir(data.join("trash")).into_iter().flatten().flatten();
        staged.map(|entry| entry.path().join("member")).any(|path| path.exists())
    };
    eventually("it packs", async || packing().then_some(())).await;
    saving
}

/// What was deleted is in the archive as it was.
async fn holds_all(archive: Vec<u8>, there: &Api) {
    let (status, told) = restored(there, archive).await;
    assert_eq!(status, 201, "{told}");
    assert_eq!(run(there, "src", "cat ~/note").await, "kept\n");
    let mounted = json!([{"volumeId": "loose", "mountPath": "/home/daytona/v"}]);
    there.sandbox(json!({"name": "of-it", "snapshot": "snap", "volumes": mounted})).await;
    assert_eq!(run(there, "of-it", "cat ~/note ~/v/d/file; stat -c %s ~/big").await, "kept\nloose\n62914560\n");
    let bucket = Bucket::with(&there.get("/object-storage/push-access").await.1);
    let key = bucket.key("abc/context.tar");
    let got = bucket.send(Ask::new(Method::GET, &key)).await;
    assert_eq!((got.status().as_u16(), got.text().await.expect("text").as_str()), (200, "an object"));
}

#[tokio::test]
async fn what_is_deleted_meanwhile_is_in_it() {
    if !has_images() {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = open(dir.path(), &[]).await;
    let bucket = furnish(&api).await;
    let volume = api.get("/volumes/by-name/loose").await.1["id"].as_str().expect("an id").to_owned();
    let snapshot = api.get("/snapshots/snap").await.1["id"].as_str().expect("an id").to_owned();
    let (volume_path, snapshot_path) = (format!("/volumes/{volume}"), format!("/snapshots/{snapshot}"));
    let saving = saving(&api, dir.path()).await;
    let (deleted, removed) = tokio::join!(api.delete(&volume_path), api.delete(&snapshot_path));
    assert_eq!((deleted.0, removed.0), (200, 200), "{deleted:?} {removed:?}");
    let key = bucket.key("abc/context.tar");
    assert_eq!(bucket.send(Ask::new(Method::DELETE, &key)).await.status(), 204);
    assert_eq!(bucket.send(Ask::new(Method::GET, &key)).await.status(), 404, "it is deleted for everybody else");
    assert!(!saving.is_finished(), "all that was deleted while it was saved");
    let (status, archive) = saving.await.expect("no panic");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&archive[..archive.len().min(500)]));
    // Afterwards it goes, from the disk too.
    let gone = async || {
        let state = api.get(&volume_path).await.1["state"] == "deleted";
        let files = ["volumes", "layers", "objects"].iter().all(|name| count(dir.path(), name) == 0);
        (state && files && api.get("/snapshots/snap").await.0 == 404).then_some(())
    };
    eventually("it is gone", gone).await;
    holds_all(archive, &another(&api).await).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_reset_waits_for_the_save() {
    if !has_images() {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = open(dir.path(), &[]).await;
    furnish(&api).await;
    let other = another(&api).await;
    assert!(other.post("/volumes", json!({"name": "theirs"})).await.0 < 300);
    let saving = saving(&api, dir.path()).await;
    let url = api.url.replace("/api", "/__control/reset");
    let reset = tokio::spawn(api.client.post(url).bearer_auth(&api.key).send());
    // Others notice nothing.
    assert_eq!(other.control("POST", "/reset", Value::Null).await.0, 204);
    assert!(!saving.is_finished());
    let (status, archive) = saving.await.expect("no panic");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&archive[..archive.len().min(500)]));
    let (status, body) = answer(reset.await.expect("no panic").expect("answer")).await;
    assert_eq!(status, 204, "{body}");
    for name in ["sandboxes", "volumes", "layers"] {
        assert_eq!(count(dir.path(), name), 0, "{name}");
    }
    holds_all(archive, &api).await;
    server.shutdown().await;
}
