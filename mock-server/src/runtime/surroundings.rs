//! What the machine around us is, and what a tier offers on it.

use std::{collections::BTreeMap, env, fs, io, path::Path};

use super::{
    Capability, Isolation,
    disks::Disks,
    groups::{Controller, Groups},
};

/// Words in PID 1's control group that say that this is a container.
const CONTAINER_GROUPS: &[&str] = &["docker", "kubepods", "containerd", "libpod", "lxc", "garden"];

/// What makes this machine expendable, so that sandboxes need no isolation of their own from it: nobody's home is here.
pub fn boundary() -> Option<&'static str> {
    let is_set = |name| env::var(name).is_ok_and(|value| !value.is_empty() && value != "false" && value != "0");
    if Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || is_set("container")
        || is_set("KUBERNETES_SERVICE_HOST")
        || fs::read_to_string("/proc/1/cgroup").is_ok_and(|groups| names_container(&groups))
    {
        return Some("this container");
    }
    is_set("CI").then_some("this CI machine")
}

fn names_container(groups: &str) -> bool {
    CONTAINER_GROUPS.iter().any(|word| groups.contains(word))
}

/// What sandboxes of a tier have; `outbound` is added by who tried it.
pub fn capabilities(isolation: Isolation) -> BTreeMap<String, Capability> {
    let isolated = match isolation {
        Isolation::Root | Isolation::Subuid => [ROOTFS, PIDNS, NETNS, MANY_IDS, REAL_SUDO],
        Isolation::Single => [ROOTFS, PIDNS, NETNS, ONE_ID, SHIM],
        Isolation::Process => NOT_ISOLATED,
    };
    let features = FEATURES.map(|(name, detail)| match isolation {
        Isolation::Process => (name, false, NEEDS_ROOTFS),
        _ => (name, true, detail),
    });
    let others = OTHERS.map(|(name, detail, without)| match isolation {
        Isolation::Process => (name, false, without),
        _ => (name, true, detail),
    });
    let capability = |available, detail: &str| Capability { available, detail: detail.to_owned() };
    let rows = isolated.into_iter().chain(features).chain(others);
    rows.map(|(name, available, detail)| (name.to_owned(), capability(available, detail))).collect()
}

/// Name, whether it is there, how or why not.
type Row = (&'static str, bool, &'static str);

const ROOTFS: Row = ("rootfs", true, "overlay over shared layers, in a mount namespace of its own");
const PIDNS: Row = ("pidns", true, "a PID namespace of its own");
const NETNS: Row = ("netns", true, "a network namespace of its own: every port is free");
const MANY_IDS: Row = ("uids", true, "65,536 ids, mapped away from the host's");
const ONE_ID: Row = ("uids", false, "only daytona's: other owners can't be told apart, and chown has no effect");
const REAL_SUDO: Row = ("sudo", true, "real, without a password");
const SHIM: Row = ("sudo", true, "a stand-in: root in a nested user namespace");

const NOT_ISOLATED: [Row; 5] = [
    ("rootfs", false, "the host's files; only the API's /home/daytona is the sandbox's own directory"),
    ("pidns", false, "the host's processes"),
    ("netns", false, "the host's network: two sandboxes can't listen on one port"),
    ("uids", false, "the user who runs the server"),
    ("sudo", false, "the host's, if there is one"),
];

/// What stands on a root file system of a sandbox's own; each refuses in tier process what asks for it.
const FEATURES: [(&str, &str); 6] = [
    ("archive", "files of stopped sandboxes, packed and brought back"),
    ("fork", "running sandboxes, copied while they stand still"),
    ("images", "snapshots of images, builds of Dockerfiles, pushed images"),
    ("save", "a world to one file, and back"),
    ("snapshots", "of running and stopped sandboxes"),
    ("volumes", "writable in several sandboxes at once"),
];

/// What tier process doesn't do without saying so to who asks.
const OTHERS: [(&str, &str, &str); 3] = [
    ("linkedNames", "linked sandboxes reach each other by name", "linked sandboxes have no names for each other"),
    (
        "networkPolicies",
        "block all, networks and domains, changed at run time",
        "kept and told, but nothing enforces them: block all blocks nothing",
    ),
    (
        "vnc",
        "the desktop over VNC and noVNC, with its programs in the base",
        "its port would be everybody's on the host",
    ),
];

const NEEDS_ROOTFS: &str = "refused: it needs a root file system of the sandbox's own";

/// Whether values of secrets are swapped in on the way out: by whom packets pass.
pub fn secrets(isolation: Isolation, outbound: &Capability) -> Capability {
    let (available, detail) = match isolation {
        Isolation::Process => (false, "placeholders only: requests leave by the host's network, unseen"),
        _ if !outbound.available => (false, "placeholders only: there is no way out"),
        _ => (true, "values go out in headers of HTTP and HTTPS requests, to the hosts of each secret"),
    };
    Capability { available, detail: detail.to_owned() }
}

/// Whether a sandbox's disk is as large as it asked for.
pub fn disk(disks: &io::Result<Disks>) -> Capability {
    match disks {
        Ok(_) => Capability { available: true, detail: DISK.to_owned() },
        Err(error) => Capability {
            available: false,
            detail: format!("reported as asked for, not enforced: df shows the disk of the data directory ({error})"),
        },
    }
}

const DISK: &str = "a file system of its own for what it writes, as large as it asked for, by a loop device";

/// How resources are bounded, and what makes a sandbox stand still.
pub fn bounds(groups: &Groups) -> BTreeMap<String, Capability> {
    let row = |name: &str, controller, what: &str, without: (bool, &str)| {
        let with = groups.describe(controller).map(|how| (true, format!("{how}: {what}")));
        let (available, detail) = with.unwrap_or_else(|| (without.0, without.1.to_owned()));
        (name.to_owned(), Capability { available, detail })
    };
    [
        row("cpu", Controller::Cpu, "a quota, and as many processors to be seen", AFFINITY),
        row("memory", Controller::Memory, "a limit", GUARD),
        row("processes", Controller::Pids, "a limit", (false, "as many as the machine allows")),
        row("pause", Controller::Freezer, "all processes are frozen", STOPPED),
    ]
    .into()
}

const AFFINITY: (bool, &str) = (true, "affinity: as many processors as asked for, but a program may choose others");
const GUARD: (bool, &str) = (true, "a guard: once a second the largest process is killed if all are too large");
const STOPPED: (bool, &str) = (true, "SIGSTOP to all processes but the agent");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_groups_are_known() {
        assert!(names_container("0::/docker/abc"));
        assert!(names_container("12:cpu:/kubepods/besteffort/pod1"));
        assert!(!names_container("0::/init.scope"));
    }

    #[test]
    fn every_tier_says_the_same_names() {
        let names = |tier| capabilities(tier).into_keys().collect::<Vec<_>>();
        let all = names(Isolation::Root);
        assert_eq!(all.len(), 5 + FEATURES.len() + OTHERS.len());
        for tier in [Isolation::Subuid, Isolation::Single, Isolation::Process] {
            assert_eq!(names(tier), all, "{tier}");
        }
        assert!(capabilities(Isolation::Process).values().all(|capability| !capability.available));
    }
}
