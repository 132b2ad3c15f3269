//! Ports of this machine that lead to a port of a sandbox, for clients whose resolver doesn't know `*.localhost`: a
//! listener for each (sandbox, port, signed token) that somebody asked a link for. It stays as long as the sandbox
//! exists, across restarts too, so that a link stays what it is.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    model::{ControlPlane, DesiredState, ModelEvent, PreviewPort, State as SandboxState},
    runtime::net::OwnPorts,
};

/// A sandbox that has more loses the link that leads nowhere any more, else the one that was asked for longest ago.
const MAX_PER_SANDBOX: usize = 256;
const MAX_OVERALL: usize = 2048;
/// Connections that the kernel holds before they are accepted.
const BACKLOG: u32 = 1024;

/// Every listener for previews. Whoever accepts on them takes them from [`PreviewPorts::take_opened`].
pub struct PreviewPorts {
    ip: IpAddr,
    own_ports: OwnPorts,
    state: Mutex<State>,
    opening: mpsc::UnboundedSender<Opened>,
    opened: Mutex<Option<mpsc::UnboundedReceiver<Opened>>>,
}

/// A listener that wants to be served until `close`.
pub struct Opened {
    pub listener: TcpListener,
    pub leads: Arc<PreviewPort>,
    pub close: CancellationToken,
}

#[derive(Default)]
struct State {
    by_target: HashMap<Target, Open>,
    uses: u64,
}

/// Sandbox, port, signed token.
type Target = (String, u16, Option<String>);

struct Open {
    leads: Arc<PreviewPort>,
    /// When it was last asked for, in uses.
    used: u64,
    close: CancellationToken,
}

impl PreviewPorts {
    /// Listeners on the address of the server's own; those of an earlier run are there at once.
    pub fn new(ip: IpAddr, cp: &Arc<ControlPlane>) -> Arc<PreviewPorts> {
        let (opening, opened) = mpsc::unbounded_channel();
        let own_ports = cp.runtime().own_ports().clone();
        let ports = PreviewPorts { ip, own_ports, state: Mutex::default(), opening, opened: Mutex::new(Some(opened)) };
        let ports = Arc::new(ports);
        let lost = ports.restore(cp);
        tokio::spawn({
            let cp = cp.clone();
            async move { cp.forget_preview_ports(lost).await }
        });
        tokio::spawn(watch(Arc::downgrade(&ports), Arc::downgrade(cp), cp.events()));
        ports
    }

    /// What is opened from now on, and was before. Only once.
    pub fn take_opened(&self) -> Option<mpsc::UnboundedReceiver<Opened>> {
        self.opened.lock().take()
    }

    /// The port of this machine that leads to a port of a sandbox, opened if need be.
    pub async fn open(&self, cp: &ControlPlane, id: &str, port: u16, token: Option<&str>) -> io::Result<u16> {
        let target = (id.to_owned(), port, token.map(str::to_owned));
        let (leads, surplus) = {
            let mut state = self.state.lock();
            if let Some(listener) = state.find(&target) {
                return Ok(listener);
            }
            let surplus = state.make_room(cp, id)?;
            (state.add(self, target, 0)?, surplus)
        };
        cp.forget_preview_ports(surplus).await;
        if let Err(error) = cp.keep_preview_port(&leads).await {
            tracing::warn!(reason = error.message, "a preview link will not survive the server");
        }
        if cp.toolbox_target(id).is_none() {
            // Deleted while the link was made.
            let gone = self.state.lock().close(|leads| leads.sandbox_id == id);
            cp.forget_preview_ports(gone).await;
        }
        Ok(leads.listener)
    }

    /// Opens the ports of an earlier run; those that can't be, or lead nowhere.
    fn restore(&self, cp: &ControlPlane) -> Vec<u16> {
        let mut state = self.state.lock();
        let mut lost = Vec::new();
        for kept in cp.preview_ports() {
            let known = cp.toolbox_target(&kept.sandbox_id).is_some();
            let target = (kept.sandbox_id, kept.port, kept.token);
            if !known || state.add(self, target, kept.listener).is_err() {
                lost.push(kept.listener);
            }
        }
        lost
    }

