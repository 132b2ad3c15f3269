//! `/process/pty`: interactive terminals, made over HTTP and used over WebSockets.

mod clients;
mod connect;
mod input;
mod limits;
mod modes;
pub mod terminal;
pub mod web;

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    io,
    sync::Arc,
};

use axum::{
    Router,
    extract::{Path, Request, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

pub use self::limits::Limits;
use self::{
    clients::Clients,
    terminal::{Start, Terminal, shell_args, size},
};
use super::{
    Ctx, ToolboxError,
    body::{self, Body, Field, JsonBody, Kind},
    error::timestamp,
    go_errors,
    json::GoJson,
    process::shell::{find_program, user_shell},
};

/// The largest width and height (observed).
const MAX_SIZE: u16 = 1000;

const DEFAULT_SIZE: (u16, u16) = (80, 24);

pub fn routes() -> Router<Ctx> {
    Router::new()
        .route("/process/pty", get(list).post(create))
        .route("/process/pty/create-connect", get(connect::create_connect))
        .route("/process/pty/{session}", get(get_one).delete(delete))
        .route("/process/pty/{session}/connect", get(connect::connect))
        .route("/process/pty/{session}/resize", post(resize))
}

/// The terminals of one agent. A session leaves when its shell ends.
#[derive(Default)]
pub struct Sessions {
    by_id: Mutex<HashMap<String, Arc<Session>>>,
    coming: Arc<tokio::sync::Mutex<()>>,
}

struct Session {
    id: String,
    cwd: String,
    envs: BTreeMap<String, String>,
    created_at: String,
    lazy_start: bool,
    login: bool,
    state: Mutex<SessionState>,
    clients: Clients,
    limits: Limits,
    deleted: CancellationToken,
}

struct SessionState {
    cols: u16,
    rows: u16,
    /// While the shell runs.
    terminal: Option<Arc<Terminal>>,
}

/// What a session is made of.
struct NewSession {
    id: String,
    cwd: Option<String>,
    envs: BTreeMap<String, String>,
    cols: Option<u16>,
    rows: Option<u16>,
    lazy_start: bool,
    /// Whether its shell reads the start-up files of a login.
    login: bool,
}

impl Sessions {
    fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.by_id.lock().get(id).cloned()
    }

    /// From the start of a client's shell to its first frame. The first come is the first served.
    async fn turn(&self) -> OwnedMutexGuard<()> {
        self.coming.clone().lock_owned().await
    }

    /// Takes the id; the shell is started later.
    fn insert(&self, ctx: &Ctx, new: NewSession) -> Result<Arc<Session>, ToolboxError> {
        let mut by_id = self.by_id.lock();
        if by_id.contains_key(&new.id) {
            let message = format!("PTY session with ID '{}' already exists", new.id);
            return Err(ToolboxError::new(StatusCode::CONFLICT, "CONFLICT", message));
        }
        let most = ctx.pty_limits().sessions;
        if by_id.len() >= most {
            return Err(bad_request(format!("no more than {most} PTY sessions")));
        }
        let session = Arc::new(Session::new(ctx, new));
        by_id.insert(session.id.clone(), session.clone());
        Ok(session)
    }

    /// Removes this very session, not a later one with its id.
    fn remove(&self, session: &Arc<Session>) {
        let mut by_id = self.by_id.lock();
        if by_id.get(&session.id).is_some_and(|found| Arc::ptr_eq(found, session)) {
            by_id.remove(&session.id);
        }
    }
}

impl Session {
    fn new(ctx: &Ctx, new: NewSession) -> Session {
        let work_dir = || ctx.config().work_dir.to_string_lossy().into_owned();
        let mut envs = new.envs;
        envs.entry("TERM".into()).or_insert_with(|| "xterm-256color".into());
        let (cols, rows) = (new.cols.unwrap_or(DEFAULT_SIZE.0), new.rows.unwrap_or(DEFAULT_SIZE.1));
        Session {
            id: new.id,
            cwd: new.cwd.filter(|cwd| !cwd.is_empty()).unwrap_or_else(work_dir),
            envs,
            created_at: timestamp(chrono::Utc::now()),
            lazy_start: new.lazy_start,
            login: new.login,
            state: Mutex::new(SessionState { cols, rows, terminal: None }),
            clients: Clients::new(*ctx.pty_limits()),
            limits: *ctx.pty_limits(),
            deleted: CancellationToken::new(),
        }
    }

    /// Starts the shell, unless it runs already.
    fn start(self: &Arc<Session>, ctx: &Ctx) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.terminal.is_some() {
            return Ok(());
        }
        if self.deleted.is_cancelled() || self.clients.exit().is_some() {
            return Err(io::Error::other(self.not_found()));
        }
        let mut env = ctx.env();
        env.extend(self.envs.clone());
        let program = find_program(&user_shell(&env), &env).ok_or(io::ErrorKind::NotFound)?;
        let cwd = ctx.resolve(&self.cwd);
        let args: Vec<&OsStr> = shell_args(self.login).iter().map(OsStr::new).collect();
        let size = size(state.cols, state.rows);
        let start = Start { program: &program, args: &args, cwd: &cwd, env: &env, size, modes: &[] };
        let (terminal, running) = Terminal::start(&start)?;
        state.terminal = Some(terminal);
        let (session, ctx) = (self.clone(), ctx.clone());
        tokio::spawn(async move {
            let exit = running.run(&session.clients, &session.deleted).await;
            ctx.pty().remove(&session);
            let mut state = session.state.lock();
            session.clients.finish(exit);
            state.terminal = None;
        });
        Ok(())
    }

    fn terminal(&self) -> Option<Arc<Terminal>> {
        self.state.lock().terminal.clone()
    }

    fn not_found(&self) -> String {
        not_found(&self.id)
    }

    fn to_wire(&self) -> PtySessionInfo<'_> {
        let state = self.state.lock();
        PtySessionInfo {
            id: &self.id,
            cwd: &self.cwd,
            envs: &self.envs,
            cols: state.cols,
            rows: state.rows,
            created_at: &self.created_at,
            active: state.terminal.is_some(),
            lazy_start: self.lazy_start,
        }
    }
}

