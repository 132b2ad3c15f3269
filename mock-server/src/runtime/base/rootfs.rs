//! `--base DIR` and `--base TAR`: anybody's root file system, under a thin layer with what sandboxes need.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use super::{
    Base, Bind, GIT_MIRRORS, OverlaySpec, User, accounts, at,
    cache::{self, Entry, Key},
    default_env, git, host,
    layer::{DAYTONA, Layer, Owner, Owners, ROOT},
    unpack, usr,
};
use crate::runtime::{Isolation, RuntimeConfig, RuntimeError};

/// What the layer above is made from.
const SOURCES: &[&str] =
    &["", "etc", "etc/passwd", "etc/group", "etc/gitconfig", "etc/sudoers.d", "home", "usr/bin/sudo"];

/// A directory as it is. It belongs to its owner: nothing is written to it.
pub(super) fn directory(path: &Path, config: &RuntimeConfig, isolation: Isolation) -> Result<Base, RuntimeError> {
    let refuse = |why: &str| Err(RuntimeError::Unavailable(format!("--base {}: {why}", path.display())));
    let root = fs::canonicalize(path).map_err(at("--base: cannot read", path))?;
    if root == Path::new("/") {
        return refuse("this is the host itself; use --base host");
    }
    if isolation != Isolation::Root && usr::has_mounts_below(&root) {
        return refuse("something is mounted below it, so only the server running as root can use it");
    }
    complete(root, config, isolation, format!("directory {}", path.display()))
}

/// An archive, unpacked once.
pub(super) fn tarball(path: &Path, config: &RuntimeConfig, isolation: Isolation) -> Result<Base, RuntimeError> {
    let file = fs::canonicalize(path).map_err(at("--base: cannot read", path))?;
    let key = Key::new("tar").with(format!("{isolation:?}")).with_stamp(&file);
    let unpacked = cache::find_or_make(&config.cache_dir, key, |dir| {
        unpack::unpack_file(&file, dir, Owners::of(isolation)).map_err(at("cannot unpack", &file))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(at("cannot open up", dir))
    })?;
    let mut base = complete(unpacked.path, config, isolation, format!("archive {}", path.display()))?;
    base._leases.push(unpacked.lease);
    Ok(base)
}

fn complete(
    root: PathBuf,
    config: &RuntimeConfig,
    isolation: Isolation,
    description: String,
) -> Result<Base, RuntimeError> {
    let top = top_layer(&root, config, isolation)?;
    let include = |path: &PathBuf| Bind { source: path.clone(), target: path.clone(), read_only: true };
    let mut binds: Vec<Bind> = config.base_include.iter().map(include).collect();
    if let Some(mirrors) = &config.git_mirrors {
        binds.extend(git::binds(mirrors, &config.data_dir)?);
    }
    Ok(Base {
        overlays: vec![OverlaySpec { target: "/".into(), lowers: vec![top.path, root] }],
        binds,
        env: default_env(),
        user: User::daytona(),
        work_dir: User::daytona().home,
        entrypoint: Vec::new(),
        shifted: false,
        description,
        _leases: vec![top.lease],
    })
}

fn top_layer(root: &Path, config: &RuntimeConfig, isolation: Isolation) -> Result<Entry, RuntimeError> {
    let own_sudo = isolation != Isolation::Root || !usr::is_setuid_root(&inside(root, Path::new("usr/bin/sudo")));
    let key = Key::new("top").with(format!("{isolation:?} {:?}", root));
    let key = SOURCES.iter().fold(key, |key, source| key.with_stamp(&inside(root, Path::new(source))));
    let key = if own_sudo { key.with_stamp(&config.binary) } else { key };
    cache::find_or_make(&config.cache_dir, key, |dir| {
        let mut top = Top { root, layer: Layer::new(dir, Owners::of(isolation))? };
        top.add_user()?;
        top.add_privileges(isolation)?;
        top.add_git()?;
        if own_sudo {
            let sudo = top.place("usr/local/bin/sudo")?;
            host::install_sudo(&mut top.layer, &config.binary, &sudo, Owners::of(isolation))?;
        }
        top.layer.finish()
    })
}

/// The layer above `root` while it is made.
struct Top<'a> {
    root: &'a Path,
    layer: Layer,
}

