use crate::prelude::*;

scenarios! { "catalogue";
    /// Snapshots are listed by pages; the ready-made ones are active, and found by name and by id. (getAllSnapshots,
    /// getSnapshot)
    snapshots_are_listed: Must, covers ["getAllSnapshots", "getSnapshot"];

    /// An unknown snapshot is 404. (getSnapshot; observed)
    unknown_snapshot_is_not_found: Must, covers ["getSnapshot"];

    /// The list's parameters are validated. (observed)
    snapshot_list_validates: Must, covers ["getAllSnapshots"];

    /// Regions are listed; the one that sandboxes get is among them, and the snapshot that they get is there.
    /// (listAvailableRegions, ConfigController_getConfig: `defaultSnapshot`)
    regions_are_listed: Must, covers ["listAvailableRegions", "ConfigController_getConfig"];

    /// An unknown region is 404 `Region not found`. (observed)
    unknown_region_is_not_found: Must, covers ["getRegionById"];

    /// The key's organisation is listed and readable. (listOrganizations; the CLI)
    organization_is_readable: Should, covers ["listOrganizations", "getOrganization"];

    /// What only the service's own parts may ask is closed to users: 403. (observed)
    internal_routes_are_closed: Must,
        covers ["isSandboxPublic", "isValidAuthToken", "getSigningKey", "isPreviewWarningEnabled", "HealthController_check"];

    /// Whether the caller has access to a sandbox is `true`, or 404. (hasSandboxAccess; observed)
    access_is_true_or_not_found: Must, covers ["hasSandboxAccess"];
}

async fn snapshots_are_listed(cx: Cx) -> Result {
    let list = cx.get("/snapshots").send().await?;
    cx.check("status").status(&list, 200);
    cx.check("page").json(&list, "/page", 1);
    let active = |snapshot: &&Value| snapshot["state"] == "active";
    let ready_made = |snapshot: &&Value| active(snapshot) && snapshot["general"] == true;
    let items = list.array("/items")?;
    let Some(active) = items.iter().find(ready_made).or_else(|| items.iter().find(active)).cloned() else {
        return Err(Stop::not_applicable("an active snapshot"));
    };
    for (id, field) in [("by-name", "name"), ("by-id", "id")] {
        let name = active[field].as_str().unwrap_or_default();
        let read = cx.get(&format!("/snapshots/{name}")).send().await?;
        cx.check(id).json(&read, "/id", active["id"].clone());
    }
    let one = cx.get("/snapshots").query("limit", 1).send().await?;
    cx.check("limit").on(&one).eq(one["items"].as_array().map(Vec::len), Some(1));
    // What others keep and remove meanwhile has another name.
    let name = active["name"].as_str().unwrap_or_default();
    let named = cx.get("/snapshots").query("name", name).send().await?;
    cx.check("by-filter").on(&named).that(named["total"].as_u64() >= Some(1), "at least one", &named["total"]);
    let one = cx.get("/snapshots").query("name", name).query("limit", 1).send().await?;
    cx.check("total").on(&one).eq(&one["total"], &named["total"]);
    cx.check("total-pages").on(&one).eq(&one["totalPages"], &one["total"]);
    let beyond = cx.get("/snapshots").query("name", name).query("limit", 100).query("page", 2).send().await?;
    cx.check("second-page").json(&beyond, "/page", 2);
    cx.check("nothing-beyond").json(&beyond, "/items", json!([]));
    pages_follow(&cx, name).await?;
    let none = cx.get("/snapshots").query("name", "no-such-snapshot").send().await?;
    cx.check("none").json(&none, "/items", json!([]));
    Ok(())
}

