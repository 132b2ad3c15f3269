//! Sandboxes: how they are made, used and left.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

use super::{
    rules, sdk,
    world::{AUTO_DELETE, AUTO_STOP, CREATES, Names, TTL, created, goes, interval, is_there, is_unsure},
};
use crate::judge::{Call, Evidence, Seen};

rules! { "sandboxes";
    /// What a program creates it deletes, unless it said when the sandbox is to go: after some time, or when it has stopped, which
    /// it does by itself. (deleteSandbox, autoStopInterval)
    are_deleted: Must, fix "try { … } finally { await sandbox.delete() }; or create with ttlMinutes, ephemeral: true or autoDeleteInterval (it goes when it has stopped: leave autoStopInterval above 0)";
    /// The label `code-toolbox-language` is python, typescript or javascript: others run no code and Python SDKs raise on
    /// them. (CodeLanguage, Daytona.create)
    have_a_known_language: Must, fix "create({ language: 'python' | 'typescript' | 'javascript' }); other languages run by process.executeCommand in an image that has them";
    /// A sandbox from a snapshot has the snapshot's resources: cpu, memory, disk and gpu belong to an image. (CreateSandbox,
    /// CreateSandboxFromSnapshotParams)
    take_resources_from_their_snapshot: Must, fix "leave resources out, or create({ image, resources }), or make a snapshot with these resources";
    /// A sandbox is used while it runs, not after it was stopped, archived or deleted. (observed: the toolbox answers 400 or 404)
    are_used_while_running: Must, fix "await sandbox.start() before using it again; keep no handle of a deleted sandbox";
    /// After a start whose answer says that it is still under way the client waits for `started`: by asking, or by events; not by
    /// sleeping. (startSandbox, Sandbox.start)
    are_waited_for: Must, fix "await sandbox.start() (it waits), or waitUntilStarted(); raw clients: GET /sandbox/{id} until state is started or error";
    /// Ids that are sent are the server's: no placeholder, no `dev-sandbox-…`, no variable without a value. (getSandbox)
    have_real_ids: Must, fix "keep sandbox.id of what create() returned; for work without a cloud point DAYTONA_API_URL at a mock instead of making ids up";
    /// A program doesn't go on with a sandbox that was never created: its output names an invented id. (Sandbox.id is a UUID)
    are_not_invented: Must, fix "let create()'s error reach the caller; a sandbox that doesn't exist can't be mapped, skipped or cleaned up";
    /// What is made for one run is found again by its labels or name. (CreateSandbox.labels, listSandboxes)
    can_be_found_again: Should, fix "create({ labels: { project_id: '…' } }), so that list({ labels }) finds what an aborted run left";
}

fn are_deleted(evidence: &Evidence) -> Vec<Seen> {
    let names = Names::of(evidence);
    // Whoever was told nothing of it and gave up at once couldn't; whoever went on could have looked.
    let went_on = |call: &Call| !is_unsure(call) || evidence.calls.iter().any(|other| other.began() > call.ended());
    let left = created(evidence).into_iter();
    let left = left.filter(|(call, id)| went_on(call) && !goes(evidence, &names, id, call.id));
    left.filter_map(|(call, id)| {
        let minutes = |which| interval(evidence, &names, (call, id), which);
        // Who isn't told otherwise stops a sandbox after a quarter of an hour.
        let stops = minutes(AUTO_STOP).is_none_or(|minutes| minutes > 0);
        let vanishes = minutes(AUTO_DELETE).is_some_and(|minutes| minutes >= 0);
        match (minutes(TTL), vanishes, stops) {
            (Some(1..), _, _) | (_, true, true) => None,
            (_, true, false) => Some(format!("sandbox {id} is deleted when it has stopped, and never stops by itself")),
            (_, false, _) if is_unsure(call) => {
                Some(format!("sandbox {id} was created, although the request failed, and not deleted"))
            }
            (_, false, _) => Some(format!("sandbox {id} was created and not deleted")),
        }
        .map(|what| Seen::new(what, [call.id]))
    })
    .collect()
}

