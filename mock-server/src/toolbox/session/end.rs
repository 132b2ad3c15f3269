//! The end of a session's processes.

use std::{
    collections::HashSet,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Duration,
};

use futures_util::future::join_all;
use nix::{sys::signal::Signal, unistd::Pid};
use tokio::task::spawn_blocking;

use super::shell::Shell;
use crate::{
    runtime::sys::process::{pidfd_open, signal_pidfd},
    toolbox::process::table::{self, Process},
};

/// Between SIGTERM and SIGKILL (observed).
const GRACE: Duration = Duration::from_secs(5);

/// Asks the shell's process group and all descendants to end, and makes them after [`GRACE`].
pub async fn terminate(shell: &Shell) {
    let members = signal_family(shell, Signal::SIGTERM).await;
    let all_gone = join_all(members.into_iter().map(table::ended));
    if tokio::time::timeout(GRACE, all_gone).await.is_err() {
        let members = signal_family(shell, Signal::SIGKILL).await;
        // Only what the kernel itself holds up outlives this.
        let _ = tokio::time::timeout(GRACE, join_all(members.into_iter().map(table::ended))).await;
    }
}

async fn signal_family(shell: &Shell, signal: Signal) -> Vec<OwnedFd> {
    let (leader, ended) = (shell.pid.as_raw(), shell.has_ended());
    let find = move || {
        // The leader was reaped: a process with its number is somebody else now, and so may be the group.
        if ended && Path::new("/proc").join(leader.to_string()).exists() {
            return Vec::new();
        }
        let members = family(leader, &processes());
        members.into_iter().filter_map(|pid| pidfd_open(Pid::from_raw(pid)).ok()).collect()
    };
    let members: Vec<OwnedFd> = spawn_blocking(find).await.unwrap_or_default();
    for member in &members {
        // It may belong to root (sudo): then it stays, as in the original.
        let _ = signal_pidfd(member.as_fd(), signal);
    }
    members
}

fn processes() -> Vec<Process> {
    let mut all = Vec::new();
    table::each(|process, _| all.push(process));
    all
}

/// The members of the group and everything that descends from it.
fn family(leader: i32, processes: &[Process]) -> HashSet<i32> {
    let mut members: HashSet<i32> = processes.iter().filter(|p| p.group == leader).map(|p| p.pid).collect();
    members.extend(processes.iter().filter(|p| p.pid == leader).map(|p| p.pid));
    loop {
        let known = members.len();
        let children = processes.iter().filter(|p| members.contains(&p.parent)).map(|p| p.pid).collect::<Vec<_>>();
        members.extend(children);
        if members.len() == known {
            return members;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_the_group_and_all_descendants() {
        let lines = [
            "1 (init) S 0 1 1",
            "10 (ba sh) S 1 10 1",
            "11 (a) b) S 10 10 1",
            "12 (setsid) S 11 12 12",
            "13 (x) S 12 12 12",
            "14 (orphan) S 1 10 1",
            "20 (other) S 1 20 1",
        ];
        let processes: Vec<Process> = lines.iter().filter_map(|line| table::parse(line)).collect();
        assert_eq!(family(10, &processes), HashSet::from([10, 11, 12, 13, 14]));
    }
}
