//! Volumes: their life, what they refuse, and what sandboxes see of them.

use crate::{client::Answer, prelude::*};

const PATH: &str = "/volumes";
/// SDK examples and the original's own tests wait this long.
const WITHIN: Duration = Duration::from_secs(15);
const DELETED: Duration = Duration::from_secs(40);

scenarios! { "volumes";
    /// A new volume is pending, becomes ready within 15 seconds, and is read by id and by name, and listed. Until a sandbox
    /// gets it, it has no `lastUsedAt`. (createVolume, getVolume, getVolumeByName, listVolumes; observed)
    a_volume_becomes_ready: Must, covers ["createVolume", "getVolume", "getVolumeByName", "listVolumes"], classes [Racing];

    /// A volume without a name as text is 400; an empty name becomes the id; a name is taken once. (createVolume; observed)
    names_are_checked: Must, covers ["createVolume"];

    /// Routes by id take no names: an unknown id and a name are 404, each with its message. (observed)
    unknown_volume_is_not_found: Must, covers ["getVolume", "getVolumeByName", "deleteVolume"];

    /// A deleted volume is gone by name and from the list, stays readable by id as `<name>-deleted`, is listed with
    /// `includeDeleted`, and its name is free. (deleteVolume; observed)
    deleted_is_gone_and_remembered: Must, covers ["deleteVolume", "getVolume", "listVolumes", "createVolume"],
        classes [Racing];

    /// Volumes, mount paths and subpaths of a new sandbox are checked, the volume first, each with its message.
    /// (createSandbox; observed)
    mounts_are_checked: Must, covers ["createSandbox"];

    /// Two sandboxes that mount a volume see each other's writes, one of them only a part of it; the files are there after
    /// a stop and a start. (createSandbox; observed)
    sandboxes_share_a_volume: Must, covers ["createSandbox", "getVolume"];

    /// A volume that a sandbox has, started or stopped, can't be deleted: 409 with the sandbox's name. (observed)
    used_is_kept: Must, covers ["deleteVolume"];

    /// A key without `read:volumes`, `write:volumes` and `delete:volumes` is 403 for each. (observed)
    permissions_are_needed: Must, covers ["listVolumes", "createVolume", "deleteVolume"], needs [ApiKeys];

    /// Another organisation neither reads nor deletes nor mounts it.
    others_see_nothing: Must, covers ["getVolume", "deleteVolume", "createSandbox"], needs [SecondAccount];
}

async fn ready(cx: &Cx, id: &str) -> Result<Answer> {
    reaches(cx, id, "ready", WITHIN).await
}

async fn reaches(cx: &Cx, id: &str, state: &str, within: Duration) -> Result<Answer> {
    cx.eventually(&format!("the volume is {state}"), within, async || {
        let answer = cx.get(&format!("{PATH}/{id}")).send().await?.ok()?;
        Ok((answer["state"] == state).then_some(answer))
    })
    .await
}

/// A ready volume of this scenario's own: its id and name.
async fn make(cx: &Cx) -> Result<(String, String)> {
    let name = cx.name("volume");
    let id = cx.post(PATH).json(json!({"name": name})).send().await?.ok()?.string("/id")?;
    ready(cx, &id).await?;
    Ok((id, name))
}

/// A started sandbox with mounts, where the server can mount.
async fn mounting(cx: &Cx, name: &str, mounts: Value) -> Result<Sandbox> {
    let answer = cx.create(json!({"name": name, "volumes": mounts}))?.send().await?;
    let text = answer["message"].as_str().unwrap_or_default();
    if answer.status == 400 && text.contains("isolation process") {
        return Err(Stop::not_applicable("this server's isolation can't mount volumes"));
    }
    let sandbox = Sandbox::of(cx.api().clone(), &answer.ok()?)?;
    sandbox.wait_for("started").await?;
    Ok(sandbox)
}

async fn end(sandbox: &Sandbox) -> Result {
    sandbox.op(reqwest::Method::DELETE, "").send().await?.ok()?;
    sandbox.wait_gone().await?;
    Ok(())
}

async fn a_volume_becomes_ready(cx: Cx) -> Result {
    let name = cx.name("volume");
    let made = cx.post(PATH).json(json!({"name": name})).send().await?;
    cx.check("created").status(&made, 200);
    cx.check("pending").json(&made, "/state", "pending_create");
    cx.check("name").json(&made, "/name", &*name);
    cx.check("no-error").json(&made, "/errorReason", Value::Null);
    let id = made.string("/id")?;
    let read = ready(&cx, &id).await?;
    cx.check("unused").on(&read).eq(read.at("/lastUsedAt").is_null(), true);
    let by_name = cx.get(&format!("{PATH}/by-name/{name}")).send().await?;
    cx.check("by-name").json(&by_name, "/id", &*id);
    let list = cx.get(PATH).send().await?;
    let listed: Vec<_> = list.array("")?.iter().filter(|volume| volume["id"] == *id).collect();
    cx.check("listed").on(&list).eq(listed.len(), 1);
    cx.check_same("read", &read, &read.json, &made.json, &["id", "name", "organizationId", "createdAt", "errorReason"]);
    cx.check_recent("created-at", &made, "/createdAt").await;
    let keys: Vec<_> = list.array("")?.iter().map(|one| (time(&one["lastUsedAt"]), time(&one["createdAt"]))).collect();
    cx.check("order").should().on(&list).that(
        keys.iter().rev().is_sorted(),
        "last used first, then newest",
        keys.len(),
    );
    for (id, answer, volume) in [("item", &list, listed.first().copied()), ("named", &by_name, Some(&by_name.json))] {
        let fields = &["id", "name", "organizationId", "state", "createdAt", "updatedAt", "errorReason"];
        cx.check_same(id, answer, volume.unwrap_or(&Value::Null), &read.json, fields);
    }
    Ok(())
}

