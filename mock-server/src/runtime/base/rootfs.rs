//! `--base DIR` and `--base TAR`: anybody's root file system, under a thin layer with what sandboxes need.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{
    Base, BaseLease, Bind, GIT_MIRRORS, OverlaySpec, User, accounts, adopt, at,
    cache::{Entry, Key, Place},
    default_env, git, host,
    layer::{DAYTONA, Layer, Owner, Owners, ROOT},
    shift,
    tree::Tree,
    unpack, usr,
};
use crate::runtime::{Isolation, RuntimeConfig, RuntimeError};

/// What the layer above is made from.
const SOURCES: &[&str] =
    &["", "etc", "etc/passwd", "etc/group", "etc/gitconfig", "etc/sudoers.d", "home", "usr/bin/sudo"];

/// A directory as it is. It belongs to its owner: nothing is written to it.
pub(super) fn directory(
    path: &Path,
    config: &RuntimeConfig,
    isolation: Isolation,
    place: Place,
) -> Result<Base, RuntimeError> {
    let refuse = |why: &str| Err(RuntimeError::Unavailable(format!("--base {}: {why}", path.display())));
    let root = fs::canonicalize(path).map_err(at("--base: cannot read", path))?;
    if root == Path::new("/") {
        return refuse("this is the host itself; use --base host");
    }
    if isolation != Isolation::Root && usr::has_mounts_below(&root) {
        return refuse("something is mounted below it, so only the server running as root can use it");
    }
    let description = format!("directory {}", path.display());
    let copy = if place.shifted {
        copy_shifted(&root, Key::new("copy"), place)?
    } else if adopt::needed(&root, isolation) {
        adopt::copy(&root, isolation, place)?
    } else {
        return complete(vec![root], config, isolation, place, description);
    };
    let mut base = complete(vec![copy.path], config, isolation, place, description + ", copied")?;
    base._leases.push(BaseLease(copy.lease));
    Ok(base)
}

/// A copy with shifted owners of a directory whose owners can't be mapped; made anew when its parts have changed.
pub(super) fn copy_shifted(source: &Path, key: Key, place: Place) -> Result<Entry, RuntimeError> {
    place.find_or_make(stamped(key, source), |dir| {
        tracing::info!("copying {}: its file system can't map owners; this takes a while, once", source.display());
        super::copy_whole(source, dir).map_err(at("cannot copy", source))
    })
}

/// The key of what is made from a whole directory.
pub(super) fn stamped(key: Key, source: &Path) -> Key {
    let parts = [source.to_owned()];
    let key = key.with(source.as_os_str().as_encoded_bytes());
    SOURCES.iter().fold(key, |key, part| key.with_stamp(&Tree(&parts).resolve(part).unwrap_or_default()))
}

/// An archive, unpacked once.
pub(super) fn tarball(
    path: &Path,
    config: &RuntimeConfig,
    isolation: Isolation,
    place: Place,
) -> Result<Base, RuntimeError> {
    let file = fs::canonicalize(path).map_err(at("--base: cannot read", path))?;
    let key = Key::new("tar").with(format!("{isolation:?}")).with_stamp(&file);
    let unpacked = place.find_or_make(key, |dir| {
        unpack::unpack_file(&file, dir, Owners::of(isolation)).map_err(at("cannot unpack", &file))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(at("cannot open up", dir))
    })?;
    let mut base = complete(vec![unpacked.path], config, isolation, place, format!("archive {}", path.display()))?;
    base._leases.push(BaseLease(unpacked.lease));
    Ok(base)
}

/// The base over these layers, topmost first.
pub(super) fn complete(
    mut lowers: Vec<PathBuf>,
    config: &RuntimeConfig,
    isolation: Isolation,
    place: Place,
    description: String,
) -> Result<Base, RuntimeError> {
    let top = top_layer(&lowers, config, isolation, place)?;
    lowers.insert(0, top.path);
    let include = |path: &PathBuf| Bind { source: path.clone(), target: path.clone(), read_only: true };
    let mut binds: Vec<Bind> = config.base_include.iter().map(include).collect();
    if let Some(mirrors) = &config.git_mirrors {
        binds.extend(git::binds(mirrors, &config.data_dir)?);
    }
    Ok(Base {
        overlays: vec![OverlaySpec { target: "/".into(), lowers }],
        binds,
        env: default_env(),
        user: User::daytona(),
        work_dir: User::daytona().home,
        entrypoint: Vec::new(),
        shifted: place.shifted,
        description,
        _leases: vec![BaseLease(top.lease)],
    })
}

fn top_layer(
    lowers: &[PathBuf],
    config: &RuntimeConfig,
    isolation: Isolation,
    place: Place,
) -> Result<Entry, RuntimeError> {
    let tree = Tree(lowers);
    let is_sudo = |path: PathBuf| usr::is_setuid_root(&path);
    let own_sudo = isolation != Isolation::Root || !tree.resolve("usr/bin/sudo").is_some_and(is_sudo);
    let key = Key::new("top, sudo in both").with(format!("{isolation:?} {lowers:?}"));
    let stamp = |key: Key, source: &&str| key.with_stamp(&tree.resolve(source).unwrap_or_default());
    let key = SOURCES.iter().fold(key, stamp);
    let key = if own_sudo { key.with_stamp(&config.binary) } else { key };
    place.find_or_make(key, |dir| {
        let mut top = Top { tree, layer: Layer::new(dir, Owners::of(isolation))? };
        top.add_user()?;
        top.add_privileges(isolation)?;
        top.add_git()?;
        if own_sudo {
            let sudo = top.place("usr/local/bin/sudo")?;
            host::install_sudo(&mut top.layer, &config.binary, &sudo, Owners::of(isolation))?;
            let usual = top.place("usr/bin/sudo")?;
            top.layer.link(usual, "/usr/local/bin/sudo")?;
        }
        top.layer.finish()
    })
}

/// The layer above others while it is made.
struct Top<'a> {
    tree: Tree<'a>,
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
        if self.tree.exists(&home) { Ok(()) } else { self.layer.dir(home, 0o755, DAYTONA) }
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
        self.tree.exists(path)
    }

    fn read(&self, path: &str) -> String {
        self.tree.read(path)
    }

    fn file(&mut self, path: &str, content: &[u8], mode: u32) -> Result<(), RuntimeError> {
        let place = self.place(path)?;
        self.layer.file(place, content, mode, ROOT)
    }

    /// Where `path` really is, relative to the root, with its parents made as they are below: a merged directory looks like
    /// its topmost layer.
    fn place(&mut self, path: &str) -> Result<PathBuf, RuntimeError> {
        let path = Path::new(path);
        let parent = self.tree.follow(path.parent().unwrap_or(Path::new("")));
        let mut made = PathBuf::new();
        for part in parent.components() {
            made.push(part);
            let below = self.tree.find(&made).and_then(|path| fs::symlink_metadata(path).ok());
            let like = below.filter(fs::Metadata::is_dir);
            let (mode, owner) = like.map_or((0o755, ROOT), |meta| {
                (
                    meta.permissions().mode() & 0o7777,
                    Owner { uid: shift::inside(meta.uid()), gid: shift::inside(meta.gid()) },
                )
            });
            self.layer.dir(&made, mode, owner)?;
        }
        Ok(parent.join(path.file_name().unwrap_or_default()))
    }
}
