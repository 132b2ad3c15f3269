//! Every operation of the toolbox's contract. What isn't served yet answers 501 and names itself.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};

use super::{AgentConfig, Ctx, ToolboxError, routing};

/// An operation of the toolbox.
#[derive(Debug)]
pub struct Operation {
    /// Its `operationId` in `openapi/toolbox.json`.
    pub id: &'static str,
    pub method: &'static str,
    /// Parameters in braces.
    pub path: &'static str,
}

/// Which operations this toolbox serves: asked of the routes themselves.
pub async fn emulated() -> Vec<(&'static str, bool)> {
    let nowhere = AgentConfig {
        sandbox_id: String::new(),
        env: BTreeMap::new(),
        home: "/".into(),
        work_dir: "/".into(),
        entrypoint: Vec::new(),
        fake_root: None,
        version: String::new(),
        limits: Default::default(),
        pty: Default::default(),
    };
    let table = routing::table(super::all(), Ctx::new(nowhere));
    let mut found = Vec::with_capacity(OPERATIONS.len());
    for op in OPERATIONS {
        let path: Vec<&str> = op.path.split('/').map(|part| if part.starts_with('{') { "1" } else { part }).collect();
        let served = match op.method.parse() {
            Ok(method) => routing::exists(&table, &method, &path.join("/")).await,
            Err(_) => false,
        };
        found.push((op.id, served));
    }
    found
}

