//! Paths of a registry: names of repositories have slashes in them, so what follows them is found from the end.

/// What a path below `/v2` is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    Root,
    Named { repository: String, what: What },
}

/// What of a repository.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    Blob(String),
    /// Tag or digest.
    Manifest(String),
    Tags,
    Uploads,
    Upload(String),
}

/// Longest name of a repository (what clients allow).
const MAX_NAME: usize = 255;

pub fn parse(path: &str) -> Option<Target> {
    let rest = path.strip_prefix("/v2")?;
    if rest.trim_matches('/').is_empty() {
        return Some(Target::Root);
    }
    let (head, last) = rest.strip_prefix('/')?.rsplit_once('/')?;
    let plain = last.replace("%3A", ":").replace("%3a", ":");
    let (repository, what) = if let Some(name) = head.strip_suffix("/tags").filter(|_| last == "list") {
        (name, What::Tags)
    } else if let Some(name) = head.strip_suffix("/blobs/uploads") {
        (name, if last.is_empty() { What::Uploads } else { What::Upload(last.to_owned()) })
    } else if let Some(name) = head.strip_suffix("/blobs") {
        (name, if last == "uploads" { What::Uploads } else { What::Blob(plain) })
    } else {
        (head.strip_suffix("/manifests")?, What::Manifest(plain))
    };
    let named = is_repository(repository) && what.is_fine();
    named.then(|| Target::Named { repository: repository.to_owned(), what })
}

impl What {
    fn is_fine(&self) -> bool {
        match self {
            What::Manifest(reference) => {
                let tag = |b: u8| b.is_ascii_alphanumeric() || b"._-:".contains(&b);
                !reference.is_empty() && reference.len() <= 128 && reference.bytes().all(tag)
            }
            What::Blob(_) | What::Upload(_) | What::Tags | What::Uploads => true,
        }
    }
}

/// Whether a manifest can have this name.
pub fn is_reference(reference: &str) -> bool {
    What::Manifest(reference.to_owned()).is_fine()
}

/// Lower-case parts, as the specification has them.
pub fn is_repository(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let part = |part: &str| {
        let bytes = part.as_bytes();
        let inside = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b);
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inside)
    };
    name.len() <= MAX_NAME && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_they_are_about() {
        let named = |repository: &str, what| Some(Target::Named { repository: repository.into(), what });
        for (path, expected) in [
            ("/v2", Some(Target::Root)),
            ("/v2/", Some(Target::Root)),
            ("/v2/o/a/b/tags/list", named("o/a/b", What::Tags)),
            ("/v2/o/a/blobs/uploads/", named("o/a", What::Uploads)),
            ("/v2/o/a/blobs/uploads/x", named("o/a", What::Upload("x".into()))),
            ("/v2/o/a/blobs/sha256:00", named("o/a", What::Blob("sha256:00".into()))),
            ("/v2/o/blobs/a/manifests/1.0", named("o/blobs/a", What::Manifest("1.0".into()))),
            ("/v2/o/../a/manifests/1", None),
            ("/v2/O/a/manifests/1", None),
            ("/v2//a/manifests/1", None),
            ("/v2/o/a/manifests/", None),
            ("/v2x/o/a/manifests/1", None),
            ("/v2/o/a", None),
        ] {
            assert_eq!(parse(path), expected, "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_path_is_read_or_refused(path in "(/v2|/|blobs|uploads|manifests|tags|list|[a-z:.%]{1,3}){0,9}") {
            if let Some(Target::Named { repository, .. }) = parse(&path) {
                proptest::prop_assert!(is_repository(&repository));
            }
        }
    }
}
