//! Who and where this toolbox is: version, work directory, home; and `/init`.

use axum::{extract::State, response::IntoResponse};
use serde::Deserialize;
use serde_json::json;

use super::{
    Ctx,
    body::{Body, Field, JsonBody, Kind},
    json::GoJson,
};

/// `GetVersion`: `{"version"}`.
pub async fn version(State(ctx): State<Ctx>) -> impl IntoResponse {
    GoJson(json!({"version": ctx.config().version}))
}

/// `GetWorkDir`: `{"dir"}`, where relative paths and commands start.
pub async fn work_dir(State(ctx): State<Ctx>) -> impl IntoResponse {
    GoJson(json!({"dir": ctx.config().work_dir}))
}

/// `GetUserHomeDir`: `{"dir"}`. Also `/project-dir`, which SDKs of 2025 still call.
pub async fn home_dir(State(ctx): State<Ctx>) -> impl IntoResponse {
    GoJson(json!({"dir": ctx.config().home}))
}

/// Body of `Initialize`. The token is for telemetry, which this toolbox doesn't send; not required (observed).
#[derive(Deserialize)]
pub struct InitializeRequest {}

impl JsonBody for InitializeRequest {
    const NAME: &'static str = "InitializeRequest";
    const FIELDS: &'static [Field] = &[Field::optional("token", "Token", Kind::Str)];
}

/// `Initialize`: accepts the token and forgets it. Repeatable.
pub async fn init(_: Body<InitializeRequest>) -> impl IntoResponse {
    GoJson(json!({"message": "Auth token set and telemetry initialized successfully"}))
}
