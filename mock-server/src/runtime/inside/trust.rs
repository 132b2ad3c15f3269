//! The authority that a sandbox with secrets trusts, so that its gateway can stand in for servers (`net/intercept.rs`). Made
//! anew at each start: its key is in the server's memory only. What can't be written is left: some program will complain
//! about a certificate, which is better than a sandbox that doesn't start.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The authority alone.
const OWN: &str = "/etc/ssl/daytona-mock-secrets.pem";
/// Where `update-ca-certificates` finds it when it makes the bundle anew.
const ANCHOR: &str = "/usr/local/share/ca-certificates/daytona-mock-secrets.crt";
/// Trust stores of distributions, as Go looks for them. The first is what variables name.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// For programs that have authorities of their own and take some more.
const MORE: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];
/// For those that take others instead of their own.
const INSTEAD: [&str; 5] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE"];
/// A larger file is no trust store.
const LARGEST: u64 = 8 << 20;

/// Puts it (PEM) in the place of the one of the last start, or takes that away. Returns variables for programs that look
/// elsewhere. After the pivot, while nothing else runs inside.
pub fn install(authority: Option<&str>) -> BTreeMap<&'static str, String> {
    let old = read(Path::new(OWN));
    if authority.is_none() && old.is_none() {
        return BTreeMap::new();
    }
    let old = old.unwrap_or_default();
    let bundles: Vec<_> = BUNDLES.into_iter().filter(|bundle| change(Path::new(bundle), &old, authority)).collect();
    let Some(authority) = authority else {
        _ = fs::remove_file(ANCHOR);
        _ = fs::remove_file(OWN);
        return BTreeMap::new();
    };
    // May be on a directory that nobody can write to.
    _ = put(Path::new(ANCHOR), authority);
    let own = put(Path::new(OWN), authority).is_ok().then_some(OWN);
    let more = own.into_iter().flat_map(|own| MORE.map(|name| (name, own.to_owned())));
    let instead = bundles.first().into_iter().flat_map(|bundle| INSTEAD.map(|name| (name, (*bundle).to_owned())));
    more.chain(instead).collect()
}

/// Whether the bundle is there, and has the authority now.
fn change(bundle: &Path, old: &str, authority: Option<&str>) -> bool {
    // Several are links to one file, which is to stay one.
    let Ok(place) = fs::canonicalize(bundle) else { return false };
    let Some(now) = read(&place) else { return false };
    let mut next = if old.is_empty() { now.clone() } else { now.replace(old, "") };
    if let Some(authority) = authority.filter(|authority| !next.contains(authority)) {
        if !next.is_empty() && !next.ends_with('\n') {
            next.push('\n');
        }
        next.push_str(authority);
    }
    next == now || put(&place, &next).is_ok()
}

/// A plain file's text: anything else could keep us waiting.
fn read(path: &Path) -> Option<String> {
    fs::symlink_metadata(path).ok().filter(|meta| meta.is_file() && meta.len() <= LARGEST)?;
    fs::read_to_string(path).ok()
}

/// Whole or not at all, with the mode that it had.
fn put(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let partial = PathBuf::from(format!("{}.daytona-new", path.display()));
    _ = fs::remove_file(&partial);
    let mut options = fs::OpenOptions::new();
    io::Write::write_all(&mut options.write(true).create_new(true).open(&partial)?, text.as_bytes())?;
    let mode = fs::symlink_metadata(path).map(|meta| meta.permissions());
    fs::set_permissions(&partial, mode.unwrap_or(std::os::unix::fs::PermissionsExt::from_mode(0o644)))?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "-----BEGIN CERTIFICATE-----\nb2xk\n-----END CERTIFICATE-----\n";
    const NEW: &str = "-----BEGIN CERTIFICATE-----\nbmV3\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_bundle_has_the_authority_of_the_last_start_only() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (bundle, link) = (dir.path().join("bundle"), dir.path().join("link"));
        fs::write(&bundle, "others").expect("written");
        std::os::unix::fs::symlink(&bundle, &link).expect("a link");
        let text = || fs::read_to_string(&bundle).expect("text");
        assert!(change(&bundle, "", Some(OLD)));
        assert_eq!(text(), format!("others\n{OLD}"));
        assert!(change(&link, OLD, Some(NEW)) && change(&bundle, OLD, Some(NEW)), "one file, twice");
        assert_eq!(text(), format!("others\n{NEW}"));
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert!(change(&bundle, NEW, None));
        assert_eq!(text(), "others\n");
    }

    #[test]
    fn only_plain_files_are_bundles() {
        let dir = tempfile::tempdir().expect("temp dir");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
        for none in [&fifo, dir.path(), &dir.path().join("missing")] {
            assert!(!change(none, "", Some(NEW)), "{}", none.display());
        }
    }
}
