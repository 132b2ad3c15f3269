//! Sessions and interpreter contexts: what is left in a sandbox that lives on.

use std::collections::BTreeMap;

use super::{
    rules,
    world::{Names, goes},
};
use crate::judge::{Call, Evidence, Seen};

rules! { "sessions";
    /// A session that isn't used any more is deleted: its shell and its commands run on. (DeleteSession)
    are_deleted: Should, fix "await sandbox.process.deleteSession(id) in a finally block, or delete the sandbox";
    /// An interpreter context that isn't used any more is deleted: its process keeps its memory. (DeleteInterpreterContext)
    contexts_are_deleted: Should, fix "await sandbox.codeInterpreter.deleteContext(context), or delete the sandbox";
    /// A command is given to a session that exists. (CreateSession, SessionExecuteCommand)
    exist: Must, fix "await sandbox.process.createSession(id) once, before executeSessionCommand(id, …)";
}

/// Calls that made something in a sandbox which neither they nor the sandbox's end removed.
fn left<'a>(
    evidence: &'a Evidence,
    (create, delete): (&str, &str),
    made: impl Fn(&'a Call) -> Option<&'a str>,
    segment: &str,
) -> Vec<(&'a Call, &'a str)> {
    let names = Names::of(evidence);
    let mut all: BTreeMap<(String, &str), &Call> = BTreeMap::new();
    for call in evidence.calls.iter().filter(|call| call.succeeded()) {
        let Some(sandbox) = names.sandbox(call).map(str::to_owned) else { continue };
        if call.op() == create {
            let Some(id) = made(call) else { continue };
            all.insert((sandbox, id), call);
        } else if call.op() == delete {
            let Some(id) = call.after(segment) else { continue };
            all.remove(&(sandbox, id));
        }
    }
    let stays = |((sandbox, _), call): &((String, &str), &Call)| !goes(evidence, &names, sandbox, call.id);
    all.into_iter().filter(stays).map(|((_, id), call)| (call, id)).collect()
}

fn are_deleted(evidence: &Evidence) -> Vec<Seen> {
    let left =
        left(evidence, ("CreateSession", "DeleteSession"), |call| call.request.body["sessionId"].as_str(), "session");
    left.into_iter().map(|(call, id)| Seen::new(format!("session `{id}` was not deleted"), [call.id])).collect()
}

fn contexts_are_deleted(evidence: &Evidence) -> Vec<Seen> {
    let operations = ("CreateInterpreterContext", "DeleteInterpreterContext");
    let left = left(evidence, operations, |call| call.answered("id"), "context");
    left.into_iter()
        .map(|(call, id)| Seen::new(format!("interpreter context {id} was not deleted"), [call.id]))
        .collect()
}

fn exist(evidence: &Evidence) -> Vec<Seen> {
    let lost = evidence.calls.iter().filter(|call| call.is(&["SessionExecuteCommand"]) && call.status == Some(404));
    lost.map(|call| {
        let id = call.after("session").unwrap_or_default();
        Seen::new(format!("a command was given to the session `{id}`, which doesn't exist"), [call.id])
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::judge::rules::tests::{acts, run};

    fn tool(operation: &str, path: &str, status: u16) -> Value {
        json!({"plane": "toolbox", "operationId": operation, "sandbox": "s", "status": status,
            "path": format!("/toolbox/s/process/{path}"), "request": {"body": {"sessionId": "a"}},
            "response": {"body": {"id": "c"}}})
    }

    fn gone() -> Value {
        json!({"plane": "api", "operationId": "deleteSandbox", "sandbox": "s", "status": 200})
    }

    #[test]
    fn sessions_end() {
        let create = || tool("CreateSession", "session", 201);
        let wrong = run([create()]);
        acts(are_deleted, &wrong, &run([create(), tool("DeleteSession", "session/a", 204)]));
        acts(are_deleted, &wrong, &run([create(), gone()]));
    }

    #[test]
    fn contexts_end() {
        let create = || tool("CreateInterpreterContext", "interpreter/context", 200);
        let wrong = run([create()]);
        acts(
            contexts_are_deleted,
            &wrong,
            &run([create(), tool("DeleteInterpreterContext", "interpreter/context/c", 200)]),
        );
        acts(contexts_are_deleted, &wrong, &run([create(), gone()]));
    }

    #[test]
    fn commands_have_a_session() {
        let with = |status| run([tool("SessionExecuteCommand", "session/a/exec", status)]);
        acts(exist, &with(404), &with(200));
    }
}
