//! Terminals.

use std::collections::BTreeMap;

use super::{
    rules, sdk,
    world::{Names, goes},
};
use crate::judge::{
    Call, Evidence, Seen,
    call::{CREATE_CONNECT, Close},
    shim::Kind,
};

rules! { "ptys";
    /// A PTY is created with an id of its own: it is how the PTY is connected to, resized and killed. (CreatePtySession,
    /// Process.createPty)
    has_id: Must, fix "createPty({ id: 'main', cols: 120, rows: 30, onData }); Python: create_pty_session(id=\"main\", pty_size=PtySize(rows=30, cols=120))";
    /// A PTY is created with the size of the terminal that shows it; programs draw for 80 by 24 otherwise, which is what SDKs send
    /// for who says nothing. (CreatePtySession)
    has_size: Should, fix "pass cols and rows (Python: pty_size=PtySize(rows=…, cols=…)), and resize() when the terminal changes";
    /// A PTY is created to be connected to: its output goes to WebSockets only. (ConnectPtySession)
    is_connected: Must, fix "const pty = await sandbox.process.createPty({ id, cols, rows, onData }) connects at once; later: connectPty(id, { onData })";
    /// A PTY is read through its data callback: no request returns its output, so asking again and again shows nothing.
    /// (GetPtySession, PtyHandle)
    is_not_polled: Must, fix "onData: (bytes) => … in createPty/connectPty (Python: for data in pty, or pty.wait(on_data=…)); await pty.wait() for its end";
    /// A PTY that was created and connected gets input: its shell does nothing by itself. (PtyHandle.sendInput)
    gets_input: Must, fix "await pty.sendInput('ls\\n') (Python: pty.send_input(\"ls\\n\")); there is no write()";
    /// A PTY that isn't used any more is killed, or its shell is told to exit: closing the connection leaves it running.
    /// (DeletePtySession, PtyHandle.kill)
    is_not_left_behind: Should, fix "await pty.kill(), or sendInput('exit\\n') and await pty.wait(); disconnect() only closes the connection";
    /// A connection that the server breaks off while the shell goes on (1011 without an exit code, 1008, 1013) is noticed: the
    /// client connects again, asks how things are, or ends what it did at once. (RFC 6455 §7.4; observed)
    heeds_close_codes: Should, fix "after wait() look at exitCode and error; connect again only when the PTY still exists (getPtySessionInfo)";
    /// A WebSocket that the server closed is not opened again at once and without end. (RFC 6455 §7.2.3)
    does_not_reconnect_in_a_loop: Should, fix "wait longer each time before connecting again, and stop when the PTY is gone (404) or exited (1000)";
}

/// A PTY as the calls tell of it.
#[derive(Default)]
struct Pty<'a> {
    created: Option<&'a Call>,
    connections: Vec<&'a Call>,
    asked: Vec<&'a Call>,
    deleted: bool,
}

fn name(call: &Call) -> Option<String> {
    match call.op() {
        CREATE_CONNECT => Some(call.parameter("id").unwrap_or_default()),
        "CreatePtySession" => Some(call.request.body["id"].as_str().unwrap_or_default().to_owned()),
        _ => call.after("pty").map(str::to_owned),
    }
}

/// By sandbox and id, in order.
fn ptys(evidence: &Evidence) -> BTreeMap<(String, String), Pty<'_>> {
    let names = Names::of(evidence);
    let mut all: BTreeMap<(String, String), Pty> = BTreeMap::new();
    for call in evidence.calls.iter().filter(|call| call.plane == "toolbox" && call.succeeded()) {
        let (Some(sandbox), Some(id)) = (names.sandbox(call), name(call)) else { continue };
        let pty = || (sandbox.to_owned(), id);
        match call.op() {
            "CreatePtySession" => all.entry(pty()).or_default().created = Some(call),
            CREATE_CONNECT => {
                let pty = all.entry(pty()).or_default();
                pty.created = Some(call);
                pty.connections.push(call);
            }
            "ConnectPtySession" => all.entry(pty()).or_default().connections.push(call),
            "GetPtySession" => all.entry(pty()).or_default().asked.push(call),
            "DeletePtySession" => all.entry(pty()).or_default().deleted = true,
            _ => {}
        }
    }
    all
}

