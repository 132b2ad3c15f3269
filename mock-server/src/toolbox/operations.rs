//! Every operation of the toolbox's contract. What isn't served yet answers 501 and names itself.

use axum::http::{Method, StatusCode};

use super::ToolboxError;

/// An operation of the toolbox.
#[derive(Debug)]
pub struct Operation {
    /// Its `operationId` in `openapi/toolbox.json`.
    pub id: &'static str,
    pub method: &'static str,
    /// Parameters in braces.
    pub path: &'static str,
    pub emulated: bool,
}

/// 501 for an operation of the contract that no route serves; `None` for what isn't in the contract.
pub fn not_emulated(method: &Method, path: &str) -> Option<ToolboxError> {
    let operation = OPERATIONS.iter().find(|op| op.method == method.as_str() && matches(op.path, path))?;
    let text = format!("{} is not emulated yet by daytona-mock {}", operation.id, env!("CARGO_PKG_VERSION"));
    Some(ToolboxError::new(StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", text))
}

fn matches(own: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let fits = own
        .split('/')
        .all(|own| parts.next().is_some_and(|part| own == part || own.starts_with('{') && !part.is_empty()));
    fits && parts.next().is_none()
}

const fn op(id: &'static str, method: &'static str, path: &'static str, emulated: bool) -> Operation {
    Operation { id, method, path, emulated }
}

/// In the order of the contract.
#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    op("FindAccessibilityNodes", "POST", "/computeruse/a11y/find", false),
    op("FocusAccessibilityNode", "POST", "/computeruse/a11y/node/focus", false),
    op("InvokeAccessibilityNode", "POST", "/computeruse/a11y/node/invoke", false),
    op("SetAccessibilityNodeValue", "POST", "/computeruse/a11y/node/value", false),
    op("GetAccessibilityTree", "GET", "/computeruse/a11y/tree", false),
    op("GetDisplayInfo", "GET", "/computeruse/display/info", false),
    op("GetWindows", "GET", "/computeruse/display/windows", false),
    op("PressHotkey", "POST", "/computeruse/keyboard/hotkey", false),
    op("PressKey", "POST", "/computeruse/keyboard/key", false),
    op("TypeText", "POST", "/computeruse/keyboard/type", false),
    op("Click", "POST", "/computeruse/mouse/click", false),
    op("Drag", "POST", "/computeruse/mouse/drag", false),
    op("MoveMouse", "POST", "/computeruse/mouse/move", false),
    op("GetMousePosition", "GET", "/computeruse/mouse/position", false),
    op("Scroll", "POST", "/computeruse/mouse/scroll", false),
    op("GetComputerUseStatus", "GET", "/computeruse/process-status", false),
    op("GetProcessErrors", "GET", "/computeruse/process/{processName}/errors", false),
    op("GetProcessLogs", "GET", "/computeruse/process/{processName}/logs", false),
    op("RestartProcess", "POST", "/computeruse/process/{processName}/restart", false),
    op("GetProcessStatus", "GET", "/computeruse/process/{processName}/status", false),
    op("ListRecordings", "GET", "/computeruse/recordings", false),
    op("StartRecording", "POST", "/computeruse/recordings/start", false),
    op("StopRecording", "POST", "/computeruse/recordings/stop", false),
    op("GetRecording", "GET", "/computeruse/recordings/{id}", false),
    op("DeleteRecording", "DELETE", "/computeruse/recordings/{id}", false),
    op("DownloadRecording", "GET", "/computeruse/recordings/{id}/download", false),
    op("TakeScreenshot", "GET", "/computeruse/screenshot", false),
    op("TakeCompressedScreenshot", "GET", "/computeruse/screenshot/compressed", false),
    op("TakeRegionScreenshot", "GET", "/computeruse/screenshot/region", false),
    op("TakeCompressedRegionScreenshot", "GET", "/computeruse/screenshot/region/compressed", false),
    op("StartComputerUse", "POST", "/computeruse/start", false),
    op("GetComputerUseSystemStatus", "GET", "/computeruse/status", false),
    op("StopComputerUse", "POST", "/computeruse/stop", false),
    op("UpdateEnv", "POST", "/env", true),
    op("ListFiles", "GET", "/files", true),
    op("DeleteFile", "DELETE", "/files", true),
    op("DownloadFiles", "POST", "/files/bulk-download", true),
    op("UploadFiles", "POST", "/files/bulk-upload", true),
    op("DownloadFile", "GET", "/files/download", true),
    op("FindInFiles", "GET", "/files/find", true),
    op("CreateFolder", "POST", "/files/folder", true),
    op("GetFileInfo", "GET", "/files/info", true),
    op("MoveFile", "POST", "/files/move", true),
    op("SetFilePermissions", "POST", "/files/permissions", true),
    op("ReplaceInFiles", "POST", "/files/replace", true),
    op("SearchFiles", "GET", "/files/search", true),
    op("UploadFile", "POST", "/files/upload-v2", true),
    op("AddFiles", "POST", "/git/add", false),
    op("ListBranches", "GET", "/git/branches", false),
    op("CreateBranch", "POST", "/git/branches", false),
    op("DeleteBranch", "DELETE", "/git/branches", false),
    op("CheckoutBranch", "POST", "/git/checkout", false),
    op("CloneRepository", "POST", "/git/clone", false),
    op("CommitChanges", "POST", "/git/commit", false),
    op("GetGitConfig", "GET", "/git/config", false),
    op("SetGitConfig", "POST", "/git/config", false),
    op("ConfigureUser", "POST", "/git/config/user", false),
    op("Authenticate", "POST", "/git/credentials", false),
    op("GetCommitHistory", "GET", "/git/history", false),
    op("InitRepository", "POST", "/git/init", false),
    op("PullChanges", "POST", "/git/pull", false),
    op("PushChanges", "POST", "/git/push", false),
    op("ListRemotes", "GET", "/git/remotes", false),
    op("AddRemote", "POST", "/git/remotes", false),
    op("ResetChanges", "POST", "/git/reset", false),
    op("RestoreFiles", "POST", "/git/restore", false),
    op("GetStatus", "GET", "/git/status", false),
    op("Initialize", "POST", "/init", true),
    op("Completions", "POST", "/lsp/completions", false),
    op("DidClose", "POST", "/lsp/did-close", false),
    op("DidOpen", "POST", "/lsp/did-open", false),
    op("DocumentSymbols", "GET", "/lsp/document-symbols", false),
    op("Start", "POST", "/lsp/start", false),
    op("Stop", "POST", "/lsp/stop", false),
    op("WorkspaceSymbols", "GET", "/lsp/workspacesymbols", false),
    op("GetPorts", "GET", "/port", true),
    op("IsPortInUse", "GET", "/port/{port}/in-use", true),
    op("CodeRun", "POST", "/process/code-run", true),
    op("ExecuteCommand", "POST", "/process/execute", true),
    op("ListInterpreterContexts", "GET", "/process/interpreter/context", false),
    op("CreateInterpreterContext", "POST", "/process/interpreter/context", false),
    op("DeleteInterpreterContext", "DELETE", "/process/interpreter/context/{id}", false),
    op("ExecuteInterpreterCode", "GET", "/process/interpreter/execute", false),
    op("ListPtySessions", "GET", "/process/pty", false),
    op("CreatePtySession", "POST", "/process/pty", false),
    op("GetPtySession", "GET", "/process/pty/{sessionId}", false),
    op("DeletePtySession", "DELETE", "/process/pty/{sessionId}", false),
    op("ConnectPtySession", "GET", "/process/pty/{sessionId}/connect", false),
    op("ResizePtySession", "POST", "/process/pty/{sessionId}/resize", false),
    op("ListSessions", "GET", "/process/session", false),
    op("CreateSession", "POST", "/process/session", false),
    op("GetEntrypointSession", "GET", "/process/session/entrypoint", false),
    op("GetEntrypointLogs", "GET", "/process/session/entrypoint/logs", false),
    op("GetSession", "GET", "/process/session/{sessionId}", false),
    op("DeleteSession", "DELETE", "/process/session/{sessionId}", false),
    op("GetSessionCommand", "GET", "/process/session/{sessionId}/command/{commandId}", false),
    op("SendInput", "POST", "/process/session/{sessionId}/command/{commandId}/input", false),
    op("GetSessionCommandLogs", "GET", "/process/session/{sessionId}/command/{commandId}/logs", false),
    op("SessionExecuteCommand", "POST", "/process/session/{sessionId}/exec", false),
    op("GetSystemMetrics", "GET", "/system/metrics", true),
    op("GetUserHomeDir", "GET", "/user-home-dir", true),
    op("GetVersion", "GET", "/version", true),
    op("GetWorkDir", "GET", "/work-dir", true),
];

#[cfg(test)]
mod tests {
    use super::*;

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
