//! `daytona-mock serve`: a server in the foreground, until a signal.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::ServeArgs;
use crate::{
    MockServer,
    data_dir::{self, Ready},
    doctor,
    gateway::ssh::PORT as SSH_PORT,
    runtime::sys::memory,
};

/// Threads that block (file work of the store and the runtime); idle ones end by themselves.
const BLOCKING_THREADS: usize = 64;
/// What is left to do after an orderly end is for nobody who waits; it is done, or given up, in this time.
const LAST: Duration = Duration::from_secs(2);
/// How long the processes of sandboxes may take to die when the end is forced: they are gone in milliseconds.
const DYING: Duration = Duration::from_secs(1);
/// More don't help a program that mostly moves bytes, and each costs memory.
const MAX_WORKERS: usize = 8;

pub fn run(args: &ServeArgs) -> Result<(), String> {
    log(args)?;
    memory::keep_small();
    let workers = std::thread::available_parallelism().map_or(2, usize::from).min(MAX_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let done = runtime.block_on(serve(args));
    match done {
        Ok(()) => runtime.shutdown_timeout(LAST),
        // Who forces the end waits for no file to be removed. What was acknowledged is on the disk by then.
        Err(_) => runtime.shutdown_background(),
    }
    done
}

/// With the options of a server, and its `--json`.
pub fn doctor(args: &ServeArgs) -> Result<(), String> {
    log(args)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(doctor::run(&args.config(), args.json))
}

async fn serve(args: &ServeArgs) -> Result<(), String> {
    if let Some(path) = &args.ready_file {
        // Whoever waits for it waits for this server.
        data_dir::forget_ready(path).map_err(|error| format!("--ready-file {}: {error}", path.display()))?;
    }
    let mut signals = Signals::new().map_err(|error| error.to_string())?;
    let server = tokio::select! {
        server = MockServer::start(args.config()) => server.map_err(|error| error.to_string())?,
        () = signals.next() => return Err("interrupted while starting".into()),
    };
    if let Err(error) = announce(args, &server) {
        server.shutdown().await;
        return Err(error);
    }
    signals.next().await;
    withdraw(args.ready_file.as_deref());
    let (runtime, stays) = (server.runtime(), stays(args, &server));
    tokio::select! {
        () = server.shutdown() => return Ok(()),
        () = signals.next() => {}
    }
    _ = tokio::time::timeout(DYING, runtime.kill()).await;
    Err(format!("forced to stop; sandboxes are killed{stays}"))
}

/// What a forced end leaves to people.
fn stays(args: &ServeArgs, server: &MockServer) -> String {
    let dir = server.data_dir().display();
    if args.ephemeral { format!(", and what is left of their files stays in {dir}") } else { String::new() }
}

/// Tells people and programs that the server is ready.
fn announce(args: &ServeArgs, server: &MockServer) -> Result<(), String> {
    if let Some(path) = &args.ready_file {
        data_dir::write_private(path, server.ready())
            .map_err(|error| format!("--ready-file {}: {error}", path.display()))?;
    }
    let text = if args.json {
        serde_json::to_string(server.ready()).map_err(|error| error.to_string())?
    } else {
        text(args, server)
    };
    // Nobody may be reading; the server serves all the same.
    _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}

fn withdraw(ready_file: Option<&Path>) {
    if let Some(path) = ready_file {
        _ = data_dir::forget_ready(path);
    }
}

fn text(args: &ServeArgs, server: &MockServer) -> String {
    let (ready, info, ephemeral) = (server.ready(), server.runtime_info(), args.ephemeral);
    let isolation = format!("{:?}", info.isolation).to_lowercase();
    let note = if ephemeral { " (removed at exit)" } else { "" };
    let mut text = format!(
        "daytona-mock {} is ready. Point any Daytona SDK or CLI at it:\n\n  export DAYTONA_API_URL={}\n  export DAYTONA_API_KEY={}\n\n\
         isolation  {isolation}\nbase       {}\ndata       {}{note}\n",
        ready.version,
        ready.api_url,
        ready.api_key,
        info.base,
        server.data_dir().display(),
    );
    if let Some(path) = &ready.ca_certificate {
        text.push_str(&format!("authority  {} (for clients to trust)\n", path.display()));
    }
    text.push_str(&format!("ssh        {}\n", ssh(args, ready)));
    for why in &info.why_not_better {
        text.push_str(&format!("           not better because: {why}\n"));
    }
    text.push_str("\nCtrl-C stops it");
    text.push_str(if ephemeral { "." } else { "; sandboxes keep their files." });
    text
}

/// Where SSH is, and why not where it usually is.
fn ssh(args: &ServeArgs, ready: &Ready) -> String {
    let Some(address) = ready.ssh_listen else { return "off".into() };
    let elsewhere = args.ssh_listen.is_none() && args.listen.port() != 0 && address.port() != SSH_PORT;
    if elsewhere { format!("{address} (port {SSH_PORT} is in use)") } else { address.to_string() }
}

fn log(args: &ServeArgs) -> Result<(), String> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| format!("--log {}: {error}", args.log))?;
    // It names the users of connections, which are tokens here.
    let filter = filter.add_directive("russh=info".parse().map_err(|error| format!("{error}"))?);
    // It logs what clients do wrong as errors of its own, and whole requests.
    let filter = filter.add_directive("s3s=off".parse().map_err(|error| format!("{error}"))?);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let subscriber = subscriber.with_ansi(has_colours());
    // Embedding code may have installed its own subscriber; then that one stays.
    _ = if args.json { subscriber.json().try_init() } else { subscriber.try_init() };
    Ok(())
}

/// Colours are for terminals whose people want any (no-color.org).
fn has_colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// SIGINT and SIGTERM mean the same.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
