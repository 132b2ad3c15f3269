//! What requests do.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, FileExt, OpenOptionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
    sys::statvfs::{FsFlags, Statvfs, fstatvfs, statvfs},
};

use super::{
    MAX_PACKET,
    attributes::{Attributes, encode, long_name},
    packet::{ATTRS, Answer, DATA, EXTENDED_REPLY, Fields, HANDLE, NAME, Status, VERSION},
};
use crate::toolbox::{Ctx, go_errors};

/// Files and directories that one client has open.
const MAX_HANDLES: usize = 256;

/// Data of one read or write: what fits into a packet with its head (as OpenSSH has it).
const MAX_DATA: usize = MAX_PACKET - 1024;

/// Names in one answer.
const MAX_NAMES: usize = 100;

const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const CREATE: u32 = 8;
const TRUNCATE: u32 = 16;
const EXCLUSIVE: u32 = 32;

/// Name and version.
const EXTENSIONS: &[(&str, &str)] = &[
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
];

/// One client's session.
pub struct Server {
    ctx: Ctx,
    next: u32,
    open: HashMap<u32, Open>,
}

enum Open {
    File(File, PathBuf),
    Directory(Names),
}

/// What is still to be told of a directory: names and where they are.
type Names = Box<dyn Iterator<Item = io::Result<(OsString, PathBuf)>> + Send>;

/// Why a request has no other answer.
struct Refusal(Status, String);

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        let status = match error.kind() {
            io::ErrorKind::NotFound => Status::NoSuchFile,
            io::ErrorKind::PermissionDenied => Status::PermissionDenied,
            io::ErrorKind::UnexpectedEof => Status::Eof,
            io::ErrorKind::InvalidData => Status::BadMessage,
            _ => Status::Failure,
        };
        Refusal(status, go_errors::text(&error))
    }
}

impl From<nix::Error> for Refusal {
    fn from(error: nix::Error) -> Refusal {
        io::Error::from(error).into()
    }
}

type Answered = Result<Answer, Refusal>;

impl Server {
    pub fn new(ctx: Ctx) -> Server {
        Server { ctx, next: 0, open: HashMap::new() }
    }

    /// The answer to one packet, with its length. An error if it isn't one at all.
    pub fn answer(&mut self, packet: &[u8]) -> io::Result<Vec<u8>> {
        let mut fields = Fields(packet);
        let kind = fields.u8()?;
        if kind == 1 {
            let hello = Answer::new(VERSION).u32(3);
            let all = EXTENSIONS.iter();
            return Ok(all.fold(hello, |hello, (n, v)| hello.bytes(n.as_bytes()).bytes(v.as_bytes())).finish());
        }
        let id = fields.u32()?;
        let answer = self.request(kind, id, &mut fields);
        Ok(answer.unwrap_or_else(|Refusal(status, text)| Answer::status(id, status, &text)).finish())
    }

    fn request(&mut self, kind: u8, id: u32, fields: &mut Fields<'_>) -> Answered {
        match kind {
            3 => self.open_file(id, fields),
            4 => self.close(id, fields),
            5 => self.read(id, fields),
            6 => self.write(id, fields),
            7 => Ok(attributes(id, &fs::symlink_metadata(self.path(fields)?)?)),
            8 => Ok(attributes(id, &self.file(fields)?.0.metadata()?)),
            9 => self.set_attributes(id, fields, true),
            10 => {
                // By its name, as what can only be written to can't be looked at through `/proc`.
                let path = self.file(fields)?.1.clone();
                done(id, Attributes::parse(fields)?.apply(&path, true))
            }
            11 => self.open_directory(id, fields),
            12 => self.read_directory(id, fields),
            13 => done(id, fs::remove_file(self.path(fields)?)),
            14 => self.make_directory(id, fields),
            15 => done(id, fs::remove_dir(self.path(fields)?)),
            16 => Ok(one_name(id, self.real_path(&self.path(fields)?).as_os_str())),
            17 => Ok(attributes(id, &fs::metadata(self.path(fields)?)?)),
            18 => self.rename(id, fields, RenameFlags::RENAME_NOREPLACE),
            19 => Ok(one_name(id, fs::read_link(self.path(fields)?)?.as_os_str())),
            20 => {
                // In OpenSSH's order, not the draft's.
                let (target, link) = (fields.name()?, self.path(fields)?);
                done(id, symlink(target, link))
            }
            200 => self.extended(id, fields),
            _ => Err(Refusal(Status::Unsupported, "unknown request".into())),
        }
    }

