//! `/etc/passwd` and its companions for a sandbox: the system's own entries and `daytona`, and nobody who lives on the host.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A user as the inside of a sandbox knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

impl User {
    /// The user that sandboxes have by default (observed: uid and gid 1000, home `/home/daytona`).
    pub fn daytona() -> User {
        User { name: "daytona".into(), uid: 1000, gid: 1000, home: "/home/daytona".into() }
    }

    pub fn root() -> User {
        User { name: "root".into(), uid: 0, gid: 0, home: "/root".into() }
    }
}

/// First id of people; below it are the system's own accounts (login.defs of every distribution in use).
const FIRST_HUMAN: u32 = 1000;
const NOBODY: u32 = 65534;

/// True for ids that belong to the system and not to a person of the host.
pub(super) fn is_system_id(id: u32) -> bool {
    id < FIRST_HUMAN || id == NOBODY
}

/// The four account files of a sandbox.
pub(super) struct AccountFiles {
    pub passwd: String,
    pub group: String,
    pub shadow: String,
    pub gshadow: String,
}

/// Derives them from the host's `passwd` and `group`: people dropped, `daytona` added, every password locked.
pub(super) fn for_host(passwd: &str, group: &str) -> AccountFiles {
    let kept: Vec<&str> = passwd.lines().filter(|line| keeps_system_entry(line)).collect();
    let names: Vec<&str> = kept.iter().filter_map(|line| line.split(':').next()).collect();
    let groups = group.lines().filter(|line| keeps_system_entry(line)).map(|line| only_known_members(line, &names));
    with_daytona(&join_lines(kept.iter()), &join_lines(groups))
}

/// Adds `daytona` where no such user exists, and locked passwords for all. A foreign owner of id 1000 (`node`, `ubuntu`) stays.
pub(super) fn with_daytona(passwd: &str, group: &str) -> AccountFiles {
    let mut passwd = with_newline(passwd);
    let mut group = with_newline(group);
    if find_user(&passwd, "daytona").is_none() {
        let shared = find_user(&passwd, "1000").is_some_and(|user| user.name != "1000");
        // The first entry of an id is the one that `whoami` names.
        let at = if shared { 0 } else { passwd.len() };
        passwd.insert_str(at, "daytona:x:1000:1000::/home/daytona:/bin/bash\n");
    }
    if !group.lines().any(|line| line.starts_with("daytona:")) {
        group.push_str("daytona:x:1000:\n");
    }
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let shadow = join_lines(passwd.lines().map(|line| format!("{}:*:19000:0:99999:7:::", name(line))));
    let gshadow = join_lines(group.lines().map(|line| format!("{}:*::", name(line))));
    AccountFiles { passwd, group, shadow, gshadow }
}

/// Looks up a user by name, `uid`, `name:group` or `uid:gid`, as an image's `User` or a client may write it.
pub fn find_user(passwd: &str, wanted: &str) -> Option<User> {
    let (user, group) = wanted.split_once(':').unwrap_or((wanted, ""));
    let by_id = user.parse::<u32>().ok();
    let found = passwd.lines().filter_map(parse_passwd).find(|u| u.name == user || by_id == Some(u.uid));
    let mut found = match (found, by_id) {
        (Some(user), _) => user,
        (None, Some(uid)) => User { name: uid.to_string(), uid, gid: 0, home: "/".into() },
        (None, None) => return None,
    };
    if let Ok(gid) = group.parse() {
        found.gid = gid;
    }
    Some(found)
}

fn parse_passwd(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    let home = fields.nth(1).filter(|home| home.starts_with('/')).unwrap_or("/");
    Some(User { name, uid, gid, home: home.into() })
}

/// The user that this process runs as (tier process).
pub(super) fn current() -> User {
    let uid = nix::unistd::geteuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => User { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw(), home: user.dir },
        _ => User { name: uid.to_string(), uid: uid.as_raw(), gid: nix::unistd::getegid().as_raw(), home: "/".into() },
    }
}

fn keeps_system_entry(line: &str) -> bool {
    let mut fields = line.split(':');
    let name = fields.next().unwrap_or_default();
    // A name that starts with + or - is an NIS marker, not an account.
    let plain = !name.is_empty() && !name.starts_with(['+', '-', '#']) && name != "daytona";
    plain && fields.nth(1).and_then(|id| id.parse().ok()).is_some_and(is_system_id)
}

fn only_known_members(line: &str, names: &[&str]) -> String {
    let Some((head, members)) = line.rsplit_once(':') else { return line.to_owned() };
    let members: Vec<&str> = members.split(',').filter(|member| names.contains(member)).collect();
    format!("{head}:{}", members.join(","))
}

fn join_lines<T: AsRef<str>>(lines: impl Iterator<Item = T>) -> String {
    lines.fold(String::new(), |text, line| text + line.as_ref() + "\n")
}

fn with_newline(text: &str) -> String {
    let text = text.trim_end_matches('\n');
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n\
        alice:x:1000:1000:Alice:/home/alice:/bin/bash\nbob:x:4001:4001::/home/bob:/bin/sh\n\
        nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n+::::::\n";

    #[test]
    fn people_of_the_host_are_dropped_and_daytona_is_added() {
        let files = for_host(PASSWD, "root:x:0:\nsudo:x:27:alice,www-data\nalice:x:1000:\n");
        assert!(!files.passwd.contains("alice") && !files.passwd.contains("bob") && !files.passwd.contains('+'));
        assert!(files.passwd.contains("daytona:x:1000:1000::/home/daytona:/bin/bash\n"));
        assert_eq!(files.group, "root:x:0:\nsudo:x:27:www-data\ndaytona:x:1000:\n");
        assert!(files.shadow.lines().all(|line| line.contains(":*:")));
        assert_eq!(files.gshadow.lines().count(), 3);
    }

    #[test]
    fn users_are_found_by_name_id_and_pair() {
        assert_eq!(find_user(PASSWD, "alice").map(|u| (u.uid, u.home)), Some((1000, "/home/alice".into())));
        assert_eq!(find_user(PASSWD, "33").map(|u| u.name), Some("www-data".into()));
        assert_eq!(find_user(PASSWD, "root:33").map(|u| (u.uid, u.gid)), Some((0, 33)));
        assert_eq!(find_user(PASSWD, "777:8").map(|u| (u.uid, u.gid, u.home)), Some((777, 8, "/".into())));
        assert_eq!(find_user(PASSWD, "carol"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_well_formed_files(passwd in "\\PC{0,200}", group in "(\\PC|\n){0,200}") {
            let files = for_host(&passwd, &group);
            proptest::prop_assert!(find_user(&files.passwd, "daytona").is_some());
            proptest::prop_assert!(files.shadow.lines().count() == files.passwd.lines().count());
        }
    }
}
