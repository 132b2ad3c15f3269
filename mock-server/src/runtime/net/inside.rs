//! The sandbox's side: what its first process does in its fresh network namespace.
//!
//! Everything here runs in a single-threaded child, before `pivot_root` and before privileges are dropped, and needs
//! no async runtime.

use std::{
    fs, io,
    net::SocketAddrV4,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    fcntl::{OFlag, open},
    sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, socket},
    sys::stat::Mode,
};

use super::{HOST, MTU, PREFIX, SANDBOX, VETH_MTU, link, sys, sys::net::Resolution, veth};

pub(super) const INTERFACE: &str = "eth0";
/// Where the NAT listener listens, on the sandbox's own address: above the kernel's range for outgoing connections and
/// away from what programs choose for themselves, since nothing else can listen on it inside.
pub const NAT_PORT: u16 = 65_119;
const BACKLOG: i32 = 1024;

/// Opens `/dev/net/tun`. Its interface will live in the network namespace that this process is in *now*.
///
/// In tier root this must come right after `clone`, while the process is still the host's root: the device is often
/// `0600 root`.
pub fn open_tun() -> io::Result<OwnedFd> {
    Ok(open("/dev/net/tun", OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty())?)
}

/// What to do where [`open_tun`] fails: makes a veth pair in this network namespace and opens its far end.
pub fn open_veth() -> io::Result<OwnedFd> {
    veth::open()
}

/// Gives the namespace its interfaces, address and route. `wire` is what one of the two functions above opened. Returns the listener that the gateway sends flows to: both
/// descriptors go to the server, and the sandbox keeps neither.
///
/// Comes after the user namespace's maps are written, or group ids in `ping_group_range` would be unknown.
pub fn configure(wire: &OwnedFd) -> io::Result<OwnedFd> {
    sys::net::set_up("lo", Resolution::Default)?;
    if link::is_veth(wire)? {
        sys::net::set_mtu(INTERFACE, VETH_MTU)?;
    } else {
        sys::net::attach_tun(wire, INTERFACE)?;
        sys::net::set_mtu(INTERFACE, MTU)?;
    }
    tune();
    sys::net::set_address(INTERFACE, SANDBOX, PREFIX)?;
    sys::net::set_up(INTERFACE, Resolution::None)?;
    sys::net::add_default_route(HOST)?;
    nat_listener()
}

/// Loopback only: what a sandbox without a gateway has.
pub fn configure_loopback() -> io::Result<()> {
    sys::net::set_up("lo", Resolution::Default)?;
    tune();
    Ok(())
}

/// Low ports and ping for everyone, no IPv6 chatter. Each may fail where `/proc/sys` is read-only (as in Docker), and
/// the sandbox is still useful; a caller with a `/proc` of its own may call this again.
pub fn tune() {
    let group = nix::unistd::getgid();
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    if fs::write("/proc/sys/net/ipv4/ping_group_range", "0 65535").is_err() {
        let _ = fs::write("/proc/sys/net/ipv4/ping_group_range", format!("{group} {group}"));
    }
    silence_ipv6(INTERFACE);
}

/// The gateway drops IPv6; without this each sandbox wakes the server with router solicitations.
pub(super) fn silence_ipv6(interface: &str) {
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1");
}

fn nat_listener() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    bind(listener.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(SANDBOX, NAT_PORT)))?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(listener)
}
