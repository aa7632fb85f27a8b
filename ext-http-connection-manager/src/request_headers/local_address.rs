//! The address of this host, as others may know it.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// An address of documentation (RFC 5737): nothing is sent there, it only asks for the default route.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// The IPv4 address that this host would send from; that of the loopback interface if it has no other.
pub(super) fn local_address() -> IpAddr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(ELSEWHERE)?;
        socket.local_addr()
    });
    socket.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}
