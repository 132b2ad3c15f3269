//! Assembles runtime, model and gateway into a running server.

use std::{
    env::consts::EXE_SUFFIX,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{net::TcpListener, sync::broadcast::Receiver, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    builds::Engine,
    config::Config,
    data_dir::{self, DataDir, Ready},
    gateway::{
        self, Gateway, listen,
        ssh::{self, Ssh},
        tls::{self, Https},
    },
    journal::{Journal, Scope},
    model::{
        Clock, ControlPlane, ModelConfig, OfflineBase, OpenError,
        webhooks::{Endpoint, NewEndpoint, new_secret},
    },
    runtime::{Runtime, RuntimeConfig, RuntimeError, RuntimeInfo},
    seed::Seed,
};

/// What `X-Daytona-Api-Version` says unless told otherwise (`design/decisions.md`, Wire).
const API_VERSION: &str = "0.205.1";

/// Why the server did not start. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{what}: {source}")]
    At { what: String, source: io::Error },
    #[error("{0}")]
    Config(String),
    #[error(
        "{} is in use by another server (pid {pid}): stop that one, or give this one its own --data-dir or --ephemeral",
        data_dir.display()
    )]
    InUse { data_dir: PathBuf, pid: String },
    #[error("--builder: there is no program {}: install it, or leave --builder out", program.display())]
    Builder { program: PathBuf },
    #[error("{0}")]
    Runtime(#[from] RuntimeError),
    #[error("{0}")]
    Open(#[from] OpenError),
}

impl StartupError {
    pub(crate) fn at(what: &str, path: &Path, source: io::Error) -> StartupError {
        StartupError::At { what: format!("{what} {}", path.display()), source }
    }
}

/// A running server. Dropping it stops every sandbox's processes, without waiting for that; [`MockServer::shutdown`] waits.
pub struct MockServer {
    /// Ends in `/api`.
    pub api_url: String,
    /// The first API key.
    pub api_key: String,
    /// `toolboxProxyUrl` of its sandboxes: `{toolbox_url}/{sandboxId}/…`.
    pub toolbox_url: String,
    ready: Ready,
    runtime: Arc<Runtime>,
    pub(crate) cp: Arc<ControlPlane>,
    pub(crate) journal: Journal,
    data_dir: PathBuf,
    stop: CancellationToken,
    ended: Option<JoinHandle<()>>,
}

impl MockServer {
    /// Starts a server and returns once it serves requests.
    pub async fn start(config: Config) -> Result<MockServer, StartupError> {
        config.check().and_then(|()| gateway::check(&config)).map_err(StartupError::Config)?;
        let listener = bind(config.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).await?;
        let address = listener.local_addr()?;
        let data = DataDir::open(config.data_dir.as_deref())?;
        let runtime = Runtime::start(runtime_config(&config, data.path())?).await?;
        // A program inside must never ask the server that contains it for anything.
        runtime.own_ports().add(address.port());
        let ssh = open_ssh(&config, address, &data).await?;
        if let Some(ssh) = &ssh {
            runtime.own_ports().add(ssh.address().port());
        }
        let https = open_tls(&config, address, &data).await?;
        let cp = ControlPlane::open(model_config(&config, data.path())?, Clock::default(), runtime.clone()).await?;
        cp.set_server_webhooks(server_webhooks(&config, data.path())?);
        let ready = Ready {
            ssh_listen: ssh.as_ref().map(|ssh| reachable(ssh.address())),
            ca_certificate: https.as_ref().and_then(|https| https.authority.clone()),
            ..ready(&config, &cp, address)
        };
        let data_dir = data.path().to_owned();
        let stop = CancellationToken::new();
        if let Some(path) = &config.seed {
            sow(&cp, path).await?;
        }
        let journal = Journal::new(data_dir.join("journal"), &config.limits)?;
        tokio::spawn(forget_swept(cp.swept(), journal.clone()));
        let public = ssh.as_ref().map(Ssh::public).unwrap_or_default();
        let gateway =
            Gateway::new(cp.clone(), journal.clone(), &config, address, public, https.map(|https| https.acceptor));
        data.announce(&ready)?;
        let (served, kept) = (cp.clone(), journal.clone());
        let serving = tokio::spawn(run((listener, ssh), gateway, served, runtime.clone(), kept, data, stop.clone()));
        Ok(MockServer {
            api_url: ready.api_url.clone(),
            api_key: ready.api_key.clone(),
            toolbox_url: ready.toolbox_url.clone(),
            ready,
            runtime,
            cp,
            journal,
            data_dir,
            stop,
            ended: Some(serving),
        })
    }

    /// How clients reach it, as the ready file tells it.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// What this machine and tier can do.
    pub fn runtime_info(&self) -> &RuntimeInfo {
        self.runtime.info()
    }

    /// What runs its sandboxes, for who can't wait for [`MockServer::shutdown`].
    pub(crate) fn runtime(&self) -> Arc<Runtime> {
        self.runtime.clone()
    }

    /// Where its state is.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Stops every sandbox's processes, leaves their files (unless the data is temporary), and returns when all is done.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(ended) = self.ended.take() {
            _ = ended.await;
        }
    }
}

