//! UDP flows: a host socket for each, forgotten when idle.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::AsRawFd,
    sync::Arc,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, send},
};
use tokio::{
    io::Interest,
    net::UdpSocket,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    HOST, dns,
    flows::Key,
    gateway::Shared,
    link::with_scratch,
    packet::{self, Packet, UDP_OVERHEAD, Unreachable, fill_datagram},
    policy::Route,
};

/// A flow without a datagram either way for this long is forgotten.
const IDLE: Duration = Duration::from_secs(30);
/// The largest payload that an IPv4 datagram can have.
const MAX_PAYLOAD: usize = 65_535 - UDP_OVERHEAD;

struct Flow {
    socket: Arc<UdpSocket>,
    _permit: OwnedSemaphorePermit,
    last: Instant,
    cut: CancellationToken,
}

/// UDP flows by the program's port and destination.
pub struct Table {
    most: usize,
    flows: HashMap<Key, Flow>,
}

impl Table {
    pub fn new(most: usize) -> Table {
        Table { most, flows: HashMap::new() }
    }

    /// Notes that the flow lives. `None` when it is unknown.
    fn touch(&mut self, key: &Key) -> Option<&UdpSocket> {
        let flow = self.flows.get_mut(key)?;
        flow.last = Instant::now();
        Some(&flow.socket)
    }

    /// Room for one more flow: the longest idle one of this sandbox goes if there are too many, of it or of all.
    fn make_room(&mut self, left: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if self.flows.len() < self.most
            && let Ok(permit) = left.clone().try_acquire_owned()
        {
            return Some(permit);
        }
        let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.last).map(|(key, _)| *key)?;
        self.remove(&oldest);
        left.clone().try_acquire_owned().ok()
    }

    fn remove(&mut self, key: &Key) {
        if let Some(flow) = self.flows.remove(key) {
            flow.cut.cancel();
        }
    }

    /// When the flow will be forgotten, unless something passes before; `None` when it is forgotten now.
    fn deadline(&mut self, key: &Key) -> Option<Instant> {
        let deadline = self.flows.get(key)?.last + IDLE;
        if deadline <= Instant::now() {
            self.remove(key);
            return None;
        }
        Some(deadline)
    }

    /// Cuts every flow whose destination isn't kept.
    pub fn cut(&mut self, keep: impl Fn(SocketAddrV4) -> bool) {
        let gone: Vec<Key> = self.flows.keys().filter(|key| !keep(key.to)).copied().collect();
        gone.iter().for_each(|key| self.remove(key));
    }
}

/// One datagram from the sandbox.
pub fn take(shared: &Arc<Shared>, datagram: Packet) {
    let key = Key { port: datagram.source().port(), to: datagram.destination() };
    let sent = shared.udp.lock().touch(&key).map(|socket| send_out(socket, datagram.datagram()));
    match sent {
        // What became of the datagram before this one.
        Some(Err(Errno::ECONNREFUSED)) => return refuse(shared, &key),
        Some(_) => return,
        None => {}
    }
    let rules = shared.policy.read();
    match shared.route(&rules, packet::UDP, key.to) {
        Route::Drop => {}
        Route::Refuse => shared.link.send(&datagram.unreachable(HOST, Unreachable::Port)),
        Route::Dns => query(shared, key, datagram.datagram()),
        // Datagrams are never routed there.
        Route::Peer => {}
        Route::Dial { to, .. } => {
            // Out of descriptors or no route: a datagram is lost, as datagrams are.
            if let Err(error) = open(shared, key, to, datagram.datagram()) {
                tracing::debug!(%to, %error, "a sandbox's datagram is lost");
            }
        }
    }
}

/// Not through Tokio, which would first wait to learn that a fresh socket is writable.
fn send_out(socket: &UdpSocket, payload: &[u8]) -> nix::Result<usize> {
    send(socket.as_raw_fd(), payload, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
}

fn open(shared: &Arc<Shared>, key: Key, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
    let Some(permit) = shared.udp.lock().make_room(&shared.budget.udp) else {
        return Err(io::ErrorKind::ResourceBusy.into());
    };
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    let socket = Arc::new(UdpSocket::from_std(socket)?);
    let _ = send_out(&socket, payload);
    let cut = shared.stop.child_token();
    let flow = Flow { socket: socket.clone(), _permit: permit, last: Instant::now(), cut: cut.clone() };
    shared.udp.lock().flows.insert(key, flow);
    tokio::spawn(cut.run_until_cancelled_owned(replies(shared.clone(), key, socket)));
    Ok(())
}

/// Carries datagrams back until the flow is idle.
async fn replies(shared: Arc<Shared>, key: Key, socket: Arc<UdpSocket>) {
    loop {
        let Some(deadline) = shared.udp.lock().deadline(&key) else { return };
        let Ok(ready) = tokio::time::timeout_at(deadline, readable(&socket)).await else { continue };
        match ready.and_then(|()| receive(&shared, &key, &socket)) {
            Ok(()) => {
                shared.udp.lock().touch(&key);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => refuse(&shared, &key),
            Err(_) => return shared.udp.lock().remove(&key),
        }
    }
}

/// Waits for a datagram, or for the news that one of ours didn't arrive, which `readable` alone would miss.
pub async fn readable(socket: &UdpSocket) -> io::Result<()> {
    let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
    if ready.is_error() {
        // Seen now; the next one is news again.
        let _ = socket.try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
    }
    Ok(())
}

/// Passes on one datagram.
fn receive(shared: &Shared, key: &Key, socket: &UdpSocket) -> io::Result<()> {
    with_scratch(|buffer| {
        let length = socket.try_recv(&mut buffer[UDP_OVERHEAD..UDP_OVERHEAD + MAX_PAYLOAD])?;
        deliver(shared, key, &mut buffer[..UDP_OVERHEAD + length]);
        Ok(())
    })
}

/// Sends a payload, which begins at `UDP_OVERHEAD`, to the program.
fn deliver(shared: &Shared, key: &Key, packet: &mut [u8]) {
    fill_datagram(packet, key.to, Shared::sandbox(key.port));
    shared.link.send(packet);
}

/// Nothing listens over there; the program's own kernel wants to know by ICMP.
fn refuse(shared: &Shared, key: &Key) {
    let mut header = [0; UDP_OVERHEAD];
    fill_datagram(&mut header, Shared::sandbox(key.port), key.to);
    if let Some(datagram) = Packet::parse(&mut header) {
        shared.link.send(&datagram.unreachable(*key.to.ip(), Unreachable::Port));
    }
}

/// A datagram to the gateway's own DNS server.
fn query(shared: &Arc<Shared>, key: Key, query: &[u8]) {
    let Ok(permit) = shared.queries.clone().try_acquire_owned() else { return };
    let (shared, query) = (shared.clone(), query.to_vec());
    let stop = shared.stop.clone();
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        let _permit = permit;
        let Some(answer) = dns::answer(&shared, &query, dns::Transport::Udp).await else { return };
        // The policy may have changed while the resolver thought about it.
        if !shared.policy.read().blocks_all() {
            let mut packet = [&[0; UDP_OVERHEAD][..], &answer].concat();
            packet.truncate(UDP_OVERHEAD + MAX_PAYLOAD);
            deliver(&shared, &key, &mut packet);
        }
    }));
}
