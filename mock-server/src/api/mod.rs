//! Control-plane handlers and their wire types, a file per resource. Every route is in [`router`].

pub mod events;

use std::sync::Arc;

use axum::Router;

use crate::model::ControlPlane;

/// The API, with paths relative to `/api`. Wants [`crate::gateway::origin::Origin`] as a request extension.
pub fn router(_cp: Arc<ControlPlane>) -> Router {
    Router::new()
}
