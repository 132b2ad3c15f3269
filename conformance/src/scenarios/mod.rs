//! All scenarios, a module per area.

mod auth;
mod files;
mod process;
mod pty;

use crate::scenario::Scenario;

/// The tables of all areas, in the order in which they are listed.
pub const AREAS: &[&[Scenario]] = &[auth::SCENARIOS, files::SCENARIOS, process::SCENARIOS, pty::SCENARIOS];

/// Every scenario.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    AREAS.iter().flat_map(|area| area.iter())
}
