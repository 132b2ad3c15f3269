//! What a client does when a request fails.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::LazyLock,
};

use regex::{Captures, Regex};
use serde_json::Value;

use super::{rules, world::is_unsure};
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

/// The same request once more.
fn is_again(call: &Call, other: &Call) -> bool {
    // Times are rounded to milliseconds.
    other.id > call.id
        && other.began() + 1 >= call.ended()
        && other.op() == call.op()
        && (&other.organization_id, &other.path, &other.query) == (&call.organization_id, &call.path, &call.query)
        && other.request.body == call.request.body
}

/// Whether the program does one thing after the other: then what comes next is what it does next.
fn is_serial(evidence: &Evidence) -> bool {
    let plain =
        evidence.calls.iter().filter(|call| call.websocket.is_none() && matches!(&*call.plane, "api" | "toolbox"));
    let mut until = 0;
    plain.fold(true, |serial, call| {
        let alone = call.began() + 2 >= until;
        until = until.max(call.ended());
        serial && alone
    })
}

fn back_off(evidence: &Evidence) -> Vec<Seen> {
    let serial = is_serial(evidence);
    // Clocks are read at two places.
    let due = |call: &Call| call.ended() + retry_after(call) - 20;
    let mut limited: Vec<&Call> = evidence.calls.iter().filter(|call| call.status == Some(429)).collect();
    limited.sort_by_key(|call| std::cmp::Reverse(due(call)));
    // Of several workers that send the same, each 429 has a request of its own that came late enough.
    let mut taken = HashSet::new();
    let mut seen = Vec::new();
    for call in limited {
        let again = || evidence.calls.iter().filter(move |other| is_again(call, other));
        let Some(next) = again().next() else { continue };
        let late = again().find(|other| other.began() >= due(call) && !taken.contains(&other.id));
        match late {
            Some(late) if !serial || late.id == next.id => _ = taken.insert(late.id),
            _ => {
                let (waited, wanted) = (next.began() - call.ended(), retry_after(call));
                let what = format!("{} was sent again {waited} ms after a 429 that asked for {wanted} ms", call.op());
                seen.push(Seen::new(what, [call.id, next.id]));
            }
        }
    }
    seen.sort_by_key(|seen: &Seen| seen.calls[0]);
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
    let serial = is_serial(evidence);
    let mut seen = Vec::new();
    for (at, call) in creates.iter().enumerate() {
        if !is_unsure(call) || is_one_of_several(call, &creates) {
            continue;
        }
        let again = |other: &&&Call| {
            other.began() >= call.ended() && is_repeated(&call.request.body, &other.request.body, serial)
        };
        let Some(next) = creates[at + 1..].iter().find(again) else { continue };
        let looked = |other: &Call| (call.id..next.id).contains(&other.id) && other.is(&["listSandboxes"]);
        if !evidence.calls.iter().any(looked) {
            let status = call.status.map_or("no answer".to_owned(), |status| status.to_string());
            seen.push(Seen::new(format!("the same sandbox was created again after {status}"), [call.id, next.id]));
        }
    }
    seen
}

/// Several workers ask for the same at the same time: which of them asks again isn't known.
fn is_one_of_several(call: &Call, creates: &[&Call]) -> bool {
    let same = creates.iter().filter(|other| other.request.body == call.request.body);
    let same: Vec<&&Call> = same.collect();
    same.iter().any(|one| same.iter().any(|two| one.id < two.id && two.began() < one.ended()))
}

