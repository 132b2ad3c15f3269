//! The agent: serves the toolbox as the sandbox's user.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    thread::{self, Thread},
    time::Duration,
};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use nix::sys::signal::SigSet;
use tokio::{
    net::{TcpStream, UnixStream},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use super::{
    super::{
        Isolation,
        ctrl::{Channel, Event, Request},
        lending::{self, Lender},
        sys::{process, stream::Stream},
    },
    keeper::{Keeper, Memory},
    reaper,
};
use crate::{
    limits,
    toolbox::{AgentConfig, Ctx, build, own_port, routes, ssh},
};

/// Threads for blocking calls at most; they go after two seconds without work.
const BLOCKING_THREADS: usize = 64;

/// Stack of every thread; only what is touched costs memory. Toolbox code that recurses deeply makes its own thread.
const STACK: usize = 1 << 20;

/// How long processes that were asked to end keep the sandbox.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves until the server is gone or SIGTERM. `_lock` lives as long as we do.
pub fn run(
    isolation: Isolation,
    build: bool,
    config: AgentConfig,
    memory: Option<Memory>,
    ctrl: OwnedFd,
    _lock: OwnedFd,
) -> ! {
    limits::install(config.limits);
    let keeper = memory.map(Keeper::new);
    let first_thread = thread::current();
    // Not the first thread: see `reaper`.
    let toolbox = thread::Builder::new().name("toolbox".into()).stack_size(STACK).spawn(move || {
        let code = serve(isolation, build, config, keeper, ctrl, first_thread).map_or(71, |()| 0);
        if isolation == Isolation::Process {
            reaper::kill_tree();
        }
        process::exit_now(code)
    });
    match toolbox {
        Ok(_) => reaper::reap_forever(),
        Err(_) => process::exit_now(72),
    }
}

fn serve(
    isolation: Isolation,
    build: bool,
    config: AgentConfig,
    keeper: Option<Arc<Keeper>>,
    ctrl: OwnedFd,
    first_thread: Thread,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(STACK)
        .thread_keep_alive(Duration::from_secs(2))
        .build()?;
    runtime.block_on(async {
        tokio::spawn(wake_reaper(signal(SignalKind::child())?, first_thread));
        let mut ending = signal(SignalKind::terminate())?;
        let mut killed = signal(SignalKind::interrupt())?;
        // What came before waits (`inside::begin`).
        SigSet::empty().thread_set_mask()?;
        let Open { ctx, stop, connections } = tokio::select! {
            result = serve_until_end(isolation, build, config, keeper, ctrl, &mut ending) => match result? {
                Some(open) => open,
                None => return Ok(()),
            },
            // Elsewhere than in tier process nobody sends this but a user inside, who may.
            _ = killed.recv() => return Ok(()),
        };
        let ended = wind_down(isolation, ctx, stop, connections);
        tokio::select! {
            _ = tokio::time::timeout(PATIENCE, ended) => {}
            _ = killed.recv() => {}
        }
        Ok(())
    })
}

async fn wake_reaper(mut children: Signal, first_thread: Thread) {
    while children.recv().await.is_some() {
        first_thread.unpark();
    }
}

/// What is to be wound down.
struct Open {
    ctx: Ctx,
    stop: watch::Sender<bool>,
    connections: JoinSet<()>,
}

/// `None` when the server is gone; on SIGTERM what is still open.
async fn serve_until_end(
    isolation: Isolation,
    build: bool,
    config: AgentConfig,
    keeper: Option<Arc<Keeper>>,
    ctrl: OwnedFd,
    ending: &mut Signal,
) -> io::Result<Option<Open>> {
    let ctx = Ctx::new(config);
    ctx.start_entrypoint().await;
    // The host's loopback is everybody's: there our pages don't listen.
    let own_network = isolation != Isolation::Process && !build;
    if own_network {
        own_port::ALL
            .into_iter()
            .for_each(|(port, routes)| drop(tokio::spawn(own_port::listen(port, routes, ctx.clone()))));
    }
    let all = if build { routes(ctx.clone()).merge(build::routes()) } else { routes(ctx.clone()) };
    if let Some(keeper) = &keeper {
        tokio::spawn(keeper.clone().run());
    }
    let watched = keeper.clone();
    let channel = Arc::new(Channel::new(ctrl)?);
    let to_server = channel.clone();
    let all = all.layer(tower::util::MapRequestLayer::new(move |mut request: axum::extract::Request| {
        if let Some(keeper) = &watched {
            keeper.wake();
        }
        let offered = request.headers().get(lending::HEADER);
        if let Some(lender) = offered.and_then(|id| Lender::new(&to_server, id.as_bytes())) {
            request.extensions_mut().insert(lender);
        }
        request
    }));
    let service = TowerToHyperService::new(all);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            message = channel.recv::<Request>() => match message? {
                Some((Request::Serve, mut fds)) => {
                    let Some(fd) = fds.pop() else { continue };
                    let stream = Stream::new(fd)?;
                    connections.spawn(serve_connection(stream, service.clone(), stopping.clone()));
                }
                Some((Request::Memory { bytes }, _)) => {
                    if let Some(keeper) = &keeper {
                        keeper.set_limit(bytes);
                    }
                }
                Some((Request::Ssh, fds)) => {
                    let mut streams = fds.into_iter().map(Stream::new).collect::<io::Result<Vec<_>>>()?.into_iter();
                    let Some(control) = streams.next() else { continue };
                    connections.spawn(ssh::serve(ctx.clone(), control, streams.next(), stopping.clone()));
                }
                Some((Request::Connect { id, port }, _)) => match own_port::routes(port).filter(|_| !own_network) {
                    Some(routes) => drop(tokio::spawn(connect_own(channel.clone(), id, routes, ctx.clone()))),
                    None => drop(tokio::spawn(connect(channel.clone(), id, port))),
                },
                None => return Ok(None),
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = ending.recv() => return Ok(Some(Open { ctx, stop, connections })),
        }
    }
}

