//! The processes that are seen from here.

use std::{fs, os::fd::OwnedFd};

use crate::runtime::sys::fdpass::watch;

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

/// Waits until the process of this descriptor has ended.
pub async fn ended(process: OwnedFd) {
    if let Ok(process) = watch(process) {
        let _ = process.readable().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn names_that_are_not_text_are_seen() {
        let script = "printf '\\377)' >/proc/$$/comm && echo named && read -r _";
        let mut command = Command::new("sh");
        let mut child =
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh runs");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut said).expect("it says something");
        let (pid, mut seen) = (i32::try_from(child.id()).expect("a number"), String::new());
        each(|process, stat| {
            if process.pid == pid {
                stat.clone_into(&mut seen);
            }
        });
        drop(child.stdin.take());
        child.wait().expect("it ends");
        assert!(seen.contains("(\u{fffd}))"), "{seen}");
    }
}
