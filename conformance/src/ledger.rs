//! What a run has made, on disk: whatever happens to the suite, `sweep` finds it again.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The label that every sandbox of a run carries, with the run's id as its value.
pub const RUN_LABEL: &str = "conformance-run";
/// The label that says that a sandbox is one of this suite's at all.
pub const SUITE_LABEL: &str = "conformance";

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub api_url: String,
    /// The operation that made it, or `gone`.
    pub event: String,
    /// How to remove it, below the API's base URL.
    pub path: String,
    pub at: chrono::DateTime<chrono::Utc>,
}

/// Append-only, and there once something was made. Losing it loses nothing but `sweep`'s knowledge of what has no labels,
/// so failures to write are said once and don't stop a run.
pub struct Ledger {
    api_url: String,
    /// `None`: nothing is kept, or can be kept.
    path: Mutex<Option<PathBuf>>,
}

impl Ledger {
    /// The ledger of a new run.
    pub fn create(run: &str, api_url: &str) -> Self {
        let path = directory().map(|dir| dir.join(format!("{run}.jsonl")));
        if let Err(error) = &path {
            eprintln!("no ledger of what this run makes: {error}");
        }
        Self { api_url: api_url.to_owned(), path: Mutex::new(path.ok()) }
    }

    /// One that keeps nothing: for a server that goes away with the run.
    pub fn none() -> Self {
        Self { api_url: String::new(), path: Mutex::new(None) }
    }

    /// The run is over: a ledger of which nothing is left goes away.
    pub(crate) fn close(&self) {
        let Some(path) = self.path.lock().take() else { return };
        if fs::read_to_string(&path).is_ok_and(|text| left(&text).is_empty()) {
            _ = fs::remove_file(path);
        }
    }

    pub(crate) fn made(&self, operation: &str, path: &str) {
        self.append(operation, path);
    }

    pub(crate) fn gone(&self, path: &str) {
        self.append("gone", path);
    }

    fn append(&self, event: &str, path: &str) {
        let mut file = self.path.lock();
        let Some(open) = file.as_deref() else { return };
        let (api_url, event, path) = (self.api_url.clone(), event.to_owned(), path.to_owned());
        let entry = Entry { api_url, event, path, at: chrono::Utc::now() };
        let line = serde_json::to_string(&entry).expect("an entry is plain data") + "\n";
        if let Err(error) = write(open, &line) {
            eprintln!("no ledger of what this run makes: {}: {error}", open.display());
            *file = None;
        }
    }
}

fn write(path: &Path, line: &str) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}

/// Where ledgers are: below the XDG state directory.
pub fn directory() -> io::Result<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    let none = || io::Error::other("neither XDG_STATE_HOME nor HOME is set");
    Ok(state.or_else(home).ok_or_else(none)?.join("daytona-conformance/ledger"))
}

/// What the ledger of a run says is still there, in the order in which it should go.
pub fn left(text: &str) -> Vec<Entry> {
    let mut left: Vec<Entry> = Vec::new();
    for entry in text.lines().filter_map(|line| serde_json::from_str::<Entry>(line).ok()) {
        if entry.event == "gone" {
            left.retain(|earlier| earlier.path != entry.path);
        } else {
            left.push(entry);
        }
    }
    left.reverse();
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_not_left() {
        let line = |event: &str, path: &str| {
            let (api_url, at) = ("u".to_owned(), chrono::Utc::now());
            serde_json::to_string(&Entry { api_url, event: event.into(), path: path.into(), at }).unwrap()
        };
        let lines =
            [line("createSandbox", "/sandbox/a"), line("createApiKey", "/api-keys/b"), line("gone", "/sandbox/a")];
        let text = lines.join("\n") + "\nhalf a li";
        assert_eq!(left(&text).into_iter().map(|entry| entry.path).collect::<Vec<_>>(), ["/api-keys/b"]);
    }
}
