//! What a sandbox's root is made of: the server's base or an image, and above it layers of our own, which are what a
//! sandbox or a build step wrote.
//!
//! Our layers lie in `<data_dir>/layers/<name>/<n>`, `n` being the overlay (`/`, and `/usr` of a host base), or
//! on what was a sandbox's disk. Their owners
//! on disk are those of a sandbox's own files, so no tier maps them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    Isolation, Runtime, RuntimeError, Sandbox,
    archive::make_like,
    base::{self, Bind, OverlaySpec, Place},
    disks::{Disk, IMAGE},
    files::{self, Files, PLAIN},
    idmap::{self, IdMap},
    manager::{blocking, prepare_dir},
    userns,
    zygote::disk_at,
};
use crate::{
    images::{Image, ImageConfig},
    toolbox::IDLE_ENTRYPOINT,
};

/// What a root is made of, as records keep it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Root {
    /// `None`: the server's base.
    pub image: Option<Image>,
    /// Our own layers above it, lowest first.
    pub layers: Vec<String>,
    /// How programs run in it. `None`: as on the server's base, as user `daytona`.
    pub config: Option<ImageConfig>,
    /// What a snapshot says to run in it besides the toolbox. Empty: what the image says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
}

impl Root {
    /// The user that an image says, without a group; `root` if it says none.
    pub fn user(&self) -> &str {
        let Some(config) = &self.config else { return "daytona" };
        match config.user.split(':').next().unwrap_or_default() {
            "" | "0" => "root",
            user => user,
        }
    }
}

/// A root as the runtime mounts it.
pub(super) struct Ground {
    pub overlays: Vec<OverlaySpec>,
    /// Those of its layers, in the order in which the zygote's work directory has them.
    pub disks: Vec<Arc<Disk>>,
    pub binds: Vec<Bind>,
    pub env: BTreeMap<String, String>,
    /// Empty: the user's home.
    pub work_dir: PathBuf,
    /// The main program; empty where there is none.
    pub entrypoint: Vec<String>,
    pub idmap: IdMap,
}

/// What our layers' names are, relative to where the zygote works.
const SHORT: &str = "y";

/// How long a build's layers are kept for the next one.
const KEEP_CACHED: Duration = Duration::from_secs(7 * 24 * 3600);

impl Runtime {
    /// Whether sandboxes have a root file system of their own, which images, snapshots and builds need.
    pub fn has_roots(&self) -> bool {
        self.info().isolation != Isolation::Process
    }

    /// Whether a layer of an image need not be pulled.
    pub fn has_layer(&self, layer: &crate::images::ImageLayer) -> bool {
        base::image::is_unpacked(layer, self.place(), self.info().isolation)
    }

    /// Unpacks a pulled image's layers, unless they are. They stay while this server runs.
    pub async fn unpack(&self, image: &Image) -> Result<(), RuntimeError> {
        if self.images.lock().contains_key(&image.digest) {
            return Ok(());
        }
        let (config, shifted, isolation) = (self.config.clone(), self.base.shifted, self.info().isolation);
        let wanted = image.clone();
        let work = move || {
            let place = Place { cache_dir: &config.cache_dir, shifted };
            Ok(base::image::unpack(&wanted, &config, isolation, place))
        };
        let unpacked =
            blocking(work).await.map_err(|e| RuntimeError::Unavailable(format!("{}: {e}", image.name)))??;
        self.images.lock().insert(image.digest.clone(), Arc::new(unpacked));
        Ok(())
    }

    /// Whether an unpacked image knows a user by this name.
    pub fn image_has_user(&self, image: &Image, name: &str) -> bool {
        let unpacked = self.images.lock().get(&image.digest).cloned();
        unpacked.is_some_and(|unpacked| base::find_user_in(&unpacked.layers, name).is_some())
    }

    /// Says what the server's base is made of, for names of layers above it.
    pub fn base_key(&self) -> String {
        format!("{:?}", self.base.overlays)
    }

