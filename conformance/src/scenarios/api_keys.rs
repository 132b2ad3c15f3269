use crate::prelude::*;

scenarios! { "api_keys";
    /// A new key is answered 201 with its value, which works at once; lists and reads show it masked. (createApiKey,
    /// observed)
    value_is_shown_once: Must, covers ["createApiKey", "listApiKeys", "getApiKey"], needs [ApiKeys],
        classes [Racing];

    /// A deleted key is refused at once, even if it was used a moment before; deleting it again is 404. (observed)
    deleted_key_is_refused_at_once: Must, covers ["deleteApiKey"], needs [ApiKeys];

    /// A key whose time is over is refused, and stays in the list. (observed)
    expired_key_is_refused: Must, covers ["createApiKey", "listApiKeys"], needs [ApiKeys], classes [Racing];

    /// The key that asks can read itself, whatever its permissions. (getCurrentApiKey)
    current_key_describes_itself: Must, covers ["getCurrentApiKey"], needs [ApiKeys];

    /// A second key of one name is 409 `API key with this name already exists`. (observed)
    names_are_unique: Must, covers ["createApiKey"], needs [ApiKeys];

    /// Bad input is refused with a message for each field. (observed)
    input_is_validated: Must, covers ["createApiKey"], needs [ApiKeys];

    /// A key without permissions may look, and may not change: 403 `Access denied`, decided before the sandbox is
    /// looked up and before the body is validated. (observed)
    permissions_are_enforced: Must,
        covers ["createSandbox", "deleteSandbox", "startSandbox", "stopSandbox", "replaceLabels", "listSandboxes"],
        needs [ApiKeys];

    /// A key with `write:sandboxes` alone may make and stop sandboxes and may not delete them. (observed)
    writing_is_not_deleting: Must, covers ["deleteSandbox", "replaceLabels"], needs [ApiKeys];

    /// Nobody can give a key more permissions than the asking key has. (observed)
    permissions_do_not_grow: Must, covers ["createApiKey"], needs [ApiKeys];

    /// An unknown key is 404 `API key not found`, for reading and for deleting. (observed)
    unknown_key_is_not_found: Must, covers ["getApiKey", "deleteApiKey", "deleteApiKeyForUser"], needs [ApiKeys];
}

/// A key with some permissions: its name and value.
async fn make(cx: &Cx, permissions: Value) -> Result<(String, String)> {
    let name = cx.name("key");
    let body = json!({"name": name, "permissions": permissions});
    let made = cx.post("/api-keys").json(body).send().await?.ok()?;
    Ok((name, made.string("/value")?))
}

async fn value_is_shown_once(cx: Cx) -> Result {
    let name = cx.name("key");
    let body = json!({"name": name, "permissions": ["write:sandboxes"]});
    let made = cx.post("/api-keys").json(body).send().await?;
    cx.check("created").status(&made, 201);
    cx.check("permissions").json(&made, "/permissions", json!(["write:sandboxes"]));
    cx.check("expires").json(&made, "/expiresAt", Value::Null);
    let value = made.string("/value")?;
    cx.check("form").on(&made).that(value.starts_with("dtn_"), "a value that begins with dtn_", value.len());
    cx.check("works").status(&cx.get("/sandbox?limit=1&name=nobody").key(&value).send().await?, 200);
    let list = cx.get("/api-keys").send().await?.ok()?;
    let named: Vec<&Value> = list.array("")?.iter().filter(|key| key["name"] == name.as_str()).collect();
    cx.check("listed-once").on(&list).eq(named.len(), 1);
    let listed = named.first().copied().cloned().unwrap_or_default();
    cx.check("listed").on(&list).eq(&listed["name"], &json!(name));
    cx.check_same("item", &list, &listed, &made.json, &["permissions", "expiresAt", "createdAt"]);
    cx.check_recent("created-at", &made, "/createdAt").await;
    let shown = listed["value"].as_str().unwrap_or_default();
    cx.check("masked").on(&list).that(shown != value && shown.contains('*'), "a masked value", shown);
    let read = cx.get(&format!("/api-keys/{name}")).send().await?;
    cx.check("read").json(&read, "/value", shown);
    cx.check_same("same", &read, &read.json, &listed, &["name", "permissions", "expiresAt", "createdAt", "userId"]);
    let used = cx.eventually("lastUsedAt is told", Duration::from_secs(20), async || {
        let read = cx.get(&format!("/api-keys/{name}")).send().await?.ok()?;
        Ok(time(&read["lastUsedAt"]).is_some().then_some(()))
    });
    cx.check("last-used").should().that(used.await.is_ok(), "a time", "none");
    Ok(())
}

