//! Attributes of files: on the wire, as they are, and how they are changed.

use std::{
    ffi::OsStr,
    fs::Metadata,
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
};

use chrono::{DateTime, Utc};
use nix::{
    fcntl::{AT_FDCWD, AtFlags},
    sys::{
        stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, utimensat},
        time::TimeSpec,
    },
    unistd::{Gid, Uid, fchownat},
};

use super::packet::Fields;

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const MODE: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 1 << 31;

/// What a client wants a file to be like; what isn't given stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub size: Option<u64>,
    pub owner: Option<(u32, u32)>,
    pub mode: Option<u32>,
    /// Last access and last change, in seconds.
    pub times: Option<(u32, u32)>,
}

impl Attributes {
    pub fn parse(fields: &mut Fields<'_>) -> io::Result<Attributes> {
        let flags = fields.u32()?;
        let mut all = Attributes::default();
        if flags & SIZE != 0 {
            all.size = Some(fields.u64()?);
        }
        if flags & OWNER != 0 {
            all.owner = Some((fields.u32()?, fields.u32()?));
        }
        if flags & MODE != 0 {
            all.mode = Some(fields.u32()?);
        }
        if flags & TIMES != 0 {
            all.times = Some((fields.u32()?, fields.u32()?));
        }
        if flags & EXTENDED != 0 {
            for _ in 0..fields.u32()? {
                fields.bytes()?;
                fields.bytes()?;
            }
        }
        Ok(all)
    }

    /// Changes the file at `path`; `follow` says whether a link means what it leads to. Links have neither size nor
    /// mode of their own.
    pub fn apply(&self, path: &Path, follow: bool) -> io::Result<()> {
        if let Some(size) = self.size {
            std::fs::OpenOptions::new().write(true).open(path)?.set_len(size)?;
        }
        if let Some((access, change)) = self.times {
            let flags = if follow { UtimensatFlags::FollowSymlink } else { UtimensatFlags::NoFollowSymlink };
            let (access, change) = (TimeSpec::new(access.into(), 0), TimeSpec::new(change.into(), 0));
            utimensat(AT_FDCWD, path, &access, &change, flags)?;
        }
        if let Some(mode) = self.mode {
            let flags = if follow { FchmodatFlags::FollowSymlink } else { FchmodatFlags::NoFollowSymlink };
            fchmodat(AT_FDCWD, path, Mode::from_bits_truncate(mode & 0o7777), flags)?;
        }
        if let Some((uid, gid)) = self.owner {
            let flags = if follow { AtFlags::empty() } else { AtFlags::AT_SYMLINK_NOFOLLOW };
            fchownat(AT_FDCWD, path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)?;
        }
        Ok(())
    }
}

/// As the wire has them. Times are seconds of 32 bits.
pub fn encode(meta: &Metadata) -> Vec<u8> {
    let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
    let mut all = Vec::with_capacity(32);
    all.extend((SIZE | OWNER | MODE | TIMES).to_be_bytes());
    all.extend(meta.size().to_be_bytes());
    for number in [meta.uid(), meta.gid(), meta.mode(), seconds(meta.atime()), seconds(meta.mtime())] {
        all.extend(number.to_be_bytes());
    }
    all
}

/// A line as `ls -l` has it; `sftp` shows it as it is.
pub fn long_name(name: &OsStr, meta: &Metadata) -> Vec<u8> {
    let time = DateTime::<Utc>::from_timestamp(meta.mtime(), 0).unwrap_or_default();
    // The year where the time of day means nothing any more.
    let recent = (Utc::now() - time).num_days().abs() < 180;
    let time = time.format(if recent { "%b %e %H:%M" } else { "%b %e  %Y" });
    let mut line = format!(
        "{} {:>4} {:<8} {:<8} {:>8} {time} ",
        mode_text(meta.permissions().mode()),
        meta.nlink(),
        meta.uid(),
        meta.gid(),
        meta.size(),
    )
    .into_bytes();
    line.extend(name.as_bytes());
    line
}

fn mode_text(mode: u32) -> String {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 's',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, set) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => set.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_ls_has_them() {
        assert_eq!(mode_text(0o100644), "-rw-r--r--");
        assert_eq!(mode_text(0o041777), "drwxrwxrwt");
        assert_eq!(mode_text(0o104755), "-rwsr-xr-x");
        assert_eq!(mode_text(0o102644), "-rw-r-Sr--");
    }
}
