//! Waiting.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
};

use super::{rules, world::Names};
use crate::judge::{Call, Evidence, Seen};

rules! { "polling";
    /// Between two questions about the same thing there is a pause; a loop without one only slows down what it waits for.
    /// (SDKs pause 100 ms and longer, or get events)
    pauses: Should, fix "await sandbox.waitUntilStarted(), waitUntilStopped() or start(), which wait by events; in loops of your own pause 250 ms and more";
    /// Waiting ends when what is waited for is there or can't come any more: `started`, `error`, `build_failed`, `destroyed` are
    /// final. A loop that waits for `running` or `ready` never ends: there are no such states. (SandboxState)
    ends: Must, fix "compare with SandboxState of the SDK (started, stopped, error, …) without casting; end on error and build_failed, too";
    /// What can't change by itself isn't asked for all the time: a page that shows a sandbox's state takes events, or asks now and
    /// then. (SandboxState, Socket.IO)
    asks_for_what_changes: Should, fix "ask every few seconds at most for a sandbox that is started; if this is a loop that waits, compare with SandboxState of the SDK";
    /// The output of a command of a session is followed, not fetched again and again. (GetSessionCommandLogs with follow=true)
    follows_logs: Should, fix "getSessionCommandLogs(session, command, onStdout, onStderr); Python: get_session_command_logs_async(…)";
    /// A program waits for output, not for a time that is mostly too long and sometimes too short. (GetSessionCommandLogs,
    /// GetSessionCommand.exitCode)
    has_no_fixed_sleep: Should, fix "follow the logs, or ask until exitCode is there; executeCommand() and runAsync: false wait by themselves";
}

/// Milliseconds that a pause has at least.
const PAUSE: i64 = 60;
/// So many questions in a row without a pause.
const HASTY: usize = 6;
/// Questions after a final answer.
const FUTILE: usize = 4;
/// Questions that are further apart belong to no loop.
const APART: i64 = 2500;
/// Whoever asks again so soon waits for something; others may show what they hear.
const WAITING: i64 = 400;
/// Questions of a display.
const SHOWN: usize = 8;
/// Fetches of one command's logs.
const FETCHES: usize = 5;

const QUESTIONS: [&str; 4] = ["getSandbox", "GetSessionCommand", "GetSession", "getSnapshot"];

fn groups<'a>(evidence: &'a Evidence, operations: &[&str]) -> BTreeMap<&'a str, Vec<&'a Call>> {
    let mut all: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in evidence.calls.iter().filter(|call| call.is(operations)) {
        all.entry(&call.path).or_default().push(call);
    }
    all
}

fn pauses(evidence: &Evidence) -> Vec<Seen> {
    let mut seen = Vec::new();
    for (path, calls) in groups(evidence, &QUESTIONS) {
        let hasty =
            |window: &&[&Call]| window.windows(2).all(|pair| (0..PAUSE).contains(&(pair[1].began() - pair[0].ended())));
        if let Some(window) = calls.windows(HASTY).find(hasty) {
            let took = window[HASTY - 1].began() - window[0].began();
            let what = format!("`{path}` was asked for {HASTY} times within {took} ms");
            seen.push(Seen::new(what, window.iter().map(|call| call.id)));
        }
    }
    seen
}

const FINAL: [&str; 4] = ["started", "error", "build_failed", "destroyed"];
/// After these `started` is what a sandbox is still, not what is waited for.
const LEAVING: [&str; 5] = ["stopSandbox", "pauseSandbox", "archiveSandbox", "deleteSandbox", "resizeSandbox"];

fn ends(evidence: &Evidence) -> Vec<Seen> {
    futile(evidence, 0..WAITING, FUTILE)
}

fn asks_for_what_changes(evidence: &Evidence) -> Vec<Seen> {
    futile(evidence, WAITING..APART, SHOWN)
}

/// So many questions in a row that got the same final answer, with such a pause between each two.
fn futile(evidence: &Evidence, pause: Range<i64>, least: usize) -> Vec<Seen> {
    let names = Names::of(evidence);
    let fits = |last: &Call, next: &Call| pause.contains(&(next.began() - last.ended()).max(0));
    // The run of equal final answers that each sandbox's latest question belongs to.
    let mut runs: BTreeMap<&str, (&str, Vec<&Call>)> = BTreeMap::new();
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    let mut leaving = HashSet::new();
    for call in &evidence.calls {
        let Some(sandbox) = names.sandbox(call) else { continue };
        if call.is(&LEAVING) {
            leaving.insert(sandbox);
        } else if call.is(&["startSandbox", "recoverSandbox"]) {
            leaving.remove(sandbox);
        }
        let over = |state: &&str| FINAL.contains(state) && !(*state == "started" && leaving.contains(sandbox));
        let state = call.answered("state").filter(|_| call.is(&["getSandbox"])).filter(over);
        let Some(state) = state else {
            runs.remove(sandbox);
            continue;
        };
        let (latest, calls) = runs.entry(sandbox).or_insert((state, Vec::new()));
        if *latest != state || calls.last().is_some_and(|last| !fits(last, call)) {
            (*latest, *calls) = (state, Vec::new());
        }
        calls.push(call);
        if calls.len() >= least {
            let what = format!("sandbox {sandbox} was `{state}` and was asked for {} times more", calls.len() - 1);
            seen.insert(sandbox, Seen::new(what, calls.iter().map(|call| call.id)));
        }
    }
    seen.into_values().collect()
}

