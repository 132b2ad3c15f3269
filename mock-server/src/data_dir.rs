//! A server's directory: locked by one server at a time, and where `daytona-mock env` finds the running one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    runtime::{Isolation, base},
    server::StartupError,
};

const LOCK: &str = "lock";
const RUNNING: &str = "server.json";

/// How to reach a server: the ready file, `--json`, and `server.json` in the data directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// Ends in `/api`.
    pub api_url: String,
    pub api_key: String,
    pub toolbox_url: String,
    pub pid: u32,
    pub isolation: Isolation,
    pub version: String,
    /// Address and port that the server listens on.
    pub listen: std::net::SocketAddr,
    /// The same of SSH; `None` if it is off.
    #[serde(default)]
    pub ssh_listen: Option<std::net::SocketAddr>,
    /// Whether it speaks HTTPS there.
    #[serde(default)]
    pub tls: bool,
    /// What clients have to trust, if the server's certificates are of its own authority: a PEM file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<PathBuf>,
}

/// An open data directory; unlocked when dropped, and removed if it was temporary.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: File,
    temporary: Option<tempfile::TempDir>,
}

impl DataDir {
    /// Opens (makes) `path`, or a temporary directory, and locks it.
    pub fn open(path: Option<&Path>) -> Result<DataDir, StartupError> {
        let temporary = match path {
            Some(path) => {
                make(path).map_err(|source| StartupError::at("the data directory", path, source))?;
                None
            }
            None => Some(tempfile::Builder::new().prefix("daytona-mock-").tempdir()?),
        };
        let path =
            temporary.as_ref().map_or_else(|| path.unwrap_or(Path::new(".")), |dir| dir.path()).canonicalize()?;
        let lock = lock(&path)?;
        Ok(DataDir { path, lock, temporary })
    }

    /// True when it goes with the server.
    pub fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes how this server is reached.
    pub fn announce(&self, ready: &Ready) -> io::Result<()> {
        write_private(&self.path.join(RUNNING), ready)
    }

    /// Takes the note back.
    pub fn withdraw(&self) {
        _ = fs::remove_file(self.path.join(RUNNING));
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // Some directories in it may not be entered as they are: [`base::remove_tree`].
            let path = temporary.keep();
            if let Err(error) = base::remove_tree(&path) {
                tracing::warn!(path = %path.display(), %error, "temporary data stays behind");
            }
        }
        // Closing alone isn't enough: a program that is just being started still has a copy of the descriptor.
        _ = self.lock.unlock();
    }
}

/// The server that runs on a data directory, if one does.
pub fn running(data_dir: &Path) -> Option<Ready> {
    let lock = OpenOptions::new().read(true).open(data_dir.join(LOCK)).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => serde_json::from_slice(&fs::read(data_dir.join(RUNNING)).ok()?).ok(),
        // Nobody holds it: what the file says is left from a server that was killed.
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// Removes a ready file, unless it is that of another server that runs: this one may be on its way to being refused.
pub fn forget_ready(path: &Path) -> io::Result<()> {
    let named = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Ready>(&bytes).ok());
    if named.is_some_and(|ready| ready.pid != std::process::id() && is_server(ready.pid)) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a process is of this program, by its name.
fn is_server(pid: u32) -> bool {
    let name = |pid: &str| fs::read(Path::new("/proc").join(pid).join("comm")).ok();
    name(&pid.to_string()).is_some_and(|theirs| Some(theirs) == name("self"))
}

/// Writes JSON that contains a key: mode 0600, all of it or nothing.
pub fn write_private(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    serde_json::to_writer(&mut file, value)?;
    file.write_all(b"\n")?;
    file.persist(path)?;
    Ok(())
}

/// `$XDG_STATE_HOME/daytona-mock` or `~/.local/state/daytona-mock`.
pub fn default_data_dir() -> PathBuf {
    xdg("XDG_STATE_HOME", ".local/state")
}

/// `$XDG_CACHE_HOME/daytona-mock` or `~/.cache/daytona-mock`.
pub fn default_cache_dir() -> PathBuf {
    xdg("XDG_CACHE_HOME", ".cache")
}

fn xdg(variable: &str, below_home: &str) -> PathBuf {
    // The specification wants relative values ignored.
    let base = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(below_home)));
    base.unwrap_or_else(std::env::temp_dir).join("daytona-mock")
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The secret in a file: made at the first start, readable for its user only.
pub fn kept_secret(path: &Path, make: impl FnOnce() -> String) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(secret) if !secret.trim().is_empty() => return Ok(secret.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret = make();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    Ok(secret)
}

fn lock(data_dir: &Path) -> Result<File, StartupError> {
    let path = data_dir.join(LOCK);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open.map_err(|source| StartupError::at("the lock", &path, source))?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            _ = file.read_to_string(&mut pid);
            Err(StartupError::InUse { data_dir: data_dir.to_owned(), pid })
        }
        Err(TryLockError::Error(source)) => Err(StartupError::at("the lock", &path, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_at_a_time() {
        let temp = tempfile::tempdir().expect("temp dir");
        let first = DataDir::open(Some(temp.path())).expect("opens");
        let error = DataDir::open(Some(temp.path())).expect_err("locked").to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        // As a child has it between its fork and its exec.
        let copy = first.lock.try_clone().expect("a copy");
        drop(first);
        DataDir::open(Some(temp.path())).expect("opens again");
        drop(copy);
    }

    #[test]
    fn a_note_left_behind_is_not_a_running_server() {
        let temp = tempfile::tempdir().expect("temp dir");
        let ready = Ready {
            api_url: "http://127.0.0.1:1/api".into(),
            api_key: "dtn_x".into(),
            toolbox_url: "http://127.0.0.1:1/toolbox".into(),
            pid: 1,
            isolation: Isolation::Single,
            version: "0".into(),
            listen: ([127, 0, 0, 1], 1).into(),
            ssh_listen: None,
            tls: false,
            ca_certificate: None,
        };
        let dir = DataDir::open(Some(temp.path())).expect("opens");
        dir.announce(&ready).expect("writes");
        assert_eq!(running(temp.path()).expect("running").api_url, ready.api_url);
        drop(dir);
        assert!(running(temp.path()).is_none());
    }

    #[test]
    fn a_temporary_directory_goes_with_its_server() {
        let dir = DataDir::open(None).expect("opens");
        let path = dir.path().to_owned();
        assert!(path.is_dir());
        drop(dir);
        assert!(!path.exists());
    }
}
