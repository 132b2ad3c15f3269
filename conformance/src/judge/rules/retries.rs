//! What a client does when a request fails.

use std::collections::BTreeMap;

use super::rules;
use crate::judge::{Call, Evidence, Seen};

rules! { "retries";
    /// After a 429 the client waits as long as the server says. (Retry-After, X-RateLimit-*; DaytonaRateLimitError)
    back_off: Must, fix "catch DaytonaRateLimitError and wait for its headers' Retry-After seconds, then longer each time";
    /// A create that may have committed isn't sent again as it was: two sandboxes may be the result. Ask for what is there
    /// first, or give the sandbox a name, which can be taken only once. (createSandbox: 5xx, no answer)
    create_once: Must, fix "create({ name: 'run-42' }) answers 409 the second time; or list({ labels }) before trying again";
    /// A request that was refused for what it is isn't sent again as it was. (400, 401, 403, 404, 409, 422)
    stop_at_refusals: Should, fix "try again on 429, 502, 503, 504 and broken connections only; other errors are told to the caller";
}

fn back_off(evidence: &Evidence) -> Vec<Seen> {
    let mut seen = Vec::new();
    let limited = evidence.calls.iter().filter(|call| call.status == Some(429));
    for call in limited {
        let same = |other: &&Call| {
            other.id > call.id && other.op() == call.op() && other.organization_id == call.organization_id
        };
        let Some(next) = evidence.calls.iter().filter(|other| other.began() >= call.ended()).find(same) else {
            continue;
        };
        let (waited, wanted) = (next.began() - call.ended(), retry_after(call));
        // Clocks are read at two places.
        if waited + 20 < wanted {
            let what = format!("{} was sent again {waited} ms after a 429 that asked for {wanted} ms", call.op());
            seen.push(Seen::new(what, [call.id, next.id]));
        }
    }
    seen
}

/// Milliseconds that a 429 asks for: `Retry-After`, or the same with a limit's name (`Retry-After-sandbox-create`).
fn retry_after(call: &Call) -> i64 {
    let headers = call.response.headers.iter().filter(|(name, _)| name.starts_with("retry-after"));
    let seconds = headers.filter_map(|(_, value)| value.parse::<f64>().ok()).reduce(f64::max);
    seconds.map_or(500, |seconds| (seconds * 1000.0) as i64)
}

fn create_once(evidence: &Evidence) -> Vec<Seen> {
    let creates: Vec<&Call> = evidence.calls.iter().filter(|call| call.is(&["createSandbox"])).collect();
    let mut seen = Vec::new();
    for (at, call) in creates.iter().enumerate() {
        let unsure = call.status.is_none_or(|status| status >= 500) || call.aborted;
        if !unsure || call.request.body["name"].is_string() {
            continue;
        }
        let again = |other: &&&Call| other.began() >= call.ended() && other.request.body == call.request.body;
        let Some(next) = creates[at + 1..].iter().find(again) else { continue };
        let looked = |other: &Call| (call.id..next.id).contains(&other.id) && other.is(&["listSandboxes"]);
        if !evidence.calls.iter().any(looked) {
            let status = call.status.map_or("no answer".to_owned(), |status| status.to_string());
            seen.push(Seen::new(format!("the same sandbox was created again after {status}"), [call.id, next.id]));
        }
    }
    seen
}

/// The same refusal so many times.
const STUBBORN: usize = 3;

fn stop_at_refusals(evidence: &Evidence) -> Vec<Seen> {
    let mut rows: BTreeMap<(&str, &str), Vec<&Call>> = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for call in evidence.calls.iter().filter(|call| matches!(&*call.plane, "api" | "toolbox")) {
        let key = (&*call.method, &*call.path);
        // A GET that isn't found yet may be waited for.
        let refused = matches!(call.status, Some(400 | 401 | 403 | 422))
            || call.method != "GET" && matches!(call.status, Some(404 | 409));
        if !refused {
            rows.remove(&key);
            continue;
        }
        let row = rows.entry(key).or_default();
        if row.last().is_some_and(|last| {
            last.status != call.status || last.request.body != call.request.body || last.query != call.query
        }) {
            row.clear();
        }
        row.push(call);
        if row.len() >= STUBBORN {
            let what = format!("{} was sent {} times", call.line(), row.len());
            seen.insert(key, Seen::new(what, row.iter().map(|call| call.id)));
        }
    }
    seen.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::judge::rules::tests::{acts, run};

    fn create(status: Option<u16>, ms: i64, body: Value) -> Value {
        json!({"plane": "api", "operationId": "createSandbox", "method": "POST", "path": "/api/sandbox", "status": status,
            "ms": ms, "timing": {"endMs": 1.0}, "request": {"body": body},
            "response": {"headers": {"retry-after-sandbox-create": "2"}}})
    }

    #[test]
    fn a_429_is_waited_out() {
        let right = run([create(Some(429), 0, json!({})), create(Some(200), 2100, json!({}))]);
        acts(back_off, &run([create(Some(429), 0, json!({})), create(Some(200), 100, json!({}))]), &right);
    }

    #[test]
    fn a_create_is_not_repeated_blindly() {
        let wrong = run([create(Some(502), 0, json!({})), create(Some(200), 100, json!({}))]);
        let list = json!({"plane": "api", "operationId": "listSandboxes", "status": 200, "ms": 50});
        let named = json!({"name": "a"});
        acts(create_once, &wrong, &run([create(Some(502), 0, json!({})), list, create(Some(200), 100, json!({}))]));
        acts(create_once, &wrong, &run([create(Some(502), 0, named.clone()), create(Some(409), 100, named)]));
        acts(
            create_once,
            &run([create(None, 0, json!({})), create(Some(200), 9, json!({}))]),
            &run([create(Some(200), 0, json!({}))]),
        );
    }

    #[test]
    fn refusals_are_final() {
        let right =
            run([create(Some(503), 0, json!({})), create(Some(503), 9, json!({})), create(Some(503), 20, json!({}))]);
        acts(stop_at_refusals, &run([0, 9, 20].map(|ms| create(Some(403), ms, json!({})))), &right);
    }
}
