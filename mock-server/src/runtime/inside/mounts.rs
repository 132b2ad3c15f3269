//! The sandbox's view of the file system: overlays, `/dev`, `/proc`, `/sys`, binds, then nothing else.

use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    fcntl::{FallocateFlags, OFlag, fallocate},
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{chdir, pivot_root, sethostname},
};

use super::super::{
    Isolation, bounds,
    idmap::IdMap,
    launch::LaunchSpec,
    net, sys,
    zygote::{disk_at, step, volume_trees},
};

/// Bytes: enough for the directories of some overlays.
const BALLAST: i64 = 256 << 10;

const NONE: Option<&str> = None;

/// Where the new root is built, from the working directory that the zygote gave us.
const ROOT: &str = "root";

/// Size of `/dev/shm`, as container engines have it.
const SHM: &str = "mode=1777,size=64m";

/// Makes the sandbox's mounts and enters them; the host's tree is gone afterwards. Returns what is `/proc/meminfo` if
/// that isn't the machine's. `trees` are disks, then the trees of volumes that the zygote made, if it had to.
pub fn set_up(spec: &LaunchSpec, mut trees: Vec<OwnedFd>) -> io::Result<Option<fs::File>> {
    step("private mounts", mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE))?;
    let volumes = trees.split_off(spec.disks);
    for (n, disk) in trees.into_iter().enumerate() {
        step("disk", sys::mounts::attach(disk.as_fd(), &disk_at(n)))?;
    }
    step("room on the disk", give_room(spec))?;
    for (n, overlay) in spec.overlays.iter().enumerate() {
        step("overlay", mount_overlay(spec, n, &overlay.target, &overlay.lowers))?;
    }
    take_room(spec);
    step("/dev", devices(spec))?;
    kernel_files()?;
    let meminfo = spec.memory.map(|bytes| step("/proc/meminfo", memory_file(bytes))).transpose()?;
    for bind in &spec.binds {
        let what = format!("bind {}", bind.target.display());
        step(&what, mount_bind(spec, &bind.source, &bind.target, bind.read_only))?;
    }
    let volumes = if spec.isolation == Isolation::Root { volumes } else { volume_trees(spec)? };
    step("pivot_root", enter())?;
    for (volume, tree) in spec.volumes.iter().zip(&volumes) {
        let what = format!("volume at {}", volume.target.display());
        step(&what, mount_volume(&volume.target, tree))?;
    }
    step("host name", sethostname(&spec.agent.sandbox_id))?;
    step("/etc", host_files(&spec.agent.sandbox_id))?;
    Ok(meminfo)
}

