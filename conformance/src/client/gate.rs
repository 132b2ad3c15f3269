//! How fast the suite may ask, and what it does when it is told to wait.

use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::{sync::Mutex, time::Instant};

/// A server that says 429 for longer than this (all waits of one request together) leaves its rule untestable.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(90);

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

    pub(super) async fn pass(&self) {
        let Some(spacing) = self.spacing else { return };
        let mine = {
            let mut next = self.next.lock().await;
            let mine = next.unwrap_or_else(Instant::now).max(Instant::now());
            *next = Some(mine + spacing);
            mine
        };
        tokio::time::sleep_until(mine).await;
    }
}

/// How long a 429 asks to wait: `Retry-After`, or with the limiter's name behind it (`Retry-After-sandbox-create`).
/// The longest counts; a date or nothing at all counts as one second.
pub(super) fn retry_after(headers: &HeaderMap) -> Duration {
    let waits = headers.iter().filter(|(name, _)| name.as_str().starts_with("retry-after"));
    let seconds = waits.filter_map(|(_, value)| value.to_str().ok()?.trim().parse::<f64>().ok());
    let longest = seconds.filter(|seconds| seconds.is_finite()).fold(1.0, f64::max);
    Duration::from_secs_f64(longest.clamp(0.0, 86_400.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), Duration::from_secs(1));
        headers.insert("retry-after", "3".parse().unwrap());
        headers.insert("retry-after-sandbox-create", "12".parse().unwrap());
        assert_eq!(retry_after(&headers), Duration::from_secs(12));
    }
}
