//! Network interfaces: TUN, address, MTU, route, and the far end of a veth pair.

use std::{
    ffi::CString,
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Makes a fresh descriptor of `/dev/net/tun` the interface `name`, without a packet information header.
pub fn attach_tun(tun: impl AsFd, name: &str) -> io::Result<()> {
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })
}

/// Sets the interface's IPv4 address and netmask.
pub fn set_address(name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let mask = Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0));
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_addr = socket_address(address);
    interface_ioctl(libc::SIOCSIFADDR as _, &mut request)?;
    request.ifr_ifru.ifru_netmask = socket_address(mask);
    interface_ioctl(libc::SIOCSIFNETMASK as _, &mut request)
}

pub fn set_mtu(name: &str, mtu: i32) -> io::Result<()> {
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_mtu = mtu;
    interface_ioctl(libc::SIOCSIFMTU as _, &mut request)
}

/// How an interface learns hardware addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    Default,
    /// Never: there is just one to talk to.
    None,
}

pub fn set_up(name: &str, resolution: Resolution) -> io::Result<()> {
    let no_arp = if resolution == Resolution::None { libc::IFF_NOARP } else { 0 };
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING | no_arp) as i16;
    interface_ioctl(libc::SIOCSIFFLAGS as _, &mut request)
}

/// Routes everything that no other route covers through `gateway`.
pub fn add_default_route(gateway: Ipv4Addr) -> io::Result<()> {
    // SAFETY: `rtentry` is plain data for which all zeroes is "not given".
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    let socket = control_socket()?;
    // SAFETY: SIOCADDRT reads one `rtentry`; its only pointer, the device name, is null.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT as _, &raw const route) })
}

/// Makes the kernel finish checksums (and so segmentation) before it hands packets to the interface.
pub fn compute_checksums(name: &str) -> io::Result<()> {
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        data: u32,
    }
    const ETHTOOL_STXCSUM: u32 = 0x17;
    let mut off = EthtoolValue { command: ETHTOOL_STXCSUM, data: 0 };
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_data = (&raw mut off).cast();
    // Here too one `ifreq`; what it points to is the command's own structure, which outlives the call.
    interface_ioctl(libc::SIOCETHTOOL as _, &mut request)
}

/// A socket for whole IPv4 frames of one interface, both ways, non-blocking.
pub fn packet_socket(name: &str) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    // No protocol yet: it would receive from every interface until it is bound.
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
    // SAFETY: `sockaddr_ll` is plain data for which all zeroes is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as _;
    address.sll_protocol = (libc::ETH_P_IP as u16).to_be();
    address.sll_ifindex = nix::net::if_::if_nametoindex(name)? as _;
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address has the length that is given and outlives the call.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(socket)
}

fn interface_ioctl(code: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    let socket = control_socket()?;
    // SAFETY: every code passed here takes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), code, &raw mut *request) })
}

/// Any socket will do: it only names the network namespace that the ioctl is about.
fn control_socket() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?)
}

fn request_for(name: &str) -> io::Result<libc::ifreq> {
    let name = CString::new(name)?;
    // SAFETY: `ifreq` is plain data for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.as_bytes_with_nul();
    if bytes.len() > request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok(request)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let inet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain data of 16 bytes; `sockaddr` is the opaque view of `sockaddr_in`.
    unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(inet) }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
