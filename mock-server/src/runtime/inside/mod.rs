//! What happens inside a fresh sandbox: set-up in a single thread, then the agent.

mod agent;
mod keeper;
mod mounts;
pub(super) mod reaper;
mod trust;
pub(crate) mod users;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal},
    },
    unistd::Pid,
};

use self::keeper::Memory;
use super::{
    Isolation, bounds,
    ctrl::Event,
    launch::LaunchSpec,
    net,
    sys::{fdpass, process},
    zygote::{read_spec, step},
};
use crate::toolbox::AgentConfig;

/// What the zygote hands over at last.
struct Order {
    spec: LaunchSpec,
    ctrl: OwnedFd,
    /// Held while we live.
    lock: OwnedFd,
    /// Disks, then the trees of volumes that only the zygote could make.
    trees: Vec<OwnedFd>,
}

/// Runs in the cloned child and never returns. At `socket` comes what it is to be, once its id map is written.
pub fn run(isolation: Isolation, socket: OwnedFd) -> ! {
    let begun = begin(isolation);
    // Without an order it isn't wanted any more.
    let Ok(Order { spec, ctrl, lock, trees }) = receive(&socket) else { process::exit_now(0) };
    drop(socket);
    let build = spec.build;
    match begun.and_then(|tun| set_up(spec, tun, trees)) {
        Ok((config, network, memory)) => {
            tell(&ctrl, &Event::Ready { no_outbound: network.missing }, &network.descriptors);
            drop(network.descriptors);
            agent::run(isolation, build, config, memory, ctrl, lock)
        }
        Err(error) => {
            tell(&ctrl, &Event::Failed { message: error.to_string() }, &[]);
            process::exit_now(70)
        }
    }
}

/// What the server needs to connect the sandbox to the world.
#[derive(Default)]
struct Network {
    /// TUN (or what stands for it) and NAT listener; empty without a way out.
    descriptors: Vec<OwnedFd>,
    /// Why there is none.
    missing: Option<String>,
}

/// From the zygote to a process that waits in [`run`]: spec, control socket and lock; then disks and volumes, one by one.
pub fn hand_over(socket: &OwnedFd, order: &[OwnedFd; 3], trees: &[OwnedFd]) -> io::Result<()> {
    fdpass::send(socket.as_fd(), &[0], &order.each_ref().map(AsFd::as_fd))?;
    trees.iter().try_for_each(|tree| fdpass::send(socket.as_fd(), &[0], &[tree.as_fd()]))
}

fn receive(socket: &OwnedFd) -> io::Result<Order> {
    let next = || fdpass::recv(socket.as_fd(), &mut [0]).map(|(_, fds)| fds);
    let [spec, ctrl, lock]: [OwnedFd; 3] = next()?.try_into().map_err(|_| io::ErrorKind::UnexpectedEof)?;
    let spec = read_spec(spec)?;
    let count = if spec.isolation == Isolation::Root { spec.disks + spec.volumes.len() } else { 0 };
    let mut trees = Vec::new();
    for _ in 0..count {
        trees.push(next()?.pop().ok_or(io::ErrorKind::UnexpectedEof)?);
    }
    Ok(Order { spec, ctrl, lock, trees })
}

/// What needs no spec. The TUN device, where the tier has one.
fn begin(isolation: Isolation) -> io::Result<Option<io::Result<OwnedFd>>> {
    prctl::set_pdeathsig(reaper::death_signal(isolation))?;
    // SIGTERM waits until the agent hears it: without a handler the first process of a namespace never gets one.
    SigSet::from_iter([Signal::SIGTERM]).thread_set_mask()?;
    process::default_signals();
    nix::unistd::setsid()?;
    // Now or never: in tier root this is still the host's root, whose device it is.
    Ok((isolation != Isolation::Process).then(net::inside::open_tun))
}

fn set_up(
    spec: LaunchSpec,
    tun: Option<io::Result<OwnedFd>>,
    trees: Vec<OwnedFd>,
) -> io::Result<(AgentConfig, Network, Option<Memory>)> {
    step("id map", spec.idmap.write_own())?;
    if spec.idmap.written_by_parent() {
        step("becoming root inside", users::become_root())?;
    }
    if spec.isolation != Isolation::Process {
        step("control group namespace", nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP))?;
    }
    if !spec.cpus.is_empty() {
        step("affinity", bounds::run_on(Pid::from_raw(0), &spec.cpus))?;
    }
    let mut network = Network::default();
    let mut config = spec.agent.clone();
    let mut meminfo = None;
    if spec.isolation == Isolation::Process {
        prctl::set_child_subreaper(true)?;
    } else {
        meminfo = mounts::set_up(&spec, trees)?;
        let trusted = trust::install(spec.authority.as_deref());
        let user = step("user", users::find_in_group(&spec.user))?;
        network = step("network", connect(tun))?;
        complete(&mut config, &user);
        // As root, as container engines do it (runc: `prepareRootfs`). If it can't be, it is missing.
        let _ = std::fs::create_dir_all(&config.work_dir);
        step("user", users::become_user(&user, spec.isolation))?;
        for (name, value) in trusted {
            config.env.entry(name.to_owned()).or_insert(value);
        }
    }
    // Both are undone by changing ids. Nobody with the same id may read our memory or descriptors.
    prctl::set_dumpable(false)?;
    prctl::set_pdeathsig(reaper::death_signal(spec.isolation))?;
    // A missing work directory must not keep a sandbox from starting: the way to make it leads through the toolbox.
    if std::env::set_current_dir(&config.work_dir).is_err() {
        std::env::set_current_dir("/")?;
        config.work_dir = "/".into();
    }
    let memory = spec.memory.map(|limit| Memory { limit, file: meminfo, guard: spec.guard });
    Ok((config, network, memory))
}

/// Interfaces, address, route; after the mounts, as some settings need the sandbox's own `/proc`.
fn connect(tun: Option<io::Result<OwnedFd>>) -> io::Result<Network> {
    let Some(tun) = tun else { return Ok(Network::default()) };
    let wire = tun.or_else(|no_tun| {
        let both = |no_veth| io::Error::other(format!("/dev/net/tun: {no_tun}; veth: {no_veth}"));
        net::inside::open_veth().map_err(both)
    });
    let missing = match wire.and_then(|wire| Ok((net::inside::configure(&wire)?, wire))) {
        Ok((listener, wire)) => return Ok(Network { descriptors: vec![wire, listener], missing: None }),
        Err(error) => error.to_string(),
    };
    net::inside::configure_loopback()?;
    Ok(Network { descriptors: Vec::new(), missing: Some(missing) })
}

/// What only the sandbox's own passwd file tells. Home is what the environment says where it does: the daemon's `$HOME`
/// (toolbox.md 2), which `DAYTONA_USER_HOME_AS_WORKDIR` makes the work directory, too.
fn complete(config: &mut AgentConfig, user: &users::Account) {
    let given = config.env.get("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    config.home = given.unwrap_or_else(|| user.home.clone());
    if config.work_dir.as_os_str().is_empty() {
        config.work_dir = config.home.clone();
    }
    let home = user.home.to_string_lossy().into_owned();
    for (name, value) in [("HOME", &home), ("USER", &user.name), ("LOGNAME", &user.name), ("SHELL", &user.shell)] {
        config.env.entry(name.to_owned()).or_insert_with(|| value.clone());
    }
}

fn tell(ctrl: &OwnedFd, event: &Event, fds: &[OwnedFd]) {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let message = serde_json::to_vec(event).expect("an event is plain data");
    // Without a server there is nobody to tell.
    let _ = fdpass::send(ctrl.as_fd(), &message, &fds);
}
