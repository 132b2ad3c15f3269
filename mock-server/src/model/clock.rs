//! One clock under everything that waits, so that tests turn it instead of sleeping.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

/// Wall clock that can be frozen and advanced. Cheap to clone; all clones are one clock.
#[derive(Clone)]
pub struct Clock {
    state: Arc<Mutex<State>>,
    turned: watch::Sender<u64>,
}

#[derive(Clone, Copy)]
struct State {
    /// Added to real time while running.
    offset: chrono::Duration,
    /// The standing time while frozen.
    frozen: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

impl Default for Clock {
    fn default() -> Self {
        let state = State { offset: chrono::Duration::zero(), frozen: None };
        Clock { state: Arc::new(Mutex::new(state)), turned: watch::channel(0).0 }
    }
}

impl Clock {
    /// The time that every answer, timer and expiry of this server goes by.
    pub fn now(&self) -> DateTime<Utc> {
        let state = *self.state.lock();
        state.frozen.unwrap_or_else(|| Utc::now() + state.offset)
    }

    /// Whether time stands still.
    pub fn is_frozen(&self) -> bool {
        self.state.lock().frozen.is_some()
    }

    /// Stops time at this moment.
    pub fn freeze(&self) {
        let now = self.now();
        self.state.lock().frozen = Some(now);
        self.wake();
    }

    /// Lets time run again from where it stands.
    pub fn run(&self) {
        {
            let mut state = self.state.lock();
            if let Some(at) = state.frozen.take() {
                state.offset = at - Utc::now();
            }
        }
        self.wake();
    }

    /// Moves time forward; whatever is due by then wakes.
    pub fn advance(&self, by: Duration) {
        let by = chrono::Duration::from_std(by).unwrap_or(chrono::Duration::MAX / 4);
        {
            let mut state = self.state.lock();
            match &mut state.frozen {
                Some(at) => *at = at.checked_add_signed(by).unwrap_or(*at),
                None => state.offset = state.offset.checked_add(&by).unwrap_or(state.offset),
            }
        }
        self.wake();
    }

    /// Waits until this clock shows `deadline`, however it gets there.
    pub async fn sleep_until(&self, deadline: DateTime<Utc>) {
        let mut turned = self.turned.subscribe();
        loop {
            let now = self.now();
            if now >= deadline {
                return;
            }
            if self.is_frozen() {
                // The sender lives in `self`, so this can't fail while we are here.
                let _ = turned.changed().await;
                continue;
            }
            let left = (deadline - now).to_std().unwrap_or_default();
            tokio::select! {
                _ = tokio::time::sleep_until(Instant::now() + left) => {}
                _ = turned.changed() => {}
            }
        }
    }

    /// Waits for a span of this clock's time.
    pub async fn sleep(&self, span: Duration) {
        let span = chrono::Duration::from_std(span).unwrap_or(chrono::Duration::MAX / 4);
        self.sleep_until(self.now() + span).await;
    }

    fn wake(&self) {
        self.turned.send_modify(|n| *n += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frozen_clock_wakes_sleepers_only_when_turned() {
        let clock = Clock::default();
        clock.freeze();
        let start = clock.now();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(900)).await }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(899));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.expect("sleeper ends");
        assert_eq!(clock.now() - start, chrono::Duration::seconds(900));
    }
}
