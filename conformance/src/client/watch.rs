//! Notices what answers say beyond their scenario: what was made and must go away again, and which operations were
//! really exercised.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;

use super::Answer;
use crate::{contract::Operation, ledger::Ledger};

/// Operations that make something: where its name is in the answer, and how it is removed.
const MAKERS: &[(&str, &str, &str)] = &[
    ("createSandbox", "/id", "/sandbox/{}"),
    ("forkSandbox", "/id", "/sandbox/{}"),
    ("createApiKey", "/name", "/api-keys/{}"),
    ("createVolume", "/id", "/volumes/{}"),
    ("createSnapshot", "/id", "/snapshots/{}"),
    ("createSecret", "/id", "/secret/{}"),
    ("createRegistry", "/id", "/docker-registry/{}"),
    ("createWarmPool", "/id", "/warm-pools/{}"),
    ("createRegion", "/id", "/regions/{}"),
    ("createOrganization", "/id", "/organizations/{}"),
];

/// Something that the suite made on the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Made {
    pub operation: &'static str,
    /// Below the API's base URL.
    pub path: String,
    /// The key that it was made with.
    pub key: Option<String>,
}

/// More undeclared fields of one operation say nothing new.
const MAX_UNDECLARED: usize = 60;
/// A longer one is cut.
const MAX_FIELD: usize = 120;

/// Answers seen, by operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub succeeded: u32,
    pub refused: u32,
    /// See [`contract::undeclared`](crate::contract::undeclared).
    pub undeclared: BTreeSet<String>,
}

/// One for each scenario.
pub(crate) struct Watch {
    ledger: Arc<Ledger>,
    made: Mutex<Vec<Made>>,
    seen: Mutex<BTreeMap<&'static str, Seen>>,
}

impl Watch {
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, made: Mutex::default(), seen: Mutex::default() }
    }

    pub(super) fn answered(&self, operation: Option<&'static Operation>, answer: &Answer, key: Option<&str>) {
        let Some(operation) = operation else { return };
        self.saw(operation.id, answer.is_ok());
        if !answer.is_ok() {
            return;
        }
        let maker = MAKERS.iter().find(|(id, ..)| *id == operation.id);
        let Some((id, path)) =
            maker.and_then(|(id, at, path)| Some((*id, path.replace("{}", answer.at(at).as_str()?))))
        else {
            return;
        };
        self.made(id, &path, key);
    }

    /// Something to be removed when the scenario ends.
    pub fn made(&self, operation: &'static str, path: &str, key: Option<&str>) {
        self.ledger.made(operation, path);
        self.made.lock().push(Made { operation, path: path.to_owned(), key: key.map(str::to_owned) });
    }

    /// An operation was asked, whether it is answered or not.
    pub fn asked(&self, operation: &'static str) {
        self.seen.lock().entry(operation).or_default();
    }

    /// Counts an answer of an operation.
    pub fn saw(&self, operation: &'static str, succeeded: bool) {
        let mut seen = self.seen.lock();
        let seen = seen.entry(operation).or_default();
        *if succeeded { &mut seen.succeeded } else { &mut seen.refused } += 1;
    }

    /// Notes fields of an answer that the contract doesn't have.
    pub fn undeclared(&self, operation: &'static str, fields: impl Iterator<Item = String>) {
        let mut seen = self.seen.lock();
        let known = &mut seen.entry(operation).or_default().undeclared;
        for field in fields {
            if known.len() < MAX_UNDECLARED {
                known.insert(field.chars().take(MAX_FIELD).collect());
            }
        }
    }

    /// What was made since the last call, the latest first.
    pub fn take_made(&self) -> Vec<Made> {
        self.made.lock().drain(..).rev().collect()
    }

    /// Leaves something to whoever outlives this scenario: the sandboxes that scenarios share.
    pub fn forget(&self, path: &str) {
        self.made.lock().retain(|made| made.path != path);
    }

    pub fn take_seen(&self) -> BTreeMap<&'static str, Seen> {
        std::mem::take(&mut self.seen.lock())
    }
}
