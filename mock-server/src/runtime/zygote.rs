//! The zygote: a single-threaded process with a cleared environment that clones sandboxes and reaps them.
//!
//! It is this binary, exec'ed by the server as `daytona-agent` with a socket as standard input. It ends when the socket
//! does, and every sandbox with it (`PR_SET_PDEATHSIG`), so a killed server leaves no process behind.

use std::{
    collections::HashMap,
    fs, io,
    io::{Read, Seek},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
};

use nix::{
    mount::MsFlags,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::CloneFlags,
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{
    Isolation, descriptors,
    idmap::IdMap,
    inside,
    launch::{Filled, LaunchSpec, ZygoteConfig, ZygoteEvent, ZygoteRequest},
    nursery::spec_file,
    sys::{
        fdpass, mounts,
        process::{self, Cloned, Fork},
    },
    volumes::{self, VolumeSpec},
};

/// Name that the zygote and every agent show in a process list, and by which this binary knows its role.
pub const PROCESS_NAME: &str = "daytona-agent";

/// Becomes the zygote; returns when the server is gone.
pub fn run() -> ExitCode {
    match start() {
        Ok(zygote) => zygote.serve(),
        Err(error) => {
            eprintln!("{PROCESS_NAME}: started by daytona-mock, not by hand ({error})");
            ExitCode::from(2)
        }
    }
}

struct Zygote {
    socket: OwnedFd,
    signals: SignalFd,
    config: ZygoteConfig,
    /// Layers, and in tier root id-mapped layers and binds, by source, with their short path from the mount directory.
    mapped: HashMap<PathBuf, PathBuf>,
    userns: Option<OwnedFd>,
    children: HashMap<Pid, u64>,
    /// Those that wait for their spec, by launch.
    begun: HashMap<u64, Begun>,
}

/// A process that waits for its spec.
struct Begun {
    child: Cloned,
    /// Where it waits.
    socket: OwnedFd,
    /// How many of `mapped` it can see.
    sees: usize,
}

fn start() -> io::Result<Zygote> {
    process::close_from(3);
    let socket = process::take_stdin()?;
    let mut buffer = vec![0; 16 << 10];
    let (length, _) = fdpass::recv(socket.as_fd(), &mut buffer)?;
    let config: ZygoteConfig = serde_json::from_slice(&buffer[..length])?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    descriptors::limit(config.descriptors)?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    prctl::set_name(c"daytona-agent")?;
    // Orphans of a dead init come here instead of to the host's init, where nobody would end them.
    prctl::set_child_subreaper(true)?;
    let mut zygote = Zygote {
        socket,
        signals,
        config,
        mapped: HashMap::new(),
        userns: None,
        children: HashMap::new(),
        begun: HashMap::new(),
    };
    let error = zygote.prepare().err().map(|e| e.to_string());
    // Only now: a process that isn't dumpable can't write its own maps.
    prctl::set_dumpable(zygote.config.isolation != Isolation::Root)?;
    let failed = error.is_some();
    zygote.tell(&ZygoteEvent::Started { error }, &[])?;
    if failed { Err(io::Error::other("set-up failed")) } else { Ok(zygote) }
}

impl Zygote {
    /// Tier root: a mount namespace of our own, in it a small tmpfs as working directory where everything that a sandbox
    /// needs is attached. So sandboxes reach it by relative paths and no ancestor must be searchable by their ids.
    fn prepare(&mut self) -> io::Result<()> {
        let dir = &self.config.mount_dir;
        if self.config.isolation != Isolation::Root {
            fs::create_dir_all(dir.join("root"))?;
            std::env::set_current_dir(dir)?;
            // Links of a zygote before this one.
            match fs::remove_dir_all("l") {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => fs::create_dir("l")?,
            }
            return match std::os::unix::fs::symlink(&self.config.layers, "y") {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            };
        }
        step("mount namespace", nix::sched::unshare(CloneFlags::CLONE_NEWNS))?;
        step("private mounts", mount(None, Path::new("/"), MsFlags::MS_REC | MsFlags::MS_PRIVATE))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        step("tmpfs", nix::mount::mount(Some("tmpfs"), dir, Some("tmpfs"), flags, Some("mode=755,size=1m")))?;
        std::env::set_current_dir(dir)?;
        for name in ["root", "s", "l", "y", "d"] {
            fs::create_dir(name)?;
        }
        step("sandboxes", mount(Some(&self.config.sandboxes), Path::new("s"), MsFlags::MS_BIND))?;
        step("layers", mount(Some(&self.config.layers), Path::new("y"), MsFlags::MS_BIND))?;
        self.userns = Some(step("user namespace", id_map_namespace())?);
        Ok(())
    }

    fn serve(mut self) -> ExitCode {
        loop {
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return ExitCode::FAILURE,
            }
            let (request, signal) = (ready(&fds[0]), ready(&fds[1]));
            if signal {
                while let Ok(Some(_)) = self.signals.read_signal() {}
                self.reap();
            }
            if request && self.answer().is_err() {
                return ExitCode::SUCCESS;
            }
        }
    }

    /// One request; an error means that the server is gone.
    fn answer(&mut self) -> io::Result<()> {
        let mut buffer = [0; 256];
        let (length, fds) = fdpass::recv(self.socket.as_fd(), &mut buffer)?;
        match serde_json::from_slice(&buffer[..length])? {
            ZygoteRequest::Begin { launch } => match self.begin(launch) {
                Ok((pid, pidfd)) => self.tell(&ZygoteEvent::Begun { launch, pid, error: None }, &[pidfd]),
                Err(error) => {
                    let error = Some(error.to_string());
                    self.tell(&ZygoteEvent::Begun { launch, pid: 0, error }, &[])
                }
            },
            ZygoteRequest::Fill { launch } => {
                let result = self.fill(launch, fds).map_err(|error| error.to_string());
                self.tell(&ZygoteEvent::Filled { launch, result }, &[])
            }
        }
    }

    /// A process in namespaces of its own that waits for its spec; its number and a descriptor of it.
    fn begin(&mut self, launch: u64) -> io::Result<(i32, OwnedFd)> {
        let (ours, theirs) = fdpass::pair()?;
        match step("clone", process::clone_into(namespaces(self.config.isolation)))? {
            Fork::Child => {
                drop(ours);
                // Our copies: others wait at theirs.
                self.begun.clear();
                inside::run(self.config.isolation, theirs)
            }
            Fork::Parent(child) => {
                let (pid, pidfd) = (child.pid, child.pidfd.try_clone()?);
                self.children.insert(pid, launch);
                self.begun.insert(launch, Begun { child, socket: ours, sees: self.mapped.len() });
                Ok((pid.as_raw(), pidfd))
            }
        }
    }

    /// Gives a process its spec, or ends it.
    fn fill(&mut self, launch: u64, fds: Vec<OwnedFd>) -> io::Result<Filled> {
        let begun = self.begun.remove(&launch).ok_or_else(|| io::Error::other("it has ended"))?;
        let filled = self.give_spec(&begun, fds);
        if !matches!(filled, Ok(Filled::Done)) {
            let _ = process::signal_pidfd(begun.child.pidfd.as_fd(), Signal::SIGKILL);
        }
        filled
    }

    fn give_spec(&mut self, begun: &Begun, fds: Vec<OwnedFd>) -> io::Result<Filled> {
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or_else(|| io::Error::other("no descriptors"));
        let (spec, ctrl, lock) = (next()?, next()?, next()?);
        let mut spec = read_spec(spec)?;
        let is_root = spec.isolation == Isolation::Root;
        if is_root {
            self.map_sources(&mut spec)?
        } else {
            self.shorten_lowers(&mut spec)?
        }
        // Mounts of ours that are younger than it are not in its namespace.
        if is_root && self.mapped.len() > begun.sees {
            return Ok(Filled::TooOld);
        }
        let disks: Vec<OwnedFd> = fds.collect();
        step("disks", (0..disks.len()).try_for_each(disk_place))?;
        let volumes = if is_root { volume_trees(&spec)? } else { Vec::new() };
        step("id map", spec.idmap.write_for(begun.child.pid))?;
        let trees: Vec<OwnedFd> = disks.into_iter().chain(volumes).collect();
        inside::hand_over(&begun.socket, &[spec_file(&spec)?, ctrl, lock], &trees)?;
        Ok(Filled::Done)
    }

    /// Replaces the sources of a launch by id-mapped mounts of them, relative to the working directory.
    fn map_sources(&mut self, spec: &mut LaunchSpec) -> io::Result<()> {
        let idmap = !spec.shifted;
        for lower in foreign_lowers(spec) {
            *lower = self.mapped_layer(lower, idmap)?;
        }
        for bind in &mut spec.binds {
            bind.source = self.mapped_bind(&bind.source, bind.read_only)?;
        }
        Ok(())
    }

    /// Mount options have a page, and an image may have a hundred layers: short links lead to them.
    fn shorten_lowers(&mut self, spec: &mut LaunchSpec) -> io::Result<()> {
        for lower in foreign_lowers(spec) {
            let next = PathBuf::from(format!("l/{}", self.mapped.len()));
            if !self.mapped.contains_key(lower) {
                std::os::unix::fs::symlink(&*lower, &next)?;
                self.mapped.insert(lower.clone(), next);
            }
            *lower = self.mapped[lower].clone();
        }
        Ok(())
    }

    /// An overlay's layer. Not recursive: a mount below a layer makes overlayfs fail in a user namespace.
    fn mapped_layer(&mut self, source: &Path, idmap: bool) -> io::Result<PathBuf> {
        let userns = self.userns.as_ref().filter(|_| idmap);
        attach_once(&mut self.mapped, source, || {
            let tree = mounts::clone_tree(source, false)?;
            if let Some(userns) = userns {
                mounts::set_idmap(tree.as_fd(), userns.as_fd(), false)?;
            }
            Ok(tree)
        })
    }

    /// A bind, with what is mounted below it. Where ids can't be mapped its owners show as nobody, and it is still readable.
    fn mapped_bind(&mut self, source: &Path, read_only: bool) -> io::Result<PathBuf> {
        let userns = self.userns.as_ref();
        attach_once(&mut self.mapped, source, || {
            let tree = mounts::clone_tree(source, true)?;
            if let Some(userns) = userns {
                let _ = mounts::set_idmap(tree.as_fd(), userns.as_fd(), true);
            }
            if read_only {
                mounts::set_read_only(tree.as_fd(), true)?;
            }
            Ok(tree)
        })
    }

    fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let (pid, reason) = match status {
                WaitStatus::Exited(pid, code) => (pid, format!("exit status {code}")),
                WaitStatus::Signaled(pid, signal, _) => (pid, format!("killed by {signal}")),
                _ => break,
            };
            if let Some(launch) = self.children.remove(&pid) {
                self.begun.remove(&launch);
                let _ = self.tell(&ZygoteEvent::Exited { launch, reason }, &[]);
            }
        }
        if self.config.isolation == Isolation::Process {
            self.kill_orphans();
        }
    }

    /// Tier process: what a killed init left behind comes here, generation by generation.
    fn kill_orphans(&self) {
        let orphans = inside::reaper::children(nix::unistd::getpid());
        let orphans: Vec<_> = orphans.into_iter().filter(|pid| !self.children.contains_key(pid)).collect();
        inside::reaper::signal_all(&orphans, Signal::SIGKILL);
    }

    fn tell(&self, event: &ZygoteEvent, fds: &[OwnedFd]) -> io::Result<()> {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        fdpass::send(self.socket.as_fd(), &serde_json::to_vec(event)?, &fds)
    }
}

