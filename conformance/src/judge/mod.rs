//! Is a *client* right? Runs a program against a private mock and judges what the mock's journal says of it.
//!
//! * [`program`] runs it, lets its output through and keeps a copy; [`shim`] listens inside it for calls of what the SDKs
//!   don't have, which never become requests.
//! * [`call`] is the journal's entries as the rules see them, [`fetch`] gets them by HTTP: no type is shared with the mock.
//! * [`rules`] is the table: each rule is a pure function over [`Evidence`]. [`expect`] adds what a contract file says.
//! * [`verdict`] is what comes of it, [`report`] writes it down.

pub mod call;
pub mod expect;
pub mod fetch;
pub mod program;
pub mod report;
pub mod rules;
pub mod shim;
pub mod verdict;

pub use call::Call;
pub use rules::Rule;
pub use verdict::{Finding, Verdict};

/// Everything that is known of one run of the program.
#[derive(Debug, Default)]
pub struct Evidence {
    /// In the order in which they began.
    pub calls: Vec<Call>,
    /// Sandboxes that the server had when the program had ended, as it lists them.
    pub there: Vec<serde_json::Value>,
    /// It was interrupted, or had no more time: what it would have done later isn't held against it.
    pub unfinished: bool,
    /// What the shims saw, in order.
    pub misuses: Vec<shim::Misuse>,
    /// Standard output and error, as they came.
    pub output: String,
    /// The key that the program was given.
    pub api_key: String,
}

/// One place where a rule doesn't hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What happened, in a sentence.
    pub what: String,
    /// The journal's ids of the calls that show it.
    pub calls: Vec<u64>,
    /// What to do instead, where the rule's own fix can be said more exactly.
    pub fix: Option<String>,
}

impl Seen {
    pub(crate) fn new(what: impl Into<String>, calls: impl IntoIterator<Item = u64>) -> Self {
        Self { what: what.into(), calls: calls.into_iter().collect(), fix: None }
    }
}