const LANGUAGES: [&str; 3] = ["python", "typescript", "javascript"];

pub(super) fn have_a_known_language(evidence: &Evidence) -> Vec<Seen> {
    let label = |call: &Call| {
        let labels = match call.op() {
            "createSandbox" | "replaceLabels" => call.request.body.get("labels")?,
            _ => return None,
        };
        let language = labels.get("code-toolbox-language")?;
        let known = language.as_str().is_some_and(|language| LANGUAGES.contains(&language));
        (!known).then(|| Seen::new(format!("a sandbox has the language {language}"), [call.id]))
    };
    evidence.calls.iter().filter_map(label).collect()
}

pub(super) fn take_resources_from_their_snapshot(evidence: &Evidence) -> Vec<Seen> {
    let creates = evidence.calls.iter().filter(|call| call.is(&["createSandbox"]));
    creates
        .filter_map(|call| {
            let body = &call.request.body;
            let given: Vec<&str> =
                ["cpu", "memory", "disk", "gpu"].into_iter().filter(|field| !body[*field].is_null()).collect();
            if given.is_empty() || !body["buildInfo"].is_null() {
                return None;
            }
            // Who names neither an image nor a snapshot gets the default one.
            let snapshot = body["snapshot"]
                .as_str()
                .map_or("the default snapshot".to_owned(), |name| format!("the snapshot `{name}`"));
            Some(Seen::new(format!("{} with {snapshot}", given.join(", ")), [call.id]))
        })
        // What the SDK dropped is in no request.
        .chain(sdk::dropped(evidence, |name| sdk::RESOURCES.contains(&name)))
        .collect()
}

pub(super) fn are_used_while_running(evidence: &Evidence) -> Vec<Seen> {
    let names = Names::of(evidence);
    // What each sandbox was told last, and when that was over.
    let mut rests: BTreeMap<&str, (&Call, i64)> = BTreeMap::new();
    let mut seen: BTreeMap<(&str, u64), Seen> = BTreeMap::new();
    for call in &evidence.calls {
        let Some(sandbox) = names.sandbox(call) else { continue };
        match call.op() {
            "stopSandbox" | "archiveSandbox" | "deleteSandbox" | "pauseSandbox" if call.succeeded() => {
                rests.insert(sandbox, (call, call.ended()));
            }
            "startSandbox" | "recoverSandbox" => _ = rests.remove(sandbox),
            _ if call.plane == "toolbox" => {
                let Some((rest, since)) = rests.get(sandbox) else { continue };
                // A request that was sent while the other was under way can't know better.
                if call.began() < *since {
                    continue;
                }
                let told = rest.op().trim_end_matches("Sandbox");
                let new = || Seen::new(format!("sandbox {sandbox} was used after {told}: {}", call.line()), [rest.id]);
                seen.entry((sandbox, rest.id)).or_insert_with(new).calls.push(call.id);
            }
            _ => {}
        }
    }
    seen.into_values().collect()
}

pub(super) fn are_waited_for(evidence: &Evidence) -> Vec<Seen> {
    let names = Names::of(evidence);
    let events = |before: u64| evidence.calls.iter().any(|call| call.plane == "events" && call.id < before);
    let starts = evidence.calls.iter().filter(|call| {
        let pending = call.answered("state").is_some_and(|state| state != "started");
        call.is(&["startSandbox", "createSandbox", "forkSandbox", "recoverSandbox"]) && call.succeeded() && pending
    });
    let mut seen = Vec::new();
    for start in starts {
        let id = if start.is(&CREATES) { start.answered("id") } else { names.sandbox(start) };
        let mut later =
            evidence.calls.iter().filter(|call| call.id > start.id && id.is_some() && names.sandbox(call) == id);
        let Some(next) = later.find(|call| call.plane == "toolbox" || call.is(&["getSandbox"])) else { continue };
        let listed = |call: &Call| (start.id..next.id).contains(&call.id) && call.is(&["listSandboxes"]);
        if next.plane == "toolbox" && !events(next.id) && !evidence.calls.iter().any(listed) {
            let state = start.answered("state").unwrap_or_default();
            let what = match next.succeeded() {
                false => format!("a sandbox that was still {state} was used: {}", next.line()),
                // It was in time here; elsewhere starts take longer.
                true => format!(
                    "a sandbox was used without a look whether it was started; the answer to {} had said `{state}`: {}",
                    start.op(),
                    next.line()
                ),
            };
            seen.push(Seen::new(what, [start.id, next.id]));
        }
    }
    seen
}

