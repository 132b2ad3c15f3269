//! Builds of snapshots and sandboxes: their context, their log, and what stands in for images offline.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    ControlPlane,
    layers::is_cached,
    rules::Progress,
    sandbox::{Sandbox, State},
    snapshots::BuildInfo,
};
use crate::{
    builds::{self, Base, Bases, Build, BuildLog},
    faults::{Held, Hold, origin::carried},
    images::{Image, ImageConfig, ImageError, Policy, Reference},
    runtime::{Root, base::DEFAULT_PATH},
};

/// What `FROM` resolves to when the registry can't be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OfflineBase {
    /// This server's base, for images that it can stand in for.
    #[default]
    Host,
    /// A root file system of this machine, a directory or an archive of one, for the same images.
    Path(PathBuf),
    /// Nothing: the build fails.
    Error,
}

/// An image, and whether something of this machine stands in for it.
pub(super) struct Pulled {
    pub root: Root,
    pub substitute: bool,
}

/// Images that the local base can stand in for, as all of them are Debian-like with the usual languages.
const WELL_KNOWN: [&str; 6] = [
    "library/python",
    "library/debian",
    "library/ubuntu",
    "library/node",
    "library/buildpack-deps",
    "nikolaik/python-nodejs",
];

impl ControlPlane {
    /// The log of a build, begun if there is none yet.
    pub(super) fn log(&self, id: &str) -> std::io::Result<Arc<BuildLog>> {
        let mut logs = self.logs.lock();
        if let Some(log) = logs.get(id) {
            return Ok(log.clone());
        }
        let log = BuildLog::create(&self.log_path(id), self.config().limits.build_log)?;
        logs.insert(id.to_owned(), log.clone());
        Ok(log)
    }

    /// The log of a build that is under way.
    pub fn running_log(&self, id: &str) -> Option<Arc<BuildLog>> {
        self.logs.lock().get(id).cloned()
    }

    /// The file of a build's log, which may not be there yet.
    pub fn log_path(&self, id: &str) -> PathBuf {
        self.config().data_dir.join("build-logs").join(format!("{id}.log"))
    }

    /// The build is over; its log stays in its file.
    fn finish_log(&self, id: &str) {
        if let Some(log) = self.logs.lock().remove(id) {
            log.finish();
        }
    }

    pub(super) fn forget_log(&self, id: &str) {
        self.finish_log(id);
        // There is none if nothing was built.
        let _ = std::fs::remove_file(self.log_path(id));
    }

    /// Builds, once nothing holds it any more; the root that it makes, or why there is none.
    pub(super) async fn build(
        self: &Arc<Self>,
        organization_id: &str,
        id: &str,
        info: &BuildInfo,
        held: &[Held],
    ) -> Result<Root, String> {
        let built = async {
            let log = self.log(id).map_err(|error| format!("the build's log: {error}"))?;
            self.passed(held, id).await;
            if let Some(reason) = self.planned_failure(id) {
                log.line(&format!("ERROR: {reason}"));
                return Err(reason);
            }
            if !self.runtime().has_roots() {
                let text = "builds need a root file system of their own, which isolation process doesn't have";
                log.line(&format!("ERROR: {text}"));
                return Err(text.to_owned());
            }
            let context = self.unpack_context(organization_id, info).await.inspect_err(|reason| log.line(reason))?;
            let build = Build {
                runtime: self.runtime().clone(),
                bases: self.bases(organization_id, log.clone()),
                log,
                env: self.config().env.iter().cloned().collect(),
                context: context.path().to_owned(),
                caches: self.config().data_dir.join("build-cache"),
                download: self.config().limits.build_download as u64,
                engine: self.config().builder.clone().map(|engine| (engine, engine_tag(info))),
            };
            build.run(&info.dockerfile).await
        };
        let built = tokio::select! {
            built = built => built,
            () = self.closing.cancelled() => Err("the server is stopping".into()),
        };
        self.finish_log(id);
        built
    }

    /// What an identical build of the organisation made, if something is made of it: nothing is built then (observed).
    pub(super) fn built_before(&self, organization_id: &str, snapshot_ref: &str) -> Option<Arc<Root>> {
        let is_same =
            |build: &Option<BuildInfo>| build.as_ref().is_some_and(|build| build.snapshot_ref == snapshot_ref);
        // Nothing but what the build made: a sandbox may have layers of its own by now.
        let is_built = |root: &Root| root.config.is_some() && root.layers.iter().all(|layer| is_cached(layer));
        let world = self.world.read();
        let ids = world.tenants.get(organization_id)?.ids.iter();
        let mut sandboxes = ids.filter_map(|id| Some(&world.sandboxes.get(id)?.record));
        let found = sandboxes.find(|one| is_same(&one.build) && is_built(&one.root)).map(|one| one.root.clone());
        found.or_else(|| {
            let mut own = world.snapshots.values().filter(|one| one.organization_id == organization_id);
            own.find(|one| is_same(&one.build) && is_built(&one.root)).map(|one| one.root.clone())
        })
    }

