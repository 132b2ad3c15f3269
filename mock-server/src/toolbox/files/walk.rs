//! Walking a tree in lexical order, parents before their children, links reported and not descended.

use std::{
    fs::{self, DirEntry, FileType},
    path::{Component, Path, PathBuf},
};

/// One thing below (or at) the root of a walk.
pub struct Found {
    pub path: PathBuf,
    pub kind: FileType,
}

/// An iterator over a tree. What can't be read contributes nothing (observed). Keeps its place on the heap, so that
/// no depth of directories is a danger.
pub struct Walk {
    root: Option<Found>,
    /// Children still to visit of each open directory, last name first.
    open: Vec<Vec<DirEntry>>,
}

impl Walk {
    /// A missing root is an empty walk (observed).
    pub fn new(root: &Path) -> Walk {
        let root = fs::symlink_metadata(root).ok().map(|it| Found { path: root.to_owned(), kind: it.file_type() });
        Walk { root, open: Vec::new() }
    }

    fn enter(&mut self, directory: &Path) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        let mut children: Vec<DirEntry> = entries.flatten().collect();
        children.sort_by_cached_key(|child| std::cmp::Reverse(child.file_name()));
        self.open.push(children);
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let found = match self.root.take() {
            Some(root) => root,
            None => loop {
                match self.open.last_mut()?.pop() {
                    None => _ = self.open.pop(),
                    Some(child) => {
                        let Ok(kind) = child.file_type() else { continue };
                        break Found { path: child.path(), kind };
                    }
                }
            },
        };
        if found.kind.is_dir() {
            self.enter(&found.path);
        }
        Some(found)
    }
}

/// Turns the paths of a walk into those that the client sees: the root as it was given, everything else joined to
/// its clean form (`.` gives `a.txt`, `wd/` gives `wd/x`; observed).
pub struct Shown {
    real: PathBuf,
    given: PathBuf,
    clean: PathBuf,
}

impl Shown {
    pub fn new(real: &Path, given: &Path) -> Shown {
        Shown { real: real.to_owned(), given: given.to_owned(), clean: clean(given) }
    }

    pub fn path(&self, real: &Path) -> String {
        let below = real.strip_prefix(&self.real).ok().filter(|below| !below.as_os_str().is_empty());
        let shown = below.map_or_else(|| self.given.clone(), |below| self.clean.join(below));
        shown.to_string_lossy().into_owned()
    }
}

/// Go's `filepath.Clean`, with nothing left of `.`.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => match clean.components().next_back() {
                Some(Component::Normal(_)) => _ = clean.pop(),
                Some(Component::RootDir) => {}
                _ => clean.push(".."),
            },
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_paths_as_joined_to_the_given_root() {
        let cases = [
            (".", "/work/.", "a.txt"),
            ("wd/", "/work/wd/", "wd/a.txt"),
            ("./x/../wd", "/work/./x/../wd", "wd/a.txt"),
            ("../up", "/work/../up", "../up/a.txt"),
            ("/", "/", "/a.txt"),
        ];
        for (given, real, expected) in cases {
            let shown = Shown::new(Path::new(real), Path::new(given));
            assert_eq!(shown.path(&Path::new(real).join("a.txt")), expected, "{given}");
            assert_eq!(shown.path(Path::new(real)), given);
        }
    }

    #[test]
    fn walks_in_lexical_order() {
        let dir = tempfile::tempdir().expect("dir");
        for name in ["b/2", "b/1", "a", "a.b", "c"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("dirs");
            fs::write(path, "").expect("write");
        }
        std::os::unix::fs::symlink("b", dir.path().join("link")).expect("link");
        let names: Vec<_> = Walk::new(dir.path())
            .map(|found| found.path.strip_prefix(dir.path()).expect("below").to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["", "a", "a.b", "b", "b/1", "b/2", "c", "link"]);
        assert_eq!(Walk::new(&dir.path().join("nope")).count(), 0);
    }
}
