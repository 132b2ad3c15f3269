//! The server's side: chooses the tier, keeps the zygote, starts and removes sandboxes.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt, lchown},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    Isolation, Resources, RuntimeConfig, RuntimeError, RuntimeInfo, Sandbox, SandboxSpec,
    base::{self, Base},
    bounds::Cpus,
    ctrl::AgentLink,
    disks::{Disk, Disks},
    files::{find_disks, release},
    groups::{Controller, Groups},
    idmap::{self, IdMap},
    launch::LaunchSpec,
    links::FindNeighbour,
    net::{self, Budget, NetConfig, OwnPorts, Secrets, Trust},
    nursery::Nursery,
    probe,
    root::Ground,
    spares::{Spare, Spares, Zygote},
    surroundings,
    sys::fdpass,
    userns,
    zygote::disk_at,
};
use crate::{
    limits::Limits,
    toolbox::{AgentConfig, pty},
};

/// How long a sandbox may take to set itself up.
const SET_UP: Duration = Duration::from_secs(30);

/// How long another process may still hold a sandbox's lock: that of a killed server, on its way out.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// What sandboxes get at shutdown before SIGKILL.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// The server's side of the runtime. Made once at start.
pub struct Runtime {
    pub(super) config: RuntimeConfig,
    info: RuntimeInfo,
    pub(super) base: Base,
    pub(super) idmap: IdMap,
    /// Where the machine allows: then sandboxes with resources have one each.
    pub(super) disks: Option<Arc<Disks>>,
    /// Unpacked images in use, by their digest.
    pub(super) images: Mutex<HashMap<String, Arc<base::image::Unpacked>>>,
    zygote: Zygote,
    pub(super) running: Arc<Mutex<HashMap<String, Arc<Sandbox>>>>,
    pub(super) neighbours: Mutex<Option<FindNeighbour>>,
    net: NetConfig,
    trust: Arc<Trust>,
    spares: Arc<Spares>,
    pub(super) cpus: Cpus,
}

/// Files that have an archive are removed so much later.
const LINGER: Duration = Duration::from_secs(5);

impl Runtime {
    /// Probes the machine by building a throw-away sandbox, makes or finds the base, starts the zygote.
    pub async fn start(config: RuntimeConfig) -> Result<Arc<Runtime>, RuntimeError> {
        let sandboxes = config.data_dir.join("sandboxes");
        for (dir, mode) in [
            (&config.data_dir, 0o700),
            // Searchable: in tier root it is mounted where sandboxes pass through it with ids of their own.
            (&sandboxes, 0o711),
            (&config.data_dir.join("m"), 0o700),
            (&config.data_dir.join("layers"), 0o711),
            (&config.data_dir.join("archive"), 0o700),
            (&config.data_dir.join("volumes"), 0o700),
            (&config.data_dir.join("trash"), 0o700),
        ] {
            make_dir(dir, mode).map_err(io_error(format!("make {}", dir.display())))?;
        }
        for dir in [&sandboxes, &config.data_dir.join("layers"), &config.data_dir.join("volumes")] {
            if let Err(error) = super::sys::spread::spread(dir) {
                tracing::debug!(dir = %dir.display(), %error, "its file system puts directories where it likes");
            }
        }
        let chosen = probe::choose(&config).await?;
        let (disks, base) =
            tokio::join!(find_disks(&config, chosen.isolation), base::prepare(&config, chosen.isolation));
        let base = base?;
        let inside = (base.user.uid, base.user.gid);
        let idmap = idmap::map_for(chosen.isolation, inside).map_err(io_error("id map".into()))?;
        let processes = config.limits.processes;
        let groups = blocking(move || Ok(Groups::find(processes))).await.map_err(io_error("control groups".into()))?;
        let mut capabilities = chosen.capabilities;
        capabilities.extend(surroundings::bounds(&groups));
        capabilities.insert("disk".to_owned(), surroundings::disk(&disks));
        let disks = disks.ok().map(Arc::new);
        let info = RuntimeInfo {
            isolation: chosen.isolation,
            why_not_better: chosen.why_not_better,
            capabilities,
            base: base.description.clone(),
        };
        tokio::spawn(remove_all(leftovers(&config), config.binary.clone(), idmap.clone()));
        let zygote = Zygote::new(Some(chosen.nursery).into());
        let spares = Spares::new(zygote.clone(), groups);
        spares.refill();
        let files = config.upstream_ca.clone();
        let trust = blocking(move || Trust::with(&files)).await.map_err(io_error("authorities".into()))?;
        let net = NetConfig { budget: Budget::new(&config.limits), ..NetConfig::default() };
        Ok(Arc::new(Runtime {
            config,
            info,
            base,
            idmap,
            disks,
            images: Mutex::default(),
            zygote,
            running: Arc::default(),
            neighbours: Mutex::default(),
            net,
            trust: Arc::new(trust),
            spares,
            cpus: Cpus::of_this_process(),
        }))
    }

