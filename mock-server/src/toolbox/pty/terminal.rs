//! One running terminal: the master side of a pseudo-terminal, and the shell on the other side.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::OsStr,
    io,
    os::fd::{OwnedFd, RawFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use filedescriptor::FileDescriptor;
use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::{AccessFlags, Pid, access},
};
use parking_lot::Mutex;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::{
    clients::{Clients, Exit},
    modes,
};
use crate::runtime::sys::fdpass::watch;

/// The largest frame of output (observed).
const CHUNK: usize = 32 << 10;

/// What the kernel gives of a terminal's output at a time.
const PAGE: usize = 4 << 10;

/// How often others may run before what was read is sent.
const PATIENCE: usize = 2;

/// What is still read after the shell's end; a process that it left behind could go on for ever.
const MAX_REST: usize = 4 << 20;

/// What a shell, or another program, is started with.
pub struct Start<'a> {
    pub program: &'a Path,
    pub args: &'a [&'a OsStr],
    pub cwd: &'a Path,
    pub env: &'a BTreeMap<String, String>,
    pub size: PtySize,
    /// As [`modes::apply`] takes them.
    pub modes: &'a [(u8, u32)],
}

/// How to start an interactive shell, as one of a login or not.
pub fn shell_args(login: bool) -> &'static [&'static str] {
    if login { &["-i", "-l"] } else { &[] }
}