async fn deleted_key_is_refused_at_once(cx: Cx) -> Result {
    let (name, value) = make(&cx, json!([])).await?;
    cx.check("before").status(&cx.get("/sandbox?limit=1&name=nobody").key(&value).send().await?, 200);
    cx.check("deleted").status(&cx.delete(&format!("/api-keys/{name}")).send().await?, 204);
    cx.check("refused").error(
        &cx.get("/sandbox?limit=1&name=nobody").key(&value).send().await?,
        401,
        "Invalid credentials",
    );
    let again = cx.delete(&format!("/api-keys/{name}")).send().await?;
    cx.check("again").error(&again, 404, "API key not found");
    Ok(())
}

async fn expired_key_is_refused(cx: Cx) -> Result {
    let name = cx.name("key");
    let body = json!({"name": name, "permissions": [], "expiresAt": "2020-01-01T00:00:00.000Z"});
    let made = cx.post("/api-keys").json(body).send().await?;
    cx.check("accepted").status(&made, 201);
    cx.check("expires").json(&made, "/expiresAt", "2020-01-01T00:00:00.000Z");
    let answer = cx.get("/sandbox?limit=1&name=nobody").key(&made.string("/value")?).send().await?;
    cx.check("refused").error(&answer, 401, "Invalid credentials");
    let list = cx.get("/api-keys").send().await?.ok()?;
    let listed = list.array("")?.iter().find(|key| key["name"] == name.as_str()).cloned();
    cx.check("listed").on(&list).that(listed.is_some(), "the key in the list", &listed);
    let ends = listed.unwrap_or_default()["expiresAt"].clone();
    cx.check("listed-expiry").on(&list).eq(ends, json!("2020-01-01T00:00:00.000Z"));
    Ok(())
}

async fn current_key_describes_itself(cx: Cx) -> Result {
    let (name, value) = make(&cx, json!([])).await?;
    let current = cx.get("/api-keys/current").key(&value).send().await?;
    cx.check("name").json(&current, "/name", name);
    cx.check("permissions").json(&current, "/permissions", json!([]));
    let shown = current["value"].as_str().unwrap_or_default();
    cx.check("masked").on(&current).that(!shown.is_empty() && shown != value, "a masked value", shown);
    Ok(())
}

async fn names_are_unique(cx: Cx) -> Result {
    let (name, _) = make(&cx, json!([])).await?;
    let again = cx.post("/api-keys").json(json!({"name": name, "permissions": []})).send().await?;
    cx.check("conflict").error(&again, 409, "API key with this name already exists");
    Ok(())
}

async fn input_is_validated(cx: Cx) -> Result {
    let bad = [
        ("no-name", json!({"permissions": []}), "name must be a string"),
        ("empty-name", json!({"name": "", "permissions": []}), "name should not be empty"),
        ("number-name", json!({"name": 5, "permissions": []}), "name must be a string"),
        (
            "html-name",
            json!({"name": "<b>x", "permissions": []}),
            "name must not contain HTML tags, URLs, or control characters",
        ),
        ("no-permissions", json!({"name": "x"}), "permissions must be an array"),
        (
            "unknown-permission",
            json!({"name": "x", "permissions": ["fly"]}),
            "each value in permissions must be one of",
        ),
        ("bad-date", json!({"name": "x", "permissions": [], "expiresAt": "soon"}), "expiresAt must be a Date instance"),
    ];
    for (id, body, message) in bad {
        let answer = cx.post("/api-keys").json(body).send().await?;
        cx.check(format!("{id}-status")).status(&answer, 400);
        cx.check(id).on(&answer).contains(answer["message"].as_str().unwrap_or_default(), message);
    }
    Ok(())
}