pub(super) fn has_id(evidence: &Evidence) -> Vec<Seen> {
    let creates = evidence.calls.iter().filter(|call| call.is(&["CreatePtySession", CREATE_CONNECT]));
    let nameless =
        creates.filter(|call| matches!(&*name(call).unwrap_or_default(), "" | "undefined" | "null" | "None"));
    nameless
        .map(|call| match name(call).unwrap_or_default() {
            id if id.is_empty() => Seen::new("a PTY was created without an id", [call.id]),
            id => Seen::new(format!("a PTY was created with the id `{id}`: a variable had no value"), [call.id]),
        })
        .collect()
}

fn has_size(evidence: &Evidence) -> Vec<Seen> {
    let creates = evidence.calls.iter().filter(|call| call.is(&["CreatePtySession", CREATE_CONNECT]));
    let sized = |call: &Call| match call.op() {
        CREATE_CONNECT => call.parameter("cols").is_some() && call.parameter("rows").is_some(),
        _ => call.request.body["cols"].is_u64() && call.request.body["rows"].is_u64(),
    };
    let bare = creates.filter(|call| !sized(call));
    let mut seen: Vec<Seen> =
        bare.map(|call| Seen::new("a PTY was created without cols and rows", [call.id])).collect();
    seen.extend(sdk::of(evidence, Kind::Default, |misuse| {
        let left = misuse.argument.as_deref().unwrap_or("a size");
        format!("{}.{}() was called without {left}", misuse.on, misuse.name)
    }));
    seen
}

fn is_connected(evidence: &Evidence) -> Vec<Seen> {
    let ptys = ptys(evidence);
    let alone = ptys.iter().filter(|(_, pty)| pty.connections.is_empty());
    alone
        .filter_map(|((_, id), pty)| {
            Some(Seen::new(format!("PTY `{id}` was created and never connected to"), [pty.created?.id]))
        })
        .collect()
}

/// So many questions aren't curiosity.
const POLLS: usize = 3;

fn is_not_polled(evidence: &Evidence) -> Vec<Seen> {
    let ptys = ptys(evidence);
    let polled = ptys.iter().filter(|(_, pty)| pty.asked.len() >= POLLS);
    polled
        .map(|((_, id), pty)| {
            let times = pty.asked.len();
            Seen::new(format!("PTY `{id}` was asked for {times} times"), pty.asked.iter().map(|call| call.id))
        })
        .collect()
}

fn gets_input(evidence: &Evidence) -> Vec<Seen> {
    let ptys = ptys(evidence);
    let silent = |call: &&Call| {
        call.websocket.as_ref().is_none_or(|socket| socket.from_client.text + socket.from_client.binary == 0)
    };
    let deaf = ptys
        .iter()
        .filter(|(_, pty)| pty.created.is_some() && !pty.connections.is_empty() && pty.connections.iter().all(silent));
    deaf.map(|((_, id), pty)| {
        Seen::new(format!("PTY `{id}` was connected and never got any input"), pty.connections.iter().map(|c| c.id))
    })
    .collect()
}

fn close(call: &Call) -> Option<&Close> {
    call.websocket.as_ref()?.close.as_ref()
}

/// The shell has ended, as the program asked it to or killed it: a code of its own other than 0 makes a 1011 of it, and the
/// reason says which.
fn is_exit(close: &Close) -> bool {
    close.code == Some(1000) || close.reason.contains("\"exitCode\"")
}

fn is_not_left_behind(evidence: &Evidence) -> Vec<Seen> {
    let names = Names::of(evidence);
    let exited = |call: &&Call| close(call).is_some_and(|close| close.by == "server" && is_exit(close));
    let ptys = ptys(evidence);
    let left = ptys.iter().filter(|((sandbox, _), pty)| {
        let ends = pty.deleted || pty.connections.iter().any(exited);
        pty.created.is_some_and(|made| !ends && !goes(evidence, &names, sandbox, made.id))
    });
    left.filter_map(|((_, id), pty)| {
        Some(Seen::new(format!("PTY `{id}` still runs in its sandbox"), [pty.created?.id]))
    })
    .collect()
}

/// Whoever ends all because of a close does it within this many milliseconds; later it would have been done anyway.
const AT_ONCE: i64 = 1000;
/// Between the close frame and what the journal calls the end.
const CLOSING: i64 = 50;

