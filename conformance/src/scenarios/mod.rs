//! All scenarios, a module per area.

mod api_keys;
mod archives;
mod audit;
mod auth;
mod catalogue;
mod closed;
mod code_run;
mod computer_use;
mod create;
mod events;
mod files;
mod git;
mod interpreter;
mod laws;
mod lifecycle;
mod linked;
mod lists;
mod lsp;
mod machine;
mod machines;
mod object_storage;
mod old_path;
mod operators;
mod organizations;
mod permissions;
mod previews;
mod process;
mod pty;
mod rate_limits;
mod regions;
mod registries;
mod resizes;
mod secrets;
mod sessions;
mod settings;
mod sign_in;
mod signing;
mod snapshots;
mod ssh;
mod strangers;
mod timers;
mod transport;
mod volumes;
mod warm_pools;
mod webhook_deliveries;
mod webhooks;

use crate::scenario::Scenario;

/// The tables of all areas, in the order in which they are listed.
pub const AREAS: &[&[Scenario]] = &[
    transport::SCENARIOS,
    auth::SCENARIOS,
    api_keys::SCENARIOS,
    permissions::SCENARIOS,
    strangers::SCENARIOS,
    closed::SCENARIOS,
    rate_limits::SCENARIOS,
    catalogue::SCENARIOS,
    create::SCENARIOS,
    lifecycle::SCENARIOS,
    archives::SCENARIOS,
    resizes::SCENARIOS,
    machines::SCENARIOS,
    linked::SCENARIOS,
    lists::SCENARIOS,
    settings::SCENARIOS,
    timers::SCENARIOS,
    previews::SCENARIOS,
    sign_in::SCENARIOS,
    signing::SCENARIOS,
    snapshots::SCENARIOS,
    volumes::SCENARIOS,
    object_storage::SCENARIOS,
    ssh::SCENARIOS,
    registries::SCENARIOS,
    organizations::SCENARIOS,
    operators::SCENARIOS,
    regions::SCENARIOS,
    audit::SCENARIOS,
    webhooks::SCENARIOS,
    webhook_deliveries::SCENARIOS,
    warm_pools::SCENARIOS,
    secrets::SCENARIOS,
    events::SCENARIOS,
    files::info::SCENARIOS,
    files::lists::SCENARIOS,
    files::change::SCENARIOS,
    files::text::SCENARIOS,
    files::upload::SCENARIOS,
    files::download::SCENARIOS,
    files::bulk::SCENARIOS,
    machine::SCENARIOS,
    process::SCENARIOS,
    code_run::SCENARIOS,
    sessions::commands::SCENARIOS,
    sessions::input::SCENARIOS,
    sessions::logs::SCENARIOS,
    sessions::follow::SCENARIOS,
    pty::create::SCENARIOS,
    pty::connect::SCENARIOS,
    pty::exit::SCENARIOS,
    pty::stream::SCENARIOS,
    interpreter::SCENARIOS,
    git::SCENARIOS,
    lsp::SCENARIOS,
    computer_use::processes::SCENARIOS,
    computer_use::screen::SCENARIOS,
    computer_use::input::SCENARIOS,
    computer_use::accessibility::SCENARIOS,
    computer_use::recordings::SCENARIOS,
    old_path::SCENARIOS,
    laws::SCENARIOS,
];

/// Every scenario.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    AREAS.iter().flat_map(|area| area.iter())
}
