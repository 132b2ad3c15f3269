//! What belongs to one organisation, asked for with the key of another: every operation with an id answers as for an id that
//! there isn't.

use crate::{
    client::{Answer, Client},
    contract::Plane,
    prelude::*,
};

scenarios! { "strangers";
    /// To another organisation a sandbox doesn't exist, by id and by name, for every operation, and in no list.
    /// (observed)
    see_no_sandboxes: Must,
        covers ["getSandbox", "deleteSandbox", "startSandbox", "stopSandbox", "pauseSandbox", "recoverSandbox",
            "archiveSandbox", "resizeSandbox", "forkSandbox", "createSandboxSnapshot", "createBackup", "replaceLabels",
            "updatePublicStatus", "updateLastActivity", "setAutostopInterval", "updateNetworkSettings",
            "getPortPreviewUrl", "getSignedPortPreviewUrl", "getBuildLogs", "getToolboxProxyUrl", "createSshAccess",
            "revokeSshAccess", "hasSandboxAccess", "listSandboxes"],
        needs [SecondAccount];

    /// The same for snapshots. (observed)
    see_no_snapshots: Must,
        covers ["getSnapshot", "removeSnapshot", "activateSnapshot", "deactivateSnapshot", "getAllSnapshots"],
        needs [SecondAccount];

    /// The same for volumes. (observed)
    see_no_volumes: Must, covers ["getVolume", "getVolumeByName", "deleteVolume", "listVolumes"],
        needs [SecondAccount];

    /// The same for registries. (observed)
    see_no_registries: Must, covers ["getRegistry", "updateRegistry", "deleteRegistry", "listRegistries"],
        needs [SecondAccount];

    /// The same for an organisation's own regions. (observed)
    see_no_regions: Must,
        covers ["createRegion", "getRegionById", "updateRegion", "deleteRegion", "listAvailableRegions"],
        needs [SecondAccount], classes [Racing];

    /// The same for secrets. (observed of all other things)
    see_no_secrets: Must, covers ["getSecret", "updateSecret", "deleteSecret", "listSecrets"], needs [SecondAccount],
        since "0.200";

    /// The same for API keys, with or without their user. (observed of all other things)
    see_no_keys: Must, covers ["getApiKey", "deleteApiKey", "deleteApiKeyForUser", "listApiKeys"],
        needs [ApiKeys, SecondAccount];

    /// The same for warm pools. (observed of all other things)
    see_no_pools: Must, covers ["updateWarmPool", "deleteWarmPool", "listWarmPools"], needs [SecondAccount],
        since "0.200", classes [Alone];

    /// Whoever isn't in an organisation is answered as if there were none of that id. (observed)
    see_no_organizations: Must,
        covers ["getOrganizationAuditLogs", "WebhookController_getInitializationStatus"], needs [SecondAccount];
}

/// An id that nothing has.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// A path of the contract with its first parameter and fitting values for the others.
fn filled(template: &str, id: &str) -> String {
    let mut first = true;
    let parts = template.split('/').map(|part| match part {
        part if !part.starts_with('{') => part,
        _ if std::mem::take(&mut first) => id,
        "{port}" => "3000",
        "{isPublic}" => "true",
        "{interval}" | "{ttlMinutes}" => "5",
        _ => NOBODY,
    });
    let path = parts.collect::<Vec<_>>().join("/");
    match path.contains("/telemetry/") {
        true => format!("{path}?from=2000-01-01T00:00:00.000Z&to=2000-01-02T00:00:00.000Z"),
        false => path,
    }
}

/// A check: two requests are answered the same but for what they name. The answers may differ in how they call it (observed of
/// snapshots).
async fn same(cx: &Cx, check: &str, other: &Client, method: &str, [mine, unknown]: [(&str, &str); 2]) -> Result {
    let ask = async |path: &str| {
        let request = other.request(method.parse().expect("a method"), path);
        if method == "GET" { request } else { request.json(json!({})) }.send().await
    };
    let text = |answer: &Answer, id: &str| {
        let message = answer["message"].as_str().unwrap_or_default();
        message.replace(id, "…").replace("with ID or name", "with name")
    };
    let expected = ask(unknown.0).await?;
    let got = ask(mine.0).await?;
    let is_same = got.status == expected.status && text(&got, mine.1) == text(&expected, unknown.1);
    let wanted = format!("as for an unknown id: {}", expected.summary());
    cx.check(check.to_owned()).on(&got).that(is_same && !got.is_ok(), &wanted, got.summary());
    Ok(())
}

