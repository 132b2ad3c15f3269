//! The servers of a sandbox, and what each has open.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Mutex as AsyncMutex;

use super::{
    connection::{Connection, Failure},
    documents::uri_of,
    language::Language,
};
use crate::{
    limits,
    toolbox::{Ctx, ToolboxError, go_errors},
};

/// Servers that end this often, without an answer in between, are only started again by `start`.
pub const MAX_DEATHS: u32 = 5;
/// A first start may have to compile and index.
const INITIALIZE_LIMIT: Duration = Duration::from_secs(60);
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// For leaving by itself.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

type Key = (&'static str, PathBuf);

/// All of one sandbox, by language and project.
#[derive(Default)]
pub struct Servers(Mutex<HashMap<Key, Arc<Server>>>);

impl Servers {
    /// 400 `LSP_SERVER_NOT_INITIALIZED` when nobody started it.
    pub fn get(&self, language: &'static Language, project: &Path) -> Result<Arc<Server>, ToolboxError> {
        let found = self.0.lock().get(&(language.id, project.to_owned())).cloned();
        found.ok_or_else(|| {
            let message = "bad request: server not initialized";
            ToolboxError::new(axum::http::StatusCode::BAD_REQUEST, "LSP_SERVER_NOT_INITIALIZED", message)
        })
    }

    /// Starts a server, unless it runs already.
    pub async fn start(&self, ctx: &Ctx, language: &'static Language, project: &Path) -> Result<(), ToolboxError> {
        let server = self.entry(language, project)?;
        server.state.lock().await.deaths = 0;
        let started = server.connection(ctx).await;
        if started.is_err() {
            self.forget(&server);
        }
        started.map(drop)
    }

    fn entry(&self, language: &'static Language, project: &Path) -> Result<Arc<Server>, ToolboxError> {
        let mut servers = self.0.lock();
        let key = (language.id, project.to_owned());
        if !servers.contains_key(&key) && servers.len() >= limits::inside().language_servers {
            return Err(ToolboxError::bad_request(format!("{} language servers run already", servers.len())));
        }
        let new = || Arc::new(Server { language, project: project.to_owned(), state: AsyncMutex::default() });
        Ok(servers.entry(key).or_insert_with(new).clone())
    }

    fn forget(&self, server: &Arc<Server>) {
        let (mut servers, key) = (self.0.lock(), (server.language.id, server.project.clone()));
        if servers.get(&key).is_some_and(|known| Arc::ptr_eq(known, server)) {
            servers.remove(&key);
        }
    }

    /// Stops a server; 500 when there is none (observed).
    pub async fn stop(&self, language: &'static Language, project: &Path) -> Result<(), ToolboxError> {
        let server = self.0.lock().remove(&(language.id, project.to_owned()));
        let server = server
            .ok_or_else(|| ToolboxError::internal(format!("no {} server for {}", language.id, project.display())))?;
        let connection = server.state.lock().await.connection.take();
        if let Some(connection) = connection.filter(|connection| connection.is_alive()) {
            let leave = async {
                _ = connection.request("shutdown", Value::Null, SHUTDOWN_LIMIT).await;
                connection.notify("exit", Value::Null).await;
                connection.ended().await;
            };
            // One that doesn't leave is killed as the connection goes.
            _ = tokio::time::timeout(SHUTDOWN_LIMIT, leave).await;
        }
        Ok(())
    }
}

/// A language's server for a project.
pub struct Server {
    language: &'static Language,
    pub project: PathBuf,
    state: AsyncMutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// Since it last answered.
    deaths: u32,
    /// Versions of what is open.
    documents: BTreeMap<PathBuf, u64>,
}

impl Server {
    /// Asks, of a server that is started again if it has ended.
    pub async fn request(&self, ctx: &Ctx, method: &str, params: Value) -> Result<Value, ToolboxError> {
        let connection = self.connection(ctx).await?;
        let reply = connection.request(method, params, REQUEST_LIMIT).await;
        if !matches!(reply, Err(Failure::Ended(_))) {
            self.state.lock().await.deaths = 0;
        }
        Ok(reply?)
    }

    /// Opens a document with what is in its file; brings it up to date if it is open. 400 for what can't be read.
    pub async fn open(&self, ctx: &Ctx, path: &Path) -> Result<(), ToolboxError> {
        let text = read(path).await?;
        let connection = self.connection(ctx).await?;
        let mut state = self.state.lock().await;
        if state.documents.len() >= limits::inside().lsp_documents && !state.documents.contains_key(path) {
            return Err(ToolboxError::bad_request(format!("{} documents are open already", state.documents.len())));
        }
        let version = state.documents.get(path).map_or(1, |version| version + 1);
        let uri = uri_of(path);
        if version == 1 {
            connection.notify("textDocument/didOpen", self.opened(path, 1, &text)).await;
        } else {
            let params = json!({"textDocument": {"uri": uri, "version": version}, "contentChanges": [{"text": text}]});
            connection.notify("textDocument/didChange", params).await;
        }
        state.documents.insert(path.to_owned(), version);
        Ok(())
    }

    /// Closes a document; nothing for one that isn't open.
    pub async fn close(&self, ctx: &Ctx, path: &Path) -> Result<(), ToolboxError> {
        let connection = self.connection(ctx).await?;
        if self.state.lock().await.documents.remove(path).is_some() {
            let params = json!({"textDocument": {"uri": uri_of(path)}});
            connection.notify("textDocument/didClose", params).await;
        }
        Ok(())
    }

    fn opened(&self, path: &Path, version: u64, text: &str) -> Value {
        let language = self.language.of_document(path);
        json!({"textDocument": {"uri": uri_of(path), "languageId": language, "version": version, "text": text}})
    }

    /// A server that runs.
    async fn connection(&self, ctx: &Ctx) -> Result<Arc<Connection>, ToolboxError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(connection.clone());
        }
        if state.connection.is_some() {
            state.deaths += 1;
        }
        if state.deaths >= MAX_DEATHS {
            let message = format!("{} ended {MAX_DEATHS} times in a row: start it again", self.language.program);
            return Err(ToolboxError::internal(message));
        }
        let connection = Arc::new(self.launch(ctx).await?);
        for path in state.documents.keys() {
            // What is gone meanwhile stays closed.
            if let Ok(text) = read(path).await {
                connection.notify("textDocument/didOpen", self.opened(path, 1, &text)).await;
            }
        }
        state.connection = Some(connection.clone());
        Ok(connection)
    }

    async fn launch(&self, ctx: &Ctx) -> Result<Connection, ToolboxError> {
        let (uri, name) = (uri_of(&self.project), self.project.file_name().unwrap_or_default().to_string_lossy());
        let env = ctx.env();
        let program = self.language.find(&env, &self.project)?;
        let folder = json!({"uri": uri, "name": name});
        let connection = Connection::start(&program, self.language.args, &env, &self.project, folder.clone())?;
        let params = json!({
            "processId": null,
            "clientInfo": {"name": "daytona-mock", "version": env!("CARGO_PKG_VERSION")},
            "rootPath": self.project,
            "rootUri": uri,
            "workspaceFolders": [folder],
            "capabilities": capabilities(),
        });
        match connection.request("initialize", params, INITIALIZE_LIMIT).await {
            Ok(_) => connection.notify("initialized", json!({})).await,
            // Its fault, not the request's: half of it is missing, perhaps.
            Err(Failure::Refused(message)) => {
                let message = format!("{message} (to install it: {})", self.language.install);
                return Err(ToolboxError::internal(message));
            }
            Err(failure) => return Err(failure.into()),
        }
        Ok(connection)
    }
}

