//! Starting and stopping the desktop, and its programs one by one.

use axum::{extract::Path, response::IntoResponse};
use serde_json::json;

use super::request::Screen;
use crate::toolbox::{ToolboxError, json::GoJson};

/// `StartComputerUse`: 200 `ComputerUseStartResponse` once there is a screen. What runs already is left alone. 503
/// without an X server.
pub async fn start(Screen(ctx): Screen) -> Result<impl IntoResponse, ToolboxError> {
    let starting = ctx.clone();
    // A task of its own: a client that goes away leaves no half-started desktop.
    let started = tokio::spawn(async move { starting.desktop().start(&starting).await }).await;
    started.map_err(|_| ToolboxError::internal("the desktop failed to start"))??;
    let message = "Computer use processes started successfully";
    Ok(GoJson(json!({"message": message, "status": ctx.desktop().statuses()})))
}

/// `StopComputerUse`: 200 `ComputerUseStopResponse` when all are gone.
pub async fn stop(Screen(ctx): Screen) -> Result<impl IntoResponse, ToolboxError> {
    ctx.recordings().stop_all().await;
    let stopping = ctx.clone();
    let stopped = tokio::spawn(async move { stopping.desktop().stop(&stopping).await }).await;
    stopped.map_err(|_| ToolboxError::internal("the desktop failed to stop"))?;
    let message = "Computer use processes stopped successfully";
    Ok(GoJson(json!({"message": message, "status": ctx.desktop().statuses()})))
}

/// `GetComputerUseSystemStatus` and `GetComputerUseStatus`.
pub async fn status(Screen(ctx): Screen) -> Result<impl IntoResponse, ToolboxError> {
    Ok(GoJson(json!({"status": ctx.desktop().status()})))
}

/// `GetProcessStatus`.
pub async fn process_status(Screen(ctx): Screen, Path(name): Path<String>) -> Result<impl IntoResponse, ToolboxError> {
    let (spec, process) = ctx.desktop().process(&name)?;
    Ok(GoJson(json!({"processName": spec.name, "running": process.state().pid.is_some()})))
}

/// `RestartProcess`.
pub async fn restart(Screen(ctx): Screen, Path(name): Path<String>) -> Result<impl IntoResponse, ToolboxError> {
    let (spec, _) = ctx.desktop().process(&name)?;
    let restarting = ctx.clone();
    let restarted = tokio::spawn(async move { restarting.desktop().restart(&restarting, spec.name).await }).await;
    restarted.map_err(|_| ToolboxError::internal("the process failed to start"))??;
    Ok(GoJson(json!({"message": format!("Process {name} restarted successfully"), "processName": name})))
}

/// `GetProcessLogs`: the last that it said on its standard output.
pub async fn logs(Screen(ctx): Screen, Path(name): Path<String>) -> Result<impl IntoResponse, ToolboxError> {
    let (spec, process) = ctx.desktop().process(&name)?;
    Ok(GoJson(json!({"processName": spec.name, "logs": process.output()})))
}

/// `GetProcessErrors`: the last that it said on its standard error, and how it ended.
pub async fn errors(Screen(ctx): Screen, Path(name): Path<String>) -> Result<impl IntoResponse, ToolboxError> {
    let (spec, process) = ctx.desktop().process(&name)?;
    Ok(GoJson(json!({"processName": spec.name, "errors": process.errors()})))
}