/// Every operation whose path begins like this, deleting last.
async fn hidden(cx: &Cx, other: &Client, start: &str, id: &str) -> Result {
    let all = Plane::Api.contract().operations.iter();
    let mut of_it: Vec<_> = all.filter(|one| one.path.starts_with(start) && cx.offers(one.id)).collect();
    of_it.sort_by_key(|one| one.method == "DELETE");
    for one in of_it {
        let (mine, unknown) = (filled(one.path, id), filled(one.path, NOBODY));
        same(cx, one.id, other, one.method, [(&mine, id), (&unknown, NOBODY)]).await?;
    }
    Ok(())
}

/// A check: a list of the other's, if it gets one, doesn't have it.
async fn not_listed(cx: &Cx, other: &Client, path: &str, id: &str) -> Result {
    let list = other.get(path).send().await?;
    cx.check(format!("list {path}")).on(&list).that(!list.text().contains(id), "a list without it", list.summary());
    Ok(())
}

/// What was made; not applicable where the server has nothing of the kind.
fn made(answer: Answer) -> Result<String> {
    let is_absent = answer["message"].as_str().is_some_and(|message| message.starts_with("Cannot "));
    match answer.status {
        404 if is_absent => Err(Stop::not_applicable("this server has none")),
        501 | 503 => Err(Stop::not_applicable("this server has none")),
        _ => answer.ok()?.string("/id"),
    }
}

async fn see_no_sandboxes(cx: Cx) -> Result {
    let (sandbox, other) = (cx.sandbox().await?, cx.second_account().await?);
    let before = sandbox.read().await?.ok()?;
    for (what, path) in [("by-name", ""), ("preview-by-name", "/ports/3000/preview-url")] {
        let (mine, unknown) = (format!("/sandbox/{}{path}", sandbox.name), format!("/sandbox/{NOBODY}{path}"));
        same(&cx, what, &other, "GET", [(&mine, &sandbox.name), (&unknown, NOBODY)]).await?;
    }
    hidden(&cx, &other, "/preview/{sandboxId}", &sandbox.id).await?;
    hidden(&cx, &other, "/sandbox/{", &sandbox.id).await?;
    for list in ["/sandbox?limit=200", "/sandbox/paginated?limit=200"] {
        not_listed(&cx, &other, list, &sandbox.id).await?;
    }
    let after = sandbox.read().await?.ok()?;
    let fields =
        ["state", "desiredState", "labels", "public", "autoStopInterval", "autoDeleteInterval", "networkBlockAll"];
    cx.check_same("untouched", &after, &after.json, &before.json, &fields);
    Ok(())
}

async fn see_no_snapshots(cx: Cx) -> Result {
    let (name, other) = (cx.name("hidden"), cx.second_account().await?);
    // Whatever becomes of it.
    let id = made(cx.post("/snapshots").json(json!({"name": name, "imageName": "debian:12.5"})).send().await?)?;
    let (mine, unknown) = (format!("/snapshots/{name}"), format!("/snapshots/{NOBODY}"));
    same(&cx, "by-name", &other, "GET", [(&mine, &name), (&unknown, NOBODY)]).await?;
    hidden(&cx, &other, "/snapshots/{", &id).await?;
    not_listed(&cx, &other, "/snapshots?limit=200", &id).await?;
    cx.check("still-there").status(&cx.get(&format!("/snapshots/{id}")).send().await?, 200);
    Ok(())
}

async fn see_no_volumes(cx: Cx) -> Result {
    let (name, other) = (cx.name("hidden"), cx.second_account().await?);
    let id = made(cx.post("/volumes").json(json!({"name": name})).send().await?)?;
    let (mine, unknown) = (format!("/volumes/by-name/{name}"), format!("/volumes/by-name/{NOBODY}"));
    same(&cx, "by-name", &other, "GET", [(&mine, &name), (&unknown, NOBODY)]).await?;
    hidden(&cx, &other, "/volumes/{", &id).await?;
    not_listed(&cx, &other, "/volumes", &id).await?;
    cx.check("still-there").status(&cx.get(&format!("/volumes/{id}")).send().await?, 200);
    Ok(())
}

