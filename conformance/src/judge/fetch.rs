//! What is asked of the mock that the program runs against: faults before, the journal afterwards.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    Call,
    call::{CONNECT, CREATE_CONNECT},
};
use crate::stop::{Result, Stop};

/// Sockets of a program that has ended close within this time, or count as open.
const CLOSING: Duration = Duration::from_secs(3);

/// Nobody waits longer for a page of sandboxes.
const LISTING: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Page {
    entries: Vec<Call>,
    next: u64,
    evicted: u64,
    lost: u64,
}

/// Makes things go wrong in the key's world.
pub async fn add_faults(api_url: &str, api_key: &str, rules: &[Value]) -> Result {
    let http = crate::client::http(&reqwest::Url::parse(api_url)?)?;
    for rule in rules {
        let url = format!("{}/__control/faults", root(api_url));
        let answer = http.post(url).bearer_auth(api_key).json(rule).send().await?;
        if !answer.status().is_success() {
            let told: Value = answer.json().await.unwrap_or_default();
            let why = told["message"].as_str().unwrap_or("the mock doesn't take it");
            let own_name =
                rule["match"]["operation"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(CREATE_CONNECT));
            let more = if own_name { format!("; it is a {CONNECT}") } else { String::new() };
            return Err(Stop::harness(format!("--fault {rule}: {why}{more}")));
        }
    }
    Ok(())
}

fn root(api_url: &str) -> &str {
    api_url.trim_end_matches('/').trim_end_matches("/api")
}

/// Every call of the run in the order of beginnings, and how many the journal hasn't any more.
pub async fn journal(api_url: &str, api_key: &str) -> Result<(Vec<Call>, u64)> {
    let base = reqwest::Url::parse(api_url)?;
    let http = crate::client::http(&base)?;
    let url = format!("{}/__control/journal?all=true&limit=5000", root(api_url));
    let (mut calls, mut since, mut gone) = (BTreeMap::new(), 0, 0);
    let give_up = Instant::now() + CLOSING;
    loop {
        let more = format!("{url}&since={since}");
        let answer = http.get(&more).bearer_auth(api_key).send().await?;
        let status = answer.status();
        if !status.is_success() {
            return Err(Stop::harness(format!("the mock's journal can't be read: {status}")));
        }
        let page: Page = answer.json().await?;
        gone = gone.max(page.evicted + page.lost);
        let empty = page.entries.is_empty();
        since = page.next.max(since);
        // An entry that changed comes again, and one of a socket is there twice when its owner was known late only.
        for call in page.entries {
            if calls.get(&call.id).is_none_or(|known: &Call| known.revision <= call.revision) {
                calls.insert(call.id, call);
            }
        }
        if !empty {
            continue;
        }
        let open = calls.values().any(|call| call.open || call.websocket.as_ref().is_some_and(|socket| socket.open));
        if !open || Instant::now() > give_up {
            break;
        }
        // 408 says that nothing came; the next round asks again.
        _ = http.get(format!("{more}&until=1&timeout=1")).bearer_auth(api_key).send().await?;
    }
    let mine = |call: &Call| call.plane != "server";
    Ok((calls.into_values().filter(mine).collect(), gone))
}

/// The sandboxes that there are, to the last page; as many as are told. What went wrong for the program ends before. (listSandboxes)
pub async fn sandboxes(api_url: &str, api_key: &str) -> Result<Vec<Value>> {
    let http = crate::client::http(&reqwest::Url::parse(api_url)?)?;
    let faults = format!("{}/__control/faults", root(api_url));
    _ = http.delete(faults).bearer_auth(api_key).timeout(LISTING).send().await;
    let url = format!("{}/sandbox", api_url.trim_end_matches('/'));
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut query = vec![("limit", "100")];
        query.extend(cursor.as_deref().map(|next| ("cursor", next)));
        let answer = http.get(&url).bearer_auth(api_key).query(&query).timeout(LISTING).send().await;
        let Ok(answer) = answer.and_then(reqwest::Response::error_for_status) else { return Ok(all) };
        let Ok(mut page) = answer.json::<Value>().await else { return Ok(all) };
        match page["items"].take() {
            Value::Array(items) if !items.is_empty() => all.extend(items),
            _ => return Ok(all),
        }
        match page["nextCursor"].as_str() {
            Some(next) if Some(next) != cursor.as_deref() => cursor = Some(next.to_owned()),
            _ => return Ok(all),
        }
    }
}
