//! IPv4 packets: checked views, address rewriting, and the few packets that the gateway makes itself.
//!
//! By hand, because it is little: the gateway looks at fixed offsets of three headers and patches checksums in place,
//! so that a packet crosses it without being copied.

use std::net::{Ipv4Addr, SocketAddrV4};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;

pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const UNREACHABLE: u8 = 3;

/// Bytes of an IPv4 header without options, as this gateway makes it.
const IP_HEADER: usize = 20;
/// Bytes in front of the payload of a datagram that this gateway makes.
pub const UDP_OVERHEAD: usize = IP_HEADER + 8;

/// Why a host can't be reached, as an ICMP code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    Network = 0,
    Host = 1,
    Port = 3,
}

/// A whole, unfragmented IPv4 packet with a TCP, UDP or ICMP header, all lengths checked.
pub struct Packet<'a> {
    bytes: &'a mut [u8],
    /// Where the header after IP begins.
    transport: usize,
}

impl<'a> Packet<'a> {
    /// `None` for anything that the gateway has no use for, damaged or not.
    pub fn parse(bytes: &'a mut [u8]) -> Option<Packet<'a>> {
        let first = *bytes.first()?;
        let transport = usize::from(first & 15) * 4;
        let total = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
        if first >> 4 != 4 || transport < IP_HEADER || total < transport || total > bytes.len() {
            return None;
        }
        let bytes = &mut bytes[..total];
        let fragment = u16::from_be_bytes([bytes[6], bytes[7]]) & 0x3fff;
        let rest = total - transport;
        let whole = match bytes[9] {
            TCP => rest >= 20 && (20..=rest).contains(&(usize::from(bytes[transport + 12] >> 4) * 4)),
            UDP => rest >= 8 && (8..=rest).contains(&usize::from(read_u16(bytes, transport + 4))),
            ICMP => rest >= 8,
            _ => false,
        };
        (fragment == 0 && whole).then_some(Packet { bytes, transport })
    }

    pub fn protocol(&self) -> u8 {
        self.bytes[9]
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Address and, for TCP and UDP, port that the packet comes from.
    pub fn source(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(12), self.port(0))
    }

    /// Address and, for TCP and UDP, port that the packet goes to.
    pub fn destination(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(16), self.port(2))
    }

    /// The flags of a TCP segment.
    pub fn flags(&self) -> u8 {
        self.bytes[self.transport + 13]
    }

    /// What a UDP datagram carries.
    pub fn datagram(&self) -> &[u8] {
        let length = usize::from(read_u16(self.bytes, self.transport + 4));
        &self.bytes[self.transport + 8..self.transport + length]
    }

    /// Gives a TCP segment other ends; both checksums follow (RFC 1624).
    pub fn rewrite(&mut self, source: SocketAddrV4, destination: SocketAddrV4) {
        let mut addresses = [0; 8];
        addresses[..4].copy_from_slice(&source.ip().octets());
        addresses[4..].copy_from_slice(&destination.ip().octets());
        let mut ports = [0; 4];
        ports[..2].copy_from_slice(&source.port().to_be_bytes());
        ports[2..].copy_from_slice(&destination.port().to_be_bytes());
        self.patch(12, &addresses, &[10, self.transport + 16]);
        self.patch(self.transport, &ports, &[self.transport + 16]);
    }

    /// Replaces bytes at an even offset and updates the checksums that cover them.
    fn patch(&mut self, at: usize, new: &[u8], checksums: &[usize]) {
        let old = &self.bytes[at..at + new.len()];
        let change: u32 =
            sum(new) + old.chunks_exact(2).map(|c| u32::from(!u16::from_be_bytes([c[0], c[1]]))).sum::<u32>();
        self.bytes[at..at + new.len()].copy_from_slice(new);
        for &checksum in checksums {
            let before = u32::from(!read_u16(self.bytes, checksum));
            self.bytes[checksum..checksum + 2].copy_from_slice(&finish(before + change).to_be_bytes());
        }
    }

    /// The answer to a SYN for a port where nothing listens.
    pub fn reset(&self) -> Vec<u8> {
        let sequence = self.transport + 4;
        let acknowledged = u32::from_be_bytes([0, 1, 2, 3].map(|i| self.bytes[sequence + i])).wrapping_add(1);
        let mut segment = [0; 20];
        segment[..2].copy_from_slice(&self.destination().port().to_be_bytes());
        segment[2..4].copy_from_slice(&self.source().port().to_be_bytes());
        segment[8..12].copy_from_slice(&acknowledged.to_be_bytes());
        segment[12] = 5 << 4;
        segment[13] = RST | ACK;
        let (from, to) = (*self.destination().ip(), *self.source().ip());
        let check = finish(pseudo_header(from, to, TCP, segment.len()) + sum(&segment));
        segment[16..18].copy_from_slice(&check.to_be_bytes());
        with_ip_header(TCP, from, to, &segment)
    }

