//! Where a packet may go: the sandbox's policy, names that resolved, and addresses that are never dialled.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

use super::{DNS_PORT, HOST, NAT, NetworkPolicy, OwnPorts, PREFIX, RESOLVER, packet};

/// Most (name, address) pairs remembered for one sandbox; the oldest go first.
const MAX_PINS: usize = 4096;
/// How long an answer opens its address: resolvers answer with a few seconds, programs keep addresses for longer.
const PIN_AT_LEAST: Duration = Duration::from_secs(5 * 60);
const PIN_AT_MOST: Duration = Duration::from_secs(24 * 3600);

/// What becomes of a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Forbidden by policy: no answer at all.
    Drop,
    /// An address that this gateway never dials: refused at once.
    Refuse,
    /// The gateway's own DNS server.
    Dns,
    /// A linked sandbox.
    Peer,
    Dial {
        to: SocketAddr,
        /// Open only because a name resolved to it, and the protocol tells the name: check that.
        check_name: bool,
    },
}

/// One sandbox's policy, which may change at any time.
pub struct Policy {
    rules: RwLock<Rules>,
    pins: Mutex<Pins>,
    own_ports: OwnPorts,
    /// Pins matter whatever the rules are: secrets may go to some names only.
    pins_all: bool,
}

pub struct Rules {
    block_all: bool,
    /// Network and mask.
    networks: Option<Vec<(u32, u32)>>,
    domains: Option<Vec<String>>,
}

type Pins = HashMap<(Ipv4Addr, Box<str>), Instant>;

impl Policy {
    pub fn new(policy: NetworkPolicy, own_ports: OwnPorts, pins_all: bool) -> Policy {
        Policy { rules: RwLock::new(policy.into()), pins: Mutex::default(), own_ports, pins_all }
    }

    /// Puts other rules in force. Pins of names that are no longer allowed go.
    pub fn set(&self, policy: NetworkPolicy) {
        let mut rules = self.rules.write();
        *rules = policy.into();
        self.pins.lock().retain(|(_, name), _| rules.resolves(name));
    }

    /// Keeps the rules as they are while the guard lives, so that a decision and its entry in a table are one step.
    pub fn read(&self) -> RwLockReadGuard<'_, Rules> {
        self.rules.read()
    }

    /// Whether DNS answers for this name at all. `name` is lower-case, without a trailing dot.
    pub fn resolves(&self, name: &str) -> bool {
        self.rules.read().resolves(name)
    }

    /// Remembers that an allowed name resolved to an address, where that matters.
    pub fn pin(&self, name: &str, address: Ipv4Addr, ttl: Duration) {
        let rules = self.rules.read();
        let matters = self.pins_all || rules.domains.is_some();
        if !matters || !rules.resolves(name) {
            return;
        }
        let mut pins = self.pins.lock();
        make_room(&mut pins);
        pins.insert((address, name.into()), Instant::now() + ttl.clamp(PIN_AT_LEAST, PIN_AT_MOST));
    }

    /// Decides under rules that the caller holds.
    pub fn route(&self, rules: &Rules, protocol: u8, to: SocketAddrV4) -> Route {
        let (ip, port) = (*to.ip(), to.port());
        if rules.block_all {
            return Route::Drop;
        }
        if ip == RESOLVER {
            return if port == DNS_PORT { Route::Dns } else { Route::Refuse };
        }
        let by_name = !rules.reaches(ip);
        if by_name && !(rules.domains.is_some() && self.is_pinned(ip)) {
            return Route::Drop;
        }
        let check_name = by_name && [80, 443].contains(&port);
        if check_name && protocol == packet::UDP {
            return Route::Drop;
        }
        if ip == HOST {
            return self.dial(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), check_name);
        }
        if is_never_dialled(ip) { Route::Refuse } else { self.dial(to, check_name) }
    }

    fn dial(&self, to: SocketAddrV4, check_name: bool) -> Route {
        if self.own_ports.contains(to.port()) && is_of_this_host(*to.ip()) {
            return Route::Refuse;
        }
        Route::Dial { to: to.into(), check_name }
    }

    /// Whether a name, which may be an address, is known to lead to this address.
    pub fn leads_to(&self, name: &str, ip: Ipv4Addr) -> bool {
        let until = self.pins.lock().get(&(ip, name.into())).copied();
        until.is_some_and(|until| until > Instant::now()) || name.parse() == Ok(ip)
    }

    fn is_pinned(&self, ip: Ipv4Addr) -> bool {
        let now = Instant::now();
        let pins: MutexGuard<Pins> = self.pins.lock();
        pins.iter().any(|((address, _), until)| *address == ip && *until > now)
    }
}

