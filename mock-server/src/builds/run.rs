//! `RUN --mount=…`

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{
    Build,
    machine::{Machine, writable},
    words::Vars,
};
use crate::runtime::{Root, base::Bind};

/// The directories that a `RUN` sees besides, and where the temporary ones are.
#[derive(Default)]
pub struct Mounts {
    pub binds: Vec<Bind>,
    /// Removed when it is dropped.
    pub temporary: Vec<tempfile::TempDir>,
}

/// What one `--mount` says.
pub struct Mount {
    pub kind: String,
    /// Absolute, inside.
    pub target: Option<String>,
    pub source: Option<String>,
    /// A stage or an image.
    pub from: Option<String>,
    pub id: Option<String>,
    pub required: bool,
}

impl Mount {
    pub fn parse(text: &str, work_dir: &str, vars: Vars) -> Result<Mount, String> {
        let text = super::words::word(text, vars)?;
        let get = |names: &[&str]| {
            let pairs = text.split(',').map(|pair| pair.split_once('=').unwrap_or((pair, "true")));
            pairs.filter(|(name, _)| names.contains(name)).map(|(_, value)| value.to_owned()).next()
        };
        Ok(Mount {
            kind: get(&["type"]).unwrap_or_else(|| "bind".into()),
            target: get(&["target", "dst", "destination"]).map(|target| absolute(work_dir, &target)),
            source: get(&["source", "src"]),
            from: get(&["from"]),
            id: get(&["id"]),
            required: get(&["required"]).is_some_and(|required| required != "false"),
        })
    }
}

impl Mounts {
    /// Adds what one `--mount` says.
    ///
    /// # Errors
    /// A sort that isn't supported, named.
    pub fn add(&mut self, build: &Build, mount: &Mount) -> Result<(), String> {
        let target = || mount.target.as_deref().ok_or("--mount: a target is missing");
        match mount.kind.as_str() {
            "cache" => {
                let target = target()?;
                let id = mount.id.as_deref().unwrap_or(target);
                let name: String = Sha256::digest(id).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
                self.binds.push(writable(build.caches.join(name), target)?);
            }
            "tmpfs" => {
                let directory = self.directory(build)?;
                self.binds.push(writable(directory, target()?)?);
            }
            "bind" => {
                let source = self.in_context(build, mount.source.as_deref().unwrap_or("."))?;
                self.binds.push(Bind { source, target: target()?.into(), read_only: true });
            }
            "secret" | "ssh" if !mount.required => {
                let kind = &mount.kind;
                build.log.line(&format!("warning: --mount=type={kind}: nothing is given to builds, going on without"));
            }
            kind @ ("secret" | "ssh") => {
                return Err(format!("--mount=type={kind},required: nothing is given to builds"));
            }
            kind => return Err(format!("--mount=type={kind} with these options is not supported")),
        }
        Ok(())
    }

    /// Shows a copy of what another stage or image has.
    pub async fn copy_from(&mut self, build: &Build, mount: &Mount, root: &Root) -> Result<(), String> {
        let target = mount.target.as_deref().ok_or("--mount: a target is missing")?;
        let source = absolute("/", mount.source.as_deref().unwrap_or("/"));
        let directory = self.directory(build)?;
        let machine = Machine::start(&build.runtime, root, Vec::new()).await?;
        let taken = machine.take(&source, directory.clone()).await;
        machine.end(None).await?;
        taken?;
        // One file comes by its own name, a directory as what is in it.
        let name = std::path::Path::new(&source).file_name().unwrap_or_default();
        let file = directory.join(name);
        let single =
            !name.is_empty() && file.is_file() && std::fs::read_dir(&directory).is_ok_and(|all| all.count() == 1);
        let source = if single { file } else { directory };
        self.binds.push(Bind { source, target: target.into(), read_only: true });
        Ok(())
    }

    /// An empty directory that lasts as long as this.
    fn directory(&mut self, build: &Build) -> Result<PathBuf, String> {
        std::fs::create_dir_all(&build.caches).map_err(|error| error.to_string())?;
        let directory = tempfile::tempdir_in(&build.caches).map_err(|error| error.to_string())?;
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).map_err(|error| error.to_string())?;
        let path = directory.path().to_owned();
        self.temporary.push(directory);
        Ok(path)
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
