//! Why a scenario ends before its last line.

use std::fmt;

/// What `?` carries out of a scenario. A verdict on the server is a [`Check`](crate::check::Check) and stops nothing.
#[derive(Debug)]
pub enum Stop {
    /// The server did not get the scenario to the point where its rule could be judged. Counts as failed.
    Untestable(String),
    /// The server doesn't offer what the scenario needs, and says so.
    NotApplicable(String),
    /// What the run may use up left no room for it: no verdict.
    NotRun(String),
    /// The suite itself is at fault, or the machine that it runs on.
    Harness(String),
}

/// What scenarios and their helpers return.
pub type Result<T = (), E = Stop> = std::result::Result<T, E>;

impl Stop {
    /// See [`Stop::Untestable`].
    pub fn untestable(why: impl fmt::Display) -> Self {
        Self::Untestable(why.to_string())
    }

    /// See [`Stop::NotApplicable`].
    pub fn not_applicable(what: impl fmt::Display) -> Self {
        Self::NotApplicable(what.to_string())
    }

    /// See [`Stop::NotRun`].
    pub fn not_run(why: impl fmt::Display) -> Self {
        Self::NotRun(why.to_string())
    }

    /// See [`Stop::Harness`].
    pub fn harness(why: impl fmt::Display) -> Self {
        Self::Harness(why.to_string())
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untestable(why) | Self::NotRun(why) | Self::Harness(why) => f.write_str(why),
            Self::NotApplicable(what) => write!(f, "not offered: {what}"),
        }
    }
}

impl<E: std::error::Error> From<E> for Stop {
    /// Errors that aren't the server's doing: those of its answers are made where answers are read.
    fn from(error: E) -> Self {
        Self::harness(error)
    }
}
