//! The code interpreter.

use super::prelude::*;

const EXECUTE: Names = &["ExecuteInterpreterCode"];

fn is(message: &Message, kind: &str) -> bool {
    message.to_text().ok().and_then(|text| serde_json::from_str::<Value>(text).ok()).is_some_and(|v| v["type"] == kind)
}

pub(super) const MUTANTS: &[Mutant] = &[
    answer(
        "interpreter/context-without-cwd",
        "a context doesn't tell its directory",
        &["CreateInterpreterContext"],
        |_, a| {
            a.edit(|v| drop(remove(v, "/cwd")));
        },
    ),
    request_in(
        "interpreter/context-cwd-ignored",
        "a context's directory is ignored",
        &["CreateInterpreterContext"],
        &["interpreter/contexts_are_apart"],
        |q| {
            q.edit(|v| drop(remove(v, "/cwd")));
        },
    ),
    answer("interpreter/any-language", "any language makes a context", &["CreateInterpreterContext"], |_, a| {
        a.restatus(400, 200);
    }),
    answer("interpreter/list-is-empty", "the list of contexts is empty", &["ListInterpreterContexts"], |_, a| {
        a.edit(|v| set(v, "/contexts", json!([])));
    }),
    ignored_in(
        "interpreter/deletion-does-nothing",
        "a context is said to be deleted",
        &["DeleteInterpreterContext"],
        &["interpreter/contexts_come_and_go"],
        200,
        "{}",
    ),
    up("interpreter/contexts-are-one", "every context is the default one", EXECUTE, |flow, message| {
        flow.json(message, |v| drop(remove(v, "/contextId")));
    }),
    up("interpreter/variables-ignored", "`envs` is ignored", EXECUTE, |flow, message| {
        flow.json(message, |v| drop(remove(v, "/envs")));
    }),
    Mutant::new(
        "interpreter/timeout-ignored",
        "`timeout` is ignored",
        On::Narrowed(EXECUTE, &["interpreter/timeout_interrupts"]),
        Change::Up(|flow, message| {
            flow.json(message, |v| drop(remove(v, "/timeout")));
        }),
    ),
    down("interpreter/streams-swapped", "standard output and error are exchanged", EXECUTE, |flow, message| {
        flow.json(message, |v| match v["type"].as_str() {
            Some("stdout") => set(v, "/type", "stderr"),
            Some("stderr") => set(v, "/type", "stdout"),
            _ => {}
        });
    }),
    down("interpreter/never-completed", "there is no control chunk", EXECUTE, |flow, message| {
        if !is(&message, "control") {
            flow.pass(message);
        }
    }),
    down("interpreter/close-without-code", "the close frame has no code", EXECUTE, |flow, message| {
        flow.pass(if message.is_close() { Message::Close(None) } else { message });
    }),
    down("interpreter/ends-without-close", "the connection just ends", EXECUTE, |flow, message| {
        if !message.is_close() {
            flow.pass(message);
        }
    }),
    down("interpreter/errors-without-traceback", "errors have no traceback", EXECUTE, |flow, message| {
        flow.json(message, |v| set(v, "/traceback", ""));
    }),
    down("interpreter/error-name-lost", "every error is called `Error`", EXECUTE, |flow, message| {
        flow.json(message, |v| {
            if v["type"] == "error" {
                set(v, "/name", "Error");
            }
        });
    }),
    down("interpreter/fields-left-out", "chunks leave out empty fields", EXECUTE, |flow, message| {
        flow.json(message, |v| {
            if let Value::Object(fields) = v {
                fields.retain(|_, value| *value != "");
            }
        });
    }),
    down("interpreter/first-chunk-lost", "the first chunk is lost", EXECUTE, |flow, message| {
        if flow.number > 0 || message.is_close() {
            flow.pass(message);
        }
    }),
    down("interpreter/timeout-is-1000", "code whose time is over is closed with 1000", EXECUTE, |flow, message| {
        flow.pass(match message {
            Message::Close(Some(mut frame)) => {
                frame.code = 1000.into();
                Message::Close(Some(frame))
            }
            other => other,
        });
    }),
    down("interpreter/text-is-ascii", "chunks lose what isn't ASCII", EXECUTE, |flow, message| {
        flow.json(message, |v| string(v, "/text", |text| text.replace(|c: char| !c.is_ascii(), "?")));
    }),
    answer("interpreter/plain-request-is-426", "a request without an upgrade is 426", EXECUTE, |_, a| {
        a.restatus(400, 426)
    }),
];
