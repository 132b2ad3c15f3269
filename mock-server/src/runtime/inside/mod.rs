//! What happens inside a fresh sandbox: set-up, then PID 1 forks the agent and reaps.
//!
//! Two processes, so that orphans go to PID 1 while the agent's own children stay its own: nothing that the toolbox
//! starts can be reaped under its hands, and no zombie stays.

mod agent;
pub(super) mod init;
mod mounts;
pub(super) mod users;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::prctl;

use super::{
    Isolation,
    ctrl::Event,
    launch::LaunchSpec,
    sys::{
        fdpass,
        process::{self, Fork},
    },
    zygote::step,
};

/// Runs in the cloned child and never returns.
pub fn run(spec: LaunchSpec, ctrl: OwnedFd, wait: OwnedFd, lock: OwnedFd) -> ! {
    let code = match set_up(&spec, wait) {
        Ok(user) => start_agent(spec, user, ctrl, lock),
        Err(error) => {
            tell(&ctrl, &Event::Failed { message: error.to_string() }, &[]);
            70
        }
    };
    process::exit_now(code)
}

fn set_up(spec: &LaunchSpec, wait: OwnedFd) -> io::Result<users::Account> {
    wait_for_map(spec, &wait)?;
    drop(wait);
    if spec.isolation == Isolation::Process {
        return Ok(users::Account::current());
    }
    mounts::set_up(spec)?;
    let user = step("user", users::find(&spec.user))?;
    network(&user)?;
    Ok(user)
}

fn wait_for_map(spec: &LaunchSpec, wait: &OwnedFd) -> io::Result<()> {
    // Before anything slow: when the zygote dies from here on, so does this.
    prctl::set_pdeathsig(init::death_signal(spec.isolation))?;
    nix::unistd::setsid()?;
    step("id map", spec.idmap.write_own())?;
    if spec.idmap.written_by_parent() {
        if nix::unistd::read(wait, &mut [0])? != 1 {
            return Err(io::Error::other("the zygote wrote no id map"));
        }
        step("becoming root inside", users::become_root())?;
        prctl::set_pdeathsig(init::death_signal(spec.isolation))?;
    }
    prctl::set_dumpable(false)?;
    Ok(())
}

fn network(user: &users::Account) -> io::Result<()> {
    step("lo", super::sys::netif::up("lo"))?;
    // Low ports and ping for everyone, as in a container. Refused by some kernels: then they just need sudo.
    let _ = std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", format!("{0} {0}", user.gid));
    Ok(())
}

fn start_agent(spec: LaunchSpec, user: users::Account, ctrl: OwnedFd, lock: OwnedFd) -> i32 {
    let isolation = spec.isolation;
    init::prepare(isolation);
    match process::fork() {
        Ok(Fork::Child) => {
            let code = agent::run(spec, &user, ctrl);
            drop(lock);
            code
        }
        Ok(Fork::Parent(agent)) => {
            drop((spec, user, ctrl));
            init::run(isolation, agent)
        }
        Err(error) => {
            tell(&ctrl, &Event::Failed { message: format!("fork: {error}") }, &[]);
            70
        }
    }
}

fn tell(ctrl: &OwnedFd, event: &Event, fds: &[OwnedFd]) {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let message = serde_json::to_vec(event).expect("an event is plain data");
    // Without a server there is nobody to tell.
    let _ = fdpass::send(ctrl.as_fd(), &message, &fds);
}
