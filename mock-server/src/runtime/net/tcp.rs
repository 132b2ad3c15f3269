//! TCP flows: dial the real destination, then let the sandbox's kernel connect the program to our listener.

use std::{io, net::SocketAddr, net::SocketAddrV4, sync::Arc, time::Duration};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::{
    HOST, NAT, dns,
    flows::{Key, Verdict},
    gateway::Shared,
    intercept::{self, Ends, Offer},
    packet::{self, ACK, Packet, RST, SYN, Unreachable},
    policy::Route,
    requests,
    secrets::Secrets,
    sniff::{self, Said},
    splice,
    wire::Wire,
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
                self.carry_on(remote, syn, Some(to), check_name).await?;
            }
            Route::Peer => {
                let stream = self.shared.peers.connect(*self.key.to.ip(), self.key.to.port()).await;
                let remote = self.reached(self.key.to.into(), stream.map(Socket::new), syn.clone())?;
                self.carry_on(remote, syn, None, false).await?;
            }
            Route::Dns => {
                let local = self.join(syn).await?;
                if dns::serve_stream(&self.shared, &mut local.wire()).await.is_ok() {
                    local.close();
                }
            }
            Route::Drop | Route::Refuse => return None,
        }
        Some(())
    }

    /// Lets the program's connection come to be, and carries it. `to` is where it goes, unless that is a linked sandbox.
    async fn carry_on(&self, mut remote: Socket, syn: Vec<u8>, to: Option<SocketAddr>, check_name: bool) -> Option<()> {
        let local = self.join(syn).await?;
        let carried = match (&self.shared.secrets, to) {
            (Some(secrets), Some(to)) => self.carry_with(secrets, &local, &mut remote, to, check_name).await,
            _ => self.carry(&local.0, &remote.0, check_name).await,
        };
        match carried {
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
        if !check_name {
            return splice::splice(local, remote).await;
        }
        let opening = sniff::opening(local, self.key.to.port()).await?;
        self.admit(&opening.name)?;
        self.carry_checked(local, remote, opening.bytes).await
    }

    /// The client has said `bytes`, and named a host that was admitted.
    async fn carry_checked(&self, local: &TcpStream, remote: &TcpStream, bytes: Vec<u8>) -> io::Result<()> {
        if self.key.to.port() == 80 {
            return requests::carry(local, remote, bytes, |name| self.admit(name)).await;
        }
        splice::write_all(remote, &bytes).await?;
        splice::splice(local, remote).await
    }

    /// As [`Flow::carry`], of a sandbox that has secrets.
    async fn carry_with(
        &self,
        secrets: &Secrets,
        local: &Socket,
        remote: &mut Socket,
        to: SocketAddr,
        check_name: bool,
    ) -> io::Result<()> {
        let (said, mut bytes) = self.listen(local, remote, check_name).await?;
        let ends = || Ends { program: local.wire(), server: remote.wire() };
        let proved = |name: &str| self.shared.policy.leads_to(name, *self.key.to.ip());
        match said {
            Said::Request(name) if secrets.concern(if proved(&name) { &name } else { "" }) => {
                let admit = |name: &str| if check_name { self.admit(name) } else { Ok(()) };
                return intercept::http(secrets, ends(), bytes, admit, proved).await;
            }
            Said::Hello(name) => {
                let name = name.unwrap_or_else(|| self.key.to.ip().to_string());
                if let Some(offer) = Offer::of(&bytes).filter(|_| secrets.concern(&name)) {
                    match intercept::tls(secrets, ends(), offer, bytes, &name).await? {
                        None => return Ok(()),
                        Some(hello) => bytes = hello,
                    }
                    *remote = connect(to).await?;
                }
            }
            _ => {}
        }
        if check_name {
            return self.carry_checked(&local.0, &remote.0, bytes).await;
        }
        splice::write_all(&remote.0, &bytes).await?;
        splice::splice(&local.0, &remote.0).await
    }

    /// What the program says first. Where a name is checked it must say one, which is admitted.
    async fn listen(&self, local: &Socket, remote: &Socket, check_name: bool) -> io::Result<(Said, Vec<u8>)> {
        if !check_name {
            return sniff::listen(&local.0, &remote.0).await;
        }
        let opening = sniff::opening(&local.0, self.key.to.port()).await?;
        self.admit(&opening.name)?;
        let tls = self.key.to.port() == 443;
        let said = if tls { Said::Hello(Some(opening.name)) } else { Said::Request(opening.name) };
        Ok((said, opening.bytes))
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
struct Socket(Arc<TcpStream>);

impl Socket {
    fn new(stream: TcpStream) -> Socket {
        let _ = stream.set_nodelay(true);
        // Until `close` says otherwise.
        let _ = stream.set_zero_linger();
        Socket(Arc::new(stream))
    }

    fn wire(&self) -> Wire {
        Wire(self.0.clone())
    }

    /// Closes it properly, after both directions have ended.
    fn close(self) {
        let _ = setsockopt(&*self.0, sockopt::Linger, &libc::linger { l_onoff: 0, l_linger: 0 });
    }
}