impl Drop for MockServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves until `stop`, then takes everything down in order.
async fn run(
    (listener, ssh): (TcpListener, Option<Ssh>),
    gateway: Gateway,
    cp: Arc<ControlPlane>,
    runtime: Arc<Runtime>,
    journal: Journal,
    data: DataDir,
    stop: CancellationToken,
) {
    let stopping = async {
        stop.cancelled().await;
        data.withdraw();
        tokio::join!(gateway.close(), cp.shutdown());
    };
    let http = listen::serve(listener, gateway.clone(), stop.clone());
    tokio::join!(http, ssh::serve(ssh, gateway.clone(), stop.clone()), stopping);
    // Writing the last entries blocks.
    _ = tokio::task::spawn_blocking(move || journal.close()).await;
    if data.is_temporary() {
        runtime.purge().await;
    }
    // Removing temporary data may take a while.
    _ = tokio::task::spawn_blocking(move || drop(data)).await;
}

/// Fills the first key's world, unless it has something: a server that starts again must not sow twice.
async fn sow(cp: &Arc<ControlPlane>, path: &Path) -> Result<(), StartupError> {
    let text = tokio::fs::read_to_string(path).await.map_err(|source| StartupError::at("the seed", path, source))?;
    let refused = |reason: String| StartupError::Config(format!("the seed {}: {reason}", path.display()));
    let seed = Seed::parse(&text).map_err(refused)?;
    let Some(owner) = cp.authenticate(cp.first_key()) else { return Ok(()) };
    if !cp.is_empty(&owner.organization_id) {
        return Ok(());
    }
    seed.sow(cp, &owner).await.map_err(|error| refused(error.to_string()))?;
    Ok(())
}

