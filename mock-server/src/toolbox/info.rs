//! Who and where this toolbox is: version, work directory, home.

use axum::{Json, extract::State, response::IntoResponse};
use serde_json::json;

use super::Ctx;

/// `GetVersion`: `{"version"}`.
pub async fn version(State(ctx): State<Ctx>) -> impl IntoResponse {
    Json(json!({"version": ctx.config().version}))
}
