//! What several rules ask: whose sandbox a call is about, and how sandboxes came and went.

use std::collections::HashMap;

use serde_json::Value;

use crate::judge::{Call, Evidence};

/// Operations that make a sandbox.
pub const CREATES: [&str; 2] = ["createSandbox", "forkSandbox"];

/// Names of sandboxes to their ids, as answers told them.
pub struct Names(HashMap<String, String>);

impl Names {
    pub fn of(evidence: &Evidence) -> Self {
        let told = evidence.calls.iter().filter(|call| call.is(&CREATES) || call.is(&["getSandbox"]));
        let pairs = told.filter_map(|call| Some((call.answered("name")?.to_owned(), call.answered("id")?.to_owned())));
        Self(pairs.collect())
    }

    /// The id of the sandbox that a call is about.
    pub fn sandbox<'a>(&'a self, call: &'a Call) -> Option<&'a str> {
        let named = call.sandbox.as_deref()?;
        Some(self.0.get(named).map_or(named, String::as_str))
    }
}

/// Calls that made a sandbox, each with its id: as the answer said it, or, where the program got none or an error, as later
/// answers and the server's own list tell.
pub fn created(evidence: &Evidence) -> Vec<(&Call, &str)> {
    let told = evidence.calls.iter().filter(|call| call.is(&CREATES) && call.succeeded());
    let mut made: Vec<(&Call, &str)> = told.filter_map(|call| Some((call, call.answered("id")?))).collect();
    let unsure: Vec<&Call> =
        evidence.calls.iter().filter(|call| call.is(&["createSandbox"]) && is_unsure(call)).collect();
    if unsure.is_empty() {
        return made;
    }
    for sandbox in known(evidence) {
        let Some(id) = sandbox["id"].as_str().filter(|id| made.iter().all(|(_, own)| own != id)) else { continue };
        let free = |call: &&&Call| made.iter().all(|(own, _)| own.id != call.id) && asks_for(call, sandbox);
        if let Some(call) = unsure.iter().find(free) {
            made.push((call, id));
        }
    }
    made.sort_by_key(|(call, _)| call.id);
    made
}

/// Whoever sent it can't know what became of it.
pub fn is_unsure(call: &Call) -> bool {
    call.status.is_none_or(|status| status >= 500) || call.aborted
}

/// Sandboxes of which an answer told, or which were there at the end.
fn known(evidence: &Evidence) -> impl Iterator<Item = &Value> {
    let told = evidence.calls.iter().filter(|call| call.succeeded());
    let told = told.flat_map(|call| match call.op() {
        "listSandboxes" => call.response.body["items"].as_array().map_or(&[][..], Vec::as_slice),
        "getSandbox" | "deleteSandbox" | "startSandbox" | "stopSandbox" => std::slice::from_ref(&call.response.body),
        _ => &[],
    });
    told.chain(&evidence.there)
}

/// Whether it can be what came of this request: its name and its labels are those that were asked for.
fn asks_for(create: &Call, sandbox: &Value) -> bool {
    let body = &create.request.body;
    let named = body["name"].as_str().is_none_or(|name| sandbox["name"] == name);
    let labels = body["labels"].as_object().into_iter().flatten();
    named && labels.into_iter().all(|(name, value)| sandbox["labels"][name] == *value)
}

/// Whether the server has, or had, a sandbox of this id or name: an answer told of it, or it answered to it.
pub fn is_there(evidence: &Evidence, word: &str) -> bool {
    let made =
        |call: &Call| call.is(&CREATES) && (call.answered("name") == Some(word) || call.answered("id") == Some(word));
    let answers = |call: &Call| call.sandbox.as_deref() == Some(word) && matches!(&*call.plane, "api" | "toolbox");
    evidence.calls.iter().any(|call| call.succeeded() && (made(call) || answers(call)))
}

