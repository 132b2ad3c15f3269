//! The signals by which a terminal, or a CI system, ends a program.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    mock,
    stop::{Result, Stop},
};

/// SIGINT and SIGTERM. From the first time on that somebody listens, they don't end the process by themselves any more.
struct Signals(Signal, Signal);

impl Signals {
    fn listen() -> Option<Self> {
        Some(Self(signal(SignalKind::interrupt()).ok()?, signal(SignalKind::terminate()).ok()?))
    }

    async fn next(&mut self) {
        tokio::select! { _ = self.0.recv() => {} _ = self.1.recv() => {} }
    }
}

/// Ends with an error when a signal comes: what the work holds is dropped, a private mock with it.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(mut signals) = Signals::listen() else { return work.await };
    tokio::select! {
        done = work => done,
        () = signals.next() => Err(Stop::harness("interrupted")),
    }
}

/// The first signal ends the run in good order, and is told by `say`; the second ends the program at once.
pub(crate) async fn cancel_on_signal(cancel: CancellationToken, say: impl Fn(&str)) {
    let Some(mut signals) = Signals::listen() else { return };
    signals.next().await;
    say("interrupted: cleaning up (once more to end at once)");
    cancel.cancel();
    signals.next().await;
    mock::end_all();
    std::process::exit(130);
}