impl Rules {
    pub fn blocks_all(&self) -> bool {
        self.block_all
    }

    /// Whether a name is on the list, or there is none.
    pub fn resolves(&self, name: &str) -> bool {
        self.domains.as_ref().is_none_or(|domains| domains.iter().any(|pattern| matches(pattern, name)))
    }

    /// Whether an address is open by itself, without a name.
    fn reaches(&self, ip: Ipv4Addr) -> bool {
        match &self.networks {
            Some(networks) => networks.iter().any(|(network, mask)| u32::from(ip) & mask == network & mask),
            None => self.domains.is_none(),
        }
    }
}

impl From<NetworkPolicy> for Rules {
    fn from(policy: NetworkPolicy) -> Rules {
        let mask = |prefix: u8| u32::MAX.checked_shl(32u32.saturating_sub(prefix.into())).unwrap_or(0);
        let networks = policy.allow.map(|all| all.into_iter().map(|(ip, n)| (u32::from(ip), mask(n))).collect());
        let domains = policy.domains.map(|all| all.iter().map(|d| normal(d)).collect());
        Rules { block_all: policy.block_all, networks, domains }
    }
}

/// A domain name as it is compared: lower-case, without the dot at its end.
pub fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// `*.example.com` is every name below example.com, at any depth; anything else is itself.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => name.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern == name,
    }
}

fn make_room(pins: &mut Pins) {
    if pins.len() < MAX_PINS {
        return;
    }
    let now = Instant::now();
    pins.retain(|_, until| *until > now);
    if pins.len() >= MAX_PINS
        && let Some(oldest) = pins.iter().min_by_key(|(_, until)| **until).map(|(key, _)| key.clone())
    {
        pins.remove(&oldest);
    }
}

/// Whether this server connects to an address for somebody else: never to itself, to its neighbours on the link, or to
/// nobody in particular.
pub fn is_dialled(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !is_never_dialled(ip),
        IpAddr::V6(ip) => match ip.to_ipv4() {
            // Mapped ones, and `::1`.
            Some(ip) => !is_never_dialled(ip),
            None => !ip.is_unicast_link_local() && !ip.is_multicast(),
        },
    }
}

fn is_never_dialled(ip: Ipv4Addr) -> bool {
    let own_network = u32::from(ip) >> (32 - PREFIX) == u32::from(NAT) >> (32 - PREFIX);
    let this_network = ip.octets()[0] == 0;
    own_network || this_network || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast()
}

