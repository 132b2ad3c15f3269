//! Credentials in remotes' URLs.

use percent_encoding::percent_decode_str;

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub password: String,
}

/// A web address taken apart. Other addresses (`ssh://git@…`, `git@host:…`, paths) hold no passwords.
#[derive(Debug, PartialEq, Eq)]
pub struct Web {
    /// Without credentials.
    pub clean: String,
    /// `https://host:port`, what credentials are for.
    pub origin: String,
    /// What was before the `@`.
    pub login: Option<Login>,
}

impl Web {
    /// `None` for what is no `http://` or `https://`.
    pub fn parse(url: &str) -> Option<Web> {
        let (scheme, credentials, rest) = split(url)?;
        let host = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let login = credentials.map(|text| {
            let (username, password) = text.split_once(':').unwrap_or((text, ""));
            let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
            Login { username: decoded(username), password: decoded(password) }
        });
        Some(Web { clean: format!("{scheme}{rest}"), origin: format!("{scheme}{host}"), login })
    }
}

/// The address without its password; the name stays (`ListRemotes`).
pub fn without_password(url: &str) -> String {
    match split(url) {
        Some((scheme, Some(credentials), rest)) => {
            let username = credentials.split_once(':').map_or(credentials, |(username, _)| username);
            if username.is_empty() { format!("{scheme}{rest}") } else { format!("{scheme}{username}@{rest}") }
        }
        _ => url.to_owned(),
    }
}

/// Scheme with its slashes, credentials, host and all after it.
fn split(url: &str) -> Option<(&str, Option<&str>, &str)> {
    let is_web = |scheme: &&str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let length = ["https://", "http://"].iter().find(|scheme| is_web(scheme))?.len();
    let (scheme, rest) = url.split_at(length);
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    match authority.rfind('@') {
        Some(at) => Some((scheme, Some(&rest[..at]), &rest[at + 1..])),
        None => Some((scheme, None, rest)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credentials_are_taken_out() {
        let web = Web::parse("https://me:p%40ss:w@host:8443/o/r.git?a@b").expect("web");
        assert_eq!(web.clean, "https://host:8443/o/r.git?a@b");
        assert_eq!(web.origin, "https://host:8443");
        assert_eq!(web.login, Some(Login { username: "me".into(), password: "p@ss:w".into() }));
        let token = Web::parse("HTTP://token@host").expect("web");
        assert_eq!(token.login, Some(Login { username: "token".into(), password: String::new() }));
        assert_eq!(Web::parse("http://host/a@b").expect("web").login, None);
        for other in ["git@host:o/r", "ssh://git:pw@host/x", "/path", "file:///x", "ext::sh", ""] {
            assert_eq!(Web::parse(other), None, "{other}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("https://me:secret@host/r"), "https://me@host/r");
        assert_eq!(without_password("https://:secret@host/r"), "https://host/r");
        assert_eq!(without_password("https://me@host/r"), "https://me@host/r");
        assert_eq!(without_password("git@host:o/r"), "git@host:o/r");
    }

    proptest! {
        #[test]
        fn no_password_survives(user in "[^/?#]{0,9}", host in "[a-z.]{1,9}", path in "(/\\PC{0,9})?") {
            let url = format!("https://{user}:SECRET@{host}{path}");
            prop_assert!(!without_password(&url).contains("SECRET"));
            let web = Web::parse(&url).expect("web");
            prop_assert_eq!(web.origin, format!("https://{host}"));
            prop_assert_eq!(web.clean, format!("https://{host}{path}"));
        }
    }
}