/// What belonged to a world that was swept is nobody's business any more.
async fn forget_swept(mut swept: Receiver<String>, journal: Journal) {
    while let Ok(organization_id) = swept.recv().await {
        journal.clear(&Scope::World(organization_id)).await;
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartupError> {
    TcpListener::bind(address).await.map_err(|source| {
        let hint = if source.kind() == io::ErrorKind::AddrInUse {
            " (choose another with --listen, port 0 picks a free one)"
        } else {
            ""
        };
        StartupError::At { what: format!("listening on {address}{hint}"), source }
    })
}

async fn open_ssh(config: &Config, address: SocketAddr, data: &DataDir) -> Result<Option<Ssh>, StartupError> {
    Ssh::open(config, address, data.path()).await.map_err(|source| StartupError::At {
        what: "serving SSH (--ssh-listen chooses another address, off leaves it out)".into(),
        source,
    })
}

async fn open_tls(config: &Config, address: SocketAddr, data: &DataDir) -> Result<Option<Https>, StartupError> {
    let (config, data_dir) = (config.clone(), data.path().to_owned());
    let opened = tokio::task::spawn_blocking(move || tls::open(&config, address, &data_dir)).await;
    let opened = opened.map_err(io::Error::other)?;
    opened.map_err(|source| StartupError::At { what: "serving HTTPS".into(), source })
}

pub(crate) fn runtime_config(config: &Config, data_dir: &Path) -> Result<RuntimeConfig, StartupError> {
    Ok(RuntimeConfig {
        data_dir: data_dir.to_owned(),
        cache_dir: config.cache_dir.clone().unwrap_or_else(data_dir::default_cache_dir),
        isolation: config.isolation,
        base: config.base.clone(),
        base_include: config.base_include.clone(),
        git_mirrors: config.git_mirrors.clone(),
        upstream_ca: config.upstream_ca.clone(),
        limits: config.limits,
        binary: match &config.binary {
            Some(binary) => binary.clone(),
            None => find_binary().ok_or_else(|| {
                StartupError::Config(
                    "daytona-mock is neither this program, nor beside it, nor on PATH: set Config::binary".into(),
                )
            })?,
        },
    })
}

fn model_config(config: &Config, data_dir: &Path) -> Result<ModelConfig, StartupError> {
    if let OfflineBase::Path(path) = &config.offline_base {
        std::fs::metadata(path).map_err(|source| StartupError::at("--offline-base", path, source))?;
    }
    Ok(ModelConfig {
        data_dir: data_dir.to_owned(),
        env: config.env.clone(),
        api_keys: config.api_keys.clone(),
        api_version: config.api_version.clone().unwrap_or_else(|| API_VERSION.into()),
        limits: config.limits,
        strict: config.strict,
        offline_base: config.offline_base.clone(),
        builder: builder(config)?,
        quota: config.quota,
    })
}

/// The engine that builds, with the path of its program.
fn builder(config: &Config) -> Result<Option<Engine>, StartupError> {
    let Some(engine) = &config.builder else { return Ok(None) };
    let missing = || StartupError::Builder { program: engine.program().to_owned() };
    engine.find().map(Some).ok_or_else(missing)
}

/// The endpoints that the server was told, with their secret.
fn server_webhooks(config: &Config, data_dir: &Path) -> Result<Vec<Endpoint>, StartupError> {
    if config.webhooks.is_empty() {
        return Ok(Vec::new());
    }
    let secret = match &config.webhook_secret {
        Some(secret) => secret.clone(),
        None => data_dir::kept_secret(&data_dir.join("webhook-secret"), new_secret)?,
    };
    let mut all = Vec::new();
    for (nth, endpoint) in config.webhooks.iter().enumerate() {
        let with_secret = NewEndpoint { secret: Some(secret.clone()), ..endpoint.clone() };
        with_secret.check().map_err(|why| StartupError::Config(format!("--webhook {}: {why}", endpoint.url)))?;
        all.push(endpoint.clone().of_server(nth, &secret));
    }
    Ok(all)
}

fn ready(config: &Config, cp: &ControlPlane, address: SocketAddr) -> Ready {
    let base = config.public_url.as_deref().map_or_else(
        || format!("{}://{}", config.scheme(), reachable(address)),
        |url| url.trim_end_matches('/').to_owned(),
    );
    Ready {
        api_url: format!("{base}/api"),
        api_key: cp.first_key().to_owned(),
        toolbox_url: format!("{base}/toolbox"),
        pid: std::process::id(),
        isolation: cp.runtime().info().isolation,
        version: env!("CARGO_PKG_VERSION").into(),
        listen: reachable(address),
        ssh_listen: None,
        tls: config.tls.is_some(),
        ca_certificate: None,
    }
}

/// An address that a client on this machine can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// This executable if it is `daytona-mock`, else the one beside it, else on PATH.
fn find_binary() -> Option<PathBuf> {
    let name = format!("daytona-mock{EXE_SUFFIX}");
    let this = std::env::current_exe().ok();
    let beside = this.iter().flat_map(|exe| exe.ancestors().skip(1).take(2)).map(|dir| dir.join(&name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(&name));
    let is_this = this.iter().filter(|exe| exe.file_stem().is_some_and(|stem| stem == "daytona-mock")).cloned();
    is_this.chain(beside).chain(on_path).find(|candidate| candidate.is_file())
}