    fn listen(&self, port: u16) -> io::Result<TcpListener> {
        let socket = if self.ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(self.ip, port))?;
        socket.listen(BACKLOG)
    }

    /// Lets a listener go whose time has come.
    pub fn closed(&self, listener: TcpListener, leads: &PreviewPort) {
        // In this order: once it is free, the next one may get the same port.
        self.own_ports.remove(leads.listener);
        drop(listener);
    }
}

impl State {
    fn find(&mut self, target: &Target) -> Option<u16> {
        self.uses += 1;
        let open = self.by_target.get_mut(target)?;
        open.used = self.uses;
        Some(open.leads.listener)
    }

    /// Listens on `port`, or on a free one if it is 0.
    fn add(&mut self, ports: &PreviewPorts, target: Target, port: u16) -> io::Result<Arc<PreviewPort>> {
        let listener = ports.listen(port)?;
        let number = listener.local_addr()?.port();
        ports.own_ports.add(number);
        let (sandbox_id, port, token) = target.clone();
        let leads = Arc::new(PreviewPort { listener: number, sandbox_id, port, token });
        let close = CancellationToken::new();
        self.uses += 1;
        self.by_target.insert(target, Open { leads: leads.clone(), used: self.uses, close: close.clone() });
        // Nobody takes them any more once the server ends.
        _ = ports.opening.send(Opened { listener, leads: leads.clone(), close });
        Ok(leads)
    }

    /// Closes what is one too many; its ports. An error if everything is in use.
    fn make_room(&mut self, cp: &ControlPlane, id: &str) -> io::Result<Vec<u16>> {
        let mine = self.by_target.values().filter(|open| open.leads.sandbox_id == id).count();
        if mine < MAX_PER_SANDBOX && self.by_target.len() < MAX_OVERALL {
            return Ok(Vec::new());
        }
        let dead = self.close(|leads| !is_alive(cp, leads));
        if !dead.is_empty() {
            return Ok(dead);
        }
        if mine < MAX_PER_SANDBOX {
            return Err(io::Error::other(format!("{MAX_OVERALL} preview links are open, which is the most")));
        }
        let own = self.by_target.values().filter(|open| open.leads.sandbox_id == id);
        let oldest = own.min_by_key(|open| open.used).map(|open| open.leads.listener);
        Ok(self.close(|leads| Some(leads.listener) == oldest))
    }

    fn close(&mut self, which: impl Fn(&PreviewPort) -> bool) -> Vec<u16> {
        let gone = self.by_target.extract_if(|_, open| which(&open.leads));
        gone.map(|(_, open)| {
            open.close.cancel();
            open.leads.listener
        })
        .collect()
    }
}

/// Whether the link can still lead somewhere.
fn is_alive(cp: &ControlPlane, leads: &PreviewPort) -> bool {
    let valid = leads.token.as_ref().is_none_or(|token| cp.signed_preview(leads.port, token).is_some());
    valid && cp.toolbox_target(&leads.sandbox_id).is_some()
}

/// Closes the ports of sandboxes that are deleted, until the server ends.
async fn watch(ports: Weak<PreviewPorts>, cp: Weak<ControlPlane>, mut events: Receiver<ModelEvent>) {
    loop {
        let told = events.recv().await;
        let (Some(ports), Some(cp)) = (ports.upgrade(), cp.upgrade()) else { return };
        let gone = match told {
            Ok(ModelEvent::Snapshot { .. } | ModelEvent::Volume { .. }) => continue,
            Ok(ModelEvent::Sandbox { sandbox, .. }) => {
                let deleted =
                    sandbox.desired_state == DesiredState::Destroyed || sandbox.state() == SandboxState::Destroyed;
                if !deleted {
                    continue;
                }
                ports.state.lock().close(|leads| leads.sandbox_id == sandbox.id)
            }
            // Some were missed: look at all.
            Err(RecvError::Lagged(_)) => {
                ports.state.lock().close(|leads| cp.toolbox_target(&leads.sandbox_id).is_none())
            }
            Err(RecvError::Closed) => return,
        };
        cp.forget_preview_ports(gone).await;
    }
}
