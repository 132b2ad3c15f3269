//! `RUN`, and the directories that its `--mount`s show.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use parse_dockerfile::Flag;
use sha2::{Digest, Sha256};

use super::{
    Build,
    instructions::{Builder, OPTIONAL, Stage, flag, only},
    machine::{Machine, writable},
    mount::{Kind, Mount, Sharing},
    turns,
};
use crate::{
    runtime::{NetworkPolicy, base::Bind},
    toolbox::build::{Owned, RunStep, Tmpfs},
};

impl Builder<'_> {
    pub(super) async fn run(&self, stage: &mut Stage, argv: Vec<String>, options: &[Flag<'_>]) -> Result<(), String> {
        only(options, &["mount", "network", "security"])?;
        let block_all = self.confinement(options)?;
        let texts = options.iter().filter(|option| option.name.value == "mount");
        let texts: Vec<&str> = texts.filter_map(|option| Some(&*option.value.as_ref()?.value)).collect();
        let mounts = texts.iter().map(|text| Mount::parse(text, &stage.config.work_dir, &|name| stage.look_up(name)));
        let mounts: Vec<Mount> = mounts.collect::<Result<_, _>>()?;
        let network = if block_all { "none" } else { "" };
        let shown = self.shown(&mounts)?;
        let key = stage.next_key(&[&["RUN", network, &argv.join("\0")].concat(), &texts.join("\0"), &shown]);
        let layer = format!("b-{key}");
        if self.cached(stage, &layer, &key) {
            return Ok(());
        }
        let prepared = self.mounts(&mounts).await?;
        let step = self.step(stage, argv, &prepared);
        let network = NetworkPolicy { block_all, ..NetworkPolicy::default() };
        let machine = Machine::start_with(&self.build.runtime, &stage.root, prepared.binds.clone(), network).await?;
        let code = match machine.run(&step, &self.build.log).await {
            Ok(code) => code,
            Err(reason) => return machine.end(None).await.and(Err(reason)),
        };
        let command = step.argv.last().map(String::as_str).unwrap_or_default();
        let optional = stage.substitute && OPTIONAL.contains(&command);
        if code != 0 && !optional {
            machine.end(None).await?;
            return Err(format!("the command returned a non-zero code: {code}"));
        }
        if code != 0 {
            self.build.log.line(&format!("warning: code {code}; going on, as the base only stands in for the image"));
        }
        self.keep(machine, stage, layer, key).await
    }

    fn step(&self, stage: &Stage, argv: Vec<String>, mounts: &Mounts) -> RunStep {
        let mut env = self.build.env.clone();
        env.extend(stage.args.clone());
        env.extend(stage.config.env.clone());
        env.entry("PATH".into()).or_insert_with(|| crate::runtime::base::DEFAULT_PATH.into());
        let user = if stage.config.user.is_empty() { "root" } else { &stage.config.user };
        RunStep {
            argv,
            env,
            cwd: stage.config.work_dir.clone(),
            user: user.to_owned(),
            owned: mounts.owned.clone(),
            tmpfs: mounts.tmpfs.clone(),
        }
    }

    /// `--network` and `--security`: whether there is no network.
    fn confinement(&self, options: &[Flag<'_>]) -> Result<bool, String> {
        match flag(options, "security") {
            None | Some("sandbox") => {}
            Some("insecure") => return Err("--security=insecure is not allowed".into()),
            Some(other) => return Err(format!("--security={other} is not valid")),
        }
        match flag(options, "network") {
            None | Some("default") => Ok(false),
            Some("none") => Ok(true),
            Some("host") => {
                self.build.log.line("warning: --network=host: the step has a network of its own");
                Ok(false)
            }
            Some(other) => Err(format!("--network={other}: unsupported network mode")),
        }
    }

    async fn mounts(&self, mounts: &[Mount]) -> Result<Mounts, String> {
        let mut prepared = Mounts { turns: self.turns(mounts).await?, ..Mounts::default() };
        for mount in mounts {
            match mount.kind {
                Kind::Bind => self.bind(&mut prepared, mount).await?,
                Kind::Cache => self.cache(&mut prepared, mount).await?,
                Kind::Tmpfs => prepared.add_tmpfs(self.build, mount)?,
                kind @ (Kind::Secret | Kind::Ssh) if mount.required => {
                    return Err(format!("--mount=type={},required: nothing is given to builds", kind.as_str()));
                }
                kind @ (Kind::Secret | Kind::Ssh) => self.build.log.line(&format!(
                    "warning: --mount=type={}: nothing is given to builds, going on without",
                    kind.as_str()
                )),
            }
        }
        Ok(prepared)
    }

    /// Shows a part of the context, or of another stage or image. What is written there is forgotten (`rw`).
    async fn bind(&self, prepared: &mut Mounts, mount: &Mount) -> Result<(), String> {
        let target = target(mount)?;
        let source = match &mount.from {
            Some(from) => self.taken(prepared, from, mount).await?,
            None => self.of_context(prepared, mount)?,
        };
        prepared.binds.push(Bind { source, target: target.into(), read_only: mount.read_only });
        Ok(())
    }

    /// The context itself, or a copy without what `.dockerignore` leaves out, or for a step to write to.
    fn of_context(&self, prepared: &mut Mounts, mount: &Mount) -> Result<PathBuf, String> {
        let text = mount.source.as_deref().unwrap_or(".");
        let missing = || format!("--mount: {text} is not in the build context");
        let found = self.context.find(text).map_err(|_| missing())?.into_iter().next().ok_or_else(missing)?;
        let real = std::fs::canonicalize(&found.path).map_err(|error| error.to_string())?;
        if mount.read_only && !self.context.leaves_something_out() {
            return Ok(real);
        }
        let directory = prepared.directory(self.build, 0o755)?;
        self.context.lay_out(&found, &directory).map_err(|error| format!("--mount: {text}: {error}"))?;
        Ok(if real.is_dir() { directory } else { directory.join(found.path.file_name().unwrap_or_default()) })
    }

    /// A copy of what another stage or image has.
    async fn taken(&self, prepared: &mut Mounts, from: &str, mount: &Mount) -> Result<PathBuf, String> {
        let other = self.other(from).await?;
        let source = absolute("/", mount.source.as_deref().unwrap_or("/"));
        let directory = prepared.directory(self.build, 0o755)?;
        let machine = Machine::start(&self.build.runtime, &other.root, Vec::new()).await?;
        let taken = machine.take(&source, directory.clone()).await;
        machine.end(None).await?;
        // One file comes by its own name, a directory as what is in it.
        let is_dir = taken?;
        let name = Path::new(&source).file_name().unwrap_or_default();
        Ok(if is_dir { directory } else { directory.join(name) })
    }

    /// Waits for the caches that this step must have for itself.
    async fn turns(&self, mounts: &[Mount]) -> Result<Vec<turns::Held>, String> {
        let mut places = BTreeSet::new();
        for mount in mounts.iter().filter(|mount| (mount.kind, mount.sharing) == (Kind::Cache, Sharing::Locked)) {
            places.insert(self.cache_place(mount).await?);
        }
        Ok(turns::wait(places).await)
    }

    /// Another beginning or owner is another cache (BuildKit).
    async fn cache_place(&self, mount: &Mount) -> Result<PathBuf, String> {
        let from = match &mount.from {
            Some(from) => self.other(from).await?.key,
            None => String::new(),
        };
        let id = mount.id.as_deref().map_or_else(|| target(mount), Ok)?;
        let mut name = id.to_owned();
        if (&mount.from, mount.uid, mount.gid, mount.mode) != (&None, None, None, None) {
            let beginning = (&from, &mount.source, mount.uid, mount.gid, mount.mode);
            name = format!("{id}\0{beginning:?}");
        }
        let name: String = Sha256::digest(name).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Ok(self.build.caches.join(name))
    }

    /// A directory that the organisation's next builds find again.
    async fn cache(&self, prepared: &mut Mounts, mount: &Mount) -> Result<(), String> {
        let target = target(mount)?;
        let mut place = self.cache_place(mount).await?;
        if mount.sharing == Sharing::Private {
            match turns::take(&place) {
                Some(held) => prepared.turns.push(held),
                None => place = prepared.directory(self.build, 0o755)?,
            }
        }
        let bind = writable(place.clone(), target)?;
        if let Some(from) = &mount.from
            && is_empty(&place)
        {
            let begun = self.taken(prepared, from, mount).await?;
            move_all(&begun, &place).map_err(|error| format!("--mount: a cache begins with a directory: {error}"))?;
        }
        let has_owner = (mount.uid, mount.gid, mount.mode) != (None, None, None);
        if has_owner && !mount.read_only {
            let (uid, gid) = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
            prepared.owned.push(Owned { path: target.to_owned(), uid, gid, mode: mount.mode.unwrap_or(0o755) });
        }
        prepared.binds.push(Bind { read_only: mount.read_only, ..bind });
        Ok(())
    }

    /// What the mounts show, so that other content is another step. What is in a cache doesn't count, but whose it is.
    fn shown(&self, mounts: &[Mount]) -> Result<String, String> {
        let is_cached = mounts.iter().any(|mount| mount.kind == Kind::Cache);
        let mut shown = if is_cached { self.build.caches.display().to_string() } else { String::new() };
        if mounts.iter().any(|mount| mount.kind == Kind::Bind && mount.from.is_none()) {
            shown += &self.digest(&self.context.find(".")?)?;
        }
        // A stage's number or name alone doesn't say what was built.
        for stage in mounts.iter().filter_map(|mount| self.stage(mount.from.as_deref()?)) {
            shown += &stage.key;
        }
        Ok(shown)
    }
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut all| all.next().is_none())
}

