//! `sudo` for bases that have none that works: this binary, when its name is `sudo`.
//!
//! Where ids are real (tiers root and subuid) it is installed set-uid root and simply changes ids. In tier single it
//! makes a nested user namespace in which the target's id is the user's own, with a system call filter that lets
//! `chown` and `setuid` appear to succeed, so that package managers work. No password is ever asked for.

mod args;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStringExt, process::CommandExt},
    process::{Command, ExitCode},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use self::args::{Action, Invocation, parse};
use super::{
    inside::users::{self, Account},
    sys::seccomp,
};

/// Search path of commands run by sudo, and of the search for them.
const SECURE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables that survive the reset of the environment: sudo's own defaults, and proxies, as `--env` gives those.
const KEPT: &[&str] = &[
    "COLORTERM",
    "COLORS",
    "DISPLAY",
    "HOSTNAME",
    "LANG",
    "LANGUAGE",
    "LINGUAS",
    "LS_COLORS",
    "TERM",
    "TZ",
    "XAUTHORITY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Runs the role with the arguments after the program's name.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let invocation = match parse(args) {
        Ok(Action::Run(invocation)) => invocation,
        Ok(Action::Say(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("sudo: {message}");
            return ExitCode::FAILURE;
        }
    };
    let error = execute(&invocation);
    eprintln!("sudo: {error}");
    ExitCode::FAILURE
}

/// Only returns when it failed.
fn execute(invocation: &Invocation) -> String {
    let caller = Uid::current().as_raw();
    let target = match users::find(&invocation.user) {
        Ok(target) => target,
        Err(_) => return format!("unknown user {}", invocation.user),
    };
    let caller_name = users::find(&caller.to_string()).map_or_else(|_| caller.to_string(), |account| account.name);
    let group = match invocation.group.as_deref().map(|name| users::group(name).ok_or(name)).transpose() {
        Ok(group) => group,
        Err(name) => return format!("unknown group {name}"),
    };
    if let Err(error) = become_target(&target, group) {
        return format!("can't become {}: {error}", target.name);
    }
    let command = invocation.command_line(&target.shell);
    let program = command[0].to_string_lossy().into_owned();
    let mut process = Command::new(&command[0]);
    process.args(&command[1..]).env_clear().envs(environment(invocation, &target, &caller_name, &command));
    if invocation.login {
        process.arg0(format!("-{}", target.shell.rsplit('/').next().unwrap_or_default()));
    }
    if let Some(dir) = invocation.directory.clone().or_else(|| invocation.login.then(|| target.home.clone())) {
        process.current_dir(dir);
    }
    match process.exec() {
        error if error.kind() == io::ErrorKind::NotFound => format!("{program}: command not found"),
        error => format!("{program}: {error}"),
    }
}

fn become_target(target: &Account, group: Option<u32>) -> io::Result<()> {
    let gid = group.unwrap_or(target.gid);
    if Uid::effective().is_root() && has_other_ids() {
        let groups: Vec<Gid> = target.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups)?;
        setresgid(Gid::from_raw(gid), Gid::from_raw(gid), Gid::from_raw(gid))?;
        let uid = Uid::from_raw(target.uid);
        return Ok(setresuid(uid, uid, uid)?);
    }
    let (uid, own_gid) = (Uid::effective().as_raw(), Gid::effective().as_raw());
    if (uid, own_gid) == (target.uid, gid) {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{} {uid} 1", target.uid))?;
    fs::write("/proc/self/gid_map", format!("{gid} {own_gid} 1"))?;
    seccomp::pretend_ids()
}

/// False in a user namespace of one id, where nobody but that id exists.
fn has_other_ids() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let count = |line: &str| line.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
    map.lines().map(count).sum::<u64>() > 1
}

fn environment(
    invocation: &Invocation,
    target: &Account,
    caller: &str,
    command: &[OsString],
) -> BTreeMap<OsString, OsString> {
    let keep = |name: &OsString| {
        let text = name.to_string_lossy();
        invocation.keep_all || KEPT.contains(&&*text) || text.starts_with("LC_") || invocation.keep.contains(&*text)
    };
    let mut kept: BTreeMap<OsString, OsString> = env::vars_os().filter(|(name, _)| keep(name)).collect();
    let mut set = |name: &str, value: OsString| drop(kept.insert(name.into(), value));
    set("PATH", SECURE_PATH.into());
    set("SUDO_USER", caller.into());
    set("SUDO_UID", Uid::current().to_string().into());
    set("SUDO_GID", Gid::current().to_string().into());
    set("SUDO_COMMAND", OsString::from_vec(command.join(&OsString::from(" ")).into_vec()));
    if !invocation.keep_all || invocation.login {
        set("USER", target.name.clone().into());
        set("LOGNAME", target.name.clone().into());
        set("SHELL", target.shell.clone().into());
        set("MAIL", format!("/var/mail/{}", target.name).into());
    }
    if !invocation.keep_all || invocation.set_home || invocation.login {
        set("HOME", target.home.clone().into());
    }
    kept.extend(invocation.assignments.iter().cloned());
    kept
}
