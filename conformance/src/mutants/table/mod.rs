//! All mutants, a file for each part of the API.

mod access;
mod account;
mod catalogue;
mod desktop;
mod details;
mod files;
mod git;
mod images;
mod interpreter;
mod lifecycle;
mod lists;
mod lsp;
mod machine;
mod machines;
mod operators;
mod organizations;
mod permissions;
mod previews;
mod process;
mod pty;
mod searches;
mod secrets;
mod sessions;
mod settings;
mod storage;
mod strangers;
mod transport;

use super::{Mutant, On};

const TABLES: &[&[Mutant]] = &[
    transport::MUTANTS,
    access::MUTANTS,
    permissions::MUTANTS,
    strangers::MUTANTS,
    catalogue::MUTANTS,
    lifecycle::MUTANTS,
    lists::MUTANTS,
    settings::MUTANTS,
    previews::MUTANTS,
    files::MUTANTS,
    searches::MUTANTS,
    machine::MUTANTS,
    process::MUTANTS,
    sessions::MUTANTS,
    pty::MUTANTS,
    interpreter::MUTANTS,
    git::MUTANTS,
    lsp::MUTANTS,
    machines::MUTANTS,
    organizations::MUTANTS,
    operators::MUTANTS,
    account::MUTANTS,
    storage::MUTANTS,
    images::MUTANTS,
    secrets::MUTANTS,
    desktop::MUTANTS,
    details::MUTANTS,
];

/// Every mutant.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    TABLES.iter().flat_map(|table| table.iter())
}

type Names = &'static [&'static str];

/// What the tables need.
mod prelude {
    pub(super) use serde_json::{Value, json};
    pub(super) use tokio_tungstenite::tungstenite::Message;

    pub(super) use super::{
        Names, answer, answer_in, down, ignored, ignored_in, request, request_in, stale, stale_in, up,
    };
    pub(super) use crate::mutants::{Change, Flow, Mutant, On, edit::*};
}

/// Wrong answers of these operations.
const fn answer(
    id: &'static str,
    what: &'static str,
    operations: Names,
    change: fn(&super::Asked, &mut super::Answered),
) -> Mutant {
    Mutant::new(id, what, On::Operations(operations), super::Change::Answer(change))
}

/// Requests of these operations misunderstood.
const fn request(id: &'static str, what: &'static str, operations: Names, change: fn(&mut super::Asked)) -> Mutant {
    Mutant::new(id, what, On::Operations(operations), super::Change::Request(change))
}

/// Requests answered and not done.
const fn ignored(id: &'static str, what: &'static str, operations: Names, status: u16, body: &'static str) -> Mutant {
    Mutant::new(id, what, On::Operations(operations), super::Change::Ignored(status, body))
}

/// Reads that never change.
const fn stale(id: &'static str, what: &'static str, operations: Names) -> Mutant {
    Mutant::new(id, what, On::Operations(operations), super::Change::Stale)
}

/// Wrong answers that only these scenarios can see.
const fn answer_in(
    id: &'static str,
    what: &'static str,
    operations: Names,
    scenarios: Names,
    change: fn(&super::Asked, &mut super::Answered),
) -> Mutant {
    Mutant::new(id, what, On::Narrowed(operations, scenarios), super::Change::Answer(change))
}

/// Requests misunderstood as only these scenarios can see.
const fn request_in(
    id: &'static str,
    what: &'static str,
    operations: Names,
    scenarios: Names,
    change: fn(&mut super::Asked),
) -> Mutant {
    Mutant::new(id, what, On::Narrowed(operations, scenarios), super::Change::Request(change))
}

/// Requests answered and not done, as only these scenarios can see.
const fn ignored_in(
    id: &'static str,
    what: &'static str,
    operations: Names,
    scenarios: Names,
    status: u16,
    body: &'static str,
) -> Mutant {
    Mutant::new(id, what, On::Narrowed(operations, scenarios), super::Change::Ignored(status, body))
}

/// Reads that never change, as only these scenarios can see.
const fn stale_in(id: &'static str, what: &'static str, operations: Names, scenarios: Names) -> Mutant {
    Mutant::new(id, what, On::Narrowed(operations, scenarios), super::Change::Stale)
}

type Messages = fn(&mut super::Flow, tokio_tungstenite::tungstenite::Message);

/// WebSockets of these operations, towards the client.
const fn down(id: &'static str, what: &'static str, operations: Names, change: Messages) -> Mutant {
    Mutant::new(id, what, On::Operations(operations), super::Change::Down(change))
}

/// WebSockets of these operations, towards the server.
const fn up(id: &'static str, what: &'static str, operations: Names, change: Messages) -> Mutant {
    Mutant::new(id, what, On::Operations(operations), super::Change::Up(change))
}
