//! `/__control`: what a test needs and a cloud doesn't have (keys, reset, operations, clock).

use std::sync::Arc;

use axum::Router;

use crate::model::ControlPlane;

/// Paths relative to `/__control`.
pub fn router(_cp: Arc<ControlPlane>) -> Router {
    Router::new()
}