/// 501 for an operation of the contract that no route serves; `None` for what isn't in the contract.
pub fn not_emulated(method: &Method, path: &str) -> Option<ToolboxError> {
    let operation = find(method.as_str(), path)?;
    let text = format!("{} is not emulated yet by daytona-mock {}", operation.id, env!("CARGO_PKG_VERSION"));
    Some(ToolboxError::new(StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", text))
}

/// Makes a terminal and connects to it. No document names it (SDKs since 0.200, `Process.createPty`).
pub const CREATE_CONNECT: &str = "/process/pty/create-connect";

/// The operation that a request is for. Literal paths go before those with parameters, whatever their order here.
/// [`CREATE_CONNECT`] is a connection, and no question about a terminal of that name.
pub fn find(method: &str, path: &str) -> Option<&'static Operation> {
    let path = if path == CREATE_CONNECT { "/process/pty/{sessionId}/connect" } else { path };
    let fitting = OPERATIONS.iter().filter(|op| op.method == method && matches(op.path, path));
    fitting.min_by_key(|op| op.path.matches('{').count())
}

fn matches(own: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let fits = own
        .split('/')
        .all(|own| parts.next().is_some_and(|part| own == part || own.starts_with('{') && !part.is_empty()));
    fits && parts.next().is_none()
}

const fn op(id: &'static str, method: &'static str, path: &'static str) -> Operation {
    Operation { id, method, path }
}

/// In the order of the contract.
#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    op("FindAccessibilityNodes", "POST", "/computeruse/a11y/find"),
    op("FocusAccessibilityNode", "POST", "/computeruse/a11y/node/focus"),
    op("InvokeAccessibilityNode", "POST", "/computeruse/a11y/node/invoke"),
    op("SetAccessibilityNodeValue", "POST", "/computeruse/a11y/node/value"),
    op("GetAccessibilityTree", "GET", "/computeruse/a11y/tree"),
    op("GetDisplayInfo", "GET", "/computeruse/display/info"),
    op("GetWindows", "GET", "/computeruse/display/windows"),
    op("PressHotkey", "POST", "/computeruse/keyboard/hotkey"),
    op("PressKey", "POST", "/computeruse/keyboard/key"),
    op("TypeText", "POST", "/computeruse/keyboard/type"),
    op("Click", "POST", "/computeruse/mouse/click"),
    op("Drag", "POST", "/computeruse/mouse/drag"),
    op("MoveMouse", "POST", "/computeruse/mouse/move"),
    op("GetMousePosition", "GET", "/computeruse/mouse/position"),
    op("Scroll", "POST", "/computeruse/mouse/scroll"),
    op("GetComputerUseStatus", "GET", "/computeruse/process-status"),
    op("GetProcessErrors", "GET", "/computeruse/process/{processName}/errors"),
    op("GetProcessLogs", "GET", "/computeruse/process/{processName}/logs"),
    op("RestartProcess", "POST", "/computeruse/process/{processName}/restart"),
    op("GetProcessStatus", "GET", "/computeruse/process/{processName}/status"),
    op("ListRecordings", "GET", "/computeruse/recordings"),
    op("StartRecording", "POST", "/computeruse/recordings/start"),
    op("StopRecording", "POST", "/computeruse/recordings/stop"),
    op("GetRecording", "GET", "/computeruse/recordings/{id}"),
    op("DeleteRecording", "DELETE", "/computeruse/recordings/{id}"),
    op("DownloadRecording", "GET", "/computeruse/recordings/{id}/download"),
    op("TakeScreenshot", "GET", "/computeruse/screenshot"),
    op("TakeCompressedScreenshot", "GET", "/computeruse/screenshot/compressed"),
    op("TakeRegionScreenshot", "GET", "/computeruse/screenshot/region"),
    op("TakeCompressedRegionScreenshot", "GET", "/computeruse/screenshot/region/compressed"),
    op("StartComputerUse", "POST", "/computeruse/start"),
    op("GetComputerUseSystemStatus", "GET", "/computeruse/status"),
    op("StopComputerUse", "POST", "/computeruse/stop"),
    op("UpdateEnv", "POST", "/env"),
    op("ListFiles", "GET", "/files"),
    op("DeleteFile", "DELETE", "/files"),
    op("DownloadFiles", "POST", "/files/bulk-download"),
    op("UploadFiles", "POST", "/files/bulk-upload"),
    op("DownloadFile", "GET", "/files/download"),
    op("FindInFiles", "GET", "/files/find"),
    op("CreateFolder", "POST", "/files/folder"),
    op("GetFileInfo", "GET", "/files/info"),
    op("MoveFile", "POST", "/files/move"),
    op("SetFilePermissions", "POST", "/files/permissions"),
    op("ReplaceInFiles", "POST", "/files/replace"),
    op("SearchFiles", "GET", "/files/search"),
    op("UploadFile", "POST", "/files/upload-v2"),
    op("AddFiles", "POST", "/git/add"),
    op("ListBranches", "GET", "/git/branches"),
    op("CreateBranch", "POST", "/git/branches"),
    op("DeleteBranch", "DELETE", "/git/branches"),
    op("CheckoutBranch", "POST", "/git/checkout"),
    op("CloneRepository", "POST", "/git/clone"),
    op("CommitChanges", "POST", "/git/commit"),
    op("GetGitConfig", "GET", "/git/config"),
    op("SetGitConfig", "POST", "/git/config"),
    op("ConfigureUser", "POST", "/git/config/user"),
    op("Authenticate", "POST", "/git/credentials"),
    op("GetCommitHistory", "GET", "/git/history"),
    op("InitRepository", "POST", "/git/init"),
    op("PullChanges", "POST", "/git/pull"),
    op("PushChanges", "POST", "/git/push"),
    op("ListRemotes", "GET", "/git/remotes"),
    op("AddRemote", "POST", "/git/remotes"),
    op("ResetChanges", "POST", "/git/reset"),
    op("RestoreFiles", "POST", "/git/restore"),
    op("GetStatus", "GET", "/git/status"),
    op("Initialize", "POST", "/init"),
    op("Completions", "POST", "/lsp/completions"),
    op("DidClose", "POST", "/lsp/did-close"),
    op("DidOpen", "POST", "/lsp/did-open"),
    op("DocumentSymbols", "GET", "/lsp/document-symbols"),
    op("Start", "POST", "/lsp/start"),
    op("Stop", "POST", "/lsp/stop"),
    op("WorkspaceSymbols", "GET", "/lsp/workspacesymbols"),
    op("GetPorts", "GET", "/port"),
    op("IsPortInUse", "GET", "/port/{port}/in-use"),
    op("CodeRun", "POST", "/process/code-run"),
    op("ExecuteCommand", "POST", "/process/execute"),
    op("ListInterpreterContexts", "GET", "/process/interpreter/context"),
    op("CreateInterpreterContext", "POST", "/process/interpreter/context"),
    op("DeleteInterpreterContext", "DELETE", "/process/interpreter/context/{id}"),
    op("ExecuteInterpreterCode", "GET", "/process/interpreter/execute"),
    op("ListPtySessions", "GET", "/process/pty"),
    op("CreatePtySession", "POST", "/process/pty"),
    op("GetPtySession", "GET", "/process/pty/{sessionId}"),
    op("DeletePtySession", "DELETE", "/process/pty/{sessionId}"),
    op("ConnectPtySession", "GET", "/process/pty/{sessionId}/connect"),
    op("ResizePtySession", "POST", "/process/pty/{sessionId}/resize"),
    op("ListSessions", "GET", "/process/session"),
    op("CreateSession", "POST", "/process/session"),
    op("GetEntrypointSession", "GET", "/process/session/entrypoint"),
    op("GetEntrypointLogs", "GET", "/process/session/entrypoint/logs"),
    op("GetSession", "GET", "/process/session/{sessionId}"),
    op("DeleteSession", "DELETE", "/process/session/{sessionId}"),
    op("GetSessionCommand", "GET", "/process/session/{sessionId}/command/{commandId}"),
    op("SendInput", "POST", "/process/session/{sessionId}/command/{commandId}/input"),
    op("GetSessionCommandLogs", "GET", "/process/session/{sessionId}/command/{commandId}/logs"),
    op("SessionExecuteCommand", "POST", "/process/session/{sessionId}/exec"),
    op("GetSystemMetrics", "GET", "/system/metrics"),
    op("GetUserHomeDir", "GET", "/user-home-dir"),
    op("GetVersion", "GET", "/version"),
    op("GetWorkDir", "GET", "/work-dir"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_routes_say_what_is_served() {
        let served = emulated().await;
        assert!(served.contains(&("ExecuteCommand", true)) && served.contains(&("DownloadFile", true)));
    }

    #[test]
    fn what_is_known_is_named() {
        assert_eq!(OPERATIONS.len(), 103);
        let message = |path| not_emulated(&Method::GET, path).map(|error| error.message);
        assert!(
            message("/process/session/a/command/b/logs").expect("known").starts_with("GetSessionCommandLogs is not")
        );
        assert_eq!(message("/process/session/a/command//logs"), None);
        assert_eq!(message("/nope"), None);
    }
}
