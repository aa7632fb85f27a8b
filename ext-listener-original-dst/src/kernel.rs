//! What the kernel knows of a redirected connection.

use std::{io, net::SocketAddr};

use socket2::SockRef;
use underpass_core::io::KernelSocket;

/// Where the client wanted to go, if the kernel redirected the connection or the socket is transparent.
///
/// A connection that was not redirected has, where connection tracking is on, its own local address here.
pub(crate) fn original_destination(socket: KernelSocket<'_>) -> Option<SocketAddr> {
    let KernelSocket::Tcp(socket) = socket else { return None };
    let local = socket.local_addr().ok()?;
    let options = SockRef::from(socket);
    // An IPv6 socket that serves an IPv4 client is tracked as IPv4.
    let is_v4 = local.ip().to_canonical().is_ipv4();
    let redirected = if is_v4 { options.original_dst_v4() } else { options.original_dst_v6() };
    match redirected {
        Ok(address) => address.as_socket(),
        Err(_) => is_transparent(&options, is_v4).unwrap_or(false).then_some(local),
    }
}

/// With `TPROXY` nothing is rewritten: the socket has the address that the client wanted.
fn is_transparent(options: &SockRef<'_>, is_v4: bool) -> io::Result<bool> {
    if is_v4 { options.ip_transparent_v4() } else { options.ip_transparent_v6() }
}
