//! Daytona on your own machine: the control plane, the toolbox and real sandboxes in one program.
//!
//! The library comes first: [`MockServer::start`] gives a test a server of its own on a free port; the
//! `daytona-mock` binary is a thin command line around it. `mock-server/README.md` draws the picture.
//!
//! * [`gateway`]: what listens. Routes by host and path, authenticates, forwards to sandboxes.
//! * [`api`]: control-plane handlers and their wire types; [`api::routes`] lists every route.
//! * [`model`]: state machine, rules, ids, clock, store. Knows no HTTP.
//! * [`runtime`]: how a sandbox exists on this machine. The only place with `unsafe`.
//! * [`storage`]: the object storage that build contexts are uploaded to.
//! * [`toolbox`]: what the agent inside each sandbox serves (files, process, sessions, PTY, ...).
//! * [`faults`]: failures on demand.
//! * [`journal`]: what happened: every request, for tests that ask what a client did.
//! * [`audit`]: who did what; kept apart from the rest.
//! * [`webhooks`]: tells endpoints what happens.
//! * [`seed`]: a world from a file.
//! * [`strict`]: is a request what the contract allows?
//! * [`control`]: `/__control`, what a test needs and a cloud doesn't have.

pub mod api;
pub mod audit;
mod authority;
pub mod builds;
pub mod cli;
pub mod config;
pub mod control;
mod data_dir;
pub mod doctor;
mod early;
mod embed;
pub mod faults;
pub mod gateway;
pub mod images;
pub mod journal;
pub mod limits;
pub mod model;
pub mod registry;
pub mod runtime;
pub mod seed;
mod server;
pub mod storage;
pub mod strict;
mod surrogates;
pub mod toolbox;
pub mod webhooks;
mod yaml;

pub use data_dir::Ready;
pub use embed::{ControlError, MintedKey, World};
pub use server::{MockServer, StartupError};
