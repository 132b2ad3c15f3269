//! Which hierarchies this server may use.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Controller, Groups, Place, Version};

/// What the names of servers' own directories start with; the process follows.
const PREFIX: &str = "daytona-mock-";

/// Controllers that version 2 has to be told to give to children. (Standing still needs none.)
const TOLD: [Controller; 3] = [Controller::Cpu, Controller::Memory, Controller::Pids];

impl Groups {
    /// Tries every hierarchy of this machine. Blocking, some file operations.
    pub fn find(processes: usize) -> Groups {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut groups = Groups { places: Vec::new(), processes, next: Default::default() };
        for hierarchy in hierarchies(&mounts, &own) {
            let missing: Vec<Controller> =
                hierarchy.controllers.iter().copied().filter(|one| !groups.has(*one)).collect();
            if missing.is_empty() {
                continue;
            }
            groups.places.extend(best(&hierarchy, &missing));
        }
        groups
    }
}

/// The candidate that can do most. A process is in one group of a hierarchy only, so there is one.
fn best(hierarchy: &Hierarchy, wanted: &[Controller]) -> Option<Place> {
    let mut best: Option<Place> = None;
    for dir in &hierarchy.candidates {
        match own_place(dir, hierarchy.version, wanted) {
            Ok(place) if place.controllers.len() > best.as_ref().map_or(0, |best| best.controllers.len()) => {
                if let Some(worse) = best.replace(place) {
                    remove_own(&worse.dir);
                }
            }
            Ok(place) => remove_own(&place.dir),
            Err(error) => tracing::debug!(dir = %dir.display(), %error, "no control groups here"),
        }
        if best.as_ref().is_some_and(|best| best.controllers.len() == wanted.len()) {
            break;
        }
    }
    best
}

/// A mounted hierarchy and where in it we may try to make groups.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    version: Version,
    controllers: Vec<Controller>,
    candidates: Vec<PathBuf>,
}

/// Version 2 first. `mounts` is a `mountinfo`, `own` says where this process is.
fn hierarchies(mounts: &str, own: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = mounts.lines().filter_map(|line| hierarchy(line, own)).collect();
    found.sort_by_key(|hierarchy| hierarchy.version == Version::One);
    found
}

fn hierarchy(line: &str, own: &str) -> Option<Hierarchy> {
    let (place, kind) = line.split_once(" - ")?;
    let place: Vec<&str> = place.split(' ').collect();
    let (root, mount) = (*place.get(3)?, Path::new(place.get(4)?));
    let kind: Vec<&str> = kind.split(' ').collect();
    let (version, controllers) = match *kind.first()? {
        "cgroup2" => (Version::Two, Controller::ALL.to_vec()),
        "cgroup" => {
            let options: HashSet<&str> = kind.get(2)?.split(',').collect();
            (Version::One, Controller::ALL.into_iter().filter(|one| options.contains(one.name())).collect())
        }
        _ => return None,
    };
    let first = controllers.first()?;
    let of_us = |line: &&str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let named = fields.next().unwrap_or_default();
        if version == Version::Two { named.is_empty() } else { named.split(',').any(|name| name == first.name()) }
    };
    let path = own.lines().find(of_us).and_then(|line| line.splitn(3, ':').nth(2)).unwrap_or("/");
    let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path).trim_start_matches('/');
    let mut candidates = vec![mount.join(below)];
    if !below.is_empty() {
        candidates.push(mount.to_owned());
    }
    Some(Hierarchy { version, controllers, candidates })
}

/// Makes our directory below `parent`, and tries it with a group in it.
fn own_place(parent: &Path, version: Version, wanted: &[Controller]) -> io::Result<Place> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    sweep(parent);
    let controllers = match version {
        Version::One => wanted.to_vec(),
        Version::Two => hand_down(parent, wanted),
    };
    let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = parent.join(name);
    fs::create_dir(&dir)?;
    if version == Version::Two {
        hand_down(&dir, &controllers);
    }
    let place = Place { dir, version, controllers };
    match try_out(&place) {
        Ok(controllers) => Ok(Place { controllers, ..place }),
        Err(error) => {
            remove_own(&place.dir);
            Err(error)
        }
    }
}

