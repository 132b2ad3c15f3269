//! `POST /__control/seed`: makes what a seed describes ([`crate::seed`]) in the calling key's world; 201 and names and ids.

use std::sync::Arc;

use axum::extract::State;
use serde_json::Value;

use crate::{
    api::{ApiError, ApiResult, Body, Caller, created},
    model::ControlPlane,
    seed::Seed,
};

pub async fn sow(State(cp): State<Arc<ControlPlane>>, caller: Caller, Body(body): Body) -> ApiResult {
    let seed: Seed =
        serde_json::from_value(Value::Object(body)).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let made = seed.sow(&cp, &caller.0).await.map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(created(&made))
}
