//! Commands of a session, and data for their input.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ENTRYPOINT, Session,
    command::Command,
    logs::{Style, render},
    markers::STDOUT,
    shell::Order,
};
use crate::limits;
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Body, Field, JsonBody, Kind},
    go_errors,
    json::GoJson,
    process::output::{Part, respond},
};

/// `SessionExecuteRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SessionExecuteRequest {
    command: String,
    run_async: bool,
    /// The old name of `runAsync`.
    r#async: bool,
    suppress_input_echo: bool,
}

impl JsonBody for SessionExecuteRequest {
    const NAME: &'static str = "SessionExecuteRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("command", "Command", Kind::Str),
        Field::optional("runAsync", "RunAsync", Kind::Bool),
        Field::optional("async", "Async", Kind::Bool),
        Field::optional("suppressInputEcho", "SuppressInputEcho", Kind::Bool),
    ];
}

/// `SessionSendInputRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct SessionSendInputRequest {
    data: String,
}

impl JsonBody for SessionSendInputRequest {
    const NAME: &'static str = "SessionSendInputRequest";
    const FIELDS: &'static [Field] = &[Field::required("data", "Data", Kind::Str)];
}

/// `SessionExecuteCommand`: 200 with the output when it is over, or 202 with its id at once; 404 for an unknown session,
/// 410 `SESSION_ENDED` when the shell of this one has ended.
pub async fn exec(
    State(ctx): State<Ctx>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(request): Body<SessionExecuteRequest>,
) -> Result<Response, ToolboxError> {
    if id == ENTRYPOINT {
        return Err(ToolboxError::bad_request("can't execute command in entrypoint session"));
    }
    if request.command.trim().is_empty() {
        return Err(ToolboxError::invalid_body("command cannot be empty"));
    }
    let session = ctx.sessions().get(&id)?;
    let run_async = request.run_async || request.r#async;
    let command = start(&session, request.command, run_async, !request.suppress_input_echo).await?;
    drop(session);
    if run_async {
        let nothing = Value::Null;
        let body =
            json!({"cmdId": command.id, "output": nothing, "stdout": nothing, "stderr": nothing, "exitCode": nothing});
        return Ok((StatusCode::ACCEPTED, GoJson(body)).into_response());
    }
    let progress = command.over().await;
    let code = progress.exit_code.ok_or_else(|| session_ended("session cancelled"))?;
    let log = command.read_log(0, u64::MAX).await.map_err(|error| ToolboxError::internal(go_errors::text(&error)))?;
    Ok(answer(&command.id, code, log, Style::of(&headers)))
}

async fn start(
    session: &Session,
    text: String,
    interactive: bool,
    echo_input: bool,
) -> Result<Arc<Command>, ToolboxError> {
    if session.shell.has_ended() {
        return Err(session_ended("session process has exited"));
    }
    let most = limits::inside().session_commands;
    if session.commands.lock().len() >= most {
        return Err(ToolboxError::bad_request(format!("no more than {most} commands in a session")));
    }
    let id = uuid::Uuid::new_v4().to_string();
    let prepared = Command::prepare(session.dir.join(&id), id, text, interactive, echo_input).await;
    let (command, pipes) = prepared.map_err(|error| ToolboxError::internal(go_errors::text(&error)))?;
    let command = Arc::new(command);
    let order = Order { command: command.clone(), pipes, interactive };
    if !session.shell.submit(order) {
        return Err(match session.shell.has_ended() {
            true => session_ended("session process has exited"),
            false => ToolboxError::bad_request("too many commands wait in this session"),
        });
    }
    session.commands.lock().push(command.clone());
    Ok(command)
}

/// All five keys always; `stdout` and `stderr` are null for clients that take the log apart themselves.
fn answer(id: &str, code: i32, log: Vec<u8>, style: Style) -> Response {
    let mut parts: Vec<Part> = vec![format!("{{\"cmdId\":\"{id}\",").as_str().into()];
    parts.extend(render(log, style));
    parts.push(format!(",\"exitCode\":{code}}}").as_str().into());
    respond(parts)
}

/// `SendInput`: 204; a newline is added where there is none, and the log shows the data unless the command was started
/// with `suppressInputEcho`. 410 when the command is over.
pub async fn input(
    State(ctx): State<Ctx>,
    Path((session, command)): Path<(String, String)>,
    Body(request): Body<SessionSendInputRequest>,
) -> Result<StatusCode, ToolboxError> {
    if session == ENTRYPOINT {
        return Err(ToolboxError::bad_request("can't send input to entrypoint session"));
    }
    let session = ctx.sessions().get(&session)?;
    let command = session.command(&command)?;
    if let Some(code) = command.progress().exit_code {
        return Err(completed(format!("command has already completed with exit code {code}")));
    }
    if session.shell.has_ended() {
        return Err(session_ended("session process has exited"));
    }
    let mut data = request.data.into_bytes();
    if !data.ends_with(b"\n") {
        data.push(b'\n');
    }
    command.send_input(&data).await.map_err(|_| completed("command takes no input".to_owned()))?;
    if command.echo_input {
        let echo = data.split_inclusive(|&byte| byte == b'\n').flat_map(|line| [&STDOUT[..], line]).collect::<Vec<_>>();
        command.append(echo.concat()).await.map_err(|error| ToolboxError::internal(go_errors::text(&error)))?;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn session_ended(message: &str) -> ToolboxError {
    ToolboxError { code: "SESSION_ENDED", ..ToolboxError::gone(message) }
}

fn completed(message: String) -> ToolboxError {
    ToolboxError { code: "COMMAND_ALREADY_COMPLETED", ..ToolboxError::gone(message) }
}