async fn names_are_checked(cx: Cx) -> Result {
    let unsafe_text = "name must not contain HTML tags, URLs, or control characters";
    for (id, body, message) in [
        ("missing", json!({}), "name must be a string".to_owned()),
        ("null", json!({"name": null}), "name must be a string".to_owned()),
        ("number", json!({"name": 5}), format!("{unsafe_text}, name must be a string")),
        ("html", json!({"name": "<b>x"}), unsafe_text.to_owned()),
    ] {
        cx.check(id).error(&cx.post(PATH).json(body).send().await?, 400, &message);
    }
    let unnamed = cx.post(PATH).json(json!({"name": ""})).send().await?.ok()?;
    let id = unnamed.string("/id")?;
    cx.check("empty").json(&unnamed, "/name", &*id);
    ready(&cx, &id).await?;
    let (_, name) = make(&cx).await?;
    let again = cx.post(PATH).json(json!({"name": name})).send().await?;
    cx.check("taken").error(&again, 400, &format!("Volume with name {name} already exists"));
    Ok(())
}

async fn unknown_volume_is_not_found(cx: Cx) -> Result {
    let (_, name) = make(&cx).await?;
    for (what, id) in [("name", name.as_str()), ("id", "00000000-0000-4000-8000-000000000000")] {
        let message = format!("Volume with ID {id} not found");
        let path = format!("{PATH}/{id}");
        cx.check(format!("get-by-{what}")).error(&cx.get(&path).send().await?, 404, &message);
        cx.check(format!("delete-by-{what}")).error(&cx.delete(&path).send().await?, 404, &message);
    }
    let none = cx.name("none");
    let missing = cx.get(&format!("{PATH}/by-name/{none}")).send().await?;
    cx.check("unknown-name").error(&missing, 404, &format!("Volume with name {none} not found"));
    Ok(())
}

async fn deleted_is_gone_and_remembered(cx: Cx) -> Result {
    let (id, name) = make(&cx).await?;
    let path = format!("{PATH}/{id}");
    let deleted = cx.delete(&path).send().await?;
    cx.check("deleted").status(&deleted, 200);
    let last = reaches(&cx, &id, "deleted", DELETED).await?;
    cx.check("renamed").json(&last, "/name", format!("{name}-deleted"));
    let again = cx.delete(&path).send().await?;
    let message = "Volume must be in 'ready' or 'error' state in order to be deleted";
    cx.check("deleted-twice").error(&again, 400, message);
    cx.check("gone-by-name").status(&cx.get(&format!("{PATH}/by-name/{name}")).send().await?, 404);
    let has = |list: &Answer| Ok::<_, Stop>(list.array("")?.iter().any(|volume| volume["id"] == *id));
    let list = cx.get(PATH).send().await?;
    cx.check("not-listed").on(&list).eq(has(&list)?, false);
    let all = cx.get(PATH).query("includeDeleted", true).send().await?;
    cx.check("listed-with-deleted").on(&all).eq(has(&all)?, true);
    let item = all.array("")?.iter().find(|volume| volume["id"] == *id).cloned().unwrap_or_default();
    cx.check_same("deleted-item", &all, &item, &last.json, &["name", "state"]);
    let new = cx.post(PATH).json(json!({"name": name})).send().await?;
    cx.check("name-free").status(&new, 200);
    ready(&cx, &new.string("/id")?).await?;
    Ok(())
}

