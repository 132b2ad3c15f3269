//! The default base: this machine's own programs, none of its people and secrets.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    Base, BaseLease, Bind, DEFAULT_PATH, GIT_MIRRORS, OverlaySpec,
    accounts::{self, User},
    at,
    cache::{Entry, Key, Place},
    default_env, etc, git,
    layer::{DAYTONA, Layer, Owner, Owners, ROOT},
    rootfs, usr,
};
use crate::runtime::{Isolation, RuntimeConfig, RuntimeError};

/// What the skeleton is made of; a change in one of these makes a new one. `/etc` itself is not among them: laptops rewrite
/// `resolv.conf` with every network.
const SOURCES: &[&str] = &[
    "/etc/passwd",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/apt",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/ssl/certs",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/bash.bashrc",
    "/etc/skel",
    "/etc/pip.conf",
    "/etc/npmrc",
    "/usr/etc/npmrc",
    "/usr/local/etc/npmrc",
    "/etc/gitconfig",
    "/etc/localtime",
    "/var/lib/dpkg/status",
    "/var/lib/apt/lists",
    "/var/lib/rpm",
    "/opt",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/bin",
    "/lib",
];

/// Top-level directories of programs: links into `/usr` nearly everywhere, directories of their own on Alpine.
const PROGRAM_DIRS: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Finds or makes the layers, and names the host directories that are shown as they are.
pub(super) fn prepare(config: &RuntimeConfig, isolation: Isolation, place: Place) -> Result<Base, RuntimeError> {
    let owners = Owners::of(isolation);
    let key = |name| {
        let key = Key::new(name).with(format!("{isolation:?} {:?} {PROMPT:?} npmrc", config.base_include));
        SOURCES.iter().fold(key, |key, source| key.with_stamp(Path::new(source)))
    };
    let include = included(&config.base_include)?;
    let root = place.find_or_make(key("host"), |dir| make_skeleton(dir, owners, isolation, &include))?;
    let mut base = Base {
        overlays: vec![OverlaySpec { target: "/".into(), lowers: vec![root.path] }],
        binds: binds(config, &include)?,
        env: env(),
        work_dir: User::daytona().home,
        user: User::daytona(),
        entrypoint: Vec::new(),
        shifted: place.shifted,
        description: "host (/usr of this machine)".into(),
        _leases: vec![BaseLease(root.lease)],
    };
    let host_usr = Path::new("/usr");
    if isolation != Isolation::Root && usr::has_mounts_below(host_usr) {
        show_usr_as_it_is(&mut base);
        return Ok(base);
    }
    let additions = place
        .find_or_make(key("usr"), |dir| usr::make_additions(host_usr, dir, owners, isolation != Isolation::Root))?;
    let mut lowers = vec![additions.path];
    if place.shifted {
        let copy = rootfs::copy_shifted(host_usr, key("copy"), place)?;
        lowers.push(copy.path);
        base._leases.push(BaseLease(copy.lease));
    } else {
        lowers.push(host_usr.to_owned());
    }
    base._leases.push(BaseLease(additions.lease));
    if let Some(sudo) = sudo_layer(config, owners, isolation, place)? {
        lowers.insert(0, sudo.path);
        base._leases.push(BaseLease(sudo.lease));
    }
    base.overlays.push(OverlaySpec { target: "/usr".into(), lowers });
    Ok(base)
}

/// A user namespace may not stack anything on a directory that has mounts below it, for it could uncover what they hide.
fn show_usr_as_it_is(base: &mut Base) {
    base.binds.insert(0, Bind { source: "/usr".into(), target: "/usr".into(), read_only: true });
    base.env.insert("PIP_BREAK_SYSTEM_PACKAGES".into(), "1".into());
    base.description = "host (/usr of this machine, read-only and without sudo: something is mounted below it)".into();
}

/// `--base-include`, checked: absolute, there, and nothing that the sandbox has of its own.
fn included(directories: &[PathBuf]) -> Result<Vec<PathBuf>, RuntimeError> {
    const OWN: &[&str] =
        &["/", "/proc", "/sys", "/dev", "/etc", "/usr", "/var", "/tmp", "/run", "/home", "/root", "/srv"];
    directories
        .iter()
        .map(|directory| {
            let refuse =
                |why: &str| RuntimeError::Unavailable(format!("--base-include {}: {why}", directory.display()));
            let clean = directory.components().all(|part| !matches!(part, std::path::Component::ParentDir));
            match directory {
                d if !d.is_absolute() || !clean => Err(refuse("give an absolute path without ..")),
                d if OWN.iter().any(|own| d == Path::new(own)) => Err(refuse("sandboxes have their own")),
                d if !d.is_dir() => Err(refuse("not a directory")),
                d => Ok(d.components().collect()),
            }
        })
        .collect()
}

