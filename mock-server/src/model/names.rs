//! Which names may be shown to people ("safe display string").

use std::sync::LazyLock;

use regex::Regex;

static UNSAFE: LazyLock<Regex> = LazyLock::new(|| {
    let schemes = "(?:https?|ftps?|sftp|ssh|wss?|file|ldaps?)://";
    let bare = r"\b(?:javascript|data|mailto|tel):|\bwww\.";
    Regex::new(&format!(r"(?i)</?[a-z!]|{schemes}|{bare}|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")).expect("a valid pattern")
});

/// No HTML tag, URL or control character except TAB, LF, CR (observed).
pub fn is_safe(name: &str) -> bool {
    !UNSAFE.is_match(name)
}

#[cfg(test)]
mod tests {
    use super::is_safe;

    #[test]
    fn tags_urls_and_control_characters_are_refused() {
        for bad in ["a<b>c", "</p>", "http://x", "see WSS://x", "javascript:alert(1)", "www.x.y", "a\0b", "a\x1bb"] {
            assert!(!is_safe(bad), "{bad:?}");
        }
        for good in ["", "my sandbox", "a < b", "naïve-名前", "a\tb\n", "x:y", "httpx", "1<2"] {
            assert!(is_safe(good), "{good:?}");
        }
    }
}
