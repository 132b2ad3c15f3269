//! Connections to wherever a client of local forwarding asks for, made by the sandbox and under its network policy.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use tokio::net::{TcpStream, UnixStream};

use super::{Connection, wire::Address};
use crate::toolbox::{Ctx, process::shell::find_program};

/// Looking up a name, and making one connection, take no longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

pub async fn to(ctx: &Ctx, address: &Address) -> io::Result<Box<dyn Connection>> {
    match address {
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(ctx.resolve(path)).await?)),
        Address::Tcp { host, port } => Ok(Box::new(tcp(ctx, host, *port).await?)),
    }
}

async fn tcp(ctx: &Ctx, host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::HostUnreachable);
    for ip in resolve(ctx, host).await? {
        match tokio::time::timeout(PATIENCE, TcpStream::connect((ip, port))).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// IPv4 first, as most programs inside listen there.
async fn resolve(ctx: &Ctx, host: &str) -> io::Result<Vec<IpAddr>> {
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(ip) => Ok(vec![ip]),
        Err(_) if host.is_empty() || host.eq_ignore_ascii_case("localhost") => {
            Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
        }
        Err(_) => look_up(ctx, host).await,
    }
}

/// By the sandbox's own program: the C library of this one would load modules that the sandbox names.
async fn look_up(ctx: &Ctx, host: &str) -> io::Result<Vec<IpAddr>> {
    let unknown = || io::Error::new(io::ErrorKind::HostUnreachable, format!("{host}: no such host"));
    if host.starts_with('-') || host.contains('\0') {
        return Err(unknown());
    }
    let env = ctx.env();
    let program = find_program("getent", &env).ok_or_else(unknown)?;
    let mut command = tokio::process::Command::new(program);
    command.args(["ahosts", host]).env_clear().envs(&env).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.map_err(|_| unknown())??;
    let found = addresses(&String::from_utf8_lossy(&output.stdout));
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

/// Lines of `ADDRESS STREAM name`, each address several times.
fn addresses(text: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for ip in text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()) {
        if !found.contains(&ip) && found.len() < MAX_ADDRESSES {
            found.push(ip);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_once_each() {
        let text = "10.0.0.1     STREAM a.b\n10.0.0.1     DGRAM\n::1 STREAM\nnonsense\n\n";
        assert_eq!(addresses(text), ["10.0.0.1".parse::<IpAddr>().expect("ip"), "::1".parse().expect("ip")]);
    }
}
