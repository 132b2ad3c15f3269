//! Lists to their end.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::scenarios;
use crate::{
    sdk::Cx,
    stop::{Result, Stop},
};

scenarios! { "lists";
    /// A list has every sandbox, however many pages that takes, and each once. (listSandboxes: cursor)
    all_pages: Must;
    /// Labels filter the list on every page. (listSandboxes: labels)
    labels_on_every_page: Must;
    /// A page that fails is told; the list isn't just shorter. (listSandboxes, 500)
    failing_page_is_told: Must;
}

async fn make(cx: &Cx, count: usize, label: &str) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for at in 0..count {
        let body = json!({"name": format!("{label}-{at}"), "labels": {"kind": label}});
        let made = cx.world.api(Method::POST, "/sandbox", Some(body)).await?;
        ids.insert(made["id"].as_str().ok_or_else(|| Stop::harness("no id"))?.to_owned());
    }
    Ok(ids)
}

fn ids(listed: Value) -> Vec<String> {
    listed.as_array().into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

async fn all_pages(cx: Cx) -> Result {
    let made = make(&cx, 5, "page").await?;
    cx.connect().await?;
    let told = cx.call("list", json!({"limit": 2})).await?.ok()?;
    let listed = ids(told["sandboxes"].clone());
    cx.check("each-once").eq(listed.len(), made.len());
    cx.check("all").eq(listed.into_iter().collect::<BTreeSet<_>>(), made);
    Ok(())
}

async fn labels_on_every_page(cx: Cx) -> Result {
    let made = make(&cx, 3, "wanted").await?;
    make(&cx, 2, "other").await?;
    cx.connect().await?;
    let told = cx.call("list", json!({"limit": 2, "labels": {"kind": "wanted"}})).await?.ok()?;
    let listed: BTreeSet<_> = ids(told["sandboxes"].clone()).into_iter().collect();
    cx.check("only-those").eq(listed, made);
    Ok(())
}

async fn failing_page_is_told(cx: Cx) -> Result {
    make(&cx, 3, "page").await?;
    cx.connect().await?;
    let rule = json!({"match": {"operation": "listSandboxes"}, "nth": 2, "effect": {"type": "status", "status": 500}});
    let fault = cx.world.fault(rule).await?;
    let told = cx.call("list", json!({"limit": 2})).await?;
    if cx.world.hits(&fault).await? == 0 {
        return Err(Stop::not_applicable("the SDK asks for one page only"));
    }
    let status = told.thrown().and_then(|thrown| thrown.status);
    cx.check("throws").that(status == Some(500), "an error with status 500", crate::sdk::context::Shown(&told));
    Ok(())
}
