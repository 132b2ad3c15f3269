//! Waiting.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
};

use super::{rules, world::Names};
use crate::judge::{Call, Evidence, Seen, call::CREATE_CONNECT};

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

/// Sleeps of programs are multiples of so many milliseconds, and overshoot by a little: (step, overshoot). Finer steps are rarer,
/// and told apart from chance by a smaller overshoot.
const STEPS: [(i64, i64); 2] = [(500, 40), (100, 12)];
/// Who waits for less has no pause to speak of.
const SLEEP: i64 = 500;
/// Programs that show what they do in a terminal live on; one that was told at most so many things, slept and killed it doesn't.
const TOLD: u64 = 3;

fn is_sleep(ms: i64, steps: &[(i64, i64)]) -> bool {
    ms >= SLEEP && steps.iter().any(|(step, overshoot)| ms % step <= *overshoot)
}

fn has_no_fixed_sleep(evidence: &Evidence) -> Vec<Seen> {
    let names = &Names::of(evidence);
    let mut seen = Vec::new();
    for (at, start) in evidence.calls.iter().enumerate().filter(|(_, call)| call.succeeded()) {
        let Some(sandbox) = names.sandbox(start) else { continue };
        let later = || evidence.calls[at + 1..].iter().filter(move |call| names.sandbox(call) == Some(sandbox));
        let slept = match start.op() {
            "SessionExecuteCommand" => slept_before_logs(start, later),
            "ExecuteCommand" => slept_before_file(start, later),
            "ConnectPtySession" | CREATE_CONNECT => slept_before_kill(start, later),
            _ => None,
        };
        seen.extend(slept);
    }
    seen
}

/// The output of a command is fetched once, and nobody asks whether it has ended. Whoever asks, or fetches again, has a loop, of which
/// the first round was enough.
fn slept_before_logs<'a, I: Iterator<Item = &'a Call>>(start: &Call, later: impl Fn() -> I) -> Option<Seen> {
    let body = &start.request.body;
    if !(body["runAsync"] == true || body["async"] == true) {
        return None;
    }
    let next = later().next().filter(|next| next.is(&["GetSessionCommandLogs"]) && next.websocket.is_none())?;
    let asks = |other: &Call| {
        other.is(&["GetSessionCommand", "GetSession", "ListSessions"])
            || other.id != next.id && other.is(&["GetSessionCommandLogs"]) && other.path == next.path
    };
    let slept = next.began() - start.ended();
    (is_sleep(slept, &STEPS) && !later().any(asks)).then(|| {
        let what = format!("after an asynchronous command nothing was asked for {slept} ms, then its result");
        Seen::new(what, [start.id, next.id])
    })
}

/// A command in the background, a sleep, and a look at a file, once.
fn slept_before_file<'a, I: Iterator<Item = &'a Call>>(start: &Call, later: impl Fn() -> I) -> Option<Seen> {
    let command = |call: &'a Call| call.request.body["command"].as_str().unwrap_or_default().trim();
    let started = start.request.body["command"].as_str().unwrap_or_default().trim();
    if !started.ends_with('&') || started.ends_with("&&") {
        return None;
    }
    let next = later().next().filter(|next| next.is(&["ExecuteCommand"]))?;
    let looks = ["cat ", "tail ", "head "].iter().any(|look| command(next).starts_with(look));
    let again = later().filter(|other| command(other) == command(next)).count() > 1;
    let slept = next.began() - start.ended();
    (looks && !again && is_sleep(slept, &STEPS[..1])).then(|| {
        let what = format!("after a command in the background nothing was asked for {slept} ms, then its output");
        Seen::new(what, [start.id, next.id])
    })
}

/// A terminal gets a command, and is killed after a time, whatever it has said till then.
fn slept_before_kill<'a, I: Iterator<Item = &'a Call>>(start: &Call, later: impl Fn() -> I) -> Option<Seen> {
    let told = start.websocket.as_ref().map(|socket| socket.from_client.text + socket.from_client.binary)?;
    let next = later().next().filter(|next| next.is(&["DeletePtySession"]))?;
    let opened = start.began() + start.timing.first_byte_ms.unwrap_or_default() as i64;
    let slept = next.began() - opened;
    // Nobody reads the shell's end before the kill, and the kill ends the connection.
    let open = start.ended() >= next.began();
    ((1..=TOLD).contains(&told) && open && is_sleep(slept, &[(1000, 30)])).then(|| {
        let what = format!("a terminal got a command, and was killed {slept} ms later, whatever it had said till then");
        Seen::new(what, [start.id, next.id])
    })
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
        acts(has_no_fixed_sleep, &run([start(), logs(1011)]), &run([start(), logs(1350)]));
        acts(has_no_fixed_sleep, &run([start(), logs(1313)]), &run([start(), logs(1335)]));
    }

    #[test]
    fn a_loop_whose_first_round_was_enough_is_no_sleep() {
        let asked = |ms: i64| {
            let mut call = logs(ms);
            call["operationId"] = json!("GetSessionCommand");
            call
        };
        let wrong = run([start(), logs(1015)]);
        acts(has_no_fixed_sleep, &wrong, &run([start(), asked(1015), logs(1020)]));
        acts(has_no_fixed_sleep, &wrong, &run([start(), asked(1015), asked(2020), logs(2030)]));
        acts(has_no_fixed_sleep, &wrong, &run([start(), logs(1015), logs(2020)]));
    }

    #[test]
    fn a_look_at_a_file_after_a_sleep_is_heard() {
        let execute = |command: &str, ms: i64| {
            json!({"plane": "toolbox", "operationId": "ExecuteCommand", "sandbox": "s", "status": 200, "ms": ms,
                "timing": {"endMs": 10.0}, "request": {"body": {"command": command}}})
        };
        let (background, look) = ("nohup make >/tmp/out 2>&1 &", "cat /tmp/out");
        let wrong = run([execute(background, 0), execute(look, 2020)]);
        acts(has_no_fixed_sleep, &wrong, &run([execute(background, 0), execute(look, 2020), execute(look, 4030)]));
        acts(has_no_fixed_sleep, &wrong, &run([execute("make", 0), execute(look, 2020)]));
        acts(has_no_fixed_sleep, &wrong, &run([execute(background, 0), execute(look, 1790)]));
    }

    #[test]
    fn a_kill_after_a_sleep_is_heard() {
        let terminal = |sent: u64, end: f64| {
            json!({"plane": "toolbox", "operationId": "ConnectPtySession", "sandbox": "s", "status": 101,
                "timing": {"firstByteMs": 5.0, "endMs": end}, "websocket": {"fromClient": {"binary": sent}}})
        };
        let kill = |ms: i64| json!({"plane": "toolbox", "operationId": "DeletePtySession", "sandbox": "s", "status": 200, "ms": ms});
        let wrong = run([terminal(1, 3030.0), kill(3015)]);
        acts(has_no_fixed_sleep, &wrong, &run([terminal(1, 2500.0), kill(3015)]));
        acts(has_no_fixed_sleep, &wrong, &run([terminal(1, 3430.0), kill(3420)]));
        acts(has_no_fixed_sleep, &wrong, &run([terminal(40, 3030.0), kill(3015)]));
    }
}
