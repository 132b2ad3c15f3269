//! Which TCP ports programs in the sandbox listen on.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use axum::{Router, extract::Path, response::IntoResponse, routing::get};
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use crate::runtime::net;

use super::{Ctx, ToolboxError, go_errors, json::GoJson};

/// Ports that `IsPortInUse` answers for (observed).
const ASKABLE: std::ops::RangeInclusive<u16> = 3000..=9999;

/// How long a listener that isn't in the list may take to accept (observed).
const DIAL: Duration = Duration::from_millis(50);

pub fn routes() -> Router<Ctx> {
    Router::new().route("/port", get(list)).route("/port/{port}/in-use", get(in_use))
}

/// `GetPorts`: `{"ports"}`, listening IPv4 sockets only (observed); here sorted and never out of date.
async fn list() -> Result<impl IntoResponse, ToolboxError> {
    let ports = listening().map_err(|error| ToolboxError::internal(go_errors::text(&error)))?;
    Ok(GoJson(json!({"ports": ports})))
}

/// `IsPortInUse`: `{"isInUse"}`; 400 outside 3000-9999.
async fn in_use(Path(port): Path<String>) -> Result<impl IntoResponse, ToolboxError> {
    let port = port.parse().ok().filter(|port| ASKABLE.contains(port));
    let port = port.ok_or_else(|| ToolboxError::bad_request("invalid port: must be a number between 3000 and 9999"))?;
    let listed = listening().is_ok_and(|ports| ports.contains(&port));
    Ok(GoJson(json!({"isInUse": listed || accepts(port).await})))
}

/// Reading this never waits for a disk.
fn listening() -> io::Result<BTreeSet<u16>> {
    Ok(parse(&std::fs::read_to_string("/proc/self/net/tcp")?))
}

/// Local ports of the lines in state `0A`, which is LISTEN; but for the gateway's own listener, which no program opened.
fn parse(table: &str) -> BTreeSet<u16> {
    let port = |line: &str| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (local, _remote, state) = (columns.next()?, columns.next()?, columns.next()?);
        let (address, port) = local.rsplit_once(':').filter(|_| state == "0A")?;
        let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
        let port = u16::from_str_radix(port, 16).ok()?;
        ((Ipv4Addr::from(address), port) != (net::SANDBOX, net::inside::NAT_PORT)).then_some(port)
    };
    table.lines().filter_map(port).collect()
}

/// Finds what listens on IPv6.
async fn accepts(port: u16) -> bool {
    let dial = async {
        TcpStream::connect(("127.0.0.1", port)).await.is_ok()
            || TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.is_ok()
    };
    timeout(DIAL, dial).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn listeners_are_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
            \x20  0: 0100007F:0FA1 00000000:0000 0A 00000000:00000000\n\
            \x20  1: 00000000:1F90 00000000:0000 0A 00000000:00000000\n\
            \x20  1: 0F02000A:FE5F 00000000:0000 0A 00000000:00000000\n\
            \x20  2: 0100007F:0FA2 0100007F:C350 01 00000000:00000000\n";
        assert_eq!(parse(table), BTreeSet::from([4001, 8080]));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            parse(&text);
        }
    }
}
