//! `RUN --mount=…`

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{Build, machine::writable, words::Vars};
use crate::runtime::base::Bind;

/// The directories that a `RUN` sees besides, and where the temporary ones are.
#[derive(Default)]
pub struct Mounts {
    pub binds: Vec<Bind>,
    /// Removed when it is dropped.
    pub temporary: Vec<tempfile::TempDir>,
}

impl Mounts {
    /// Adds what one `--mount` says.
    ///
    /// # Errors
    /// A sort that isn't supported, named.
    pub fn add(&mut self, build: &Build, text: &str, work_dir: &str, vars: Vars) -> Result<(), String> {
        let text = super::words::word(text, vars)?;
        let get = |names: &[&str]| {
            let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(name, _)| names.contains(name)).map(|(_, value)| value.to_owned()).next()
        };
        let target = get(&["target", "dst", "destination"]);
        let kind = get(&["type"]).unwrap_or_else(|| "bind".into());
        let target = || target.map(|target| absolute(work_dir, &target)).ok_or("--mount: a target is missing");
        match kind.as_str() {
            "cache" => {
                let target = target()?;
                let id = get(&["id"]).unwrap_or_else(|| target.clone());
                let name: String = Sha256::digest(&id).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
                self.binds.push(writable(build.caches.join(name), &target)?);
            }
            "tmpfs" => {
                std::fs::create_dir_all(&build.caches).map_err(|error| error.to_string())?;
                let directory = tempfile::tempdir_in(&build.caches).map_err(|error| error.to_string())?;
                self.binds.push(writable(directory.path().to_owned(), &target()?)?);
                self.temporary.push(directory);
            }
            "bind" if get(&["from"]).is_none() => {
                let source = get(&["source", "src"]).unwrap_or_else(|| ".".into());
                let source = self.in_context(build, &source)?;
                self.binds.push(Bind { source, target: target()?.into(), read_only: true });
            }
            "secret" | "ssh" if get(&["required"]).is_none_or(|required| required == "false") => {
                build.log.line(&format!("warning: --mount=type={kind}: nothing is given to builds, going on without"));
            }
            kind => return Err(format!("--mount=type={kind} with these options is not supported")),
        }
        Ok(())
    }

    fn in_context(&self, build: &Build, source: &str) -> Result<PathBuf, String> {
        let found = std::fs::canonicalize(build.context.join(source.trim_start_matches('/')));
        let root = std::fs::canonicalize(&build.context).map_err(|error| error.to_string())?;
        let inside = found.ok().filter(|path| path.starts_with(&root));
        inside.ok_or_else(|| format!("--mount: {source} is not in the build context"))
    }
}

/// A path inside, seen from the work directory.
pub fn absolute(work_dir: &str, path: &str) -> String {
    let whole = std::path::Path::new(work_dir).join(path);
    let mut clean = PathBuf::from("/");
    for part in whole.components() {
        match part {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_work_directory() {
        for (path, expected) in [("x", "/w/x"), ("/y/", "/y"), ("../../z", "/z"), ("./a/./b", "/w/a/b"), (".", "/w")] {
            assert_eq!(absolute("/w", path), expected);
        }
    }
}
