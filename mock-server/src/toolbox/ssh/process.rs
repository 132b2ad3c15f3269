//! A program with pipes: its output and its errors apart, as `ssh host command` shows them.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use nix::sys::signal::{Signal, killpg};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    process::{ChildStdin, Command},
    sync::{Mutex, mpsc},
    task::JoinSet,
};

use super::{
    Output, refuse,
    wire::{self, Frame, Opened, PIECE, Process, Reader},
};
use crate::{
    runtime::sys::stream::Stream,
    toolbox::{Ctx, process::group::Group},
};

/// What it is for who asks with its exit code, when a signal ended it (observed).
pub const BY_SIGNAL: i32 = 1;

/// Runs it until it has ended and all holders of its output have, or the gateway is gone: then it is hung up on.
pub async fn run(ctx: &Ctx, control: Stream, output: Stream, process: &Process) -> io::Result<()> {
    let (read, mut control) = tokio::io::split(control);
    let mut child = match command(ctx, process).spawn() {
        Ok(child) => child,
        Err(error) => return refuse(&mut control, &error).await,
    };
    let mut orders = Reader::new(read);
    let output = Arc::new(Mutex::new(tokio::io::split(output).1));
    let (input, queue) = mpsc::unbounded_channel();
    let (taken, mut receipts) = mpsc::unbounded_channel();
    let (mut pumps, mut feeding) = (JoinSet::new(), JoinSet::new());
    feeding.spawn(feed(child.stdin.take(), queue, taken));
    if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
        pumps.spawn(pump(out, output.clone(), Frame::Output));
        pumps.spawn(pump(err, output, Frame::ErrorOutput));
    }
    let mut group = HangUp(Group::new(child));
    wire::write(&mut control, &Frame::Opened(Opened::Ready)).await?;
    let mut exited = false;
    while !exited || !pumps.is_empty() {
        tokio::select! {
            order = orders.next() => match order? {
                Some(Frame::Input(bytes)) => drop(input.send(bytes)),
                Some(Frame::Signal(name)) => group.signal(&name),
                Some(Frame::Resize(_)) => {}
                _ => return Ok(()),
            },
            status = group.0.child().wait(), if !exited => {
                exited = true;
                wire::write(&mut control, &Frame::Exit(status?.code().unwrap_or(BY_SIGNAL))).await?;
            }
            Some(count) = receipts.recv() => wire::write(&mut control, &Frame::Taken(count)).await?,
            Some(_) = pumps.join_next() => {}
        }
    }
    Ok(())
}

fn command(ctx: &Ctx, process: &Process) -> Command {
    let mut command = std::process::Command::new("/bin/sh");
    if let Some(text) = &process.command {
        command.arg("-c").arg(OsStr::from_bytes(text));
    }
    command.env_clear().envs(environment(ctx, process)).current_dir(directory(ctx)).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.into()
}

/// The toolbox's, with what the client added.
pub fn environment(ctx: &Ctx, process: &Process) -> BTreeMap<String, String> {
    let mut env = ctx.env();
    env.extend(process.env.iter().cloned());
    env
}

/// The work directory, or `/` where there is none: a shell is how one mends that.
pub fn directory(ctx: &Ctx) -> PathBuf {
    let directory = ctx.resolve("");
    if directory.is_dir() { directory } else { "/".into() }
}

/// Hangs up on the group when it is dropped before the program has ended.
struct HangUp(Group);

impl HangUp {
    fn signal(&self, name: &str) {
        if let (Some(group), Ok(signal)) = (self.0.id(), format!("SIG{name}").parse::<Signal>()) {
            // It may be gone, or belong to root.
            let _ = killpg(group, signal);
        }
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        self.signal("HUP");
        // A stopped one would not hear it.
        self.signal("CONT");
        self.0.release();
    }
}

/// Hands input on, in order, and says how much was taken. What nobody reads is taken too.
async fn feed(
    mut stdin: Option<ChildStdin>,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    taken: mpsc::UnboundedSender<u32>,
) {
    while let Some(bytes) = queue.recv().await {
        if bytes.is_empty() {
            stdin = None;
        }
        if let Some(open) = &mut stdin
            && open.write_all(&bytes).await.is_err()
        {
            stdin = None;
        }
        if taken.send(bytes.len() as u32).is_err() {
            return;
        }
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, to: Arc<Mutex<Output>>, frame: fn(Bytes) -> Frame) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        match (&mut from).take(PIECE as u64).read_buf(&mut buffer).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
        if write(&to, &frame(buffer.split().freeze())).await.is_err() {
            return;
        }
    }
}

async fn write(to: &Mutex<impl AsyncWrite + Unpin>, frame: &Frame) -> io::Result<()> {
    wire::write(&mut *to.lock().await, frame).await
}