/// What applications call a sandbox that isn't there.
fn is_made_up(id: &str) -> bool {
    const WORDS: [&str; 7] =
        ["undefined", "null", "None", "NaN", "[object Object]", "[object%20Object]", "%5Bobject%20Object%5D"];
    const BEGINNINGS: [&str; 6] =
        ["dev-sandbox-", "mock-sandbox-", "fake-sandbox-", "local-sandbox-", "stub-sandbox-", "dummy-sandbox-"];
    WORDS.contains(&id) || BEGINNINGS.iter().any(|beginning| id.starts_with(beginning))
}

fn have_real_ids(evidence: &Evidence) -> Vec<Seen> {
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    for call in evidence.calls.iter().filter(|call| call.plane != "preview") {
        let Some(id) = call.sandbox.as_deref().filter(|id| is_made_up(id) && !is_there(evidence, id)) else { continue };
        let new = || Seen::new(format!("`{id}` was sent as a sandbox's id: {}", call.line()), []);
        seen.entry(id).or_insert_with(new).calls.push(call.id);
    }
    seen.into_values().collect()
}

/// Whether a test runner says a test's title or file, which are no ids.
fn is_title(line: &str) -> bool {
    const MARKS: [&str; 11] = ["✓", "✔", "√", "✗", "✘", "✕", "×", "❯", "●", "::", "# Subtest"];
    const BEGINNINGS: [&str; 6] = ["PASS ", "FAIL ", "ok ", "not ok ", "=== RUN", "--- "];
    let text = line.trim_start();
    MARKS.iter().any(|mark| text.contains(mark)) || BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
}

/// An invented id where a value stands: after `=` or `:`, in quotes, or as the last word of a line. Names of files and titles
/// of tests aren't meant, and `dev-sandbox-*` is no id.
static INVENTED: LazyLock<Regex> = LazyLock::new(|| {
    let id = "(?:dev|mock|fake|local|stub|dummy)-sandbox-[A-Za-z0-9_-]*[A-Za-z0-9]";
    let text = format!(r#"(?m)[=:]\s?["'`]?({id})(?:["'`,;)\]}}\s]|$)|["'`]({id})["'`]|(?:^|\s)({id})[.!,;]?\s*$"#);
    Regex::new(&text).expect("a regex")
});

fn are_not_invented(evidence: &Evidence) -> Vec<Seen> {
    let lines = evidence.output.lines().filter(|line| !is_title(line));
    let mut found: Vec<&str> = lines
        .flat_map(|line| INVENTED.captures_iter(line))
        .filter_map(|found| found.iter().skip(1).flatten().next().map(|id| id.as_str()))
        .filter(|id| !is_there(evidence, id))
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|id| Seen::new(format!("the program's output names the sandbox `{id}`"), [])).collect()
}

