//! Warm pools: sandboxes that wait for whoever asks for their snapshot.

use std::time::Duration;

use crate::prelude::*;

const PATH: &str = "/warm-pools";
/// A pool is filled within.
const PATIENCE: Duration = Duration::from_secs(60);

scenarios! { "warm_pools";
    /// A pool is answered 201, listed, filled, changed and gone when it is deleted; a second one for the same snapshot
    /// and region is 409. (createWarmPool, listWarmPools, updateWarmPool, deleteWarmPool)
    pools_come_and_go: Must,
        covers ["createWarmPool", "listWarmPools", "updateWarmPool", "deleteWarmPool"], since "0.200", classes [Alone];

    /// A plain creation takes a waiting sandbox, which is started at once, and another one takes its place. Until then
    /// lists show it only with `includeWarm`. (createWarmPool, createSandbox, listSandboxes)
    creations_take_waiting_ones: Must, covers ["createWarmPool", "createSandbox", "listSandboxes"],
        since "0.200", classes [Alone];

    /// A snapshot and a size of at least one are needed; unknown pools are 404. (createWarmPool, updateWarmPool,
    /// deleteWarmPool)
    input_is_validated: Must, covers ["createWarmPool", "updateWarmPool", "deleteWarmPool"], since "0.200",
        classes [Racing];
}

/// Some snapshot that is there.
async fn snapshot(cx: &Cx) -> Result<String> {
    let all = cx.get("/snapshots").send().await?.ok()?;
    let active = all.array("/items")?.iter().find(|one| one["state"] == "active" && one["sandboxClass"] == "container");
    let name = active.and_then(|one| one["name"].as_str()).map(String::from);
    name.ok_or_else(|| Stop::not_applicable("there is no active snapshot"))
}

async fn make(cx: &Cx, snapshot: &str) -> Result<String> {
    let id = cx.post(PATH).json(json!({"snapshot": snapshot, "pool": 1})).send().await?.ok()?.string("/id")?;
    cx.removes("deleteWarmPool", &format!("{PATH}/{id}"));
    let ready = async || {
        let all = cx.get(PATH).send().await?.ok()?;
        Ok(all.array("")?.iter().any(|pool| pool["id"] == *id && pool["currentSize"] == 1).then_some(()))
    };
    cx.eventually("the pool is filled", PATIENCE, ready).await?;
    Ok(id)
}

async fn pools_come_and_go(cx: Cx) -> Result {
    let snapshot = snapshot(&cx).await?;
    let made = cx.post(PATH).json(json!({"snapshot": snapshot, "pool": 1})).send().await?;
    cx.check("created").status(&made, 201);
    let path = format!("{PATH}/{}", made.string("/id")?);
    cx.removes("deleteWarmPool", &path);
    cx.check("size").json(&made, "/pool", 1);
    let twice = cx.post(PATH).json(json!({"snapshot": snapshot, "pool": 1})).send().await?;
    cx.check("twice").status(&twice, 409);
    let listed = cx.get(PATH).send().await?.ok()?;
    let own = listed.array("")?.iter().filter(|pool| pool["id"] == *made.at("/id")).count();
    cx.check("listed").on(&listed).eq(own, 1);
    let drained = cx.api().patch(&path).json(json!({"pool": 0})).send().await?;
    cx.check("drained").json(&drained, "/pool", 0);
    cx.check("deleted").status(&cx.delete(&path).send().await?, 204);
    let listed = cx.get(PATH).send().await?.ok()?;
    cx.check("gone").on(&listed).that(
        !listed.text().contains(&made.string("/id")?),
        "a list without it",
        listed.summary(),
    );
    cx.check("deleted-twice").status(&cx.delete(&path).send().await?, 404);
    Ok(())
}

async fn creations_take_waiting_ones(cx: Cx) -> Result {
    let snapshot = snapshot(&cx).await?;
    let id = make(&cx, &snapshot).await?;
    let warm = async |query: &str| -> Result<Option<Value>> {
        let page = cx.get(&format!("/sandbox?limit=200{query}")).send().await?.ok()?;
        let waiting = page.array("/items")?.iter().find(|one| one["warmPoolId"] == *id).cloned();
        Ok(waiting)
    };
    cx.check("hidden").eq(warm("").await?, None);
    let waiting = warm("&includeWarm=true").await?.unwrap_or_default();
    let (name, labels) = (cx.name("warm"), cx.labels(json!({"a": "b"})));
    let body = json!({"snapshot": snapshot, "name": name, "labels": labels, "autoStopInterval": 7});
    let taken = cx.post("/sandbox").json(body).send().await?.ok()?;
    cx.check("that-one").json(&taken, "/id", waiting["id"].clone());
    cx.check("started").json(&taken, "/state", "started");
    cx.check("name").json(&taken, "/name", name.clone());
    cx.check("labels").json(&taken, "/labels/a", "b");
    cx.check("interval").json(&taken, "/autoStopInterval", 7);
    cx.check("no-pool").json(&taken, "/warmPoolId", Value::Null);
    let again = async || Ok(warm("&includeWarm=true").await?.filter(|one| one["id"] != waiting["id"]));
    cx.eventually("another one waits", PATIENCE, again).await?;
    cx.delete(&format!("/sandbox/{}", taken.string("/id")?)).send().await?.ok()?;
    cx.delete(&format!("{PATH}/{id}")).send().await?.ok().map(drop)
}

async fn input_is_validated(cx: Cx) -> Result {
    let refused = async |body: Value| cx.post(PATH).json(body).send().await;
    cx.check("empty").status(&refused(json!({})).await?, 400);
    cx.check("none").status(&refused(json!({"snapshot": snapshot(&cx).await?, "pool": 0})).await?, 400);
    let unknown = refused(json!({"snapshot": cx.name("nothing"), "pool": 1})).await?;
    cx.check("snapshot").status_in(&unknown, &[400, 404]);
    let path = format!("{PATH}/00000000-0000-4000-8000-000000000000");
    cx.check("update").status(&cx.api().patch(&path).json(json!({"pool": 1})).send().await?, 404);
    cx.check("delete").status(&cx.delete(&path).send().await?, 404);
    Ok(())
}
