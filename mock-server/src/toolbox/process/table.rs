//! The processes that are seen from here.

use std::fs;

/// One of them.
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
}

/// Each with its `/proc/<pid>/stat`, in the order of their numbers.
pub fn each(mut look: impl FnMut(Process, &str)) {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // Not `self` and the like.
        if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        // A name need not be UTF-8.
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        let stat = String::from_utf8_lossy(&stat);
        if let Some(process) = parse(&stat) {
            look(process, &stat);
        }
    }
}

/// `pid (name) state ppid pgrp …`; the name may hold anything.
pub fn parse(stat: &str) -> Option<Process> {
    let pid = stat.split(' ').next()?.parse().ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(1);
    Some(Process { pid, parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn names_that_are_not_text_are_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let script = "cp \"$(command -v sleep)\" \"$(printf '\\377)')\" && exec ./* 1000";
        let mut child = Command::new("sh").args(["-c", script]).current_dir(dir.path()).spawn().expect("sh runs");
        let pid = i32::try_from(child.id()).expect("a number");
        let name = |pid: i32| {
            let mut name = None;
            each(|process, stat| name = name.take().or_else(|| (process.pid == pid).then(|| stat.to_owned())));
            name
        };
        let seen = loop {
            let seen = name(pid).expect("it runs");
            if !seen.contains("(sh)") {
                break seen;
            }
            std::thread::yield_now();
        };
        child.kill().expect("killed");
        child.wait().expect("it ends");
        assert!(seen.contains("(\u{fffd}))"), "{seen}");
    }
}
