//! Listeners of remote and agent forwarding. What they accept waits under a number until the gateway has found a
//! client for it, and goes with its listener.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpSocket, UnixListener},
    sync::mpsc,
    task::JoinSet,
};

use super::{
    Connection, refuse,
    wire::{self, Accepted, Address, Frame, Opened, Reader},
};
use crate::{runtime::sys::stream::Stream, toolbox::Ctx};

/// Connections of one listener that wait for a client; more wait in the kernel.
const MAX_WAITING: usize = 64;

const BACKLOG: u32 = 128;

/// Accepted connections that nobody has taken.
#[derive(Default)]
pub struct Waiting {
    next: AtomicU64,
    by_id: Mutex<HashMap<u64, Box<dyn Connection>>>,
}

impl Waiting {
    pub fn take(&self, id: u64) -> io::Result<Box<dyn Connection>> {
        self.by_id.lock().remove(&id).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn put(&self, connection: Box<dyn Connection>) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.by_id.lock().insert(id, connection);
        id
    }
}

/// What a listener has announced; what is left of it goes with the listener.
struct Announced<'a> {
    waiting: &'a Waiting,
    ids: Vec<u64>,
}

impl Announced<'_> {
    /// Whether there is room for one more.
    fn has_room(&mut self) -> bool {
        if self.ids.len() >= MAX_WAITING {
            let by_id = self.waiting.by_id.lock();
            self.ids.retain(|id| by_id.contains_key(id));
        }
        self.ids.len() < MAX_WAITING
    }

    fn forget(&mut self, id: u64) {
        if self.ids.contains(&id) {
            self.waiting.by_id.lock().remove(&id);
        }
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        let mut by_id = self.waiting.by_id.lock();
        self.ids.iter().for_each(|id| drop(by_id.remove(id)));
    }
}

/// A connection just accepted, with where it comes from.
type New = (Box<dyn Connection>, Option<SocketAddr>);

/// Listens until the gateway ends the connection.
pub async fn at(ctx: &Ctx, mut control: Stream, address: &Address) -> io::Result<()> {
    let (sender, new) = mpsc::channel(1);
    let mut accepting = JoinSet::new();
    let listening = match address {
        Address::Tcp { host, port } => tcp(ctx, host, *port).map(|(listeners, port)| {
            for listener in listeners {
                accepting.spawn(accept_tcp(listener, sender.clone()));
            }
            (Address::Tcp { host: host.clone(), port }, None)
        }),
        Address::Unix(path) => unix(&ctx.resolve(path)).map(|(listener, file)| {
            accepting.spawn(accept_unix(listener, sender.clone()));
            (address.clone(), Some(file))
        }),
    };
    match listening {
        Ok((address, _file)) => announce(ctx, control, address, new).await,
        Err(error) => refuse(&mut control, &error).await,
    }
}

/// A socket in a directory that only the sandbox's user can look into.
pub async fn for_agent(ctx: &Ctx, mut control: Stream) -> io::Result<()> {
    let made = tempfile::Builder::new().prefix("ssh-").tempdir_in("/tmp").and_then(|directory| {
        let path = directory.path().join("agent");
        Ok((unix(&path)?, directory, path))
    });
    let ((listener, _file), _directory, path) = match made {
        Ok(made) => made,
        Err(error) => return refuse(&mut control, &error).await,
    };
    let (sender, new) = mpsc::channel(1);
    let mut accepting = JoinSet::new();
    accepting.spawn(accept_unix(listener, sender));
    announce(ctx, control, Address::Unix(path.to_string_lossy().into_owned()), new).await
}

/// Tells the gateway of each connection.
async fn announce(ctx: &Ctx, control: Stream, address: Address, mut new: mpsc::Receiver<New>) -> io::Result<()> {
    let waiting = &ctx.ssh().waiting;
    let mut announced = Announced { waiting, ids: Vec::new() };
    let (read, mut write) = tokio::io::split(control);
    let mut orders = Reader::new(read);
    wire::write(&mut write, &Frame::Opened(Opened::Listening(address))).await?;
    loop {
        let room = announced.has_room();
        tokio::select! {
            order = orders.next() => match order? {
                Some(Frame::Forget(id)) => announced.forget(id),
                Some(_) => return Err(io::ErrorKind::InvalidData.into()),
                None => return Ok(()),
            },
            Some((connection, from)) = new.recv(), if room => {
                let id = waiting.put(connection);
                announced.ids.push(id);
                let (host, port) = from.map_or_else(Default::default, |from| (from.ip().to_canonical().to_string(), from.port()));
                wire::write(&mut write, &Frame::Accepted(Accepted { id, host, port })).await?;
            }
        }
    }
}

async fn accept_tcp(listener: TcpListener, new: mpsc::Sender<New>) {
    // Out of descriptors, as a rule: then the listener ends, instead of spinning.
    while let Ok((stream, from)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        if new.send((Box::new(stream), Some(from))).await.is_err() {
            return;
        }
    }
}

async fn accept_unix(listener: UnixListener, new: mpsc::Sender<New>) {
    while let Ok((stream, _)) = listener.accept().await {
        if new.send((Box::new(stream), None)).await.is_err() {
            return;
        }
    }
}

/// Listeners at an address as clients write it: nothing, `*` and the unspecified addresses mean all interfaces of the
/// sandbox. In tier process those are the host's, so there it is the loopback.
fn tcp(ctx: &Ctx, host: &str, port: u16) -> io::Result<(Vec<TcpListener>, u16)> {
    let shared = ctx.config().fake_root.is_some();
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let addresses = match host {
        "localhost" => loopback.to_vec(),
        "" | "*" | "0.0.0.0" | "::" if shared => loopback.to_vec(),
        "" | "*" => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        other => vec![other.parse().map_err(|_| io::Error::from(io::ErrorKind::AddrNotAvailable))?],
    };
    if shared && !addresses.iter().all(IpAddr::is_loopback) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (first, rest) = addresses.split_first().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let first = bind(*first, port)?;
    let port = first.local_addr()?.port();
    // Sandboxes without IPv6 are fine.
    let rest = rest.iter().filter_map(|ip| bind(*ip, port).ok());
    Ok((std::iter::once(first).chain(rest).collect(), port))
}

fn bind(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    let socket = if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if ip.is_ipv6() {
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Ipv6V6Only, &true)?;
    }
    socket.bind(SocketAddr::new(ip, port))?;
    socket.listen(BACKLOG)
}

/// A socket's file, which goes with its listener.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have put another thing there.
        if self.0.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket()) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

fn unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let listener = UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    // For its user only, as sshd has it.
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok((listener, file))
}
