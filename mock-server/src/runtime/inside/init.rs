//! PID 1 of a sandbox: reaps orphans, passes SIGTERM on, ends when the agent does.
//!
//! In tier process it is no PID 1 but a child subreaper, and has to find and kill what a PID namespace would have ended.

use std::fs;

use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpid},
};

use super::super::Isolation;

/// What a dead zygote sends: the end of a PID namespace, or in tier process the order to kill what is left.
pub fn death_signal(isolation: Isolation) -> Signal {
    if isolation == Isolation::Process { Signal::SIGINT } else { Signal::SIGKILL }
}

fn handled() -> SigSet {
    SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])
}

/// Before the agent is forked: signals wait until [`run`] takes them, and orphans have somewhere to go.
pub fn prepare(isolation: Isolation) {
    handled().thread_block().expect("the mask is valid");
    if isolation == Isolation::Process {
        let _ = prctl::set_child_subreaper(true);
    }
}

/// In the agent, after the fork.
pub fn unblock_signals() {
    handled().thread_unblock().expect("the mask is valid");
}

/// Reaps until the agent is gone, and after SIGTERM until everything is; then says how to exit.
pub fn run(isolation: Isolation, agent: Pid) -> i32 {
    let tree = isolation == Isolation::Process;
    let mut state = State { tree, agent, agent_exit: None, terminating: false };
    loop {
        match handled().wait() {
            Ok(Signal::SIGTERM) => state.terminate(),
            Ok(Signal::SIGINT) if tree => state.kill_tree(),
            _ => {}
        }
        if let Some(code) = state.reap() {
            state.kill_tree();
            return code;
        }
    }
}

struct State {
    tree: bool,
    agent: Pid,
    agent_exit: Option<i32>,
    terminating: bool,
}

impl State {
    fn terminate(&mut self) {
        self.terminating = true;
        if self.tree {
            signal_all(&descendants(), Signal::SIGTERM);
        } else {
            let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
        }
    }

    /// `Some(code)` when it is time to go.
    fn reap(&mut self) -> Option<i32> {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.agent => self.agent_exit = Some(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.agent => {
                    self.agent_exit = Some(128 + signal as i32);
                }
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                // Nobody is left.
                Err(_) => return Some(self.agent_exit.unwrap_or(0)),
            }
        }
        self.agent_exit.filter(|_| !self.terminating)
    }

    /// Tier process: kills every descendant, again and again while they fork; they come to us as they lose their parents.
    fn kill_tree(&mut self) {
        if !self.tree {
            return;
        }
        loop {
            signal_all(&descendants(), Signal::SIGKILL);
            match waitpid(None, None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

pub fn signal_all(processes: &[Pid], signal: Signal) {
    for &pid in processes {
        // One that is gone already is fine.
        let _ = kill(pid, signal);
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

pub fn children(pid: Pid) -> Vec<Pid> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let numbers: Vec<i32> = lists.flat_map(|list| parse_children(&list)).collect();
    numbers.into_iter().map(Pid::from_raw).collect()
}

fn parse_children(list: &str) -> Vec<i32> {
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
