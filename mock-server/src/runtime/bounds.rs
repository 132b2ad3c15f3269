//! What a sandbox may use, put in force: control groups where there are any, affinity and a memory guard elsewhere.

use std::{
    fs, io,
    sync::atomic::{AtomicUsize, Ordering},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use super::{Resources, Runtime, RuntimeError, Sandbox, manager::blocking, still};

/// The processors that this server may give to sandboxes.
#[derive(Debug)]
pub struct Cpus {
    all: Vec<usize>,
    next: AtomicUsize,
}

impl Cpus {
    pub fn of_this_process() -> Cpus {
        let own = sched_getaffinity(Pid::from_raw(0));
        let is_ours = |cpu: &usize| own.as_ref().is_ok_and(|own| own.is_set(*cpu).unwrap_or(false));
        Cpus { all: (0..CpuSet::count()).filter(is_ours).collect(), next: AtomicUsize::new(0) }
    }

    /// As many as asked for, in turn, so that sandboxes share them evenly. Empty: all, which needs no affinity.
    pub fn take(&self, count: u32) -> Vec<usize> {
        let count = count.max(1) as usize;
        if count >= self.all.len() {
            return Vec::new();
        }
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        (0..count).map(|n| self.all[(first.wrapping_add(n)) % self.all.len()]).collect()
    }

    /// `chosen`, or all that there are if that is empty.
    fn or_all(&self, chosen: Vec<usize>) -> Vec<usize> {
        if chosen.is_empty() { self.all.clone() } else { chosen }
    }
}

/// Lets a thread (0: this one), and what it starts from now on, run on these processors only.
pub fn run_on(thread: Pid, cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    // One that is beyond what the kernel's interface can name isn't there.
    for cpu in cpus {
        let _ = set.set(*cpu);
    }
    Ok(sched_setaffinity(thread, &set)?)
}

impl Runtime {
    /// Puts other resources in force for a running sandbox. What it doesn't obey at once (affinity of processes of others in
    /// tier subuid) it does from its next start on.
    pub async fn set_resources(&self, sandbox: &Sandbox, resources: Resources) -> Result<(), RuntimeError> {
        let (group, pid) = (sandbox.group.clone(), sandbox.pid());
        let cpus = self.cpus.or_all(self.cpus.take(resources.cpu));
        let work = move || {
            group.update(resources)?;
            for thread in threads_of(pid) {
                // It may have ended.
                let _ = run_on(thread, &cpus);
            }
            Ok(())
        };
        let told = async {
            blocking(work).await?;
            sandbox.tell_memory(resources.bytes()).await
        };
        told.await.map_err(|source| RuntimeError::Io { what: format!("resize {}", sandbox.id()), source })
    }
}

fn threads_of(init: i32) -> Vec<Pid> {
    let init = Pid::from_raw(init);
    let processes = still::descendants(init).into_iter().chain([init]);
    let tasks = processes.filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok()).flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).map(Pid::from_raw).collect()
}

/// What `/proc/meminfo` says inside: the declared size, and what the sandbox's own processes use. `free`, Node, Java and
/// their like go by it.
pub fn meminfo(total: u64, used: u64) -> String {
    let kilobytes = |bytes: u64| bytes / 1024;
    let (total, used) = (kilobytes(total), kilobytes(used.min(total)));
    let rows = [
        ("MemTotal", total),
        ("MemFree", total - used),
        ("MemAvailable", total - used),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", used),
        ("Inactive", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", used),
        ("Mapped", 0),
        ("Shmem", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
    ];
    rows.iter().map(|(name, value)| format!("{:<15} {value:>8} kB\n", format!("{name}:"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_given_in_turn() {
        let cpus = Cpus { all: vec![0, 1, 4], next: AtomicUsize::new(0) };
        assert_eq!(cpus.take(1), [0]);
        assert_eq!(cpus.take(2), [1, 4]);
        assert_eq!(cpus.take(2), [0, 1]);
        assert!(cpus.take(3).is_empty() && cpus.take(9).is_empty());
        assert_eq!(cpus.or_all(cpus.take(9)), [0, 1, 4]);
    }

    #[test]
    fn memory_is_told_in_the_kernels_words() {
        let text = meminfo(1 << 30, 1 << 20);
        assert!(text.starts_with("MemTotal:        1048576 kB\nMemFree:         1047552 kB\n"), "{text}");
        assert!(meminfo(1024, 1 << 30).contains("MemFree:               0 kB"));
    }
}
