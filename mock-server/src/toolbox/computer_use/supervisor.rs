//! One program that is kept running: started again when it ends, with what it said and how often it ended.

use std::{
    collections::{BTreeMap, VecDeque},
    os::unix::process::CommandExt,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::programs::Launch;
use crate::toolbox::process::group::Group;

/// What is kept of each of its streams.
const MAX_LOG: usize = 64 << 10;
const LONGEST_LINE: usize = 4 << 10;

/// Deaths in a row after which it stays dead; one after a life of `LONG` begins a new row.
const MAX_DEATHS: u32 = 5;
const LONG: Duration = Duration::from_secs(10);
/// Before the first new start; twice that before each further one.
const PAUSE: Duration = Duration::from_millis(50);
/// For ending by itself when asked to.
const GRACE: Duration = Duration::from_secs(2);

/// How a program is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub pid: Option<i32>,
    /// It has said that it is ready.
    pub ready: bool,
    /// It ended too often.
    pub gave_up: bool,
    /// Somebody keeps it running.
    pub kept: bool,
}

/// A supervised program.
#[derive(Default)]
pub struct Process {
    state: watch::Sender<State>,
    output: Mutex<Log>,
    errors: Mutex<Log>,
    /// The last line that said it was ready.
    said: Mutex<String>,
    stop: Mutex<Option<CancellationToken>>,
}

/// How to start it.
pub struct Plan {
    pub launch: Launch,
    pub env: BTreeMap<String, String>,
    /// The line by which it says that it is ready; without, it is as soon as it runs.
    pub ready: Option<fn(&str) -> bool>,
    /// It may start while this one is ready.
    pub needs: Option<watch::Receiver<State>>,
}

impl Process {
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The line by which it said that it is ready.
    pub fn said(&self) -> String {
        self.said.lock().clone()
    }

    pub fn output(&self) -> String {
        self.output.lock().text()
    }

    pub fn errors(&self) -> String {
        self.errors.lock().text()
    }

    /// For those who ask why it doesn't run.
    pub fn note(&self, line: &str) {
        self.errors.lock().push(line.as_bytes());
    }

    /// Starts it and keeps it running, until [`Process::stop`].
    pub fn keep(self: &Arc<Process>, plan: Plan) {
        let stop = CancellationToken::new();
        *self.stop.lock() = Some(stop.clone());
        self.state.send_replace(State { kept: true, ..State::default() });
        tokio::spawn(self.clone().run(plan, stop));
    }

    /// Waits until it is ready, or never will be; false then, and when the time is over.
    pub async fn ready(&self, limit: Duration) -> bool {
        let mut state = self.watch();
        let decided = state.wait_for(|state| state.ready || state.gave_up || !state.kept);
        matches!(timeout(limit, decided).await, Ok(Ok(state)) if state.ready)
    }

    /// Ends it: asked first, then made to.
    pub async fn stop(&self) {
        let Some(stop) = self.stop.lock().take() else { return };
        stop.cancel();
        // The sender lives in `self`.
        let _ = self.watch().wait_for(|state| !state.kept).await;
    }

    async fn run(self: Arc<Process>, mut plan: Plan, stop: CancellationToken) {
        let mut deaths = 0;
        while stop.run_until_cancelled(wait_for(&mut plan.needs)).await.is_some() {
            let born = Instant::now();
            let end = self.live(&plan, &stop).await;
            if stop.is_cancelled() {
                break;
            }
            deaths = if born.elapsed() < LONG { deaths + 1 } else { 1 };
            let next = if deaths > MAX_DEATHS { "it stays so" } else { "it is started again" };
            self.note(&format!("[ended ({end}); {next}]\n"));
            if deaths > MAX_DEATHS {
                self.state.send_modify(|state| state.gave_up = true);
                stop.cancelled().await;
                break;
            }
            stop.run_until_cancelled(sleep(PAUSE * (1 << deaths))).await;
        }
        self.state.send_modify(|state| state.kept = false);
    }

