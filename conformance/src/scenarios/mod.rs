//! All scenarios, a module per area.

mod api_keys;
mod auth;
mod catalogue;
mod create;
mod events;
mod files;
mod lifecycle;
mod lists;
mod previews;
mod process;
mod pty;
mod settings;
mod signing;
mod transport;

use crate::scenario::Scenario;

/// The tables of all areas, in the order in which they are listed.
pub const AREAS: &[&[Scenario]] = &[
    transport::SCENARIOS,
    auth::SCENARIOS,
    api_keys::SCENARIOS,
    catalogue::SCENARIOS,
    create::SCENARIOS,
    lifecycle::SCENARIOS,
    lists::SCENARIOS,
    settings::SCENARIOS,
    previews::SCENARIOS,
    signing::SCENARIOS,
    events::SCENARIOS,
    files::SCENARIOS,
    process::SCENARIOS,
    pty::SCENARIOS,
];

/// Every scenario.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    AREAS.iter().flat_map(|area| area.iter())
}
