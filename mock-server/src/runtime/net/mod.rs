//! The sandbox's network: a NAT gateway in the server, fed by a TUN device in the sandbox's network namespace.
//!
//! ```text
//!  program in the sandbox ── kernel TCP ── eth0 (TUN, 10.0.2.15/24) ── packets ──┐
//!  NAT listener, same netns ── kernel TCP ── eth0 ── packets ───────────── gateway (server)
//!  the same listener's sockets, held by the server ── bytes ── real destination
//! ```
//!
//! There is no TCP implementation here. A SYN makes the gateway dial the real destination first; when that succeeds
//! the flow's packets are rewritten so that the sandbox's own kernel connects the program to a listener in the same
//! network namespace whose descriptor the server holds. Both ends of both connections are kernel TCP, and the server
//! copies bytes between two sockets. A refused dial becomes a reset, an unreachable host an ICMP message, a dial that
//! times out answers nothing (the program's own time-out rules), and what the policy forbids is dropped silently, as
//! the real product's packet filter does.
//!
//! Where `/dev/net/tun` can't be opened (it is often `0600 root`), a veth pair takes its place; see `veth.rs`.
//!
//! # What a sandbox can reach
//!
//! | Address | What it is |
//! |---|---|
//! | 10.0.2.15 | the sandbox |
//! | 10.0.2.2 | the host's loopback, as `host.internal` or `host.docker.internal`: where a developer's own servers listen |
//! | 10.0.2.3, port 53 | DNS over UDP and TCP, forwarded to the host's resolvers |
//! | 198.18.0.x | a linked sandbox, as its name resolves: its own listeners (`peers.rs`) |
//! | anything else in 10.0.2.0/24, 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, multicast, broadcast | refused at once, never dialled |
//! | everything else | dialled from the server, if the sandbox's [`NetworkPolicy`] lets it |
//!
//! The server's own ports ([`OwnPorts`]) are refused on every address of this host, so that a hostile program can
//! never ask the server that contains it for anything. 169.254.0.0/16 holds the metadata services of clouds, which
//! hand out the host's credentials. There is no IPv6. ICMP echo is answered for 10.0.2.2 and 10.0.2.3 only;
//! fragments are dropped.
//!
//! # Policy
//!
//! `block_all` drops everything, DNS too. An allow list of networks leaves DNS alone and drops what goes elsewhere.
//! A list of domains resolves only those (the others don't exist, NXDOMAIN) and opens the addresses they resolve to;
//! on ports 443 and 80 the server name in the TLS hello or the `Host` of each request must be on the list too,
//! as such addresses are often shared. QUIC (UDP 443) hides its server name, so it is dropped under such a list.
//! [`NetHandle::set_policy`] holds at once: flows that the new policy forbids are reset
//! outside, and inside nothing of them passes any more, not even a reset: as with the real product's packet filter.
//!
//! # Secrets
//!
//! A sandbox that was started with secrets has an authority of its own, which it trusts (`Runtime::launch`). Whatever its
//! programs say first on a flow tells the server's name; flows to servers that a secret may go to are intercepted
//! (`intercept.rs`), on any port, and placeholders in their requests' headers become values (`secrets.rs`). All others
//! pass unread: other hosts, linked sandboxes, servers without a valid certificate, clients that take HTTP/2 only.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use parking_lot::RwLock;
use tokio::sync::Semaphore;

mod certificates;
mod dns;
mod dns_message;
mod exchange;
mod flows;
mod gateway;
pub mod inside;
mod intercept;
mod link;
mod packet;
mod peers;
mod policy;
mod requests;
mod secrets;
mod sniff;
mod splice;
mod tcp;
mod udp;
mod veth;
mod wire;

pub use certificates::Trust;
pub use dns::HOST_NAMES;
pub use gateway::{NetHandle, attach};
pub use link::describe;
pub use peers::{Neighbourhood, Peers};
pub use policy::is_dialled;
pub use secrets::{OutboundSecret, Secrets};

use super::{NetworkPolicy, sys};
use crate::limits::Limits;

/// The sandbox's address.
pub const SANDBOX: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The host's loopback, seen from the sandbox; also its default gateway.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Where the sandbox's `resolv.conf` points.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// Stands for the program while it talks to the NAT listener; no program has a reason to use it.
const NAT: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
const PREFIX: u8 = 24;
/// The largest that a TUN packet can be in practice: fewer, larger packets are what makes the gateway fast.
const MTU: i32 = 65520;
/// Smaller, as a packet socket's buffer (208 KiB by default) would hold just a few of the largest frames, and loses the rest.
const VETH_MTU: i32 = 32_000;
const DNS_PORT: u16 = 53;

/// What every sandbox's gateway needs to know. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct NetConfig {
    pub resolvers: Resolvers,
    pub own_ports: OwnPorts,
    pub budget: Budget,
    /// Linked sandboxes.
    pub peers: Peers,
    /// `None`: it has none, and gets none as long as it runs.
    pub secrets: Option<Arc<Secrets>>,
}

/// How many flows there may be. All clones are one budget.
#[derive(Clone, Debug)]
pub struct Budget {
    /// TCP flows of one sandbox.
    tcp_each: usize,
    udp_each: usize,
    /// What is left for all.
    tcp: Arc<Semaphore>,
    udp: Arc<Semaphore>,
}

impl Budget {
    pub fn new(limits: &Limits) -> Budget {
        let left = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Budget {
            tcp_each: limits.tcp_flows,
            udp_each: limits.udp_flows,
            tcp: left(limits.all_tcp_flows),
            udp: left(limits.all_udp_flows),
        }
    }
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(&Limits::default())
    }
}

/// Who answers the sandboxes' DNS queries.
#[derive(Clone, Debug, Default)]
pub enum Resolvers {
    /// The name servers of the host's `/etc/resolv.conf`, read at each query since laptops change networks;
    /// where it names none, the host's `getaddrinfo` answers queries for IPv4 addresses.
    #[default]
    Host,
    /// Exactly these; none means `getaddrinfo`.
    Fixed(Vec<SocketAddr>),
}

/// TCP ports on which this server itself listens. All clones are one set.
#[derive(Clone, Debug, Default)]
pub struct OwnPorts(Arc<RwLock<HashSet<u16>>>);

impl OwnPorts {
    /// Call this before the listener accepts anything.
    pub fn add(&self, port: u16) {
        self.0.write().insert(port);
    }

    pub fn remove(&self, port: u16) {
        self.0.write().remove(&port);
    }

    pub fn contains(&self, port: u16) -> bool {
        self.0.read().contains(&port)
    }
}
