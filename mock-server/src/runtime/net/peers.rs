//! Linked sandboxes: their names resolve, and what is sent to those addresses goes to them. (TCP only.)

use std::{collections::HashMap, io, net::Ipv4Addr, pin::Pin, sync::Arc};

use parking_lot::Mutex;
use tokio::net::TcpStream;

/// Who the neighbours of a sandbox are.
pub trait Neighbourhood: Send + Sync {
    /// The id of the neighbour with a name, which is lower-case. The sandbox itself is one too.
    fn find(&self, name: &str) -> Option<String>;

    /// A connection to a neighbour's port.
    fn connect(&self, id: String, port: u16) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;
}

/// The neighbours of one sandbox, and the addresses that stand for them in there: in 198.18.0.0/16, which is nobody's
/// (RFC 2544).
#[derive(Clone, Default)]
pub struct Peers(Option<Arc<Inner>>);

struct Inner {
    neighbourhood: Box<dyn Neighbourhood>,
    ids: Mutex<HashMap<Ipv4Addr, String>>,
}

/// More neighbours of one sandbox don't resolve.
const MOST: usize = 1000;

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Peers" } else { "no peers" })
    }
}

impl Peers {
    pub fn new(neighbourhood: Box<dyn Neighbourhood>) -> Peers {
        Peers(Some(Arc::new(Inner { neighbourhood, ids: Mutex::default() })))
    }

    /// The address that stands for a name, if a neighbour has it.
    pub fn resolve(&self, name: &str) -> Option<Ipv4Addr> {
        let inner = self.0.as_ref()?;
        let id = inner.neighbourhood.find(name)?;
        let mut ids = inner.ids.lock();
        if let Some((address, _)) = ids.iter().find(|(_, known)| **known == id) {
            return Some(*address);
        }
        let number = u32::try_from(ids.len() + 1).ok().filter(|_| ids.len() < MOST)?;
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
        ids.insert(address, id);
        Some(address)
    }

    /// Whether an address stands for a neighbour.
    pub fn knows(&self, address: Ipv4Addr) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.ids.lock().contains_key(&address))
    }

    pub async fn connect(&self, address: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
        let inner = self.0.as_ref().ok_or(io::ErrorKind::HostUnreachable)?;
        let id = inner.ids.lock().get(&address).cloned().ok_or(io::ErrorKind::HostUnreachable)?;
        inner.neighbourhood.connect(id, port).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two;

    impl Neighbourhood for Two {
        fn find(&self, name: &str) -> Option<String> {
            ["a", "b"].contains(&name).then(|| format!("id of {name}"))
        }

        fn connect(&self, _: String, _: u16) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> {
            Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
        }
    }

    #[tokio::test]
    async fn each_neighbour_has_one_address() {
        let peers = Peers::new(Box::new(Two));
        let (a, b) = (peers.resolve("a").expect("known"), peers.resolve("b").expect("known"));
        assert_eq!((a, b), (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)));
        assert_eq!((peers.resolve("a"), peers.resolve("c")), (Some(a), None));
        assert!(peers.knows(b) && !peers.knows(Ipv4Addr::new(198, 18, 0, 3)));
        let refused = peers.connect(a, 1).await.expect_err("refused");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(Peers::default().resolve("a"), None);
    }
}