/// A size without pixels.
pub fn size(cols: u16, rows: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

/// The master side. Dropped, the kernel hangs up on whoever is left on the other side.
pub struct Terminal {
    master: Mutex<Box<dyn MasterPty + Send>>,
    /// A duplicate of the master's descriptor that doesn't block.
    io: AsyncFd<OwnedFd>,
    /// Input goes in whole frames, in order of arrival.
    writing: tokio::sync::Mutex<()>,
    /// Nobody has the other side open.
    abandoned: AtomicBool,
}

/// The shell, to be waited for with [`Running::run`].
pub struct Running {
    terminal: Arc<Terminal>,
    child: Box<dyn Child + Send + Sync>,
    children: tokio::signal::unix::Signal,
}

impl Terminal {
    /// Starts a program in a new terminal. Not on a blocking thread: its children would lose their parent with it.
    pub fn start(start: &Start<'_>) -> io::Result<(Arc<Terminal>, Running)> {
        check_directory(start.cwd)?;
        // Before the shell, so that its end can't be missed.
        let children = signal(SignalKind::child())?;
        let pair = native_pty_system().openpty(start.size).map_err(other)?;
        let raw: RawFd = pair.master.as_raw_fd().ok_or(io::ErrorKind::Unsupported)?;
        let mut fd = FileDescriptor::dup(&raw).map_err(other)?;
        fd.set_non_blocking(true).map_err(other)?;
        let io = watch(OwnedFd::from(fd.as_file().map_err(other)?))?;
        modes::apply(io.get_ref(), start.modes)?;
        let child = pair.slave.spawn_command(command(start)).map_err(other)?;
        let terminal = Terminal {
            master: Mutex::new(pair.master),
            io,
            writing: Default::default(),
            abandoned: AtomicBool::new(false),
        };
        let terminal = Arc::new(terminal);
        Ok((terminal.clone(), Running { terminal, child, children }))
    }

    pub fn resize(&self, size: PtySize) -> io::Result<()> {
        self.master.lock().resize(size).map_err(other)
    }

    /// Types `bytes`, as soon as the terminal takes them.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let _turn = self.writing.lock().await;
        while !bytes.is_empty() {
            let mut ready = self.io.writable().await?;
            match ready.try_io(|io| nix::unistd::write(io.get_ref(), bytes).map_err(io::Error::from)) {
                Ok(Ok(written)) => bytes = &bytes[written..],
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }

    /// Whether the shell let go of it, at its end or before.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// The process group in the foreground.
    pub fn foreground(&self) -> Option<Pid> {
        self.master.lock().process_group_leader().filter(|group| *group > 1).map(Pid::from_raw)
    }

    /// What is there at once, up to [`CHUNK`].
    pub fn read_now(&self) -> io::Result<Bytes> {
        read_chunk(self.io.get_ref())
    }

    /// The next output; an error when there is nobody left to write any.
    pub async fn read(&self) -> io::Result<Bytes> {
        loop {
            let mut ready = self.io.readable().await?;
            if let Ok(chunk) = ready.try_io(|io| read_chunk(io.get_ref())) {
                return chunk;
            }
        }
    }
}

impl Running {
    /// The program alone, and what tells that a child has ended.
    pub fn into_child(self) -> (Box<dyn Child + Send + Sync>, tokio::signal::unix::Signal) {
        (self.child, self.children)
    }

    /// Shows the output to `clients` until the shell has ended; kills it when it is `deleted`.
    pub async fn run(mut self, clients: &Clients, deleted: &CancellationToken) -> Exit {
        let (mut open, mut killed) = (true, false);
        let code = loop {
            tokio::select! {
                () = deleted.cancelled(), if !killed => {
                    self.kill();
                    killed = true;
                }
                _ = self.children.recv() => match self.child.try_wait() {
                    Ok(None) => {}
                    Ok(Some(status)) if status.signal().is_none() => {
                        break i32::try_from(status.exit_code()).unwrap_or(-1);
                    }
                    Ok(Some(_)) | Err(_) => break -1,
                },
                chunk = self.terminal.read(), if open => match chunk {
                    Ok(chunk) => clients.broadcast(chunk, deleted).await,
                    Err(_) => {
                        open = false;
                        self.terminal.abandoned.store(true, Ordering::Relaxed);
                    }
                },
            }
        };
        self.drain(clients, deleted).await;
        Exit::new(if deleted.is_cancelled() { Exit::DELETED } else { code })
    }

    /// What the shell left in the terminal.
    async fn drain(&self, clients: &Clients, deleted: &CancellationToken) {
        let mut read = 0;
        while read < MAX_REST {
            let Ok(chunk) = self.terminal.read_now() else { return };
            read += chunk.len();
            clients.broadcast(chunk, deleted).await;
        }
    }

    /// The shell's process group, and the one in the foreground. The shell was not waited for, so its number is its own.
    fn kill(&self) {
        let shell = self.child.process_id().and_then(|id| i32::try_from(id).ok());
        for group in [self.terminal.foreground(), shell.map(Pid::from_raw)].into_iter().flatten() {
            // It may be gone, or belong to root (sudo): the hang-up ends that.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

thread_local! {
    /// One for all terminals, of which there may be hundreds: nothing is held for those that are silent.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// All that is there, up to [`CHUNK`]. `WouldBlock` when nothing is, another error at the end.
///
/// The kernel keeps a page ready and refills it when that was read. So where there was a page there is likely more in a
/// moment, and a few large frames cost everybody less than many small ones.
fn read_chunk(fd: &OwnedFd) -> io::Result<Bytes> {
    SCRATCH.with_borrow_mut(|scratch| {
        let (mut filled, mut patience) = (0, PATIENCE);
        while filled + PAGE <= CHUNK {
            match nix::unistd::read(fd, &mut scratch[filled..]) {
                Ok(length) if length > 0 => filled += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if filled >= PAGE / 2 && patience > 0 => {
                    patience -= 1;
                    std::thread::yield_now();
                }
                // What was read comes first; the next call meets the end again.
                _ if filled > 0 => break,
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Bytes::copy_from_slice(&scratch[..filled]))
    })
}

/// Otherwise portable-pty would start the shell at home and not say so.
fn check_directory(cwd: &Path) -> io::Result<()> {
    if !cwd.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(cwd, AccessFlags::X_OK)?)
}

fn command(start: &Start<'_>) -> CommandBuilder {
    let mut command = CommandBuilder::new(start.program);
    command.args(start.args);
    command.cwd(start.cwd);
    command.env_clear();
    for (name, value) in start.env {
        command.env(name, value);
    }
    command
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}
