//! What several rules ask: whose sandbox a call is about, and how sandboxes came and went.

use std::collections::HashMap;

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

/// Calls that made a sandbox, each with its id.
pub fn created(evidence: &Evidence) -> impl Iterator<Item = (&Call, &str)> {
    let made = evidence.calls.iter().filter(|call| call.is(&CREATES) && call.succeeded());
    made.filter_map(|call| Some((call, call.answered("id")?)))
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
pub fn interval(evidence: &Evidence, names: &Names, create: &Call, (field, segment): (&str, &str)) -> Option<i64> {
    let id = create.answered("id");
    let of_it = |call: &&Call| call.succeeded() && call.method == "POST" && names.sandbox(call) == id;
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
    let vanishes = evidence.calls.iter().any(|call| {
        call.is(&CREATES)
            && call.answered("id") == Some(sandbox)
            && interval(evidence, names, call, AUTO_DELETE).is_some_and(|minutes| minutes >= 0)
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
        let of = |which| interval(&evidence, &names, &evidence.calls[0], which);
        assert_eq!((of(AUTO_STOP), of(AUTO_DELETE), of(TTL)), (Some(0), Some(5), None));
    }
}
