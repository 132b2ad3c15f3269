//! A request and its answer while they happen. The gateway fills it; nothing here waits or allocates much.

use std::{
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Journal;

/// Bytes of a JSON body that are kept.
pub const BODY: usize = 16 << 10;

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// The control plane, below `/api`.
    Api,
    /// A sandbox's toolbox, by whichever way.
    Toolbox,
    /// A port of a sandbox.
    Preview,
    /// Socket.IO.
    Events,
    /// The rest of this server: `/health`, sign-in.
    Server,
}

impl Plane {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Plane::Api => "api",
            Plane::Toolbox => "toolbox",
            Plane::Preview => "preview",
            Plane::Events => "events",
            Plane::Server => "server",
        }
    }
}

/// Whose a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub organization_id: String,
    /// The name of the key that it came with; none for what only a preview token opens.
    pub key_name: Option<String>,
}

/// Where a request went.
#[derive(Clone, Debug)]
pub struct Place {
    pub plane: Plane,
    /// As the request named it: an id, or at the control plane maybe a name.
    pub sandbox: Option<String>,
    /// Of a preview.
    pub port: Option<u16>,
    /// It came by TLS.
    pub secure: bool,
}

/// A request that broke a rule of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The rule's id: `unknown-field`, …
    pub rule: &'static str,
    /// Where: `body.autoStopIntervall`, `query.limit`, `path`, `header.…`.
    pub path: String,
    pub message: String,
    /// What to do instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// One request, and everything that became of it.
pub struct Exchange {
    pub id: u64,
    /// By the server's clock.
    pub at: DateTime<Utc>,
    started: Instant,
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub place: Place,
    request_bytes: AtomicU64,
    pub progress: Mutex<Progress>,
}

/// What becomes known while it is answered.
#[derive(Default)]
pub struct Progress {
    pub owner: Option<Owner>,
    /// None while there is no answer.
    pub status: Option<StatusCode>,
    pub response_headers: HeaderMap,
    /// Until the answer's head.
    pub first_byte: Option<Duration>,
    /// Until the last byte of the answer, or until it was given up.
    pub end: Option<Duration>,
    pub response_bytes: u64,
    /// The first [`BODY`] bytes of a JSON body.
    pub request_body: Vec<u8>,
    pub response_body: Vec<u8>,
    /// The answer didn't reach its end.
    pub aborted: bool,
    pub socket: Option<Socket>,
    pub violations: Vec<Violation>,
    /// Ids of faults that acted.
    pub faults: Vec<String>,
}

/// What went over an upgraded connection.
#[derive(Clone, Debug, Default)]
pub struct Socket {
    pub open: bool,
    pub from_client: Frames,
    pub from_server: Frames,
    /// The first close frame.
    pub close: Option<Close>,
}

/// Frames in one direction, by kind, and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Frames {
    pub text: u64,
    pub binary: u64,
    pub continuation: u64,
    pub ping: u64,
    pub pong: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Close {
    /// `client` or `server`.
    pub by: &'static str,
    /// None if the frame was empty.
    pub code: Option<u16>,
    pub reason: String,
    /// Milliseconds after the exchange began, in real time.
    #[serde(rename = "atMs")]
    pub at_ms: u64,
}

impl Exchange {
    pub fn new(
        id: u64,
        at: DateTime<Utc>,
        place: Place,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        owner: Option<Owner>,
    ) -> Exchange {
        let progress = Mutex::new(Progress { owner, ..Progress::default() });
        Exchange {
            id,
            at,
            started: Instant::now(),
            method,
            uri,
            headers,
            place,
            request_bytes: AtomicU64::new(0),
            progress,
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Bytes of the request's body that were read so far.
    pub fn request_bytes(&self) -> u64 {
        self.request_bytes.load(Ordering::Relaxed)
    }

    /// Whether bodies are kept: JSON of the two planes with a contract, never what applications in sandboxes say.
    pub fn keeps(&self, headers: &HeaderMap) -> bool {
        matches!(self.place.plane, Plane::Api | Plane::Toolbox) && is_json(headers)
    }

    /// Notes a piece of the request's body.
    pub fn sent(&self, data: &[u8], keep: bool) {
        self.request_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        if keep {
            append(&mut self.progress.lock().request_body, data);
        }
    }

    /// Whose it is, where that is known only after a while (Socket.IO). False if it was somebody's already.
    pub fn belongs_to(&self, owner: Owner) -> bool {
        let mut progress = self.progress.lock();
        let nobodys = progress.owner.is_none();
        progress.owner.get_or_insert(owner);
        nobodys
    }
}

/// Adds what fits.
pub fn append(body: &mut Vec<u8>, data: &[u8]) {
    let room = (BODY + 1).saturating_sub(body.len());
    body.extend_from_slice(&data[..data.len().min(room)]);
}

/// Whether headers speak of JSON, in whatever case.
pub fn is_json(headers: &HeaderMap) -> bool {
    const JSON: &[u8] = b"application/json";
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    kind.and_then(|kind| kind.get(..JSON.len())).is_some_and(|kind| kind.eq_ignore_ascii_case(JSON))
}

/// An exchange under way; entered in the journal when this is dropped, at the latest.
pub struct Recording {
    exchange: Arc<Exchange>,
    journal: Journal,
    entered: bool,
}

impl Recording {
    pub fn new(exchange: Arc<Exchange>, journal: Journal) -> Recording {
        Recording { exchange, journal, entered: false }
    }

    pub fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// The answer's head is there.
    pub fn head(&self, status: StatusCode, headers: &HeaderMap) {
        let mut progress = self.exchange.progress.lock();
        progress.status = Some(status);
        progress.response_headers = headers.clone();
        progress.first_byte = Some(self.exchange.elapsed());
    }

    /// The connection is a WebSocket (or another protocol) from now on: it is in the journal at once, as open.
    pub fn upgraded(&self) {
        self.exchange.progress.lock().socket = Some(Socket { open: true, ..Socket::default() });
        self.again();
    }

    /// More is known of it: so its entry says more.
    pub fn again(&self) {
        self.journal.take(self.exchange.clone());
    }

    /// It is over: what was answered, and whether that was all.
    pub fn end(&mut self, bytes: u64, body: Vec<u8>, complete: bool) {
        if std::mem::replace(&mut self.entered, true) {
            return;
        }
        {
            let mut progress = self.exchange.progress.lock();
            progress.end = Some(self.exchange.elapsed());
            progress.response_bytes = bytes;
            progress.response_body = body;
            progress.aborted = !complete;
        }
        self.journal.take(self.exchange.clone());
    }

    /// An upgraded connection is over.
    pub fn closed(&mut self, socket: Socket) {
        let bytes = socket.from_server.bytes;
        self.exchange.progress.lock().socket = Some(Socket { open: false, ..socket });
        self.end(bytes, Vec::new(), true);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // The client went away before there was an answer.
        self.end(0, Vec::new(), false);
    }
}
