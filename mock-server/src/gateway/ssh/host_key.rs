//! The key that the server proves itself with: made at its first start and kept, so that clients that know it go on
//! trusting it.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use russh::keys::{
    Algorithm, PrivateKey,
    ssh_key::{self, LineEnding},
};

const FILE: &str = "ssh_host_ed25519_key";

/// The key in the data directory. Blocking.
pub fn load(data_dir: &Path) -> io::Result<PrivateKey> {
    let path = data_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => PrivateKey::from_openssh(&text).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path),
        Err(error) => Err(error),
    }
}

fn make(path: &Path) -> io::Result<PrivateKey> {
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(io::Error::other)?;
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    // Whole or not at all: half a key would keep the server from starting for ever.
    let partial = path.with_extension("new");
    _ = fs::remove_file(&partial);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&partial, path)?;
    Ok(key)
}

/// `ssh-ed25519 AAAA…`
pub fn public_line(key: &PrivateKey) -> Result<String, ssh_key::Error> {
    key.public_key().to_openssh()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().expect("temp dir");
        let line = public_line(&load(dir.path()).expect("made")).expect("a line");
        assert!(line.starts_with("ssh-ed25519 AAAA"), "{line}");
        assert_eq!(public_line(&load(dir.path()).expect("read")).expect("a line"), line);
        let mode = fs::metadata(dir.path().join(FILE)).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
