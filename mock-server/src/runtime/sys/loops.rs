//! Loop devices, which make a file a disk.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, RawFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use libc::c_ulong;

// Not in `libc`; from linux/loop.h and linux/fs.h, where they are the same on every architecture.
const LOOP_CTL_GET_FREE: c_ulong = 0x4C82;
const LOOP_GET_STATUS64: c_ulong = 0x4C05;
const LOOP_CONFIGURE: c_ulong = 0x4C0A;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// `_IOWR('X', 121, struct fstrim_range)`.
const FITRIM: c_ulong = 0xC018_5879;

/// How many free devices may be taken by others before we give up.
const ATTEMPTS: usize = 100;

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

fn zeroed() -> Info {
    // SAFETY: integers and arrays of them only.
    unsafe { std::mem::zeroed() }
}

fn ioctl<T>(file: &File, request: c_ulong, argument: *mut T) -> io::Result<i32> {
    // SAFETY: every caller passes what the request reads and writes, or null where it wants nothing.
    match unsafe { libc::ioctl(file.as_raw_fd(), request as _, argument) } {
        result if result < 0 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// A loop device that shows a file. It is free again when this is dropped and nothing on it is mounted any more.
#[derive(Debug)]
pub struct Loop {
    /// Open, so that the device stays.
    _device: File,
    path: PathBuf,
}

impl Loop {
    /// Makes a file a disk. It must be none yet: two devices of one file don't know of each other.
    pub fn attach(image: &File) -> io::Result<Loop> {
        let control = open(Path::new("/dev/loop-control"))?;
        for _ in 0..ATTEMPTS {
            let path = PathBuf::from(format!("/dev/loop{}", ioctl(&control, LOOP_CTL_GET_FREE, NULL)?));
            let device = match open(&path) {
                // Whoever has it makes it disappear.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENOENT)) => continue,
                device => device?,
            };
            let info = Info { flags: LO_FLAGS_AUTOCLEAR, ..zeroed() };
            let fd = image.as_fd().as_raw_fd() as u32;
            let mut config = Config { fd, block_size: 4096, info, reserved: [0; 8] };
            match ioctl(&device, LOOP_CONFIGURE, &raw mut config) {
                Ok(_) => return Ok(Loop { _device: device, path }),
                // Another one was faster.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "no loop device is free"))
    }

    /// The device that shows this file already, or still.
    pub fn find(image: &File) -> io::Result<Option<Loop>> {
        let wanted = image.metadata()?;
        for entry in std::fs::read_dir("/sys/block")? {
            let entry = entry?;
            let name = entry.file_name();
            let is_used = name.as_encoded_bytes().starts_with(b"loop") && entry.path().join("loop").is_dir();
            if !is_used {
                continue;
            }
            let path = Path::new("/dev").join(name);
            let Ok(device) = open(&path) else { continue };
            let mut info = zeroed();
            // Asked now that it is open, so it stays what it is.
            let shows = ioctl(&device, LOOP_GET_STATUS64, &raw mut info).is_ok();
            if shows && info.inode == wanted.ino() && info.device == wanted.dev() {
                return Ok(Some(Loop { _device: device, path }));
            }
        }
        Ok(None)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

const NULL: *mut RawFd = std::ptr::null_mut();

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Gives back what a mounted file system has freed.
pub fn trim(mounted: &File) -> io::Result<()> {
    // `struct fstrim_range`: start, length, least length.
    let mut range = [0u64, u64::MAX, 0];
    ioctl(mounted, FITRIM, range.as_mut_ptr()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        assert_eq!((size_of::<Info>(), size_of::<Config>()), (232, 304));
    }
}
