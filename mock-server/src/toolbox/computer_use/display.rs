//! Our connection to the X server.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
};

use tokio::io::Interest;
use x11rb::{
    CURRENT_TIME,
    connection::Connection,
    errors::{ConnectError, ConnectionError, ReplyError, ReplyOrIdError},
    protocol::{
        Event,
        xfixes::ConnectionExt as _,
        xproto::{
            Atom, AtomEnum, ChangeWindowAttributesAux, ClientMessageEvent, ConnectionExt as _, EventMask, Screen,
            Window,
        },
        xtest::ConnectionExt as _,
    },
    rust_connection::RustConnection,
};

use super::capture::Shared;
use crate::toolbox::ToolboxError;

x11rb::atom_manager! {
    /// Names of the window managers' convention (EWMH).
    pub Atoms: AtomsCookie {
        _NET_SUPPORTING_WM_CHECK,
        _NET_CLIENT_LIST,
        _NET_ACTIVE_WINDOW,
        _NET_WM_NAME,
        _NET_WM_PID,
        _NET_WM_PING,
        UTF8_STRING,
        WM_PROTOCOLS,
    }
}

/// Why the screen didn't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("the display: {0}")]
    Connect(#[from] ConnectError),
    /// The X server went away, or never spoke our language.
    #[error("the display: {0}")]
    Connection(#[from] ConnectionError),
    #[error("the display: {0}")]
    Reply(#[from] ReplyError),
    #[error("the display: {0}")]
    Id(#[from] ReplyOrIdError),
    #[error("the display: {0}")]
    Io(#[from] io::Error),
    /// The request is at fault.
    #[error("{0}")]
    Refused(String),
}

impl From<Trouble> for ToolboxError {
    fn from(trouble: Trouble) -> ToolboxError {
        match trouble {
            Trouble::Refused(message) => ToolboxError::bad_request(message),
            other => ToolboxError::internal(other),
        }
    }
}

/// A screen, with all we ask of it. Its methods wait for the X server.
pub struct Display {
    pub conn: RustConnection,
    pub root: Window,
    pub width: u16,
    pub height: u16,
    pub atoms: Atoms,
    /// Where the server puts pictures; `None` where it can't.
    pub shared: parking_lot::Mutex<Option<Shared>>,
}

/// Where the pointer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Position {
    pub x: i32,
    pub y: i32,
}

impl Display {
    /// `name` as in `DISPLAY`.
    pub fn connect(name: &str) -> Result<Display, Trouble> {
        let (conn, number) = RustConnection::connect(Some(name))?;
        let Screen { root, width_in_pixels, height_in_pixels, .. } = conn.setup().roots[number].clone();
        conn.xfixes_query_version(5, 0)?.reply()?;
        conn.xtest_get_version(2, 2)?.reply()?;
        let atoms = Atoms::new(&conn)?.reply()?;
        let shared = parking_lot::Mutex::new(Shared::new(&conn, width_in_pixels, height_in_pixels).ok());
        Ok(Display { conn, root, width: width_in_pixels, height: height_in_pixels, atoms, shared })
    }

    /// Whether the server has closed the connection.
    pub fn is_broken(&self) -> bool {
        self.conn.get_input_focus().map(|cookie| cookie.reply().is_err()).unwrap_or(true)
    }

    /// Forgets the events that the server sends to everybody.
    pub fn drain(&self) -> Result<(), Trouble> {
        while self.conn.poll_for_event()?.is_some() {}
        Ok(())
    }

    pub fn pointer(&self) -> Result<Position, Trouble> {
        let pointer = self.conn.query_pointer(self.root)?.reply()?;
        self.drain()?;
        Ok(Position { x: pointer.root_x.into(), y: pointer.root_y.into() })
    }

    /// The windows that a property of a window names.
    pub fn windows_of(&self, window: Window, property: Atom) -> Result<Vec<Window>, Trouble> {
        let reply = self.conn.get_property(false, window, property, AtomEnum::WINDOW, 0, 4096)?.reply()?;
        Ok(reply.value32().map(Iterator::collect).unwrap_or_default())
    }

    /// The process of the active window, if it says so.
    pub fn active_process(&self) -> Result<Option<u32>, Trouble> {
        let Some(&window) = self.windows_of(self.root, self.atoms._NET_ACTIVE_WINDOW)?.first() else { return Ok(None) };
        let pid = self.conn.get_property(false, window, self.atoms._NET_WM_PID, AtomEnum::CARDINAL, 0, 1)?.reply();
        // One that goes away meanwhile isn't active.
        Ok(pid.ok().and_then(|pid| pid.value32()?.next()))
    }

    /// Whether a window manager manages the screen.
    fn is_managed(&self) -> Result<bool, Trouble> {
        Ok(!self.windows_of(self.root, self.atoms._NET_SUPPORTING_WM_CHECK)?.is_empty())
    }

    /// Waits until a window manager manages the screen. For a connection of its own: it takes the events.
    pub async fn managed(&self) -> Result<(), Trouble> {
        self.select(EventMask::PROPERTY_CHANGE)?;
        while !self.is_managed()? {
            self.until(|event| matches!(event, Event::PropertyNotify(_))).await?;
        }
        Ok(())
    }

    /// Waits until the active window's program has seen all input so far: asked whether it is alive, it answers when it
    /// comes to that. False for one that doesn't answer such questions. For a connection of its own.
    pub async fn caught_up(&self) -> Result<bool, Trouble> {
        let (protocols, ping) = (self.atoms.WM_PROTOCOLS, self.atoms._NET_WM_PING);
        let Some(&window) = self.windows_of(self.root, self.atoms._NET_ACTIVE_WINDOW)?.first() else {
            return Ok(false);
        };
        let known = self.conn.get_property(false, window, protocols, AtomEnum::ATOM, 0, 64)?.reply()?;
        if !known.value32().into_iter().flatten().any(|known| known == ping) {
            return Ok(false);
        }
        self.select(EventMask::SUBSTRUCTURE_NOTIFY)?;
        let question = ClientMessageEvent::new(32, window, protocols, [ping, CURRENT_TIME, window, 0, 0]);
        self.conn.send_event(false, window, EventMask::NO_EVENT, question)?.check()?;
        self.until(|event| match event {
            Event::ClientMessage(answer) => answer.type_ == protocols && answer.data.as_data32()[0] == ping,
            _ => false,
        })
        .await?;
        Ok(true)
    }

    fn select(&self, mask: EventMask) -> Result<(), Trouble> {
        let events = ChangeWindowAttributesAux::new().event_mask(mask);
        Ok(self.conn.change_window_attributes(self.root, &events)?.check()?)
    }

    /// Waits for an event, without holding a thread.
    async fn until(&self, wanted: impl Fn(&Event) -> bool) -> Result<(), Trouble> {
        let socket = UnixStream::from(self.conn.stream().as_fd().try_clone_to_owned()?);
        let socket = tokio::net::UnixStream::from_std(socket)?;
        loop {
            // First forgotten, then read: what comes meanwhile is told of again.
            _ = socket.try_io(Interest::READABLE, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
            while let Some(event) = self.conn.poll_for_event()? {
                if wanted(&event) {
                    return Ok(());
                }
            }
            socket.readable().await?;
        }
    }
}
