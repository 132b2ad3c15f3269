//! Disks of sandboxes: tier root gives each an ext4 of the size that it asked for, in a sparse file on a loop device. So
//! it is full when it is full, and `df` shows it.
//!
//! Nothing is mounted where the host could see it: the server has a detached mount of every disk that is in use, and so
//! has each sandbox that is made of it. All go with their processes, and the device with the last of them, so a killed
//! server leaves none behind. The file systems have no journal: power loss isn't promised, and what it left is repaired.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use nix::unistd::{Whence, lseek};
use parking_lot::Mutex;

use super::{
    idmap::SHIFT,
    manager::names_in,
    sys::{loops, mounts},
    zygote::step,
};

/// The file of a disk, in a sandbox's directory or a layer's.
pub const IMAGE: &str = "disk.img";

const KIND: &std::ffi::CStr = c"ext4";

/// Inode tables are zero in a fresh file: nobody needs to write that.
const FLAGS: &[&std::ffi::CStr] = &[c"noinit_itable"];

const FEATURES: &str = "none,dir_index,dir_nlink,ext_attr,extent,extra_isize,filetype,flex_bg,huge_file,large_file,\
                        sparse_super,uninit_bg,64bit";

/// How long a disk that is to grow may still be in use.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the names of templates end in.
const TEMPLATE: &str = ".ext4";

/// How many are kept ready.
const READY: usize = 3;

/// GiB that most ask for.
const COMMON: u32 = 3;

const BLOCK: u64 = 4096;

/// Where a file system describes itself.
const SUPER_BLOCK: u64 = 1024;

/// Where it says in there what it needs for itself: `s_overhead_clusters`.
const OVERHEAD: u64 = 0x248;

/// The disks in use, and how new ones are made.
#[derive(Debug)]
pub struct Disks {
    /// Empty disks, by size, that new ones are copies of.
    templates: PathBuf,
    /// By device and inode of the file, wherever it is moved.
    used: Mutex<HashMap<(u64, u64), Weak<Disk>>>,
    /// Empty ones with their files, mounted already, as that takes longer than most of a start.
    ready: Mutex<Vec<(PathBuf, Arc<Disk>)>>,
    /// Held by whoever makes some ready.
    filling: Mutex<()>,
}

/// A disk in use.
#[derive(Debug)]
pub struct Disk {
    /// Before the device: it goes first.
    view: OwnedFd,
    /// For the first sandbox that asks, where it was made in time.
    ready: Mutex<Option<OwnedFd>>,
    device: loops::Loop,
    bytes: u64,
}

impl Disks {
    /// Tries whether this machine can: makes a disk and mounts it.
    ///
    /// # Errors
    /// Why it can't, for people.
    pub fn probe(data_dir: &Path) -> io::Result<Disks> {
        let templates = data_dir.join("disks");
        fs::create_dir_all(&templates)?;
        for name in names_in(&templates)?.iter().filter(|name| !name.ends_with(TEMPLATE)) {
            // What a killed server didn't finish.
            fs::remove_file(templates.join(name))?;
        }
        let disks = Disks { templates, used: Mutex::default(), ready: Mutex::default(), filling: Mutex::default() };
        disks.make_one_ready(COMMON)?;
        Ok(disks)
    }

    /// An empty disk of so many GiB: one that is ready, or a new one.
    pub fn take(&self, image: &Path, gib: u32) -> io::Result<Arc<Disk>> {
        let found = {
            let mut ready = self.ready.lock();
            let fits = ready.iter().position(|(_, disk)| disk.bytes == bytes(gib));
            fits.map(|at| ready.swap_remove(at))
        };
        match found {
            Some((path, disk)) => fs::rename(path, image).map(|()| disk),
            None => self.make(image, gib),
        }
    }

    /// Makes some ready for the next ones, of the size that was wanted last.
    pub fn make_ready(&self, gib: u32) -> io::Result<()> {
        let Some(_one) = self.filling.try_lock() else { return Ok(()) };
        let others: Vec<_> = self.ready.lock().extract_if(.., |(_, disk)| disk.bytes != bytes(gib)).collect();
        for (path, disk) in others {
            drop(disk);
            fs::remove_file(path)?;
        }
        while self.ready.lock().len() < READY {
            self.make_one_ready(gib)?;
        }
        Ok(())
    }

