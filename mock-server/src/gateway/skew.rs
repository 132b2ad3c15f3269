//! Shifts the times in an answer, as a server with a wrong clock would write them.

use std::sync::LazyLock;

use chrono::{DateTime, SecondsFormat, TimeDelta};
use regex::{Captures, Regex};

static TIMES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#""(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d+))?(?:Z|[+-]\d\d:\d\d))""#).expect("a regex")
});

/// The same JSON with every time so many seconds later, each in its own precision.
pub fn shift(json: &str, seconds: i64) -> String {
    let shifted = |found: &Captures| {
        let time = DateTime::parse_from_rfc3339(&found[1]).ok();
        let time = time.and_then(|time| time.checked_add_signed(TimeDelta::seconds(seconds)));
        let form = match found.get(2).map_or(0, |digits| digits.len()) {
            0 => SecondsFormat::Secs,
            1..=3 => SecondsFormat::Millis,
            4..=6 => SecondsFormat::Micros,
            _ => SecondsFormat::Nanos,
        };
        time.map_or_else(|| found[0].to_owned(), |time| format!("\"{}\"", time.to_rfc3339_opts(form, true)))
    };
    TIMES.replace_all(json, shifted).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_nothing_else_are_shifted() {
        let json = r#"{"at":"2026-01-01T00:00:00.000Z","on":"2026-01-01","n":"2026-01-01T00:00:00Z x","z":"2026-01-01T00:00:00Z"}"#;
        let wanted = r#"{"at":"2026-01-01T01:00:00.000Z","on":"2026-01-01","n":"2026-01-01T00:00:00Z x","z":"2026-01-01T01:00:00Z"}"#;
        assert_eq!(shift(json, 3600), wanted);
    }
}
