//! Scenarios that judge a Daytona server over the wire: the mock, the real service, or anyone's.
//!
//! The suite shares no wire types with the mock and knows nothing of its inside. A scenario is a plain async function
//! and one row of a const table ([`scenarios::AREAS`]); the function's doc comment is the rule that it checks.
//!
//! ```no_run
//! # async fn judge() -> daytona_conformance::stop::Result {
//! use daytona_conformance::{Plan, Target, run};
//!
//! let target = Target::new("http://127.0.0.1:3986/api", "dtn_…");
//! let report = run(Plan::default(), target).await?;
//! assert_eq!(report.exit_code(), 0, "{}", report.to_json());
//! # Ok(())
//! # }
//! ```

pub mod baseline;
pub mod check;
pub mod cli;
pub mod client;
pub mod context;
pub mod contract;
mod count;
mod interrupt;
pub mod judge;
mod law;
pub mod ledger;
pub mod mock;
pub mod mutants;
mod plain;
mod prelude;
mod receiver;
pub mod report;
pub mod run;
mod s3;
pub mod sandbox;
pub mod scenario;
pub mod scenarios;
pub mod sdk;
pub mod stop;
pub mod sweep;
pub mod transcript;

pub use report::{Outcome, Report};
pub use run::{Plan, Selection, Target, run, run_observed};