    fn make_one_ready(&self, gib: u32) -> io::Result<()> {
        let path = self.templates.join(uuid::Uuid::new_v4().to_string());
        let disk = self.make(&path, gib)?;
        let mount = disk.mount()?;
        *disk.ready.lock() = Some(mount);
        self.ready.lock().push((path, disk));
        Ok(())
    }

    fn make(&self, image: &Path, gib: u32) -> io::Result<Arc<Disk>> {
        let file = copy_sparse(&self.template(gib)?, image)?;
        let device = step("loop device", loops::Loop::attach(&file))?;
        self.mount(&file, device)
    }

    /// A disk that was made before, by now with so many GiB if it had fewer.
    pub fn open(&self, image: &Path, gib: Option<u32>) -> io::Result<Arc<Disk>> {
        let file = OpenOptions::new().read(true).write(true).open(image)?;
        let meta = file.metadata()?;
        if gib.map_or(0, bytes) > meta.len() {
            self.wait_until_free(&file, (meta.dev(), meta.ino()))?;
        }
        let mut used = self.used.lock();
        if let Some(disk) = used.get(&(meta.dev(), meta.ino())).and_then(Weak::upgrade) {
            return Ok(disk);
        }
        let device = match loops::Loop::find(&file)? {
            Some(device) => device,
            None => {
                prepare(image, &file, gib.map_or(0, bytes).max(meta.len()))?;
                step("loop device", loops::Loop::attach(&file))?
            }
        };
        let disk = self.mounted(&file, device)?;
        used.insert((meta.dev(), meta.ino()), Arc::downgrade(&disk));
        Ok(disk)
    }

    /// A disk grows while nobody uses it. The kernel unmounts that of a sandbox some time after its end, and tells nobody, so
    /// this looks again and again. Who uses it longer has the smaller one.
    fn wait_until_free(&self, file: &File, id: (u64, u64)) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let is_used = || self.used.lock().get(&id).is_some_and(|disk| disk.strong_count() > 0);
        while (is_used() || loops::Loop::find(file)?.is_some()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn mount(&self, file: &File, device: loops::Loop) -> io::Result<Arc<Disk>> {
        let meta = file.metadata()?;
        let disk = self.mounted(file, device)?;
        let mut used = self.used.lock();
        used.retain(|_, disk| disk.strong_count() > 0);
        used.insert((meta.dev(), meta.ino()), Arc::downgrade(&disk));
        Ok(disk)
    }

    fn mounted(&self, file: &File, device: loops::Loop) -> io::Result<Arc<Disk>> {
        let view = step("mount", mounts::of_device(KIND, device.path(), FLAGS))?;
        Ok(Arc::new(Disk { view, ready: Mutex::default(), device, bytes: file.metadata()?.len() }))
    }

    /// An empty disk to copy, made at the first need.
    fn template(&self, gib: u32) -> io::Result<PathBuf> {
        let path = self.templates.join(format!("{gib}{TEMPLATE}"));
        if path.exists() {
            return Ok(path);
        }
        let new = tempfile::Builder::new().prefix("new-").tempfile_in(&self.templates)?;
        new.as_file().set_len(bytes(gib))?;
        let extended = format!("lazy_itable_init=1,nodiscard,root_owner={SHIFT}:{SHIFT}");
        let mut make = program("mkfs.ext4");
        make.args(["-q", "-F", "-b", "4096", "-I", "256", "-i", "16384", "-m", "0", "-O", FEATURES, "-E", &extended]);
        run(make.arg(new.path()))?;
        new.persist(&path)?;
        Ok(path)
    }
}

impl Disk {
    /// What overlays write to, a directory for each.
    pub fn up(&self) -> PathBuf {
        self.path().join("up")
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.view.as_raw_fd()))
    }

    /// Another detached mount of it, for a sandbox.
    pub fn mount(&self) -> io::Result<OwnedFd> {
        if let Some(mount) = self.ready.lock().take() {
            return Ok(mount);
        }
        step("mount", mounts::of_device(KIND, self.device.path(), FLAGS))
    }

    pub fn gib(&self) -> u32 {
        gib_of(self.bytes)
    }

    /// Gives the machine back what was removed on it.
    pub fn trim(&self) {
        // The view itself is a mere place.
        if let Err(error) = File::open(self.path()).and_then(|root| loops::trim(&root)) {
            tracing::debug!(%error, "a disk can't be trimmed");
        }
    }
}