/// Version 2: lets children of `dir` use the controllers, as far as that is possible; which they can use then.
fn hand_down(dir: &Path, wanted: &[Controller]) -> Vec<Controller> {
    let control = dir.join("cgroup.subtree_control");
    let enabled = |text: &str, one: Controller| text.split_whitespace().any(|name| name == one.name());
    for one in wanted.iter().filter(|one| TOLD.contains(one)) {
        let now = fs::read_to_string(&control).unwrap_or_default();
        let enable = || fs::write(&control, format!("+{}", one.name()));
        // Refused where it isn't ours, and where processes are in `dir` itself: ours can move.
        if !enabled(&now, *one)
            && enable().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
            && move_down(dir).is_ok()
        {
            let _ = enable();
        }
    }
    let now = fs::read_to_string(&control).unwrap_or_default();
    wanted.iter().copied().filter(|one| !TOLD.contains(one) || enabled(&now, *one)).collect()
}

/// Version 2: moves this process and its children from a group into one below it, if nobody else is in there: what
/// systemd delegated to us (`Delegate=yes`), or a container's.
fn move_down(dir: &Path) -> io::Result<()> {
    let own = std::process::id();
    let is_ours = |pid: &u32| {
        *pid == own || fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|text| parent(&text) == Some(own))
    };
    let all = fs::read_to_string(dir.join("cgroup.procs"))?;
    let all: Vec<u32> = all.lines().filter_map(|pid| pid.parse().ok()).collect();
    if !all.contains(&own) || !all.iter().all(is_ours) {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    let below = dir.join(format!("{PREFIX}{own}-server"));
    match fs::create_dir(&below) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    all.iter().try_for_each(|pid| fs::write(below.join("cgroup.procs"), pid.to_string()))
}

/// `PPid:` of a process's `status`.
fn parent(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// What works in a group of ours.
fn try_out(place: &Place) -> io::Result<Vec<Controller>> {
    let dir = place.dir.join("probe");
    fs::create_dir(&dir)?;
    let works = |one: &Controller| {
        let file = match (one, place.version) {
            (Controller::Cpu, Version::One) => "cpu.cfs_quota_us",
            (Controller::Cpu, Version::Two) => "cpu.max",
            (Controller::Memory, Version::One) => "memory.limit_in_bytes",
            (Controller::Memory, Version::Two) => "memory.max",
            (Controller::Pids, _) => "pids.max",
            (Controller::Freezer, Version::One) => "freezer.state",
            (Controller::Freezer, Version::Two) => "cgroup.freeze",
        };
        let writable = |file: &str| fs::OpenOptions::new().write(true).open(dir.join(file)).is_ok();
        writable(file) && writable("cgroup.procs")
    };
    let working = place.controllers.iter().copied().filter(works).collect();
    fs::remove_dir(&dir)?;
    Ok(working)
}

/// Removes what servers left that were killed.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove_own(&entry.path());
        }
    }
}

/// Removes a server's directory and the groups in it, if nothing runs there.
pub(super) fn remove_own(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read_as_the_kernel_tells_them() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 25 0:28 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
33 25 0:29 / /sys/fs/cgroup/unified rw shared:1 - cgroup2 cgroup2 rw
1 1 8:1 / / rw - ext4 /dev/vda rw";
        let own = "4:memory:/docker/x/y\n2:cpu,cpuacct:/a\n0::/user.slice/s\n";
        let found = hierarchies(mounts, own);
        let paths = |texts: &[&str]| texts.iter().map(PathBuf::from).collect::<Vec<_>>();
        let expected = [
            (
                Version::Two,
                Controller::ALL.to_vec(),
                paths(&["/sys/fs/cgroup/unified/user.slice/s", "/sys/fs/cgroup/unified"]),
            ),
            (Version::One, vec![Controller::Cpu], paths(&["/sys/fs/cgroup/cpu/a", "/sys/fs/cgroup/cpu"])),
            (Version::One, vec![Controller::Memory], paths(&["/sys/fs/cgroup/memory/y", "/sys/fs/cgroup/memory"])),
        ];
        let expected =
            expected.map(|(version, controllers, candidates)| Hierarchy { version, controllers, candidates });
        assert_eq!(found, expected);
        assert_eq!(parent("Name:\tx\nPPid:\t42\nTracerPid:\t0\n"), Some(42));
    }
}
