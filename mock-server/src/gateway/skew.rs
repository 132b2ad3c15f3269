//! Shifts the times in an answer, as a server with a wrong clock would write them.

use std::sync::LazyLock;

use chrono::{DateTime, Datelike, NaiveDateTime, SecondsFormat, TimeDelta, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use regex::{Captures, Regex};

static TIMES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#""(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d+))?(?:Z|[+-]\d\d:\d\d))""#).expect("a regex")
});

/// As Go writes them, in lists of files.
static GO_TIMES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#""(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)((?:\.\d+)? [+-]\d{4} [A-Za-z0-9+-]+")"#).expect("a regex")
});

/// Headers that hold a time.
const HEADERS: [HeaderName; 3] = [header::DATE, header::LAST_MODIFIED, header::EXPIRES];

/// Shifts what headers say; one without a date gets one.
pub fn shift_headers(headers: &mut HeaderMap, now: DateTime<Utc>, seconds: i64) {
    let by = TimeDelta::seconds(seconds);
    for name in HEADERS {
        let own = headers.get(&name).and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
        let at = own.map(DateTime::<Utc>::from).or_else(|| (name == header::DATE).then_some(now));
        let at = at.and_then(|at| at.checked_add_signed(by)).filter(|at| (1970..10_000).contains(&at.year()));
        if let Some(value) = at.and_then(|at| HeaderValue::from_str(&httpdate::fmt_http_date(at.into())).ok()) {
            headers.insert(name, value);
        }
    }
}

/// The same JSON with every time so many seconds later, each in its own precision.
pub fn shift(json: &str, seconds: i64) -> String {
    let go = |found: &Captures| {
        let time = NaiveDateTime::parse_from_str(&found[1], "%Y-%m-%d %H:%M:%S").ok();
        let time = time.and_then(|time| time.checked_add_signed(TimeDelta::seconds(seconds)));
        time.map_or_else(|| found[0].to_owned(), |time| format!("\"{}{}", time.format("%Y-%m-%d %H:%M:%S"), &found[2]))
    };
    let json = GO_TIMES.replace_all(json, go);
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
    TIMES.replace_all(&json, shifted).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_nothing_else_are_shifted() {
        let json = r#"{"at":"2026-01-01T00:00:00.000Z","on":"2026-01-01","n":"2026-01-01T00:00:00Z x","z":"2026-01-01T00:00:00Z"}"#;
        let wanted = r#"{"at":"2026-01-01T01:00:00.000Z","on":"2026-01-01","n":"2026-01-01T00:00:00Z x","z":"2026-01-01T01:00:00Z"}"#;
        assert_eq!(shift(json, 3600), wanted);
        let json = r#"{"modTime":"2026-01-01 23:00:00.12 +0000 UTC","text":"at 2026-01-01 23:00:00 +0000 UTC"}"#;
        let wanted = r#"{"modTime":"2026-01-02 00:00:00.12 +0000 UTC","text":"at 2026-01-01 23:00:00 +0000 UTC"}"#;
        assert_eq!(shift(json, 3600), wanted);
    }

    #[test]
    fn headers_are_shifted_as_far_as_they_can_say() {
        let now: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("a time");
        let mut headers = HeaderMap::new();
        headers.insert(header::LAST_MODIFIED, HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT"));
        headers.insert(header::EXPIRES, HeaderValue::from_static("0"));
        shift_headers(&mut headers, now, -60);
        assert_eq!(headers[header::DATE], "Wed, 31 Dec 2025 23:59:00 GMT");
        assert_eq!(headers[header::LAST_MODIFIED], "Wed, 31 Dec 2025 23:59:00 GMT");
        assert_eq!(headers[header::EXPIRES], "0");
        shift_headers(&mut headers, DateTime::UNIX_EPOCH, -1_000_000_000);
    }
}
