//! Regions of an organisation's own.

use crate::{client::Answer, prelude::*};

const PATH: &str = "/regions";

scenarios! { "regions";
    /// A region is made, listed before the shared ones, read, and gone when it is deleted. (createRegion,
    /// listAvailableRegions, getRegionById, deleteRegion)
    regions_come_and_go: Must,
        covers ["createRegion", "listAvailableRegions", "getRegionById", "deleteRegion"], classes [Racing];

    /// Names are checked and unique. (createRegion, observed)
    input_is_validated: Must, covers ["createRegion"], classes [Racing];

    /// URLs are changed; each part with a URL gets new credentials when asked, and one without is 400. (updateRegion,
    /// regenerateProxyApiKey, regenerateSshGatewayApiKey, regenerateSnapshotManagerCredentials, observed)
    parts_have_credentials: Must,
        covers ["updateRegion", "regenerateProxyApiKey", "regenerateSshGatewayApiKey",
            "regenerateSnapshotManagerCredentials"];

    /// Unknown and shared regions are 404 `Region not found`. (observed)
    unknown_region_is_not_found: Must,
        covers ["getRegionById", "deleteRegion", "updateRegion", "regenerateProxyApiKey",
            "regenerateSshGatewayApiKey", "regenerateSnapshotManagerCredentials"];

    /// A snapshot is only usable in its region. (createSandbox, observed)
    snapshots_belong_to_a_region: Must, covers ["createSandbox"];
}

/// Regions are a feature that servers may have switched off.
async fn make(cx: &Cx, body: Value) -> Result<Answer> {
    let made = cx.post(PATH).json(body).send().await?;
    if made.status == 404 {
        return Err(Stop::not_applicable("custom regions are switched off"));
    }
    if let Ok(id) = made.string("/id") {
        cx.removes("deleteRegion", &format!("{PATH}/{id}"));
    }
    Ok(made)
}

/// As the names of regions must be.
fn name(cx: &Cx) -> String {
    cx.name("region").replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-")
}

async fn regions_come_and_go(cx: Cx) -> Result {
    let name = name(&cx);
    let made = make(&cx, json!({"name": name})).await?;
    cx.check("created").status(&made, 201);
    let id = made.string("/id")?;
    cx.check("id").on(&made).that(id.starts_with(&format!("{name}_")), "the name, `_` and four characters", &id);
    let path = format!("{PATH}/{id}");
    let read = cx.get(&path).send().await?;
    cx.check("name").json(&read, "/name", name.as_str());
    cx.check("type").json(&read, "/regionType", "custom");
    let all = cx.get(PATH).send().await?.ok()?;
    let at = |wanted: &dyn Fn(&Value) -> bool| all.array("").ok()?.iter().position(wanted);
    let (own, shared) = (at(&|one| one["id"] == *id), at(&|one| one["regionType"] == "shared"));
    let item = all.array("")?.iter().find(|one| one["id"] == *id).cloned().unwrap_or_default();
    cx.check_same("item", &all, &item, &read.json, &["name", "organizationId", "regionType"]);
    cx.check("listed").on(&all).that(own.is_some() && own < shared, "before the shared ones", (own, shared));
    cx.check("deleted").status(&cx.delete(&path).send().await?, 204);
    cx.check("gone").error(&cx.get(&path).send().await?, 404, "Region not found");
    Ok(())
}

async fn input_is_validated(cx: Cx) -> Result {
    let name = name(&cx);
    let made = make(&cx, json!({"name": name})).await?.ok()?;
    let twice = make(&cx, json!({"name": name})).await?;
    cx.check("twice").error(&twice, 409, &format!("Region with name {name} already exists"));
    let empty = make(&cx, json!({})).await?;
    cx.check("empty").error(&empty, 400, "name should not be empty, name must be a string");
    let text = "Region name must contain only letters, numbers, underscores, periods, and hyphens";
    cx.check("name").error(&make(&cx, json!({"name": "bad name!"})).await?, 400, text);
    cx.delete(&format!("{PATH}/{}", made.string("/id")?)).send().await?.ok().map(drop)
}

async fn parts_have_credentials(cx: Cx) -> Result {
    let id = make(&cx, json!({"name": name(&cx)})).await?.ok()?.string("/id")?;
    let path = format!("{PATH}/{id}");
    let missing = cx.post(&format!("{path}/regenerate-snapshot-manager-credentials")).send().await?;
    cx.check("missing").error(&missing, 400, "Region does not have a snapshot manager URL configured");
    let urls = json!({
        "proxyUrl": "http://p.example", "sshGatewayUrl": "ssh.example:22", "snapshotManagerUrl": "http://s.example"
    });
    cx.check("changed").status(&cx.api().patch(&path).json(urls).send().await?, 200);
    cx.check("kept").json(&cx.get(&path).send().await?, "/proxyUrl", "http://p.example");
    for what in ["proxy", "ssh-gateway"] {
        let key = cx.post(&format!("{path}/regenerate-{what}-api-key")).send().await?;
        cx.check(format!("{what}-key")).status_in(&key, &[200, 201]);
        cx.check(format!("{what}-text")).on(&key).that(key.at("/apiKey").is_string(), "a key", key.summary());
    }
    let manager = cx.post(&format!("{path}/regenerate-snapshot-manager-credentials")).send().await?;
    cx.check("manager").on(&manager).that(manager.at("/password").is_string(), "a password", manager.summary());
    cx.delete(&path).send().await?.ok().map(drop)
}

async fn unknown_region_is_not_found(cx: Cx) -> Result {
    let text = "Region not found";
    for id in ["us", "no-such-region"] {
        let path = format!("{PATH}/{id}");
        cx.check(format!("get-{id}")).error(&cx.get(&path).send().await?, 404, text);
        cx.check(format!("delete-{id}")).error(&cx.delete(&path).send().await?, 404, text);
        cx.check(format!("update-{id}")).error(&cx.api().patch(&path).json(json!({})).send().await?, 404, text);
        for what in ["proxy-api-key", "ssh-gateway-api-key", "snapshot-manager-credentials"] {
            let answer = cx.post(&format!("{path}/regenerate-{what}")).send().await?;
            cx.check(format!("{what}-{id}")).error(&answer, 404, text);
        }
    }
    Ok(())
}

async fn snapshots_belong_to_a_region(cx: Cx) -> Result {
    let name = name(&cx);
    let id = make(&cx, json!({"name": name})).await?.ok()?.string("/id")?;
    let refused = cx.create(json!({"target": name}))?.send().await?;
    cx.check("refused").status(&refused, 400);
    let end = format!(" is not available in region {id}");
    let message = refused.string("/message")?;
    cx.check("message").on(&refused).that(message.ends_with(&end), &format!("…{end}"), &message);
    cx.delete(&format!("{PATH}/{id}")).send().await?.ok().map(drop)
}
