//! Query strings: repeated keys and `key[]` are arrays, numbers and dates are checked with the original's messages.

use std::{convert::Infallible, str::FromStr};

use axum::extract::FromRequestParts;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use http::request::Parts;

use super::error::{ApiError, ApiResult};

/// A request's query and what is wrong with it so far.
#[derive(Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
    problems: Vec<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Query::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// Queries have at most this many parts; the rest is not looked at.
const MAX_PAIRS: usize = 1000;

impl Query {
    pub fn parse(query: &str) -> Query {
        let pairs = form_urlencoded::parse(query.as_bytes()).take(MAX_PAIRS);
        Query {
            pairs: pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
            problems: Vec::new(),
        }
    }

    /// A parameter that is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Exactly `true` is true.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.raw(name).map(|value| value == "true")
    }

    /// A text; a nested parameter (`name[x]=`) or a repeated one isn't.
    pub fn text(&mut self, name: &str) -> String {
        let nested = self.pairs.iter().any(|(n, _)| n.strip_prefix(name).is_some_and(|rest| rest.starts_with('[')));
        if nested || self.pairs.iter().filter(|(n, _)| n == name).count() > 1 {
            self.problems.push(format!("{name} must be a string"));
        }
        self.get(name).unwrap_or_default().to_owned()
    }

    /// An array: repeated keys or `name[]=`; empty parts count for nothing.
    pub fn array(&self, name: &str) -> Vec<String> {
        let is_own = |n: &str| {
            n.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('[') && rest.ends_with(']'))
        };
        self.pairs.iter().filter(|(n, v)| is_own(n) && !v.is_empty()).map(|(_, value)| value.clone()).collect()
    }

    /// The values of `name[key]=`, repeated or with commas.
    pub fn nested(&self, name: &str, key: &str) -> Vec<String> {
        let is_own = |n: &str| {
            let rest = n.strip_prefix(name).and_then(|rest| rest.strip_prefix('[')).unwrap_or_default();
            rest.strip_prefix(key).is_some_and(|rest| rest == "]" || rest == "][]")
        };
        let all = self.pairs.iter().filter(|(n, _)| is_own(n)).flat_map(|(_, value)| value.split(','));
        all.filter(|part| !part.is_empty()).map(String::from).collect()
    }

    pub fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// An array of words from a list; `message` starts the refusal.
    pub fn words<T: Copy>(&mut self, name: &str, message: &str, all: &[(&str, T)]) -> Vec<T> {
        let words = self.array(name);
        let find = |word: &String| all.iter().find(|(text, _)| text == word).map(|(_, value)| *value);
        let found: Vec<T> = words.iter().filter_map(find).collect();
        if found.len() < words.len() {
            self.problems.push(format!("{message} must be one of the following values: {}", list(all)));
        }
        found
    }

    /// One word from a list.
    pub fn word<T: Copy>(&mut self, name: &str, all: &[(&str, T)], default: T) -> T {
        let Some(word) = self.get(name) else { return default };
        let found = all.iter().find(|(text, _)| *text == word).map(|(_, value)| *value);
        if found.is_none() {
            self.problems.push(format!("{name} must be one of the following values: {}", list(all)));
        }
        found.unwrap_or(default)
    }

    /// Which page: any that a number can name.
    pub fn page(&mut self) -> u64 {
        self.whole("page", None, true).unwrap_or(1)
    }

    /// A whole number of at least 1, and at most `max`. The order of the messages is observed to differ by parameter.
    pub fn number(&mut self, name: &str, max: Option<u32>, integer_first: bool) -> Option<u32> {
        self.whole(name, max, integer_first).map(|number| number.try_into().unwrap_or(u32::MAX))
    }

    fn whole(&mut self, name: &str, max: Option<u32>, integer_first: bool) -> Option<u64> {
        // What is no number fails every check.
        let text = self.raw(name)?;
        let value = number_of(text);
        let is_whole = value.fract() == 0.0;
        let mut problems = Vec::new();
        if value.is_nan() || value < 1.0 {
            problems.push(format!("{name} must not be less than 1"));
        }
        if let Some(max) = max.filter(|max| value.is_nan() || value > f64::from(*max)) {
            problems.push(format!("{name} must not be greater than {max}"));
        }
        if !is_whole {
            let at = if integer_first { 0 } else { problems.len() };
            problems.insert(at, format!("{name} must be an integer number"));
        }
        let fine = problems.is_empty();
        self.problems.extend(problems);
        fine.then_some(value as u64)
    }

    /// A date or a time, in any form that SDKs send.
    pub fn date(&mut self, name: &str) -> Option<DateTime<Utc>> {
        let text = self.get(name)?;
        let date = parse_date(text);
        if date.is_none() {
            self.problems.push(format!("{name} must be a Date instance"));
        }
        date
    }

    /// 400 with every problem so far.
    pub fn check(&self) -> ApiResult<()> {
        if self.problems.is_empty() { Ok(()) } else { Err(ApiError::bad_request(self.problems.join(", "))) }
    }
}

