//! How fast the suite may ask, and what it does when it is told to wait.

use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use crate::stop::{Result, Stop};

/// A server that says 429 for longer than this (all waits of one request together) isn't judged by it.
const MAX_WAIT: Duration = Duration::from_secs(90);

/// Spaces requests so that there are at most so many a second.
pub struct Gate {
    spacing: Option<Duration>,
    next: Mutex<Option<Instant>>,
}

impl Gate {
    /// `None`: no limit.
    pub fn new(per_second: Option<f64>) -> Self {
        let spacing = per_second.filter(|rate| *rate > 0.0).map(|rate| Duration::from_secs_f64(1.0 / rate));
        Self { spacing, next: Mutex::new(None) }
    }

    pub(super) async fn pass(&self, waits: &Waits) {
        let Some(spacing) = self.spacing else { return };
        let mine = {
            let mut next = self.next.lock();
            let mine = next.unwrap_or_else(Instant::now).max(Instant::now());
            *next = Some(mine + spacing);
            mine
        };
        waits.sleep_until(mine).await;
    }
}

/// How long a scenario waited because it was told to, by `--rps` or by a limiter: no time of the server's.
#[derive(Default)]
pub struct Waits(Mutex<Waited>);

#[derive(Default)]
struct Waited {
    total: Duration,
    until: Option<Instant>,
}

impl Waits {
    /// All in all, with what the waits of now will come to. Waits at the same time count once.
    pub fn total(&self) -> Duration {
        self.0.lock().total
    }

    /// Waits as long as a 429 asks; an error where it asks for too much.
    pub(super) async fn wait_out(&self, headers: &HeaderMap, waited: &mut Duration) -> Result {
        let wait = retry_after(headers, Utc::now());
        *waited += wait;
        if *waited > MAX_WAIT {
            return Err(Stop::not_run(format!("rate limited for longer than {MAX_WAIT:?}")));
        }
        self.sleep_until(Instant::now() + wait).await;
        Ok(())
    }

    async fn sleep_until(&self, at: Instant) {
        self.0.lock().note(Instant::now(), at);
        tokio::time::sleep_until(at).await;
    }
}

impl Waited {
    /// Another wait, from now on: what an earlier one doesn't wait for anyway.
    fn note(&mut self, now: Instant, at: Instant) {
        let from = self.until.map_or(now, |until| until.max(now));
        if at > from {
            self.total += at - from;
            self.until = Some(at);
        }
    }
}

/// How long a 429 asks to wait: `Retry-After`, or with the limiter's name behind it (`Retry-After-sandbox-create`).
/// Seconds or a date; the longest counts, and nothing at all counts as one second.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Duration {
    let waits = headers.iter().filter(|(name, _)| name.as_str().starts_with("retry-after"));
    let seconds = waits.filter_map(|(_, value)| seconds(value.to_str().ok()?.trim(), now));
    let longest = seconds.filter(|seconds| seconds.is_finite()).fold(1.0, f64::max);
    Duration::from_secs_f64(longest.clamp(0.0, 86_400.0))
}

fn seconds(text: &str, now: DateTime<Utc>) -> Option<f64> {
    let date = || DateTime::parse_from_rfc2822(text).ok().map(|at| (at.to_utc() - now).as_seconds_f64());
    text.parse().ok().or_else(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_counts() {
        let mut headers = HeaderMap::new();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(retry_after(&headers, now), Duration::from_secs(1));
        headers.insert("retry-after", "3".parse().unwrap());
        headers.insert("retry-after-sandbox-create", "12".parse().unwrap());
        assert_eq!(retry_after(&headers, now), Duration::from_secs(12));
        headers.insert("retry-after-authenticated", "Thu, 01 Jan 2026 00:00:20 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers, now), Duration::from_secs(20));
        headers.insert("retry-after-authenticated", "Wed, 31 Dec 2025 00:00:00 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers, now), Duration::from_secs(12), "what is over counts for nothing");
    }

    #[test]
    fn waits_at_the_same_time_count_once() {
        let (mut waited, begin) = (Waited::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        for end in [60, 90, 30] {
            waited.note(at(0), at(end));
        }
        assert_eq!(waited.total, Duration::from_secs(90));
        waited.note(at(80), at(100));
        assert_eq!(waited.total, Duration::from_secs(100));
        waited.note(at(200), at(240));
        assert_eq!(waited.total, Duration::from_secs(140));
    }

    #[tokio::test]
    async fn requests_are_spaced() {
        let (gate, waits, began) = (Gate::new(Some(50.0)), Waits::default(), Instant::now());
        for _ in 0..6 {
            gate.pass(&waits).await;
        }
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
        assert!(waits.total() <= began.elapsed());
    }
}