    /// The answer of `router` to a packet that can't be delivered.
    pub fn unreachable(&self, router: Ipv4Addr, why: Unreachable) -> Vec<u8> {
        let quoted = (self.transport + 8).min(self.bytes.len());
        let mut message = vec![UNREACHABLE, why as u8, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&self.bytes[..quoted]);
        let check = finish(sum(&message));
        message[2..4].copy_from_slice(&check.to_be_bytes());
        with_ip_header(ICMP, router, self.address(12), &message)
    }

    /// Turns an echo request into its reply; `false` if it isn't one.
    pub fn answer_echo(&mut self) -> bool {
        if self.bytes[self.transport] != ECHO_REQUEST {
            return false;
        }
        let mut swapped = [0; 8];
        swapped[..4].copy_from_slice(&self.bytes[16..20]);
        swapped[4..].copy_from_slice(&self.bytes[12..16]);
        self.patch(12, &swapped, &[10]);
        let code = self.bytes[self.transport + 1];
        self.patch(self.transport, &[ECHO_REPLY, code], &[self.transport + 2]);
        true
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::from([0, 1, 2, 3].map(|i| self.bytes[at + i]))
    }

    fn port(&self, offset: usize) -> u16 {
        if self.protocol() == ICMP { 0 } else { read_u16(self.bytes, self.transport + offset) }
    }
}

/// Makes a datagram of a buffer whose payload begins at [`UDP_OVERHEAD`]. The whole must fit in 65,535 bytes.
pub fn fill_datagram(buffer: &mut [u8], source: SocketAddrV4, destination: SocketAddrV4) {
    let length = buffer.len() - IP_HEADER;
    let (ip, udp) = buffer.split_at_mut(IP_HEADER);
    udp[..2].copy_from_slice(&source.port().to_be_bytes());
    udp[2..4].copy_from_slice(&destination.port().to_be_bytes());
    udp[4..6].copy_from_slice(&(length as u16).to_be_bytes());
    udp[6..8].fill(0);
    let check = match finish(pseudo_header(*source.ip(), *destination.ip(), UDP, length) + sum(udp)) {
        0 => 0xffff, // zero would mean "no checksum"
        check => check,
    };
    udp[6..8].copy_from_slice(&check.to_be_bytes());
    ip.copy_from_slice(&ip_header(UDP, *source.ip(), *destination.ip(), length));
}

fn with_ip_header(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(IP_HEADER + payload.len());
    packet.extend_from_slice(&ip_header(protocol, source, destination, payload.len()));
    packet.extend_from_slice(payload);
    packet
}

fn ip_header(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, payload: usize) -> [u8; IP_HEADER] {
    let mut header = [0; IP_HEADER];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((IP_HEADER + payload) as u16).to_be_bytes());
    header[6] = 0x40; // don't fragment
    header[8] = 64;
    header[9] = protocol;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let check = finish(sum(&header));
    header[10..12].copy_from_slice(&check.to_be_bytes());
    header
}

fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: usize) -> u32 {
    sum(&source.octets()) + sum(&destination.octets()) + u32::from(protocol) + length as u32
}

/// Sum of 16-bit words, not folded: at most 32,768 of them, so it fits.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(2);
    let odd = words.remainder().first().map_or(0, |&last| u32::from(last) << 8);
    words.map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum::<u32>() + odd
}

