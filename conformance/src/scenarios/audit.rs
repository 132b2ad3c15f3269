//! The audit log: every change that somebody asked for, and how it ended.

use std::time::Duration;

use crate::prelude::*;

scenarios! { "audit";
    /// A change is in the log with who, what and how it ended, without the body's secrets; newest first.
    /// (getOrganizationAuditLogs, observed)
    changes_are_logged: Must, covers ["getOrganizationAuditLogs"], classes [Racing];

    /// A refused change is in the log with its status and message. (observed)
    refusals_are_logged: Must, covers ["getOrganizationAuditLogs"], classes [Racing];

    /// Pages, times and filters are checked. (getOrganizationAuditLogs, observed)
    queries_are_validated: Must, covers ["getOrganizationAuditLogs"], classes [Racing];

    /// The log of another organisation is 403 `Invalid authentication context`. (observed)
    others_logs_are_closed: Must, covers ["getOrganizationAuditLogs"];

    /// What can be in the log is told to everybody, sorted. (getAuditScenarios)
    scenarios_are_public: Must, covers ["getAuditScenarios"], since "0.200";
}

/// The path of the own log.
async fn log(cx: &Cx) -> Result<String> {
    // A sandbox says whose it is without any other right.
    let id = cx.shared().await?.read().await?.ok()?.string("/organizationId")?;
    Ok(format!("/audit/organizations/{id}"))
}

async fn changes_are_logged(cx: Cx) -> Result {
    let path = log(&cx).await?;
    let name = cx.name("registry");
    let body = json!({"name": name, "url": "https://r.example", "username": "u", "password": "conformance-secret"});
    let made = cx.post("/docker-registry").json(body).header("X-Daytona-Source", "conformance").send().await?.ok()?;
    let id = made.string("/id")?;
    cx.removes("deleteRegistry", &format!("/docker-registry/{id}"));
    let find = async || {
        let page = cx.get(&format!("{path}?limit=200")).send().await?.ok()?;
        let found = page.array("/items")?.iter().find(|entry| entry["targetId"] == *id).cloned();
        Ok(found.map(|entry| (page, entry)))
    };
    let (page, entry) = cx.eventually("it is in the log", Duration::from_secs(20), find).await?;
    for (field, value) in [
        ("action", json!("create")),
        ("targetType", json!("docker_registry")),
        ("statusCode", json!(201)),
        ("source", json!("conformance")),
    ] {
        cx.check(field).on(&page).eq(&entry[field], &value);
    }
    let told = time(&entry["createdAt"]);
    let (now, turned) = (page.date().unwrap_or_else(chrono::Utc::now), cx.now().await);
    let near =
        |now: chrono::DateTime<chrono::Utc>| told.is_some_and(|at| (now - at).abs() < chrono::TimeDelta::minutes(10));
    cx.check("createdAt").on(&page).that(near(now) || near(turned), "about now", &entry["createdAt"]);
    let address = entry["ipAddress"].as_str().unwrap_or_default();
    cx.check("ipAddress").on(&page).should().that(!address.is_empty(), "an address", &entry["ipAddress"]);
    let me = cx.get("/users/me").send().await?;
    if me.is_ok() {
        cx.check("actorEmail").on(&page).should().eq(&entry["actorEmail"], &me["email"]);
    }
    let agent = entry["userAgent"].as_str().unwrap_or_default();
    cx.check("userAgent").on(&page).should().contains(agent, "daytona-conformance");
    // A key that was made up by hand begins with anything.
    if cx.key().starts_with("dtn_") {
        cx.check("actorApiKeyPrefix").on(&page).should().eq(&entry["actorApiKeyPrefix"], &json!("dtn"));
    }
    cx.check("no-secret").on(&page).that(!page.text().contains("conformance-secret"), "no secret", &entry);
    let items = page.array("/items")?;
    let times: Vec<&str> = items.iter().filter_map(|entry| entry["createdAt"].as_str()).collect();
    cx.check("newest-first").on(&page).that(times.is_sorted_by(|a, b| a >= b), "newest first", times.len());
    cx.delete(&format!("/docker-registry/{id}")).send().await?.ok().map(drop)
}

async fn refusals_are_logged(cx: Cx) -> Result {
    let path = log(&cx).await?;
    let name = cx.name("nobody");
    cx.post(&format!("/sandbox/{name}/start")).send().await?;
    let find = async || {
        let page = cx.get(&format!("{path}?limit=200")).send().await?.ok()?;
        let found = page.array("/items")?.iter().find(|entry| entry["targetId"] == name.as_str()).cloned();
        Ok(found.map(|entry| (page, entry)))
    };
    let (page, entry) = cx.eventually("it is in the log", Duration::from_secs(20), find).await?;
    cx.check("status").on(&page).eq(&entry["statusCode"], &json!(404));
    let text = format!("Sandbox with ID or name {name} not found");
    cx.check("message").on(&page).eq(&entry["errorMessage"], &json!(text));
    cx.check("action").on(&page).eq(&entry["action"], &json!("start"));
    Ok(())
}

async fn queries_are_validated(cx: Cx) -> Result {
    let path = log(&cx).await?;
    let ask = async |query: &str| cx.get(&format!("{path}?{query}")).send().await;
    cx.check("page").error(&ask("page=0").await?, 400, "page must not be less than 1");
    cx.check("from").error(&ask("from=x").await?, 400, "from must be a Date instance");
    cx.check("limit").error(&ask("limit=201").await?, 400, "limit must not be greater than 200");
    let none = ask("from=2000-01-01&to=2000-01-02").await?;
    cx.check("nothing").json(&none, "/total", 0);
    cx.check("no-pages").json(&none, "/totalPages", 0);
    for _ in 0..2 {
        cx.post(&format!("/sandbox/{}/start", cx.name("nobody"))).send().await?;
    }
    let several = async || Ok(Some(ask("limit=1").await?.ok()?).filter(|page| page["total"].as_u64() > Some(1)));
    let page = cx.eventually("two are in the log", Duration::from_secs(20), several).await?;
    cx.check("one").on(&page).eq(page.array("/items")?.len(), 1);
    Ok(())
}

async fn others_logs_are_closed(cx: Cx) -> Result {
    let answer = cx.get("/audit/organizations/00000000-0000-4000-8000-000000000000").send().await?;
    cx.check("refused").error(&answer, 403, "Invalid authentication context");
    Ok(())
}

async fn scenarios_are_public(cx: Cx) -> Result {
    let answer = cx.get("/audit/scenarios").no_key().send().await?;
    cx.check("status").status(&answer, 200);
    let targets = answer.array("/targets")?;
    let names: Vec<&str> = targets.iter().filter_map(|target| target["targetType"].as_str()).collect();
    cx.check("sorted").on(&answer).that(names.is_sorted(), "sorted target types", &names);
    let sandbox = targets.iter().find(|target| target["targetType"] == "sandbox").cloned().unwrap_or_default();
    let actions = sandbox["actions"].as_array().cloned().unwrap_or_default();
    let all = ["create", "delete", "start", "stop"].iter().all(|one| actions.contains(&json!(one)));
    cx.check("sandboxes").on(&answer).that(all, "create, delete, start, stop", &actions);
    Ok(())
}
