//! Looking at stacked layers as overlayfs will show them, without mounting anything.

use std::{
    ffi::CString,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Component, Path, PathBuf},
};

/// Says that a directory hides those below it. Not `trusted.`: the overlays are mounted with `userxattr`.
pub(crate) const OPAQUE: &str = "user.overlay.opaque";

/// Directories, topmost first.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a>(pub &'a [PathBuf]);

impl Tree<'_> {
    /// Where the entry at `relative` lies, a link itself included; `None` if there is none.
    pub fn find(&self, relative: &Path) -> Option<PathBuf> {
        for layer in self.0 {
            match look(layer, relative) {
                Look::Here(path) => return Some(path),
                Look::Hidden => return None,
                Look::Below => {}
            }
        }
        None
    }

    /// Follows the links of a path as the inside would. The result is relative to the root and never leaves it; it need
    /// not exist.
    pub fn follow(&self, path: &Path) -> PathBuf {
        const MAX_LINKS: usize = 40;
        let parts = |path: &Path| path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect();
        let (mut todo, mut done, mut links): (Vec<PathBuf>, _, _) = (parts(path), PathBuf::new(), 0);
        while let Some(part) = todo.pop() {
            match part.components().next() {
                Some(Component::Normal(name)) => done.push(name),
                Some(Component::ParentDir) => drop(done.pop()),
                Some(Component::RootDir) => done.clear(),
                _ => {}
            }
            if !done.as_os_str().is_empty()
                && links < MAX_LINKS
                && let Some(target) = self.find(&done).and_then(|path| fs::read_link(path).ok())
            {
                links += 1;
                done.pop();
                todo.extend::<Vec<PathBuf>>(parts(&target));
            }
        }
        done
    }

    /// Where the file or directory that a path leads to lies.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let relative = self.follow(path.as_ref());
        // A chain of links that is too long ends at a link.
        self.find(&relative).filter(|path| !path.is_symlink())
    }

    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.resolve(path).is_some()
    }

    pub fn read(&self, path: impl AsRef<Path>) -> String {
        self.resolve(path).and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
    }
}

enum Look {
    Here(PathBuf),
    /// Neither here nor below.
    Hidden,
    Below,
}

fn look(layer: &Path, relative: &Path) -> Look {
    let mut path = layer.to_owned();
    let mut opaque = false;
    let mut parts = relative.components().peekable();
    while let Some(part) = parts.next() {
        path.push(part);
        let Ok(meta) = fs::symlink_metadata(&path) else {
            return if opaque { Look::Hidden } else { Look::Below };
        };
        let whiteout = meta.file_type().is_char_device() && meta.rdev() == 0;
        if whiteout || parts.peek().is_some() && !meta.is_dir() {
            return Look::Hidden;
        }
        opaque |= meta.is_dir() && is_opaque(&path);
    }
    Look::Here(path)
}

fn is_opaque(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    crate::runtime::sys::xattr::get(&path, OPAQUE).is_some_and(|value| value == b"y")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::{Mode, SFlag, mknod};

    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, text).expect("a file");
    }

    #[test]
    fn links_are_followed_as_the_inside_sees_them() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let root = root.path();
        fs::create_dir_all(root.join("usr/bin")).expect("usr");
        symlink("usr/bin", root.join("bin")).expect("a link");
        symlink("/etc", root.join("conf")).expect("a link");
        symlink("../../../../etc", root.join("usr/up")).expect("a link");
        symlink("loop", root.join("loop")).expect("a link");
        let layers = [root.to_owned()];
        let tree = Tree(&layers);
        assert_eq!(tree.follow(Path::new("bin/sh")), Path::new("usr/bin/sh"));
        assert_eq!(tree.follow(Path::new("conf/passwd")), Path::new("etc/passwd"));
        assert_eq!(tree.follow(Path::new("usr/up/shadow")), Path::new("etc/shadow"));
        assert_eq!(tree.follow(Path::new("../../x")), Path::new("x"));
        assert!(tree.resolve("loop/x").is_none());
    }

    #[test]
    fn upper_layers_cover_lower_ones() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layers = [dir.path().join("top"), dir.path().join("low")];
        let [top, low] = &layers;
        write(&top.join("both"), "top");
        for name in ["both", "below", "gone", "dir/x", "was-dir/x", "hidden/x", "linked/file"] {
            write(&low.join(name), "low");
        }
        mknod(&top.join("gone"), SFlag::S_IFCHR, Mode::empty(), 0).expect("a whiteout");
        write(&top.join("was-dir"), "top");
        fs::create_dir_all(top.join("dir")).expect("dir");
        fs::create_dir_all(top.join("hidden")).expect("hidden");
        let hidden = CString::new(top.join("hidden").as_os_str().as_bytes()).expect("a path");
        crate::runtime::sys::xattr::set(&hidden, OPAQUE, b"y").expect("xattr");
        symlink("/linked", top.join("link")).expect("a link");
        let tree = Tree(&layers);
        assert_eq!(tree.read("both"), "top");
        assert_eq!(tree.read("/below"), "low");
        assert_eq!(tree.read("dir/x"), "low");
        assert_eq!(tree.read("link/file"), "low");
        for hidden in ["gone", "was-dir/x", "hidden/x"] {
            assert!(!tree.exists(hidden), "{hidden}");
        }
    }
}