/// With room for the inodes, about a 65th, which `df` doesn't count: it never shows more than was asked for.
fn bytes(gib: u32) -> u64 {
    (u64::from(gib.max(1)) << 30) / 200 * 203 / BLOCK * BLOCK
}

fn gib_of(bytes: u64) -> u32 {
    u32::try_from((bytes / 203 * 200 + (1 << 29)) >> 30).unwrap_or(u32::MAX)
}

/// Makes a disk that isn't in use fit to be mounted, with so many bytes.
fn prepare(image: &Path, file: &File, bytes: u64) -> io::Result<()> {
    let super_block = SuperBlock::read(file)?;
    if !super_block.is_clean {
        repair(image);
    }
    file.set_len(bytes)?;
    if super_block.blocks < bytes / BLOCK {
        run(program("resize2fs").arg("-f").arg(image))?;
        // That of the smaller one. The kernel then counts by itself, and `df` is right.
        file.write_all_at(&[0; 4], SUPER_BLOCK + OVERHEAD)?;
    }
    Ok(())
}

/// What we need of `struct ext4_super_block`.
struct SuperBlock {
    blocks: u64,
    is_clean: bool,
}

impl SuperBlock {
    fn read(image: &File) -> io::Result<SuperBlock> {
        let mut block = [0; 1024];
        image.read_exact_at(&mut block, SUPER_BLOCK)?;
        let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"));
        if block[0x38..0x3a] != [0x53, 0xef] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no disk of ours"));
        }
        let is_clean = block[0x3a] & 1 != 0;
        Ok(SuperBlock { blocks: u64::from(word(4)) | u64::from(word(0x150)) << 32, is_clean })
    }
}

/// After the machine lost power. What can't be repaired is mounted as it is.
fn repair(image: &Path) {
    tracing::warn!(image = %image.display(), "the machine ended while this disk was in use: it is repaired");
    if let Err(error) = run(program("e2fsck").arg("-fy").arg(image)) {
        tracing::debug!(%error, "repaired, or not");
    }
}

/// These are where ordinary users' paths don't lead.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin");
    command
}

fn run(command: &mut Command) -> io::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::other(format!("{name} is missing: apt-get install e2fsprogs")),
        _ => error,
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Copies what is not a hole.
fn copy_sparse(from: &Path, to: &Path) -> io::Result<File> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(to)?;
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut at = 0;
    // No data after the last: ENXIO.
    while let Ok(start) = lseek(&source, at, Whence::SeekData) {
        let end = lseek(&source, start, Whence::SeekHole)?;
        source.seek(SeekFrom::Start(start as u64))?;
        target.seek(SeekFrom::Start(start as u64))?;
        io::copy(&mut Read::by_ref(&mut source).take((end - start) as u64), &mut target)?;
        at = end;
    }
    target.flush()?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_known_again() {
        for gib in [1, 3, 10, 100, 1000] {
            assert_eq!(gib_of(bytes(gib)), gib);
        }
        assert_eq!(bytes(0), bytes(1));
    }

    #[test]
    fn holes_stay_holes() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let file = File::create(&from).expect("a file");
        for (at, byte) in [(0, b'a'), (5 << 20, b'b'), (9 << 20, b'c')] {
            file.write_all_at(&[byte; 5000], at).expect("written");
        }
        file.set_len(20 << 20).expect("a length");
        let copy = copy_sparse(&from, &to).expect("copied");
        assert_eq!(fs::read(&from).expect("read"), fs::read(&to).expect("read"));
        assert!(copy.metadata().expect("there").blocks() * 512 < 1 << 20);
    }
}
