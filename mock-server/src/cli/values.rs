//! What values of flags mean. Errors say what is expected; clap says of which flag.

use std::path::{Path, PathBuf};

use super::StrictArg;
use crate::{
    config::{check_api_key, check_host},
    limits::Limits,
    model::{OfflineBase, webhooks::NewEndpoint},
    runtime::BaseChoice,
    strict::Strictness,
};

/// Endpoints, a line each.
#[derive(Clone)]
pub struct Told(pub Vec<NewEndpoint>);

pub fn parse_webhook(text: &str) -> Result<Told, String> {
    text.lines().map(str::parse).collect::<Result<_, _>>().map(Told)
}

pub fn parse_api_key(text: &str) -> Result<String, String> {
    check_api_key(text).map(|()| text.to_owned())
}

pub fn parse_host(text: &str) -> Result<String, String> {
    check_host(text).map(|()| text.to_owned())
}

/// It goes into headers.
pub fn parse_version(text: &str) -> Result<String, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+_".contains(&byte));
    if plain { Ok(text.to_owned()) } else { Err("expected a version, such as 0.205.1".into()) }
}

/// A mode, or what else turns a switch on or off.
pub fn parse_strict(text: &str) -> Result<StrictArg, String> {
    let mode = match (text.to_ascii_lowercase().as_str(), on_or_off(text)) {
        ("journal", _) | (_, Some(true)) => Some(Strictness::Journal),
        ("reject", _) => Some(Strictness::Reject),
        (_, Some(false)) => None,
        _ => return Err("expected journal, reject or off".into()),
    };
    Ok(StrictArg(mode))
}

/// The words for a switch, as clap takes them in a variable.
pub fn on_or_off(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// Refuses what [`Limits::set`] refuses.
pub fn parse_limit(text: &str) -> Result<String, String> {
    Limits::default().set(text).map(|()| text.to_owned())
}

/// `NAME=VALUE`, whatever is in the value; or `NAME` for the value that the server itself has (nothing if it has none). Bad
/// names are the start's to refuse.
pub fn parse_env(text: &str) -> Option<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None if text.is_empty() => Some(Default::default()),
        None => std::env::var(text).ok().map(|value| (text.to_owned(), value)),
    }
}

/// Whatever is no word is a path, which must be there.
pub fn parse_offline(text: &str) -> Result<OfflineBase, String> {
    match text {
        "host" => Ok(OfflineBase::Host),
        "error" => Ok(OfflineBase::Error),
        path if Path::new(path).exists() => Ok(OfflineBase::Path(path.into())),
        _ => Err("expected host, error, or the path of a directory or tarball".into()),
    }
}

/// Files and directories are told apart by looking; whatever isn't one is an image reference.
pub fn parse_base(text: &str) -> Result<BaseChoice, String> {
    let path = PathBuf::from(text);
    match text {
        "" => Err("expected host, a directory, a tarball or an image reference".into()),
        "host" => Ok(BaseChoice::Host),
        _ if path.is_dir() => Ok(BaseChoice::Directory(path)),
        _ if path.is_file() => Ok(BaseChoice::Tarball(path)),
        _ if text.starts_with(['/', '.', '~']) => Err("no such file or directory".into()),
        _ => Ok(BaseChoice::Image(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_or_given() {
        assert_eq!(parse_env("A=b=c,d"), Some(("A".into(), "b=c,d".into())));
        assert_eq!(parse_env("A=1\nPATH"), Some(("A".into(), "1\nPATH".into())));
        assert_eq!(parse_env("PATH").map(|(name, _)| name), Some("PATH".into()));
        assert_eq!(parse_env("NO_SUCH_VARIABLE_HERE"), None);
        assert_eq!(parse_env("=x"), Some((String::new(), "x".into())), "told at the start");
    }

    #[test]
    fn bases_are_told_apart() {
        assert_eq!(parse_base("host"), Ok(BaseChoice::Host));
        assert_eq!(parse_base("/usr"), Ok(BaseChoice::Directory("/usr".into())));
        assert_eq!(parse_base("/etc/passwd"), Ok(BaseChoice::Tarball("/etc/passwd".into())));
        assert_eq!(parse_base("debian:12"), Ok(BaseChoice::Image("debian:12".into())));
        assert!(parse_base("./no-such-thing").is_err());
    }

    #[test]
    fn strictness_is_a_mode_or_a_switch() {
        assert_eq!(parse_strict("1"), Ok(StrictArg(Some(Strictness::Journal))));
        assert_eq!(parse_strict("reject"), Ok(StrictArg(Some(Strictness::Reject))));
        assert_eq!(parse_strict("No"), Ok(StrictArg(None)));
        assert!(parse_strict("very").is_err());
    }

    #[test]
    fn versions_go_into_headers() {
        assert_eq!(parse_version("0.205.1-rc+2"), Ok("0.205.1-rc+2".into()));
        for bad in ["", " ", "1\n", "0.1 2"] {
            assert!(parse_version(bad).is_err(), "{bad:?}");
        }
    }
}