fn can_be_found_again(evidence: &Evidence) -> Vec<Seen> {
    let own = |labels: &Value| {
        labels.as_object().is_some_and(|labels| labels.keys().any(|key| key != "code-toolbox-language"))
    };
    let nameless = evidence.calls.iter().filter(|call| {
        let body = &call.request.body;
        call.is(&["createSandbox"]) && call.succeeded() && body["name"].is_null() && !own(&body["labels"])
    });
    let calls: Vec<u64> = nameless.map(|call| call.id).collect();
    match calls.len() {
        0 => Vec::new(),
        1 => vec![Seen::new("a sandbox has neither labels nor a name", calls)],
        many => vec![Seen::new(format!("{many} sandboxes have neither labels nor a name"), calls)],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::judge::rules::tests::{acts, run};

    fn create(body: Value) -> Value {
        json!({"plane": "api", "operationId": "createSandbox", "status": 200, "request": {"body": body},
            "response": {"body": {"id": "s", "name": "n", "state": "started"}}})
    }

    fn op(id: &str, ms: i64) -> Value {
        json!({"plane": "api", "operationId": id, "sandbox": "s", "status": 200, "ms": ms, "timing": {"endMs": 5.0}})
    }

    fn tool(ms: i64) -> Value {
        json!({"plane": "toolbox", "operationId": "ExecuteCommand", "sandbox": "s", "status": 200, "ms": ms})
    }

    #[test]
    fn what_is_created_is_deleted() {
        let wrong = run([create(json!({})), op("stopSandbox", 5)]);
        acts(are_deleted, &wrong, &run([create(json!({})), op("deleteSandbox", 5)]));
        acts(are_deleted, &wrong, &run([create(json!({"autoDeleteInterval": 0})), op("stopSandbox", 5)]));
        acts(are_deleted, &wrong, &run([create(json!({"ttlMinutes": 10}))]));
        acts(are_deleted, &wrong, &run([create(json!({"autoDeleteInterval": 0}))]));
        let never_stops = run([create(json!({"autoDeleteInterval": 30, "autoStopInterval": 0}))]);
        let found = acts(are_deleted, &never_stops, &run([create(json!({"autoDeleteInterval": 30}))]));
        assert!(found[0].what.contains("never stops"), "{found:?}");
        // It was created, although the answer said otherwise: who goes on has to look.
        let unsure = || {
            let mut create = create(json!({"labels": {"p": "7"}}));
            create["status"] = json!(502);
            create["response"] = json!({});
            create
        };
        let with = |calls: Evidence| Evidence { there: vec![json!({"id": "a", "labels": {"p": "7"}})], ..calls };
        let mut again = create(json!({"ttlMinutes": 1, "labels": {"p": "7"}}));
        again["ms"] = json!(9);
        let found = acts(are_deleted, &with(run([unsure(), again])), &with(run([unsure()])));
        assert!(found[0].what.contains("although the request failed"), "{found:?}");
        let mut by_name = op("deleteSandbox", 5);
        by_name["sandbox"] = json!("n");
        acts(are_deleted, &wrong, &run([create(json!({})), by_name]));
    }

    #[test]
    fn languages_are_three() {
        let with = |language: &str| run([create(json!({"labels": {"code-toolbox-language": language}}))]);
        acts(have_a_known_language, &with("go"), &with("typescript"));
    }

    #[test]
    fn a_snapshot_has_its_resources() {
        let right = run([create(json!({"snapshot": "s"})), create(json!({"buildInfo": {}, "cpu": 2}))]);
        acts(take_resources_from_their_snapshot, &run([create(json!({"snapshot": "s", "cpu": 2}))]), &right);
        let found = acts(take_resources_from_their_snapshot, &run([create(json!({"memory": 4, "cpu": 2}))]), &right);
        assert_eq!(found[0].what, "cpu, memory with the default snapshot");
        let dropped = r#"{"kind":"dropped","on":"CreateSandboxFromSnapshotParams","name":"resources"}"#;
        let dropped = Evidence { misuses: crate::judge::shim::parse(dropped), ..Evidence::default() };
        let found = acts(take_resources_from_their_snapshot, &dropped, &right);
        assert!(found[0].what.contains("has no `resources`"), "{found:?}");
    }

    #[test]
    fn what_rests_is_not_used() {
        let right = run([op("stopSandbox", 0), tool(3), op("startSandbox", 10), tool(20)]);
        let found = acts(are_used_while_running, &run([op("stopSandbox", 0), tool(10), tool(20)]), &right);
        assert_eq!(found[0].calls, [1, 2, 3]);
        acts(are_used_while_running, &run([op("deleteSandbox", 0), tool(10)]), &right);
    }

    #[test]
    fn a_start_is_waited_for() {
        let start = wrong_start();
        let wrong = run([start.clone(), tool(10)]);
        acts(are_waited_for, &wrong, &run([start.clone(), op("getSandbox", 5), tool(10)]));
        let list = json!({"plane": "api", "operationId": "listSandboxes", "status": 200});
        acts(are_waited_for, &wrong, &run([start.clone(), list, tool(10)]));
        acts(are_waited_for, &wrong, &run([json!({"plane": "events"}), start, tool(10)]));
        let found = acts(are_waited_for, &wrong, &run([create(json!({})), tool(10)]));
        assert!(found[0].what.contains("without a look") && found[0].what.contains("`starting`"), "{found:?}");
        let mut refused = tool(10);
        refused["status"] = json!(400);
        assert!(are_waited_for(&run([wrong_start(), refused]))[0].what.contains("still starting"));
    }

    fn wrong_start() -> Value {
        let mut start = op("startSandbox", 0);
        start["response"] = json!({"body": {"state": "starting"}});
        start
    }

    #[test]
    fn ids_are_the_servers() {
        let of = |id: &str| run([json!({"plane": "api", "operationId": "getSandbox", "sandbox": id, "status": 404})]);
        acts(have_real_ids, &of("dev-sandbox-1"), &of("my-sandbox"));
        let made = json!({"plane": "api", "operationId": "createSandbox", "status": 200,
            "response": {"body": {"id": "s", "name": "dev-sandbox-main"}}});
        let get = json!({"plane": "api", "operationId": "getSandbox", "sandbox": "dev-sandbox-main", "status": 200});
        acts(have_real_ids, &of("dev-sandbox-main"), &run([made, get]));
        acts(have_real_ids, &of("undefined"), &of("84cd3f3a-0000-4000-8000-000000000000"));
    }

    #[test]
    fn invented_sandboxes_are_heard_of() {
        let said = |text: &str| Evidence { output: text.to_owned(), ..Evidence::default() };
        let found = acts(are_not_invented, &said("using dev-sandbox-17."), &said("sandbox undefined, dev-box"));
        assert!(found[0].what.contains("`dev-sandbox-17`"));
        let silent = "  ✓ refuses dev-sandbox-* ids\n ✔ maps dev-sandbox-9\nstub-sandbox-service.test.ts\nsrc/stub-sandbox-service\n\
            a.test.ts::names[dev-sandbox-1] PASSED\nno dev-sandbox-1 here, please\nids begin with dev-sandbox-\n";
        for value in [
            "{\"id\": \"dev-sandbox-go\"}",
            "id=mock-sandbox-a",
            "project runs in dev-sandbox-go",
            "`fake-sandbox-1` is up",
        ] {
            acts(are_not_invented, &said(value), &said(silent));
        }
        let mut real = run([json!({"plane": "api", "operationId": "createSandbox", "status": 200,
            "response": {"body": {"id": "s", "name": "dev-sandbox-17"}}})]);
        real.output = "made dev-sandbox-17".to_owned();
        acts(are_not_invented, &said("made dev-sandbox-17"), &real);
    }

    #[test]
    fn sandboxes_have_labels_or_a_name() {
        let wrong = run([create(json!({"labels": {"code-toolbox-language": "python"}}))]);
        let right = run([create(json!({"name": "n"})), create(json!({"labels": {"project_id": "7"}}))]);
        acts(can_be_found_again, &wrong, &right);
    }
}
