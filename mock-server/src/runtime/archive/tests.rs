//! What goes in comes out.

use std::{
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
};

use nix::sys::stat::{Mode, SFlag, mknod};
use proptest::prelude::*;

use super::*;
use crate::runtime::{base::OPAQUE, sys::xattr};

/// Everything about what is below a directory, by path.
fn look(dir: &Path) -> Vec<String> {
    let mut found: Vec<String> = walkdir::WalkDir::new(dir)
        .min_depth(1)
        .into_iter()
        .map(|entry| {
            let entry = entry.expect("an entry");
            let (path, meta) = (entry.path(), entry.metadata().expect("metadata"));
            let name = path.strip_prefix(dir).expect("below");
            let content = match () {
                () if meta.is_file() => format!("{:?}", tokens_of(&fs::read(path).expect("content"))),
                () if meta.is_symlink() => {
                    format!("{:?}", fs::read_link(path).expect("a target").as_os_str().as_bytes())
                }
                () => String::new(),
            };
            let attributes = if meta.is_symlink() { Vec::new() } else { xattr::all(path).expect("attributes") };
            let time = (meta.mtime(), meta.mtime_nsec());
            let size = if meta.is_dir() { 0 } else { meta.len() };
            let links = if meta.is_dir() { 0 } else { meta.nlink() };
            let (mode, owner) = (meta.mode(), (meta.uid(), meta.gid()));
            format!("{name:?} {mode:o} {owner:?} {size} {links} {} {time:?} {content} {attributes:?}", meta.rdev())
        })
        .collect();
    found.sort();
    found
}

fn tokens_of(bytes: &[u8]) -> (usize, Vec<u8>) {
    (bytes.len(), bytes.iter().copied().filter(|byte| *byte != 0).take(100).collect())
}

fn round_trip(from: &Path) -> tempfile::TempDir {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let archive = temp.path().join("a.tar.zst");
    pack(from, &archive, Owners::Same, &|| false).expect("packed");
    assert!(is_portable(&archive).expect("read"));
    let mut budget = Budget { bytes: 1 << 30, entries: 1000 };
    look_through(&archive, &mut budget).expect("our own are fine");
    assert!(look_through(&archive, &mut Budget { bytes: 1 << 30, entries: 0 }).is_err() || budget.entries == 1000);
    unpack(&archive, &temp.path().join("out"), Owners::Same).expect("unpacked");
    assert_eq!(look(&temp.path().join("out")), look(from));
    temp
}

#[test]
fn everything_comes_back() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = temp.path().join("in");
    let at = |name: &str| dir.join(name);
    fs::create_dir_all(at("closed/deep")).expect("directories");
    fs::write(at("closed/deep/file"), "text").expect("a file");
    fs::hard_link(at("closed/deep/file"), at("hard")).expect("a hard link");
    symlink("../odd//./target/", at("soft")).expect("a link");
    symlink("t".repeat(300), at("long-soft")).expect("a link");
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    fs::create_dir(at(&"d".repeat(120))).expect("a directory");
    fs::write(at(&long), "").expect("a file");
    fs::hard_link(at(&long), at("hard-to-long")).expect("a hard link");
    fs::write(dir.join(OsStrOf(b"not-utf8-\xff")), "x").expect("a file");
    mknod(&at("gone"), SFlag::S_IFCHR, Mode::empty(), 0).expect("a whiteout");
    mknod(&at("pipe"), SFlag::S_IFIFO, Mode::from_bits_truncate(0o640), 0).expect("a pipe");
    fs::create_dir(at("opaque")).expect("a directory");
    let opaque = std::ffi::CString::new(at("opaque").as_os_str().as_bytes()).expect("a path");
    xattr::set(&opaque, OPAQUE, b"y").expect("an attribute");
    xattr::set(&opaque, "user.binary", &[0, 10, 255]).expect("an attribute");
    let sparse = fs::File::create(at("sparse")).expect("a file");
    sparse.set_len(300 << 20).expect("a length");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 100 << 20).expect("written");
    fs::set_permissions(at("closed/deep/file"), fs::Permissions::from_mode(0o4751)).expect("a mode");
    fs::set_permissions(at("closed/deep"), fs::Permissions::from_mode(0o1700)).expect("a mode");
    let out = round_trip(&dir);
    let restored = fs::metadata(out.path().join("out/sparse")).expect("there");
    assert!(restored.blocks() * 512 < 10 << 20, "the holes are filled");
    assert!(fs::metadata(out.path().join("a.tar.zst")).expect("there").len() < 1 << 20);
}

/// Files with more holes than a header has room for.
#[test]
fn many_holes_come_back() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = temp.path().join("in");
    fs::create_dir(&dir).expect("a directory");
    let sparse = fs::File::create(dir.join("sparse")).expect("a file");
    sparse.set_len(64 << 20).expect("a length");
    for n in 0..60 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", n << 20).expect("written");
    }
    fs::write(dir.join("after"), "it").expect("a file");
    round_trip(&dir);
}