/// An interval of a sandbox in minutes: as it was set last, else as the answer to the creation or the request says.
/// `None`: nobody said.
pub fn interval(
    evidence: &Evidence,
    names: &Names,
    (create, id): (&Call, &str),
    (field, segment): (&str, &str),
) -> Option<i64> {
    let of_it = |call: &&Call| call.succeeded() && call.method == "POST" && names.sandbox(call) == Some(id);
    let set = evidence.calls.iter().rev().filter(of_it).find_map(|call| call.after(segment)?.parse().ok());
    let said = [&create.response.body, &create.request.body].into_iter().find_map(|body| body[field].as_i64());
    set.or(said)
}

pub const AUTO_STOP: (&str, &str) = ("autoStopInterval", "autostop");
pub const AUTO_DELETE: (&str, &str) = ("autoDeleteInterval", "autodelete");
pub const TTL: (&str, &str) = ("ttlMinutes", "ttl");

/// Whether the sandbox went away after this call: deleted, or stopped and made to vanish then.
pub fn goes(evidence: &Evidence, names: &Names, sandbox: &str, after: u64) -> bool {
    let of_it = |call: &&Call| call.id > after && call.succeeded() && names.sandbox(call) == Some(sandbox);
    let vanishes = created(evidence).into_iter().any(|(call, id)| {
        id == sandbox && interval(evidence, names, (call, id), AUTO_DELETE).is_some_and(|minutes| minutes >= 0)
    });
    evidence.calls.iter().filter(of_it).any(|call| call.is(&["deleteSandbox"]) || vanishes && call.is(&["stopSandbox"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::judge::rules::tests::run;

    #[test]
    fn an_interval_is_what_was_said_last() {
        let create = json!({"plane": "api", "operationId": "createSandbox", "status": 200, "method": "POST",
            "request": {"body": {"autoDeleteInterval": 5}}, "response": {"body": {"id": "s", "autoStopInterval": 15}}});
        let set = json!({"plane": "api", "operationId": "setAutostopInterval", "status": 200, "method": "POST",
            "sandbox": "s", "path": "/api/sandbox/s/autostop/0"});
        let evidence = run([create, set]);
        let names = Names::of(&evidence);
        let of = |which| interval(&evidence, &names, (&evidence.calls[0], "s"), which);
        assert_eq!((of(AUTO_STOP), of(AUTO_DELETE), of(TTL)), (Some(0), Some(5), None));
    }

    #[test]
    fn what_was_made_without_an_answer_is_known_from_others() {
        let create = |status: Option<u16>, body: Value| {
            json!({"plane": "api", "operationId": "createSandbox", "status": status, "method": "POST",
                "request": {"body": {"labels": {"p": "7"}}}, "response": {"body": body}})
        };
        let of = |there: Value, calls: [Value; 3]| {
            let evidence = Evidence { there: there.as_array().unwrap().clone(), ..run(calls) };
            created(&evidence).into_iter().map(|(call, id)| (call.id, id.to_owned())).collect::<Vec<_>>()
        };
        let lost = || create(Some(502), json!({"message": "x"}));
        let nothing = || json!({"plane": "api", "operationId": "listSandboxes", "status": 200});
        let again = || create(Some(200), json!({"id": "b"}));
        let left = json!([{"id": "a", "labels": {"p": "7"}}, {"id": "b", "labels": {"p": "7"}}]);
        assert_eq!(of(left, [lost(), nothing(), again()]), [(1, "a".to_owned()), (3, "b".to_owned())]);
        // It was found by the program, and deleted.
        let found = json!({"plane": "api", "operationId": "listSandboxes", "status": 200,
            "response": {"body": {"items": [{"id": "a", "labels": {"p": "7"}}]}}});
        let gone = json!({"plane": "api", "operationId": "deleteSandbox", "status": 200, "sandbox": "a"});
        assert_eq!(of(json!([]), [lost(), found, gone]), [(1, "a".to_owned())]);
        // Somebody else's, and one of a request that was refused.
        let other = json!([{"id": "x", "labels": {"p": "8"}}]);
        assert_eq!(of(other, [lost(), nothing(), again()]), [(3, "b".to_owned())]);
        let refused = create(Some(400), json!({}));
        assert_eq!(of(json!([{"id": "y", "labels": {"p": "7"}}]), [refused, nothing(), nothing()]), []);
    }
}