/// Ends every process and answers what was asked before.
async fn wind_down(
    isolation: Isolation,
    ctx: Ctx,
    stop: watch::Sender<bool>,
    mut connections: JoinSet<()>,
) -> io::Result<()> {
    let mut children = signal(SignalKind::child())?;
    ctx.shut_down().await;
    reaper::ask_all_to_end(isolation);
    let _ = stop.send(true);
    while connections.join_next().await.is_some() {}
    while !reaper::alone(isolation) {
        children.recv().await;
    }
    Ok(())
}

async fn serve_connection(
    stream: Stream,
    service: TowerToHyperService<axum::Router>,
    mut stopping: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // A client that breaks off is no event here.
        _ = connection.as_mut() => return,
        _ = stopping.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// IPv4 first, as most programs listen there; a dual-stack listener answers both.
async fn connect(channel: Arc<Channel>, id: u32, port: u16) {
    let connected = match TcpStream::connect(("127.0.0.1", port)).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            TcpStream::connect(("::1", port)).await.map_err(|_| error)
        }
        result => result,
    };
    let _ = match connected {
        Ok(stream) => channel.send(&Event::Connected { id, error: None }, &[stream.as_fd()]).await,
        Err(error) => {
            let error = Some(error.raw_os_error().unwrap_or(nix::libc::ECONNREFUSED));
            channel.send(&Event::Connected { id, error }, &[]).await
        }
    };
}

/// One of our pages where it doesn't listen.
async fn connect_own(channel: Arc<Channel>, id: u32, routes: own_port::Routes, ctx: Ctx) {
    let _ = match UnixStream::pair() {
        Ok((ours, theirs)) => {
            tokio::spawn(own_port::serve(ours, routes, ctx));
            channel.send(&Event::Connected { id, error: None }, &[theirs.as_fd()]).await
        }
        Err(error) => channel.send(&Event::Connected { id, error: error.raw_os_error() }, &[]).await,
    };
}
