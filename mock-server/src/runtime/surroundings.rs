//! What the machine around us is, and what a tier offers on it.

use std::{collections::BTreeMap, env, fs, path::Path};

use super::{Capability, Isolation};

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
    let rows = match isolation {
        Isolation::Root | Isolation::Subuid => [
            ("rootfs", true, "overlay over shared layers, in a mount namespace of its own"),
            ("pidns", true, "a PID namespace of its own"),
            ("netns", true, "a network namespace of its own: every port is free"),
            ("uids", true, "65,536 ids, mapped away from the host's"),
            ("sudo", true, "real, without a password"),
        ],
        Isolation::Single => [
            ("rootfs", true, "overlay over shared layers, in a mount namespace of its own"),
            ("pidns", true, "a PID namespace of its own"),
            ("netns", true, "a network namespace of its own: every port is free"),
            ("uids", false, "only daytona's: other owners can't be told apart, and chown has no effect"),
            ("sudo", true, "a stand-in: root in a nested user namespace"),
        ],
        Isolation::Process => [
            ("rootfs", false, "the host's files; only the API's /home/daytona is the sandbox's own directory"),
            ("pidns", false, "the host's processes"),
            ("netns", false, "the host's network: two sandboxes can't listen on one port"),
            ("uids", false, "the user who runs the server"),
            ("sudo", false, "the host's, if there is one"),
        ],
    };
    let limits = ("cgroup", false, "CPU, memory and disk are reported as asked for, not enforced");
    let rows = rows.into_iter().chain([limits]);
    rows.map(|(name, available, detail)| (name.to_owned(), Capability { available, detail: detail.to_owned() }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_groups_are_known() {
        assert!(names_container("0::/docker/abc"));
        assert!(names_container("12:cpu:/kubepods/besteffort/pod1"));
        assert!(!names_container("0::/init.scope"));
    }
}
