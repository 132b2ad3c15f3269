//! Sessions: commands, input, logs and their followers.

use super::prelude::*;

const EXECUTE: Names = &["SessionExecuteCommand"];
const LOGS: Names = &["GetSessionCommandLogs"];
const INPUT: Names = &["SendInput"];

const fn follow(id: &'static str, what: &'static str, change: fn(&mut Flow, Message)) -> Mutant {
    Mutant::new(
        id,
        what,
        On::Narrowed(LOGS, &["sessions/follow*", "sessions/snapshot_by_websocket"]),
        Change::Down(change),
    )
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}

pub(super) const MUTANTS: &[Mutant] = &[
    answer("sessions/created-with-200", "a new session is 200", &["CreateSession"], |_, a| a.restatus(201, 200)),
    answer("sessions/double-id-is-fine", "an id may be used twice", &["CreateSession"], |_, a| a.restatus(409, 201)),
    answer("sessions/not-listed", "the list of sessions is empty", &["ListSessions"], |_, a| {
        a.edit(|v| list(v, "", |sessions| sessions.clear()));
    }),
    ignored_in(
        "sessions/deletion-does-nothing",
        "a session is said to be deleted",
        &["DeleteSession"],
        &["sessions/sessions_come_and_go", "sessions/delete_kills"],
        204,
        "",
    ),
    answer("sessions/unknown-is-500", "an unknown session is 500", &["GetSession", "SessionExecuteCommand"], |_, a| {
        a.restatus(404, 500);
    }),
    answer("sessions/exit-code-lost", "every exit code is 0", EXECUTE, |_, a| a.edit(|v| set(v, "/exitCode", 0))),
    answer("sessions/streams-swapped", "standard output and error are exchanged", EXECUTE, |_, a| {
        a.edit(|v| swap(v, "stdout", "stderr"));
    }),
    answer("sessions/output-without-markers", "the output has no markers", EXECUTE, |_, a| {
        a.edit(|v| string(v, "/output", |text| text.replace(['\u{1}', '\u{2}'], "")));
    }),
    answer("sessions/last-line-lost", "the last byte of each stream is lost", EXECUTE, |_, a| {
        a.edit(|v| {
            for stream in ["/stdout", "/stderr"] {
                string(v, stream, |text| text.chars().take(text.chars().count().saturating_sub(1)).collect());
            }
        });
    }),
    request("sessions/always-waits", "`runAsync` is ignored", EXECUTE, |q| {
        q.edit(|v| {
            remove(v, "/runAsync");
            remove(v, "/async");
        });
    }),
    request("sessions/never-waits", "every command is answered at once", EXECUTE, |q| {
        q.edit(|v| put(v, "runAsync", true));
    }),
    answer("sessions/async-is-200", "a command that isn't waited for is 200", EXECUTE, |_, a| a.restatus(202, 200)),
    request("sessions/every-command-is-new", "each command has a shell of its own", EXECUTE, |q| {
        q.edit(|v| string(v, "/command", |command| format!("( {command}\n)")));
    }),
    answer(
        "sessions/command-ends-early",
        "a running command is told with an exit code",
        &["GetSessionCommand"],
        |_, a| {
            a.edit(|v| put(v, "exitCode", 0));
        },
    ),
    stale("sessions/command-is-stale", "a command is always told as it was first", &["GetSessionCommand"]),
    answer("sessions/commands-not-told", "a session is told without its commands", &["GetSession"], |_, a| {
        a.edit(|v| set(v, "/commands", json!([])));
    }),
    request_in(
        "sessions/old-clients-get-todays-answers",
        "the client's version is ignored",
        &["SessionExecuteCommand", "GetSessionCommandLogs"],
        &["sessions/marked*", "sessions/plain*", "sessions/split*"],
        |q| q.set_header("x-daytona-sdk-version", "0.216.0"),
    ),
    request_in(
        "sessions/todays-clients-get-old-answers",
        "every client counts as one of last year",
        &["SessionExecuteCommand", "GetSessionCommandLogs"],
        &["sessions/marked*", "sessions/plain*", "sessions/split*"],
        |q| q.set_header("x-daytona-sdk-version", "0.111.1"),
    ),
    answer("sessions/log-streams-swapped", "a log's streams are exchanged", LOGS, |_, a| {
        a.edit(|v| swap(v, "stdout", "stderr"));
    }),
    answer("sessions/log-markers-swapped", "a log's markers are exchanged", LOGS, |_, a| {
        a.text(|text| text.replace('\u{1}', "\u{3}").replace('\u{2}', "\u{1}").replace('\u{3}', "\u{2}"));
    }),
    answer("sessions/log-cut", "a log is cut after a megabyte", LOGS, |_, a| {
        a.edit(|v| string(v, "/stdout", |text| text.chars().take(1 << 20).collect()));
    }),
    answer("sessions/log-survives", "a log outlives its session", LOGS, |_, a| a.restatus(404, 200)),
    Mutant::new(
        "sessions/log-only-at-the-end",
        "a follower gets everything at the end",
        On::Narrowed(LOGS, &["sessions/follow_is_live"]),
        Change::Down(|flow, message| {
            if is_data(&message) {
                flow.kept.push(message);
            } else {
                flow.out.append(&mut flow.kept);
                flow.pass(message);
            }
        }),
    ),
    follow("sessions/follow-loses-the-last-frame", "a follower doesn't get the last frame", |flow, message| {
        flow.out.append(&mut flow.held);
        if is_data(&message) {
            flow.held.push(message);
        } else {
            flow.out.clear();
            flow.pass(message);
        }
    }),
    follow("sessions/follow-doubles", "a follower gets every frame twice", |flow, message| {
        if is_data(&message) {
            flow.pass(message.clone());
        }
        flow.pass(message);
    }),
    follow("sessions/follow-without-code", "a follower's close has no code", |flow, message| {
        flow.pass(if message.is_close() { Message::Close(None) } else { message });
    }),
    follow("sessions/follow-without-close", "a follower's connection just ends", |flow, message| {
        if !message.is_close() {
            flow.pass(message);
        }
    }),
    follow("sessions/follow-in-text-frames", "a follower gets text frames", |flow, message| {
        flow.pass(match message {
            Message::Binary(bytes) => Message::text(String::from_utf8_lossy(&bytes).into_owned()),
            other => other,
        });
    }),
    follow("sessions/follow-swaps-streams", "a follower's markers are exchanged", |flow, message| {
        flow.edit(message, |bytes| {
            bytes
                .into_iter()
                .map(|b| match b {
                    1 => 2,
                    2 => 1,
                    b => b,
                })
                .collect()
        });
    }),
    follow("sessions/follow-replaces-bytes", "a follower gets what isn't ASCII replaced", |flow, message| {
        flow.edit(message, |bytes| bytes.into_iter().map(|b| if b.is_ascii() { b } else { b'?' }).collect());
    }),
    request("sessions/input-without-its-end", "input is sent without the end of its line", INPUT, |q| {
        q.edit(|v| {
            if v["data"] != "" {
                string(v, "/data", |data| format!("{}x", data.trim_end()));
            }
        });
    }),
    request("sessions/input-doubled", "input is sent twice", INPUT, |q| {
        q.edit(|v| {
            if v["data"] != "" {
                string(v, "/data", |data| format!("{data}\n{data}"));
            }
        });
    }),
    ignored_in("sessions/input-lost", "input is answered and lost", INPUT, &["sessions/input_is_read"], 204, ""),
    answer("sessions/late-input-is-404", "input for what has ended is 404", INPUT, |_, a| a.restatus(410, 404)),
    request_in(
        "sessions/echo-not-suppressed",
        "`suppressInputEcho` is ignored",
        EXECUTE,
        &["sessions/input_is_logged"],
        |q| {
            q.edit(|v| drop(remove(v, "/suppressInputEcho")));
        },
    ),
    answer(
        "sessions/entrypoint-by-another-name",
        "the session of the main program doesn't say that it is",
        &["GetEntrypointSession"],
        |_, a| {
            a.restatus(404, 200);
            a.edit(|v| set(v, "/sessionId", "main"));
        },
    ),
    request("sessions/entrypoint-is-open", "an entrypoint's logs need no key", &["GetEntrypointLogs"], |q| {
        if q.header("authorization").is_empty() {
            q.allow();
        }
    }),
    answer_in(
        "sessions/entrypoint-streams-swapped",
        "an entrypoint's streams are exchanged",
        &["GetEntrypointLogs"],
        &["sessions/entrypoint_is_a_session"],
        |_, a| a.edit(|v| swap(v, "stdout", "stderr")),
    ),
    answer_in(
        "sessions/entrypoint-without-command",
        "an entrypoint's session has no command",
        &["GetEntrypointSession"],
        &["sessions/entrypoint_is_a_session"],
        |_, a| a.edit(|v| set(v, "/commands", json!([]))),
    ),
];
