//! `/__control/faults`: failures on demand, for the calling key's world ([`crate::faults`]).
//!
//! * `POST /faults` with a rule `{match, nth, times, probability, seed, effect}`: 201 and the fault.
//! * `GET /faults`, `GET /faults/{id}`: with `seen` (how often it matched) and `hits` (how often it acted).
//! * `POST /faults/{id}/release`: what it holds goes on, now and later.
//! * `DELETE /faults/{id}`, `DELETE /faults`. A reset removes all.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    api::{ApiError, ApiResult, Body, Caller, created, ok},
    faults::{Fault, Rule},
    model::ControlPlane,
};

pub async fn add(State(cp): State<Arc<ControlPlane>>, caller: Caller, Body(body): Body) -> ApiResult {
    let rule: Rule = serde_json::from_value(Value::Object(body)).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let fault = cp.add_fault(caller.organization(), rule).await.map_err(ApiError::bad_request)?;
    Ok(created(&fault.json()))
}

pub async fn list(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> Response {
    let items: Vec<Value> = cp.faults().list(caller.organization()).iter().map(|fault| fault.json()).collect();
    ok(&json!({"items": items}))
}

pub async fn get(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    Ok(ok(&find(&cp, &caller, &id)?.json()))
}

pub async fn release(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let fault = find(&cp, &caller, &id)?;
    fault.release();
    Ok(ok(&fault.json()))
}

pub async fn remove(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let removed = cp.faults().remove(caller.organization(), &id);
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(&id)) }
}

pub async fn clear(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> StatusCode {
    cp.faults().clear(caller.organization());
    StatusCode::NO_CONTENT
}

fn find(cp: &ControlPlane, caller: &Caller, id: &str) -> ApiResult<Arc<Fault>> {
    cp.faults().get(caller.organization(), id).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no fault {id}"))
}
