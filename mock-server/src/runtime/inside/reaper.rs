//! Orphans and endings.
//!
//! The agent is PID 1, as that can't be killed from inside, so orphans become its children, beside those that the
//! toolbox starts and waits for. The kernel keeps children by *thread*: orphans go to the first one. So the first thread
//! starts nothing and only reaps its own (`__WNOTHREAD`), and everything else, the toolbox included, runs in other
//! threads, whose children are never touched here.
//!
//! For toolbox code that leaves one rule: a child must be started on the runtime's own thread, or be waited for by the
//! blocking thread that started it. (The children of a thread that ends go to the first one, too.)

use std::{fs, thread};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpid},
};

use super::super::Isolation;

/// What a dead zygote sends: the end of a PID namespace, or in tier process the order to end the tree.
pub fn death_signal(isolation: Isolation) -> Signal {
    if isolation == Isolation::Process { Signal::SIGINT } else { Signal::SIGKILL }
}

/// The first thread's life: reaps its children whenever it is unparked.
pub fn reap_forever() -> ! {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WNOTHREAD | WaitPidFlag::__WALL;
    loop {
        while matches!(waitpid(None, Some(flags)), Ok(status) if status != WaitStatus::StillAlive) {}
        thread::park();
    }
}

/// Asks everything else in the sandbox to end. SIGHUP too: interactive shells ignore SIGTERM.
pub fn ask_all_to_end(isolation: Isolation) {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCONT] {
        if isolation == Isolation::Process {
            signal_all(&descendants(), signal);
        } else {
            let _ = kill(Pid::from_raw(-1), signal);
        }
    }
}

/// True when nothing is left in the sandbox that could be asked to end; what runs under `sudo` can't. Who is dead needs no
/// asking, reaped or not: nothing would tell when the thread that waits for it has reaped it.
pub fn alone(isolation: Isolation) -> bool {
    let processes = match isolation {
        Isolation::Process => descendants(),
        _ if kill(Pid::from_raw(-1), None).is_err() => return true,
        _ => everybody(),
    };
    !processes.into_iter().any(|pid| pid != getpid() && kill(pid, None).is_ok() && !is_dead(pid))
}

/// Every process that this one sees.
fn everybody() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.map(Pid::from_raw).collect()
}

fn is_dead(pid: Pid) -> bool {
    // `pid (name) state …`, and the name may have anything in it.
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.iter().rposition(|&byte| byte == b')').map_or(&stat[..0], |at| &stat[at + 1..]);
    matches!(after_name.get(1), None | Some(b'Z' | b'X'))
}

/// Tier process: what the end of a PID namespace does elsewhere. Kills every descendant, again and again while they
/// fork; they come to us as they lose their parents.
pub fn kill_tree() {
    loop {
        signal_all(&descendants(), Signal::SIGKILL);
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// Every process below this one, children before grandchildren.
pub fn descendants() -> Vec<Pid> {
    let mut found = children(getpid());
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children(pid));
        next += 1;
    }
    found
}

/// The children of every thread of a process.
pub fn children(pid: Pid) -> Vec<Pid> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids = lists.flat_map(|list| list.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>());
    pids.filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// Signals each; one that is gone already is fine.
pub fn signal_all(processes: &[Pid], signal: Signal) {
    for &pid in processes {
        let _ = kill(pid, signal);
    }
}