    /// One life of it, and how it ended.
    async fn live(self: &Arc<Process>, plan: &Plan, stop: &CancellationToken) -> String {
        let mut command = std::process::Command::new(&plan.launch.program);
        command.args(&plan.launch.args).env_clear().envs(&plan.env).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match tokio::process::Command::from(command).spawn() {
            Ok(child) => child,
            Err(error) => return error.to_string(),
        };
        tokio::spawn(self.clone().listen(child.stdout.take(), plan.ready, |process| &process.output));
        tokio::spawn(self.clone().listen(child.stderr.take(), plan.ready, |process| &process.errors));
        let mut group = Group::new(child);
        self.state.send_modify(|state| (state.pid, state.ready) = (group.id().map(Pid::as_raw), plan.ready.is_none()));
        let ended = stop.run_until_cancelled(group.child().wait()).await;
        if ended.is_none() {
            ask_to_end(&group);
            _ = timeout(GRACE, group.child().wait()).await;
            group.kill();
            _ = group.child().wait().await;
        }
        self.state.send_modify(|state| (state.pid, state.ready) = (None, false));
        match ended {
            Some(Ok(status)) => status.to_string(),
            _ => "stopped".into(),
        }
    }

    async fn listen<R: AsyncRead + Unpin>(
        self: Arc<Process>,
        stream: Option<R>,
        ready: Option<fn(&str) -> bool>,
        log: fn(&Process) -> &Mutex<Log>,
    ) {
        let Some(stream) = stream else { return };
        let mut reader = BufReader::with_capacity(LONGEST_LINE, stream);
        let mut line = Vec::new();
        while let Ok(chunk) = reader.fill_buf().await {
            if chunk.is_empty() {
                return;
            }
            let used = memchr::memchr(b'\n', chunk).map_or(chunk.len(), |at| at + 1);
            log(&self).lock().push(&chunk[..used]);
            line.extend_from_slice(&chunk[..used]);
            reader.consume(used);
            if line.ends_with(b"\n") || line.len() > LONGEST_LINE {
                self.heard(String::from_utf8_lossy(&line).trim(), ready);
                line.clear();
            }
        }
    }

    fn heard(&self, line: &str, ready: Option<fn(&str) -> bool>) {
        if !self.state().ready && ready.is_some_and(|ready| ready(line)) {
            *self.said.lock() = line.to_owned();
            self.state.send_modify(|state| state.ready = state.pid.is_some());
        }
    }
}

/// Until a program that is needed is ready.
async fn wait_for(needs: &mut Option<watch::Receiver<State>>) {
    if let Some(needed) = needs {
        // Without a sender nothing will ever be ready: then it is tried.
        _ = needed.wait_for(|state| state.ready).await;
    }
}

fn ask_to_end(group: &Group) {
    if let Some(id) = group.id() {
        _ = killpg(id, Signal::SIGTERM);
    }
}

/// The last of what a program said.
#[derive(Default)]
struct Log(VecDeque<u8>);

impl Log {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let over = self.0.len().saturating_sub(MAX_LOG);
        self.0.drain(..over);
    }

    fn text(&self) -> String {
        let (first, second) = self.0.as_slices();
        String::from_utf8_lossy(&[first, second].concat()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(script: &str) -> Plan {
        Plan {
            launch: Launch { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] },
            env: BTreeMap::new(),
            ready: Some(|line| line == "up"),
            needs: None,
        }
    }

    #[tokio::test]
    async fn it_is_started_again_until_it_is_stopped() {
        let process = Arc::new(Process::default());
        process.keep(plan("echo up; echo oops >&2; exec sleep 1000"));
        assert!(process.ready(Duration::from_secs(20)).await);
        let first = process.state().pid.expect("a process");
        nix::sys::signal::kill(Pid::from_raw(first), Signal::SIGKILL).expect("killed");
        let mut state = process.watch();
        let again = state.wait_for(|state| state.ready && state.pid != Some(first));
        timeout(Duration::from_secs(20), again).await.expect("in time").expect("kept");
        assert!(process.output().starts_with("up\n") && process.errors().contains("SIGKILL"), "{}", process.errors());
        process.stop().await;
        assert_eq!(process.state().pid, None);
    }

    #[tokio::test]
    async fn one_that_always_ends_is_given_up() {
        let process = Arc::new(Process::default());
        process.keep(plan("exit 3"));
        assert!(!process.ready(Duration::from_secs(60)).await);
        assert!(process.state().gave_up && process.errors().ends_with("[ended (exit status: 3); it stays so]\n"));
        process.stop().await;
        assert!(!process.state().kept);
    }

    #[test]
    fn logs_keep_their_end() {
        let mut log = Log::default();
        log.push(&vec![b'a'; MAX_LOG]);
        log.push(b"the end");
        assert_eq!(log.text().len(), MAX_LOG);
        assert!(log.text().ends_with("aaathe end"));
    }
}
