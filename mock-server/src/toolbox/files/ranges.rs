//! Byte ranges and conditions of a download, as Go's file server decides them (RFC 9110, sections 13 and 14).

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

/// More ranges than this are answered with the whole file.
const MAX_RANGES: usize = 256;

/// What a request's headers ask of a file.
#[derive(Debug, PartialEq)]
pub enum Wanted {
    Whole,
    /// One or more stretches, each within the file.
    Ranges(Vec<Range<u64>>),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416, with the reason.
    Unsatisfiable(&'static str),
}

/// Decides by `If-*` and `Range`. There are no entity tags, so none ever matches.
pub fn wanted(headers: &HeaderMap, modified: SystemTime, size: u64) -> Wanted {
    let modified = whole_seconds(modified);
    match precondition(headers, modified) {
        StatusCode::NOT_MODIFIED => return Wanted::NotModified,
        StatusCode::PRECONDITION_FAILED => return Wanted::PreconditionFailed,
        _ => {}
    }
    let current = match text(headers, header::IF_RANGE) {
        Some(date) => httpdate::parse_http_date(date).is_ok_and(|date| date == modified),
        None => true,
    };
    match text(headers, header::RANGE).filter(|_| current) {
        Some(range) => parse(range, size),
        None => Wanted::Whole,
    }
}

fn precondition(headers: &HeaderMap, modified: SystemTime) -> StatusCode {
    let date = |name| text(headers, name).and_then(|date| httpdate::parse_http_date(date).ok());
    let wrong = match text(headers, header::IF_MATCH) {
        Some(tags) => tags.trim() != "*",
        None => date(header::IF_UNMODIFIED_SINCE).is_some_and(|date| modified > date),
    };
    let unchanged = match text(headers, header::IF_NONE_MATCH) {
        Some(tags) => tags.trim() == "*",
        None => date(header::IF_MODIFIED_SINCE).is_some_and(|date| modified <= date),
    };
    match (wrong, unchanged) {
        (true, _) => StatusCode::PRECONDITION_FAILED,
        (_, true) => StatusCode::NOT_MODIFIED,
        _ => StatusCode::OK,
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().filter(|text| !text.is_empty())
}

/// HTTP dates know no fractions.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn parse(header: &str, size: u64) -> Wanted {
    const INVALID: Wanted = Wanted::Unsatisfiable("invalid range");
    let Some(specs) = header.strip_prefix("bytes=") else { return INVALID };
    let (mut ranges, mut beyond) = (Vec::new(), false);
    for spec in specs.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        match one(spec, size) {
            None => return INVALID,
            Some(range) if range.start >= size => beyond = true,
            Some(range) => ranges.push(range),
        }
    }
    // An empty file has no ranges, and asking for some is no fault.
    if ranges.is_empty() && beyond {
        return if size == 0 { Wanted::Whole } else { Wanted::Unsatisfiable("invalid range: failed to overlap") };
    }
    let total = ranges.iter().fold(0u64, |sum, range| sum.saturating_add(range.end - range.start));
    // Asking for more than everything is an attack, or clumsy.
    if ranges.is_empty() || total > size || ranges.len() > MAX_RANGES {
        return Wanted::Whole;
    }
    Wanted::Ranges(ranges)
}

fn one(spec: &str, size: u64) -> Option<Range<u64>> {
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    match spec.split_once('-')? {
        ("", last) => Some(size.saturating_sub(number(last.trim())?)..size),
        (first, "") => Some(number(first.trim())?..size).map(|range| range.start..range.end.max(range.start)),
        (first, last) => {
            let (first, last) = (number(first.trim())?, number(last.trim())?);
            (first <= last).then(|| first..last.saturating_add(1).min(size).max(first))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(ranges: &[(u64, u64)]) -> Wanted {
        Wanted::Ranges(ranges.iter().map(|(start, end)| *start..*end).collect())
    }

    #[test]
    fn parses() {
        let cases = [
            ("bytes=0-4", ranges(&[(0, 5)])),
            ("bytes=5-", ranges(&[(5, 10)])),
            ("bytes=-3", ranges(&[(7, 10)])),
            ("bytes=-30", ranges(&[(0, 10)])),
            ("bytes=8-100", ranges(&[(8, 10)])),
            ("bytes=0-0, 9-9", ranges(&[(0, 1), (9, 10)])),
            ("bytes=0-0,50-", ranges(&[(0, 1)])),
            ("bytes=0-9,0-9", Wanted::Whole),
            ("bytes=-0", Wanted::Unsatisfiable("invalid range: failed to overlap")),
            ("bytes=-0,1-1", ranges(&[(1, 2)])),
            ("bytes=10-", Wanted::Unsatisfiable("invalid range: failed to overlap")),
            ("bytes=5-4", Wanted::Unsatisfiable("invalid range")),
            ("bytes=a-", Wanted::Unsatisfiable("invalid range")),
            ("bytes=--1", Wanted::Unsatisfiable("invalid range")),
            ("lines=1-2", Wanted::Unsatisfiable("invalid range")),
            ("bytes=", Wanted::Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(parse(header, 10), expected, "{header}");
        }
        for header in ["bytes=0-", "bytes=-1", "bytes=-0"] {
            assert_eq!(parse(header, 0), Wanted::Whole, "{header}");
        }
    }

    #[test]
    fn conditions() {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_500);
        let date = |seconds| httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let ask = |pairs: &[(HeaderName, String)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.clone(), value.parse().expect("value")));
            wanted(&pairs.collect(), modified, 10)
        };
        assert_eq!(ask(&[(header::IF_MODIFIED_SINCE, date(1_000_000))]), Wanted::NotModified);
        assert_eq!(ask(&[(header::IF_MODIFIED_SINCE, date(999_999))]), Wanted::Whole);
        assert_eq!(ask(&[(header::IF_UNMODIFIED_SINCE, date(999_999))]), Wanted::PreconditionFailed);
        assert_eq!(ask(&[(header::IF_MATCH, "\"x\"".into())]), Wanted::PreconditionFailed);
        assert_eq!(ask(&[(header::IF_NONE_MATCH, "\"x\"".into())]), Wanted::Whole);
        let range = (header::RANGE, "bytes=1-2".to_owned());
        assert_eq!(ask(&[range.clone(), (header::IF_RANGE, date(1_000_000))]), ranges(&[(1, 3)]));
        assert_eq!(ask(&[range.clone(), (header::IF_RANGE, date(1_000_001))]), Wanted::Whole);
        assert_eq!(ask(&[range, (header::IF_RANGE, "\"tag\"".into())]), Wanted::Whole);
    }

    proptest::proptest! {
        #[test]
        fn always_within_the_file(header in "bytes=[0-9,-]{0,20}", size in 0u64..100) {
            if let Wanted::Ranges(ranges) = parse(&header, size) {
                proptest::prop_assert!(ranges.iter().all(|range| range.start <= range.end && range.end <= size));
            }
        }
    }
}
