//! An answer that is read piece by piece.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, header::HeaderMap};

use crate::stop::{Result, Stop};

/// The head of an answer is there; the body comes as it is asked for. Dropping it closes the connection.
pub struct Open {
    pub status: u16,
    pub headers: HeaderMap,
    /// Its place in the scenario's log.
    pub exchange: usize,
    response: Response,
    what: String,
}

impl Open {
    pub(super) fn new(response: Response, exchange: usize, what: String) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, exchange, response, what }
    }

    /// The next piece, however long it is; `None` at the end. `within` is the time that it may take.
    pub async fn chunk(&mut self, within: Duration) -> Result<Option<Bytes>> {
        match tokio::time::timeout(within, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(Stop::untestable(format!("{}: the answer broke off: {error}", self.what))),
            Err(_) => Err(Stop::untestable(format!("{}: nothing more within {within:?}", self.what))),
        }
    }

    /// Everything up to and with `end`, or up to the end of the answer.
    pub async fn until(&mut self, end: &[u8], within: Duration) -> Result<Vec<u8>> {
        let mut seen = Vec::new();
        while let Some(chunk) = self.chunk(within).await? {
            seen.extend_from_slice(&chunk);
            if seen.windows(end.len().max(1)).any(|window| window == end) {
                break;
            }
        }
        Ok(seen)
    }
}