async fn see_no_registries(cx: Cx) -> Result {
    let other = cx.second_account().await?;
    let body = json!({"name": cx.name("hidden"), "url": "https://registry.example", "username": "me", "password": "p"});
    let id = made(cx.post("/docker-registry").json(body).send().await?)?;
    hidden(&cx, &other, "/docker-registry/{", &id).await?;
    not_listed(&cx, &other, "/docker-registry", &id).await?;
    cx.check("still-there").status(&cx.get(&format!("/docker-registry/{id}")).send().await?, 200);
    Ok(())
}

async fn see_no_regions(cx: Cx) -> Result {
    let other = cx.second_account().await?;
    let id = made(cx.post("/regions").json(json!({"name": cx.name("hidden")})).send().await?)?;
    hidden(&cx, &other, "/regions/{", &id).await?;
    not_listed(&cx, &other, "/regions", &id).await?;
    cx.check("still-there").status(&cx.get(&format!("/regions/{id}")).send().await?, 200);
    Ok(())
}

async fn see_no_secrets(cx: Cx) -> Result {
    let other = cx.second_account().await?;
    let body = json!({"name": cx.name("hidden"), "value": "conformance-secret-value"});
    let id = made(cx.post("/secret").json(body).send().await?)?;
    hidden(&cx, &other, "/secret/{", &id).await?;
    for list in ["/secret", "/secret/paginated?limit=200"] {
        not_listed(&cx, &other, list, &id).await?;
    }
    cx.check("still-there").status(&cx.get(&format!("/secret/{id}")).send().await?, 200);
    Ok(())
}

async fn see_no_keys(cx: Cx) -> Result {
    let (name, other) = (cx.name("hidden"), cx.second_account().await?);
    let key = cx.post("/api-keys").json(json!({"name": name, "permissions": []})).send().await?.ok()?;
    hidden(&cx, &other, "/api-keys/{", &name).await?;
    let user = cx.get("/api-keys/current").send().await?.ok()?.string("/userId")?;
    let (mine, unknown) = (format!("/api-keys/{user}/{name}"), format!("/api-keys/{user}/{NOBODY}"));
    same(&cx, "of-user", &other, "DELETE", [(&mine, &name), (&unknown, NOBODY)]).await?;
    not_listed(&cx, &other, "/api-keys", &name).await?;
    let works = cx.get("/api-keys/current").key(&key.string("/value")?).send().await?;
    cx.check("still-works").status(&works, 200);
    Ok(())
}

async fn see_no_pools(cx: Cx) -> Result {
    let other = cx.second_account().await?;
    let all = cx.get("/snapshots").send().await?.ok()?;
    let active = all.array("/items")?.iter().find(|one| one["state"] == "active" && one["sandboxClass"] == "container");
    let Some(snapshot) = active.map(|one| one["name"].clone()) else {
        return Err(Stop::not_applicable("there is no active snapshot"));
    };
    let id = made(cx.post("/warm-pools").json(json!({"snapshot": snapshot, "pool": 1})).send().await?)?;
    hidden(&cx, &other, "/warm-pools/{", &id).await?;
    not_listed(&cx, &other, "/warm-pools", &id).await?;
    let mine = cx.get("/warm-pools").send().await?;
    cx.check("still-there").on(&mine).contains(&mine.text(), &id);
    Ok(())
}

async fn see_no_organizations(cx: Cx) -> Result {
    let other = cx.second_account().await?;
    let id = cx.shared().await?.read().await?.ok()?.string("/organizationId")?;
    let kinds = ["/organizations/{organizationId}", "/audit/organizations/{", "/webhooks/organizations/{"];
    for start in kinds {
        hidden(&cx, &other, start, &id).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn the_first_parameter_is_the_thing() {
        assert_eq!(
            filled("/sandbox/{sandboxIdOrName}/ports/{port}/preview-url", "x"),
            "/sandbox/x/ports/3000/preview-url"
        );
        assert_eq!(filled("/sandbox/{id}/autostop/{interval}", "x"), "/sandbox/x/autostop/5");
        assert!(filled("/sandbox/{sandboxId}/telemetry/logs", "x").starts_with("/sandbox/x/telemetry/logs?from="));
    }
}
