//! Requests themselves: paths, fields, keys.

use std::collections::{BTreeMap, HashSet};

use super::{
    deviations::{is_an_sdks, is_the_sdks_own},
    ptys, rules, sandboxes,
};
use crate::judge::{Call, Evidence, Seen};

rules! { "requests";
    /// What is asked for is in the contract: path and method. (the official OpenAPI documents)
    are_known: Must, fix "call the SDK's method instead of a path of your own; the paths are those of @daytona/api-client and @daytona/toolbox-api-client";
    /// Fields and parameters are the contract's, spelt and typed as it says: others are dropped in silence or refused. (the
    /// official OpenAPI documents)
    fit_the_contract: Must, fix "take the parameters' types from the SDK (CreateSandboxFromSnapshotParams, …) and don't cast them away";
    /// What the server refuses as malformed is mended, not sent. (400 and 422)
    are_accepted: Should, fix "read the error's message: the SDK throws DaytonaValidationError or DaytonaError with it";
    /// The key is the one of the environment. (DAYTONA_API_KEY)
    have_the_key: Must, fix "new Daytona() takes DAYTONA_API_KEY and DAYTONA_API_URL; hard-coded keys and URLs go to another account";
    /// Routes that are deprecated are left: they are gone in one of the next versions. (`deprecated` in the official documents)
    are_current: Should, fix "use a current SDK; list() instead of the paginated list, the proxy's URL of the toolbox instead of /api/toolbox";
    /// Many small files go in one request. (UploadFiles, FileSystem.uploadFiles)
    carry_many_files: Should, fix "await sandbox.fs.uploadFiles([{ source, destination }, …]); Python: upload_files([FileUpload(…)])";
}

/// Groups calls that one sentence is about.
fn grouped<'a>(calls: impl Iterator<Item = &'a Call>, what: impl Fn(&Call) -> String) -> Vec<Seen> {
    let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for call in calls {
        all.entry(what(call)).or_default().push(call.id);
    }
    all.into_iter().map(|(what, calls)| Seen::new(what, calls)).collect()
}

fn are_known(evidence: &Evidence) -> Vec<Seen> {
    let unknown = |call: &&Call| {
        let plane = matches!(&*call.plane, "api" | "toolbox");
        plane && call.op().is_empty() && matches!(call.status, Some(404 | 405)) && call.method != "OPTIONS"
    };
    grouped(evidence.calls.iter().filter(unknown), |call| format!("no operation has {} {}", call.method, call.path))
}

/// Rules of strict mode that have a rule of their own here.
fn is_deprecation(rule: &str) -> bool {
    rule.contains("deprecated")
}

fn fit_the_contract(evidence: &Evidence) -> Vec<Seen> {
    let mut all: BTreeMap<(String, Option<String>), Vec<u64>> = BTreeMap::new();
    for call in &evidence.calls {
        let wrong = call
            .violations
            .iter()
            .filter(|violation| !is_deprecation(&violation.rule) && violation.rule != "unknown-operation")
            .filter(|violation| !is_the_sdks_own(call, violation));
        for violation in wrong {
            let operation = call.op();
            let what = format!("{operation}: {} at {}: {}", violation.rule, violation.path, violation.message);
            all.entry((what, violation.fix.clone())).or_default().push(call.id);
        }
    }
    let seen = |((what, fix), calls): ((String, Option<String>), Vec<u64>)| Seen { fix, ..Seen::new(what, calls) };
    all.into_iter().map(seen).collect()
}

/// Rules that say more exactly why a request was refused.
const EXACTER: [fn(&Evidence) -> Vec<Seen>; 5] = [
    ptys::has_id,
    sandboxes::are_used_while_running,
    sandboxes::are_waited_for,
    sandboxes::have_a_known_language,
    sandboxes::take_resources_from_their_snapshot,
];

fn are_accepted(evidence: &Evidence) -> Vec<Seen> {
    let told: HashSet<u64> = EXACTER.iter().flat_map(|find| find(evidence)).flat_map(|seen| seen.calls).collect();
    let refused = evidence
        .calls
        .iter()
        .filter(|call| matches!(call.status, Some(400 | 422)) && call.plane != "preview" && !told.contains(&call.id));
    grouped(refused, |call| {
        let message = match &call.error.message {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        };
        format!("{} was refused: {message}", if call.op().is_empty() { &call.path } else { call.op() })
    })
}

fn have_the_key(evidence: &Evidence) -> Vec<Seen> {
    let refused = |call: &&Call| call.status == Some(401) && matches!(&*call.plane, "api" | "toolbox");
    let count = evidence.calls.iter().filter(refused).count();
    let calls = evidence.calls.iter().filter(refused).map(|call| call.id);
    if count == 0 {
        Vec::new()
    } else {
        let requests = if count == 1 { "1 request".to_owned() } else { format!("{count} requests") };
        vec![Seen::new(format!("{requests} came with a wrong key or none"), calls)]
    }
}

const DEPRECATED: [&str; 4] =
    ["listSandboxesPaginated_deprecated", "createBackup", "getSnapshotBuildLogs", "listSecrets"];

/// No document has it any more, and servers answer still, for SDKs of before.
fn is_old_upload(call: &Call) -> bool {
    call.method == "POST" && call.plane == "toolbox" && call.path.ends_with("/files/upload") && !is_an_sdks(call)
}