    pub fn info(&self) -> &RuntimeInfo {
        &self.info
    }

    /// Ports that the server listens on: whoever binds one adds it here, for sandboxes must not reach them.
    pub fn own_ports(&self) -> &OwnPorts {
        &self.net.own_ports
    }

    /// Starts a sandbox over its files (made at the first start); returns when its toolbox accepts connections.
    pub async fn launch(&self, spec: &SandboxSpec) -> Result<Arc<Sandbox>, RuntimeError> {
        let failed = |error| RuntimeError::Io { what: format!("start sandbox {}", spec.id), source: error };
        let dir = self.dir(&spec.id)?;
        let isolation = self.info.isolation;
        let lock = {
            let dir = dir.clone();
            blocking(move || prepare_dir(&dir, isolation)).await.map_err(failed)?
        };
        let gib = spec.resources.map(|resources| resources.disk);
        let files = self.files_to_start(&spec.id, &dir, gib).await.map_err(failed)?;
        let mut ground = self.ground(&spec.root, &spec.login()).await?;
        let mut disks = std::mem::take(&mut ground.disks);
        let (secrets, authority) = self.secrets_of(spec).map_err(failed)?.unzip();
        let mut launch = LaunchSpec { authority, ..self.launch_spec(spec, dir.clone(), ground)? };
        if let Some(own) = files.disk() {
            launch.dir = disk_at(disks.len());
            disks.push(own);
        }
        launch.disks = disks.len();
        let started = self.start_process(&launch, spec.resources, &lock, &disks).await;
        let (process, link, outlet) = started.map_err(failed)?;
        let config = NetConfig { peers: self.peers_of(&spec.id), secrets, ..self.net.clone() };
        let attach = |[tun, listener]: [OwnedFd; 2]| net::attach(tun, listener, spec.network.clone(), &config);
        let network = match outlet.map(attach).transpose() {
            Ok(network) => network,
            Err(error) => {
                process.discard();
                return Err(failed(error));
            }
        };
        let Spare { launched, group, .. } = process;
        let (running, id) = (self.running.clone(), spec.id.clone());
        let gone = move || {
            running.lock().remove(&id);
            tokio::task::spawn_blocking(move || release(&disks));
        };
        let sandbox =
            Sandbox::watch(spec.id.clone(), isolation, link, launched, network, group, gone).map_err(failed)?;
        self.running.lock().insert(spec.id.clone(), sandbox.clone());
        self.spares.refill();
        self.make_disks_ready(gib);
        Ok(sandbox)
    }

    /// What its gateway needs for its secrets, and the authority that it has to trust.
    fn secrets_of(&self, spec: &SandboxSpec) -> io::Result<Option<(Arc<Secrets>, String)>> {
        if spec.secrets.is_empty() || self.info.isolation == Isolation::Process {
            return Ok(None);
        }
        let (secrets, authority) = Secrets::new(spec.secrets.clone(), self.trust.clone())?;
        Ok(Some((Arc::new(secrets), authority)))
    }

    async fn start_process(
        &self,
        spec: &LaunchSpec,
        resources: Option<Resources>,
        lock: &OwnedFd,
        disks: &[Arc<Disk>],
    ) -> io::Result<(Spare, AgentLink, Option<[OwnedFd; 2]>)> {
        loop {
            let (ours, theirs) = fdpass::pair()?;
            self.revive_nursery().await?;
            let process = self.spares.launch(spec, resources, &theirs, lock, disks).await?;
            drop(theirs);
            let link = AgentLink::new(ours)?;
            let ready = tokio::time::timeout(SET_UP, link.ready()).await.map_err(io::Error::from).flatten();
            let error = match ready {
                Ok(outlet) => return Ok((process, link, outlet.ok())),
                Err(error) => error,
            };
            let again = process.waited && error.kind() == io::ErrorKind::UnexpectedEof;
            process.discard();
            if !again {
                return Err(error);
            }
        }
    }

