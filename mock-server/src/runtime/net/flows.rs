//! The table of TCP flows: which flow of the sandbox is which flow to the NAT listener. Pure data.

use std::{collections::HashMap, net::SocketAddrV4, ops::RangeInclusive};

use tokio::{net::TcpStream, sync::oneshot};
use tokio_util::sync::CancellationToken;

/// Ports of the gateway's own NAT address, which nothing else uses.
const NAT_PORTS: RangeInclusive<u16> = 1024..=65535;

/// A TCP flow as the program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The program's own port.
    pub port: u16,
    pub to: SocketAddrV4,
}

/// What to do with a segment of the program.
pub enum Verdict {
    /// Rewrite it to come from this NAT port.
    Forward(u16),
    /// A flow that isn't known, and the segment could open it.
    New,
    Ignore,
}

enum Stage {
    /// SYNs that the program repeats meanwhile are dropped.
    Dialling,
    /// The SYN went to the listener; its connection is awaited here.
    Offered(oneshot::Sender<TcpStream>),
    Joined,
    /// Both ends are closed, last acknowledgements still pass. A new SYN may take the place.
    Closing,
}

struct Flow {
    key: Key,
    stage: Stage,
    /// Cuts the flow: its task drops both sockets.
    cut: CancellationToken,
    /// The server name that opened it, where that was checked.
    name: Option<Box<str>>,
}

/// Flows by both of their names.
pub struct Table {
    /// Most flows, dials included. A SYN beyond it is dropped, so it is tried again by the program.
    most: usize,
    by_key: HashMap<Key, u16>,
    by_port: HashMap<u16, Flow>,
    last: u16,
}

impl Table {
    pub fn new(most: usize) -> Table {
        // More than there are ports can't be.
        Table { most: most.min(NAT_PORTS.len()), by_key: HashMap::new(), by_port: HashMap::new(), last: 0 }
    }

    /// Judges a segment from the program.
    pub fn outbound(&mut self, key: &Key, opens: bool) -> Verdict {
        let Some(&port) = self.by_key.get(key) else {
            return if opens { Verdict::New } else { Verdict::Ignore };
        };
        match self.by_port.get(&port).map(|flow| &flow.stage) {
            Some(Stage::Dialling) => Verdict::Ignore,
            Some(Stage::Closing) if opens => {
                self.remove(port);
                Verdict::New
            }
            _ => Verdict::Forward(port),
        }
    }

    /// Adds a flow that is being dialled. `None` when there are too many.
    pub fn open(&mut self, key: Key, cut: CancellationToken) -> Option<u16> {
        if self.by_port.len() >= self.most {
            return None;
        }
        // Round robin: a port rests as long as possible, as its last connection may be in TIME_WAIT.
        let port = loop {
            self.last = if NAT_PORTS.contains(&self.last) { self.last.wrapping_add(1) } else { *NAT_PORTS.start() };
            if NAT_PORTS.contains(&self.last) && !self.by_port.contains_key(&self.last) {
                break self.last;
            }
        };
        self.by_key.insert(key, port);
        self.by_port.insert(port, Flow { key, stage: Stage::Dialling, cut, name: None });
        Some(port)
    }

    /// The flow that a segment of the listener belongs to.
    pub fn inbound(&self, port: u16) -> Option<Key> {
        self.by_port.get(&port).map(|flow| flow.key)
    }

    /// The dial succeeded: the flow's segments pass from now on. `None` when it was cut meanwhile.
    pub fn offer(&mut self, port: u16) -> Option<oneshot::Receiver<TcpStream>> {
        let flow = self.by_port.get_mut(&port)?;
        let (sender, receiver) = oneshot::channel();
        flow.stage = Stage::Offered(sender);
        Some(receiver)
    }

    /// The listener's connection is there: whom to give it.
    pub fn join(&mut self, port: u16) -> Option<oneshot::Sender<TcpStream>> {
        let flow = self.by_port.get_mut(&port)?;
        match std::mem::replace(&mut flow.stage, Stage::Joined) {
            Stage::Offered(sender) => Some(sender),
            other => {
                flow.stage = other;
                None
            }
        }
    }

    pub fn set_name(&mut self, port: u16, name: &str) {
        if let Some(flow) = self.by_port.get_mut(&port) {
            flow.name = Some(name.into());
        }
    }

    pub fn closing(&mut self, port: u16) {
        if let Some(flow) = self.by_port.get_mut(&port) {
            flow.stage = Stage::Closing;
        }
    }

    pub fn remove(&mut self, port: u16) {
        if let Some(flow) = self.by_port.remove(&port)
            && self.by_key.get(&flow.key) == Some(&port)
        {
            self.by_key.remove(&flow.key);
        }
    }

    /// Cuts every flow for which `keep`, given its destination and checked name, says no.
    pub fn cut(&mut self, keep: impl Fn(SocketAddrV4, Option<&str>) -> bool) {
        let gone = self.by_port.iter().filter(|(_, flow)| !keep(flow.key.to, flow.name.as_deref()));
        for port in gone.map(|(port, _)| *port).collect::<Vec<_>>() {
            self.by_port[&port].cut.cancel();
            self.remove(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> Key {
        Key { port, to: "203.0.113.9:443".parse().expect("address") }
    }

    #[test]
    fn a_flow_goes_through_its_stages() {
        let mut table = Table::new(1024);
        assert!(matches!(table.outbound(&key(1), false), Verdict::Ignore));
        assert!(matches!(table.outbound(&key(1), true), Verdict::New));
        let port = table.open(key(1), CancellationToken::new()).expect("room");
        assert!(matches!(table.outbound(&key(1), true), Verdict::Ignore), "repeated SYN while dialling");
        let mut accepted = table.offer(port).expect("still there");
        assert!(matches!(table.outbound(&key(1), true), Verdict::Forward(p) if p == port));
        assert!(table.join(port).is_some());
        assert!(table.join(port).is_none(), "joined once");
        assert!(accepted.try_recv().is_err());
        assert_eq!(table.inbound(port), Some(key(1)));
        table.closing(port);
        assert!(matches!(table.outbound(&key(1), false), Verdict::Forward(_)), "last acknowledgements pass");
        assert!(matches!(table.outbound(&key(1), true), Verdict::New), "the same ports again");
        let second = table.open(key(1), CancellationToken::new()).expect("room");
        table.remove(port);
        assert_eq!(table.inbound(second), Some(key(1)), "a late removal of the first leaves the second");
    }

    #[test]
    fn the_table_is_bounded_and_ports_come_around() {
        let mut table = Table::new(1024);
        for round in 0..70u16 {
            let ports: Vec<_> =
                (0..1024).map(|n| table.open(key(n), CancellationToken::new()).expect("room")).collect();
            assert!(table.open(key(60000), CancellationToken::new()).is_none());
            assert!(ports.iter().all(|port| NAT_PORTS.contains(port)), "round {round}");
            ports.into_iter().for_each(|port| table.remove(port));
            assert!(table.by_key.is_empty() && table.by_port.is_empty());
        }
    }

    #[test]
    fn a_cut_takes_only_what_is_not_kept() {
        let mut table = Table::new(1024);
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let one = table.open(key(1), first.clone()).expect("room");
        let two = table.open(key(2), second.clone()).expect("room");
        table.set_name(two, "a.example");
        table.cut(|_, name| name != Some("a.example"));
        assert!(!first.is_cancelled() && second.is_cancelled());
        assert!(table.inbound(one).is_some() && table.inbound(two).is_none());
    }
}
