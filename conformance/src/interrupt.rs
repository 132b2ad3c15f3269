//! The signals by which a terminal, or a CI system, ends a program.

use nix::sys::signal::Signal as Sent;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
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

    async fn next(&mut self) -> Sent {
        tokio::select! { _ = self.0.recv() => Sent::SIGINT, _ = self.1.recv() => Sent::SIGTERM }
    }
}

/// Ends with an error when a signal comes: what the work holds is dropped, a private mock with it.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(mut signals) = Signals::listen() else { return work.await };
    tokio::select! {
        done = work => done,
        _ = signals.next() => Err(Stop::harness("interrupted")),
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

/// The signals as they come, for who hands them on: the first two, each told by `say`. The third ends the program at once.
pub(crate) fn handed_on(say: impl Fn(&str) + Send + 'static) -> mpsc::UnboundedReceiver<Sent> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let Some(mut signals) = Signals::listen() else { return };
        for line in
            ["interrupted: the program may clean up (once more to kill it)", "interrupted: the program is killed"]
        {
            let signal = signals.next().await;
            say(line);
            _ = sender.send(signal);
        }
        signals.next().await;
        mock::end_all();
        std::process::exit(130);
    });
    receiver
}