    /// A zygote that somebody killed is replaced; the sandboxes that it had are gone with it.
    async fn revive_nursery(&self) -> io::Result<()> {
        if self.zygote.read().await.as_ref().ok_or_else(stopping)?.alive() {
            return Ok(());
        }
        let mut nursery = self.zygote.write().await;
        if !nursery.as_ref().ok_or_else(stopping)?.alive() {
            *nursery = Some(
                Nursery::start(&self.config.binary, &probe::zygote_config(&self.config, self.info.isolation)?).await?,
            );
        }
        Ok(())
    }

    fn launch_spec(&self, spec: &SandboxSpec, dir: PathBuf, ground: Ground) -> Result<LaunchSpec, RuntimeError> {
        let base = &self.base;
        let mut env = ground.env;
        for (name, value) in [("PATH", DEFAULT_PATH), ("LANG", "C.UTF-8")] {
            env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        env.extend(spec.env.clone());
        let mut agent = AgentConfig {
            sandbox_id: spec.id.clone(),
            env,
            home: base.user.home.clone(),
            work_dir: ground.work_dir,
            entrypoint: if spec.build { Vec::new() } else { ground.entrypoint },
            fake_root: None,
            version: DAEMON_VERSION.to_owned(),
            limits: self.config.limits,
            pty: pty::Limits {
                sessions: self.config.limits.ptys,
                clients: self.config.limits.pty_clients,
                ..Default::default()
            },
        };
        if self.info.isolation == Isolation::Process {
            live_in(&dir, &base.user.name, &mut agent);
        }
        let root = self.info.isolation == Isolation::Root;
        Ok(LaunchSpec {
            isolation: self.info.isolation,
            idmap: ground.idmap,
            dir: if root { Path::new("s").join(&spec.id) } else { dir },
            disks: 0,
            overlays: ground.overlays,
            binds: [ground.binds, spec.binds.clone()].concat(),
            volumes: self.volume_specs(&spec.volumes)?,
            shifted: base.shifted,
            user: spec.login(),
            authority: None,
            build: spec.build,
            cpus: spec.resources.map(|resources| self.cpus.take(resources.cpu)).unwrap_or_default(),
            memory: spec.resources.map(Resources::bytes),
            guard: !self.spares.groups.has(Controller::Memory),
            agent,
        })
    }

    /// Removes a stopped sandbox's files, archived ones too. Unknown ids are fine.
    pub async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.remove_files(id).await?;
        self.remove_archive(id)
    }

    /// Removes them but for its archive.
    async fn remove_files(&self, id: &str) -> Result<(), RuntimeError> {
        let Some(trash) = self.put_aside(id).await? else { return Ok(()) };
        let removed = userns::remove_tree(&self.config.binary, &self.idmap, trash).await;
        removed.map_err(|error| RuntimeError::Io { what: format!("remove sandbox {id}"), source: error })
    }

    /// Takes the files of a sandbox away that has an archive: a rename. They are removed a little later, so that nobody
    /// waits for it: removing thousands takes longer than archiving them, and ext4 makes new files slowly right after.
    pub async fn clear_away(&self, id: &str) -> Result<(), RuntimeError> {
        let Some(trash) = self.put_aside(id).await? else { return Ok(()) };
        let (binary, idmap) = (self.config.binary.clone(), self.idmap.clone());
        tokio::spawn(async move {
            tokio::time::sleep(LINGER).await;
            remove_all(vec![trash], binary, idmap).await;
        });
        Ok(())
    }

