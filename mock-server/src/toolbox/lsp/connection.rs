//! A language server's process, spoken to in JSON-RPC.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    os::unix::process::CommandExt,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::frame;
use crate::toolbox::{
    ToolboxError, go_errors,
    process::{group::Group, tail::tail},
};

/// Messages that wait to be written; more wait with whoever sends them.
const QUEUE: usize = 64;
/// Of what a server says on its standard error, this much is kept for the day it ends.
const MAX_STDERR: usize = 2048;
/// Between the end of its output and its own end.
const GRACE: Duration = Duration::from_secs(2);
/// JSON-RPC's code for a method that isn't there.
const METHOD_NOT_FOUND: i64 = -32601;

/// A running server. Dropped, it takes the program and all that it started along.
pub struct Connection {
    outgoing: mpsc::Sender<Vec<u8>>,
    state: Arc<State>,
    next_id: AtomicI64,
    _until_dropped: DropGuard,
}

/// Shared with the task that reads.
struct State {
    /// `Err` says how it ended.
    pending: Mutex<Result<HashMap<i64, oneshot::Sender<Reply>>, String>>,
    /// What the server asks about.
    folder: Value,
}

type Reply = Result<Value, Failure>;

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server said so.
    Refused(String),
    /// It took too long.
    Late(String),
    /// The server has ended, or ended meanwhile.
    Ended(String),
}

impl From<Failure> for ToolboxError {
    fn from(failure: Failure) -> ToolboxError {
        match failure {
            Failure::Refused(message) => ToolboxError::bad_request(message),
            Failure::Late(message) => {
                let message = format!("request timeout: {message}");
                ToolboxError::new(axum::http::StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message)
            }
            Failure::Ended(message) => ToolboxError::internal(message),
        }
    }
}

impl Connection {
    /// Starts the program in `directory`; `folder` is the project in the protocol's words.
    pub fn start(
        program: &Path,
        args: &[&str],
        env: &BTreeMap<String, String>,
        directory: &Path,
        folder: Value,
    ) -> Result<Connection, Failure> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = std::process::Command::new(program);
        command.args(args).env_clear().envs(env).current_dir(directory).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = tokio::process::Command::from(command)
            .spawn()
            .map_err(|e| Failure::Ended(format!("{name} can't be started: {}", go_errors::text(&e))))?;
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let state = Arc::new(State { pending: Mutex::new(Ok(HashMap::new())), folder });
        let dropped = CancellationToken::new();
        tokio::spawn(serve(name, child, queue, outgoing.downgrade(), state.clone(), dropped.clone()));
        Ok(Connection { outgoing, state, next_id: AtomicI64::new(1), _until_dropped: dropped.drop_guard() })
    }

    /// Whether requests can still be answered.
    pub fn is_alive(&self) -> bool {
        self.state.pending.lock().is_ok()
    }

    /// Asks and waits for the answer. Who stops waiting tells the server.
    pub async fn request(&self, method: &str, params: Value, limit: Duration) -> Reply {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        match &mut *self.state.pending.lock() {
            Ok(pending) => _ = pending.insert(id, answer),
            Err(end) => return Err(Failure::Ended(end.clone())),
        }
        let mut waiting = Waiting { connection: self, id, over: false };
        let exchange = async {
            self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
            answered.await
        };
        match timeout(limit, exchange).await {
            Ok(reply) => {
                waiting.over = true;
                reply.unwrap_or_else(|_| Err(Failure::Ended("the language server was stopped".into())))
            }
            Err(_) => Err(Failure::Late(format!("{method} took longer than {} s", limit.as_secs()))),
        }
    }

    /// Tells it something.
    pub async fn notify(&self, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params})).await;
    }

    async fn send(&self, message: &Value) {
        // A server that has ended is noticed where answers are waited for.
        _ = self.outgoing.send(frame::encode(message.to_string().as_bytes())).await;
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&self) {
        self.outgoing.closed().await;
    }
}

/// A request that waits for its answer.
struct Waiting<'a> {
    connection: &'a Connection,
    id: i64,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if let Ok(pending) = &mut *self.connection.state.pending.lock() {
            pending.remove(&self.id);
        }
        let cancel = json!({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": self.id}});
        _ = self.connection.outgoing.try_send(frame::encode(cancel.to_string().as_bytes()));
    }
}

