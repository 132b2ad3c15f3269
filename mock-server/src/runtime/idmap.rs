//! Which ids inside are which ids outside.

use std::{fs, io, process::Command};

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::packages::Manager;

/// First id of the range that sandboxes get in tier root. Never 0: an identity map would leave the host's uid 0 inside.
pub const SHIFT: u32 = 1_000_000;

/// Ids in that range.
pub const COUNT: u32 = 65_536;

/// The map of a sandbox's user namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum IdMap {
    /// Tier root: `0..COUNT` → `SHIFT..`.
    Shifted,
    /// Tier subuid: the sandbox's user → this user, everything else → the range of `/etc/subuid`.
    Subuid { uids: SubIds, gids: SubIds },
    /// Tier single: the sandbox's user → this user, and nothing else.
    Single { uid: Ids, gid: Ids },
    /// Tier process.
    None,
}

/// One id, on both sides.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ids {
    pub inside: u32,
    pub outside: u32,
}

/// One id of our own in the middle of a range from `/etc/subuid` or `/etc/subgid`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SubIds {
    pub own: Ids,
    pub first: u32,
    pub count: u32,
}

impl SubIds {
    /// Arguments of `newuidmap` after the pid: triples of (inside, outside, count).
    fn triples(&self) -> Vec<u32> {
        let Ids { inside, outside } = self.own;
        vec![0, self.first, inside, inside, outside, 1, inside + 1, self.first + inside, self.count - inside - 1]
    }
}

impl IdMap {
    /// True when the parent has to write the map, and the child has to wait for it and become id 0.
    pub fn written_by_parent(&self) -> bool {
        matches!(self, IdMap::Shifted | IdMap::Subuid { .. })
    }

    /// Writes the map of a fresh user namespace's first process.
    pub fn write_for(&self, pid: Pid) -> io::Result<()> {
        match self {
            IdMap::Shifted => {
                let map = format!("0 {SHIFT} {COUNT}");
                fs::write(format!("/proc/{pid}/uid_map"), &map)?;
                fs::write(format!("/proc/{pid}/gid_map"), &map)
            }
            IdMap::Subuid { uids, gids } => {
                run_mapper("newuidmap", pid, uids)?;
                run_mapper("newgidmap", pid, gids)
            }
            IdMap::Single { .. } | IdMap::None => Ok(()),
        }
    }

    /// Writes the map of the user namespace that this process just made.
    pub fn write_own(&self) -> io::Result<()> {
        if let IdMap::Single { uid, gid } = self {
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("{} {} 1", uid.inside, uid.outside))?;
            fs::write("/proc/self/gid_map", format!("{} {} 1", gid.inside, gid.outside))?;
        }
        Ok(())
    }
}

fn run_mapper(tool: &str, pid: Pid, ids: &SubIds) -> io::Result<()> {
    let missing = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            let mend = Manager::of_host().install(["uidmap", "shadow-utils", "shadow", "shadow-subids"]);
            io::Error::new(error.kind(), format!("there is no {tool}: {mend}"))
        }
        _ => error,
    };
    let output = Command::new(tool)
        .arg(pid.to_string())
        .args(ids.triples().iter().map(u32::to_string))
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin:/run/wrappers/bin")
        .output()
        .map_err(missing)?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{tool}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// The map for this process and tier; `inside` are the ids of the sandbox's user.
pub fn map_for(tier: super::Isolation, inside: (u32, u32)) -> io::Result<IdMap> {
    use super::Isolation::*;
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let (uid, gid) = (Ids { inside: inside.0, outside: uid }, Ids { inside: inside.1, outside: gid });
    Ok(match tier {
        Root => IdMap::Shifted,
        Single => IdMap::Single { uid, gid },
        Process => IdMap::None,
        Subuid => sub_ids(uid, gid)?,
    })
}

const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";

fn sub_ids(uid: Ids, gid: Ids) -> io::Result<IdMap> {
    let me = nix::unistd::getuid().as_raw();
    let name = nix::unistd::User::from_uid(me.into())?.map(|user| user.name).unwrap_or_default();
    let read = |file: &str| match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}"))),
    };
    let texts = [read(SUBUID)?, read(SUBGID)?];
    let find = |text: &str, own: Ids| {
        let found = find_range(text, &name, me).filter(|(_, count)| *count > own.inside + 1);
        found.map(|(first, count)| SubIds { own, first, count })
    };
    match (find(&texts[0], uid), find(&texts[1], gid)) {
        (Some(uids), Some(gids)) => Ok(IdMap::Subuid { uids, gids }),
        (uids, gids) => {
            let lacking = [uids.is_none(), gids.is_none()];
            Err(io::Error::other(no_range(lacking, &texts, &name, me)))
        }
    }
}

