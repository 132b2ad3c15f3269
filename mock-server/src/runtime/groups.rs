//! Control groups: what bounds a sandbox's processor time, memory and processes, and what makes it stand still.
//!
//! Version 2 where its controllers are there and this server may use them (as root, or in a subtree that systemd
//! delegated), else the hierarchies of version 1. Which of them work is found out by making a group, never by reading
//! modes. Each server has a directory of its own in each hierarchy, named after its process, and in there one, with a number, per
//! sandbox.

mod find;
mod freezer;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::Resources;

/// What a hierarchy can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Controller {
    Cpu,
    Memory,
    Pids,
    Freezer,
}

impl Controller {
    const ALL: [Controller; 4] = [Controller::Cpu, Controller::Memory, Controller::Pids, Controller::Freezer];

    fn name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Freezer => "freezer",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Our own directory in a hierarchy, or a sandbox's.
#[derive(Clone, Debug)]
struct Place {
    dir: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

/// Where this server makes groups. Removed with the value.
#[derive(Debug, Default)]
pub struct Groups {
    places: Vec<Place>,
    /// Processes of one sandbox.
    processes: usize,
    next: AtomicU64,
}

/// A sandbox's groups.
#[derive(Clone, Debug, Default)]
pub struct Group {
    places: Vec<Place>,
    processes: usize,
}

impl Groups {
    pub fn has(&self, controller: Controller) -> bool {
        self.places.iter().any(|place| place.controllers.contains(&controller))
    }

    /// For people: `cgroup v1`, …
    pub fn describe(&self, controller: Controller) -> Option<&'static str> {
        let place = self.places.iter().find(|place| place.controllers.contains(&controller))?;
        Some(match place.version {
            Version::One => "cgroup v1",
            Version::Two => "cgroup v2",
        })
    }

    /// New groups with a process in them. They bound nothing until they are [`Group::update`]d. Blocking, and not for a short
    /// time: the kernel lets every processor come by before it moves a process (10 ms and more).
    pub fn enter(&self, pid: nix::unistd::Pid) -> io::Result<Group> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let places = self.places.iter().map(|place| Place { dir: place.dir.join(&name), ..place.clone() });
        let group = Group { places: places.collect(), processes: self.processes };
        let entered = group.places.iter().try_for_each(|place| {
            fs::create_dir(&place.dir)?;
            fs::write(place.dir.join("cgroup.procs"), pid.to_string())
        });
        entered.map(|()| group.clone()).inspect_err(|_| group.remove())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for place in &self.places {
            find::remove_own(&place.dir);
        }
    }
}

impl Group {
    /// Puts resources in force. Blocking.
    pub fn update(&self, resources: Resources) -> io::Result<()> {
        self.places.iter().try_for_each(|place| apply(&place.dir, &self.settings(place, resources)))
    }

    /// Removes them, once nothing is in them.
    pub fn remove(&self) {
        for place in &self.places {
            // What is still busy goes with the server's own directory.
            let _ = fs::remove_dir(&place.dir);
        }
    }

    fn settings(&self, place: &Place, resources: Resources) -> Vec<(String, String)> {
        let all = place.controllers.iter().flat_map(|controller| match (controller, place.version) {
            (Controller::Cpu, Version::One) => vec![("cpu.cfs_quota_us", quota(resources.cpu).to_string())],
            (Controller::Cpu, Version::Two) => vec![("cpu.max", format!("{} {PERIOD}", quota(resources.cpu)))],
            (Controller::Memory, Version::One) => vec![("memory.limit_in_bytes", resources.bytes().to_string())],
            (Controller::Memory, Version::Two) => {
                vec![("memory.max", resources.bytes().to_string()), ("memory.swap.max", "0".into())]
            }
            (Controller::Pids, _) => vec![("pids.max", self.processes.to_string())],
            (Controller::Freezer, _) => Vec::new(),
        });
        all.map(|(file, value)| (file.to_owned(), value)).collect()
    }
}

/// Microseconds that [`quota`] is about; the kernel's own default.
const PERIOD: u64 = 100_000;

fn quota(cpus: u32) -> u64 {
    u64::from(cpus.max(1)) * PERIOD
}

fn apply(dir: &Path, settings: &[(String, String)]) -> io::Result<()> {
    for (file, value) in settings {
        let path = dir.join(file);
        match fs::write(&path, value) {
            // Swap isn't accounted everywhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.contains("swap") => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            Ok(()) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_become_settings_of_either_version() {
        let place = |version| Place { dir: "/x".into(), version, controllers: Controller::ALL.to_vec() };
        let group = |version| Group { places: vec![place(version)], processes: 7 };
        let resources = Resources { cpu: 2, memory: 1, disk: 3 };
        let text = |version| {
            let settings = group(version).settings(&place(version), resources);
            settings.iter().map(|(file, value)| format!("{file}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(Version::One), "cpu.cfs_quota_us=200000 memory.limit_in_bytes=1073741824 pids.max=7");
        let two = "cpu.max=200000 100000 memory.max=1073741824 memory.swap.max=0 pids.max=7";
        assert_eq!(text(Version::Two), two);
    }
}
