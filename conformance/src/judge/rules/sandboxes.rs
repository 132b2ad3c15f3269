//! Sandboxes: how they are made, used and left.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    rules,
    world::{CREATES, Names, created, goes},
};
use crate::judge::{Call, Evidence, Seen};

rules! { "sandboxes";
    /// What a program creates it deletes, unless it said at the creation when the sandbox is to go. (deleteSandbox)
    are_deleted: Must, fix "try { … } finally { await sandbox.delete() }; or create with ephemeral: true (it goes when it stops), autoDeleteInterval or ttlMinutes";
    /// The label `code-toolbox-language` is python, typescript or javascript: others run no code and Python SDKs raise on
    /// them. (CodeLanguage, Daytona.create)
    have_a_known_language: Must, fix "create({ language: 'python' | 'typescript' | 'javascript' }); other languages run by process.executeCommand in an image that has them";
    /// A sandbox from a snapshot has the snapshot's resources: cpu, memory, disk and gpu belong to an image. (CreateSandbox,
    /// CreateSandboxFromSnapshotParams)
    take_resources_from_their_snapshot: Must, fix "leave resources out, or create({ image, resources }), or make a snapshot with these resources";
    /// A sandbox is used while it runs, not after it was stopped, archived or deleted. (observed: the toolbox answers 400 or 404)
    are_used_while_running: Must, fix "await sandbox.start() before using it again; keep no handle of a deleted sandbox";
    /// After a start that is still under way the client waits for `started`: by asking, or by events. (startSandbox, Sandbox.start)
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
    let bounded = |call: &Call| {
        let body = &call.request.body;
        let given = |field: &str, least: i64| body[field].as_i64().is_some_and(|value| value >= least);
        given("autoDeleteInterval", 1) || given("ttlMinutes", 1)
    };
    let left = created(evidence).filter(|(call, id)| !bounded(call) && !goes(evidence, &names, id, call.id));
    left.map(|(call, id)| Seen::new(format!("sandbox {id} was created and not deleted"), [call.id])).collect()
}

const LANGUAGES: [&str; 3] = ["python", "typescript", "javascript"];

fn have_a_known_language(evidence: &Evidence) -> Vec<Seen> {
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

fn take_resources_from_their_snapshot(evidence: &Evidence) -> Vec<Seen> {
    let creates = evidence.calls.iter().filter(|call| call.is(&["createSandbox"]));
    creates
        .filter_map(|call| {
            let body = &call.request.body;
            let snapshot = body["snapshot"].as_str().filter(|_| body["buildInfo"].is_null())?;
            let given: Vec<&str> =
                ["cpu", "memory", "disk", "gpu"].into_iter().filter(|field| !body[*field].is_null()).collect();
            let what = format!("{} with the snapshot `{snapshot}`", given.join(", "));
            (!given.is_empty()).then(|| Seen::new(what, [call.id]))
        })
        .collect()
}

fn are_used_while_running(evidence: &Evidence) -> Vec<Seen> {
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

fn are_waited_for(evidence: &Evidence) -> Vec<Seen> {
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
        if next.plane == "toolbox" && !events(next.id) {
            let state = start.answered("state").unwrap_or_default();
            let what = format!("a sandbox that was still {state} was used: {}", next.line());
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
        let Some(id) = call.sandbox.as_deref().filter(|id| is_made_up(id)) else { continue };
        let new = || Seen::new(format!("`{id}` was sent as a sandbox's id: {}", call.line()), []);
        seen.entry(id).or_insert_with(new).calls.push(call.id);
    }
    seen.into_values().collect()
}

fn are_not_invented(evidence: &Evidence) -> Vec<Seen> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let mut found: Vec<&str> =
        evidence.output.split(word).filter(|word| is_made_up(word) && word.contains('-')).collect();
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
        let mut start = op("startSandbox", 0);
        start["response"] = json!({"body": {"state": "starting"}});
        let wrong = run([start.clone(), tool(10)]);
        acts(are_waited_for, &wrong, &run([start.clone(), op("getSandbox", 5), tool(10)]));
        acts(are_waited_for, &wrong, &run([json!({"plane": "events"}), start, tool(10)]));
        acts(are_waited_for, &wrong, &run([create(json!({})), tool(10)]));
    }

    #[test]
    fn ids_are_the_servers() {
        let of = |id: &str| run([json!({"plane": "api", "operationId": "getSandbox", "sandbox": id, "status": 404})]);
        acts(have_real_ids, &of("dev-sandbox-1"), &of("my-sandbox"));
        acts(have_real_ids, &of("undefined"), &of("84cd3f3a-0000-4000-8000-000000000000"));
    }

    #[test]
    fn invented_sandboxes_are_heard_of() {
        let said = |text: &str| Evidence { output: text.to_owned(), ..Evidence::default() };
        let found = acts(are_not_invented, &said("using dev-sandbox-17."), &said("sandbox undefined, dev-box"));
        assert!(found[0].what.contains("`dev-sandbox-17`"));
    }

    #[test]
    fn sandboxes_have_labels_or_a_name() {
        let wrong = run([create(json!({"labels": {"code-toolbox-language": "python"}}))]);
        let right = run([create(json!({"name": "n"})), create(json!({"labels": {"project_id": "7"}}))]);
        acts(can_be_found_again, &wrong, &right);
    }
}