impl Top<'_> {
    fn add_user(&mut self) -> Result<(), RuntimeError> {
        let passwd = self.read("etc/passwd");
        let missing = accounts::find_user(&passwd, "daytona").is_none();
        if missing {
            let files = accounts::with_daytona(&passwd, &self.read("etc/group"));
            for (name, text) in [("etc/passwd", &files.passwd), ("etc/group", &files.group)] {
                self.file(name, text.as_bytes(), 0o644)?;
            }
            let shadow = self.read("etc/shadow");
            if !shadow.is_empty() {
                self.file(
                    "etc/shadow",
                    format!("{}\ndaytona:*:19000:0:99999:7:::\n", shadow.trim_end()).as_bytes(),
                    0o600,
                )?;
            }
        }
        let home = self.place("home/daytona")?;
        if self.root.join(&home).is_dir() { Ok(()) } else { self.layer.dir(home, 0o755, DAYTONA) }
    }

    fn add_privileges(&mut self, isolation: Isolation) -> Result<(), RuntimeError> {
        if isolation == Isolation::Single && self.exists("etc/apt") {
            self.file("etc/apt/apt.conf.d/99daytona", host::APT_SANDBOX, 0o644)?;
        }
        if self.exists("etc/sudoers.d") {
            self.file("etc/sudoers.d/daytona", host::SUDO_RULE, 0o440)?;
        }
        Ok(())
    }

    fn add_git(&mut self) -> Result<(), RuntimeError> {
        let config = self.read("etc/gitconfig") + git::INCLUDE;
        self.file("etc/gitconfig", config.as_bytes(), 0o644)?;
        let mirrors = self.place(GIT_MIRRORS.trim_start_matches('/'))?;
        self.layer.dir(mirrors, 0o755, ROOT)
    }

    fn exists(&self, path: &str) -> bool {
        self.root.join(inside(self.root, Path::new(path)).strip_prefix(self.root).unwrap_or(Path::new(path))).exists()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(inside(self.root, Path::new(path))).unwrap_or_default()
    }

    fn file(&mut self, path: &str, content: &[u8], mode: u32) -> Result<(), RuntimeError> {
        let place = self.place(path)?;
        self.layer.file(place, content, mode, ROOT)
    }

    /// Where `path` really is, relative to the root, with its parents made as they are below: a merged directory looks like
    /// its topmost layer.
    fn place(&mut self, path: &str) -> Result<PathBuf, RuntimeError> {
        let path = Path::new(path);
        let parent = inside(self.root, path.parent().unwrap_or(Path::new("")));
        let parent = parent.strip_prefix(self.root).unwrap_or(Path::new("")).to_owned();
        let mut made = PathBuf::new();
        for part in parent.components() {
            made.push(part);
            let like = fs::symlink_metadata(self.root.join(&made)).ok().filter(fs::Metadata::is_dir);
            let (mode, owner) = like.map_or((0o755, ROOT), |meta| {
                (meta.permissions().mode() & 0o7777, Owner { uid: meta.uid(), gid: meta.gid() })
            });
            self.layer.dir(&made, mode, owner)?;
        }
        Ok(parent.join(path.file_name().unwrap_or_default()))
    }
}

/// Follows the links of a path as the inside of `root` would; the result never leaves `root`.
fn inside(root: &Path, path: &Path) -> PathBuf {
    const MAX_LINKS: usize = 40;
    let mut todo: Vec<PathBuf> = path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect();
    let (mut done, mut links) = (PathBuf::new(), 0);
    while let Some(part) = todo.pop() {
        match part.components().next() {
            Some(Component::Normal(name)) => done.push(name),
            Some(Component::ParentDir) => drop(done.pop()),
            Some(Component::RootDir) => done.clear(),
            _ => {}
        }
        if let Ok(target) = fs::read_link(root.join(&done))
            && !done.as_os_str().is_empty()
            && links < MAX_LINKS
        {
            links += 1;
            done.pop();
            todo.extend(target.components().rev().map(|part| PathBuf::from(part.as_os_str())));
        }
    }
    root.join(done)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_as_the_inside_sees_them() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let root = root.path();
        fs::create_dir_all(root.join("usr/bin")).expect("usr");
        symlink("usr/bin", root.join("bin")).expect("a link");
        symlink("/etc", root.join("conf")).expect("a link");
        symlink("../../../../etc", root.join("usr/up")).expect("a link");
        symlink("loop", root.join("loop")).expect("a link");
        assert_eq!(inside(root, Path::new("bin/sh")), root.join("usr/bin/sh"));
        assert_eq!(inside(root, Path::new("conf/passwd")), root.join("etc/passwd"));
        assert_eq!(inside(root, Path::new("usr/up/shadow")), root.join("etc/shadow"));
        assert_eq!(inside(root, Path::new("../../x")), root.join("x"));
        assert!(inside(root, Path::new("loop/x")).starts_with(root));
    }
}