/// `PtySessionInfo` of the contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PtySessionInfo<'a> {
    id: &'a str,
    cwd: &'a str,
    envs: &'a BTreeMap<String, String>,
    cols: u16,
    rows: u16,
    created_at: &'a str,
    active: bool,
    lazy_start: bool,
}

/// `PtyCreateRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PtyCreateRequest {
    id: String,
    cwd: Option<String>,
    envs: BTreeMap<String, Option<String>>,
    cols: Option<u16>,
    rows: Option<u16>,
    lazy_start: bool,
}

impl JsonBody for PtyCreateRequest {
    const NAME: &'static str = "PTYCreateRequest";
    const FIELDS: &'static [Field] = &[
        Field::optional("id", "ID", Kind::Str),
        Field::optional("cwd", "Cwd", Kind::Str),
        Field::optional("envs", "Envs", Kind::StrMap),
        Field::optional("cols", "Cols", Kind::Uint16),
        Field::optional("rows", "Rows", Kind::Uint16),
        Field::optional("lazyStart", "LazyStart", Kind::Bool),
    ];
}

/// `PtyResizeRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PtyResizeRequest {
    cols: u16,
    rows: u16,
}

impl JsonBody for PtyResizeRequest {
    const NAME: &'static str = "PTYResizeRequest";
    const FIELDS: &'static [Field] =
        &[Field::optional("cols", "Cols", Kind::Uint16), Field::optional("rows", "Rows", Kind::Uint16)];
}

fn bad_request(message: impl Into<String>) -> ToolboxError {
    ToolboxError::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
}

fn internal(message: impl Into<String>) -> ToolboxError {
    ToolboxError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", message)
}

fn not_found(id: &str) -> String {
    format!("PTY session {id} not found")
}

fn unknown() -> ToolboxError {
    ToolboxError::new(StatusCode::NOT_FOUND, "NOT_FOUND", "PTY session not found")
}

