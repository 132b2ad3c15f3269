//! TCP flows: dial the real destination, then let the sandbox's kernel connect the program to our listener.

use std::{io, net::SocketAddr, net::SocketAddrV4, sync::Arc, time::Duration};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::{
    HOST, NAT, dns,
    flows::{Key, Verdict},
    gateway::Shared,
    packet::{self, ACK, Packet, RST, SYN, Unreachable},
    policy::Route,
    requests, sniff, splice,
};

const FIN: u8 = 0x01;
/// How long last acknowledgements still pass after a flow's end.
const LINGER: Duration = Duration::from_secs(2);
/// How long the program may take from our answer to its SYN until it is connected.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// A remote end that vanished without a word is noticed after this long, plus the kernel's probes.
const KEEPALIVE_SECONDS: u32 = 120;

/// One segment from the sandbox.
pub fn take(shared: &Arc<Shared>, mut segment: Packet) {
    let (from, to) = (segment.source(), segment.destination());
    if *to.ip() == NAT {
        if from.port() != shared.listener.port() {
            return;
        }
        let flow = shared.tcp.lock().inbound(to.port());
        if let Some(key) = flow {
            segment.rewrite(key.to, Shared::sandbox(key.port));
            shared.link.send(segment.bytes());
        }
        return;
    }
    let key = Key { port: from.port(), to };
    let opens = segment.flags() & (SYN | ACK | RST | FIN) == SYN;
    let verdict = shared.tcp.lock().outbound(&key, opens);
    match verdict {
        Verdict::Forward(port) => {
            segment.rewrite(SocketAddrV4::new(NAT, port), shared.listener);
            shared.link.send(segment.bytes());
        }
        Verdict::New => open(shared, key, &segment),
        Verdict::Ignore => {}
    }
}

/// Begins a flow, if the policy lets it.
fn open(shared: &Arc<Shared>, key: Key, syn: &Packet) {
    let cut = shared.stop.child_token();
    // Held until the flow is in the table, so that a change of policy either decides about it here or cuts it there.
    let rules = shared.policy.read();
    let route = shared.route(&rules, packet::TCP, key.to);
    match route {
        Route::Drop => return,
        Route::Refuse => return shared.link.send(&syn.reset()),
        Route::Dns | Route::Peer | Route::Dial { .. } => {}
    }
    // One too many is dropped, so the program tries again.
    let Ok(permit) = shared.budget.tcp.clone().try_acquire_owned() else { return };
    let Some(port) = shared.tcp.lock().open(key, cut.clone()) else { return };
    let flow = Flow { shared: shared.clone(), key, port, _permit: permit };
    let syn = syn.bytes().to_vec();
    tokio::spawn(flow.run(route, syn, cut));
}

/// A flow in the table; it leaves the table when this is dropped.
struct Flow {
    shared: Arc<Shared>,
    key: Key,
    port: u16,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shared.tcp.lock().remove(self.port);
    }
}

impl Flow {
    async fn run(self, route: Route, syn: Vec<u8>, cut: CancellationToken) {
        let life = async {
            if let Some(()) = self.serve(route, syn).await {
                self.shared.tcp.lock().closing(self.port);
                tokio::time::sleep(LINGER).await;
            }
        };
        cut.run_until_cancelled(life).await;
    }

    /// `None` when the flow never came to be, so that there is nothing to wind down.
    async fn serve(&self, route: Route, syn: Vec<u8>) -> Option<()> {
        match route {
            Route::Dial { to, check_name } => {
                let remote = self.reached(to, connect(to).await, syn.clone())?;
                self.carry_on(remote, syn, check_name).await?;
            }
            Route::Peer => {
                let stream = self.shared.peers.connect(*self.key.to.ip(), self.key.to.port()).await;
                let remote = self.reached(self.key.to.into(), stream.map(Socket::new), syn.clone())?;
                self.carry_on(remote, syn, false).await?;
            }
            Route::Dns => {
                let mut local = self.join(syn).await?;
                if dns::serve_stream(&self.shared, &mut local.0).await.is_ok() {
                    local.close();
                }
            }
            Route::Drop | Route::Refuse => return None,
        }
        Some(())
    }