async fn permissions_are_enforced(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let (_, value) = make(&cx, json!([])).await?;
    let weak = cx.api().with_key(&value);
    let path = format!("/sandbox/{}", sandbox.id);
    let allowed = [
        ("list", weak.get("/sandbox?limit=1&name=nobody")),
        ("get", weak.get(&path)),
        ("preview", weak.get(&format!("{path}/ports/3000/preview-url"))),
        ("snapshots", weak.get("/snapshots")),
        ("regions", weak.get("/regions")),
        ("current", weak.get("/api-keys/current")),
    ];
    for (id, request) in allowed {
        cx.check(format!("may-{id}")).status(&request.send().await?, 200);
    }
    let refused = [
        ("create", weak.post("/sandbox").json(cx.sandbox_body(json!({})))),
        ("create-bad-body", weak.post("/sandbox").json(json!({"name": 5}))),
        ("delete", weak.delete(&path)),
        ("delete-unknown", weak.delete("/sandbox/no-such-sandbox")),
        ("start", weak.post(&format!("{path}/start"))),
        ("stop", weak.post(&format!("{path}/stop"))),
        ("labels", weak.put(&format!("{path}/labels")).json(json!({"labels": {}}))),
        ("public", weak.post(&format!("{path}/public/true"))),
        ("autostop", weak.post(&format!("{path}/autostop/5"))),
        ("network", weak.post(&format!("{path}/network-settings")).json(json!({"networkBlockAll": true}))),
    ];
    for (id, request) in refused {
        cx.check(format!("may-not-{id}")).error(&request.send().await?, 403, "Access denied");
    }
    Ok(())
}

async fn writing_is_not_deleting(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let (_, value) = make(&cx, json!(["write:sandboxes"])).await?;
    let writer = cx.api().with_key(&value);
    let path = format!("/sandbox/{}", sandbox.id);
    let written =
        writer.put(&format!("{path}/labels")).json(json!({"labels": sandbox.created["labels"]})).send().await?;
    cx.check("may-write").status(&written, 200);
    cx.check("may-not-delete").error(&writer.delete(&path).send().await?, 403, "Access denied");
    let (_, value) = make(&cx, json!(["delete:sandboxes"])).await?;
    let deleter = cx.api().with_key(&value);
    let answer = deleter.put(&format!("{path}/labels")).json(json!({"labels": {}})).send().await?;
    cx.check("may-not-write").error(&answer, 403, "Access denied");
    let answer = deleter.delete("/sandbox/no-such-sandbox").send().await?;
    cx.check("may-delete").error(&answer, 404, "Sandbox with ID or name no-such-sandbox not found");
    Ok(())
}

async fn permissions_do_not_grow(cx: Cx) -> Result {
    let (_, value) = make(&cx, json!(["manage:api_keys"])).await?;
    let body = json!({"name": cx.name("key"), "permissions": ["write:sandboxes"]});
    let answer = cx.post("/api-keys").key(&value).json(body).send().await?;
    cx.check("refused").error(&answer, 403, "Insufficient permissions for assigning: write:sandboxes");
    Ok(())
}

async fn unknown_key_is_not_found(cx: Cx) -> Result {
    cx.check("get").error(&cx.get("/api-keys/no-such-key").send().await?, 404, "API key not found");
    cx.check("delete").error(&cx.delete("/api-keys/no-such-key").send().await?, 404, "API key not found");
    let of_user = cx.delete("/api-keys/no-such-user/no-such-key").send().await?;
    cx.check("delete-of-user").error(&of_user, 404, "API key not found");
    Ok(())
}