    /// Moves the directory of a sandbox where nobody looks for it; where that is, if there was one.
    async fn put_aside(&self, id: &str) -> Result<Option<PathBuf>, RuntimeError> {
        let dir = self.dir(id)?;
        let trash = self.config.data_dir.join("trash").join(uuid::Uuid::new_v4().to_string());
        let moved = blocking({
            let trash = trash.clone();
            move || fs::rename(&dir, &trash)
        });
        match moved.await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RuntimeError::Io { what: format!("remove sandbox {id}"), source }),
            Ok(()) => Ok(Some(trash)),
        }
    }

    /// Ids that have files here, for reconciliation at start.
    pub fn known_ids(&self) -> io::Result<Vec<String>> {
        let names = names_in(&self.config.data_dir.join("sandboxes"))?;
        Ok(names.into_iter().filter(|name| !name.starts_with(probe::PREFIX)).collect())
    }

    /// Removes all files that sandboxes, builds and volumes made: what a server with temporary data does last, as some of them
    /// have owners that only this can deal with.
    pub async fn purge(&self) {
        let made = ["sandboxes", "volumes", "layers", "trash"].map(|name| self.config.data_dir.join(name));
        remove_all(made.into(), self.config.binary.clone(), self.idmap.clone()).await;
    }

    /// Ends every process of every sandbox at once, and returns when they are gone.
    pub async fn kill(&self) {
        let running: Vec<_> = self.running.lock().values().cloned().collect();
        running.iter().for_each(|sandbox| sandbox.kill());
        futures_util::future::join_all(running.iter().map(|sandbox| sandbox.exited())).await;
    }

    /// Stops every sandbox and the zygote; files stay.
    pub async fn shutdown(&self) {
        let nursery = self.zygote.write().await.take();
        let running: Vec<_> = self.running.lock().values().cloned().collect();
        futures_util::future::join_all(running.iter().map(|sandbox| sandbox.stop(SHUTDOWN_GRACE))).await;
        self.spares.end().await;
        if let Some(nursery) = nursery {
            nursery.end().await;
        }
    }

    pub(super) fn dir(&self, id: &str) -> Result<PathBuf, RuntimeError> {
        let plain = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !plain {
            return Err(RuntimeError::Unavailable(format!("{id:?} is no sandbox id")));
        }
        Ok(self.config.data_dir.join("sandboxes").join(id))
    }
}

/// What `GET /version` of a toolbox answers: the generation that we emulate.
const DAEMON_VERSION: &str = "0.205.1";

/// What a login shell would have, for bases that don't say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Tier process: home and temporary files are in the sandbox's own directory.
fn live_in(dir: &Path, user: &str, agent: &mut AgentConfig) {
    agent.home = dir.join("home/daytona");
    agent.work_dir = agent.home.clone();
    agent.fake_root = Some(dir.to_owned());
    let home = agent.home.to_string_lossy().into_owned();
    let temp = dir.join("tmp").to_string_lossy().into_owned();
    for (name, value) in [("HOME", home), ("TMPDIR", temp), ("USER", user.to_owned()), ("LOGNAME", user.to_owned())] {
        agent.env.entry(name.to_owned()).or_insert(value);
    }
}

/// What a killed server was removing, and its throw-away sandboxes.
fn leftovers(config: &RuntimeConfig) -> Vec<PathBuf> {
    let (trash, sandboxes) = (config.data_dir.join("trash"), config.data_dir.join("sandboxes"));
    let mut left: Vec<_> = names_in(&trash).unwrap_or_default().iter().map(|name| trash.join(name)).collect();
    let probes = names_in(&sandboxes).unwrap_or_default();
    left.extend(probes.iter().filter(|name| name.starts_with(probe::PREFIX)).map(|name| sandboxes.join(name)));
    left
}

async fn remove_all(paths: Vec<PathBuf>, binary: PathBuf, idmap: IdMap) {
    for path in paths {
        if let Err(error) = userns::remove_tree(&binary, &idmap, path.clone()).await {
            tracing::warn!(path = %path.display(), %error, "can't be removed");
        }
    }
}

pub(super) fn names_in(dir: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

pub(super) fn stopping() -> io::Error {
    io::Error::other("the server is stopping")
}

fn io_error(what: String) -> impl FnOnce(io::Error) -> RuntimeError {
    |source| RuntimeError::Io { what, source }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(dir)
}

/// Makes a sandbox's directory, owned by root inside, and locks it: two mounts must never share an upper.
pub(super) fn prepare_dir(dir: &Path, isolation: Isolation) -> io::Result<OwnedFd> {
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Also of one that is there: a server may be killed after it made one.
    if isolation == Isolation::Root && fs::symlink_metadata(dir)?.uid() != idmap::SHIFT {
        lchown(dir, Some(idmap::SHIFT), Some(idmap::SHIFT))?;
    }
    if isolation == Isolation::Process {
        for name in ["home/daytona", "tmp"] {
            fs::create_dir_all(dir.join(name))?;
        }
    }
    let lock = fs::File::open(dir)?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock.into()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "it runs already"));
            }
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// An empty environment for probes.
pub(super) fn probe_agent(id: &str) -> AgentConfig {
    AgentConfig {
        sandbox_id: id.to_owned(),
        env: BTreeMap::new(),
        home: "/".into(),
        work_dir: "/".into(),
        entrypoint: Vec::new(),
        fake_root: None,
        version: String::new(),
        limits: Limits::default(),
        pty: Default::default(),
    }
}
