//! `GET /git/history`, streamed: a repository may have a million commits.

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use memchr::memchr_iter;
use serde::Serialize;
use tokio::{io::AsyncReadExt, sync::mpsc};

use super::{
    Params,
    command::{Call, Running},
    repository::Repository,
};
use crate::toolbox::{Ctx, ToolboxError, json};

/// Read at once, and so about what one piece of the answer is.
const CHUNK: usize = 64 << 10;
/// A commit with a longer message ends the answer.
const MAX_RECORD: usize = 64 << 20;
/// Fields of a record, each ended by a NUL.
const FIELDS: usize = 5;
const FORMAT: &str = "--format=%H%x00%an%x00%ae%x00%aI%x00%B";

/// `GitCommitInfo` of the contract.
#[derive(Serialize)]
struct CommitInfo<'a> {
    hash: &'a str,
    author: &'a str,
    email: &'a str,
    /// Verbatim, with the newline at its end.
    message: &'a str,
    /// When it was written, in the author's zone.
    timestamp: &'a str,
}

/// `GetCommitHistory`: 200, newest first; 404 for no repository and for one without commits.
pub async fn history(State(ctx): State<Ctx>, params: Params) -> Result<Response, ToolboxError> {
    let path = super::path(&params)?;
    // A full channel is back-pressure for git, a closed one says that the client has gone.
    let (pieces, mut answer) = mpsc::channel(4);
    tokio::spawn(async move {
        if let Err(error) = produce(Call::new(ctx), &path, &pieces).await {
            _ = pieces.send(Err(error)).await;
        }
    });
    let first = answer.recv().await.ok_or_else(|| ToolboxError::internal("git ended unexpectedly"))??;
    // A failure after this breaks the answer off, so that nobody takes it for whole.
    let rest = stream::unfold(answer, async |mut answer| Some((answer.recv().await?, answer)));
    let body = Body::from_stream(stream::iter([Ok(first)]).chain(rest));
    Ok(([(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response())
}

type Pieces = mpsc::Sender<Result<Bytes, ToolboxError>>;

async fn produce(call: Call, path: &str, pieces: &Pieces) -> Result<(), ToolboxError> {
    let repository = Repository::open(&call.ctx, path).await?;
    let command = ["log", "-z", "--encoding=UTF-8", "--no-color", "--no-notes", FORMAT, "HEAD", "--"];
    let mut running = call.git(command).at(&repository).start()?;
    let mut records = Records::default();
    match pump(&mut running, &mut records, pieces).await {
        Ok(()) => {
            running.succeeded().await?;
            _ = pieces.send(Ok(records.end())).await;
            Ok(())
        }
        Err(error) => {
            running.end().await;
            Err(error)
        }
    }
}

/// Sends pieces until git's output ends.
async fn pump(running: &mut Running, records: &mut Records, pieces: &Pieces) -> Result<(), ToolboxError> {
    let over = || ToolboxError::internal("git didn't end in time, or nobody waits for it");
    let mut stdout = running.stdout().ok_or_else(over)?;
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        chunk.clear();
        let step = async {
            tokio::select! {
                count = stdout.read_buf(&mut chunk) => count.ok(),
                () = pieces.closed() => None,
            }
        };
        match running.unless_over(step).await.flatten() {
            None => return Err(over()),
            Some(0) => return Ok(()),
            Some(_) => {}
        }
        let piece = records.add(&chunk)?;
        if !piece.is_empty() {
            pieces.send(Ok(piece)).await.map_err(|_| over())?;
        }
    }
}

/// Makes a JSON array of what git writes.
#[derive(Default)]
struct Records {
    pending: Vec<u8>,
    /// Whether the array has begun.
    begun: bool,
}

impl Records {
    /// The records that these bytes complete.
    fn add(&mut self, bytes: &[u8]) -> Result<Bytes, ToolboxError> {
        self.pending.extend_from_slice(bytes);
        let mut out = Vec::new();
        let (mut start, mut fields) = (0, 0);
        for end in memchr_iter(0, &self.pending) {
            fields += 1;
            if fields == FIELDS {
                out.push(if self.begun { b',' } else { b'[' });
                self.begun = true;
                out.extend(encoded(&self.pending[start..end]));
                (start, fields) = (end + 1, 0);
            }
        }
        self.pending.drain(..start);
        if self.pending.len() > MAX_RECORD {
            return Err(ToolboxError::internal("a commit is too large"));
        }
        Ok(out.into())
    }

    fn end(self) -> Bytes {
        Bytes::from_static(if self.begun { b"]" } else { b"[]" })
    }
}

/// One record without its last NUL, as JSON.
fn encoded(record: &[u8]) -> Vec<u8> {
    let record = String::from_utf8_lossy(record);
    let mut fields = record.split('\0');
    let mut next = || fields.next().unwrap_or_default();
    let (hash, author, email, timestamp, message) = (next(), next(), next(), next(), next());
    // Zone 0 as Go writes it.
    let utc = timestamp.strip_suffix("+00:00").map(|time| format!("{time}Z"));
    json::to_vec(&CommitInfo { hash, author, email, message, timestamp: utc.as_deref().unwrap_or(timestamp) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_are_cut_anywhere() {
        let log =
            b"h1\0A <a>\0a@x\x002026-01-02T03:04:05+00:00\0first\n\0h2\0B\0b@x\x002026-01-02T03:04:05+02:00\0\xff\0";
        let whole = r#"[{"hash":"h1","author":"A \u003ca\u003e","email":"a@x","message":"first\n","timestamp":"2026-01-02T03:04:05Z"},{"hash":"h2","author":"B","email":"b@x","message":"�","timestamp":"2026-01-02T03:04:05+02:00"}]"#;
        for cut in 0..log.len() {
            let mut records = Records::default();
            let mut json = Vec::new();
            for half in [&log[..cut], &log[cut..]] {
                json.extend(records.add(half).expect("small"));
            }
            json.extend(records.end());
            assert_eq!(String::from_utf8(json).expect("text"), whole);
        }
        assert_eq!(Records::default().end(), "[]");
    }

    proptest! {
        #[test]
        fn always_json(log in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut records = Records::default();
            let mut json = records.add(&log).expect("small").to_vec();
            json.extend(records.end());
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        }
    }
}
