//! What differs from run to run, and what stands for it.

use std::{borrow::Cow, collections::HashSet, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

/// Longer texts are cut before they are compared.
const MAX_TEXT: usize = 400;
/// Of what a scenario makes: `Cx::name`, with what servers put behind it.
const NAME: &str = r"conformance-[0-9a-f]{10}-[A-Za-z0-9 _%+-]+?-\d+(-\d+)?(_[0-9A-Za-z]{4}\b)?";

/// Ids, times, hosts, tokens and names of a run, each replaced by what it is.
pub(super) fn normal(text: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"^[0-9a-f]{2}( [0-9a-f]{2}){7,}.*", "<bytes>"),
            (r"\bdtn_secret_[0-9a-f]+", "<placeholder>"),
            (r"\bssh (-p \d+ )?(\S+)@\S+", "ssh ${2}@<host>"),
            (r"^:\d+\.\d+:/org/a11y/", "<bus>/"),
            (r"\b\d{8}_\d{6}\b|_\d{8}_\d{6}\b", "<time>"),
            (r"(?i)\b(https?|wss?)://[^/\s\x22?#]+", "<host>"),
            (r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
            (
                r"\d{4}-\d\d-\d\d[T ]\d\d(:|%3A)\d\d(:|%3A)\d\d([.,]\d+)?( ?(Z|(\+|%2B|-)\d\d(:|%3A)?\d\d)( [A-Z]+)?)?",
                "<time>",
            ),
            (NAME, "<name>"),
            (r"/home/daytona/[a-z_]+-[a-z0-9_]+-\d+\b", "/home/daytona/<dir>"),
            (r"(?i)\b[a-z_]+-[a-z0-9_]+-\d+/", "<dir>/"),
            (r"\bW/\x22[^\x22]*\x22", "<etag>"),
            (r"^[0-9a-f]{8}(@example\.com)?$", "<user>"),
            (r"(?i)\b[0-9a-f]{16,}\b", "<hex>"),
            (r"\b[0-9a-f]{10}\b", "<run>"),
            (r"\b[A-Za-z0-9+/_-]{40,}={0,2}(\.[A-Za-z0-9_-]+)*", "<opaque>"),
            (r"\d{12,13}|\b\d{10,11}\b", "<stamp>"),
            (r"(?i)\b127\.0\.0\.1:\d+|localhost:\d+", "<host>"),
        ]
        .map(|(of, name)| (pattern(of), name))
        .into()
    });
    let mut text: String = by_stream(text).chars().take(4 * MAX_TEXT).collect();
    for (pattern, name) in RULES.iter() {
        text = pattern.replace_all(&text, *name).into_owned();
    }
    // Cut last: half a name would be another one.
    text.chars().take(MAX_TEXT).collect()
}

/// Output of a session with markers: which of the two streams was read first is chance.
fn by_stream(text: &str) -> Cow<'_, str> {
    static MARKED: LazyLock<Regex> = LazyLock::new(|| pattern("[\u{1}\u{2}]{3}[^\u{1}\u{2}]*"));
    if !text.contains("\u{1}\u{1}\u{1}") && !text.contains("\u{2}\u{2}\u{2}") {
        return text.into();
    }
    let mut pieces: Vec<&str> = MARKED.find_iter(text).map(|piece| piece.as_str()).collect();
    pieces.sort_by_key(|piece| piece.chars().next());
    pieces.concat().into()
}

fn pattern(of: &str) -> Regex {
    Regex::new(of).expect("the pattern is a constant")
}

/// The names of that kind in a text.
pub(super) fn names(text: &str) -> HashSet<String> {
    static NAMES: LazyLock<Regex> = LazyLock::new(|| pattern(NAME));
    NAMES.find_iter(text).map(|name| name.as_str().to_owned()).collect()
}

/// Not what another scenario of the run made meanwhile: that has a name which this one never sent.
pub(super) fn is_own(item: &Value, own: &HashSet<String>) -> bool {
    if !item.is_object() {
        return true;
    }
    let names = names(&item.to_string());
    names.is_empty() || !names.is_disjoint(own)
}

/// Another number each time.
pub(super) fn is_measured(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["used", "free", "cache", "cpu", "mem", "disk", "timestamp", "pid", "total", "took", "duration", "size"]
        .iter()
        .any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_makes_up_is_named() {
        for (text, expected) in [
            ("ssh -p 42595 {{TOKEN}}@127.0.0.1", "ssh {{TOKEN}}@<host>"),
            ("ssh {{TOKEN}}@ssh.app.example", "ssh {{TOKEN}}@<host>"),
            (":1.7:/org/a11y/atspi/accessible/4", "<bus>/atspi/accessible/4"),
            ("x_active_20261128_162738.mp4", "x_active<time>.mp4"),
            ("/api/regions/conformance-0123456789-region-7_26xb", "/api/regions/<name>"),
            ("/home/daytona/machine-proxy_hands_on-177.py", "/home/daytona/<dir>.py"),
            ("/home/daytona/files-find-12/a", "/home/daytona/<dir>/a"),
            ("dtn_secret_404a4af3e1234567890123b137a832513", "<placeholder>"),
        ] {
            assert_eq!(normal(text), expected);
        }
    }

    #[test]
    fn streams_are_compared_each_for_itself() {
        let (out, err) = ("\u{1}\u{1}\u{1}out\n", "\u{2}\u{2}\u{2}err\n");
        assert_eq!(normal(&format!("{err}{out}")), format!("{out}{err}"));
        assert_eq!(normal(&format!("{out}{err}{out}")), format!("{out}{out}{err}"));
    }
}