/// Of those whose names begin alike, each page has others.
async fn pages_follow(cx: &Cx, name: &str) -> Result {
    let start: String = name.chars().take(4).collect();
    let page = async |number: u8| {
        let request = cx.get("/snapshots").query("name", &start).query("limit", 1).query("page", number);
        request.query("sort", "name").query("order", "asc").send().await?.ok()
    };
    let (first, second) = (page(1).await?, page(2).await?);
    cx.check("pages-of-one").on(&first).eq(&first["totalPages"], &first["total"]);
    if first["total"].as_u64() > Some(1) {
        let names = [&first, &second].map(|page| page.at("/items/0/name").as_str().unwrap_or_default().to_owned());
        cx.check("pages-follow").on(&second).that(names[0] < names[1], "the next name on the second page", &names);
        let last =
            cx.get("/snapshots").query("name", &start).query("sort", "name").query("order", "desc").send().await?;
        let down: Vec<_> = last["items"].as_array().into_iter().flatten().map(|one| one["name"].as_str()).collect();
        cx.check("downwards").on(&last).that(down.iter().rev().is_sorted(), "names downwards", &down);
    }
    Ok(())
}

async fn unknown_snapshot_is_not_found(cx: Cx) -> Result {
    for (id, name) in [("name", "no-such-snapshot"), ("uuid", "00000000-0000-4000-8000-000000000000")] {
        let answer = cx.get(&format!("/snapshots/{name}")).send().await?;
        cx.check(id).status(&answer, 404);
        cx.check(format!("{id}-message")).on(&answer).contains(answer["message"].as_str().unwrap_or_default(), name);
    }
    Ok(())
}

async fn snapshot_list_validates(cx: Cx) -> Result {
    for (id, name, value, message) in [
        ("limit", "limit", "0", "limit must not be less than 1"),
        ("page", "page", "0", "page must not be less than 1"),
        ("sort", "sort", "colour", "sort must be one of the following values: name, state, lastUsedAt, createdAt"),
    ] {
        cx.check(id).error(&cx.get("/snapshots").query(name, value).send().await?, 400, message);
    }
    Ok(())
}

async fn regions_are_listed(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let regions = cx.get("/regions").send().await?;
    let config = cx.get("/config").send().await?.ok()?;
    let default = cx.get(&format!("/snapshots/{}", config.string("/defaultSnapshot")?)).send().await?;
    cx.check("default-snapshot").json(&default, "/state", "active");
    let known = regions.array("")?.iter().any(|region| region["id"] == sandbox.created["target"]);
    cx.check("of-the-sandbox").on(&regions).that(known, "the sandbox's region in the list", &sandbox.created["target"]);
    Ok(())
}

async fn unknown_region_is_not_found(cx: Cx) -> Result {
    cx.check("refused").error(&cx.get("/regions/no-such-region").send().await?, 404, "Region not found");
    Ok(())
}

async fn organization_is_readable(cx: Cx) -> Result {
    let list = cx.get("/organizations").send().await?;
    if list.status == 401 {
        return Err(Stop::not_applicable("organisations for API keys"));
    }
    let id = list.string("/0/id")?;
    let read = cx.get(&format!("/organizations/{id}")).send().await?;
    cx.check("same").json(&read, "/id", id);
    let unknown = cx.get("/organizations/00000000-0000-4000-8000-000000000000").send().await?;
    cx.check("unknown").status_in(&unknown, &[403, 404]);
    Ok(())
}

async fn internal_routes_are_closed(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, path) in [("public", "public"), ("validate", "validate/some-token")] {
        let path = format!("/preview/{}/{path}", sandbox.id);
        let message = "Invalid authentication context";
        cx.check(id).error(&cx.get(&path).send().await?, 403, message);
        cx.check(format!("{id}-no-key")).status(&cx.get(&path).no_key().send().await?, 401);
    }
    // Described, and never seen: refused in one way or the other.
    for path in [format!("/preview/{}/signing-key", sandbox.id), format!("/preview/{}/preview-warning", sandbox.id)] {
        let id = path.rsplit('/').next().unwrap_or_default().to_owned();
        cx.check(id).status_in(&cx.get(&path).send().await?, &[401, 403, 404]);
    }
    cx.check("ready").status_in(&cx.get("/health/ready").send().await?, &[200, 401, 403, 503]);
    Ok(())
}

async fn access_is_true_or_not_found(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let own = cx.get(&format!("/preview/{}/access", sandbox.id)).send().await?;
    cx.check("own").eq(own.text(), "true");
    let unknown = cx.get("/preview/00000000-0000-4000-8000-000000000000/access").send().await?;
    cx.check("unknown").status(&unknown, 404);
    Ok(())
}