/// Symbols flat, with their locations; completions as plain text.
fn capabilities() -> Value {
    let kinds = |last: u8| json!({"valueSet": (1..=last).collect::<Vec<u8>>()});
    json!({
        "workspace": {"workspaceFolders": true, "configuration": true, "symbol": {"symbolKind": kinds(26)}},
        "textDocument": {
            "synchronization": {"dynamicRegistration": false},
            "documentSymbol": {"hierarchicalDocumentSymbolSupport": false, "symbolKind": kinds(26)},
            "completion": {
                "contextSupport": true,
                "completionItem": {"snippetSupport": false, "documentationFormat": ["plaintext", "markdown"]},
                "completionItemKind": kinds(25),
            },
        },
    })
}

async fn read(path: &Path) -> Result<String, ToolboxError> {
    let refused = |why: &str| ToolboxError::bad_request(format!("open {}: {why}", path.display()));
    let failed = |error: std::io::Error| refused(&go_errors::text(&error));
    let about = tokio::fs::metadata(path).await.map_err(failed)?;
    // A FIFO would never end.
    if !about.is_file() {
        return Err(refused("not a regular file"));
    }
    if about.len() > limits::inside().lsp_message as u64 / 4 {
        return Err(refused("too large"));
    }
    Ok(String::from_utf8_lossy(&tokio::fs::read(path).await.map_err(failed)?).into_owned())
}
