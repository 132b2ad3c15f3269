//! Tests at the wire: a server on port 0, spoken to as a client would. A module per area, mirroring the routes.

mod base;
mod cli;
mod code_run;
mod env;
mod files;
mod gateway;
mod info;
mod metrics;
mod ports;
mod process;
mod proxy;
mod routing;
mod runtime;
mod session;
mod session_logs;
mod support;
