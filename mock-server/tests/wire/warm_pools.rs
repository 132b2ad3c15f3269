//! Warm pools: sandboxes that wait, and creations that take them.

use serde_json::{Value, json};

use crate::{
    api::{Api, id, names},
    images::has_images,
    store::open,
    support::eventually,
};

const PLAIN: &str = "daytona-small";

async fn pool(api: &Api, size: u32) -> Value {
    let (status, pool) = api.post("/warm-pools", json!({"snapshot": PLAIN, "pool": size})).await;
    assert_eq!((status, &pool["snapshot"], &pool["target"]), (201, &json!(PLAIN), &json!("us")), "{pool}");
    filled(api, &pool, size).await;
    pool
}

async fn filled(api: &Api, pool: &Value, size: u32) {
    let ready = async || {
        let (_, all) = api.get("/warm-pools").await;
        all.as_array()?.iter().find(|one| one["id"] == pool["id"] && one["currentSize"] == size).map(|_| ())
    };
    eventually(&format!("{size} wait"), ready).await;
}

/// Those that wait.
async fn waiting(api: &Api) -> Vec<String> {
    let (_, page) = api.get("/sandbox?includeWarm=true").await;
    let items = page["items"].as_array().expect("items").iter();
    items.filter(|one| one["warmPoolId"].is_string()).map(id).collect()
}

#[tokio::test]
async fn a_creation_takes_one_that_waits() {
    let api = Api::new().await;
    let pool = pool(&api, 2).await;
    assert_eq!((&pool["cpu"], &pool["osUser"], &pool["env"]), (&json!(1), &json!("daytona"), &json!({})));
    let before = waiting(&api).await;
    assert_eq!((before.len(), api.get("/sandbox").await.1["items"].clone()), (2, json!([])));
    assert_eq!(api.get("/sandbox/paginated").await.1["total"], 0);
    let body =
        json!({"name": "mine", "labels": {"a": "b"}, "autoStopInterval": 7, "public": true, "networkBlockAll": true});
    let (status, taken) = api.post("/sandbox", body).await;
    assert_eq!((status, &taken["state"], &taken["desiredState"]), (200, &json!("started"), &json!("started")));
    assert!(before.contains(&id(&taken)), "{taken}");
    let (_, read) = api.get("/sandbox/mine").await;
    for (field, value) in [
        ("labels", json!({"a": "b"})),
        ("autoStopInterval", json!(7)),
        ("public", json!(true)),
        ("networkBlockAll", json!(true)),
        ("warmPoolId", Value::Null),
        ("createdAt", taken["createdAt"].clone()),
    ] {
        assert_eq!(read[field], value, "{field}");
    }
    assert_eq!(names(&api.get("/sandbox").await.1), ["mine"]);
    filled(&api, &pool, 2).await;
    let taken_name = json!({"name": "mine"});
    api.refused("POST", "/sandbox", taken_name, 409, "Sandbox with name mine already exists").await;
    let unnamed = api.sandbox(json!({})).await;
    assert_eq!((&unnamed["name"], &unnamed["state"]), (&unnamed["id"], &json!("started")));
}

#[tokio::test]
async fn what_is_special_is_made_anew() {
    let api = Api::new().await;
    let pool = pool(&api, 1).await;
    let before = waiting(&api).await;
    let mut special = vec![json!({"env": {"A": "b"}}), json!({"user": "root"}), json!({"snapshot": "daytona-medium"})];
    if has_images() {
        let (_, volume) = api.post("/volumes", json!({"name": "v"})).await;
        special.push(json!({"volumes": [{"volumeId": volume["id"], "mountPath": "/data"}]}));
    }
    for body in special {
        let sandbox = api.sandbox(body.clone()).await;
        assert!(!before.contains(&id(&sandbox)), "{body}");
    }
    assert_eq!(waiting(&api).await, before);
    // One that is killed while it waits is replaced; one that is deleted, too.
    api.delete(&format!("/sandbox/{}", before[0])).await;
    let replaced = async || Some(waiting(&api).await).filter(|now| now.len() == 1 && now[0] != before[0]);
    let second = eventually("another waits", replaced).await;
    filled(&api, &pool, 1).await;
    let kill = json!({"match": {"sandbox": second[0]}, "effect": {"type": "die"}});
    assert_eq!(api.control("POST", "/faults", kill).await.0, 201);
    let replaced = async || Some(waiting(&api).await).filter(|now| now.len() == 1 && now != &second);
    eventually("another waits instead of the dead one", replaced).await;
    let (_, drained) = api.call("PATCH", &format!("/warm-pools/{}", id(&pool)), json!({"pool": 0})).await;
    assert_eq!(drained["pool"], 0);
    filled(&api, &pool, 0).await;
    let empty = async || waiting(&api).await.is_empty().then_some(());
    eventually("none waits", empty).await;
}

