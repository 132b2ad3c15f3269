//! The sandbox's files: `/files/*` of the toolbox contract (13 operations), and the older `POST /files/upload`.
//!
//! Paths go to the operating system as they are: absolute or relative to the work directory, no `~`, no jail, links
//! followed. Messages name a path as the client gave it. Nothing large is ever held in memory: contents stream in
//! [`store`] and out in [`segments`], with the system calls on blocking threads (one hop for a small file).
//!
//! An upload writes into its target in place, as the original does: an existing file keeps its mode, owner, links and
//! open descriptors, a symbolic link is written through, and a writable file in a read-only directory works. A
//! temporary file renamed at the end would give none of this. So an upload that breaks off leaves an existing
//! target partly overwritten (small ones are only written once they have come whole); a new file is removed again.
//!
//! # Differences on purpose
//! Where the original's observed behaviour is plainly a bug:
//! * Moving a directory into itself is refused (400); it destroyed the directory.
//! * A dangling symbolic link can be deleted and moved; both answered 404.
//! * `/` can't be deleted (400).
//! * Refused requests undo what they began: folders made on the way to a failure, a mode set before a failed change of
//!   owner, a half-copied move, half-uploaded new files.
//! * `/proc` files, whose size is said to be 0, download with their contents.
//! * A FIFO, socket or device is not downloaded (400); the original waited for ever.
//! * A bulk download that fails in the middle of a file breaks the connection, so that no client takes it for whole.
//! * Bounds: see [`crate::limits`], and the headers of [`multipart`].

mod bulk_download;
mod bulk_upload;
mod disposition;
pub(super) mod download;
mod find;
mod glob;
mod info;
mod mode;
mod multipart;
mod mutate;
mod ranges;
mod rename;
mod replace;
mod search;
mod segments;
mod store;
mod upload;
mod users;
mod walk;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};

pub use multipart::{is_multipart, names as part_names};
pub(super) use rename::carry;

use super::{Ctx, ToolboxError, go_errors};

pub fn routes() -> Router<Ctx> {
    Router::new()
        .route("/files", get(info::list).delete(mutate::delete))
        .route("/files/", get(info::list).delete(mutate::delete))
        .route("/files/info", get(info::info))
        .route("/files/folder", post(mutate::folder))
        .route("/files/move", post(rename::rename))
        .route("/files/permissions", post(mutate::permissions))
        .route("/files/search", get(search::search))
        .route("/files/find", get(find::find))
        .route("/files/replace", post(replace::replace))
        .route("/files/download", get(download::download))
        .route("/files/bulk-download", post(bulk_download::bulk_download))
        .route("/files/upload", post(upload::upload))
        .route("/files/upload-v2", post(upload::upload_v2))
        .route("/files/bulk-upload", post(bulk_upload::bulk_upload))
}

/// A path as the client wrote it and as the operating system gets it.
#[derive(Clone, Debug)]
pub struct Named {
    pub given: PathBuf,
    pub real: PathBuf,
}

impl Named {
    pub fn new(ctx: &Ctx, given: &Path) -> Named {
        Named { given: given.to_owned(), real: ctx.resolve(given) }
    }

    /// The client's words for a directory on the way to this path.
    pub fn say(&self, real: &Path) -> PathBuf {
        let mut both = self.real.ancestors().zip(self.given.ancestors());
        both.find(|(ancestor, _)| *ancestor == real).map_or_else(|| real.to_owned(), |(_, given)| given.to_owned())
    }

    /// 404 `FILE_NOT_FOUND`, 403 `FILE_ACCESS_DENIED` or 400, by what the system said.
    pub fn error(&self, operation: &str, error: &io::Error) -> ToolboxError {
        let message = go_errors::path_error(operation, self.given.display(), error);
        match error.kind() {
            io::ErrorKind::NotFound => ToolboxError::new(StatusCode::NOT_FOUND, "FILE_NOT_FOUND", message),
            io::ErrorKind::PermissionDenied => ToolboxError::new(StatusCode::FORBIDDEN, "FILE_ACCESS_DENIED", message),
            _ => ToolboxError::bad_request(message),
        }
    }

    /// 400 whatever the system said: what the operations answer that declare nothing else (observed).
    pub fn refusal(&self, operation: &str, error: &io::Error) -> ToolboxError {
        ToolboxError::bad_request(go_errors::path_error(operation, self.given.display(), error))
    }
}

/// Runs file work on a blocking thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ToolboxError> {
    tokio::task::spawn_blocking(work).await.map_err(ToolboxError::internal)
}

/// Like [`blocking`], for work that can take long: it is told when the client has gone.
async fn cancellable<T: Send + 'static>(work: impl FnOnce(&Gone) -> T + Send + 'static) -> Result<T, ToolboxError> {
    struct OnDrop(Gone);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.0.store(true, Ordering::Relaxed);
        }
    }
    let guard = OnDrop(Gone(Arc::default()));
    let gone = guard.0.clone();
    blocking(move || work(&gone)).await
}

/// Whether the client of a long operation has gone away.
#[derive(Clone)]
struct Gone(Arc<AtomicBool>);

impl Gone {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
