//! The program under judgement: runs with its output passed through, and a copy kept.

use std::{
    ffi::OsString,
    io::{IsTerminal, Write},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::mpsc::UnboundedReceiver,
    task::JoinHandle,
};

use crate::stop::{Result, Stop};

/// Of the output, at most this much is kept: its end.
const KEPT: usize = 4 << 20;
/// Grandchildren may hold the pipes open; nobody waits for them longer.
const PIPES: Duration = Duration::from_secs(2);
/// Between SIGTERM and SIGKILL, when its time is over.
const GRACE: Duration = Duration::from_secs(5);
/// After an interruption it may clean up for so long: sandboxes are deleted by requests.
const CLEANING: Duration = Duration::from_secs(60);

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Exited(ExitStatus),
    /// It was ended by us, after the given time.
    TimedOut(Duration),
    /// By a signal to us, which was handed on.
    Interrupted,
}

impl End {
    pub fn succeeded(self) -> bool {
        matches!(self, Self::Exited(status) if status.success())
    }
}

/// For people: `exit status: 3`.
impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "{status}"),
            Self::TimedOut(limit) => write!(f, "not ended within {} s", limit.as_secs_f64()),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// It runs.
struct Running {
    child: Child,
    pid: Option<Pid>,
    /// Whether it has a process group of its own.
    grouped: bool,
    pipes: Vec<JoinHandle<()>>,
    copy: Arc<Mutex<Vec<u8>>>,
}

