//! The SSH port: who connects, for how long, and the end.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use russh::{
    Disconnect, MethodKind, MethodSet, SshId,
    keys::PrivateKey,
    server::{Config as Protocol, Handle, run_stream},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Public, channels::Connection, handler::Handler, host_key, spool::Budget, stream::Cuttable};
use crate::{
    config::{Config, SshListen},
    gateway::{Gateway, listen::accept},
};

/// Where it listens unless told otherwise (observed).
pub const PORT: u16 = 2222;
/// How long a client may take to authenticate.
const LOGIN: Duration = Duration::from_secs(30);
/// How often a silent client is asked whether it is still there; one that doesn't answer three times is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long a client may take to close a connection that is over.
const CLOSING: Duration = Duration::from_secs(1);

/// The listener, and what the server proves itself with.
pub struct Ssh {
    listener: TcpListener,
    key: PrivateKey,
    address: SocketAddr,
}

impl Ssh {
    /// Listens as it is told; `None` if it is to be off. Unless told where, the usual port is left to whoever has it.
    pub async fn open(config: &Config, http: SocketAddr, data_dir: &Path) -> io::Result<Option<Ssh>> {
        let usual = if config.listen.is_some_and(|listen| listen.port() != 0) { PORT } else { 0 };
        let listener = match config.ssh_listen {
            Some(SshListen::Off) => return Ok(None),
            Some(SshListen::At(address)) => TcpListener::bind(address).await?,
            None => match TcpListener::bind((http.ip(), usual)).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind((http.ip(), 0)).await?,
                bound => bound?,
            },
        };
        let data_dir = data_dir.to_owned();
        let key = tokio::task::spawn_blocking(move || host_key::load(&data_dir)).await.map_err(io::Error::other)??;
        let address = listener.local_addr()?;
        Ok(Some(Ssh { listener, key, address }))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn public(&self) -> Public {
        // A key of ours can be written.
        let line = host_key::public_line(&self.key).unwrap_or_default();
        Public { port: Some(self.address.port()), host_key: STANDARD.encode(line) }
    }
}

fn protocol(key: PrivateKey) -> Protocol {
    Protocol {
        server_id: SshId::Standard(concat!("SSH-2.0-daytona-mock_", env!("CARGO_PKG_VERSION")).into()),
        methods: MethodSet::from(
            [MethodKind::None, MethodKind::PublicKey, MethodKind::Password, MethodKind::KeyboardInteractive].as_slice(),
        ),
        // A token can't be guessed, however fast.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        inactivity_timeout: None,
        keepalive_interval: Some(KEEP_ALIVE),
        event_buffer_size: 64,
        ..Protocol::default()
    }
}

/// What every connection needs.
struct Door {
    gateway: Gateway,
    protocol: Arc<Protocol>,
    budget: Arc<Budget>,
    stop: CancellationToken,
}

/// Serves until `stop`; then tells every client, and returns when all are gone.
pub async fn serve(ssh: Option<Ssh>, gateway: Gateway, stop: CancellationToken) {
    let Some(Ssh { listener, key, .. }) = ssh else { return };
    let limits = gateway.limits();
    let slots = Arc::new(Semaphore::new(limits.ssh_connections.min(Semaphore::MAX_PERMITS)));
    let budget = Arc::new(Budget::new(limits.ssh_unread, gateway.cp().config().data_dir.clone()));
    let door = Arc::new(Door { gateway, protocol: Arc::new(protocol(key)), budget, stop: stop.clone() });
    let open = TaskTracker::new();
    while let Some((stream, slot)) = accept(&listener, &slots, &stop).await {
        let door = door.clone();
        open.spawn(async move {
            door.connection(stream).await;
            drop(slot);
        });
    }
    drop(listener);
    open.close();
    open.wait().await;
}

impl Door {
    async fn connection(&self, stream: TcpStream) {
        _ = stream.set_nodelay(true);
        let cut = CancellationToken::new();
        // Whatever happens, nothing of the connection outlives this.
        let _cut = cut.clone().drop_guard();
        let connection = Arc::new(Connection::new(self.gateway.clone(), cut.clone(), self.budget.clone()));
        let handler = Handler::new(connection.clone());
        let session = run_stream(self.protocol.clone(), Cuttable::new(stream, cut), handler);
        let Ok(Ok(session)) = tokio::time::timeout(LOGIN, session).await else { return };
        let handle = session.handle();
        tokio::pin!(session);
        let why = tokio::select! {
            ended = &mut session => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "ssh");
                }
                return;
            }
            why = self.over(&connection) => why,
        };
        // It may be too busy to hear it.
        _ = tokio::time::timeout(CLOSING, async { tokio::join!(farewell(&handle, why), &mut session) }).await;
    }

    /// Why a connection is to end, when it is.
    async fn over(&self, connection: &Connection) -> &'static str {
        let sandbox_gone = async {
            match tokio::time::timeout(LOGIN, connection.logged_in.notified()).await {
                Ok(()) => {}
                Err(_) => return "no authentication in time",
            }
            if let Ok(sandbox) = connection.sandbox() {
                sandbox.exited().await;
            }
            "the sandbox has stopped"
        };
        tokio::select! {
            why = sandbox_gone => why,
            () = self.stop.cancelled() => "the server is stopping",
        }
    }
}

async fn farewell(handle: &Handle, why: &str) {
    _ = handle.disconnect(Disconnect::ByApplication, why.into(), String::new()).await;
}
