//! `--target mock`: a private `daytona-mock` that ends with the run.

use std::{mem, path::PathBuf, process::Stdio, time::Duration};

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
        unless_interrupted(Self::starting()).await
    }

    async fn starting() -> Result<Self> {
        let program = find().ok_or_else(|| {
            Stop::harness("no daytona-mock beside this program or on PATH: cargo build -p daytona-mock makes it")
        })?;
        let mut command = Command::new(&program);
        command.args(["serve", "--ephemeral", "--listen", "127.0.0.1:0", "--json"]);
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
