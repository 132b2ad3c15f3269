//! The Python process of a context: started, spoken to, ended.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    process::Stdio,
};

use nix::sys::{
    signal::{Signal, kill},
    socket::{MsgFlags, recv, send},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::packets::{MAX_PACKET, Order};
use crate::{
    runtime::sys::{fdpass, process::pidfd_open},
    toolbox::process::{group::Group, shell::find_program},
};

/// Tried in this order (observed).
const PROGRAMS: [&str; 2] = ["python3", "python"];

/// Takes [`SOURCE`] from descriptor 0 and runs it. Modules of the working directory must not stand in for those that it
/// needs, so that directory leaves `sys.path` for a moment.
const LOADER: &str = "import sys;path=sys.path;sys.path=[p for p in path if p];import socket;\
                      channel=socket.socket(fileno=0);exec(channel.recv(1<<16))";

const SOURCE: &str = include_str!("worker.py");

/// Packets read of a worker that has ended; processes that it left behind could go on for ever.
const MAX_REST: usize = 256;

/// A running worker. Dropped, its process group is killed.
pub struct Worker {
    pub channel: Channel,
    group: Group,
    /// Readable when the process has ended; it is reaped later, so its number stays its own.
    ended: AsyncFd<OwnedFd>,
    executions: u32,
}

impl Worker {
    /// Not on a blocking thread: the agent reaps by thread.
    pub fn start(cwd: &Path, env: &BTreeMap<String, String>) -> io::Result<Worker> {
        let program = PROGRAMS.iter().find_map(|name| find_program(name, env));
        let program =
            program.ok_or_else(|| io::Error::other("exec: \"python3\": executable file not found in $PATH"))?;
        let (ours, theirs) = fdpass::pair()?;
        let mut command = tokio::process::Command::new(program);
        command.args(["-c", LOADER]).env_clear().envs(env).current_dir(cwd).process_group(0);
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let group = Group::new(command.spawn()?);
        // Ours of the other end closes with it.
        drop(command);
        let pid = group.id().ok_or(io::ErrorKind::NotFound)?;
        let ended = fdpass::watch(pidfd_open(pid)?)?;
        let channel = Channel(fdpass::watch(ours)?);
        // A fresh socket takes this at once.
        send(channel.0.as_raw_fd(), SOURCE.as_bytes(), FLAGS)?;
        Ok(Worker { channel, group, ended, executions: 0 })
    }

    /// Tells the packets of one execution from those that processes of earlier ones still send.
    pub fn next_number(&mut self) -> u32 {
        self.executions = self.executions.wrapping_add(1);
        self.executions
    }

    /// Gives it code to run.
    pub async fn submit(&self, order: &Order<'_>) -> io::Result<()> {
        for packet in order.packets() {
            self.channel.send(&packet).await?;
        }
        Ok(())
    }

    /// Returns once the process has ended. Cancel safe.
    pub async fn ended(&self) {
        // An error means that nothing can be watched any more.
        let _ = self.ended.readable().await;
    }

    pub fn has_ended(&self) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        self.ended.poll_read_ready(&mut context).is_ready()
    }

    /// Raises KeyboardInterrupt in it.
    pub fn interrupt(&self) {
        if let Some(pid) = self.group.id() {
            let _ = kill(pid, Signal::SIGINT);
        }
    }

    /// Kills what is left of its group; what was said before.
    pub async fn finish(mut self) -> Vec<Vec<u8>> {
        self.group.kill();
        let _ = self.group.child().wait().await;
        let rest = std::iter::from_fn(|| self.channel.try_recv().ok().filter(|packet| !packet.is_empty()));
        rest.take(MAX_REST).collect()
    }
}

/// Our end of a worker's socket. The other end blocks.
pub struct Channel(AsyncFd<OwnedFd>);

const FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

impl Channel {
    async fn send(&self, packet: &[u8]) -> io::Result<()> {
        let sent = self.0.async_io(Interest::WRITABLE, |fd| Ok(send(fd.as_raw_fd(), packet, FLAGS)?));
        sent.await.map(drop)
    }

    /// The next packet; empty at the end. Cancel safe.
    pub async fn recv(&self) -> io::Result<Vec<u8>> {
        self.0.async_io(Interest::READABLE, receive).await
    }

    /// A packet that is there already.
    pub fn try_recv(&self) -> io::Result<Vec<u8>> {
        receive(self.0.get_ref())
    }
}

/// Small packets are the rule: they are looked at before memory is taken.
fn receive(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut start = [0; 4096];
    let flags = FLAGS.union(MsgFlags::MSG_PEEK).union(MsgFlags::MSG_TRUNC);
    let length = recv(fd.as_raw_fd(), &mut start, flags)?;
    let mut packet = vec![0; length.min(MAX_PACKET)];
    let taken = recv(fd.as_raw_fd(), &mut packet, FLAGS)?;
    packet.truncate(taken);
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_takes_the_whole_source() {
        assert!(SOURCE.len() < 1 << 16);
    }
}