fn finish(mut sum: u32) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether the IP header's and the transport's checksums of a packet are right.
    fn checksums_hold(packet: &[u8]) -> bool {
        let transport = usize::from(packet[0] & 15) * 4;
        let (header, rest) = packet.split_at(transport);
        let address = |at: usize| Ipv4Addr::from([0, 1, 2, 3].map(|i| packet[at + i]));
        let pseudo = match packet[9] {
            ICMP => 0,
            protocol => pseudo_header(address(12), address(16), protocol, rest.len()),
        };
        finish(sum(header)) == 0 && finish(pseudo + sum(rest)) == 0
    }

    fn segment(source: SocketAddrV4, destination: SocketAddrV4, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut tcp = vec![0; 20];
        tcp[..2].copy_from_slice(&source.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&destination.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&0xfffffff0u32.to_be_bytes());
        tcp[12] = 5 << 4;
        tcp[13] = flags;
        tcp.extend_from_slice(payload);
        let check = finish(pseudo_header(*source.ip(), *destination.ip(), TCP, tcp.len()) + sum(&tcp));
        tcp[16..18].copy_from_slice(&check.to_be_bytes());
        with_ip_header(TCP, *source.ip(), *destination.ip(), &tcp)
    }

    fn any_end() -> impl Strategy<Value = SocketAddrV4> {
        (any::<u32>(), any::<u16>()).prop_map(|(ip, port)| SocketAddrV4::new(ip.into(), port))
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), ends in (any_end(), any_end())) {
            if let Some(mut packet) = Packet::parse(&mut bytes) {
                let _ = (packet.source(), packet.destination(), packet.unreachable(ends.0.ip().to_owned(), Unreachable::Port));
                match packet.protocol() {
                    TCP => { let _ = (packet.flags(), packet.reset()); packet.rewrite(ends.0, ends.1) }
                    UDP => { let _ = packet.datagram().len(); }
                    _ => { packet.answer_echo(); }
                }
            }
        }

        #[test]
        fn plausible_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 20..120), protocol in prop_oneof![Just(TCP), Just(UDP), Just(ICMP)]) {
            let length = bytes.len() as u16;
            bytes[0] = 0x45 + (bytes[0] & 3);
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[6..8].fill(0);
            bytes[9] = protocol;
            if let Some(mut packet) = Packet::parse(&mut bytes) {
                match protocol {
                    TCP => { let _ = packet.reset(); packet.rewrite(packet.destination(), packet.source()) }
                    UDP => { let _ = packet.datagram().len(); }
                    _ => { packet.answer_echo(); }
                }
            }
        }

        #[test]
        fn checksums_survive_a_rewrite(ends in (any_end(), any_end(), any_end(), any_end()), payload in proptest::collection::vec(any::<u8>(), 0..99)) {
            let mut bytes = segment(ends.0, ends.1, SYN, &payload);
            prop_assert!(checksums_hold(&bytes));
            let mut packet = Packet::parse(&mut bytes).expect("a segment");
            packet.rewrite(ends.2, ends.3);
            prop_assert_eq!((packet.source(), packet.destination()), (ends.2, ends.3));
            prop_assert!(checksums_hold(&bytes));
        }

        #[test]
        fn what_the_gateway_makes_is_well_formed(ends in (any_end(), any_end()), payload in proptest::collection::vec(any::<u8>(), 0..99)) {
            let mut syn = segment(ends.0, ends.1, SYN, &[]);
            let packet = Packet::parse(&mut syn).expect("a segment");
            prop_assert!(checksums_hold(&packet.reset()));
            prop_assert!(checksums_hold(&packet.unreachable(*ends.1.ip(), Unreachable::Host)));
            let mut datagram = [&[0; UDP_OVERHEAD][..], &payload].concat();
            fill_datagram(&mut datagram, ends.0, ends.1);
            prop_assert!(checksums_hold(&datagram));
            let packet = Packet::parse(&mut datagram).expect("a datagram");
            prop_assert_eq!(packet.datagram(), &payload[..]);
        }

        #[test]
        fn an_echo_reply_is_well_formed(ends in (any::<u32>(), any::<u32>()), payload in proptest::collection::vec(any::<u8>(), 0..99)) {
            let mut echo = [&[ECHO_REQUEST, 0, 0, 0, 1, 2, 3, 4][..], &payload].concat();
            let check = finish(sum(&echo));
            echo[2..4].copy_from_slice(&check.to_be_bytes());
            let mut bytes = with_ip_header(ICMP, ends.0.into(), ends.1.into(), &echo);
            let mut packet = Packet::parse(&mut bytes).expect("an echo request");
            prop_assert!(packet.answer_echo());
            prop_assert_eq!(*packet.destination().ip(), Ipv4Addr::from(ends.0));
            prop_assert!(checksums_hold(&bytes));
        }
    }

    #[test]
    fn fragments_and_short_packets_are_not_taken() {
        let ends = (SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2));
        let whole = segment(ends.0, ends.1, SYN, b"x");
        assert!(Packet::parse(&mut whole.clone()).is_some());
        for fragment in [0x2000u16, 0x0001, 0x1fff] {
            let mut bytes = whole.clone();
            bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
            assert!(Packet::parse(&mut bytes).is_none());
        }
        for length in 0..whole.len() {
            assert!(Packet::parse(&mut whole[..length].to_vec()).is_none());
        }
    }
}
