//! One sandbox's gateway: takes its packets, hands them to TCP, UDP or ping, and ends with its handle.

use std::{
    io,
    net::{SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Budget, HOST, NetConfig, NetworkPolicy, OutboundSecret, RESOLVER, Resolvers, SANDBOX, Secrets,
    flows::Table,
    link::Link,
    packet::{self, Packet},
    peers::Peers,
    policy::{Policy, Route, Rules},
    tcp, udp,
};

/// DNS queries of one sandbox that may be in flight; more are dropped, and asked again by the program.
const MAX_QUERIES: usize = 64;
/// How long `accept` rests when the server is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A sandbox's way out. Dropping it ends every flow and task and closes every descriptor.
pub struct NetHandle {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// What all tasks of one gateway share.
pub struct Shared {
    pub link: Link,
    /// Where the NAT listener listens, inside.
    pub listener: SocketAddrV4,
    pub policy: Policy,
    pub resolvers: Resolvers,
    pub queries: Arc<Semaphore>,
    pub tcp: Mutex<Table>,
    pub udp: Mutex<udp::Table>,
    pub budget: Budget,
    pub peers: Peers,
    pub secrets: Option<Arc<Secrets>>,
    pub stop: CancellationToken,
}

/// Starts the gateway of a sandbox: `tun` and `listener` are what [`super::inside::configure`] was given and returned.
///
/// Must be called within a Tokio runtime.
pub fn attach(tun: OwnedFd, listener: OwnedFd, policy: NetworkPolicy, config: &NetConfig) -> io::Result<NetHandle> {
    let listener = std::net::TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    let SocketAddr::V4(address) = listener.local_addr()? else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the NAT listener must be IPv4"));
    };
    let listener = TcpListener::from_std(listener)?;
    let stop = CancellationToken::new();
    let shared = Arc::new(Shared {
        link: Link::new(tun)?,
        listener: address,
        policy: Policy::new(policy, config.own_ports.clone(), config.secrets.is_some()),
        resolvers: config.resolvers.clone(),
        queries: Arc::new(Semaphore::new(MAX_QUERIES)),
        tcp: Mutex::new(Table::new(config.budget.tcp_each)),
        udp: Mutex::new(udp::Table::new(config.budget.udp_each)),
        budget: config.budget.clone(),
        peers: config.peers.clone(),
        secrets: config.secrets.clone(),
        stop: stop.clone(),
    });
    tokio::spawn(stop.clone().run_until_cancelled_owned(run(shared.clone(), listener)));
    Ok(NetHandle { shared, _stop: stop.drop_guard() })
}

impl NetHandle {
    /// Puts another policy in force, at once: flows that it forbids are cut.
    pub fn set_policy(&self, policy: NetworkPolicy) {
        let shared = &self.shared;
        shared.policy.set(policy);
        let rules = shared.policy.read();
        let keep = |protocol, to: SocketAddrV4, name: Option<&str>| match shared.route(&rules, protocol, to) {
            Route::Dial { check_name: true, .. } => name.is_some_and(|name| rules.resolves(name)),
            Route::Dial { .. } | Route::Dns | Route::Peer => true,
            Route::Drop | Route::Refuse => false,
        };
        shared.tcp.lock().cut(|to, name| keep(packet::TCP, to, name));
        shared.udp.lock().cut(|to| keep(packet::UDP, to, None));
    }

    /// Takes these secrets for those that the sandbox has, from the next request on: unless it was started without any, as
    /// then nothing inside trusts us (contract, `updateSandboxSecrets`: it must be restarted).
    pub fn set_secrets(&self, secrets: Vec<OutboundSecret>) {
        if let Some(held) = &self.shared.secrets {
            held.set(secrets);
        }
    }
}

async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let packets = shared.link.receive(|bytes| take(&shared, bytes));
    tokio::select! {
        error = packets => tracing::debug!(%error, "a sandbox's network device is gone"),
        () = accept(&shared, &listener) => {}
    }
}

/// One packet from the sandbox.
fn take(shared: &Arc<Shared>, bytes: &mut [u8]) {
    let Some(mut packet) = Packet::parse(bytes) else { return };
    if *packet.source().ip() != SANDBOX {
        return;
    }
    match packet.protocol() {
        packet::TCP => tcp::take(shared, packet),
        packet::UDP => udp::take(shared, packet),
        _ => {
            let ours = [HOST, RESOLVER].contains(packet.destination().ip());
            if ours && !shared.policy.read().blocks_all() && packet.answer_echo() {
                shared.link.send(packet.bytes());
            }
        }
    }
}

/// Gives each connection of the NAT listener to the flow that it belongs to.
async fn accept(shared: &Shared, listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, SocketAddr::V4(peer))) if *peer.ip() == super::NAT => {
                if let Some(flow) = shared.tcp.lock().join(peer.port()) {
                    // The flow may have been cut at this very moment; then nobody wants the stream.
                    let _ = flow.send(stream);
                }
            }
            // A program inside found the listener: there is nothing for it here.
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "can't accept a sandbox's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Shared {
    /// Decides under rules that the caller holds. Linked sandboxes are within reach whatever else is, unless all is blocked.
    pub fn route(&self, rules: &Rules, protocol: u8, to: SocketAddrV4) -> Route {
        if rules.blocks_all() || !self.peers.knows(*to.ip()) {
            return self.policy.route(rules, protocol, to);
        }
        if protocol == packet::TCP { Route::Peer } else { Route::Refuse }
    }

    pub fn sandbox(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(SANDBOX, port)
    }
}
