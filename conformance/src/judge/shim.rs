//! Listens inside the program: for Node through `NODE_OPTIONS=--require`, for Python through `sitecustomize`. What they see are
//! uses of members that the SDK doesn't have and of methods without what they need, which end in an error before any
//! request. They change nothing: the same error is thrown.

use std::{ffi::OsString, path::Path};

use serde::Deserialize;

use crate::stop::Result;

/// The file that the shims write to.
const FILE: &str = "DAYTONA_CONFORMANCE_MISUSES";

/// A use that can't be right.
#[derive(Clone, Debug, Deserialize)]
pub struct Misuse {
    pub kind: Kind,
    /// The class.
    pub on: String,
    pub name: String,
    /// What was left out, or what was wrong.
    pub argument: Option<String>,
    /// The right one.
    pub instead: Option<String>,
    /// `file:line:column` in the program.
    pub at: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The SDK has no such member.
    Member,
    /// An argument is missing.
    Argument,
    /// An argument has a value that isn't one.
    Value,
}

/// The shims in a directory of their own, which goes with this.
pub struct Shim(tempfile::TempDir);

impl Shim {
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("daytona-conformance-").tempdir()?;
        let files = [
            ("node.cjs", include_str!("shim/node.cjs")),
            ("node-hooks.mjs", include_str!("shim/node-hooks.mjs")),
            ("wrong.json", include_str!("shim/wrong.json")),
            ("sitecustomize.py", include_str!("shim/sitecustomize.py")),
        ];
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text)?;
        }
        Ok(Self(dir))
    }

    /// The variables that make Node and Python load them; what the caller had in them stays.
    pub fn environment(&self) -> Vec<(&'static str, Option<OsString>)> {
        let dir = self.0.path();
        let join = |first: OsString, between: &str, name: &str| match std::env::var_os(name) {
            Some(own) if !own.is_empty() => [first, between.into(), own].into_iter().collect(),
            _ => first,
        };
        let require = format!("--require \"{}\"", dir.join("node.cjs").display());
        vec![
            (FILE, Some(self.file().into())),
            ("NODE_OPTIONS", Some(join(require.into(), " ", "NODE_OPTIONS"))),
            ("PYTHONPATH", Some(join(dir.into(), ":", "PYTHONPATH"))),
        ]
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("misuses.jsonl")
    }

    /// What they saw.
    pub fn misuses(&self) -> Vec<Misuse> {
        read(&self.file())
    }
}

fn read(file: &Path) -> Vec<Misuse> {
    parse(&String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()))
}

/// One JSON object a line; the last one may be cut off.
pub fn parse(lines: &str) -> Vec<Misuse> {
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