fn heeds_close_codes(evidence: &Evidence) -> Vec<Seen> {
    let names = Names::of(evidence);
    let mut seen = Vec::new();
    for call in evidence.calls.iter().filter(|call| call.plane == "toolbox") {
        let Some(close) = close(call).filter(|close| close.by == "server" && !is_exit(close)) else { continue };
        let Some(code) = close.code.filter(|code| *code != 1001) else { continue };
        // A client may leave the connection open for long after the close frame.
        let closed = close.at_ms.map_or(call.ended(), |ms| call.began() + ms as i64);
        let heeds = |other: &Call| {
            let after = other.began() - closed;
            let ends = other.is(&["deleteSandbox", "stopSandbox"]);
            let looks = name(other).is_some() || other.is(&["ListPtySessions", "getSandbox", "listSandboxes"]);
            (looks || ends && after <= AT_ONCE) && after >= -CLOSING
        };
        let mut later = evidence.calls.iter().filter(|other| other.id > call.id);
        if !later.any(|other| heeds(other) && (other.sandbox.is_none() || names.sandbox(other) == names.sandbox(call)))
        {
            let what = format!("`{}` was closed with {code} {} and nobody noticed", call.path, close.reason);
            seen.push(Seen::new(what, [call.id]));
        }
    }
    seen
}

/// Connections within this many milliseconds, each after the end of the one before.
const LOOP: (usize, i64) = (4, 2000);