/// What is missing of the two files, and the command that mends it.
fn no_range(lacking: [bool; 2], texts: &[String; 2], name: &str, uid: u32) -> String {
    let first = free_range(texts);
    let last = first.saturating_add(COUNT - 1);
    let lacks = |all: [&'static str; 2]| all.into_iter().zip(lacking).filter(|(_, lacks)| *lacks).map(|(one, _)| one);
    let files = lacks([SUBUID, SUBGID]).collect::<Vec<_>>();
    let mend = if name.is_empty() {
        format!("echo {uid}:{first}:{COUNT} | sudo tee -a {}", files.join(" "))
    } else {
        let flags = lacks(["--add-subuids", "--add-subgids"]).map(|flag| format!("{flag} {first}-{last}"));
        format!("sudo usermod {} {name}", flags.collect::<Vec<_>>().join(" "))
    };
    let who = if name.is_empty() { uid.to_string() } else { format!("{name} ({uid})") };
    format!("no range of {COUNT} ids for {who} in {}: {mend}", files.join(" and "))
}

/// The first of as many ids as a sandbox has that nobody has in either file, nor tier root.
fn free_range(texts: &[String; 2]) -> u32 {
    const START: u32 = 100_000;
    let ranges = texts.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let mut numbers = line.trim().split(':').skip(1).map_while(|part| part.parse::<u32>().ok());
        Some((numbers.next()?, numbers.next()?))
    });
    let mut taken: Vec<(u32, u32)> = ranges.chain([(SHIFT, COUNT)]).collect();
    taken.sort_unstable();
    let mut first = START;
    for (theirs, count) in taken {
        if theirs.saturating_add(count) > first && theirs < first.saturating_add(COUNT) {
            first = theirs.saturating_add(count);
        }
    }
    first
}

/// The longest range of `name` or `uid` in the text of `/etc/subuid`.
fn find_range(text: &str, name: &str, uid: u32) -> Option<(u32, u32)> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.trim().split(':');
            let (who, first, count) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            (who == name || who.parse() == Ok(uid)).then_some((first, count))
        })
        .max_by_key(|(_, count)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_range_of_a_user_is_found() {
        let text = "a:1:2\ndev:100000:65536\ndev:5:6\n1500:7:99999\nbroken\n:::";
        assert_eq!(find_range(text, "dev", 1), Some((100_000, 65_536)));
        assert_eq!(find_range(text, "dev", 1500), Some((7, 99_999)));
        assert_eq!(find_range(text, "none", 1), None);
    }

    #[test]
    fn what_is_missing_comes_with_its_command() {
        let texts = ["dev:100000:65536\nroot:165536:65536\n".to_owned(), "dev:100000:65536\n".to_owned()];
        let text = no_range([true, true], &texts, "ann", 1500);
        assert!(text.ends_with(": sudo usermod --add-subuids 231072-296607 --add-subgids 231072-296607 ann"), "{text}");
        let text = no_range([false, true], &texts, "ann", 1500);
        assert!(text.ends_with("in /etc/subgid: sudo usermod --add-subgids 231072-296607 ann"), "{text}");
        let text = no_range([true, true], &Default::default(), "", 1500);
        assert!(text.ends_with(": echo 1500:100000:65536 | sudo tee -a /etc/subuid /etc/subgid"), "{text}");
    }

    #[test]
    fn a_free_range_is_nobodys() {
        let free = |text: &str| free_range(&[text.to_owned(), String::new()]);
        assert_eq!(free(""), 100_000);
        assert_eq!(free("a:100000:65536\nb:165536:65536"), 231_072);
        assert_eq!(free("b:150000:10\nbroken\n:::"), 150_010);
        assert_eq!(free("a:100000:850000"), SHIFT + COUNT, "not tier root's");
    }

    #[test]
    fn own_id_sits_in_the_middle_of_the_range() {
        let ids = SubIds { own: Ids { inside: 1000, outside: 1500 }, first: 100_000, count: 65_536 };
        assert_eq!(ids.triples(), [0, 100_000, 1000, 1000, 1500, 1, 1001, 101_000, 64_535]);
    }
}
