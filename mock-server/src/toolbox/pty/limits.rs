//! What bounds terminals and their clients.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The defaults are for people and programs; tests of what happens at a bound make them small.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Terminals of one sandbox.
    pub sessions: usize,
    /// Clients of one session.
    pub clients: usize,
    /// Chunks of output that may wait for one client (observed).
    pub queue: usize,
    /// Bytes of input that may wait for a terminal; after that the client does.
    pub typed_ahead: usize,
    /// How long a program waits when nobody takes its output.
    pub patience: Duration,
    /// How long a client may take for what is left after the shell's end.
    pub last_words: Duration,
    /// How long a client may take to answer a close frame, and a deleted shell to be gone.
    pub closing: Duration,
    /// How long a shell may live without its terminal before its clients are told that there is none.
    pub hang_up: Duration,
    /// How often a client is pinged whose input waits: whether it is still there can't be seen otherwise.
    pub ping: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sessions: 1024,
            clients: 256,
            queue: 256,
            typed_ahead: 256 << 10,
            patience: Duration::from_secs(10),
            last_words: Duration::from_secs(30),
            closing: Duration::from_secs(5),
            hang_up: Duration::from_secs(1),
            ping: Duration::from_secs(5),
        }
    }
}
