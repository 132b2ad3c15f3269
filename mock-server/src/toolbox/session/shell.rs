//! The long-lived shell of a session. Commands are sourced in it, one after the other, so that `cd`, `export` and
//! functions persist.
//!
//! The shell reads its orders from a pipe on stdin and reports each exit status on its own stdout; the commands have
//! theirs redirected, so only the shell itself speaks there. A command is over when its status is known *and* all
//! holders of its output have closed it (observed: a background child delays completion).

use std::{collections::BTreeMap, io, os::unix::ffi::OsStrExt, path::Path, process::Stdio, sync::Arc};

use nix::unistd::Pid;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    process::{ChildStdin, ChildStdout},
    sync::{mpsc, watch},
};

use super::{
    command::{Command, Pipes},
    markers::{Marking, STDERR, STDOUT},
};
use crate::toolbox::process::group::Group;

/// Commands that may wait for their turn.
const MAX_QUEUE: usize = 1000;

/// Reports are shorter.
const LONGEST_REPORT: usize = 4 << 10;

/// What a pipe holds.
const PIPE: usize = 64 << 10;

/// A command in the queue of its session.
pub struct Order {
    pub command: Arc<Command>,
    pub pipes: Pipes,
    /// Whether it reads from `input.pipe`.
    pub interactive: bool,
}

/// The session's side of its shell.
#[derive(Clone)]
pub struct Shell {
    /// Of the shell, and of its process group.
    pub pid: Pid,
    orders: mpsc::Sender<Order>,
    ended: watch::Receiver<bool>,
}

/// The task's side.
struct Running {
    group: Group,
    stdin: ChildStdin,
    reports: Reports,
}

impl Shell {
    /// Starts a shell that neither is a login shell nor reads start-up files (observed).
    pub fn start(program: &Path, cwd: &Path, env: &BTreeMap<String, String>) -> io::Result<Shell> {
        let mut command = tokio::process::Command::new(program);
        command.env_clear().envs(env).current_dir(cwd).process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let group = Group::new(child);
        let (Some(stdin), Some(stdout), Some(pid)) = (stdin, stdout, group.id()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let (orders, queue) = mpsc::channel(MAX_QUEUE);
        let (ending, ended) = watch::channel(false);
        let running = Running { group, stdin, reports: Reports { from: stdout, buffer: Vec::new() } };
        tokio::spawn(running.serve(queue, ending));
        Ok(Shell { pid, orders, ended })
    }

    /// Whether its process is gone, by `exit` in a command or by a signal.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Queues a command; false when the shell has ended or too many wait.
    pub fn submit(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }
}

impl Running {
    /// Runs orders until the shell is gone, or nobody is left who could give one: then it is killed.
    async fn serve(mut self, mut queue: mpsc::Receiver<Order>, ending: watch::Sender<bool>) {
        loop {
            tokio::select! {
                order = queue.recv() => {
                    let Some(order) = order else { return };
                    if !self.run(order).await {
                        break;
                    }
                }
                line = self.reports.line() => match line {
                    Ok(_) => {}
                    Err(_) => break,
                },
            }
        }
        queue.close();
        let _ = self.group.child().wait().await;
        let _ = ending.send(true);
        while let Some(order) = queue.recv().await {
            order.command.cancel();
        }
    }

    /// False when the shell ended with this command.
    async fn run(&mut self, order: Order) -> bool {
        let Order { command, pipes, interactive } = order;
        let Pipes { stdout, stderr, hold } = pipes;
        let output = tokio::spawn(collect(command.clone(), stdout, stderr));
        let status = self.order(&command, interactive).await;
        drop(hold);
        let code = match status {
            Ok(code) => code,
            Err(_) => self.group.child().wait().await.ok().and_then(|status| status.code()).unwrap_or(-1),
        };
        tokio::spawn(async move {
            // A failure of the task is the end of its output as well.
            let _ = output.await;
            command.finish(code).await;
        });
        status.is_ok()
    }

    /// The exit status; an error when the shell is gone.
    async fn order(&mut self, command: &Command, interactive: bool) -> io::Result<i32> {
        self.stdin.write_all(&line(command, interactive)).await?;
        loop {
            let report = self.reports.line().await?;
            if let Some(code) = report.strip_prefix(&command.id) {
                return Ok(code.trim().parse().unwrap_or(-1));
            }
        }
    }
}

/// What the shell says: our reports, and whatever traps print.
struct Reports {
    from: ChildStdout,
    buffer: Vec<u8>,
}

impl Reports {
    /// The next line. Cancelled, it loses nothing.
    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer) {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.buffer.len() > LONGEST_REPORT {
                self.buffer.clear();
            }
            self.buffer.reserve(256);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// What the shell is told. `command` keeps a function called `printf` out, and the report has a line of its own, whatever a trap
/// printed before; the group is no subshell.
fn line(command: &Command, interactive: bool) -> Vec<u8> {
    let file = |name: &str| quote(command.dir.join(name).as_os_str().as_bytes());
    let input = if interactive { file("input.pipe") } else { b"/dev/null".to_vec() };
    let files =
        [b"{ . ", &file("cmd.sh")[..], b"; } <", &input, b" >", &file("stdout.pipe"), b" 2>", &file("stderr.pipe")];
    [&files.concat()[..], b"; command printf '\\n%s %s\\n' ", command.id.as_bytes(), b" \"$?\"\n"].concat()
}

/// In single quotes, for every shell.
fn quote(text: &[u8]) -> Vec<u8> {
    let mut quoted = b"'".to_vec();
    for &byte in text {
        match byte {
            b'\'' => quoted.extend_from_slice(br"'\''"),
            other => quoted.push(other),
        }
    }
    quoted.push(b'\'');
    quoted
}

/// Logs both streams until the last holder has closed them.
async fn collect(command: Arc<Command>, stdout: pipe::Receiver, stderr: pipe::Receiver) {
    tokio::join!(log(&command, stdout, Marking::new(STDOUT)), log(&command, stderr, Marking::new(STDERR)));
}

async fn log(command: &Command, from: pipe::Receiver, mut marking: Marking) {
    loop {
        // An error is an end, too.
        let bytes = read(&from).await.unwrap_or_default();
        let mut lines = Vec::with_capacity(bytes.len() + 64);
        marking.feed(&bytes, &mut lines);
        if bytes.is_empty() {
            marking.finish(&mut lines);
        }
        // A full disk must not stop the program that writes.
        let _ = command.append(lines).await;
        if bytes.is_empty() {
            return;
        }
    }
}

/// What is there, once something is; nothing at the end. No buffer is held while a program is silent.
async fn read(from: &pipe::Receiver) -> io::Result<Vec<u8>> {
    loop {
        from.readable().await?;
        let mut bytes = Vec::with_capacity(PIPE);
        match from.try_read_buf(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result.map(|_| bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_quoted() {
        assert_eq!(quote(b"/a b/it's"), br"'/a b/it'\''s'");
    }
}