    /// Lets the program's connection come to be, and carries it.
    async fn carry_on(&self, remote: Socket, syn: Vec<u8>, check_name: bool) -> Option<()> {
        let local = self.join(syn).await?;
        match self.carry(&local.0, &remote.0, check_name).await {
            Ok(()) => (local.close(), remote.close()),
            // Whichever end broke, the other learns it by the reset that dropping sends.
            Err(_) => (drop(local), drop(remote)),
        };
        Some(())
    }

    /// What became of a connection to the real destination; a failure is told to the program as its own network would.
    fn reached(&self, to: SocketAddr, connected: io::Result<Socket>, mut syn: Vec<u8>) -> Option<Socket> {
        let error = match connected {
            Ok(remote) => return Some(remote),
            Err(error) => error,
        };
        let syn = Packet::parse(&mut syn)?;
        let answer = match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => syn.reset(),
            io::ErrorKind::NetworkUnreachable => syn.unreachable(HOST, Unreachable::Network),
            io::ErrorKind::HostUnreachable | io::ErrorKind::PermissionDenied | io::ErrorKind::AddrNotAvailable => {
                syn.unreachable(HOST, Unreachable::Host)
            }
            // Above all a time-out: the program's own decides.
            _ => {
                tracing::debug!(%to, %error, "a sandbox's connection isn't answered");
                return None;
            }
        };
        self.shared.link.send(&answer);
        None
    }

    /// Lets the program's SYN go on to the NAT listener and waits for the connection that comes of it.
    async fn join(&self, mut syn: Vec<u8>) -> Option<Socket> {
        let connection = self.shared.tcp.lock().offer(self.port)?;
        let mut syn = Packet::parse(&mut syn)?;
        syn.rewrite(SocketAddrV4::new(NAT, self.port), self.shared.listener);
        self.shared.link.send(syn.bytes());
        let stream = tokio::time::timeout(JOIN_TIMEOUT, connection).await.ok()?.ok()?;
        Some(Socket::new(stream))
    }

    async fn carry(&self, local: &TcpStream, remote: &TcpStream, check_name: bool) -> io::Result<()> {
        if check_name && self.key.to.port() == 80 {
            let bytes = sniff::opening(local, 80).await?.bytes;
            return requests::carry(local, remote, bytes, |name| self.admit(name)).await;
        }
        if check_name {
            let opening = sniff::opening(local, self.key.to.port()).await?;
            self.admit(&opening.name)?;
            splice::write_all(remote, &opening.bytes).await?;
        }
        splice::splice(local, remote).await
    }

    /// Lets a flow of this server name live, as long as the policy has the name.
    fn admit(&self, name: &str) -> io::Result<()> {
        let rules = self.shared.policy.read();
        if !rules.resolves(name) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.shared.tcp.lock().set_name(self.port, name);
        Ok(())
    }
}

async fn connect(to: SocketAddr) -> io::Result<Socket> {
    let remote = TcpStream::connect(to).await?;
    // On loopback a dial may meet itself, when the kernel chooses the destination's port as its own.
    if remote.local_addr()? == to {
        let _ = remote.set_zero_linger();
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let _ = setsockopt(&remote, sockopt::KeepAlive, &true);
    let _ = setsockopt(&remote, sockopt::TcpKeepIdle, &KEEPALIVE_SECONDS);
    Ok(Socket::new(remote))
}

/// A socket that is reset when dropped: a flow that is cut or breaks must not look like one that ended.
struct Socket(TcpStream);

impl Socket {
    fn new(stream: TcpStream) -> Socket {
        let _ = stream.set_nodelay(true);
        // Until `close` says otherwise.
        let _ = stream.set_zero_linger();
        Socket(stream)
    }

    /// Closes it properly, after both directions have ended.
    fn close(self) {
        let _ = setsockopt(&self.0, sockopt::Linger, &libc::linger { l_onoff: 0, l_linger: 0 });
    }
}