/// Whether a connection to this address would end on this very machine: then the kernel takes the address itself as
/// the source. Connecting a datagram socket asks it without sending anything.
fn is_of_this_host(ip: Ipv4Addr) -> bool {
    let source = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(policy: NetworkPolicy) -> Policy {
        let own_ports = OwnPorts::default();
        own_ports.add(3986);
        Policy::new(policy, own_ports, false)
    }

    fn route(policy: &Policy, to: &str) -> Route {
        policy.route(&policy.read(), packet::TCP, to.parse().expect("address"))
    }

    fn dial(to: &str) -> Route {
        Route::Dial { to: to.parse().expect("address"), check_name: false }
    }

    #[test]
    fn without_rules_all_but_special_addresses_is_dialled() {
        let open = policy(NetworkPolicy::default());
        assert_eq!(route(&open, "203.0.113.9:443"), dial("203.0.113.9:443"));
        assert_eq!(route(&open, "10.0.2.2:3000"), dial("127.0.0.1:3000"));
        assert_eq!(route(&open, "10.0.2.3:53"), Route::Dns);
        for never in [
            "10.0.2.2:3986",
            "10.0.2.3:54",
            "10.0.2.1:1",
            "10.0.2.15:1",
            "127.0.0.1:80",
            "127.9.9.9:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "169.254.169.254:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
        ] {
            assert_eq!(route(&open, never), Route::Refuse, "{never}");
        }
    }

    #[test]
    fn a_full_block_drops_everything() {
        let blocked = policy(NetworkPolicy { block_all: true, ..Default::default() });
        for to in ["203.0.113.9:443", "10.0.2.3:53", "10.0.2.2:80", "169.254.169.254:80"] {
            assert_eq!(route(&blocked, to), Route::Drop, "{to}");
        }
    }

    #[test]
    fn networks_open_what_they_contain_and_leave_dns_alone() {
        let allow = Some(vec![(Ipv4Addr::new(203, 0, 113, 77), 24), (Ipv4Addr::new(198, 51, 100, 1), 32)]);
        let some = policy(NetworkPolicy { allow, ..Default::default() });
        assert_eq!(route(&some, "203.0.113.9:443"), dial("203.0.113.9:443"));
        assert_eq!(route(&some, "198.51.100.1:1"), dial("198.51.100.1:1"));
        assert_eq!(route(&some, "198.51.100.2:1"), Route::Drop);
        assert_eq!(route(&some, "10.0.2.2:80"), Route::Drop);
        assert_eq!(route(&some, "10.0.2.3:53"), Route::Dns);
        let all = policy(NetworkPolicy { allow: Some(vec![(Ipv4Addr::UNSPECIFIED, 0)]), ..Default::default() });
        assert_eq!(route(&all, "203.0.113.9:443"), dial("203.0.113.9:443"));
        let none = policy(NetworkPolicy { allow: Some(vec![]), ..Default::default() });
        assert_eq!(route(&none, "203.0.113.9:443"), Route::Drop);
    }

    #[test]
    fn domains_open_what_they_resolve_to() {
        let names = policy(NetworkPolicy {
            domains: Some(vec!["A.Example".into(), "*.b.example".into()]),
            ..Default::default()
        });
        for (name, resolves) in [
            ("a.example", true),
            ("x.a.example", false),
            ("b.example", false),
            ("x.b.example", true),
            ("x.y.b.example", true),
            ("xb.example", false),
            (".b.example", false),
            ("evil.example", false),
            ("", false),
        ] {
            assert_eq!(names.resolves(name), resolves, "{name}");
        }
        let address = Ipv4Addr::new(203, 0, 113, 9);
        assert_eq!(route(&names, "203.0.113.9:5432"), Route::Drop);
        names.pin("evil.example", address, Duration::ZERO);
        assert_eq!(route(&names, "203.0.113.9:5432"), Route::Drop);
        names.pin("a.example", address, Duration::ZERO);
        assert_eq!(route(&names, "203.0.113.9:5432"), dial("203.0.113.9:5432"));
        let checked = Route::Dial { to: "203.0.113.9:443".parse().expect("address"), check_name: true };
        assert_eq!(route(&names, "203.0.113.9:443"), checked);
        let quic = names.route(&names.read(), packet::UDP, "203.0.113.9:443".parse().expect("address"));
        assert_eq!(quic, Route::Drop);

        names.set(NetworkPolicy { domains: Some(vec!["*.b.example".into()]), ..Default::default() });
        assert_eq!(route(&names, "203.0.113.9:5432"), Route::Drop);
    }

    #[test]
    fn names_lead_to_what_they_resolved_to() {
        let open = Policy::new(NetworkPolicy::default(), OwnPorts::default(), true);
        let address = Ipv4Addr::new(203, 0, 113, 9);
        assert!(!open.leads_to("a.example", address));
        open.pin("a.example", address, Duration::ZERO);
        assert!(open.leads_to("a.example", address) && open.leads_to("203.0.113.9", address));
        assert!(!open.leads_to("b.example", address) && !open.leads_to("a.example", Ipv4Addr::new(203, 0, 113, 8)));
    }

    #[test]
    fn pins_are_bounded() {
        let names = policy(NetworkPolicy { domains: Some(vec!["*.example".into()]), ..Default::default() });
        for n in 0..MAX_PINS as u32 + 100 {
            names.pin("a.example", Ipv4Addr::from(n), Duration::ZERO);
        }
        assert_eq!(names.pins.lock().len(), MAX_PINS);
    }
}