fn list<T>(all: &[(&str, T)]) -> String {
    all.iter().map(|(text, _)| *text).collect::<Vec<_>>().join(", ")
}

/// A number as the original coerces texts (JavaScript's `Number`): empty is 0, what is none `NaN`.
pub fn number_of(text: &str) -> f64 {
    let text = text.trim();
    if text.is_empty() { 0.0 } else { f64::from_str(text).unwrap_or(f64::NAN) }
}

/// `2026-11-24`, `…T00:00:00.000Z`, and Python's `…T00:00:00.000000+0000` or without a zone. A space may be a `+` that
/// was not escaped. What the original's `Date` reads besides: Ruby's `2026-11-24 00:00:00 UTC`, and dates as mails and JavaScript
/// write them.
pub fn parse_date(text: &str) -> Option<DateTime<Utc>> {
    iso_date(text).or_else(|| spoken_date(text))
}

fn iso_date(text: &str) -> Option<DateTime<Utc>> {
    let text = text.replacen(' ', if text.contains('T') { "+" } else { "T" }, 1);
    let zoned =
        DateTime::parse_from_rfc3339(&text).or_else(|_| DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%z"));
    let plain = || {
        let time = text.parse::<NaiveDateTime>().or_else(|_| {
            // Seconds may be left out (ISO 8601).
            NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%dT%H:%M")
        });
        let time = time.ok();
        time.or_else(|| text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)).map(|time| time.and_utc())
    };
    zoned.map(|time| time.with_timezone(&Utc)).ok().or_else(plain)
}

/// With names for days, months or zones.
fn spoken_date(text: &str) -> Option<DateTime<Utc>> {
    // JavaScript puts the zone's name behind its offset.
    let text = text.split(" (").next()?.replace("GMT+", "+").replace("GMT-", "-");
    let text = text.replace("UTC", "+0000").replace("GMT", "+0000");
    let zoned = ["%Y-%m-%d %H:%M:%S%.f %z", "%a %b %d %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %z"];
    let found = zoned.iter().find_map(|format| DateTime::parse_from_str(&text, format).ok());
    found.map(|time| time.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(value: &str) -> (Option<u32>, String) {
        let mut query = Query::parse(&format!("limit={value}"));
        let number = query.number("limit", Some(200), true);
        (number, query.problems.join(", "))
    }

    #[test]
    fn numbers() {
        assert_eq!(number("200"), (Some(200), String::new()));
        assert_eq!(number("201").1, "limit must not be greater than 200");
        assert_eq!(number("").1, "limit must not be less than 1");
        assert_eq!(number("1.5").1, "limit must be an integer number");
        let all = "limit must be an integer number, limit must not be less than 1, limit must not be greater than 200";
        assert_eq!(number("x").1, all);
        assert_eq!(Query::parse("page=99999999999").page(), 99_999_999_999);
        assert_eq!(Query::parse("page=1e300").page(), u64::MAX);
        let mut query = Query::parse("minCpu=x");
        query.number("minCpu", None, false);
        assert_eq!(query.problems.join(", "), "minCpu must not be less than 1, minCpu must be an integer number");
    }

    #[test]
    fn arrays_and_flags() {
        let query = Query::parse("a=1&a=2&b[]=3&c=&d=true&e=TRUE&f[0]=x");
        assert_eq!(query.array("a"), ["1", "2"]);
        assert_eq!(query.array("b"), ["3"]);
        assert_eq!(query.array("f"), ["x"]);
        assert!(query.array("c").is_empty());
        assert_eq!((query.flag("d"), query.flag("e"), query.flag("g")), (Some(true), Some(false), None));
    }

    #[test]
    fn dates() {
        let midnight = parse_date("2026-11-24").expect("a date");
        for text in [
            "2026-11-24T00:00:00.000Z",
            "2026-11-24T00:00:00.000000+0000",
            "2026-11-24T00:00:00",
            "2026-11-24T00:00Z",
            "2026-11-24T00:00",
            "2026-11-24T00:00:00.000000 0000",
            "2026-11-24 00:00:00 UTC",
            "2026-11-24 01:00:00 +0100",
            "2026-11-24 00:00:00.000 GMT",
            "Tue Nov 24 2026 00:00:00 GMT+0000 (Coordinated Universal Time)",
            "Tue Nov 24 2026 01:00:00 GMT+0100",
            "Tue, 24 Nov 2026 00:00:00 GMT",
        ] {
            assert_eq!(parse_date(text), Some(midnight), "{text}");
        }
        for text in ["x", "UTC", "2026-11-24 UTC", "2026-13-24 00:00:00 UTC"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(text in ".{0,200}") {
            let mut query = Query::parse(&text);
            query.text("a");
            query.array("a");
            query.number("a", None, true);
            query.date("a");
            parse_date(&text);
        }
    }
}
