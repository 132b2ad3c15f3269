//! `GET /system/metrics`: what the sandbox uses. Nothing is sampled in the background: a figure for the processor
//! covers the time since the request before.

use std::{
    fs,
    time::{Duration, Instant},
};

use axum::{extract::State, response::IntoResponse};
use nix::{
    sys::statvfs::statvfs,
    unistd::{SysconfVar, sysconf},
};
use parking_lot::Mutex;
use serde_json::json;

use super::{Ctx, ToolboxError, error::timestamp, json::GoJson, process::table};

/// Requests closer together than this get the same processor figure.
const SHORTEST_WINDOW: Duration = Duration::from_millis(100);

const CGROUP: &str = "/sys/fs/cgroup";

/// The last look at the processor time.
#[derive(Default)]
pub struct Sampler {
    last: Mutex<Option<Sample>>,
}

#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    cpu: Duration,
    /// Of the CPU limit, over the window that this sample ended.
    percent: f64,
}

impl Sampler {
    /// 0 until there is a window.
    fn percent(&self, now: Instant, cpu: Duration, cpus: usize) -> f64 {
        let mut last = self.last.lock();
        let percent = match *last {
            Some(last) if now.duration_since(last.at) < SHORTEST_WINDOW => return last.percent,
            Some(last) => {
                let window = now.duration_since(last.at).as_secs_f64() * cpus as f64;
                (cpu.saturating_sub(last.cpu).as_secs_f64() / window * 100.0).clamp(0.0, 100.0)
            }
            None => 0.0,
        };
        *last = Some(Sample { at: now, cpu, percent });
        percent
    }
}

/// `GetSystemMetrics`. Bytes, and percent of the CPU limit.
pub async fn metrics(State(ctx): State<Ctx>) -> Result<impl IntoResponse, ToolboxError> {
    // A walk through /proc: short, but not on the thread that serves everything else.
    let read = tokio::task::spawn_blocking(read).await.map_err(ToolboxError::internal)?;
    let disk = statvfs(&ctx.config().work_dir).map_err(ToolboxError::internal)?;
    let block = disk.fragment_size();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let now = chrono::Utc::now();
    Ok(GoJson(json!({
        "timestamp": timestamp(now),
        "timestampUnix": now.timestamp(),
        "cpuCount": cpus,
        "cpuUsedPct": ctx.metrics().percent(Instant::now(), read.cpu, cpus),
        "memTotal": read.memory.total,
        "memUsed": read.memory.used,
        "memCache": read.memory.cache,
        "diskTotal": disk.blocks() * block,
        "diskUsed": disk.blocks().saturating_sub(disk.blocks_free()) * block,
        "diskFree": disk.blocks_available() * block,
    })))
}

struct Read {
    cpu: Duration,
    memory: Memory,
}

struct Memory {
    total: u64,
    used: u64,
    cache: u64,
}

/// The sandbox's cgroup where it has one, else its processes where it has a PID namespace, else the machine.
fn read() -> Read {
    let machine = machine_memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default());
    let own_namespace = std::process::id() == 1;
    cgroup(machine.total).unwrap_or_else(|| match own_namespace {
        true => processes(machine.total),
        false => Read { cpu: machine_cpu(&fs::read_to_string("/proc/stat").unwrap_or_default()), memory: machine },
    })
}

/// `None` where the hierarchy isn't there, or its root is the machine's: that has no `memory.max`.
fn cgroup(machine: u64) -> Option<Read> {
    let file = |name: &str| fs::read_to_string(format!("{CGROUP}/{name}")).ok();
    let total = file("memory.max")?.trim().parse().unwrap_or(machine).min(machine);
    let cpu = Duration::from_micros(field(&file("cpu.stat")?, "usage_usec")?);
    let (current, cache): (u64, u64) =
        (file("memory.current")?.trim().parse().ok()?, field(&file("memory.stat")?, "file")?);
    Some(Read { cpu, memory: Memory { total, used: current.saturating_sub(cache), cache } })
}

/// Time and private memory of every process that is seen from here, and the time of those they have reaped.
fn processes(total: u64) -> Read {
    let (mut cpu, mut used) = (Duration::ZERO, 0);
    table::each(|process, stat| {
        cpu += process_cpu(stat).unwrap_or_default();
        let memory = fs::read_to_string(format!("/proc/{}/statm", process.pid));
        used += memory.ok().and_then(|text| private(&text)).unwrap_or(0);
    });
    Read { cpu, memory: Memory { total, used, cache: 0 } }
}

/// utime, stime, cutime and cstime: the 14th to 17th field; the second is in parentheses and may hold anything.
pub fn process_cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(ticks(rest.split(' ').skip(11).take(4).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()))
}

/// user, nice, system, irq, softirq and steal of the first line, but not idle and iowait.
fn machine_cpu(stat: &str) -> Duration {
    let columns = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1).take(8).enumerate();
    ticks(columns.filter(|(i, _)| !matches!(i, 3 | 4)).filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum())
}

fn ticks(count: u64) -> Duration {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|n| u64::try_from(n).ok()).unwrap_or(100);
    Duration::from_millis(count.saturating_mul(1000) / per_second.max(1))
}

/// Resident minus shared pages.
pub fn private(statm: &str) -> Option<u64> {
    let mut pages = statm.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|n| u64::try_from(n).ok()).unwrap_or(4096);
    Some(resident.saturating_sub(shared) * page)
}

fn machine_memory(meminfo: &str) -> Memory {
    let bytes = |name| field(meminfo, name).unwrap_or(0) * 1024;
    let total = bytes("MemTotal:");
    Memory { total, used: total.saturating_sub(bytes("MemAvailable:")), cache: bytes("Cached:") + bytes("Buffers:") }
}

/// The number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "42 (a) b c) S 1 42 42 0 -1 4194560 1 2 3 4 50 20 10 20 20 0 1 0 100 1 1";
        assert_eq!(process_cpu(stat), Some(Duration::from_secs(1)));
        assert_eq!(machine_cpu("cpu  100 0 50 9999 9999 0 0 50 0 0\ncpu0 1"), Duration::from_secs(2));
        assert_eq!(private("500 30 10 1 0 20 0"), Some(20 * 4096));
        let memory = machine_memory("MemTotal: 1000 kB\nMemAvailable: 400 kB\nBuffers: 1 kB\nCached: 99 kB\n");
        assert_eq!((memory.total, memory.used, memory.cache), (1_024_000, 614_400, 102_400));
        assert_eq!(field("usage_usec 12\nuser_usec 3", "usage_usec"), Some(12));
    }

    #[test]
    fn the_processor_figure_covers_the_time_between_requests() {
        let sampler = Sampler::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(sampler.percent(at(0), Duration::from_secs(5), 2), 0.0);
        assert_eq!(sampler.percent(at(1000), Duration::from_secs(6), 2), 50.0);
        assert_eq!(sampler.percent(at(1050), Duration::from_secs(7), 2), 50.0);
        assert_eq!(sampler.percent(at(2000), Duration::from_secs(1), 2), 0.0);
    }
}