/// Moves what is in a directory into another one. What another build has put there meanwhile stays.
fn move_all(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        _ = std::fs::rename(entry.path(), to.join(entry.file_name()));
    }
    Ok(())
}

fn target(mount: &Mount) -> Result<&str, String> {
    mount.target.as_deref().ok_or_else(|| "--mount: a target is missing".into())
}

/// The directories that a `RUN` sees besides, and where the temporary ones are.
#[derive(Default)]
struct Mounts {
    binds: Vec<Bind>,
    owned: Vec<Owned>,
    tmpfs: Vec<Tmpfs>,
    turns: Vec<turns::Held>,
    /// Removed when it is dropped.
    temporary: Vec<tempfile::TempDir>,
}

impl Mounts {
    /// With a size it is one; without, a directory, as memory is dearer than a disk.
    fn add_tmpfs(&mut self, build: &Build, mount: &Mount) -> Result<(), String> {
        let path = target(mount)?.to_owned();
        match mount.size.filter(|size| *size > 0) {
            Some(size) => self.tmpfs.push(Tmpfs { path, size }),
            None => {
                let directory = self.directory(build, 0o1777)?;
                self.binds.push(writable(directory, &path)?);
            }
        }
        Ok(())
    }

    /// An empty directory that lasts as long as this.
    fn directory(&mut self, build: &Build, mode: u32) -> Result<PathBuf, String> {
        std::fs::create_dir_all(&build.caches).map_err(|error| error.to_string())?;
        let directory = tempfile::tempdir_in(&build.caches).map_err(|error| error.to_string())?;
        let open = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(directory.path(), open).map_err(|error| error.to_string())?;
        let path = directory.path().to_owned();
        self.temporary.push(directory);
        Ok(path)
    }
}

/// A path inside, seen from the work directory.
pub fn absolute(work_dir: &str, path: &str) -> String {
    let whole = Path::new(work_dir).join(path);
    let mut clean = PathBuf::from("/");
    for part in whole.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
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
