//! The headers of a TCP segment, from the network header on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Protocol number of TCP.
pub(super) const TCP: u8 = 6;
/// Protocol number of IPv6's hop-by-hop options.
pub(super) const HOP_BY_HOP: u8 = 0;
/// The bits of IPv4's fragment field that only fragments have set.
pub(super) const FRAGMENT: u16 = 0x3fff;
/// The flag that opens a stream.
pub(super) const SYN: u8 = 2;
/// Bytes of IPv6's fixed header.
pub(super) const IPV6_HEADER: usize = 40;
/// Bytes of the options that announce a packet beyond 64 KiB.
pub(super) const JUMBO_HEADER: usize = 8;

/// What the headers of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) seq: u32,
    pub(super) syn: bool,
    /// Bytes behind the headers.
    pub(super) payload: u32,
}

impl Headers {
    /// `whole`: the packet's bytes as the kernel counts them, of which `packet` may be the first only. It
    /// is asked where a packet beyond 64 KiB cannot tell its own length.
    ///
    /// Absent for what is not TCP, a fragment, or cut within its headers.
    pub(super) fn parse(packet: &[u8], whole: usize) -> Option<Self> {
        let ip = match packet.first()? >> 4 {
            4 => Ip::v4(packet)?,
            6 => Ip::v6(packet)?,
            _ => return None,
        };
        let tcp = packet.get(ip.header..)?;
        let header = usize::from(byte(tcp, 12)? >> 4) * 4;
        let length = ip.length.unwrap_or(whole);
        let payload = length.checked_sub(ip.header)?.checked_sub(header)?;
        Some(Self {
            source: SocketAddr::new(ip.source, half(tcp, 0)?),
            destination: SocketAddr::new(ip.destination, half(tcp, 2)?),
            seq: u32::from_be_bytes(bytes(tcp, 4)?),
            syn: byte(tcp, 13)? & SYN != 0,
            payload: u32::try_from(payload).ok()?,
        })
    }
}

struct Ip {
    source: IpAddr,
    destination: IpAddr,
    /// Bytes before TCP.
    header: usize,
    /// Bytes of the packet; absent where the header says 0.
    length: Option<usize>,
}

impl Ip {
    fn v4(packet: &[u8]) -> Option<Self> {
        let whole_tcp = byte(packet, 9)? == TCP && half(packet, 6)? & FRAGMENT == 0;
        let length = usize::from(half(packet, 2)?);
        whole_tcp.then_some(Self {
            source: Ipv4Addr::from(bytes::<4>(packet, 12)?).into(),
            destination: Ipv4Addr::from(bytes::<4>(packet, 16)?).into(),
            header: usize::from(packet.first()? & 0xf) * 4,
            length: (length > 0).then_some(length),
        })
    }

    fn v6(packet: &[u8]) -> Option<Self> {
        let header = match byte(packet, 6)? {
            TCP => IPV6_HEADER,
            HOP_BY_HOP if bytes(packet, IPV6_HEADER)? == [TCP, 0] => IPV6_HEADER + JUMBO_HEADER,
            _ => return None,
        };
        let length = usize::from(half(packet, 4)?);
        Some(Self {
            source: Ipv6Addr::from(bytes::<16>(packet, 8)?).into(),
            destination: Ipv6Addr::from(bytes::<16>(packet, 24)?).into(),
            header,
            length: (length > 0).then_some(length + IPV6_HEADER),
        })
    }
}

fn bytes<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..)?.first_chunk().copied()
}

fn byte(packet: &[u8], at: usize) -> Option<u8> {
    packet.get(at).copied()
}

fn half(packet: &[u8], at: usize) -> Option<u16> {
    bytes(packet, at).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From port 0x1234 to 80, sequence number 7, 32 bytes of header.
    fn tcp(flags: u8) -> Vec<u8> {
        let mut tcp = vec![0x12, 0x34, 0, 80, 0, 0, 0, 7, 0, 0, 0, 0, 0x80, flags];
        tcp.resize(32, 0);
        tcp
    }

    fn v4(length: u16, flags: u8) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut packet = vec![0x46, 0, high, low, 0, 0, 0x40, 0, 64, TCP, 0, 0];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend([1, 1, 1, 1]); // One word of options.
        packet.extend(tcp(flags));
        packet
    }

    fn v6(length: u16, next: u8, options: &[u8]) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut packet = vec![0x60, 0, 0, 0, high, low, next, 64];
        packet.extend(Ipv6Addr::LOCALHOST.octets());
        packet.extend(Ipv6Addr::UNSPECIFIED.octets());
        packet.extend(options);
        packet.extend(tcp(0x18));
        packet
    }

    #[test]
    fn ipv4_with_options_is_read() {
        let headers = Headers::parse(&v4(156, SYN), 5000).unwrap();
        assert_eq!(headers.source, "10.0.0.1:4660".parse().unwrap());
        assert_eq!(headers.destination, "10.0.0.2:80".parse().unwrap());
        assert_eq!((headers.seq, headers.payload, headers.syn), (7, 100, true));
    }

    #[test]
    fn ipv6_is_read() {
        let headers = Headers::parse(&v6(42, TCP, &[]), 5000).unwrap();
        assert_eq!(headers.source, "[::1]:4660".parse().unwrap());
        assert_eq!(headers.destination, "[::]:80".parse().unwrap());
        assert_eq!((headers.seq, headers.payload, headers.syn), (7, 10, false));
    }

    #[test]
    fn a_packet_beyond_64_kib_is_as_long_as_the_kernel_says() {
        let headers = Headers::parse(&v4(0, 0), 100_056).unwrap();
        assert_eq!(headers.payload, 100_000);
        let jumbo = v6(0, HOP_BY_HOP, &[TCP, 0, 0xc2, 4, 0, 1, 0, 0]);
        let headers = Headers::parse(&jumbo, 100_080).unwrap();
        assert_eq!((headers.seq, headers.payload), (7, 100_000));
    }

    #[test]
    fn fragments_and_other_protocols_are_refused() {
        let (mut fragment, mut udp) = (v4(156, 0), v4(156, 0));
        fragment[6] = 0x20;
        udp[9] = 17;
        assert_eq!(Headers::parse(&fragment, 156), None);
        assert_eq!(Headers::parse(&udp, 156), None);
        assert_eq!(Headers::parse(&v6(42, 17, &[]), 82), None);
    }

    proptest! {
        #[test]
        fn a_packet_that_is_cut_or_garbage_is_no_accident(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            cut in 0..38_usize,
            whole in any::<usize>(),
        ) {
            Headers::parse(&bytes, whole);
            prop_assert_eq!(Headers::parse(&v4(156, 0)[..cut], whole), None);
        }
    }
}
