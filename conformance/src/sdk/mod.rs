//! Is an *SDK* right? Drives it through scenarios in which things go wrong, and judges what it told its caller and, by the
//! mock's journal, what it did on the wire.
//!
//! * A driver is a small program in the SDK's language that does what it is told, a JSON line each; [`protocol`] has the
//!   lines, `fixtures/drivers/README.md` and `protocol.schema.json` say the same to those who write one. [`driver`] runs it.
//! * [`scenarios`] is the table: each scenario is an async function over a [`Cx`] with a [`world`] of its own.
//! * [`run`] runs them all, [`report`] puts several SDKs side by side.

pub mod context;
pub mod driver;
pub mod middle;
pub mod protocol;
pub mod report;
pub mod run;
pub mod scenarios;
pub mod world;

pub use context::Cx;
pub use protocol::{Hello, Thrown};
pub use run::{Outcome, Plan, Sdk};
pub use scenarios::Scenario;
