//! The stand-in for the TUN device where `/dev/net/tun` can't be opened: a veth pair, whose far end a packet socket
//! reads and writes. Both ends stay in the sandbox's network namespace, and the server holds the socket.
//!
//! Nobody asks for addresses on this wire (both ends are `NOARP`), so all frames have the same header: both hardware
//! addresses are that of `eth0`. To the far end's own kernel such frames are for somebody else, and it leaves them.

use std::{io, os::fd::OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};
use std::os::fd::AsRawFd;

use super::{inside::INTERFACE, sys};

/// The far end's name. Programs inside see it and have no use for it.
const FAR_END: &str = "gw0";
/// Locally administered; it spells 10.0.2.15.
const HARDWARE_ADDRESS: [u8; 6] = [0x02, 0x00, 10, 0, 2, 15];
/// In front of every packet: to and from `eth0`, IPv4.
pub const HEADER: [u8; 14] = [0x02, 0x00, 10, 0, 2, 15, 0x02, 0x00, 10, 0, 2, 15, 0x08, 0x00];

/// Makes the pair in this network namespace and opens its far end.
pub fn open() -> io::Result<OwnedFd> {
    create_pair()?;
    // The kernel would leave checksums to hardware that isn't there.
    sys::net::compute_checksums(INTERFACE)?;
    super::inside::silence_ipv6(FAR_END);
    sys::net::set_mtu(FAR_END, super::VETH_MTU)?;
    sys::net::set_up(FAR_END, sys::net::Resolution::None)?;
    sys::net::packet_socket(FAR_END)
}

fn create_pair() -> io::Result<()> {
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    sendto(netlink.as_raw_fd(), &new_pair(), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // A header of 16 bytes, then the error number: zero means done.
    let code = answer[..length].get(16..20).ok_or(io::ErrorKind::InvalidData)?;
    match i32::from_ne_bytes([code[0], code[1], code[2], code[3]]) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// An `RTM_NEWLINK` message for the pair (rtnetlink(7)).
fn new_pair() -> Vec<u8> {
    const PEER: u16 = 1; // VETH_INFO_PEER
    let any_interface = [0; 16];
    let peer = [&any_interface[..], &attribute(libc::IFLA_IFNAME, FAR_END.as_bytes())].concat();
    let data = attribute(libc::IFLA_INFO_DATA, &attribute(PEER, &peer));
    let kind = attribute(libc::IFLA_INFO_KIND, b"veth");
    let body = [
        &any_interface[..],
        &attribute(libc::IFLA_IFNAME, INTERFACE.as_bytes()),
        &attribute(libc::IFLA_ADDRESS, &HARDWARE_ADDRESS),
        &attribute(libc::IFLA_LINKINFO, &[kind, data].concat()),
    ]
    .concat();
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut message = Vec::with_capacity(16 + body.len());
    message.extend_from_slice(&(16 + body.len() as u32).to_ne_bytes());
    message.extend_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&(flags as u16).to_ne_bytes());
    message.extend_from_slice(&[0; 8]); // sequence, port
    message.extend_from_slice(&body);
    message
}

/// An attribute, padded to the next one.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + 8);
    bytes.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
