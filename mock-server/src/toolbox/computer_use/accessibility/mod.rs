//! The accessibility tree: what programs tell of their widgets over AT-SPI ([`bus`]), read ([`tree`]), searched
//! ([`find`]) and acted on ([`act`]).
//!
//! Errors: 503 `A11Y_UNAVAILABLE`, else the codes that all operations have: `DaemonErrorCode` of the contract has no others of
//! accessibility any more (releases up to 0.190 had, observed), and clients generated from it can't read what it doesn't have.

mod act;
mod bus;
mod find;
mod tree;

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};

use crate::toolbox::{Ctx, ToolboxError};

pub fn routes() -> Router<Ctx> {
    Router::new()
        .route("/computeruse/a11y/tree", get(tree::tree))
        .route("/computeruse/a11y/find", post(find::find))
        .route("/computeruse/a11y/node/focus", post(act::focus))
        .route("/computeruse/a11y/node/invoke", post(act::invoke))
        .route("/computeruse/a11y/node/value", post(act::set_value))
}

fn unavailable(why: &str) -> ToolboxError {
    let message = format!("accessibility is not available: {why}");
    ToolboxError::new(StatusCode::SERVICE_UNAVAILABLE, "A11Y_UNAVAILABLE", message)
}