    /// No name is the work directory.
    fn path(&self, fields: &mut Fields<'_>) -> io::Result<PathBuf> {
        Ok(self.ctx.resolve(PathBuf::from(fields.name()?)))
    }

    fn file(&self, fields: &mut Fields<'_>) -> Result<(&File, &PathBuf), Refusal> {
        match handle(fields).ok().and_then(|number| self.open.get(&number)) {
            Some(Open::File(file, path)) => Ok((file, path)),
            _ => Err(no_handle()),
        }
    }

    fn keep(&mut self, id: u32, open: Open) -> Answered {
        if self.open.len() >= MAX_HANDLES {
            return Err(Refusal(Status::Failure, "too many open files".into()));
        }
        self.next = self.next.wrapping_add(1);
        self.open.insert(self.next, open);
        Ok(Answer::to(HANDLE, id).bytes(&self.next.to_be_bytes()))
    }

    fn open_file(&mut self, id: u32, fields: &mut Fields<'_>) -> Answered {
        let (path, flags) = (self.path(fields)?, fields.u32()?);
        let wanted = Attributes::parse(fields)?;
        let set = |flag| flags & flag != 0;
        let mut options = fs::OpenOptions::new();
        options.read(set(READ)).mode(wanted.mode.unwrap_or(0o666) & 0o7777);
        options.write(set(WRITE) && !set(APPEND)).append(set(APPEND));
        // The kernel knows better what goes together than the standard library.
        let flags = [(CREATE, libc::O_CREAT), (TRUNCATE, libc::O_TRUNC), (EXCLUSIVE, libc::O_EXCL)];
        let flags = flags.into_iter().filter(|(flag, _)| set(*flag)).fold(0, |all, (_, flag)| all | flag);
        // A pipe without a reader must not hold up the client.
        let file = options.custom_flags(flags | libc::O_NOCTTY | libc::O_NONBLOCK).open(&path)?;
        self.keep(id, Open::File(file, path))
    }

    fn open_directory(&mut self, id: u32, fields: &mut Fields<'_>) -> Answered {
        let path = self.path(fields)?;
        let entries = fs::read_dir(&path)?.map(|entry| entry.map(|entry| (entry.file_name(), entry.path())));
        // As OpenSSH's server tells them.
        let dots = [".", ".."].map(|name| Ok((name.into(), path.join(name))));
        self.keep(id, Open::Directory(Box::new(dots.into_iter().chain(entries))))
    }

    fn close(&mut self, id: u32, fields: &mut Fields<'_>) -> Answered {
        self.open.remove(&handle(fields)?).ok_or_else(no_handle)?;
        done(id, Ok(()))
    }

    fn read(&mut self, id: u32, fields: &mut Fields<'_>) -> Answered {
        let (file, _) = self.file(fields)?;
        let (offset, length) = (fields.u64()?, fields.u32()? as usize);
        let mut data = vec![0; length.min(MAX_DATA)];
        let count = file.read_at(&mut data, offset)?;
        if count == 0 && !data.is_empty() {
            return Err(Refusal(Status::Eof, "End of file".into()));
        }
        Ok(Answer::to(DATA, id).bytes(&data[..count]))
    }

    fn write(&mut self, id: u32, fields: &mut Fields<'_>) -> Answered {
        let (file, _) = self.file(fields)?;
        let (offset, data) = (fields.u64()?, fields.bytes()?);
        done(id, file.write_all_at(data, offset))
    }

    fn read_directory(&mut self, id: u32, fields: &mut Fields<'_>) -> Answered {
        let Some(Open::Directory(directory)) = self.open.get_mut(&handle(fields)?) else { return Err(no_handle()) };
        let mut names = Vec::new();
        for entry in directory.by_ref().take(MAX_NAMES) {
            let (name, path) = entry?;
            // What is gone by now isn't there.
            if let Ok(meta) = path.symlink_metadata() {
                names.push((name, meta));
            }
        }
        if names.is_empty() {
            return Err(Refusal(Status::Eof, "End of file".into()));
        }
        let answer = Answer::to(NAME, id).u32(names.len() as u32);
        Ok(names
            .iter()
            .fold(answer, |answer, (name, meta)| answer.name(name).bytes(&long_name(name, meta)).raw(&encode(meta))))
    }

