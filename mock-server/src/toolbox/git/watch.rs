//! What all programs of one request take together. The kernel bounds one process ([`bound`]) but no group of them, and
//! tells nobody what a group did, so this looks now and then at those that run for long.
//!
//! [`bound`]: crate::runtime::sys::rlimits::bound

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};

use super::errors;
use crate::{
    limits,
    toolbox::{ToolboxError, metrics::process_cpu, process::table},
};

/// Most runs of git end before the first look.
const INTERVAL: Duration = Duration::from_millis(200);
/// What the smallest file takes of a disk.
const BLOCK: u64 = 4096;

/// What programs did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    /// Bytes, to files and to each other.
    written: u64,
    /// How often something was written.
    writes: u64,
    cpu_ms: u64,
}

/// What the programs of one request did so far, as far as anybody looked.
#[derive(Clone, Default)]
pub struct Watch(Arc<Total>);

#[derive(Default)]
struct Total {
    written: AtomicU64,
    writes: AtomicU64,
    cpu_ms: AtomicU64,
}

impl Watch {
    /// Why a run must end, once this process group and what ran for the request before it took too much; else never.
    pub async fn over(&self, group: i32) -> ToolboxError {
        let before = self.0.taken();
        loop {
            sleep(INTERVAL).await;
            let now = spawn_blocking(move || of_group(group)).await.unwrap_or_default();
            let sum = Taken {
                written: before.written.saturating_add(now.written),
                writes: before.writes.saturating_add(now.writes),
                cpu_ms: before.cpu_ms.saturating_add(now.cpu_ms),
            };
            self.0.keep(sum);
            if let Some(error) = sum.refused() {
                return error;
            }
        }
    }
}

impl Total {
    fn taken(&self) -> Taken {
        let [written, writes, cpu_ms] =
            [&self.written, &self.writes, &self.cpu_ms].map(|part| part.load(Ordering::Relaxed));
        Taken { written, writes, cpu_ms }
    }

    fn keep(&self, taken: Taken) {
        self.written.fetch_max(taken.written, Ordering::Relaxed);
        self.writes.fetch_max(taken.writes, Ordering::Relaxed);
        self.cpu_ms.fetch_max(taken.cpu_ms, Ordering::Relaxed);
    }
}

impl Taken {
    fn refused(self) -> Option<ToolboxError> {
        let limits = limits::inside();
        // Many small files take more of a disk than their bytes.
        let written = self.written.max(self.writes.saturating_mul(BLOCK));
        if written > limits.git_written as u64 {
            return Some(errors::wrote_too_much());
        }
        (self.cpu_ms / 1000 >= limits.git_cpu as u64).then(errors::computed_too_long)
    }
}

/// Of its members and of those that they have waited for.
fn of_group(group: i32) -> Taken {
    let mut taken = Taken::default();
    // In the order of their numbers, parents first: one that ends meanwhile is missed once, rather than counted twice.
    table::each(|process, stat| {
        if process.group != group {
            return;
        }
        taken.cpu_ms += process_cpu(stat).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let io = fs::read_to_string(format!("/proc/{}/io", process.pid)).unwrap_or_default();
        let field = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        taken.written += field("wchar:").unwrap_or(0);
        taken.writes += field("syscw:").unwrap_or(0);
    });
    taken
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        os::unix::process::CommandExt,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn a_group_is_counted_with_those_that_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let script = "head -c 3000000 /dev/zero >a; for n in 1 2 3; do :; done; echo done; read -r _";
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(dir.path()).process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh runs");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut said).expect("it says something");
        let taken = of_group(i32::try_from(child.id()).expect("a number"));
        drop(child.stdin.take());
        child.wait().expect("it ends");
        assert!((3_000_000..3_100_000).contains(&taken.written), "{taken:?}");
        assert!((1..5000).contains(&taken.writes), "{taken:?}");
        assert_eq!(of_group(i32::MAX), Taken::default());
    }
}
