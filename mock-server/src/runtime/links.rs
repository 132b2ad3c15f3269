//! Linked sandboxes reach each other by name, through their gateways (`net::peers`).

use std::{collections::HashMap, io, pin::Pin, sync::Arc};

use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::{
    Runtime, Sandbox,
    net::{Neighbourhood, Peers},
};

/// Says which sandbox a name means to another: id and name → id.
pub type FindNeighbour = Arc<dyn Fn(&str, &str) -> Option<String> + Send + Sync>;

/// What one sandbox's gateway knows of the others.
struct Around {
    id: String,
    find: FindNeighbour,
    running: Arc<Mutex<HashMap<String, Arc<Sandbox>>>>,
}

impl Neighbourhood for Around {
    fn find(&self, name: &str) -> Option<String> {
        (self.find)(&self.id, name)
    }

    fn connect(&self, id: String, port: u16) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> {
        let sandbox = self.running.lock().get(&id).cloned();
        Box::pin(async move {
            match sandbox {
                Some(sandbox) => sandbox.connect_port(port).await,
                None => Err(io::ErrorKind::HostUnreachable.into()),
            }
        })
    }
}

impl Runtime {
    /// Who is asked for neighbours from now on.
    pub fn set_neighbours(&self, find: FindNeighbour) {
        *self.neighbours.lock() = Some(find);
    }

    pub(super) fn peers_of(&self, id: &str) -> Peers {
        let Some(find) = self.neighbours.lock().clone() else { return Peers::default() };
        Peers::new(Box::new(Around { id: id.to_owned(), find, running: self.running.clone() }))
    }
}
