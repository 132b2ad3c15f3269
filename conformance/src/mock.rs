//! `--target mock`: a private `daytona-mock` that ends with the run.

use std::{ffi::OsStr, mem, path::PathBuf, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};

use crate::{
    interrupt::unless_interrupted,
    stop::{Result, Stop},
};

/// The first start derives a base from the host.
const START_TIMEOUT: Duration = Duration::from_secs(180);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// What a shell says of the server that it starts itself, and that ours takes, too: what sandboxes are made of, how they are
/// isolated and bounded. All else (the ready file, data, address, keys, …) is that server's alone, or is told to ours by us.
const SHARED: [&str; 12] = [
    "API_VERSION",
    "BASE",
    "BASE_INCLUDE",
    "BUILDER",
    "ENV",
    "GIT_MIRRORS",
    "ISOLATION",
    "LIMIT",
    "LOG",
    "OFFLINE_BASE",
    "QUOTA",
    "UPSTREAM_CA",
];

/// Those that run.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A running server. [`Mock::stop`] ends it and waits; dropping it asks it to end.
pub struct Mock {
    child: Child,
    pub api_url: String,
    pub api_key: String,
}

impl Mock {
    /// Starts the program that is beside this one, or on PATH, or named by `DAYTONA_MOCK_BIN`.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same, to be judged: what is off by default is on, with limits that nobody meets.
    pub async fn start_complete() -> Result<Self> {
        let limits =
            ["authenticated", "sandbox-create", "sandbox-lifecycle"].map(|limit| format!("{limit}=1000000/60"));
        let options: Vec<&str> = limits.iter().flat_map(|limit| ["--rate-limit", limit]).collect();
        Self::start_with(&options).await
    }

    /// The same, with options of `daytona-mock serve` besides.
    pub async fn start_with(options: &[&str]) -> Result<Self> {
        unless_interrupted(Self::starting(options)).await
    }

    async fn starting(options: &[&str]) -> Result<Self> {
        let program = find().ok_or_else(|| {
            Stop::harness("no daytona-mock beside this program or on PATH: cargo build -p daytona-mock makes it")
        })?;
        let mut command = Command::new(&program);
        command.args(["serve", "--ephemeral", "--listen", "127.0.0.1:0", "--json"]).args(options);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_another_servers(name)) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal is for the suite: it has sandboxes to delete first.
        command.process_group(0);
        let child = command.spawn().map_err(|error| Stop::harness(format!("{}: {error}", program.display())))?;
        // From here on whatever goes wrong ends it.
        let mut mock = Self { child, api_url: String::new(), api_key: String::new() };
        RUNNING.lock().extend(mock.pid());
        (mock.api_url, mock.api_key) = mock.ready().await?;
        Ok(mock)
    }

    /// URL and key, once it is ready.
    async fn ready(&mut self) -> Result<(String, String)> {
        let mut stderr = self.child.stderr.take().ok_or_else(|| Stop::harness("no pipe to daytona-mock"))?;
        let said = tokio::spawn(async move {
            let mut said = Vec::new();
            _ = stderr.read_to_end(&mut said).await;
            String::from_utf8_lossy(&said).into_owned()
        });
        let stdout = self.child.stdout.take().ok_or_else(|| Stop::harness("no pipe to daytona-mock"))?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(START_TIMEOUT, lines.next_line()).await;
        // It goes on writing, and a full pipe would stop it.
        let ready = match line {
            Ok(Ok(Some(line))) => serde_json::from_str::<Value>(&line).unwrap_or_default(),
            Ok(_) => return Err(Stop::harness(format!("daytona-mock did not start: {}", said.await?))),
            Err(_) => return Err(Stop::harness(format!("daytona-mock was not ready within {START_TIMEOUT:?}"))),
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let field = |name: &str| {
            let missing = || Stop::harness(format!("daytona-mock's first line has no {name}"));
            ready[name].as_str().map(str::to_owned).ok_or_else(missing)
        };
        Ok((field("apiUrl")?, field("apiKey")?))
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) {
        self.end();
        if tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            _ = self.child.kill().await;
        }
    }

    /// While it runs.
    fn pid(&self) -> Option<Pid> {
        self.child.id().map(|pid| Pid::from_raw(pid.cast_signed()))
    }

    fn end(&self) {
        if let Some(pid) = self.pid() {
            RUNNING.lock().retain(|running| *running != pid);
            _ = kill(pid, Signal::SIGTERM);
        }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks every mock of this process to end, for who has no time for more.
pub(crate) fn end_all() {
    for pid in mem::take(&mut *RUNNING.lock()) {
        _ = kill(pid, Signal::SIGTERM);
    }
}

/// A variable that tells a server something, and not this one.
fn is_another_servers(name: &OsStr) -> bool {
    let option = name.to_str().and_then(|name| name.strip_prefix("DAYTONA_MOCK_"));
    option.is_some_and(|option| !SHARED.contains(&option))
}

fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("DAYTONA_MOCK_BIN") {
        return Some(named.into());
    }
    let own = std::env::current_exe().ok();
    let dirs = own.iter().flat_map(|own| own.ancestors().skip(1).take(2).map(PathBuf::from));
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Tests run one directory deeper than programs.
    dirs.chain(std::env::split_paths(&path)).map(|dir| dir.join("daytona-mock")).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_another_server_is_not_passed_on() {
        let goes = |name: &str| is_another_servers(OsStr::new(name));
        for option in ["READY_FILE", "LISTEN", "DATA_DIR", "API_KEY", "STRICT", "TLS", "PREVIEW_DOMAIN", "NEW_ONE"] {
            assert!(goes(&format!("DAYTONA_MOCK_{option}")), "{option}");
        }
        for name in ["DAYTONA_MOCK_BASE", "DAYTONA_MOCK_ISOLATION", "DAYTONA_MOCK_LIMIT", "DAYTONA_API_KEY", "PATH"] {
            assert!(!goes(name), "{name}");
        }
    }
}