/// The life of a server's process.
async fn serve(
    name: String,
    mut child: Child,
    queue: mpsc::Receiver<Vec<u8>>,
    replies: mpsc::WeakSender<Vec<u8>>,
    state: Arc<State>,
    dropped: CancellationToken,
) {
    let draining = tokio::spawn(drain(child.stderr.take()));
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut process = Group::new(child);
    let why = tokio::select! {
        why = receive(stdout, &state, replies) => why,
        never = write(stdin, queue) => match never {},
        () = dropped.cancelled() => Some("stopped".into()),
    };
    let status = match &why {
        Some(why) => why.clone(),
        None => match timeout(GRACE, process.child().wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => "closed its output".into(),
        },
    };
    drop(process);
    let said = timeout(GRACE, draining).await.ok().and_then(Result::ok).unwrap_or_default();
    let end = format!("{name} ended ({status})\n{}", said.trim()).trim_end().to_owned();
    let pending = std::mem::replace(&mut *state.pending.lock(), Err(end.clone()));
    for (_, waiting) in pending.into_iter().flatten() {
        _ = waiting.send(Err(Failure::Ended(end.clone())));
    }
}

/// Hands on what it says. Ends with what is wrong with that, or `None` when it says no more.
async fn receive(stdout: Option<ChildStdout>, state: &State, replies: mpsc::WeakSender<Vec<u8>>) -> Option<String> {
    let mut stdout = BufReader::new(stdout?);
    loop {
        let body = match frame::read(&mut stdout).await {
            Ok(body) => body?,
            Err(error) => return Some(format!("it broke the protocol: {error}")),
        };
        let Ok(message) = serde_json::from_slice::<Value>(&body) else {
            return Some("it broke the protocol: a message that isn't JSON".into());
        };
        match (message.get("method").and_then(Value::as_str), message.get("id")) {
            (Some(method), Some(id)) => {
                let reply = state.reply(id, method, message.get("params"));
                // Never waits: a server that doesn't read could wait for us to read.
                _ = replies.upgrade()?.try_send(frame::encode(reply.to_string().as_bytes()));
            }
            (None, Some(id)) => state.answered(id, &message),
            _ => {}
        }
    }
}

/// Writes what is sent, as long as the server takes it.
async fn write(stdin: Option<ChildStdin>, mut queue: mpsc::Receiver<Vec<u8>>) -> Infallible {
    if let Some(mut stdin) = stdin {
        while let Some(message) = queue.recv().await {
            if stdin.write_all(&message).await.is_err() {
                break;
            }
        }
    }
    // How it ended, its output tells.
    std::future::pending().await
}

/// The last of what it says, at its end.
async fn drain(stderr: Option<ChildStderr>) -> String {
    let mut said = Vec::new();
    tail(stderr, MAX_STDERR, &mut said).await;
    String::from_utf8_lossy(&said).into_owned()
}

impl State {
    /// An answer for who waits for it, if somebody still does.
    fn answered(&self, id: &Value, message: &Value) {
        let waiting = match (&mut *self.pending.lock(), id.as_i64()) {
            (Ok(pending), Some(id)) => pending.remove(&id),
            _ => None,
        };
        let Some(waiting) = waiting else { return };
        let reply = match message.get("error") {
            None | Some(Value::Null) => Ok(message.get("result").cloned().unwrap_or_default()),
            Some(error) => {
                let said = error["message"].as_str().unwrap_or("the language server refused");
                let said = said.chars().take(MAX_STDERR).collect();
                Err(Failure::Refused(said))
            }
        };
        _ = waiting.send(reply);
    }

    /// The answer to what the server asks of us.
    fn reply(&self, id: &Value, method: &str, params: Option<&Value>) -> Value {
        let result = match method {
            "workspace/configuration" => {
                let asked = params.and_then(|params| params["items"].as_array()).map_or(0, Vec::len);
                Value::Array(vec![Value::Null; asked])
            }
            "workspace/workspaceFolders" => json!([self.folder]),
            "client/registerCapability" | "client/unregisterCapability" | "window/workDoneProgress/create" => {
                Value::Null
            }
            "window/showMessageRequest" | "workspace/applyEdit" => Value::Null,
            _ => {
                let error = json!({"code": METHOD_NOT_FOUND, "message": format!("{method} is not supported")});
                return json!({"jsonrpc": "2.0", "id": id, "error": error});
            }
        };
        json!({"jsonrpc": "2.0", "id": id, "result": result})
    }
}