fn are_current(evidence: &Evidence) -> Vec<Seen> {
    let old = |call: &&Call| {
        let told = call.violations.iter().filter(|violation| is_deprecation(&violation.rule));
        call.is(&DEPRECATED)
            || is_old_upload(call)
            || call.path.starts_with("/api/toolbox/")
            || told.into_iter().any(|violation| !is_the_sdks_own(call, violation))
    };
    grouped(evidence.calls.iter().filter(old), |call| match call.path.starts_with("/api/toolbox/") {
        true => "the toolbox was asked by its old path /api/toolbox/{id}/toolbox".to_owned(),
        false if is_old_upload(call) => "POST /files/upload is in no document any more; /files/upload-v2 is".to_owned(),
        false => format!("{} is deprecated", call.op()),
    })
}

/// Uploads in a row that could be one.
const UPLOADS: usize = 20;
/// Bytes of a request that is better left alone: one of many such files would be long under way.
const LARGE: u64 = 1 << 20;
/// SDKs of today upload a single file by the operation for many, too.
const UPLOAD: [&str; 2] = ["UploadFile", "UploadFiles"];

fn carry_many_files(evidence: &Evidence) -> Vec<Seen> {
    let mut rows: BTreeMap<Option<&str>, Vec<u64>> = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for call in evidence.calls.iter().filter(|call| call.plane == "toolbox") {
        let sandbox = call.sandbox.as_deref();
        if !call.is(&UPLOAD) || call.request.bytes >= LARGE {
            rows.remove(&sandbox);
            continue;
        }
        let row = rows.entry(sandbox).or_default();
        row.push(call.id);
        if row.len() >= UPLOADS {
            seen.insert(sandbox, Seen::new(format!("{} uploads came one after the other", row.len()), row.clone()));
        }
    }
    seen.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::judge::rules::tests::{acts, run};

    fn api(operation: Option<&str>, path: &str, status: u16) -> Value {
        json!({"plane": "api", "operationId": operation, "method": "GET", "path": path, "status": status})
    }

    #[test]
    fn paths_are_known() {
        let right = run([api(Some("getSandbox"), "/api/sandbox/x", 404), json!({"plane": "preview", "status": 404})]);
        acts(are_known, &run([api(None, "/api/sandboxes", 404)]), &right);
    }

    #[test]
    fn violations_are_told_with_their_fix() {
        let with = |rule: &str| {
            let mut call = api(Some("createSandbox"), "/api/sandbox", 200);
            call["violations"] =
                json!([{"rule": rule, "path": "body.lables", "message": "not known", "fix": "labels"}]);
            run([call])
        };
        let found =
            acts(fit_the_contract, &with("unknown-field"), &run([api(Some("createSandbox"), "/api/sandbox", 200)]));
        assert_eq!(found[0].fix.as_deref(), Some("labels"));
        assert_eq!(fit_the_contract(&with("deprecated-route")), []);
        assert_eq!(are_current(&with("deprecated-route")).len(), 1);
    }

    #[test]
    fn what_the_sdk_does_by_itself_is_not_the_programs() {
        let with = |operation: &str, rule: &str, source: Option<&str>| {
            run([json!({"plane": "toolbox", "operationId": operation, "client": {"source": source},
                "violations": [{"rule": rule, "path": "header.content-type", "message": "none"}]})])
        };
        let right = with("UpdateEnv", "missing-header", Some("python-sdk"));
        acts(fit_the_contract, &with("UpdateEnv", "missing-header", None), &right);
        let right = with("getBuildLogs", "deprecated-route", Some("python-sdk"));
        acts(are_current, &with("getBuildLogs", "deprecated-route", None), &right);
    }

    #[test]
    fn refusals_are_told() {
        let mut wrong = api(Some("createSandbox"), "/api/sandbox", 400);
        wrong["error"] = json!({"message": ["cpu must be a number"]});
        let found = acts(are_accepted, &run([wrong]), &run([api(Some("getSandbox"), "/api/sandbox/x", 404)]));
        assert!(found[0].what.contains("cpu must be a number"));
        // Another rule says why.
        let mut resources = api(Some("createSandbox"), "/api/sandbox", 400);
        resources["request"] = json!({"body": {"cpu": 2}});
        assert_eq!(are_accepted(&run([resources])), []);
    }

    #[test]
    fn keys_are_right() {
        let right = run([api(Some("listSandboxes"), "/api/sandbox", 200), json!({"plane": "preview", "status": 401})]);
        acts(have_the_key, &run([api(Some("listSandboxes"), "/api/sandbox", 401)]), &right);
    }

    #[test]
    fn old_routes_are_told() {
        let right = run([api(Some("listSandboxes"), "/api/sandbox", 200)]);
        acts(are_current, &run([api(Some("createBackup"), "/api/sandbox/x/backup", 200)]), &right);
        let upload = |source: Option<&str>| {
            run([json!({"plane": "toolbox", "method": "POST", "path": "/toolbox/s/files/upload", "status": 200,
                "client": {"source": source}})])
        };
        acts(are_current, &upload(None), &upload(Some("python-sdk")));
        acts(are_current, &run([api(Some("ListFiles"), "/api/toolbox/x/toolbox/files", 200)]), &right);
    }

    #[test]
    fn files_go_together() {
        let upload = |operation: &str, bytes: u64| json!({"plane": "toolbox", "operationId": operation, "sandbox": "s", "status": 200, "request": {"bytes": bytes}});
        let right: [Value; UPLOADS - 1] = std::array::from_fn(|_| upload("UploadFiles", 300));
        let right = run(right);
        for operation in UPLOAD {
            let wrong: [Value; UPLOADS] = std::array::from_fn(|_| upload(operation, 300));
            let large: [Value; UPLOADS] = std::array::from_fn(|_| upload(operation, LARGE));
            acts(carry_many_files, &run(wrong), &right);
            assert_eq!(carry_many_files(&run(large)), []);
        }
    }
}