    fn make_directory(&mut self, id: u32, fields: &mut Fields<'_>) -> Answered {
        let path = self.path(fields)?;
        let mode = Attributes::parse(fields)?.mode.unwrap_or(0o777) & 0o7777;
        done(id, fs::DirBuilder::new().mode(mode).create(path))
    }

    fn set_attributes(&mut self, id: u32, fields: &mut Fields<'_>, follow: bool) -> Answered {
        let path = self.path(fields)?;
        done(id, Attributes::parse(fields)?.apply(&path, follow))
    }

    fn rename(&mut self, id: u32, fields: &mut Fields<'_>, flags: RenameFlags) -> Answered {
        let (from, to) = (self.path(fields)?, self.path(fields)?);
        done(id, renameat2(AT_FDCWD, &from, AT_FDCWD, &to, flags).map_err(io::Error::from))
    }

    /// Links are followed where there is something; the rest is taken as it is written.
    fn real_path(&self, path: &Path) -> PathBuf {
        if let Ok(real) = path.canonicalize() {
            return real;
        }
        let mut real = PathBuf::from("/");
        for part in path.components() {
            match part {
                std::path::Component::ParentDir => drop(real.pop()),
                std::path::Component::Normal(part) => real.push(part),
                _ => {}
            }
        }
        real
    }

    fn extended(&mut self, id: u32, fields: &mut Fields<'_>) -> Answered {
        match fields.bytes()? {
            b"posix-rename@openssh.com" => self.rename(id, fields, RenameFlags::empty()),
            b"hardlink@openssh.com" => {
                let (from, to) = (self.path(fields)?, self.path(fields)?);
                done(id, fs::hard_link(from, to))
            }
            b"fsync@openssh.com" => done(id, self.file(fields)?.0.sync_all()),
            b"lsetstat@openssh.com" => self.set_attributes(id, fields, false),
            b"statvfs@openssh.com" => Ok(file_system(id, &statvfs(&self.path(fields)?)?)),
            b"fstatvfs@openssh.com" => Ok(file_system(id, &fstatvfs(self.file(fields)?.0)?)),
            b"limits@openssh.com" => {
                let limits = [MAX_PACKET, MAX_DATA, MAX_DATA, MAX_HANDLES].into_iter();
                Ok(limits.fold(Answer::to(EXTENDED_REPLY, id), |answer, limit| answer.u64(limit as u64)))
            }
            b"expand-path@openssh.com" => {
                let path = expand(&fields.name()?, &self.ctx.config().home);
                Ok(one_name(id, self.real_path(&self.ctx.resolve(path)).as_os_str()))
            }
            _ => Err(Refusal(Status::Unsupported, "unknown extension".into())),
        }
    }
}

/// `~` and what is below it.
fn expand(path: &OsStr, home: &Path) -> PathBuf {
    match path.as_bytes().strip_prefix(b"~") {
        Some(b"") => home.to_owned(),
        Some([b'/', rest @ ..]) => home.join(OsStr::from_bytes(rest)),
        _ => path.into(),
    }
}

fn handle(fields: &mut Fields<'_>) -> Result<u32, Refusal> {
    fields.bytes()?.try_into().map(u32::from_be_bytes).map_err(|_| no_handle())
}

fn no_handle() -> Refusal {
    Refusal(Status::Failure, "invalid handle".into())
}

fn done(id: u32, result: io::Result<()>) -> Answered {
    result?;
    Ok(Answer::status(id, Status::Ok, "Success"))
}

fn attributes(id: u32, meta: &fs::Metadata) -> Answer {
    Answer::to(ATTRS, id).raw(&encode(meta))
}

fn one_name(id: u32, name: &OsStr) -> Answer {
    // No attributes.
    Answer::to(NAME, id).u32(1).name(name).name(name).u32(0)
}