/// Mounts a file over `/proc/meminfo`. It lies in the small file system of `/dev` and has no name there any more.
fn memory_file(bytes: u64) -> io::Result<fs::File> {
    let path = PathBuf::from(ROOT).join("dev/.meminfo");
    let mut options = fs::OpenOptions::new();
    let mut file = options.read(true).write(true).create_new(true).mode(0o444).open(&path)?;
    io::Write::write_all(&mut file, bounds::meminfo(bytes, 0).as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(0o444))?;
    mount(Some(&path), &PathBuf::from(ROOT).join("proc/meminfo"), NONE, MsFlags::MS_BIND, NONE)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// A file beside `up` that takes up some of a disk.
fn ballast(spec: &LaunchSpec) -> PathBuf {
    spec.dir.join("ballast")
}

/// overlayfs makes directories when it is mounted. Where it can't, as a disk is full, nobody could remove anything.
fn give_room(spec: &LaunchSpec) -> io::Result<()> {
    match fs::remove_file(ballast(spec)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Keeps room for the next time, before the sandbox can take it.
fn take_room(spec: &LaunchSpec) {
    if spec.disks > 0 {
        let keep = |file| Ok(fallocate(&file, FallocateFlags::empty(), 0, BALLAST)?);
        // As good as can be: it is mounted by now.
        let _ = fs::File::create_new(ballast(spec)).and_then(keep);
    }
}

fn mount_overlay(spec: &LaunchSpec, n: usize, target: &Path, lowers: &[PathBuf]) -> io::Result<()> {
    let (upper, work) = (spec.dir.join(format!("up/{n}")), spec.dir.join(format!("work/{n}")));
    let fresh = !upper.exists();
    for dir in [&upper, &work] {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    }
    if fresh && let Some(lower) = lowers.first() {
        // A merged directory has the mode of its topmost layer. In tier single, where all is daytona's, it keeps root's closed.
        fs::set_permissions(&upper, fs::metadata(lower)?.permissions())?;
    }
    let lowers: Vec<String> = lowers.iter().map(|path| escape(path)).collect();
    // userxattr always: trusted.* is refused in a user namespace.
    let options =
        format!("lowerdir={},upperdir={},workdir={},userxattr", lowers.join(":"), escape(&upper), escape(&work));
    let target = inside(target);
    let mounted = mount(Some("overlay"), &target, Some("overlay"), MsFlags::empty(), Some(options.as_str()));
    step(&target.display().to_string(), mounted)
}

/// A path as overlayfs options want it.
fn escape(path: &Path) -> String {
    let mut escaped = String::new();
    for c in path.to_string_lossy().chars() {
        if matches!(c, '\\' | ':' | ',') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The place below the new root that stands for an absolute path inside. `..` never leaves it.
fn inside(target: &Path) -> PathBuf {
    let normal = target.components().filter(|part| matches!(part, Component::Normal(_)));
    std::iter::once(Component::Normal(ROOT.as_ref())).chain(normal).collect()
}

/// Links on the way to a bind's target.
const MAX_LINKS: usize = 40;

/// The same, where the sandbox's own links lead: before the pivot the kernel would follow them to the host.
fn resolved(root: &Path, target: &Path) -> io::Result<PathBuf> {
    let parts = |path: &Path| -> Vec<OsString> {
        let named = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        named.rev().map(|part| part.as_os_str().to_owned()).collect()
    };
    let (mut todo, mut real, mut links) = (parts(target), PathBuf::new(), 0);
    while let Some(name) = todo.pop() {
        if name == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&name);
        let Ok(link) = fs::read_link(root.join(&next)) else {
            real = next;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(nix::errno::Errno::ELOOP.into());
        }
        if link.is_absolute() {
            real = PathBuf::new();
        }
        todo.extend(parts(&link));
    }
    Ok(root.join(real))
}

fn devices(spec: &LaunchSpec) -> io::Result<()> {
    let dev = PathBuf::from(ROOT).join("dev");
    let nosuid = MsFlags::MS_NOSUID;
    ensure_dir(&dev)?;
    mount(Some("tmpfs"), &dev, Some("tmpfs"), nosuid, Some("mode=755,size=64k"))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let node = dev.join(name);
        fs::write(&node, "")?;
        mount(Some(Path::new("/dev").join(name).as_path()), &node, NONE, MsFlags::MS_BIND, NONE)?;
    }
    for name in ["pts", "shm"] {
        fs::create_dir(dev.join(name))?;
    }
    // Group 5 is `tty`; with a single id it can't be named.
    let single = matches!(spec.idmap, IdMap::Single { .. });
    let options =
        if single { "newinstance,ptmxmode=0666,mode=0620" } else { "newinstance,ptmxmode=0666,mode=0620,gid=5" };
    mount(Some("devpts"), &dev.join("pts"), Some("devpts"), nosuid | MsFlags::MS_NOEXEC, Some(options))?;
    mount(Some("tmpfs"), &dev.join("shm"), Some("tmpfs"), nosuid | MsFlags::MS_NODEV, Some(SHM))?;
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ];
    links.iter().try_for_each(|(target, name)| symlink(target, dev.join(name)))
}

fn kernel_files() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for (name, kind, flags) in [("proc", "proc", flags), ("sys", "sysfs", flags | MsFlags::MS_RDONLY)] {
        let target = PathBuf::from(ROOT).join(name);
        ensure_dir(&target)?;
        step(&format!("/{name}"), mount(Some(kind), &target, Some(kind), flags, NONE))?;
    }
    Ok(())
}

fn mount_bind(spec: &LaunchSpec, source: &Path, target: &Path, read_only: bool) -> io::Result<()> {
    let target = resolved(Path::new(ROOT), target)?;
    if fs::metadata(source)?.is_dir() {
        ensure_dir(&target)?;
    } else if !target.exists() {
        if let Some(parent) = target.parent() {
            ensure_dir(parent)?;
        }
        fs::write(&target, "")?;
    }
    mount(Some(source), &target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
    // In tier root the zygote's clone is read-only already.
    if read_only && spec.isolation != Isolation::Root {
        sys::mounts::make_read_only(&target)?;
    }
    Ok(())
}

/// After the pivot: links that a sandbox left on the way lead nowhere outside.
fn mount_volume(target: &Path, tree: &OwnedFd) -> io::Result<()> {
    ensure_dir(target)?;
    sys::mounts::attach(tree.as_fd(), target)
}

fn ensure_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() { Ok(()) } else { fs::DirBuilder::new().recursive(true).mode(0o755).create(path) }
}

fn enter() -> io::Result<()> {
    chdir(ROOT)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(chdir("/")?)
}

/// `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`: written at every start, after the pivot, so that a link that a
/// sandbox left there leads nowhere outside.
fn host_files(id: &str) -> io::Result<()> {
    ensure_dir(Path::new("/etc"))?;
    let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{}\t{id}\n", net::SANDBOX);
    write_plain("/etc/hostname", &format!("{id}\n"))?;
    write_plain("/etc/hosts", &hosts)?;
    write_plain("/etc/resolv.conf", &format!("nameserver {}\n", net::RESOLVER))
}

fn write_plain(path: &str, text: &str) -> io::Result<()> {
    let is_plain = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    if is_plain && fs::read_to_string(path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o644).custom_flags(OFlag::O_NOFOLLOW.bits());
    let mut file = options.open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_separators_are_escaped() {
        assert_eq!(escape(Path::new(r"/a:b,c\d")), r"/a\:b\,c\\d");
    }

    #[test]
    fn links_on_the_way_lead_nowhere_outside() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        fs::create_dir_all(root.join("srv/deep")).expect("directories");
        for (to, name) in [("/srv", "abs"), ("../../../etc", "srv/up"), ("deep/../x", "srv/rel"), ("loop", "loop")] {
            symlink(to, root.join(name)).expect("a link");
        }
        for (target, expected) in [
            ("/abs/c", "srv/c"),
            ("/srv/up/passwd", "etc/passwd"),
            ("/abs/rel/y", "srv/x/y"),
            ("/../new/./a", "new/a"),
            ("/", ""),
        ] {
            assert_eq!(resolved(root, Path::new(target)).expect(target), root.join(expected), "{target}");
        }
        assert!(resolved(root, Path::new("/loop/x")).is_err());
    }

    #[test]
    fn targets_stay_below_the_new_root() {
        assert_eq!(inside(Path::new("/usr")), Path::new("root/usr"));
        assert_eq!(inside(Path::new("/")), Path::new("root"));
        assert_eq!(inside(Path::new("/../../etc/./x")), Path::new("root/etc/x"));
    }
}
