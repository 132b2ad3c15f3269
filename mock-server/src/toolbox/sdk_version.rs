//! Which SDK is asking. Old ones were built around other answers of the same routes: argv splitting in
//! execute (before 0.156), raw markers or plain text in session output (before 0.167).

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header::SEC_WEBSOCKET_PROTOCOL, request::Parts},
};

/// Header that every SDK sends, and prefix (with `~`) of the WebSocket sub-protocol that says the same.
pub const HEADER: &str = "X-Daytona-SDK-Version";

/// Set by the gateway on requests that came by `/api/toolbox/{id}/toolbox/…`, which SDKs left with 0.113.
pub const LEGACY_PATH_HEADER: &str = "X-Daytona-Legacy-Toolbox";

/// What a client said about its version. An extractor that never fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SdkVersion {
    /// No header and no sub-protocol: not an SDK.
    Absent,
    /// `major.minor.patch`, and whether it is a pre-release of that.
    Release(Release),
    /// A repository build (`0.0.0-…`, or "dev" somewhere in it): as new as can be.
    Newest,
    /// Something else, such as `unknown` when Python package metadata is missing.
    Unparsable,
}

/// Ordered as semantic versions are: a pre-release comes before its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    major: u32,
    minor: u32,
    patch: u32,
    is_final: bool,
}

impl Release {
    pub const fn new(major: u32, minor: u32, patch: u32) -> Release {
        Release { major, minor, patch, is_final: true }
    }
}

impl SdkVersion {
    /// Reads `0.216.0`, `v0.125.0-alpha.1`, Python's `0.125.0a1`, `0.0.0-dev`.
    pub fn parse(text: &str) -> SdkVersion {
        let text = text.trim();
        if text.contains("dev") || text.starts_with("0.0.0-") {
            return SdkVersion::Newest;
        }
        match parse_release(text.strip_prefix('v').unwrap_or(text)) {
            Some(release) => SdkVersion::Release(release),
            None => SdkVersion::Unparsable,
        }
    }

    /// The header, else the WebSocket sub-protocol token, which is all that a browser can send.
    pub fn of(headers: &HeaderMap) -> SdkVersion {
        let header = headers.get(HEADER).and_then(|value| value.to_str().ok()).filter(|text| !text.trim().is_empty());
        match header.or_else(|| protocol_token(headers).and_then(|token| token.split_once('~')).map(|(_, v)| v)) {
            Some(text) => SdkVersion::parse(text),
            None => SdkVersion::Absent,
        }
    }

    /// A version known to be below `limit`.
    pub fn is_before(self, limit: Release) -> bool {
        matches!(self, SdkVersion::Release(release) if release < limit)
    }

    /// A version known to be `limit` or newer.
    pub fn is_at_least(self, limit: Release) -> bool {
        match self {
            SdkVersion::Release(release) => release >= limit,
            SdkVersion::Newest => true,
            SdkVersion::Absent | SdkVersion::Unparsable => false,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for SdkVersion {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(SdkVersion::of(&parts.headers))
    }
}

/// The offered sub-protocol `X-Daytona-SDK-Version~…`, to be selected by the server: Node's client gives up
/// when it offered some and none is selected.
pub fn protocol_token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .find(|token| token.split_once('~').is_some_and(|(name, _)| name.eq_ignore_ascii_case(HEADER)))
}

fn parse_release(text: &str) -> Option<Release> {
    let core_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (core, rest) = text.split_at(core_end);
    let mut numbers = core.trim_end_matches('.').split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next().map_or(Ok(0), str::parse).ok()?;
    let patch = numbers.next().map_or(Ok(0), str::parse).ok()?;
    let known_rest = rest.is_empty() || rest.starts_with(['-', '+', 'a', 'b', 'r', 'p']);
    if numbers.next().is_some() || !known_rest {
        return None;
    }
    // `+build` and `.post1` come after a release, everything else (`-rc.1`, `a1`, `b2`, `rc3`) before it.
    Some(Release { major, minor, patch, is_final: rest.is_empty() || rest.starts_with(['+', 'p']) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ARGV_UNTIL: Release = Release::new(0, 156, 0);

    #[test]
    fn releases_are_compared_by_number() {
        assert!(SdkVersion::parse("0.108.1").is_before(ARGV_UNTIL));
        assert!(SdkVersion::parse("0.155.99").is_before(ARGV_UNTIL));
        assert!(!SdkVersion::parse("0.156.0").is_before(ARGV_UNTIL));
        assert!(SdkVersion::parse("1.0").is_at_least(ARGV_UNTIL));
        assert!(SdkVersion::parse("v0.216.0").is_at_least(ARGV_UNTIL));
    }

    #[test]
    fn pre_releases_come_before_their_release() {
        for text in ["0.156.0-a1", "0.156.0a1", "0.156.0rc2", "0.156.0-alpha.3"] {
            assert!(SdkVersion::parse(text).is_before(ARGV_UNTIL), "{text}");
        }
        for text in ["0.156.0+abc", "0.156.0.post1", "0.156.1a1"] {
            assert!(SdkVersion::parse(text).is_at_least(ARGV_UNTIL), "{text}");
        }
    }

    #[test]
    fn repository_builds_are_newest_and_junk_is_unparsable() {
        for text in ["0.0.0-dev", "0.0.0-abc123", "0.125.0.dev3", "dev"] {
            assert_eq!(SdkVersion::parse(text), SdkVersion::Newest, "{text}");
        }
        for text in ["unknown", "", "1.2.3.4", "x1.2.3", "99999999999.0.0"] {
            assert_eq!(SdkVersion::parse(text), SdkVersion::Unparsable, "{text}");
        }
    }

    #[test]
    fn a_browser_says_it_by_sub_protocol() {
        let mut headers = HeaderMap::new();
        assert_eq!(SdkVersion::of(&headers), SdkVersion::Absent);
        let offered = "chat, X-Daytona-SDK-Version~0.190.0";
        headers.insert(SEC_WEBSOCKET_PROTOCOL, offered.parse().expect("header value"));
        assert_eq!(SdkVersion::of(&headers), SdkVersion::Release(Release::new(0, 190, 0)));
        assert_eq!(protocol_token(&headers), Some("X-Daytona-SDK-Version~0.190.0"));
        headers.insert(HEADER, "0.100.0".parse().expect("header value"));
        assert_eq!(SdkVersion::of(&headers), SdkVersion::Release(Release::new(0, 100, 0)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            SdkVersion::parse(&text);
        }

        #[test]
        fn numbers_round_trip(a in 0u32..2000, b in 0u32..2000, c in 0u32..2000) {
            prop_assert_eq!(SdkVersion::parse(&format!("{a}.{b}.{c}")), SdkVersion::Release(Release::new(a, b, c)));
        }
    }
}
