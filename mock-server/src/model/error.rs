//! Why the model refuses. The message is what clients see, as observed or as the contract says.

/// A refusal. Nothing has changed when a function answers one.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ModelError {
    pub kind: ErrorKind,
    pub message: String,
}

/// What sort of refusal; the API gives each its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    BadRequest,
    Forbidden,
    NotFound,
    Conflict,
    Unprocessable,
    /// The operation is in the contract but not built here yet.
    NotEmulated,
    /// The change doesn't fit on the server's disk.
    Full,
    /// Our own fault; the message goes to the log, not to the client.
    Internal,
}

impl ModelError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> ModelError {
        ModelError { kind, message: message.into() }
    }

    pub fn bad_request(message: impl Into<String>) -> ModelError {
        Self::new(ErrorKind::BadRequest, message)
    }

    pub fn conflict(message: impl Into<String>) -> ModelError {
        Self::new(ErrorKind::Conflict, message)
    }

    pub fn not_found(message: impl Into<String>) -> ModelError {
        Self::new(ErrorKind::NotFound, message)
    }

    pub fn internal(message: impl Into<String>) -> ModelError {
        Self::new(ErrorKind::Internal, message)
    }

    /// 404 of every route below `/sandbox/{sandboxIdOrName}` (observed).
    pub fn no_sandbox(id_or_name: &str) -> ModelError {
        Self::not_found(format!("Sandbox with ID or name {id_or_name} not found"))
    }
}
