//! What a scenario has said and heard so far.

use parking_lot::Mutex;

use super::exchange::{Exchange, Frame};
use crate::check::Check;

/// A scenario that sends more than this keeps its first and its latest ones.
const MAX_EXCHANGES: usize = 2000;
/// Frames kept for each WebSocket, and its end.
const MAX_FRAMES: usize = 200;

/// Exchanges and verdicts of one scenario, in order.
#[derive(Default)]
pub struct Log {
    exchanges: Mutex<Vec<Exchange>>,
    checks: Mutex<Vec<Check>>,
}

impl Log {
    /// Keeps an exchange, and says which one it is.
    pub(crate) fn exchange(&self, exchange: Exchange) -> usize {
        let mut exchanges = self.exchanges.lock();
        if exchanges.len() >= MAX_EXCHANGES {
            // The number stays that of the place: checks refer to it.
            let last = MAX_EXCHANGES - 1;
            exchanges[last] = exchange;
            return last;
        }
        exchanges.push(exchange);
        exchanges.len() - 1
    }

    pub(crate) fn frame(&self, exchange: usize, frame: Frame) {
        let mut exchanges = self.exchanges.lock();
        let Some(exchange) = exchanges.get_mut(exchange) else { return };
        if exchange.frames.len() < MAX_FRAMES || frame.kind == "close" {
            exchange.frames.push(frame);
        }
    }

    /// A check that is given twice fails once it has failed; the first failure stays.
    pub(crate) fn verdict(&self, check: Check) {
        let mut checks = self.checks.lock();
        match checks.iter_mut().find(|earlier| earlier.id == check.id) {
            None => checks.push(check),
            Some(earlier) if earlier.passed && !check.passed => *earlier = check,
            Some(_) => {}
        }
    }

    /// Everything so far; the log is empty afterwards.
    pub(crate) fn take(&self) -> (Vec<Exchange>, Vec<Check>) {
        (std::mem::take(&mut self.exchanges.lock()), std::mem::take(&mut self.checks.lock()))
    }

    /// Have all checks so far passed?
    pub fn all_passed(&self) -> bool {
        self.checks.lock().iter().all(|check| check.passed)
    }
}