    /// All parts of a context in one directory, which goes with the value.
    async fn unpack_context(&self, organization_id: &str, info: &BuildInfo) -> Result<tempfile::TempDir, String> {
        let parent = self.config().data_dir.join("builds");
        let mut archives = Vec::new();
        for hash in info.context_hashes.iter().flatten() {
            let object = self.object(&format!("{organization_id}/{hash}/context.tar"));
            let object = object.ok_or_else(|| format!("ERROR: the build context {hash} was not uploaded"))?;
            archives.push(self.object_path(&object));
        }
        let unpack = move || {
            std::fs::create_dir_all(&parent)?;
            let dir = tempfile::tempdir_in(&parent)?;
            archives.iter().try_for_each(|archive| builds::unpack_context(archive, dir.path()))?;
            Ok(dir)
        };
        let unpacked: Result<std::io::Result<_>, _> = tokio::task::spawn_blocking(unpack).await;
        let failed = |error: &dyn std::fmt::Display| format!("ERROR: the build context: {error}");
        unpacked.map_err(|e| failed(&e))?.map_err(|e| failed(&e))
    }

    fn bases(self: &Arc<Self>, organization_id: &str, log: Arc<BuildLog>) -> Bases {
        let (cp, owner) = (self.clone(), organization_id.to_owned());
        Arc::new(move |name| {
            let (cp, owner, log) = (cp.clone(), owner.clone(), log.clone());
            Box::pin(async move {
                let told = Arc::new(move |line: String| log.line(&line));
                let Pulled { root, substitute } = cp.pull_image(&owner, &name, Policy::Fresh, told).await?;
                Ok(Base { root, substitute })
            })
        })
    }

    /// What stands in for a well-known image whose registry can't be reached, with a line that says so; `None` if nothing
    /// does.
    pub(super) async fn substitute(
        &self,
        image: &Reference,
        error: &ImageError,
    ) -> Option<Result<(Root, String), String>> {
        let unreachable = matches!(error, ImageError::Unreachable { .. });
        let sandbox = image.repository() == "daytonaio/sandbox";
        let known = WELL_KNOWN.contains(&image.repository());
        if !unreachable || image.registry() != "docker.io" || !(sandbox || known) {
            return None;
        }
        let (image_of_path, what) = match &self.config().offline_base {
            OfflineBase::Error => return None,
            OfflineBase::Host => (None, format!("this server's own base ({})", self.runtime().info().base)),
            OfflineBase::Path(path) => match self.imported(path).await {
                Ok(imported) => (Some(imported), format!("--offline-base ({})", path.display())),
                Err(reason) => return Some(Err(reason)),
            },
        };
        let daytona =
            sandbox && image_of_path.as_ref().is_none_or(|imported| self.runtime().image_has_user(imported, "daytona"));
        let (user, work_dir) = if daytona { ("daytona", "/home/daytona") } else { ("root", "/") };
        let env = [("PATH", DEFAULT_PATH), ("LANG", "C.UTF-8")];
        let config = ImageConfig {
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            user: user.to_owned(),
            work_dir: work_dir.to_owned(),
            ..ImageConfig::default()
        };
        let line = format!(
            "warning: {} can't be pulled (offline); {what} stands in for it, with its own versions of everything",
            image.whole(),
        );
        Some(Ok((Root { image: image_of_path, config: Some(config), ..Root::default() }, line)))
    }

    /// The root file system of `--offline-base`, taken over at its first use.
    async fn imported(&self, path: &Path) -> Result<Image, String> {
        let mut imported = self.offline_image.lock().await;
        if let Some(image) = &*imported {
            return Ok(image.clone());
        }
        let (store, from) = (self.runtime().image_store(), path.to_owned());
        let import = tokio::task::spawn_blocking(move || store.import(&from)).await;
        let image = import.map_err(|error| error.to_string())?.map_err(|error| format!("--offline-base: {error}"))?;
        self.runtime().unpack(&image).await.map_err(|error| error.to_string())?;
        *imported = Some(image.clone());
        Ok(image)
    }

    /// Builds what a sandbox is to be made of, then launches it. How that ended is in the record.
    pub(super) fn build_sandbox(self: Arc<Self>, id: String) -> impl Future<Output = ()> + Send + use<> {
        let held = self.holding(&id, Hold::BuildingSnapshot);
        carried(async move {
            let Ok(sandbox) = self.report(&id, Progress::Building).await else { return };
            let Some(info) = sandbox.build.clone().filter(|_| sandbox.actual_state == State::BuildingSnapshot) else {
                return;
            };
            let built = self.build(&sandbox.organization_id, &id, &info, &held).await;
            if self.closing.is_cancelled() {
                // The next start begins anew.
                return;
            }
            let ready = built.is_ok();
            if !ready {
                // Newer SDKs don't tell their callers why.
                tracing::warn!(sandbox = id, log = %self.log_path(&id).display(), "a build failed");
            }
            let edit = |sandbox: &mut Sandbox, _: &mut Option<_>| {
                match built {
                    Ok(root) => {
                        sandbox.root = Arc::new(root);
                        sandbox.set_phase(sandbox.phase().after(Progress::Built));
                    }
                    Err(reason) => {
                        sandbox.error_reason = Some(reason);
                        sandbox.set_phase(sandbox.phase().after(Progress::BuildFailed));
                    }
                }
                Ok(())
            };
            if self.note(&id, edit).await.is_ok() && ready {
                // A failure is in the record by now.
                drop(self.spawn_launch(&id).await);
            }
        })
    }
}

/// What an engine calls the image of a build: the same for the same input, so that nothing piles up there.
fn engine_tag(info: &BuildInfo) -> String {
    let hash: String = info.snapshot_ref.chars().filter(char::is_ascii_hexdigit).take(40).collect();
    format!("localhost/daytona-mock:{hash}")
}
