//! The agent: serves the toolbox as the sandbox's user.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    sync::Arc,
};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use nix::sys::prctl;
use tokio::{
    net::{TcpStream, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use super::{
    super::{
        Isolation,
        ctrl::{Channel, Event, Request},
        launch::LaunchSpec,
        zygote::step,
    },
    init,
    users::{self, Account},
};
use crate::toolbox::{AgentConfig, Ctx, routes};

/// Threads for blocking calls at most; they go after two seconds without work.
const BLOCKING_THREADS: usize = 64;

/// Stack of each. Toolbox code that recurses deeply makes its own thread.
const BLOCKING_STACK: usize = 512 << 10;

/// Runs until the server is gone or SIGTERM; the result is the exit code.
pub fn run(spec: LaunchSpec, user: &Account, ctrl: OwnedFd) -> i32 {
    match prepare(spec, user) {
        Ok(config) => {
            super::tell(&ctrl, &Event::Ready, &[]);
            serve(config, ctrl).map_or(71, |()| 0)
        }
        Err(error) => {
            super::tell(&ctrl, &Event::Failed { message: error.to_string() }, &[]);
            70
        }
    }
}

fn prepare(spec: LaunchSpec, user: &Account) -> io::Result<AgentConfig> {
    init::unblock_signals();
    step("user", users::become_user(user, spec.isolation))?;
    // Changing ids made it dumpable again; nobody with the same id may read our memory or descriptors.
    prctl::set_dumpable(false)?;
    let mut config = spec.agent;
    if spec.isolation != Isolation::Process {
        complete(&mut config, user);
    }
    // A missing work directory must not keep a sandbox from starting: the way to make it leads through the toolbox.
    if std::env::set_current_dir(&config.work_dir).is_err() {
        std::env::set_current_dir("/")?;
    }
    Ok(config)
}

/// What only the sandbox's own passwd file tells.
fn complete(config: &mut AgentConfig, user: &Account) {
    config.home = user.home.clone();
    let home = user.home.to_string_lossy().into_owned();
    for (name, value) in [("HOME", &home), ("USER", &user.name), ("LOGNAME", &user.name), ("SHELL", &user.shell)] {
        config.env.entry(name.to_owned()).or_insert_with(|| value.clone());
    }
}

fn serve(config: AgentConfig, ctrl: OwnedFd) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(BLOCKING_STACK)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .build()?;
    let result = runtime.block_on(serve_until_end(config, ctrl));
    // A blocked thread must not keep the sandbox alive.
    runtime.shutdown_background();
    result
}

async fn serve_until_end(config: AgentConfig, ctrl: OwnedFd) -> io::Result<()> {
    let service = TowerToHyperService::new(routes(Ctx::new(config)));
    let channel = Arc::new(Channel::new(ctrl)?);
    let mut terminated = signal(SignalKind::terminate())?;
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            message = channel.recv::<Request>() => match message? {
                Some((Request::Serve, mut fds)) => {
                    let Some(fd) = fds.pop() else { continue };
                    let stream = connection(fd)?;
                    connections.spawn(serve_connection(stream, service.clone(), stopping.clone()));
                }
                Some((Request::Connect { id, port }, _)) => {
                    tokio::spawn(connect(channel.clone(), id, port));
                }
                None => return Ok(()),
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = terminated.recv() => break,
        }
    }
    let _ = stop.send(true);
    // The server's patience ends this with SIGKILL if a request doesn't.
    while connections.join_next().await.is_some() {}
    Ok(())
}

fn connection(fd: OwnedFd) -> io::Result<UnixStream> {
    let stream = StdUnixStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

async fn serve_connection(
    stream: UnixStream,
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
