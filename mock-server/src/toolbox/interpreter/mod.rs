//! `/process/interpreter`: contexts that keep the state of Python code, run over WebSockets.

mod execute;
mod output;
mod packets;
mod worker;

use std::{
    collections::HashMap,
    path::{Path as FilePath, PathBuf},
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    extract::{Path, State},
    response::IntoResponse,
    routing::{delete, get},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::worker::Worker;
use super::{
    Ctx, ToolboxError,
    body::{Body, Field, JsonBody, Kind},
    error::timestamp,
    go_errors,
    json::GoJson,
};
use crate::limits::inside;

/// The id of the context for code that names none.
const DEFAULT: &str = "default";

pub fn routes() -> Router<Ctx> {
    Router::new()
        .route("/process/interpreter/context", get(list).post(create))
        .route("/process/interpreter/context/{id}", delete(remove))
        .route("/process/interpreter/execute", get(execute::execute))
}

/// The contexts of one agent.
#[derive(Default)]
pub struct Contexts {
    by_id: Mutex<HashMap<String, Arc<Context>>>,
    default: OnceLock<Arc<Context>>,
}

impl Contexts {
    fn get(&self, ctx: &Ctx, id: Option<&str>) -> Option<Arc<Context>> {
        match id {
            None | Some(DEFAULT) => Some(self.default.get_or_init(|| default_context(ctx)).clone()),
            Some(id) => self.by_id.lock().get(id).cloned(),
        }
    }
}

fn default_context(ctx: &Ctx) -> Arc<Context> {
    let cwd = ctx.config().work_dir.clone();
    Arc::new(Context::new(DEFAULT.to_owned(), cwd.to_string_lossy().into_owned(), cwd))
}

/// One context: variables, imports and functions persist in its worker, which the first execution starts.
struct Context {
    id: String,
    /// As it was asked for.
    cwd: String,
    dir: PathBuf,
    created_at: String,
    /// Held by the execution whose turn it is; the lock is fair, so they run first in, first out (observed).
    worker: tokio::sync::Mutex<Option<Worker>>,
    queue: Semaphore,
    deleted: CancellationToken,
}

impl Context {
    fn new(id: String, cwd: String, dir: PathBuf) -> Context {
        let created_at = timestamp(chrono::Utc::now());
        let (queue, deleted) =
            (Semaphore::new(inside().context_queue.min(Semaphore::MAX_PERMITS)), CancellationToken::new());
        Context { id, cwd, dir, created_at, worker: Default::default(), queue, deleted }
    }

    fn to_wire(&self) -> InterpreterContext<'_> {
        InterpreterContext {
            id: &self.id,
            cwd: &self.cwd,
            created_at: &self.created_at,
            active: !self.deleted.is_cancelled(),
            language: "python",
        }
    }
}

/// `InterpreterContext` of the contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InterpreterContext<'a> {
    id: &'a str,
    cwd: &'a str,
    created_at: &'a str,
    active: bool,
    language: &'static str,
}

/// `CreateContextRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CreateContextRequest {
    cwd: String,
    language: String,
}

impl JsonBody for CreateContextRequest {
    const NAME: &'static str = "CreateContextRequest";
    const FIELDS: &'static [Field] =
        &[Field::optional("cwd", "Cwd", Kind::Str), Field::optional("language", "Language", Kind::Str)];
}

/// `CreateInterpreterContext`: 200 (observed; not 201); 400 for another language than Python, 500 for a directory that
/// code can't run in.
async fn create(
    State(ctx): State<Ctx>,
    Body(request): Body<CreateContextRequest>,
) -> Result<impl IntoResponse, ToolboxError> {
    let CreateContextRequest { cwd, language } = request;
    if !["", "python"].contains(&language.as_str()) {
        return Err(ToolboxError::bad_request(format!("unsupported language: {language}")));
    }
    let cwd = if cwd.is_empty() { ctx.config().work_dir.to_string_lossy().into_owned() } else { cwd };
    let dir = ctx.resolve(&cwd);
    check_directory(&dir).await?;
    let context = Arc::new(Context::new(uuid::Uuid::new_v4().to_string(), cwd, dir));
    let mut by_id = ctx.interpreter().by_id.lock();
    let most = inside().contexts;
    if by_id.len() >= most {
        return Err(ToolboxError::bad_request(format!("no more than {most} interpreter contexts")));
    }
    by_id.insert(context.id.clone(), context.clone());
    Ok(GoJson(context.to_wire()).into_response())
}

async fn check_directory(dir: &FilePath) -> Result<(), ToolboxError> {
    use nix::unistd::{AccessFlags, access};
    let meta = tokio::fs::metadata(dir).await;
    let checked = match meta {
        Ok(meta) if !meta.is_dir() => Err(nix::errno::Errno::ENOTDIR.into()),
        Ok(_) => access(dir, AccessFlags::X_OK).map_err(std::io::Error::from),
        Err(error) => Err(error),
    };
    checked.map_err(|error| {
        ToolboxError::internal(format!(
            "failed to start worker: {}",
            go_errors::path_error("chdir", dir.display(), &error)
        ))
    })
}

/// `ListInterpreterContexts`: without the default one, in no order (observed).
async fn list(State(ctx): State<Ctx>) -> impl IntoResponse {
    let contexts: Vec<_> = ctx.interpreter().by_id.lock().values().cloned().collect();
    let contexts: Vec<_> = contexts.iter().map(|context| context.to_wire()).collect();
    GoJson(json!({"contexts": contexts})).into_response()
}

/// `DeleteInterpreterContext`: its worker is gone when this answers. 400 for the default one, 404 for an unknown one.
async fn remove(State(ctx): State<Ctx>, Path(id): Path<String>) -> Result<impl IntoResponse, ToolboxError> {
    if id == DEFAULT {
        return Err(ToolboxError::bad_request("default context cannot be deleted"));
    }
    let context = ctx.interpreter().by_id.lock().remove(&id);
    let context = context.ok_or_else(|| ToolboxError::not_found(format!("context {id} not found")))?;
    // Whoever runs or waits gives way.
    context.deleted.cancel();
    if let Some(worker) = context.worker.lock().await.take() {
        worker.finish().await;
    }
    Ok(GoJson(json!({"message": "Context deleted successfully"})))
}
