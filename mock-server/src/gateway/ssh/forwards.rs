//! Listeners inside for a client: remote forwarding, and sockets of authentication agents.

use std::{io, sync::Arc};

use russh::{
    Channel,
    server::{Handle, Msg},
};
use tokio::{io::WriteHalf, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    channels::{Connection, opened},
    raw,
};
use crate::{
    runtime::sys::stream::Stream,
    toolbox::ssh::wire::{self, Accepted, Address, Frame, Open, Opened, Reader},
};

/// How clients are told of what comes in.
#[derive(Clone)]
pub enum Forward {
    /// To this address, as the client named it.
    To(Address),
    Agent,
}

/// Listens until `closed`; where.
pub async fn listen(
    connection: &Arc<Connection>,
    handle: Handle,
    forward: Forward,
    closed: CancellationToken,
) -> io::Result<Address> {
    let open = match &forward {
        Forward::To(address) => Open::Listen(address.clone()),
        Forward::Agent => Open::ListenAgent,
    };
    let [control] = connection.sandbox()?.ssh().await?;
    let (read, mut write) = tokio::io::split(control);
    wire::write(&mut write, &Frame::Open(open)).await?;
    let mut news = Reader::new(read);
    let Opened::Listening(address) = opened(news.next().await?)? else { return Err(io::ErrorKind::InvalidData.into()) };
    let forward = match forward {
        Forward::To(_) => Forward::To(address.clone()),
        Forward::Agent => Forward::Agent,
    };
    let connection = connection.clone();
    tokio::spawn(async move {
        closed.run_until_cancelled(admit(&connection, &handle, &forward, news, write)).await;
    });
    Ok(address)
}

async fn admit(
    connection: &Arc<Connection>,
    handle: &Handle,
    forward: &Forward,
    mut news: Reader<impl tokio::io::AsyncRead + Unpin>,
    mut orders: WriteHalf<Stream>,
) -> io::Result<()> {
    let (refused, mut refusals) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            news = news.next() => {
                let Some(Frame::Accepted(accepted)) = news? else { return Ok(()) };
                let (connection, handle, forward, refused) =
                    (connection.clone(), handle.clone(), forward.clone(), refused.clone());
                tokio::spawn(async move {
                    let id = accepted.id;
                    let ended = connection.ended.clone();
                    let passed = pass(&connection, &handle, &forward, accepted);
                    if ended.run_until_cancelled(passed).await.is_none_or(|passed| passed.is_err()) {
                        _ = refused.send(id);
                    }
                });
            }
            Some(id) = refusals.recv() => wire::write(&mut orders, &Frame::Forget(id)).await?,
        }
    }
}

/// Asks the client to take a connection, and passes it on.
async fn pass(
    connection: &Arc<Connection>,
    handle: &Handle,
    forward: &Forward,
    accepted: Accepted,
) -> Result<(), russh::Error> {
    if !connection.has_room() {
        return Err(russh::Error::SendError);
    }
    let Accepted { id, host, port } = accepted;
    let channel: Channel<Msg> = match forward {
        Forward::Agent => handle.channel_open_agent().await?,
        Forward::To(Address::Tcp { host: to, port: at }) => {
            handle.channel_open_forwarded_tcpip(to, u32::from(*at), host, u32::from(port)).await?
        }
        Forward::To(Address::Unix(path)) => handle.channel_open_forwarded_streamlocal(path).await?,
    };
    // The handler makes it when the client confirms, which may be later than this.
    let (_, to_client) = channel.split();
    let Some(channel) = connection.add(to_client.id()) else { return Err(russh::Error::SendError) };
    let inside = match connection.open(Open::Take(id)).await {
        Ok(inside) => inside,
        Err(error) => {
            _ = to_client.close().await;
            connection.close(to_client.id());
            return Err(russh::Error::IO(error));
        }
    };
    connection.serve(to_client.id(), async move { raw::run(&channel, &to_client, inside, false).await });
    Ok(())
}