#[tokio::test]
async fn many_at_once_get_one_each() {
    let api = Api::new().await;
    pool(&api, 2).await;
    let create = async || id(&api.sandbox(json!({})).await);
    let (a, b, c) = tokio::join!(create(), create(), create());
    assert!(a != b && b != c && a != c);
}

#[tokio::test]
async fn what_is_taken_while_a_pool_shrinks_is_kept() {
    let api = Api::new().await;
    let pool = pool(&api, 2).await;
    let path = format!("/warm-pools/{}", id(&pool));
    for round in 0..10 {
        let resize = async |size: u32| assert_eq!(api.call("PATCH", &path, json!({"pool": size})).await.0, 200);
        let ((), taken) = tokio::join!(resize(0), api.sandbox(json!({})));
        filled(&api, &pool, 0).await;
        let (status, read) = api.get(&format!("/sandbox/{}", id(&taken))).await;
        assert_eq!((status, &read["desiredState"]), (200, &json!("started")), "round {round}");
        assert_eq!(api.delete(&format!("/sandbox/{}", id(&taken))).await.0, 200);
        resize(2).await;
        filled(&api, &pool, 2).await;
    }
}

#[tokio::test]
async fn pools_are_checked_and_go_with_what_waits() {
    let (api, other) = (Api::new().await, Api::new().await);
    let own = pool(&api, 1).await;
    let path = format!("/warm-pools/{}", id(&own));
    let text = "Warm pool for snapshot daytona-small in region us already exists";
    api.refused("POST", "/warm-pools", json!({"snapshot": PLAIN, "pool": 1}), 409, text).await;
    api.refused(
        "POST",
        "/warm-pools",
        json!({"snapshot": "daytona-medium", "pool": 0}),
        400,
        "pool must not be less than 1",
    )
    .await;
    let text = "snapshot should not be empty, pool must not be less than 1, pool must be an integer number";
    api.refused("POST", "/warm-pools", json!({}), 400, text).await;
    let text = "Snapshot nope not found. Did you add it through the Daytona Dashboard?";
    api.refused("POST", "/warm-pools", json!({"snapshot": "nope", "pool": 1}), 400, text).await;
    let text = "Warm pool quota exceeded. Maximum allowed: 50";
    api.refused("PATCH", &path, json!({"pool": 51}), 400, text).await;
    let text = format!("Warm pool with ID {} not found", id(&own));
    other.refused("PATCH", &path, json!({"pool": 1}), 404, &text).await;
    other.refused("DELETE", &path, Value::Null, 404, &text).await;
    assert_eq!(api.delete(&path).await.0, 204);
    api.refused("DELETE", &path, Value::Null, 404, &text).await;
    let empty = async || waiting(&api).await.is_empty().then_some(());
    eventually("none waits", empty).await;
}

#[tokio::test]
async fn what_is_launched_for_a_pool_goes_with_it() {
    let api = Api::new().await;
    for round in 0..5 {
        let (status, pool) = api.post("/warm-pools", json!({"snapshot": PLAIN, "pool": 3})).await;
        assert_eq!(status, 201, "round {round}: {pool}");
        assert_eq!(api.delete(&format!("/warm-pools/{}", id(&pool))).await.0, 204);
        // Pools are filled one after the other, so the first is done by then.
        let (_, next) = api.post("/warm-pools", json!({"snapshot": "daytona-medium", "pool": 1})).await;
        filled(&api, &next, 1).await;
        let gone = async || {
            let (_, page) = api.get("/sandbox?includeWarm=true").await;
            let mut items = page["items"].as_array().expect("items").iter();
            (!items.any(|one| one["warmPoolId"] == pool["id"])).then_some(())
        };
        eventually("nothing waits in a pool that is gone", gone).await;
        assert_eq!(api.delete(&format!("/warm-pools/{}", id(&next))).await.0, 204);
    }
}

#[tokio::test]
async fn what_waits_in_a_pool_that_was_deleted_before_the_end_goes_after_a_restart() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = open(dir.path(), &[]).await;
    pool(&api, 2).await;
    server.shutdown().await;
    // As after a SIGKILL between the deletion and what follows from it.
    let db = rusqlite::Connection::open(dir.path().join("control.sqlite")).expect("the store");
    assert_eq!(db.execute("DELETE FROM record WHERE kind = 'warm_pool'", ()).expect("deleted"), 1);
    drop(db);
    let (server, api) = open(dir.path(), &[]).await;
    let empty = async || waiting(&api).await.is_empty().then_some(());
    eventually("none waits", empty).await;
    server.shutdown().await;
}