fn file_system(id: u32, all: &Statvfs) -> Answer {
    let flag = |flag, bit| if all.flags().contains(flag) { bit } else { 0u64 };
    let numbers = [
        all.block_size(),
        all.fragment_size(),
        all.blocks(),
        all.blocks_free(),
        all.blocks_available(),
        all.files(),
        all.files_free(),
        all.files_available(),
        all.filesystem_id(),
        flag(FsFlags::ST_RDONLY, 1) | flag(FsFlags::ST_NOSUID, 2),
        all.name_max(),
    ];
    numbers.into_iter().fold(Answer::to(EXTENDED_REPLY, id), Answer::u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::toolbox::AgentConfig;

    fn server(home: &Path) -> Server {
        Server::new(Ctx::new(AgentConfig {
            sandbox_id: String::new(),
            env: Default::default(),
            home: home.into(),
            work_dir: home.into(),
            entrypoint: Vec::new(),
            fake_root: None,
            version: String::new(),
            limits: Default::default(),
            pty: Default::default(),
        }))
    }

    /// The kind and the fields behind the number.
    fn ask(server: &mut Server, packet: Answer) -> (u8, Vec<u8>) {
        let answer = server.answer(&packet.finish()[4..]).expect("an answer");
        (answer[4], answer[9..].to_vec())
    }

    fn status(server: &mut Server, packet: Answer) -> u32 {
        let (kind, fields) = ask(server, packet);
        assert_eq!(kind, 101);
        Fields(&fields).u32().expect("a code")
    }

    #[test]
    fn names_of_any_bytes_are_written_listed_and_removed() {
        let home = tempfile::tempdir().expect("temp dir");
        let mut server = server(home.path());
        let name = b"a\xff\n";
        let open = Answer::to(3, 1).bytes(name).u32(WRITE | CREATE | EXCLUSIVE).u32(0);
        let (kind, fields) = ask(&mut server, open);
        assert_eq!(kind, HANDLE);
        let file = Fields(&fields).bytes().expect("a handle").to_vec();
        assert_eq!(status(&mut server, Answer::to(6, 2).bytes(&file).u64(3).bytes(b"xyz")), 0);
        assert_eq!(status(&mut server, Answer::to(4, 3).bytes(&file)), 0);
        assert_eq!(status(&mut server, Answer::to(4, 3).bytes(&file)), 4);
        let (_, fields) = ask(&mut server, Answer::to(11, 4).bytes(b"."));
        let directory = Fields(&fields).bytes().expect("a handle").to_vec();
        let (kind, fields) = ask(&mut server, Answer::to(12, 5).bytes(&directory));
        let mut told = Fields(&fields);
        assert_eq!((kind, told.u32().expect("count"), told.bytes().expect("name")), (NAME, 3, &b"."[..]));
        assert!(fields.windows(name.len()).any(|part| part == name), "its name as it is");
        assert_eq!(status(&mut server, Answer::to(12, 5).bytes(&directory)), 1);
        assert_eq!(fs::read(home.path().join(OsStr::from_bytes(name))).expect("read"), b"\0\0\0xyz");
        assert_eq!(status(&mut server, Answer::to(13, 6).bytes(name)), 0);
        assert_eq!(status(&mut server, Answer::to(13, 6).bytes(name)), 2);
    }

    #[test]
    fn a_rename_never_replaces_unless_it_is_asked_to() {
        let home = tempfile::tempdir().expect("temp dir");
        let mut server = server(home.path());
        for name in ["a", "b"] {
            fs::write(home.path().join(name), name).expect("written");
        }
        assert_eq!(status(&mut server, Answer::to(18, 1).bytes(b"a").bytes(b"b")), 4);
        let posix = Answer::to(200, 2).bytes(b"posix-rename@openssh.com").bytes(b"a").bytes(b"b");
        assert_eq!(status(&mut server, posix), 0);
        assert_eq!(fs::read_to_string(home.path().join("b")).expect("read"), "a");
    }

    proptest! {
        #[test]
        fn any_packet_is_answered_or_ends_the_session(packet in prop::collection::vec(any::<u8>(), 0..60), kind in 1u8..21) {
            // An empty directory of which every path is refused that isn't in it.
            let home = tempfile::tempdir().expect("temp dir");
            let mut server = server(home.path());
            let packet: Vec<u8> = std::iter::once(kind).chain(packet.into_iter().map(|b| b & !b'/')).collect();
            let _ = server.answer(&packet);
        }
    }

    #[test]
    fn tildes_are_expanded() {
        let home = Path::new("/home/x");
        for (path, expected) in [("~", "/home/x"), ("~/a", "/home/x/a"), ("~root", "~root"), ("a", "a")] {
            assert_eq!(expand(OsStr::new(path), home), PathBuf::from(expected));
        }
    }
}
