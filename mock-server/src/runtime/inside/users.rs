//! Accounts, read from the sandbox's own files: the C library's look-ups would load host modules.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::super::{
    Isolation,
    sys::{process, seccomp},
};

/// Whom a sandbox's processes run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: PathBuf,
    pub shell: String,
}

/// Looks a user up by name or number; the message is the container engine's.
pub fn find(name: &str) -> io::Result<Account> {
    let known = File::open("/etc/passwd").ok().and_then(|passwd| {
        BufReader::new(passwd).lines().map_while(Result::ok).find_map(|line| parse_passwd(&line, name))
    });
    let mut account = known
        .or_else(|| unnamed(name))
        .ok_or_else(|| io::Error::other(format!("unable to find user {name}: no matching entries in passwd file")))?;
    if let Ok(group) = File::open("/etc/group") {
        let lines = BufReader::new(group).lines().map_while(Result::ok);
        account.groups = lines.filter_map(|line| member_of(&line, &account.name)).collect();
    }
    if !account.groups.contains(&account.gid) {
        account.groups.push(account.gid);
    }
    Ok(account)
}

/// The same for `user[:group]`. With a group, that one is all that the user has (observed with container engines).
pub fn find_in_group(text: &str) -> io::Result<Account> {
    let (name, given) = text.split_once(':').unwrap_or((text, ""));
    let mut account = find(if name.is_empty() { "root" } else { name })?;
    if !given.is_empty() {
        let gid = group(given);
        account.gid = gid.ok_or_else(|| {
            io::Error::other(format!("unable to find group {given}: no matching entries in group file"))
        })?;
        account.groups = vec![account.gid];
    }
    Ok(account)
}

/// Lets a command run as somebody; root without another group stays as it is.
pub fn run_as(command: &mut std::process::Command, account: &Account) {
    if (account.uid, account.gid) != (0, 0) {
        process::change_ids(command, account.uid, account.gid, account.groups.clone());
    }
}

/// An image need not name its users: numbers and root do as they are.
fn unnamed(name: &str) -> Option<Account> {
    let uid = if name == "root" { 0 } else { name.parse().ok()? };
    let home = if uid == 0 { "/root" } else { "/" };
    Some(Account { name: name.to_owned(), uid, gid: 0, groups: Vec::new(), home: home.into(), shell: "/bin/sh".into() })
}

fn parse_passwd(line: &str, wanted: &str) -> Option<Account> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields.as_slice() else { return None };
    if *name != wanted && *uid != wanted {
        return None;
    }
    Some(Account {
        name: (*name).to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        groups: Vec::new(),
        home: Path::new(home).to_owned(),
        shell: if shell.is_empty() { "/bin/sh" } else { shell }.to_owned(),
    })
}

/// A group's number, by its name or as it is.
pub fn group(name: &str) -> Option<u32> {
    let lines = File::open("/etc/group").ok().map(|group| BufReader::new(group).lines().map_while(Result::ok));
    let named = lines.into_iter().flatten().find_map(|line| {
        let (group, rest) = line.split_once(':')?;
        if group == name { rest.split(':').nth(1)?.parse().ok() } else { None }
    });
    named.or_else(|| name.parse().ok())
}

fn member_of(line: &str, user: &str) -> Option<u32> {
    let fields: Vec<&str> = line.split(':').collect();
    let [_, _, gid, members] = fields.as_slice() else { return None };
    members.split(',').any(|member| member == user).then(|| gid.parse().ok())?
}

/// Id 0 of a user namespace whose map the parent wrote.
pub fn become_root() -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid)?;
    setgroups(&[gid])?;
    Ok(setresuid(uid, uid, uid)?)
}

/// Becomes the sandbox's user for good. The bounding set stays, so setuid programs inside work.
pub fn become_user(account: &Account, isolation: Isolation) -> io::Result<()> {
    match isolation {
        Isolation::Process => return Ok(()),
        // Root of an image: with the filter package managers work, as they do under `sudo`.
        Isolation::Single if account.uid == 0 => return seccomp::pretend_ids(),
        Isolation::Single => return process::drop_capabilities(),
        Isolation::Root | Isolation::Subuid => {}
    }
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups)?;
    setresgid(gid, gid, gid)?;
    Ok(setresuid(uid, uid, uid)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_or_number() {
        let line = "daytona:x:1000:1001::/home/daytona:";
        for wanted in ["daytona", "1000"] {
            let account = parse_passwd(line, wanted).expect("found");
            assert_eq!((account.uid, account.gid, account.shell.as_str()), (1000, 1001, "/bin/sh"));
        }
        assert_eq!(parse_passwd(line, "root"), None);
        assert_eq!(parse_passwd("daytona:x:no:1::/:", "daytona"), None);
        assert_eq!(parse_passwd("daytona", "daytona"), None);
    }

    #[test]
    fn groups_are_those_that_name_the_user() {
        assert_eq!(member_of("sudo:x:27:a,daytona", "daytona"), Some(27));
        assert_eq!(member_of("sudo:x:27:", "daytona"), None);
        assert_eq!(member_of("sudo:x:27", "daytona"), None);
    }
}
