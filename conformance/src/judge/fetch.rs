//! Gets the journal of the mock that the program ran against.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::Call;
use crate::stop::{Result, Stop};

/// Sockets of a program that has ended close within this time, or count as open.
const CLOSING: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
struct Page {
    entries: Vec<Call>,
    next: u64,
    evicted: u64,
    lost: u64,
}

/// Every call of the run in the order of beginnings, and how many the journal hasn't any more.
pub async fn journal(api_url: &str, api_key: &str) -> Result<(Vec<Call>, u64)> {
    let base = reqwest::Url::parse(api_url)?;
    let http = crate::client::http(&base)?;
    let root = api_url.trim_end_matches('/').trim_end_matches("/api");
    let url = format!("{root}/__control/journal?all=true&limit=5000");
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
        let open = calls.values().any(|call| call.websocket.as_ref().is_some_and(|socket| socket.open));
        if !open || Instant::now() > give_up {
            break;
        }
        // 408 says that nothing came; the next round asks again.
        _ = http.get(format!("{more}&until=1&timeout=1")).bearer_auth(api_key).send().await?;
    }
    let mine = |call: &Call| call.plane != "server";
    Ok((calls.into_values().filter(mine).collect(), gone))
}