#[test]
fn owners_are_those_inside_and_those_of_old_archives_are_as_they_were() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let (dir, archive) = (temp.path().join("in"), temp.path().join("a"));
    fs::create_dir(&dir).expect("a directory");
    fs::write(dir.join("file"), "text").expect("a file");
    let sparse = fs::File::create(dir.join("sparse")).expect("a file");
    sparse.set_len(1 << 20).expect("a length");
    let me = fs::metadata(dir.join("file")).expect("there");
    let of = |inside, outside| crate::runtime::idmap::Ids { inside, outside };
    let one = Owners::One { uid: of(7, me.uid()), gid: of(8, me.gid()) };
    pack(&dir, &archive, one, &|| false).expect("packed");
    let mut owners = Vec::new();
    for entry in guard::open(&archive).expect("an archive").entries().expect("entries").skip(1) {
        let entry = entry.expect("an entry");
        owners.push((entry.header().uid().expect("an id"), entry.header().gid().expect("an id")));
    }
    assert_eq!(owners, [(7, 8), (7, 8)]);
    unpack(&archive, &temp.path().join("out"), one).expect("unpacked");
    let back = fs::metadata(temp.path().join("out/file")).expect("there");
    assert_eq!((back.uid(), back.gid()), (me.uid(), me.gid()));
    // What earlier versions wrote says nothing of owners.
    let mut old = tar::Builder::new(Vec::new());
    old.append_path_with_name(dir.join("file"), "file").expect("added");
    let bytes = old.into_inner().expect("whole");
    fs::write(&archive, zstd::encode_all(bytes.as_slice(), 1).expect("compressed")).expect("written");
    assert!(!is_portable(&archive).expect("read"));
    unpack(&archive, &temp.path().join("old"), one).expect("unpacked");
    assert_eq!(fs::metadata(temp.path().join("old/file")).expect("there").uid(), me.uid());
    let error = look_through(&archive, &mut Budget { bytes: 1 << 20, entries: 9 }).expect_err("no stranger's");
    assert!(error.to_string().contains("whose files"), "{error}");
}

struct OsStrOf(&'static [u8]);

impl AsRef<Path> for OsStrOf {
    fn as_ref(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(self.0))
    }
}

#[test]
fn nothing_is_an_archive_too_and_a_stopped_one_is_none() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let (missing, archive) = (temp.path().join("missing"), temp.path().join("a"));
    pack(&missing, &archive, Owners::Same, &|| true).expect("packed");
    unpack(&archive, &temp.path().join("out"), Owners::Same).expect("unpacked");
    assert_eq!(fs::read_dir(temp.path().join("out")).expect("a directory").count(), 0);
    fs::write(temp.path().join("out/file"), "").expect("a file");
    let stopped = pack(&temp.path().join("out"), &archive, Owners::Same, &|| true).expect_err("stopped");
    assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
}

#[test]
fn damage_is_refused() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = temp.path().join("in");
    fs::create_dir(&dir).expect("a directory");
    fs::write(dir.join("file"), "x".repeat(10_000)).expect("a file");
    let archive = temp.path().join("a");
    pack(&dir, &archive, Owners::Same, &|| false).expect("packed");
    let whole = fs::read(&archive).expect("read");
    fs::write(&archive, &whole[..whole.len() / 2]).expect("cut");
    assert!(unpack(&archive, &temp.path().join("out"), Owners::Same).is_err());
    for (n, name) in ["../out", "/etc/x", "a/../../b"].into_iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        let bytes = [header.as_bytes().as_slice(), &[0; 1024]].concat();
        fs::write(&archive, zstd::encode_all(bytes.as_slice(), 1).expect("compressed")).expect("written");
        let out = temp.path().join(format!("out{n}"));
        assert_eq!(unpack(&archive, &out, Owners::Same).expect_err(name).kind(), io::ErrorKind::InvalidData);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tree_comes_back(files in prop::collection::vec(("[a-z.]{1,3}(/[a-z]{1,3}){0,3}", prop::collection::vec(any::<u8>(), 0..2000), 0..0o1000_u32), 0..12)) {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let dir = temp.path().join("in");
        fs::create_dir(&dir).expect("a directory");
        for (name, content, mode) in files {
            let path = dir.join(name);
            if path.components().any(|part| !matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_))) {
                continue;
            }
            let made = fs::create_dir_all(path.parent().expect("a parent")).and_then(|()| fs::write(&path, content));
            if made.is_ok() {
                // Readable, so that `look` can look in tiers without root.
                fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o400)).expect("a mode");
            }
        }
        round_trip(&dir);
    }
}

/// Reading the zeros of this hole would take minutes.
#[test]
fn a_file_with_a_large_hole_comes_back_at_once() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let (dir, out, archive) = (temp.path().join("in"), temp.path().join("out"), temp.path().join("a.tar.zst"));
    fs::create_dir(&dir).expect("a directory");
    let file = fs::File::create(dir.join("sparse")).expect("a file");
    file.write_all_at(b"head", 0).and_then(|()| file.write_all_at(b"middle", 96 << 30)).expect("written");
    file.set_len(128 << 30).expect("a hole");
    file.set_permissions(fs::Permissions::from_mode(0o4751)).expect("a mode");
    pack(&dir, &archive, Owners::Same, &|| false).expect("packed");
    unpack(&archive, &out, Owners::Same).expect("unpacked");
    let (meta, file) = (fs::metadata(out.join("sparse")).expect("there"), fs::File::open(out.join("sparse")));
    assert_eq!((meta.len(), meta.mode() & 0o7777), (128 << 30, 0o4751));
    assert!(meta.blocks() < 1024, "{} blocks", meta.blocks());
    let mut read = [0; 6];
    file.expect("open").read_exact_at(&mut read, 96 << 30).expect("read");
    assert_eq!(&read, b"middle");
}
