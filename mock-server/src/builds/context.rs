//! The build context: what `COPY` and `ADD` take from. Everything in it is a stranger's.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::glob::{Ignore, pattern};

/// Bounds on what contexts unpack to.
const MAX_ENTRIES: usize = 500_000;
const MAX_BYTES: u64 = 16 << 30;

/// Unpacks a `context.tar` over what is in `dir` already. Blocking.
pub fn unpack(archive: &Path, dir: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(File::open(archive)?.take(MAX_BYTES));
    archive.set_preserve_ownerships(false);
    for (count, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if count >= MAX_ENTRIES {
            return Err(io::Error::other("the context has too many entries"));
        }
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link()) {
            continue;
        }
        if kind.is_dir() {
            // Whatever its mode says: things go into it.
            entry.set_mask(0);
        }
        if !entry.unpack_in(dir)? {
            return Err(io::Error::other("the context leads out of its directory"));
        }
    }
    Ok(())
}

/// One thing to copy.
#[derive(Debug)]
pub struct Source {
    /// Where it really is.
    pub path: PathBuf,
    /// From the context's root, without a leading slash.
    pub name: String,
}

/// The context, with what `.dockerignore` leaves.
pub struct Context {
    root: PathBuf,
    ignore: Ignore,
}

impl Context {
    pub fn open(root: &Path) -> io::Result<Context> {
        let text = fs::read_to_string(root.join(".dockerignore")).unwrap_or_default();
        Ok(Context { root: fs::canonicalize(root)?, ignore: Ignore::parse(&text) })
    }

    /// The files and directories that a source of `COPY` names; never empty.
    pub fn find(&self, source: &str) -> Result<Vec<Source>, String> {
        let name = clean(source)?;
        let wild = name.contains(['*', '?', '[']);
        let found: Vec<Source> = if wild {
            let pattern = pattern(&name).ok_or_else(|| format!("{source}: a bad pattern"))?;
            let depth = name.split('/').count();
            let walk = WalkDir::new(&self.root).min_depth(1).max_depth(depth).sort_by_file_name();
            let entries = walk.into_iter().filter_map(Result::ok);
            entries.map(|entry| self.source(entry.into_path())).filter(|found| pattern.is_match(&found.name)).collect()
        } else {
            vec![self.source(self.root.join(&name))]
        };
        let inside = |source: &Source| fs::canonicalize(&source.path).is_ok_and(|real| real.starts_with(&self.root));
        let there = |source: &Source| source.path.symlink_metadata().is_ok() && inside(source);
        let kept = |source: &Source| !self.ignore.leaves_out(&source.name) || source.path.is_dir();
        let found: Vec<Source> = found.into_iter().filter(|one| there(one) && kept(one)).collect();
        if found.is_empty() { Err(format!("{source}: not found in the build context")) } else { Ok(found) }
    }

    fn source(&self, path: PathBuf) -> Source {
        let name = path.strip_prefix(&self.root).unwrap_or(Path::new("")).to_string_lossy().into_owned();
        Source { path, name }
    }

    /// Writes a source to an archive: a directory's content, or a file by its own name, or by `rename`.
    pub fn pack(&self, source: &Source, rename: Option<&str>, out: &mut tar::Builder<impl Write>) -> io::Result<()> {
        let real = fs::canonicalize(&source.path)?;
        if !real.is_dir() {
            let own = || source.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return append(out, &real, Path::new(&rename.map_or_else(own, str::to_owned)));
        }
        for (path, relative) in self.below(source, &real)? {
            append(out, &path, &relative)?;
        }
        Ok(())
    }

    /// Whether `.dockerignore` says anything.
    pub fn leaves_something_out(&self) -> bool {
        !self.ignore.is_empty()
    }