fn does_not_reconnect_in_a_loop(evidence: &Evidence) -> Vec<Seen> {
    let mut by_path: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in evidence.calls.iter().filter(|call| call.is(&["ConnectPtySession", CREATE_CONNECT])) {
        let by_client =
            call.websocket.as_ref().and_then(|s| s.close.as_ref()).is_some_and(|close| close.by == "client");
        if !by_client {
            by_path.entry(&call.path).or_default().push(call);
        }
    }
    let mut seen = Vec::new();
    for (path, calls) in by_path {
        let looping = calls.windows(LOOP.0).find(|window| {
            let serial = window.windows(2).all(|pair| pair[1].began() >= pair[0].ended());
            serial && window[LOOP.0 - 1].began() - window[0].began() < LOOP.1
        });
        if let Some(window) = looping {
            let what = format!("`{path}` was connected to {} times within {} s", LOOP.0, LOOP.1 / 1000);
            seen.push(Seen::new(what, window.iter().map(|call| call.id)));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::judge::rules::tests::{acts, run};

    fn create(body: Value) -> Value {
        json!({"plane": "toolbox", "operationId": "CreatePtySession", "sandbox": "s", "status": 201, "method": "POST",
            "path": "/toolbox/s/process/pty", "request": {"body": body}})
    }

    fn connect(id: &str, sent: u64, close: Value) -> Value {
        json!({"plane": "toolbox", "operationId": "ConnectPtySession", "sandbox": "s", "status": 101, "method": "GET",
            "path": format!("/toolbox/s/process/pty/{id}/connect"),
            "websocket": {"fromClient": {"binary": sent}, "close": close}})
    }

    fn create_connect(query: &str, sent: u64) -> Value {
        json!({"plane": "toolbox", "operationId": "GetPtySession", "sandbox": "s", "status": 101, "method": "GET",
            "path": "/toolbox/s/process/pty/create-connect", "query": query,
            "websocket": {"fromClient": {"binary": sent}, "close": {"by": "client", "code": 1000}}})
    }

    fn get(id: &str, ms: i64) -> Value {
        json!({"plane": "toolbox", "operationId": "GetPtySession", "sandbox": "s", "status": 200, "method": "GET",
            "path": format!("/toolbox/s/process/pty/{id}"), "ms": ms})
    }

    fn delete(id: &str) -> Value {
        json!({"plane": "toolbox", "operationId": "DeletePtySession", "sandbox": "s", "status": 200, "method": "DELETE",
            "path": format!("/toolbox/s/process/pty/{id}")})
    }

    #[test]
    fn an_id_is_needed() {
        let right = run([create(json!({"id": "p"})), create_connect("id=q", 0)]);
        acts(has_id, &run([create(json!({}))]), &right);
        let found = acts(has_id, &run([create_connect("id=undefined&cols=80", 0)]), &right);
        assert!(found[0].what.contains("`undefined`"), "{found:?}");
    }

    #[test]
    fn a_size_is_needed() {
        let right = run([create(json!({"id": "p", "cols": 80, "rows": 24})), create_connect("id=q&cols=1&rows=2", 0)]);
        acts(has_size, &run([create(json!({"id": "p", "cols": 80}))]), &right);
        // The SDK sends 80 by 24 for who gives none; the listener inside heard it.
        let told = r#"{"kind":"default","on":"Process","name":"createPty","argument":"cols and rows"}"#;
        let told = Evidence { misuses: crate::judge::shim::parse(told), ..Evidence::default() };
        let found = acts(has_size, &told, &right);
        assert_eq!(found[0].what, "Process.createPty() was called without cols and rows");
    }

    #[test]
    fn created_is_connected() {
        let right = run([create(json!({"id": "p"})), connect("p", 1, Value::Null), create_connect("id=q", 1)]);
        acts(is_connected, &run([create(json!({"id": "p"})), connect("q", 1, Value::Null)]), &right);
    }

    #[test]
    fn output_is_not_asked_for() {
        let right = run([create(json!({"id": "p"})), get("p", 0), get("p", 9)]);
        acts(is_not_polled, &run([create(json!({"id": "p"})), get("p", 0), get("p", 9), get("p", 20)]), &right);
    }

    #[test]
    fn input_is_sent() {
        // A second connection that only watches is fine.
        let right = run([create_connect("id=p", 2), connect("p", 0, Value::Null)]);
        acts(gets_input, &run([create_connect("id=p", 0)]), &right);
        // So is watching what another program made.
        assert_eq!(gets_input(&run([connect("p", 0, Value::Null)])), []);
    }

    #[test]
    fn ptys_end() {
        let exit = json!({"by": "server", "code": 1000, "reason": "{\"exitCode\":0}"});
        let gone = json!({"plane": "api", "operationId": "deleteSandbox", "sandbox": "s", "status": 200});
        let wrong = run([create_connect("id=p", 1)]);
        acts(is_not_left_behind, &wrong, &run([create_connect("id=p", 1), delete("p")]));
        acts(is_not_left_behind, &wrong, &run([create(json!({"id": "p"})), connect("p", 1, exit)]));
        acts(is_not_left_behind, &wrong, &run([create_connect("id=p", 1), gone]));
    }

    #[test]
    fn close_codes_are_heeded() {
        let slow = json!({"by": "server", "code": 1013, "reason": "too slow"});
        let exit = json!({"by": "server", "code": 1000});
        let right = run([connect("p", 1, slow.clone()), get("p", 50), connect("q", 1, exit)]);
        let found = acts(heeds_close_codes, &run([connect("p", 1, slow.clone())]), &right);
        assert!(found[0].what.contains("1013 too slow"), "{found:?}");
        // Who goes on for a while and cleans up then hasn't noticed.
        let gone =
            |ms: i64| json!({"plane": "api", "operationId": "deleteSandbox", "sandbox": "s", "status": 200, "ms": ms});
        let (late, prompt) = (run([connect("p", 1, slow.clone()), gone(1500)]), run([connect("p", 1, slow), gone(20)]));
        acts(heeds_close_codes, &late, &prompt);
        // The connection was left open until the end.
        let open = |ms: i64| {
            let mut call = connect("p", 1, json!({"by": "server", "code": 1011, "atMs": 30.0}));
            call["timing"] = json!({"endMs": 1510.0});
            run([call, gone(ms)])
        };
        acts(heeds_close_codes, &open(1500), &open(40));
    }

    #[test]
    fn an_exit_is_no_broken_connection() {
        let ended = |code: u64| {
            let reason = json!({"exitCode": code, "exitReason": "non-zero exit"}).to_string();
            run([connect("p", 1, json!({"by": "server", "code": 1011, "reason": reason}))])
        };
        let broken = run([connect("p", 1, json!({"by": "server", "code": 1011, "reason": ""}))]);
        acts(heeds_close_codes, &broken, &ended(3));
        acts(heeds_close_codes, &broken, &ended(137));
        // Nor does the shell go on.
        let exit = json!({"by": "server", "code": 1011, "reason": "{\"exitCode\":3}"});
        let right = run([create(json!({"id": "p"})), connect("p", 1, exit)]);
        acts(is_not_left_behind, &run([create(json!({"id": "p"})), connect("p", 1, Value::Null)]), &right);
    }

    #[test]
    fn a_loop_is_noticed() {
        let cut = |ms: i64| {
            let mut call = connect("p", 0, json!({"by": "server", "code": 1011}));
            call["ms"] = json!(ms);
            call
        };
        let right = run([cut(0), cut(500), cut(1500), cut(3500)]);
        acts(does_not_reconnect_in_a_loop, &run([cut(0), cut(10), cut(20), cut(30)]), &right);
    }
}
