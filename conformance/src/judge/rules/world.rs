//! What several rules ask: whose sandbox a call is about, and how sandboxes came and went.

use std::collections::HashMap;

use crate::judge::{Call, Evidence};

/// Operations that make a sandbox.
pub const CREATES: [&str; 2] = ["createSandbox", "forkSandbox"];

/// Names of sandboxes to their ids, as answers told them.
pub struct Names(HashMap<String, String>);

impl Names {
    pub fn of(evidence: &Evidence) -> Self {
        let told = evidence.calls.iter().filter(|call| call.is(&CREATES) || call.is(&["getSandbox"]));
        let pairs = told.filter_map(|call| Some((call.answered("name")?.to_owned(), call.answered("id")?.to_owned())));
        Self(pairs.collect())
    }

    /// The id of the sandbox that a call is about.
    pub fn sandbox<'a>(&'a self, call: &'a Call) -> Option<&'a str> {
        let named = call.sandbox.as_deref()?;
        Some(self.0.get(named).map_or(named, String::as_str))
    }
}

/// Calls that made a sandbox, each with its id.
pub fn created(evidence: &Evidence) -> impl Iterator<Item = (&Call, &str)> {
    let made = evidence.calls.iter().filter(|call| call.is(&CREATES) && call.succeeded());
    made.filter_map(|call| Some((call, call.answered("id")?)))
}

/// Whether the sandbox went away after this call: deleted, or stopped and made to vanish then.
pub fn goes(evidence: &Evidence, names: &Names, sandbox: &str, after: u64) -> bool {
    let of_it = |call: &&Call| call.id > after && call.succeeded() && names.sandbox(call) == Some(sandbox);
    let vanishes = evidence.calls.iter().any(|call| {
        call.is(&CREATES)
            && call.answered("id") == Some(sandbox)
            && call.request.body["autoDeleteInterval"].as_i64() == Some(0)
    });
    evidence.calls.iter().filter(of_it).any(|call| call.is(&["deleteSandbox"]) || vanishes && call.is(&["stopSandbox"]))
}