    /// Copies a source into an empty directory: a directory's content, or a file by its own name.
    pub fn lay_out(&self, source: &Source, into: &Path) -> io::Result<()> {
        let real = fs::canonicalize(&source.path)?;
        if !real.is_dir() {
            return fs::copy(&real, into.join(source.path.file_name().unwrap_or_default())).map(drop);
        }
        for (path, relative) in self.below(source, &real)? {
            let (meta, target) = (path.symlink_metadata()?, into.join(relative));
            if meta.is_dir() {
                fs::create_dir_all(&target)?;
                fs::set_permissions(&target, meta.permissions())?;
                continue;
            }
            // What is left out itself may have something in it that isn't.
            fs::create_dir_all(target.parent().unwrap_or(into))?;
            if meta.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(&path)?, target)?;
            } else if meta.is_file() {
                fs::copy(&path, target)?;
            }
        }
        Ok(())
    }

    /// Says what is in a source, so that the same content is known again.
    pub fn digest(&self, source: &Source, hash: &mut Sha256) -> io::Result<()> {
        let real = fs::canonicalize(&source.path)?;
        let all = if real.is_dir() { self.below(source, &real)? } else { vec![(real, source.path.clone())] };
        hash.update(&source.name);
        for (path, relative) in all {
            let meta = path.symlink_metadata()?;
            let name = relative.file_name().unwrap_or_default().to_string_lossy();
            let name = if source.path.is_dir() { relative.to_string_lossy() } else { name };
            hash.update(format!("\0{name}\0{:o}\0", meta.mode()));
            if meta.is_symlink() {
                hash.update(fs::read_link(&path)?.as_os_str().as_encoded_bytes());
            } else if meta.is_file() {
                io::copy(&mut File::open(&path)?, &mut HashWriter(hash))?;
            }
        }
        Ok(())
    }

    /// Everything below a directory that isn't ignored, in order, with its path from there.
    fn below(&self, source: &Source, real: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
        let mut all = Vec::new();
        for entry in WalkDir::new(real).min_depth(1).follow_links(false).sort_by_file_name() {
            let entry = entry?;
            let relative = entry.path().strip_prefix(real).unwrap_or(Path::new("")).to_owned();
            let name = Path::new(&source.name).join(&relative);
            // A directory stays, as an exception may keep something in it; an empty one does no harm.
            if entry.file_type().is_dir() || !self.ignore.leaves_out(&name.to_string_lossy()) {
                all.push((entry.into_path(), relative));
            }
        }
        all.retain(|(path, relative)| {
            let name = Path::new(&source.name).join(relative);
            !path.is_dir() || path.is_symlink() || !self.ignore.leaves_out(&name.to_string_lossy())
        });
        Ok(all)
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Adds an entry that belongs to root.
fn append(out: &mut tar::Builder<impl Write>, path: &Path, name: &Path) -> io::Result<()> {
    let meta = path.symlink_metadata()?;
    let mut header = tar::Header::new_gnu();
    header.set_metadata_in_mode(&meta, tar::HeaderMode::Complete);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(meta.permissions().mode() & 0o7777);
    if meta.is_symlink() {
        header.set_size(0);
        return out.append_link(&mut header, name, fs::read_link(path)?);
    }
    if meta.is_dir() {
        header.set_size(0);
        return out.append_data(&mut header, name, io::empty());
    }
    if meta.is_file() {
        return out.append_data(&mut header, name, File::open(path)?.take(meta.len()));
    }
    Ok(())
}

/// A source without `/` before and `.` in it.
fn clean(source: &str) -> Result<String, String> {
    let mut parts = Vec::new();
    for part in Path::new(source).components() {
        match part {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => return Err(format!("{source}: outside of the build context")),
            _ => {}
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_stay_inside() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("context");
        fs::create_dir_all(root.join("src/sub")).expect("directories");
        for name in ["a.txt", "b.txt", "src/x.py", "src/sub/y.py", "src/z.log", "../out"] {
            fs::write(root.join(name), name).expect("a file");
        }
        fs::write(root.join(".dockerignore"), "**/*.log\nb.txt\n").expect("a file");
        std::os::unix::fs::symlink("../out", root.join("leak")).expect("a link");
        let context = Context::open(&root).expect("a context");
        let names = |source: &str| -> Vec<String> {
            context.find(source).map(|all| all.into_iter().map(|one| one.name).collect()).unwrap_or_default()
        };
        assert_eq!(names("*.txt"), ["a.txt"]);
        assert_eq!(names("/./src/"), ["src"]);
        assert_eq!(names("."), [""]);
        for none in ["leak", "../out", "b.txt", "nothing", "src/../../out"] {
            assert!(names(none).is_empty(), "{none}");
        }
        let copy = dir.path().join("copy");
        fs::create_dir(&copy).expect("a directory");
        context.lay_out(&context.find("src").expect("src")[0], &copy).expect("copied");
        let there = |name: &str| copy.join(name).exists();
        assert!(there("sub/y.py") && there("x.py") && !there("z.log") && context.leaves_something_out());
        let mut out = tar::Builder::new(Vec::new());
        context.pack(&context.find("src").expect("src")[0], None, &mut out).expect("packed");
        let bytes = out.into_inner().expect("done");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().expect("entries");
        let packed: Vec<String> =
            entries.map(|entry| entry.expect("an entry").path().expect("a path").display().to_string()).collect();
        assert_eq!(packed, ["sub", "sub/y.py", "x.py"]);
    }
}
