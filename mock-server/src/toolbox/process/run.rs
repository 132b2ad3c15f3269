//! Runs one program to its end: input on stdin, stdout and stderr in one pipe in the order written.

use std::{
    collections::BTreeMap,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
};

use super::group::Group;
use crate::limits;

/// Most output is small, and the buffer doubles from here.
const FIRST_READ: usize = 8 << 10;

/// What to run.
pub struct Run<'a> {
    pub program: &'a Path,
    pub args: &'a [String],
    /// Complete environment.
    pub env: &'a BTreeMap<String, String>,
    pub cwd: PathBuf,
    /// Fed to the program's stdin, then EOF.
    pub stdin: &'a [u8],
    /// From now until the end of output; `None` waits for ever.
    pub timeout: Option<Duration>,
}

/// How it ended.
#[derive(Debug)]
pub struct Finished {
    /// -1 when a signal ended it.
    pub exit_code: i32,
    /// Everything written by the program and by all who inherited its output.
    pub output: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The program could not be started.
    #[error("{0}")]
    Spawn(io::Error),
    /// Pipes failed: out of descriptors, as a rule.
    #[error("{0}")]
    Pipe(#[from] io::Error),
    /// The time is over; the whole process group was killed.
    #[error("command execution timeout")]
    Timeout,
    /// More than the limit; the whole process group was killed.
    #[error("command output exceeds {} MiB", limits::inside().output >> 20)]
    TooMuchOutput,
}

/// Runs it, and waits for *all* holders of the output pipe (observed: `sleep 3 & echo x` takes three seconds), but
/// never longer than the timeout.
pub async fn run(run: Run<'_>) -> Result<Finished, RunError> {
    let timeout = run.timeout;
    let (mut group, stdin, stdout) = spawn(&run)?;
    let ended = async {
        let output = read_all(stdout).await?;
        let status = group.child().wait().await?;
        Ok(Finished { exit_code: status.code().unwrap_or(-1), output })
    };
    let finish = async {
        tokio::pin!(ended);
        // Input that nobody reads must not keep the answer back.
        tokio::select! {
            result = &mut ended => result,
            () = feed(stdin, run.stdin) => ended.await,
        }
    };
    match timeout {
        Some(limit) => tokio::time::timeout(limit, finish).await.unwrap_or(Err(RunError::Timeout)),
        None => finish.await,
    }
}

fn spawn(run: &Run<'_>) -> Result<(Group, pipe::Sender, pipe::Receiver), RunError> {
    let (stdin_read, stdin_write) = io::pipe()?;
    let (output_read, output_write) = io::pipe()?;
    let mut command = std::process::Command::new(run.program);
    command.args(run.args).env_clear().envs(run.env).current_dir(&run.cwd).process_group(0);
    command.stdin(stdin_read).stdout(output_write.try_clone()?).stderr(Stdio::from(output_write));
    let mut command = tokio::process::Command::from(command);
    let child = command.spawn().map_err(RunError::Spawn)?;
    // `command` holds our copies of the child's ends; they close here, or EOF would never come.
    drop(command);
    let group = Group::new(child);
    let stdin = pipe::Sender::from_owned_fd(stdin_write.into())?;
    Ok((group, stdin, pipe::Receiver::from_owned_fd(output_read.into())?))
}

/// Writes the input and closes. A program that doesn't read it is no error.
async fn feed(mut stdin: pipe::Sender, input: &[u8]) {
    let _ = stdin.write_all(input).await;
}

async fn read_all(mut from: pipe::Receiver) -> Result<Vec<u8>, RunError> {
    let mut output = Vec::with_capacity(FIRST_READ);
    while from.read_buf(&mut output).await? != 0 {
        if output.len() > limits::inside().output {
            return Err(RunError::TooMuchOutput);
        }
        if output.capacity() - output.len() < FIRST_READ {
            output.reserve(output.len().max(FIRST_READ));
        }
    }
    Ok(output)
}