/// `CreatePtySession`: 201; 400 for a missing id or a size above 1000, 409 for an id in use, 500 when the shell can't be
/// started.
async fn create(
    State(ctx): State<Ctx>,
    Body(request): Body<PtyCreateRequest>,
) -> Result<impl IntoResponse, ToolboxError> {
    if request.id.is_empty() {
        return Err(bad_request("session ID is required"));
    }
    for (name, value) in [("cols", request.cols), ("rows", request.rows)] {
        if value.is_some_and(|value| value > MAX_SIZE) {
            return Err(bad_request(format!("invalid value for {name} - must be less than {MAX_SIZE}")));
        }
    }
    let PtyCreateRequest { id, cwd, envs, cols, rows, lazy_start } = request;
    let envs = envs.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
    let session = ctx.pty().insert(&ctx, NewSession { id, cwd, envs, cols, rows, lazy_start, login: true })?;
    if !lazy_start && let Err(error) = session.start(&ctx) {
        ctx.pty().remove(&session);
        tracing::debug!(error = go_errors::text(&error), "no PTY session");
        return Err(internal("failed to start PTY session"));
    }
    Ok((StatusCode::CREATED, GoJson(json!({"sessionId": session.id}))))
}

/// `ListPtySessions`.
async fn list(State(ctx): State<Ctx>) -> impl IntoResponse {
    let sessions: Vec<_> = ctx.pty().by_id.lock().values().cloned().collect();
    let sessions: Vec<_> = sessions.iter().map(|session| session.to_wire()).collect();
    GoJson(json!({"sessions": sessions})).into_response()
}

/// `GetPtySession`.
async fn get_one(State(ctx): State<Ctx>, Path(id): Path<String>) -> Result<impl IntoResponse, ToolboxError> {
    let session = ctx.pty().get(&id).ok_or_else(unknown)?;
    Ok(GoJson(session.to_wire()).into_response())
}

/// `DeletePtySession`: answers when the shell is gone; its clients are told 137.
async fn delete(State(ctx): State<Ctx>, Path(id): Path<String>) -> Result<impl IntoResponse, ToolboxError> {
    let session = ctx.pty().by_id.lock().remove(&id).ok_or_else(unknown)?;
    session.deleted.cancel();
    // Clients that wait for a shell which now never starts.
    if session.terminal().is_none() {
        session.clients.finish(clients::Exit::new(clients::Exit::DELETED));
    }
    // What the kernel itself holds up can't be waited for.
    let _ = tokio::time::timeout(session.limits.closing, session.clients.ended.cancelled()).await;
    Ok(GoJson(json!({"message": "PTY session deleted"})))
}

/// `ResizePtySession`: 410 for an unknown session, 500 for one that was not started yet.
async fn resize(
    State(ctx): State<Ctx>,
    Path(id): Path<String>,
    request: Request,
) -> Result<impl IntoResponse, ToolboxError> {
    let bytes = body::read(request).await.map_err(ToolboxError::invalid_body)?;
    // No body means 0 by 0 (observed).
    let bytes = if bytes.is_empty() { "{}".into() } else { bytes };
    let PtyResizeRequest { cols, rows } = body::parse(&bytes).map_err(ToolboxError::invalid_body)?;
    for (name, value) in [("cols", cols), ("rows", rows)] {
        if value > MAX_SIZE {
            return Err(bad_request(format!("{name} must be less than {MAX_SIZE}")));
        }
    }
    let gone = || ToolboxError::new(StatusCode::GONE, "GONE", not_found(&id));
    let session = ctx.pty().get(&id).ok_or_else(gone)?;
    {
        let mut state = session.state.lock();
        if session.clients.exit().is_some() {
            return Err(gone());
        }
        let Some(terminal) = &state.terminal else { return Err(internal("cannot resize inactive PTY session")) };
        terminal.resize(size(cols, rows)).map_err(|error| internal(go_errors::text(&error)))?;
        (state.cols, state.rows) = (cols, rows);
    }
    Ok(GoJson(session.to_wire()).into_response())
}