fn binds(config: &RuntimeConfig, include: &[PathBuf]) -> Result<Vec<Bind>, RuntimeError> {
    let same_path = |path: &Path| Bind { source: path.into(), target: path.into(), read_only: true };
    let mut binds: Vec<Bind> = own_program_dirs().map(|dir| same_path(&dir)).collect();
    binds.extend(opt_dirs().iter().map(|dir| same_path(dir)));
    binds.extend(include.iter().filter(|dir| !dir.starts_with("/opt")).map(|dir| same_path(dir)));
    if let Some(mirrors) = &config.git_mirrors {
        binds.extend(git::binds(mirrors, &config.data_dir)?);
    }
    Ok(binds)
}

fn own_program_dirs() -> impl Iterator<Item = PathBuf> {
    let is_dir = |path: &PathBuf| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    PROGRAM_DIRS.iter().map(|name| Path::new("/").join(name)).filter(is_dir)
}

/// What is in `/opt`, each for itself: images are made with things of their own beside it.
fn opt_dirs() -> Vec<PathBuf> {
    let entries = fs::read_dir("/opt").into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Our own `sudo` where the host's can't serve: it is set-uid to a root that is nobody inside, or there is none.
fn sudo_layer(
    config: &RuntimeConfig,
    owners: Owners,
    isolation: Isolation,
    place: Place,
) -> Result<Option<Entry>, RuntimeError> {
    if isolation == Isolation::Root && usr::is_setuid_root(Path::new("/usr/bin/sudo")) {
        return Ok(None);
    }
    let key = Key::new("sudo in both").with(format!("{isolation:?}")).with_stamp(&config.binary);
    let make = |dir: &Path| {
        let mut layer = Layer::new(dir, owners)?;
        layer.dirs("local/bin")?;
        layer.dirs("bin")?;
        install_sudo(&mut layer, &config.binary, Path::new("local/bin/sudo"), owners)?;
        // Where Debian has it: some programs bring a search path of their own.
        layer.link("bin/sudo", "/usr/local/bin/sudo")?;
        layer.finish()
    };
    place.find_or_make(key, make).map(Some)
}

/// This binary, which is `sudo` when it is called so. With real ids it is set-uid to root inside.
pub(super) fn install_sudo(layer: &mut Layer, binary: &Path, at: &Path, owners: Owners) -> Result<(), RuntimeError> {
    let mode = if owners == Owners::Real { 0o4755 } else { 0o755 };
    layer.copy(binary, at, mode, ROOT)
}

/// apt notices that its change of user has no effect in tier single.
pub(super) const APT_SANDBOX: &[u8] = b"APT::Sandbox::User \"root\";\n";
pub(super) const SUDO_RULE: &[u8] = b"daytona ALL=(ALL) NOPASSWD:ALL\n";

fn make_skeleton(dir: &Path, owners: Owners, isolation: Isolation, include: &[PathBuf]) -> Result<(), RuntimeError> {
    let mut layer = Layer::new(dir, owners)?;
    for name in ["usr", "boot", "dev", "home", "media", "mnt", "opt", "proc", "run", "srv", "sys", "etc", "var"] {
        layer.dir(name, 0o755, ROOT)?;
    }
    layer.dir("tmp", 0o1777, ROOT)?;
    layer.dir("run/lock", 0o1777, ROOT)?;
    link_programs(&mut layer)?;
    etc::copy_etc(Path::new("/etc"), &mut layer)?;
    write_etc(&mut layer, isolation)?;
    make_var(&mut layer)?;
    make_home(&mut layer, "root", 0o700, ROOT)?;
    make_home(&mut layer, "home/daytona", 0o755, DAYTONA)?;
    layer.file("home/daytona/.npmrc", npm_rules().as_bytes(), 0o644, DAYTONA)?;
    for name in [".local", ".local/bin", ".local/lib"] {
        layer.dir(Path::new("home/daytona").join(name), 0o755, DAYTONA)?;
    }
    layer.dir(GIT_MIRRORS.trim_start_matches('/'), 0o755, ROOT)?;
    layer.file(git::RULES.trim_start_matches('/'), b"", 0o644, ROOT)?;
    for target in opt_dirs().iter().chain(include) {
        layer.dirs(target.strip_prefix("/").unwrap_or(target))?;
    }
    layer.finish()
}

fn link_programs(layer: &mut Layer) -> Result<(), RuntimeError> {
    for name in PROGRAM_DIRS {
        let host = Path::new("/").join(name);
        if let Ok(target) = fs::read_link(&host) {
            layer.link(name, target)?;
        } else if host.is_dir() {
            layer.dir(name, 0o755, ROOT)?;
        }
    }
    Ok(())
}

/// What a sandbox's `/etc` has of its own.
fn write_etc(layer: &mut Layer, isolation: Isolation) -> Result<(), RuntimeError> {
    let read = |path: &str| fs::read_to_string(path).map_err(at("cannot read", Path::new(path)));
    let files = accounts::for_host(&read("/etc/passwd")?, &read("/etc/group")?);
    layer.file("etc/passwd", files.passwd.as_bytes(), 0o644, ROOT)?;
    layer.file("etc/group", files.group.as_bytes(), 0o644, ROOT)?;
    layer.file("etc/shadow", files.shadow.as_bytes(), 0o600, ROOT)?;
    layer.file("etc/gshadow", files.gshadow.as_bytes(), 0o600, ROOT)?;
    layer.file("etc/environment", b"", 0o644, ROOT)?;
    layer.file("etc/hostname", b"daytona\n", 0o644, ROOT)?;
    layer.file("etc/hosts", b"127.0.0.1\tlocalhost\n", 0o644, ROOT)?;
    layer.file("etc/resolv.conf", b"", 0o644, ROOT)?;
    layer.link("etc/mtab", "/proc/self/mounts")?;
    let git_config = fs::read(layer.path("etc/gitconfig")).unwrap_or_default();
    layer.file("etc/gitconfig", &[git_config.as_slice(), git::INCLUDE.as_bytes()].concat(), 0o644, ROOT)?;
    write_privileges(layer, isolation)
}

fn write_privileges(layer: &mut Layer, isolation: Isolation) -> Result<(), RuntimeError> {
    if isolation == Isolation::Single {
        layer.dirs("etc/apt/apt.conf.d")?;
        return layer.file("etc/apt/apt.conf.d/99daytona", APT_SANDBOX, 0o644, ROOT);
    }
    layer.file("etc/sudoers", SUDOERS.as_bytes(), 0o440, ROOT)?;
    layer.dir("etc/sudoers.d", 0o750, ROOT)?;
    layer.file("etc/sudoers.d/daytona", SUDO_RULE, 0o440, ROOT)
}

const SUDOERS: &str = "Defaults\tenv_reset\n\
    Defaults\tsecure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"\n\
    root\tALL=(ALL:ALL) ALL\n\
    #includedir /etc/sudoers.d\n";

/// The usual empty tree, and the package databases, so that packages can be installed.
fn make_var(layer: &mut Layer) -> Result<(), RuntimeError> {
    for dir in [
        "backups",
        "cache",
        "cache/apt/archives/partial",
        "lib",
        "lib/misc",
        "local",
        "log/apt",
        "mail",
        "opt",
        "spool",
    ] {
        layer.dirs(Path::new("var").join(dir))?;
    }
    layer.dir("var/tmp", 0o1777, ROOT)?;
    layer.link("var/run", "/run")?;
    layer.link("var/lock", "/run/lock")?;
    for database in ["dpkg", "apt", "rpm", "pam", "ucf", "python"] {
        let source = Path::new("/var/lib").join(database);
        if source.symlink_metadata().is_ok() {
            // What a dpkg of the host is just doing would make every dpkg inside refuse to begin.
            let unfinished = |path: &Path| path.starts_with("updates") && path != Path::new("updates");
            etc::copy_tree(&source, &Path::new("var/lib").join(database), layer, &unfinished)?;
        }
    }
    if layer.path("var/lib/apt").is_dir() {
        layer.dirs("var/lib/apt/lists")?;
        layer.dirs("var/lib/apt/lists/partial")?;
    }
    Ok(())
}

/// Programs that the user installs without being root are found, too.
fn env() -> BTreeMap<String, String> {
    let mut env = default_env();
    env.insert("PATH".to_owned(), format!("/home/daytona/.local/bin:{DEFAULT_PATH}"));
    env
}

/// Where `npm install -g` puts things: npm's own place is root's. What this machine says for all its users (a registry, an
/// authority) is beside npm's own place, and Debian's npm has it in `/etc`: where npm looks follows the prefix, so it is said.
fn npm_rules() -> String {
    let prefix = "prefix=/home/daytona/.local\n";
    let node = ["/usr/local/bin/node", "/usr/bin/node"].iter().find_map(|node| fs::canonicalize(node).ok());
    let beside = node.and_then(|node| Some(node.ancestors().nth(2)?.join("etc/npmrc")));
    match beside.into_iter().chain([PathBuf::from("/etc/npmrc")]).find(|path| path.is_file()) {
        Some(global) => format!("{prefix}globalconfig={}\n", global.display()),
        None => prefix.to_owned(),
    }
}

/// Debian's prompt without its colours and its title. Programs that read a terminal look for something near the end of its
/// output, and a prompt of 130 bytes pushes that out of sight (`toolbox-bench` looks at the last 64).
const PROMPT: &str = "\nPS1='\\u@\\h:\\w\\$ '\n";

fn make_home(layer: &mut Layer, home: &str, mode: u32, owner: Owner) -> Result<(), RuntimeError> {
    layer.dir(home, mode, owner)?;
    for entry in fs::read_dir("/etc/skel").into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            layer.copy(&entry.path(), Path::new(home).join(entry.file_name()), 0o644, owner)?;
        }
    }
    let bashrc = fs::read_to_string("/etc/skel/.bashrc").unwrap_or_default();
    layer.file(Path::new(home).join(".bashrc"), (bashrc + PROMPT).as_bytes(), 0o644, owner)
}