impl Running {
    fn start(words: &[OsString], environment: &[(&str, Option<OsString>)]) -> Result<Self> {
        let (program, arguments) = words.split_first().ok_or_else(|| Stop::harness("which program?"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        for (name, value) in environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        // A group of its own can be ended as a whole; but only the terminal's own group may read from it.
        let grouped = !std::io::stdin().is_terminal();
        if grouped {
            command.process_group(0);
        }
        let started = command.spawn();
        let mut child = started.map_err(|error| Stop::harness(format!("{}: {error}", program.to_string_lossy())))?;
        let pid = child.id().map(|pid| Pid::from_raw(pid.cast_signed()));
        let copy = Arc::new(Mutex::new(Vec::new()));
        let out = child.stdout.take().map(|pipe| tokio::spawn(pass(pipe, std::io::stdout(), copy.clone())));
        let err = child.stderr.take().map(|pipe| tokio::spawn(pass(pipe, std::io::stderr(), copy.clone())));
        Ok(Self { child, pid, grouped, pipes: [out, err].into_iter().flatten().collect(), copy })
    }

    fn tell(&self, signal: Signal) {
        match (self.pid, self.grouped) {
            (Some(pid), true) => _ = killpg(pid, signal),
            (Some(pid), false) => _ = nix::sys::signal::kill(pid, signal),
            (None, _) => {}
        }
    }

    /// A terminal has sent SIGINT to its whole group, and with it to the program: a second one would cut its cleaning up short.
    fn hand_on(&self, signal: Signal) {
        if self.grouped || signal != Signal::SIGINT {
            self.tell(signal);
        }
    }

    /// All that it wrote was read.
    async fn drained(&mut self) {
        while let Some(pipe) = self.pipes.last_mut() {
            _ = pipe.await;
            self.pipes.pop();
        }
    }

    /// It has ended, and whatever it left running: a shell may be gone while the program in it cleans up.
    async fn over(&mut self) {
        _ = self.child.wait().await;
        self.drained().await;
    }

    async fn kill(&mut self) {
        self.tell(Signal::SIGKILL);
        _ = self.child.wait().await;
    }
}

/// Runs it to its end. `environment`: set if `Some`, else taken away. The first of the signals is handed on, and the program is
/// waited for; the second kills it.
pub async fn run(
    words: &[OsString],
    environment: &[(&str, Option<OsString>)],
    limit: Option<Duration>,
    signals: &mut UnboundedReceiver<Signal>,
) -> Result<(End, String)> {
    let mut running = Running::start(words, environment)?;
    let late = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        status = running.child.wait() => End::Exited(status?),
        () = late => End::TimedOut(limit.unwrap_or_default()),
        Some(signal) = signals.recv() => {
            running.hand_on(signal);
            End::Interrupted
        }
    };
    let ends = match end {
        End::Exited(_) => true,
        End::TimedOut(_) => {
            running.tell(Signal::SIGTERM);
            tokio::time::timeout(GRACE, running.child.wait()).await.is_ok()
        }
        End::Interrupted => tokio::select! {
            over = tokio::time::timeout(CLEANING, running.over()) => over.is_ok(),
            Some(_) = signals.recv() => false,
        },
    };
    if !ends {
        running.kill().await;
    }
    _ = tokio::time::timeout(PIPES, running.drained()).await;
    let output = String::from_utf8_lossy(&running.copy.lock()).into_owned();
    Ok((end, output))
}

async fn pass(mut pipe: impl AsyncRead + Unpin, mut to: impl Write, copy: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = vec![0; 16 << 10];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        // Whoever doesn't want to see it any more has closed the pipe; it is judged all the same.
        _ = to.write_all(&chunk[..count]).and_then(|()| to.flush());
        let mut copy = copy.lock();
        copy.extend_from_slice(&chunk[..count]);
        let surplus = copy.len().saturating_sub(KEPT);
        if surplus > KEPT {
            copy.drain(..surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, limit: Option<Duration>) -> (End, String) {
        let words = ["sh", "-c", script].map(OsString::from);
        let environment = [("GIVEN", Some("x".into())), ("HOME", None)];
        run(&words, &environment, limit, &mut nothing()).await.unwrap()
    }

    /// No signal comes.
    fn nothing() -> UnboundedReceiver<Signal> {
        tokio::sync::mpsc::unbounded_channel().1
    }

    /// Runs a script and sends so many signals once it has made the file.
    async fn interrupted(script: &str, count: usize) -> (End, String) {
        let dir = tempfile::tempdir().unwrap();
        let up = dir.path().join("up");
        let words = ["sh", "-c", script].map(OsString::from);
        let environment = [("UP", Some(up.clone().into_os_string()))];
        let (sender, mut signals) = tokio::sync::mpsc::unbounded_channel();
        let send = async {
            let started = async {
                while !up.exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), started).await.expect("it starts");
            (0..count).for_each(|_| sender.send(Signal::SIGINT).unwrap());
        };
        let (ran, ()) = tokio::join!(run(&words, &environment, None, &mut signals), send);
        ran.unwrap()
    }

    #[tokio::test]
    async fn an_interrupted_program_gets_the_same_signal_and_cleans_up() {
        let cleans = "trap 'sleep 0.3; echo cleaned; exit 0' INT; trap 'echo killed; exit 1' TERM; touch $UP; while :; do sleep 0.02; done";
        let (end, output) = interrupted(cleans, 1).await;
        assert_eq!((end, output.as_str()), (End::Interrupted, "cleaned\n"));
        // The shell is gone at once; what it started cleans up.
        let nested = format!("sh -c \"{}\"; true", cleans.replace('$', "\\$"));
        assert_eq!(interrupted(&nested, 1).await.1, "cleaned\n");
    }

    #[tokio::test]
    async fn a_second_signal_ends_what_does_not() {
        let (end, _) = interrupted("trap '' INT; touch $UP; while :; do sleep 0.02; done", 2).await;
        assert_eq!(end, End::Interrupted);
    }

    #[tokio::test]
    async fn output_status_and_environment() {
        let (end, output) = sh("echo $GIVEN; echo \"${HOME-none}\" >&2; exit 3", None).await;
        assert_eq!(end.to_string(), "exit status: 3");
        assert!(output.contains("x\n") && output.contains("none\n"), "{output}");
        assert!(!end.succeeded());
    }

    #[tokio::test]
    async fn it_ends_in_time_with_its_children() {
        let (end, _) = sh("sleep 600 & wait", Some(Duration::from_millis(300))).await;
        assert_eq!(end, End::TimedOut(Duration::from_millis(300)));
    }

    #[tokio::test]
    async fn no_program_is_no_verdict() {
        let words = ["/no/such/program"].map(OsString::from);
        assert!(run(&words, &[], None, &mut nothing()).await.is_err());
    }
}
