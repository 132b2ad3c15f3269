//! Terminals.

use super::prelude::*;

const CREATE: Names = &["CreatePtySession"];
const CONNECT: Names = &["ConnectPtySession"];
const ONE_STEP: Names = &["pty/create_connect*", "pty/exit_frame*", "pty/first_protocol_is_selected"];

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}

pub(super) const MUTANTS: &[Mutant] = &[
    answer("pty/created-with-200", "a new terminal is 200", CREATE, |_, a| a.restatus(201, 200)),
    answer("pty/id-renamed", "a new terminal's id is called `id`", CREATE, |_, a| {
        a.edit(|v| rename(v, "/sessionId", "id"));
    }),
    request("pty/size-swapped", "columns and rows are exchanged", CREATE, |q| q.edit(|v| swap(v, "cols", "rows"))),
    request("pty/size-ignored", "every terminal is 80 by 24", CREATE, |q| {
        q.edit(|v| {
            if v["cols"].as_u64().is_some_and(|cols| (1..=1000).contains(&cols)) {
                remove(v, "/cols");
                remove(v, "/rows");
            }
        });
    }),
    request("pty/variables-ignored", "a terminal's variables are ignored", CREATE, |q| {
        q.edit(|v| drop(remove(v, "/envs")));
    }),
    request("pty/directory-ignored", "a terminal's directory is ignored", CREATE, |q| {
        q.edit(|v| drop(remove(v, "/cwd")))
    }),
    request("pty/never-lazy", "`lazyStart` is ignored", CREATE, |q| q.edit(|v| drop(remove(v, "/lazyStart")))),
    answer("pty/double-id-is-400", "an id that is taken is 400", CREATE, |_, a| a.restatus(409, 400)),
    answer("pty/list-is-empty", "the list of terminals is empty", &["ListPtySessions"], |_, a| {
        a.edit(|v| set(v, "/sessions", json!([])));
    }),
    answer("pty/never-active", "a terminal is never active", &["GetPtySession"], |_, a| {
        a.edit(|v| set(v, "/active", false));
    }),
    answer("pty/unknown-is-400", "an unknown terminal is 400", &["GetPtySession"], |_, a| a.restatus(404, 400)),
    ignored_in(
        "pty/deletion-does-nothing",
        "a terminal is said to be deleted",
        &["DeletePtySession"],
        &["pty/delete_kills"],
        200,
        r#"{"message":"PTY session deleted"}"#,
    ),
    request("pty/resize-swapped", "a new size has columns and rows exchanged", &["ResizePtySession"], |q| {
        q.edit(|v| swap(v, "cols", "rows"));
    }),
    answer("pty/resize-of-nothing-is-404", "a new size for what isn't there is 404", &["ResizePtySession"], |_, a| {
        a.restatus(410, 404);
    }),
    down("pty/not-connected", "nobody says `connected`", CONNECT, |flow, message| {
        if flow.number > 0 || !message.is_text() {
            flow.pass(message);
        }
    }),
    down("pty/connected-in-binary", "`connected` comes in a binary frame", CONNECT, |flow, message| {
        flow.pass(match message {
            Message::Text(text) => Message::binary(text.as_bytes().to_vec()),
            other => other,
        });
    }),
    down("pty/output-in-text", "output comes in text frames", CONNECT, |flow, message| {
        flow.pass(match message {
            Message::Binary(bytes) => Message::text(String::from_utf8_lossy(&bytes).into_owned()),
            other => other,
        });
    }),
    down("pty/last-frame-lost", "the last output before the end is lost", CONNECT, |flow, message| {
        flow.out.append(&mut flow.held);
        if message.is_binary() {
            flow.held.push(message);
        } else {
            if message.is_close() {
                flow.out.clear();
            }
            flow.pass(message);
        }
    }),
    down("pty/output-replayed", "every output comes twice", CONNECT, |flow, message| {
        if message.is_binary() {
            flow.pass(message.clone());
        }
        flow.pass(message);
    }),
    down("pty/output-out-of-order", "frames of output overtake each other", CONNECT, |flow, message| {
        if message.is_binary() && flow.held.is_empty() {
            flow.held.push(message);
        } else {
            flow.pass(message);
            flow.out.append(&mut flow.held);
        }
    }),
    down("pty/output-loses-bytes", "output loses bytes that aren't ASCII", CONNECT, |flow, message| {
        flow.edit(message, |bytes| bytes.into_iter().filter(u8::is_ascii).collect());
    }),
    down("pty/escapes-filtered", "escape sequences are filtered", CONNECT, |flow, message| {
        flow.edit(message, |bytes| bytes.into_iter().filter(|byte| *byte != 0x1b).collect());
    }),
    down("pty/close-without-code", "the end has no code", CONNECT, |flow, message| {
        flow.pass(if message.is_close() { Message::Close(None) } else { message });
    }),
    down("pty/close-always-1000", "every end has the code 1000", CONNECT, |flow, message| {
        flow.pass(match message {
            Message::Close(Some(mut frame)) => {
                frame.code = 1000.into();
                Message::Close(Some(frame))
            }
            other => other,
        });
    }),
    down("pty/exit-code-lost", "the end says exit code 0", CONNECT, |flow, message| {
        flow.pass(match message {
            Message::Close(Some(mut frame)) => {
                frame.reason = r#"{"exitCode":0}"#.into();
                Message::Close(Some(frame))
            }
            other => other,
        });
    }),
    down("pty/ends-without-close", "the connection just ends", CONNECT, |flow, message| {
        if !message.is_close() {
            flow.pass(message);
        }
    }),
    down("pty/exit-frame-for-all", "every client gets the exit code in a frame", CONNECT, |flow, message| {
        if message.is_close() {
            flow.pass(Message::text(r#"{"type":"control","status":"exited","exitCode":0}"#));
        }
        flow.pass(message);
    }),
    up("pty/input-out-of-order", "frames of input overtake each other", CONNECT, |flow, message| {
        if is_data(&message) && flow.held.is_empty() {
            flow.held.push(message);
        } else {
            flow.pass(message);
            flow.out.append(&mut flow.held);
        }
    }),
    up("pty/input-doubled", "every input is typed twice", CONNECT, |flow, message| {
        if is_data(&message) {
            flow.pass(message.clone());
        }
        flow.pass(message);
    }),
    up("pty/input-lost-in-a-rush", "one in a hundred frames of input is lost", CONNECT, |flow, message| {
        if flow.number % 100 != 99 {
            flow.pass(message);
        }
    }),
    up("pty/text-input-ignored", "text frames aren't typed", CONNECT, |flow, message| {
        if !message.is_text() {
            flow.pass(message);
        }
    }),
    up("pty/control-keys-filtered", "Ctrl-C isn't typed", CONNECT, |flow, message| {
        flow.edit(message, |bytes| bytes.into_iter().filter(|byte| *byte != 3).collect());
    }),
    request_in(
        "pty/open-to-everybody",
        "terminals open without a key",
        CONNECT,
        &["pty/connect_needs_a_key"],
        Asked::allow,
    ),
    Mutant::new(
        "pty/no-protocol-selected",
        "no sub-protocol is selected",
        On::Path("/process/pty/", &["pty/first_protocol_is_selected"]),
        Change::Request(|q| {
            q.headers.remove("sec-websocket-protocol");
        }),
    ),
    Mutant::new(
        "pty/one-step-without-variables",
        "`create-connect` ignores variables",
        On::Path("/create-connect", &["pty/create_connect_takes_variables"]),
        Change::Request(|q| {
            q.headers.remove("sec-websocket-protocol");
        }),
    ),
    Mutant::new(
        "pty/one-step-ignores-the-size",
        "`create-connect` ignores columns",
        On::Path("/create-connect", ONE_STEP),
        Change::Request(|q| q.set_query("cols", Some("80"))),
    ),
    Mutant::new(
        "pty/one-step-without-exit-frame",
        "`create-connect` gives no exit frame",
        On::Path("/create-connect", &["pty/exit_frame_for_those_who_ask"]),
        Change::Down(|flow, message| {
            if flow.number == 0 || !message.is_text() {
                flow.pass(message);
            }
        }),
    ),
];