/// Whether the second would make what the first may have made: the same, or, where one thing is done after the other, the same but
/// for a name or a label's value that is made up each time. The same name can't be taken twice.
fn is_repeated(first: &Value, second: &Value, serial: bool) -> bool {
    if first == second {
        return !first["name"].is_string();
    }
    let (Some(one), Some(two)) = (first.as_object(), second.as_object()) else { return false };
    if first["name"].is_string() && first["name"] == second["name"] {
        return false;
    }
    let names: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
    let differ = names.into_iter().filter(|name| one.get(*name) != two.get(*name));
    serial
        && differ.into_iter().all(|field| match (&**field, &first[field.as_str()], &second[field.as_str()]) {
            ("name", one, two) => are_made_up(one, two),
            ("labels", Value::Object(one), Value::Object(two)) => {
                one.len() == two.len()
                    && one.iter().all(|(label, value)| {
                        two.get(label).is_some_and(|other| value == other || are_made_up(value, other))
                    })
            }
            _ => false,
        })
}

/// UUIDs, times with fractions, and words.
static PARTS: LazyLock<Regex> = LazyLock::new(|| {
    let uuid = "(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    Regex::new(&format!(r"{uuid}|\d{{4}}-\d\d-\d\dT[\d:]+\.\d+|[0-9a-z]+")).expect("a regex")
});

/// Random numbers in base 16, and times as numbers: no counter, no day, and no word.
fn is_made_up(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let seconds = part.len() == 10 && part.starts_with('1');
    match digits == part.len() {
        true => digits >= 12 || seconds,
        false if part.contains('-') => true,
        false => digits > 0 && part.len() >= 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit()),
    }
}

/// Two texts that are the same but for what is made up each time.
fn are_made_up(one: &Value, two: &Value) -> bool {
    let (Some(one), Some(two)) = (one.as_str(), two.as_str()) else { return false };
    let rest = |text: &str| {
        let part = |found: &Captures| if is_made_up(&found[0]) { "*".to_owned() } else { found[0].to_owned() };
        PARTS.replace_all(text, part).into_owned()
    };
    rest(one) != one && rest(one) == rest(two)
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
    use serde_json::json;

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
    fn each_worker_waits_for_itself() {
        let limited = |ms: i64, worker: u64| create(Some(429), ms, json!({"labels": {"worker": worker}}));
        let made = |ms: i64, worker: u64| create(Some(200), ms, json!({"labels": {"worker": worker}}));
        let right = run([limited(0, 1), made(3, 2), made(2100, 1)]);
        acts(back_off, &run([limited(0, 1), made(3, 1), made(2100, 2)]), &right);
        // Workers that send the same: some of their requests overlap, and each 429 has a late one.
        let slow = || {
            let mut call = made(0, 7);
            call["timing"]["endMs"] = json!(50.0);
            call
        };
        let right = run([slow(), limited(1, 7), made(5, 7), made(2100, 7)]);
        acts(back_off, &run([slow(), limited(1, 7), limited(5, 7), made(9, 7)]), &right);
    }

    #[test]
    fn a_retry_with_something_new_is_a_retry() {
        let labelled = |value: &str| json!({"labels": {"job": "9", "attempt": value}});
        let (one, two) = ("84cd3f3a-7c1e-4000-8000-5d6f00000001", "11cd3f3a-7c1e-4000-8000-5d6f00000002");
        let after = |first: Value, second: Value| run([create(Some(502), 0, first), create(Some(200), 100, second)]);
        let right = after(labelled("1"), labelled("2"));
        acts(create_once, &after(labelled(one), labelled(two)), &right);
        let named = |name: &str| json!({"name": name});
        acts(create_once, &after(named("run-1a2b3c4d"), named("run-9f8e7d6c")), &after(named("shop"), named("blog")));
        acts(
            create_once,
            &after(named("run-1799999999999"), named("run-1800000000001")),
            &after(named("a-1"), named("a-2")),
        );
        let days = (labelled("20260101"), labelled("20260102"));
        acts(create_once, &after(labelled("x_1a2b3c4d"), labelled("x_9f8e7d6c")), &after(days.0, days.1));
        // Several at a time: the next is another's.
        let mut slow = create(Some(200), 0, labelled(one));
        slow["timing"]["endMs"] = json!(50.0);
        let parallel = run([slow, create(Some(502), 1, labelled(two)), create(Some(200), 9, labelled(one))]);
        assert_eq!(create_once(&parallel), []);
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
