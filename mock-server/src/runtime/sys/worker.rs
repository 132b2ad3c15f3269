//! Work on hostile input in a process of its own: what it does to stack, memory and time ends with that process.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    thread,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid},
};

use super::process::{close_from, exit_now};

/// What a worker may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Stack of the thread that does the work, in bytes.
    pub stack: usize,
    /// Address space on top of what this process has mapped, in bytes.
    pub memory: u64,
    /// Processor time, and time, in seconds.
    pub seconds: u64,
}

/// A running worker. Dropped before it was waited for, it is killed.
pub struct Worker {
    pid: Pid,
    ended: bool,
}

/// Forks a worker that writes what `work` returns to the pipe, and then exits with 0. Nothing arrives when it dies.
///
/// Forking a process with several threads leaves the child with one, and with the locks of the others. Here it is
/// sound because the child only computes: the C library's allocator takes its own locks around `fork`, and `work` must
/// not touch anything else that other threads lock.
pub fn spawn(limits: Limits, work: impl FnOnce() -> Vec<u8> + Send + 'static) -> io::Result<(Worker, OwnedFd)> {
    let (output, input) = io::pipe()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: see above.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok((Worker { pid: child, ended: false }, output.into())),
        ForkResult::Child => exit_now(run(limits, input.as_raw_fd(), null.as_raw_fd(), work)),
    }
}

/// In the child: its descriptors are those of the parent, connections among them, and must not stay open here.
fn run(limits: Limits, output: i32, null: i32, work: impl FnOnce() -> Vec<u8> + Send + 'static) -> i32 {
    // SAFETY: both are open; 0 becomes the output, the rest belongs to values that are never dropped here.
    let mut output = unsafe {
        libc::dup2(output, 0);
        libc::dup2(null, 1);
        libc::dup2(null, 2);
        <File as std::os::fd::FromRawFd>::from_raw_fd(0)
    };
    close_from(3);
    limit(limits);
    // The usual hook would look for symbols, which takes memory that may be what there is too little of.
    std::panic::set_hook(Box::new(|_| {}));
    let thread = thread::Builder::new().stack_size(limits.stack).spawn(work);
    match thread.map(thread::JoinHandle::join) {
        Ok(Ok(result)) => i32::from(output.write_all(&result).is_err()),
        _ => 1,
    }
}

fn limit(limits: Limits) {
    let set = |resource, value: u64| {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: reads one `rlimit`. Without the limit the work is as good.
        unsafe { libc::setrlimit(resource, &raw const limit) };
    };
    // SAFETY: always sound. For what waits instead of computing.
    unsafe { libc::alarm(limits.seconds.try_into().unwrap_or(u32::MAX)) };
    set(libc::RLIMIT_CORE, 0);
    set(libc::RLIMIT_CPU, limits.seconds);
    set(libc::RLIMIT_AS, mapped() + limits.stack as u64 + limits.memory);
}

/// Bytes of address space in use: the first number of `/proc/self/statm`, in pages.
fn mapped() -> u64 {
    let mut text = String::new();
    let read = File::open("/proc/self/statm").and_then(|mut file| file.read_to_string(&mut text));
    let pages = read.ok().and_then(|_| text.split(' ').next()?.parse::<u64>().ok());
    pages.map_or(1 << 40, |pages| pages * 4096)
}

impl Worker {
    /// Reaps it. To be called when its output has ended: that is when it exits, so this doesn't block.
    pub fn wait(mut self) {
        self.ended = true;
        let _ = waitpid(self.pid, None);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let pid = self.pid;
        let _ = kill(pid, Signal::SIGKILL);
        // Taking down a large address space takes its time.
        thread::spawn(move || waitpid(pid, None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { stack: 1 << 20, memory: 64 << 20, seconds: 1 };

    fn result(limits: Limits, work: impl FnOnce() -> Vec<u8> + Send + 'static) -> Vec<u8> {
        let (worker, output) = spawn(limits, work).expect("fork");
        let mut bytes = Vec::new();
        File::from(output).read_to_end(&mut bytes).expect("read");
        worker.wait();
        bytes
    }

    #[test]
    fn the_result_comes_back() {
        assert_eq!(result(LIMITS, || vec![7; 300_000]), vec![7; 300_000]);
    }

    #[test]
    fn stack_memory_time_and_panics_stay_there() {
        fn deep(n: u64) -> u64 {
            std::hint::black_box(if n == 0 { 0 } else { deep(std::hint::black_box(n - 1)) + 1 })
        }
        assert!(result(LIMITS, || deep(1 << 40).to_be_bytes().to_vec()).is_empty());
        assert!(result(LIMITS, || vec![1; 1 << 30]).is_empty());
        assert!(
            result(LIMITS, || loop {
                std::hint::spin_loop();
            })
            .is_empty()
        );
        assert!(result(LIMITS, || panic!("expected")).is_empty());
    }
}
