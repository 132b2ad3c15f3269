//! A program with a terminal: a login shell, or a command.

use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt, path::PathBuf, sync::Arc};

use bytes::Bytes;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use portable_pty::{Child, PtySize};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Output,
    process::{BY_SIGNAL, directory, environment},
    refuse,
    wire::{self, Frame, Opened, Process, Reader, Size},
};
use crate::{
    runtime::sys::stream::Stream,
    toolbox::{
        Ctx,
        process::shell::{find_program, user_shell},
        pty::terminal::{Running, Start, Terminal, shell_args},
    },
};

/// What is still shown after the program's end; one that it left behind could go on for ever.
const MAX_REST: usize = 4 << 20;

/// Runs it until it has ended, or the gateway is gone: then the kernel hangs up on it, with its terminal.
pub async fn run(ctx: &Ctx, control: Stream, output: Stream, process: &Process) -> io::Result<()> {
    let (read, mut control) = tokio::io::split(control);
    let (terminal, running) = match start(ctx, process) {
        Ok(started) => started,
        Err(error) => return refuse(&mut control, &error).await,
    };
    let ended = CancellationToken::new();
    let (input, queue) = mpsc::unbounded_channel();
    let (taken, mut receipts) = mpsc::unbounded_channel();
    // Dropped after the last use of the terminal here: with the last of these it is closed.
    let (mut showing, mut feeding) = (JoinSet::new(), JoinSet::new());
    showing.spawn(show(terminal.clone(), tokio::io::split(output).1, ended.clone()));
    feeding.spawn(feed(terminal.clone(), queue, taken));
    let (mut program, mut children) = running.into_child();
    let mut orders = Reader::new(read);
    wire::write(&mut control, &Frame::Opened(Opened::Ready)).await?;
    let mut exited = false;
    while !exited || !showing.is_empty() {
        tokio::select! {
            order = orders.next() => match order {
                Ok(Some(Frame::Input(bytes))) => drop(input.send(bytes)),
                Ok(Some(Frame::Resize(size))) => drop(terminal.resize(pty_size(size))),
                Ok(Some(Frame::Signal(name))) => signal(&terminal, &*program, &name),
                _ => break,
            },
            _ = children.recv(), if !exited => {
                if let Some(code) = exit_code(&mut *program) {
                    exited = true;
                    ended.cancel();
                    wire::write(&mut control, &Frame::Exit(code)).await?;
                }
            }
            Some(count) = receipts.recv() => wire::write(&mut control, &Frame::Taken(count)).await?,
            Some(_) = showing.join_next() => {}
        }
    }
    if !exited {
        tokio::spawn(async move {
            // It may take its time over the hang-up.
            while exit_code(&mut *program).is_none() {
                children.recv().await;
            }
        });
    }
    Ok(())
}

fn start(ctx: &Ctx, process: &Process) -> io::Result<(Arc<Terminal>, Running)> {
    let mut env = environment(ctx, process);
    let spec = process.terminal.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
    if !spec.name.is_empty() {
        env.insert("TERM".into(), spec.name.clone());
    }
    let (program, args): (PathBuf, Vec<&OsStr>) = match &process.command {
        Some(command) => ("/bin/sh".into(), vec![OsStr::new("-c"), OsStr::from_bytes(command)]),
        None => {
            let shell = find_program(&user_shell(&env), &env).ok_or(io::ErrorKind::NotFound)?;
            (shell, shell_args(true).iter().map(OsStr::new).collect())
        }
    };
    let cwd = directory(ctx);
    let size = pty_size(spec.size);
    Terminal::start(&Start { program: &program, args: &args, cwd: &cwd, env: &env, size, modes: &spec.modes })
}

fn pty_size(size: Size) -> PtySize {
    let Size { cols, rows, width, height } = size;
    PtySize { cols, rows, pixel_width: width, pixel_height: height }
}

/// `None` while it runs.
fn exit_code(program: &mut dyn Child) -> Option<i32> {
    match program.try_wait() {
        Ok(None) => None,
        Ok(Some(status)) if status.signal().is_none() => Some(i32::try_from(status.exit_code()).unwrap_or(BY_SIGNAL)),
        Ok(Some(_)) | Err(_) => Some(BY_SIGNAL),
    }
}

/// To what is in the foreground, as a key would be.
fn signal(terminal: &Terminal, program: &dyn Child, name: &str) {
    let own = || program.process_id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    if let (Some(group), Ok(signal)) = (terminal.foreground().or_else(own), format!("SIG{name}").parse::<Signal>()) {
        // It may be gone, or belong to root.
        let _ = killpg(group, signal);
    }
}

/// Types, in order, and says how much was taken. There is no end of input at a terminal.
async fn feed(terminal: Arc<Terminal>, mut queue: mpsc::UnboundedReceiver<Bytes>, taken: mpsc::UnboundedSender<u32>) {
    while let Some(bytes) = queue.recv().await {
        // Nobody may be there to read it.
        let _ = terminal.write(&bytes).await;
        if taken.send(bytes.len() as u32).is_err() {
            return;
        }
    }
}

/// Passes on what the terminal shows until nobody is left to write to it, or the program has ended and all is shown.
async fn show(terminal: Arc<Terminal>, mut to: Output, ended: CancellationToken) -> io::Result<()> {
    while let Some(shown) = ended.run_until_cancelled(terminal.read()).await {
        match shown {
            Ok(chunk) => wire::write(&mut to, &Frame::Output(chunk)).await?,
            Err(_) => return Ok(()),
        }
    }
    let mut rest = 0;
    while rest < MAX_REST {
        let Ok(chunk) = terminal.read_now() else { return Ok(()) };
        rest += chunk.len();
        wire::write(&mut to, &Frame::Output(chunk)).await?;
    }
    Ok(())
}
