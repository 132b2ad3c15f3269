//! The host's `/etc` (and the package database in `/var/lib`) without its secrets.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use walkdir::{DirEntry, WalkDir};

use super::{
    accounts::is_system_id,
    layer::{Layer, Owner},
};
use crate::runtime::RuntimeError;

/// Larger files are data, not configuration.
const MAX_FILE: u64 = 16 << 20;
const MAX_ENTRIES: usize = 100_000;

/// What never leaves the host: secrets, its identity, and what the sandbox has of its own. A `*` at the end is a prefix.
const WITHHELD: &[&str] = &[
    "shadow*",
    "gshadow*",
    "passwd*",
    "group*",
    "subuid*",
    "subgid*",
    "sudoers*",
    "sudo.conf",
    ".pwd.lock",
    "ssl/private",
    "ssh/ssh_host*",
    "ssh/sshd_config*",
    "pki/tls/private",
    "letsencrypt",
    "wireguard",
    "ipsec*",
    "openvpn",
    "krb5.keytab",
    "samba",
    "cups",
    "NetworkManager",
    "netplan",
    "wpa_supplicant*",
    "ppp",
    "docker",
    "containers/auth.json",
    "kubernetes",
    "rancher",
    "vmware-tools",
    "cloud",
    "apt/auth.conf*",
    "apt/apt.conf.d/*proxy*",
    "security/opasswd",
    "crypttab",
    "fstab",
    "exports*",
    "iscsi",
    "tor",
    "postfix/sasl*",
    "machine-id",
    "environment",
    "hostname",
    "hosts",
    "resolv.conf*",
    "mtab",
    "cron.d",
    "crontab",
    "image.setuid-baseline",
];

/// Copies what everyone on the host may read and what is no secret.
pub(super) fn copy_etc(etc: &Path, layer: &mut Layer) -> Result<(), RuntimeError> {
    copy_tree(etc, Path::new("etc"), layer, &|relative| withheld(relative))
}

/// Copies the readable part of a directory to the same place in the layer. What vanishes meanwhile is left out.
pub(super) fn copy_tree(
    source: &Path,
    target: &Path,
    layer: &mut Layer,
    withheld: &dyn Fn(&Path) -> bool,
) -> Result<(), RuntimeError> {
    let wanted = |entry: &DirEntry| {
        entry.depth() == 0 || entry.path().strip_prefix(source).is_ok_and(|path| !withheld(path)) && public(entry)
    };
    let walk = WalkDir::new(source).follow_links(false).into_iter().filter_entry(wanted);
    for entry in walk.filter_map(Result::ok).take(MAX_ENTRIES) {
        let relative = target.join(entry.path().strip_prefix(source).unwrap_or(Path::new("")));
        copy_entry(&entry, &relative, layer)?;
    }
    Ok(())
}

fn copy_entry(entry: &DirEntry, target: &Path, layer: &mut Layer) -> Result<(), RuntimeError> {
    let Ok(meta) = entry.metadata() else { return Ok(()) };
    let mode = meta.permissions().mode();
    let owner = inside_owner(&meta);
    if meta.is_dir() {
        return layer.dir(target, mode & 0o1777, owner);
    }
    if meta.is_symlink() {
        let Ok(link) = fs::read_link(entry.path()) else { return Ok(()) };
        return layer.link(target, link);
    }
    if meta.is_file() && meta.len() <= MAX_FILE && !has_secret(entry.path(), &meta) {
        return match layer.copy(entry.path(), target, mode & 0o777, owner) {
            Err(_) if !entry.path().exists() => Ok(()),
            done => done,
        };
    }
    Ok(())
}

/// People's files become root's: their ids mean nothing inside.
fn inside_owner(meta: &fs::Metadata) -> Owner {
    let keep = |id: u32| if is_system_id(id) { id } else { 0 };
    // The overflow id is what an unmapped owner looks like from a user namespace.
    let keep = |id: u32| if id == 65534 { 0 } else { keep(id) };
    Owner { uid: keep(meta.uid()), gid: keep(meta.gid()) }
}

/// Everyone may read it. Links have no mode of their own and point into the sandbox, wherever they pointed before.
fn public(entry: &DirEntry) -> bool {
    let kind = entry.file_type();
    let readable = |bits: u32| entry.metadata().is_ok_and(|meta| meta.mode() & bits == bits);
    kind.is_symlink() || kind.is_dir() && readable(0o005) || kind.is_file() && readable(0o004)
}

fn withheld(relative: &Path) -> bool {
    let Some(path) = relative.to_str() else { return true };
    WITHHELD.iter().any(|rule| matches_rule(rule, path))
}

fn matches_rule(rule: &str, path: &str) -> bool {
    match rule.split_once('*') {
        None => path == rule,
        // `dir/*word*`: anything in `dir` with that word in it.
        Some((dir, word)) if !word.is_empty() => {
            path.strip_prefix(dir).is_some_and(|name| name.contains(word.trim_end_matches('*')))
        }
        Some((prefix, _)) => path.starts_with(prefix),
    }
}

/// Readable by all and a secret nevertheless: private keys, and URLs with a password in them (package indexes, proxies).
fn has_secret(path: &Path, meta: &fs::Metadata) -> bool {
    const LOOKS_AT: u64 = 1 << 20;
    if meta.len() > LOOKS_AT {
        return false;
    }
    fs::read(path).map_or(true, |content| contains_secret(&content))
}

fn contains_secret(content: &[u8]) -> bool {
    let has_key = memchr::memmem::find(content, b"PRIVATE KEY-----").is_some();
    has_key || memchr::memmem::find_iter(content, b"://").any(|start| has_password(&content[start + 3..]))
}

/// `user:password@host`; a placeholder like `$USER:$PASS@` or `<user>:<password>@` is none.
fn has_password(authority: &[u8]) -> bool {
    let end = authority
        .iter()
        .position(|b| b.is_ascii_whitespace() || b"/\"'<>()[]{}$".contains(b))
        .unwrap_or(authority.len());
    let authority = &authority[..end];
    let Some(at) = memchr::memrchr(b'@', authority) else { return false };
    memchr::memchr(b':', &authority[..at]).is_some_and(|colon| colon > 0 && colon + 1 < at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_identity_are_withheld() {
        for path in
            ["shadow", "shadow-", "gshadow", "sudoers.d", "ssl/private", "ssh/ssh_host_rsa_key", "machine-id", "hosts"]
        {
            assert!(withheld(Path::new(path)), "{path}");
        }
        assert!(withheld(Path::new("apt/apt.conf.d/01proxy")));
        for path in
            ["ssl/certs", "alternatives", "apt/sources.list", "ld.so.cache", "ssh/ssh_config", "apt/apt.conf.d/20x"]
        {
            assert!(!withheld(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn passwords_in_urls_are_seen() {
        assert!(contains_secret(b"index-url = https://me:hunter2@pypi.corp/simple\n"));
        assert!(contains_secret(b"-----BEGIN RSA PRIVATE KEY-----\n"));
        for fine in
            ["https://host:80/a@b", "http://<user>:<pass>@h", "see https://x.org/ and me@x.org", "ssh://git@host"]
        {
            assert!(!contains_secret(fine.as_bytes()), "{fine}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_looked_through(content: Vec<u8>) {
            contains_secret(&content);
        }
    }
}