    fn place(&self) -> Place<'_> {
        Place { cache_dir: &self.config.cache_dir, shifted: self.base.shifted }
    }

    /// Stacks a root for `user`.
    pub(super) async fn ground(&self, root: &Root, user: &str) -> Result<Ground, RuntimeError> {
        let mut overlays = match &root.image {
            None => self.base.overlays.clone(),
            Some(image) => {
                self.unpack(image).await?;
                let unpacked = self.images.lock().get(&image.digest).cloned();
                let lowers = unpacked.map(|unpacked| unpacked.layers.clone()).unwrap_or_default();
                vec![OverlaySpec { target: "/".into(), lowers }]
            }
        };
        let mut disks = Vec::new();
        for name in &root.layers {
            let files = self.layer_files(name).await?;
            let seen = match &files {
                Files::Plain(_) => Path::new(SHORT).join(name),
                Files::Disk(_) => disk_at(disks.len()).join(PLAIN),
            };
            for (n, overlay) in overlays.iter_mut().enumerate() {
                if files.path().join(n.to_string()).is_dir() {
                    overlay.lowers.insert(0, seen.join(n.to_string()));
                }
            }
            disks.extend(files.disk());
        }
        let own_base = root.image.is_none();
        let binds = if own_base { self.base.binds.clone() } else { self.foreign_binds() };
        let (env, work_dir, main) = match &root.config {
            None => (self.base.env.clone(), self.base.work_dir.clone(), self.base.entrypoint.clone()),
            Some(config) => (
                config.env.clone(),
                Some(&config.work_dir).filter(|dir| *dir != "/").map(PathBuf::from).unwrap_or_default(),
                [&config.entrypoint[..], &config.cmd].concat(),
            ),
        };
        let entrypoint = [root.entrypoint.clone(), main].into_iter().find(|words| !words.is_empty());
        let entrypoint = entrypoint.unwrap_or_else(|| IDLE_ENTRYPOINT.map(String::from).to_vec());
        let idmap =
            self.idmap_for(&overlays, user).map_err(|source| RuntimeError::Io { what: "id map".into(), source })?;
        Ok(Ground { overlays, disks, binds, env, work_dir, entrypoint, idmap })
    }

    /// What the user gave to all sandboxes, and git's mirrors.
    fn foreign_binds(&self) -> Vec<Bind> {
        let given = |bind: &&Bind| self.config.base_include.contains(&bind.target) || bind.target.starts_with("/srv");
        self.base.binds.iter().filter(given).cloned().collect()
    }

    /// In tier single the one id inside is the user's.
    fn idmap_for(&self, overlays: &[OverlaySpec], user: &str) -> io::Result<IdMap> {
        if self.info().isolation != Isolation::Single || user == self.base.user.name {
            return Ok(self.idmap.clone());
        }
        let lowers = overlays.first().map(|overlay| overlay.lowers.as_slice()).unwrap_or_default();
        let lowers: Vec<PathBuf> = lowers
            .iter()
            .map(|lower| {
                lower.strip_prefix(SHORT).map_or_else(|_| lower.clone(), |layer| self.layers_dir().join(layer))
            })
            .collect();
        let ids = match base::find_user_in(&lowers, user) {
            Some(found) => (found.uid, found.gid),
            None => user.parse().map_or((0, 0), |id| (id, id)),
        };
        idmap::map_for(Isolation::Single, ids)
    }

    fn layers_dir(&self) -> PathBuf {
        self.config.data_dir.join("layers")
    }

    /// Makes a stopped sandbox's own files a layer; the sandbox then has none. The move is one rename.
    pub async fn commit(&self, id: &str, layer: &str) -> Result<(), RuntimeError> {
        let (dir, to) = (self.dir(id)?, self.layer_dir(layer)?);
        let isolation = self.info().isolation;
        let result = async {
            // Nobody may run over it.
            let own = dir.clone();
            let _lock = blocking(move || prepare_dir(&own, isolation)).await?;
            if self.has_archive(id) {
                self.bring_back(id, None).await?;
            }
            if dir.join(IMAGE).exists() {
                return blocking(move || move_disk(&dir, &to)).await;
            }
            let (from, own) = (dir.join(PLAIN), dir);
            match blocking({
                let from = from.clone();
                move || fs::metadata(&from)
            })
            .await
            {
                Err(error) if error.kind() == io::ErrorKind::NotFound => blocking(move || make_like(&to, &own)).await,
                Err(error) => Err(error),
                Ok(_) => userns::rename(&self.config.binary, &self.idmap, from, to).await,
            }
        };
        result.await.map_err(|source| RuntimeError::Io { what: format!("keep the files of {id}"), source })
    }

    /// Copies a running sandbox's own files to a layer, while its processes stand still.
    pub async fn copy(&self, sandbox: &Arc<Sandbox>, layer: &str) -> Result<(), RuntimeError> {
        let to = self.layer_dir(layer)?;
        let copied = async {
            let from = self.own_files(sandbox).await?;
            self.copy_still(sandbox, &from, to).await
        };
        let copied = copied.await;
        let what = format!("copy the files of {}", sandbox.id());
        if let Err(source) = copied {
            self.remove_layer(layer).await;
            return Err(RuntimeError::Io { what, source });
        }
        Ok(())
    }

    /// Copies a running sandbox's own files to those of a new one, while its processes stand still.
    pub async fn fork(&self, sandbox: &Arc<Sandbox>, id: &str) -> Result<(), RuntimeError> {
        let (dir, isolation) = (self.dir(id)?, self.info().isolation);
        let result = async {
            let own = dir.clone();
            let _lock = blocking(move || prepare_dir(&own, isolation)).await?;
            let from = self.own_files(sandbox).await?;
            let to = self.new_files(&dir, from.gib()).await?;
            self.copy_still(sandbox, &from, to.path()).await
        };
        if let Err(source) = result.await {
            self.remove(id).await?;
            return Err(RuntimeError::Io { what: format!("copy the files of {}", sandbox.id()), source });
        }
        Ok(())
    }

    async fn own_files(&self, sandbox: &Sandbox) -> io::Result<Files> {
        self.files(sandbox.id(), None).await?.ok_or_else(|| io::Error::other("it has none"))
    }

    async fn copy_still(&self, sandbox: &Arc<Sandbox>, from: &Files, to: PathBuf) -> io::Result<()> {
        let _still = sandbox.stand_still().await;
        userns::copy(&self.config.binary, &self.idmap, from.path(), to).await
    }

    /// Undoes [`Runtime::commit`], if the sandbox has no files since.
    pub async fn give_back(&self, layer: &str, id: &str) -> Result<(), RuntimeError> {
        let (from, to) = (self.layer_dir(layer)?, self.dir(id)?);
        if files::are_there(&to) {
            return Err(RuntimeError::Unavailable(format!("{id} has files")));
        }
        let moved = match from.join(IMAGE).exists() {
            true => blocking(move || move_disk_back(&from, &to)).await,
            false => userns::rename(&self.config.binary, &self.idmap, from, to.join(PLAIN)).await,
        };
        moved.map_err(|source| RuntimeError::Io { what: format!("give {id} its files back"), source })
    }

    /// Where pulled images are.
    pub fn image_store(&self) -> crate::images::ImageStore {
        crate::images::ImageStore::new(&self.config.cache_dir)
    }

    /// Whether a layer that a build may use again was not made lately. In real time: what lies on the disk outlives the
    /// server and its clock, and is looked at only when a server starts, whose clock nobody has turned yet.
    pub fn is_stale(&self, name: &str) -> bool {
        let made = self.layer_dir(name).ok().and_then(|dir| fs::metadata(dir).ok()?.modified().ok()?.elapsed().ok());
        made.is_none_or(|age| age > KEEP_CACHED)
    }

    pub fn has_own_layer(&self, name: &str) -> bool {
        self.layer_dir(name).is_ok_and(|dir| dir.is_dir())
    }

    /// Names of our own layers.
    pub fn own_layers(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(self.layers_dir())?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Bytes in a layer.
    pub async fn layer_size(&self, name: &str) -> u64 {
        let Ok(files) = self.layer_files(name).await else { return 0 };
        blocking(move || Ok(tree_size(files.path()))).await.unwrap_or(0)
    }

    /// Removes a layer that nothing is made of. What can't be removed is tried again at the next start.
    pub async fn remove_layer(&self, name: &str) {
        let Ok(dir) = self.layer_dir(name) else { return };
        if let Err(error) = userns::remove_tree(&self.config.binary, &self.idmap, dir).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(layer = name, %error, "a layer can't be removed");
        }
    }

    pub(super) fn layer_dir(&self, name: &str) -> Result<PathBuf, RuntimeError> {
        if !is_layer_name(name) {
            return Err(RuntimeError::Unavailable(format!("{name:?} is no layer")));
        }
        Ok(self.layers_dir().join(name))
    }
}

/// Makes the disk of a sandbox that of a layer.
fn move_disk(dir: &Path, layer: &Path) -> io::Result<()> {
    fs::create_dir(layer)?;
    fs::rename(dir.join(IMAGE), layer.join(IMAGE)).inspect_err(|_| drop(fs::remove_dir(layer)))
}

fn move_disk_back(layer: &Path, dir: &Path) -> io::Result<()> {
    fs::rename(layer.join(IMAGE), dir.join(IMAGE))?;
    fs::remove_dir(layer)
}

/// Bytes of all files below a directory. Each is asked for by its name in its directory: a whole path for each of ten
/// thousand files takes several times as long, while a client waits for its snapshot.
fn tree_size(root: PathBuf) -> u64 {
    let (mut size, mut directories) = (0, vec![root]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(kind) if kind.is_file() => size += entry.metadata().map_or(0, |meta| meta.len()),
                _ => {}
            }
        }
    }
    size
}

fn is_layer_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 100 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