/// What a launch sees of volumes, as detached mounts in their order.
pub(super) fn volume_trees(spec: &LaunchSpec) -> io::Result<Vec<OwnedFd>> {
    let tree = |volume: &VolumeSpec| step(&format!("volume at {}", volume.target.display()), volumes::tree(volume));
    spec.volumes.iter().map(tree).collect()
}

/// Where a disk is mounted: a sandbox's first process can't make directories there.
fn disk_place(n: usize) -> io::Result<()> {
    match fs::create_dir(disk_at(n)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Where in the working directory a disk of a launch is.
pub(super) fn disk_at(n: usize) -> PathBuf {
    PathBuf::from(format!("d/{n}"))
}

/// Layers that are not ours: ours are named relative to the working directory, and fit as they are.
fn foreign_lowers(spec: &mut LaunchSpec) -> impl Iterator<Item = &mut PathBuf> {
    let all = spec.overlays.iter_mut().flat_map(|overlay| &mut overlay.lowers);
    all.filter(|lower| lower.is_absolute())
}

/// Attaches what `make` makes of `source` below the working directory, once.
fn attach_once(
    done: &mut HashMap<PathBuf, PathBuf>,
    source: &Path,
    make: impl FnOnce() -> io::Result<OwnedFd>,
) -> io::Result<PathBuf> {
    if let Some(path) = done.get(source) {
        return Ok(path.clone());
    }
    let target = PathBuf::from(format!("l/{}", done.len()));
    let attach = || {
        let is_dir = fs::metadata(source)?.is_dir();
        let tree = make()?;
        if is_dir {
            fs::create_dir(&target)?
        } else {
            fs::write(&target, "")?
        }
        mounts::attach(tree.as_fd(), &target)
    };
    step(&source.display().to_string(), attach())?;
    done.insert(source.to_owned(), target.clone());
    Ok(target)
}

/// Adds what was attempted to an error.
pub(super) fn step<T, E: Into<io::Error>>(what: &str, result: Result<T, E>) -> io::Result<T> {
    result.map_err(|error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{what}: {error}"))
    })
}

fn mount(source: Option<&Path>, target: &Path, flags: MsFlags) -> nix::Result<()> {
    nix::mount::mount(source, target, None::<&str>, flags, None::<&str>)
}

fn ready(fd: &PollFd) -> bool {
    fd.revents().is_some_and(|events| !events.is_empty())
}

/// All but a control group namespace: that shows the group in which it is made, so the child makes it.
fn namespaces(isolation: Isolation) -> CloneFlags {
    if isolation == Isolation::Process {
        return CloneFlags::empty();
    }
    CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
}

pub(super) fn read_spec(memfd: OwnedFd) -> io::Result<LaunchSpec> {
    let mut file = fs::File::from(memfd);
    file.rewind()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// A user namespace with the sandboxes' map, for id-mapped mounts. It lives as long as the descriptor.
fn id_map_namespace() -> io::Result<OwnedFd> {
    let (wait, go) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    match process::clone_into(CloneFlags::CLONE_NEWUSER)? {
        Fork::Child => {
            drop(go);
            let _ = nix::unistd::read(&wait, &mut [0]);
            process::exit_now(0)
        }
        Fork::Parent(child) => {
            IdMap::Shifted.write_for(child.pid)?;
            let namespace = fs::File::open(format!("/proc/{}/ns/user", child.pid))?;
            drop(go);
            waitpid(child.pid, None)?;
            Ok(namespace.into())
        }
    }
}