fn follows_logs(evidence: &Evidence) -> Vec<Seen> {
    let mut seen = Vec::new();
    for (path, calls) in groups(evidence, &["GetSessionCommandLogs"]) {
        let fetched: Vec<u64> = calls.iter().filter(|call| call.websocket.is_none()).map(|call| call.id).collect();
        if fetched.len() >= FETCHES {
            seen.push(Seen::new(format!("`{path}` was fetched {} times", fetched.len()), fetched));
        }
    }
    seen
}

/// Sleeps of programs are multiples of this many milliseconds, and overshoot by a little.
const STEP: i64 = 500;
const OVERSHOOT: i64 = 40;

fn has_no_fixed_sleep(evidence: &Evidence) -> Vec<Seen> {
    let names = Names::of(evidence);
    let mut seen = Vec::new();
    for start in evidence.calls.iter().filter(|call| call.is(&["SessionExecuteCommand"]) && call.succeeded()) {
        let body = &start.request.body;
        if !(body["runAsync"] == true || body["async"] == true) {
            continue;
        }
        let same = |call: &&Call| call.id > start.id && names.sandbox(call) == names.sandbox(start);
        let Some(next) = evidence.calls.iter().find(same) else { continue };
        let reads = next.is(&["GetSessionCommandLogs", "GetSessionCommand", "GetSession"]) && next.websocket.is_none();
        let slept = next.began() - start.ended();
        if reads && slept >= STEP && slept % STEP <= OVERSHOOT {
            let what = format!("after an asynchronous command nothing was asked for {slept} ms, then its result");
            seen.push(Seen::new(what, [start.id, next.id]));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::judge::rules::tests::{acts, run};

    fn get(state: &str, ms: i64) -> Value {
        json!({"plane": "api", "operationId": "getSandbox", "sandbox": "s", "path": "/api/sandbox/s", "status": 200,
            "ms": ms, "timing": {"endMs": 2.0}, "response": {"body": {"id": "s", "state": state}}})
    }

    fn logs(ms: i64) -> Value {
        json!({"plane": "toolbox", "operationId": "GetSessionCommandLogs", "sandbox": "s", "path": "/…/logs", "status": 200,
            "ms": ms})
    }

    fn start() -> Value {
        json!({"plane": "toolbox", "operationId": "SessionExecuteCommand", "sandbox": "s", "status": 202,
            "timing": {"endMs": 10.0}, "request": {"body": {"command": "x", "runAsync": true}}})
    }

    #[test]
    fn questions_have_pauses() {
        let every = |step: i64| run([0, 1, 2, 3, 4, 5, 6].map(|n| get("starting", n * step)));
        acts(pauses, &every(10), &every(100));
    }

    #[test]
    fn waiting_ends() {
        let right = run([
            get("starting", 0),
            get("starting", 100),
            get("starting", 200),
            get("starting", 300),
            get("started", 400),
        ]);
        let found = acts(ends, &run([0, 100, 200, 300, 400].map(|ms| get("started", ms))), &right);
        assert!(found[0].what.contains("`started` and was asked for 4 times"), "{found:?}");
        // A stop may take a while to show.
        let mut stopping = run([0, 0, 100, 200, 300, 400].map(|ms| get("started", ms)));
        stopping.calls[0].operation_id = Some("stopSandbox".to_owned());
        assert_eq!(ends(&stopping), []);
        // Someone who looks now and then waits for nothing.
        assert_eq!(ends(&run([0, 5000, 10_000, 15_000, 20_000].map(|ms| get("started", ms)))), []);
    }

    #[test]
    fn a_display_is_no_loop_that_waits() {
        let display = run([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|n| get("started", n * 500)));
        let rarely = run([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|n| get("started", n * 5000)));
        acts(asks_for_what_changes, &display, &rarely);
        assert_eq!(ends(&display), []);
    }

    #[test]
    fn logs_are_followed() {
        let right = run([logs(0), logs(1)]);
        acts(follows_logs, &run([0, 1, 2, 3, 4].map(logs)), &right);
    }

    #[test]
    fn sleeps_are_heard() {
        acts(has_no_fixed_sleep, &run([start(), logs(2015)]), &run([start(), logs(30)]));
        acts(has_no_fixed_sleep, &run([start(), logs(1011)]), &run([start(), logs(1300)]));
    }
}
