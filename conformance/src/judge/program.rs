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
    process::Command,
};
use tokio_util::sync::CancellationToken;

use crate::stop::{Result, Stop};

/// Of the output, at most this much is kept: its end.
const KEPT: usize = 4 << 20;
/// Grandchildren may hold the pipes open; nobody waits for them longer.
const PIPES: Duration = Duration::from_secs(2);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Exited(ExitStatus),
    /// It was ended by us, after the given time.
    TimedOut(Duration),
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

/// Runs it to its end. `environment`: set if `Some`, else taken away.
pub async fn run(
    words: &[OsString],
    environment: &[(&str, Option<OsString>)],
    limit: Option<Duration>,
    cancel: &CancellationToken,
) -> Result<(End, String)> {
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
    let late = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        status = child.wait() => Some(End::Exited(status?)),
        () = late => None,
        () = cancel.cancelled() => Some(End::Interrupted),
    };
    let end = ended.unwrap_or(End::TimedOut(limit.unwrap_or_default()));
    if !matches!(end, End::Exited(_)) {
        let tell = |signal| match (pid, grouped) {
            (Some(pid), true) => _ = killpg(pid, signal),
            (Some(pid), false) => _ = nix::sys::signal::kill(pid, signal),
            (None, _) => {}
        };
        tell(Signal::SIGTERM);
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            tell(Signal::SIGKILL);
            _ = child.wait().await;
        }
    }
    let pipes = async {
        for pipe in [out, err].into_iter().flatten() {
            _ = pipe.await;
        }
    };
    _ = tokio::time::timeout(PIPES, pipes).await;
    let output = String::from_utf8_lossy(&copy.lock()).into_owned();
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
        run(&words, &environment, limit, &CancellationToken::new()).await.unwrap()
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
        assert!(run(&words, &[], None, &CancellationToken::new()).await.is_err());
    }
}
