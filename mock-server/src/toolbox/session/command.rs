//! One command of a session: its files, its log, and how far it is.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use tokio::{
    io::AsyncWriteExt,
    net::unix::pipe,
    sync::{Mutex, watch},
    task::spawn_blocking,
};

use super::markers::STDERR;
use crate::limits;

/// How far a command is. Everything before `logged` is in the log file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub logged: u64,
    /// `None` while it runs; with it, the log is complete.
    pub exit_code: Option<i32>,
    /// The session was deleted; nothing more will happen.
    pub cancelled: bool,
}

impl Progress {
    pub fn is_over(self) -> bool {
        self.cancelled || self.exit_code.is_some()
    }
}

pub struct Command {
    pub id: String,
    pub text: String,
    /// Holds `cmd.sh`, `output.log`, `exit_code`, and the named pipes while it runs.
    pub dir: PathBuf,
    /// Whether data sent to its input shows up in its log.
    pub echo_input: bool,
    /// The writing end of an asynchronous command's standard input, until it is over.
    input: Mutex<Option<pipe::Sender>>,
    log: Mutex<()>,
    progress: watch::Sender<Progress>,
}

/// The agent's ends of a prepared command's pipes.
pub struct Pipes {
    pub stdout: pipe::Receiver,
    pub stderr: pipe::Receiver,
    /// Kept until the shell has opened the other ends: a pipe that nobody writes to looks like one at its end.
    pub hold: [pipe::Sender; 2],
}

impl Command {
    /// Makes its files. `interactive` gives it an input; else it reads nothing.
    pub async fn prepare(
        dir: PathBuf,
        id: String,
        text: String,
        interactive: bool,
        echo_input: bool,
    ) -> io::Result<(Command, Pipes)> {
        let (at, script) = (dir.clone(), text.clone());
        spawn_blocking(move || make_files(&at, &script, interactive)).await??;
        let input = match interactive {
            // For reading too: so it opens before the shell does, and never ends early.
            true => Some(pipe::OpenOptions::new().read_write(true).open_sender(dir.join("input.pipe"))?),
            false => None,
        };
        let pipes = Pipes::open(&dir)?;
        let progress = watch::Sender::new(Progress::default());
        let command = Command { id, text, dir, echo_input, input: Mutex::new(input), log: Mutex::default(), progress };
        Ok((command, pipes))
    }

    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Told of every change.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Waits until it ended or its session was deleted.
    pub async fn over(&self) -> Progress {
        let mut progress = self.watch();
        // The sender lives as long as `self`.
        let over = progress.wait_for(|progress| progress.is_over()).await;
        over.map_or_else(|_| Progress::default(), |progress| *progress)
    }

    /// Appends whole marked lines, in one piece.
    pub async fn append(&self, lines: Vec<u8>) -> io::Result<()> {
        let _one_at_a_time = self.log.lock().await;
        let (logged, most) = (self.progress().logged, limits::inside().session_log as u64);
        if lines.is_empty() || logged >= most {
            return Ok(());
        }
        let (lines, length) = match logged + lines.len() as u64 {
            length if length <= most => (lines, length),
            _ => (log_is_full(most), most),
        };
        let path = self.log_path();
        spawn_blocking(move || File::options().append(true).open(path)?.write_all(&lines)).await??;
        self.progress.send_modify(|progress| progress.logged = length);
        Ok(())
    }

    /// At most `limit` bytes of the log from `from` on.
    pub async fn read_log(&self, from: u64, limit: u64) -> io::Result<Vec<u8>> {
        let path = self.log_path();
        let read = move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(limit).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        spawn_blocking(read).await?
    }

    /// Sends data to its input; an error when it has none (any more).
    pub async fn send_input(&self, data: &[u8]) -> io::Result<()> {
        let mut input = self.input.lock().await;
        let Some(sender) = input.as_mut() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        tokio::select! {
            sent = sender.write_all(data) => sent,
            // A program that doesn't read must not keep the client waiting for ever.
            _ = self.over() => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// It ended, and its log is complete.
    pub async fn finish(&self, exit_code: i32) {
        self.progress.send_modify(|progress| progress.exit_code = Some(exit_code));
        self.input.lock().await.take();
        let dir = self.dir.clone();
        // Nobody waits for this: the files are for people who look at them.
        spawn_blocking(move || clean_up(&dir, exit_code));
    }

    /// Its session was deleted.
    pub fn cancel(&self) {
        self.progress.send_modify(|progress| progress.cancelled = true);
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("output.log")
    }
}

impl Pipes {
    fn open(dir: &Path) -> io::Result<Pipes> {
        let receiver = |name| pipe::OpenOptions::new().open_receiver(dir.join(name));
        let sender = |name| pipe::OpenOptions::new().open_sender(dir.join(name));
        let (stdout, stderr) = (receiver("stdout.pipe")?, receiver("stderr.pipe")?);
        Ok(Pipes { stdout, stderr, hold: [sender("stdout.pipe")?, sender("stderr.pipe")?] })
    }
}

/// The last line of a log that reached its limit.
fn log_is_full(most: u64) -> Vec<u8> {
    [&STDERR[..], format!("log limit of {} MiB reached\n", most >> 20).as_bytes()].concat()
}

fn make_files(dir: &Path, script: &str, interactive: bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::write(dir.join("cmd.sh"), script)?;
    File::create(dir.join("output.log"))?;
    let input = interactive.then_some("input.pipe");
    for name in ["stdout.pipe", "stderr.pipe"].into_iter().chain(input) {
        mkfifo(&dir.join(name), Mode::S_IRUSR | Mode::S_IWUSR)?;
    }
    Ok(())
}

fn clean_up(dir: &Path, exit_code: i32) {
    for name in ["stdout.pipe", "stderr.pipe", "input.pipe"] {
        let _ = fs::remove_file(dir.join(name));
    }
    let _ = fs::write(dir.join("exit_code"), format!("{exit_code}\n"));
}
