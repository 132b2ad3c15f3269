//! Resource limits of one child and all that it starts.

use std::{os::unix::process::CommandExt, process::Command};

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::{SigHandler, Signal, signal},
};

/// What a child may use.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of memory of each process: its own, not what it maps of files.
    pub memory: u64,
    /// Bytes of each file that it writes.
    pub file: u64,
}

/// The child of `command` keeps to these, or to what this process has to keep to if that is less. One that wants more
/// memory is refused it; one that writes more is refused that, too (EFBIG), rather than ended by SIGXFSZ: it can tidy up.
pub fn bound(command: &mut Command, Bounds { memory, file }: Bounds) {
    let limits = [(Resource::RLIMIT_DATA, memory), (Resource::RLIMIT_FSIZE, file), (Resource::RLIMIT_CORE, 0)];
    let set = move || {
        for (resource, most) in limits {
            let (_, hard) = getrlimit(resource)?;
            setrlimit(resource, most.min(hard), most.min(hard))?;
        }
        // SAFETY: no handler of this process is involved, and the child's program starts with this.
        unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }?;
        Ok(())
    };
    // SAFETY: between fork and exec this makes system calls and allocates nothing.
    unsafe { command.pre_exec(set) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_and_its_children_are_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).current_dir(dir.path());
            bound(&mut command, Bounds { memory: 64 << 20, file: 100_000 });
            command.output().expect("sh runs")
        };
        assert!(run("head -c 100000 /dev/zero >fits").status.success());
        let large = run("head -c 100001 /dev/zero >large");
        assert!(String::from_utf8_lossy(&large.stderr).contains("File too large"), "{large:?}");
        let size = dir.path().join("large").metadata().expect("there").len();
        assert_eq!((large.status.code(), size), (Some(1), 100_000));
        let refused = run("head -c 200M /dev/zero | tail -n 1 | wc -c");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("emory"), "{refused:?}");
    }
}
