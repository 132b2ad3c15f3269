//! The accessibility tree: what programs tell of their widgets over AT-SPI ([`bus`]), read ([`tree`]), searched
//! ([`find`]) and acted on ([`act`]).
//!
//! Errors: 503 `A11Y_UNAVAILABLE`, 404 `A11Y_NODE_NOT_FOUND` and `A11Y_NO_ACCESSIBLE_ROOT`, 400
//! `A11Y_ACTION_NOT_SUPPORTED`, `A11Y_INVALID_SCOPE` and `A11Y_INVALID_REQUEST`, 500 `A11Y_INTERNAL`.

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

fn invalid(why: impl std::fmt::Display) -> ToolboxError {
    ToolboxError { code: "A11Y_INVALID_REQUEST", ..ToolboxError::bad_request(why) }
}

fn unsupported(why: impl std::fmt::Display) -> ToolboxError {
    ToolboxError { code: "A11Y_ACTION_NOT_SUPPORTED", ..ToolboxError::bad_request(why) }
}

fn internal(why: impl std::fmt::Display) -> ToolboxError {
    ToolboxError { code: "A11Y_INTERNAL", ..ToolboxError::internal(why) }
}