async fn mounts_are_checked(cx: Cx) -> Result {
    let (id, _) = make(&cx).await?;
    let none = cx.name("none");
    let at = |path: &str| json!([{"volumeId": id, "mountPath": path}]);
    let below = |subpath: &str| json!([{"volumeId": id, "mountPath": "/x", "subpath": subpath}]);
    for (what, mounts, status, message) in [
        (
            "no-array",
            json!("x"),
            400,
            "volumes must be an array, each value in nested property volumes must be either object or array".to_owned(),
        ),
        (
            "empty",
            json!([{}]),
            400,
            "volumes.0.volumeId should not be empty, volumes.0.volumeId must be a string, volumes.0.mountPath must be a string".to_owned(),
        ),
        (
            "unknown-before-paths",
            json!([{"volumeId": none, "mountPath": "bad"}]),
            404,
            format!("Volume '{none}' not found"),
        ),
        ("relative", at("x"), 400, "Invalid mount path x (must be absolute)".to_owned()),
        ("root", at("/"), 400, "Invalid mount path / (cannot mount to the root directory)".to_owned()),
        ("dots", at("/a/../b"), 400, "Invalid mount path /a/../b (cannot contain relative path components)".to_owned()),
        ("slashes", at("/a//b"), 400, "Invalid mount path /a//b (cannot contain consecutive slashes)".to_owned()),
        ("system", at("/etc/x"), 400, "Invalid mount path /etc/x (cannot mount to system directory)".to_owned()),
        ("subpath-slash", below("/a"), 400, "Invalid subpath \"/a\" (S3 key prefixes cannot start with /)".to_owned()),
        ("subpath-dots", below("../a"), 400, "Invalid subpath \"../a\" (cannot contain .. for security)".to_owned()),
        ("subpath-slashes", below("a//b"), 400, "Invalid subpath \"a//b\" (cannot contain consecutive slashes)".to_owned()),
    ] {
        let refused = cx.create(json!({"volumes": mounts}))?.send().await?;
        cx.check(what).error(&refused, status, &message);
    }
    Ok(())
}

async fn sandboxes_share_a_volume(cx: Cx) -> Result {
    let (id, name) = make(&cx).await?;
    // By name; the answer has the id.
    let one = mounting(&cx, &cx.name("one"), json!([{"volumeId": name, "mountPath": "/home/daytona/data"}])).await?;
    let mounts = json!([{"volumeId": id, "mountPath": "/mnt/part", "subpath": "users/two"}]);
    let two = mounting(&cx, &cx.name("two"), mounts).await?;
    let shown = one.read().await?;
    cx.check("volumes-shown").json(&shown, "/volumes/0/volumeId", &*id);
    let used = cx.get(&format!("{PATH}/{id}")).send().await?;
    cx.check("last-used").on(&used).eq(used.at("/lastUsedAt").is_string(), true);
    two.output("echo from two > /mnt/part/file").await?;
    let read = one.output("cat /home/daytona/data/users/two/file").await?;
    cx.check("first-sees-second").eq(read.trim_end(), "from two");
    one.output("echo from one >> /home/daytona/data/users/two/file").await?;
    let read = two.output("cat /mnt/part/file").await?;
    cx.check("second-sees-first").eq(read.trim_end(), "from two\nfrom one");
    one.stop().await?.ok()?;
    one.wait_for("stopped").await?;
    one.start().await?.ok()?;
    one.wait_for("started").await?;
    let read = one.output("cat data/users/two/file || cat /home/daytona/data/users/two/file").await?;
    cx.check("there-after-a-start").eq(read.trim_end(), "from two\nfrom one");
    end(&one).await?;
    end(&two).await
}

async fn used_is_kept(cx: Cx) -> Result {
    let (id, _) = make(&cx).await?;
    let name = cx.name("user");
    let sandbox = mounting(&cx, &name, json!([{"volumeId": id, "mountPath": "/data"}])).await?;
    let message = format!("Volume cannot be deleted because it is in use by one or more sandboxes (e.g. {name})");
    let path = format!("{PATH}/{id}");
    cx.check("started").error(&cx.delete(&path).send().await?, 409, &message);
    sandbox.stop().await?.ok()?;
    sandbox.wait_for("stopped").await?;
    cx.check("stopped").error(&cx.delete(&path).send().await?, 409, &message);
    end(&sandbox).await?;
    let freed = cx.eventually("nobody uses it", WITHIN, async || {
        let deleted = cx.delete(&path).send().await?;
        Ok((deleted.status != 409).then_some(deleted))
    });
    cx.check("free-again").status(&freed.await?, 200);
    Ok(())
}

async fn permissions_are_needed(cx: Cx) -> Result {
    let (id, _) = make(&cx).await?;
    let body = json!({"name": cx.name("key"), "permissions": ["write:sandboxes"]});
    let key = cx.post("/api-keys").json(body).send().await?.ok()?.string("/value")?;
    let client = cx.api().with_key(&key);
    for (what, request) in [
        ("list", client.get(PATH)),
        ("read", client.get(&format!("{PATH}/{id}"))),
        ("create", client.post(PATH).json(json!({"name": cx.name("denied")}))),
        ("delete", client.delete(&format!("{PATH}/{id}"))),
    ] {
        cx.check(what).error(&request.send().await?, 403, "Access denied");
    }
    Ok(())
}

async fn others_see_nothing(cx: Cx) -> Result {
    let (id, _) = make(&cx).await?;
    let other = cx.second_account().await?;
    let message = format!("Volume with ID {id} not found");
    let path = format!("{PATH}/{id}");
    cx.check("read").error(&other.get(&path).send().await?, 404, &message);
    cx.check("delete").error(&other.delete(&path).send().await?, 404, &message);
    let body = cx.sandbox_body(json!({"volumes": [{"volumeId": id, "mountPath": "/data"}]}));
    let mount = other.post("/sandbox").json(body).send().await?;
    cx.check("mount").error(&mount, 404, &format!("Volume '{id}' not found"));
    let list = other.get(PATH).send().await?;
    cx.check("list").on(&list).eq(list.text().contains(&id), false);
    Ok(())
}
