//! `/process/session`: long-lived shells whose commands keep their logs.

mod command;
mod end;
pub mod entrypoint;
mod exec;
mod logs;
mod markers;
mod shell;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::{command::Command, shell::Shell};
use super::{
    Ctx, ToolboxError,
    body::{Body, Field, JsonBody, Kind},
    go_errors,
    json::GoJson,
    process::shell::{find_program, user_shell},
    sdk_version::{Release, SdkVersion},
};
use crate::limits;

/// The session that runs an image's main program.
const ENTRYPOINT: &str = "entrypoint";

/// The first SDK whose sessions start in the work directory and not at home.
const WORK_DIR_SINCE: Release = Release::new(0, 103, 0);

pub fn routes() -> Router<Ctx> {
    Router::new()
        .route("/process/session", get(list).post(create))
        .route("/process/session/entrypoint/logs", get(logs::entrypoint_logs))
        .route("/process/session/{session}", get(get_one).delete(delete))
        .route("/process/session/{session}/exec", post(exec::exec))
        .route("/process/session/{session}/command/{command}", get(get_command))
        .route("/process/session/{session}/command/{command}/input", post(exec::input))
        .route("/process/session/{session}/command/{command}/logs", get(logs::logs))
}

/// The sessions of one agent.
#[derive(Default)]
pub struct Sessions {
    by_id: Mutex<HashMap<String, Arc<Session>>>,
    /// Held while the entrypoint's is started for somebody who asks.
    waking: tokio::sync::Mutex<()>,
}

struct Session {
    shell: Shell,
    /// Holds a directory for each command.
    dir: PathBuf,
    commands: Mutex<Vec<Arc<Command>>>,
}

impl Sessions {
    fn get(&self, id: &str) -> Result<Arc<Session>, ToolboxError> {
        self.by_id.lock().get(id).cloned().ok_or_else(|| ToolboxError::not_found("session not found"))
    }
}

impl Session {
    fn command(&self, id: &str) -> Result<Arc<Command>, ToolboxError> {
        let commands = self.commands.lock();
        let found = commands.iter().find(|command| command.id == id).cloned();
        found.ok_or_else(|| ToolboxError::not_found("command not found"))
    }

    fn to_wire(&self, id: &str) -> WireSession {
        let commands = self.commands.lock().iter().map(|command| WireCommand::from(&**command)).collect();
        WireSession { session_id: id.to_owned(), commands }
    }
}

/// `Session` of the contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireSession {
    session_id: String,
    commands: Vec<WireCommand>,
}

/// `Command` of the contract. No exit code while it runs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireCommand {
    id: String,
    command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
}

impl From<&Command> for WireCommand {
    fn from(command: &Command) -> WireCommand {
        let exit_code = command.progress().exit_code;
        WireCommand { id: command.id.clone(), command: command.text.clone(), exit_code }
    }
}

/// `CreateSessionRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CreateSessionRequest {
    session_id: String,
}

impl JsonBody for CreateSessionRequest {
    const NAME: &'static str = "CreateSessionRequest";
    const FIELDS: &'static [Field] = &[Field::required("sessionId", "SessionId", Kind::Str)];
}

/// `CreateSession`: 201 without a body; 409 for an id in use.
async fn create(
    State(ctx): State<Ctx>,
    sdk: SdkVersion,
    Body(CreateSessionRequest { session_id }): Body<CreateSessionRequest>,
) -> Result<StatusCode, ToolboxError> {
    if session_id == ENTRYPOINT {
        let reserved = "provided session ID is reserved and cannot be created/overridden";
        return Err(ToolboxError::bad_request(reserved));
    }
    let mut sessions = ctx.sessions().by_id.lock();
    if sessions.contains_key(&session_id) {
        return Err(ToolboxError::conflict("session already exists"));
    }
    let most = limits::inside().sessions;
    if sessions.len() >= most {
        return Err(ToolboxError::bad_request(format!("no more than {most} sessions")));
    }
    let cwd = if sdk.is_before(WORK_DIR_SINCE) { &ctx.config().home } else { &ctx.config().work_dir };
    let session = start(&ctx, cwd, &session_id).map_err(|error| ToolboxError::internal(go_errors::text(&error)))?;
    sessions.insert(session_id, Arc::new(session));
    Ok(StatusCode::CREATED)
}

fn start(ctx: &Ctx, cwd: &std::path::Path, id: &str) -> std::io::Result<Session> {
    let (config, env) = (ctx.config(), ctx.env());
    let program = find_program(&user_shell(&env), &env).ok_or(std::io::ErrorKind::NotFound)?;
    let shell = Shell::start(&program, cwd, &env)?;
    let dir = config.home.join(".daytona/sessions").join(directory_name(id));
    Ok(Session { shell, dir, commands: Mutex::default() })
}

/// A file name for any id: as it is where that is one, else its hash. (The original uses it as a path.)
fn directory_name(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if id.len() <= 128 && id.bytes().all(plain) && !id.starts_with(['.', '~']) {
        return id.to_owned();
    }
    let hash = Sha256::digest(id).iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("~{hash}")
}

/// `ListSessions`.
async fn list(State(ctx): State<Ctx>) -> impl IntoResponse {
    let sessions = ctx.sessions().by_id.lock();
    GoJson(sessions.iter().map(|(id, session)| session.to_wire(id)).collect::<Vec<_>>())
}

/// `GetSession`, and `GetEntrypointSession`, which is 404 where nothing is run.
async fn get_one(State(ctx): State<Ctx>, Path(id): Path<String>) -> Result<impl IntoResponse, ToolboxError> {
    entrypoint::awaken(&ctx, &id).await;
    Ok(GoJson(ctx.sessions().get(&id)?.to_wire(&id)))
}

/// `GetSessionCommand`.
async fn get_command(
    State(ctx): State<Ctx>,
    Path((session, command)): Path<(String, String)>,
) -> Result<impl IntoResponse, ToolboxError> {
    entrypoint::awaken(&ctx, &session).await;
    let command = ctx.sessions().get(&session)?.command(&command)?;
    Ok(GoJson(WireCommand::from(&*command)))
}

/// `DeleteSession`: 204 when its processes are gone, its logs too.
async fn delete(State(ctx): State<Ctx>, Path(id): Path<String>) -> Result<StatusCode, ToolboxError> {
    if id == ENTRYPOINT {
        return Err(ToolboxError::bad_request("can't delete entrypoint session"));
    }
    let session = ctx.sessions().by_id.lock().remove(&id);
    let session = session.ok_or_else(|| ToolboxError::not_found("session not found"))?;
    session.commands.lock().iter().for_each(|command| command.cancel());
    // A task of its own: a client that goes away leaves no half-deleted session.
    let ending = tokio::spawn(async move {
        end::terminate(&session.shell).await;
        tokio::fs::remove_dir_all(&session.dir).await
    });
    // That there is no directory is what was wanted; and the session is gone in any case.
    let _ = ending.await;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::directory_name;

    #[test]
    fn plain_ids_are_their_own_directory() {
        assert_eq!(directory_name("build-1.x_y"), "build-1.x_y");
        assert_ne!(directory_name("a/b"), directory_name("a_b"));
        assert_ne!(directory_name(".."), "..");
    }

    proptest! {
        #[test]
        fn no_id_leaves_the_directory(id in ".*") {
            let name = directory_name(&id);
            prop_assert!(!name.is_empty() || id.is_empty());
            prop_assert!(!name.contains(['/', '\0']) && !name.starts_with('.') && name.len() <= 128);
        }
    }
}
