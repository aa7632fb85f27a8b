//! Listening sockets: opened once for an address, and kept across versions of the listeners that use it.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    fs::{self, Permissions},
    io,
    net::{IpAddr, Shutdown, SocketAddr},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use underpass_core::{address::Address, config::SocketState};

use crate::socket_option::SocketOption;

/// One of the addresses of a listener.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ListenAddress {
    /// As it is configured: the port may be 0.
    pub(crate) address: Address,
    /// Whether an IPv6 socket also takes IPv4 connections.
    pub(crate) ipv4_compat: bool,
    /// The permission bits of a pipe's file; 0 leaves them as they are.
    pub(crate) pipe_mode: u32,
    /// Options of its sockets.
    pub(crate) options: Vec<SocketOption>,
}

/// How the sockets of a listener are made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the configuration")]
pub(crate) struct SocketSettings {
    /// One socket per worker (`SO_REUSEPORT`), rather than one for all.
    pub(crate) reuse_port: bool,
    /// `IP_TRANSPARENT`.
    pub(crate) transparent: bool,
    /// `IP_FREEBIND`.
    pub(crate) freebind: bool,
    /// Multipath TCP.
    pub(crate) mptcp: bool,
    /// How many connections may wait to be accepted.
    pub(crate) backlog: i32,
}

/// The sockets that listen at one address.
pub(crate) struct ListenSocket {
    configured: ListenAddress,
    settings: SocketSettings,
    address: Address,
    /// One per worker, or one that they share.
    sockets: Vec<Arc<Socket>>,
}

/// Why a listener does not listen. The texts are Envoy's.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is not to be had.
    #[error("cannot bind '{address}': {}", system_text(error))]
    Bind {
        /// The address.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// A socket option was refused.
    #[error("cannot set {option} on '{address}': {}", system_text(error))]
    Option {
        /// The option's name in C.
        option: &'static str,
        /// The address.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// The socket would not listen.
    #[error("cannot listen on '{address}': {}", system_text(error))]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        error: io::Error,
    },
}

/// What `strerror` says, without the number that Rust adds.
fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(text, _)| text.to_owned())
}

impl ListenSocket {
    /// Opens and binds the sockets of `workers` workers at one address; they do not listen yet.
    pub(crate) fn bind(
        at: &ListenAddress,
        settings: &SocketSettings,
        workers: usize,
    ) -> Result<Self, BindError> {
        let first = open(at, &at.address, settings)?;
        let address = bound_address(at, &first);
        let mut sockets = vec![Arc::new(first)];
        if settings.reuse_port && at.address.socket().is_some() {
            for _ in 1..workers {
                // If the kernel chose the port, all have to listen on that one.
                sockets.push(Arc::new(open(at, &address, settings)?));
            }
        }
        Ok(Self { configured: at.clone(), settings: settings.clone(), address, sockets })
    }

    /// Begins to queue connections.
    pub(crate) fn listen(&self) -> Result<(), BindError> {
        for socket in &self.sockets {
            let refused = |error| BindError::Listen { address: self.address.to_string(), error };
            socket.listen(self.settings.backlog).map_err(refused)?;
            set_options(socket, &self.configured.options, SocketState::Listening, &self.address)?;
            if self.address.socket().is_some() {
                // As Envoy does on every connection: a proxy has no use for Nagle's algorithm. Linux hands it on to what is
                // accepted, which saves a call for each.
                let refused = |error| BindError::Option {
                    option: "TCP_NODELAY",
                    address: self.address.to_string(),
                    error,
                };
                socket.set_tcp_nodelay(true).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Refuses connections from now on, those that wait to be accepted included. Workers that still hold the sockets get
    /// no more from them.
    pub(crate) fn close(&self) {
        for socket in &self.sockets {
            // It fails on a socket that does not listen yet, and then there is nothing to refuse.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Whether sockets that are opened for this would be the same.
    pub(crate) fn is_for(&self, at: &ListenAddress, settings: &SocketSettings) -> bool {
        self.configured == *at && self.settings == *settings
    }

    /// Whether the kernel chose the port.
    pub(crate) fn is_at_any_port(&self) -> bool {
        self.configured.address.port() == Some(0)
    }

    /// The socket of a worker.
    pub(crate) fn for_worker(&self, index: usize) -> &Arc<Socket> {
        &self.sockets[index % self.sockets.len()]
    }

    /// Where it listens, with the port that the kernel chose.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

impl fmt::Debug for ListenSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.sockets.len(), self.address)
    }
}

fn open(at: &ListenAddress, address: &Address, settings: &SocketSettings) -> Result<Socket, BindError> {
    let refused = |error| BindError::Bind { address: address.to_string(), error };
    let socket = match address {
        Address::Socket(ip) => open_tcp(*ip, at.ipv4_compat, settings).map_err(refused)?,
        _ => Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).map_err(refused)?,
    };
    set_options(&socket, &at.options, SocketState::Prebind, address)?;
    match address {
        Address::Socket(ip) => socket.bind(&SockAddr::from(*ip)).map_err(refused)?,
        Address::Pipe(path) => bind_pipe(&socket, path, at.pipe_mode).map_err(refused)?,
        Address::Internal(_) => return Err(refused(io::ErrorKind::Unsupported.into())),
    }
    set_options(&socket, &at.options, SocketState::Bound, address)?;
    Ok(socket)
}

fn open_tcp(address: SocketAddr, ipv4_compat: bool, settings: &SocketSettings) -> io::Result<Socket> {
    let protocol = if settings.mptcp { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(protocol))?;
    // Without it, connections of an earlier process in TIME_WAIT would block the port.
    socket.set_reuse_address(true)?;
    if settings.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(!ipv4_compat)?;
    }
    match (settings.transparent, address.is_ipv6()) {
        (true, true) => socket.set_ip_transparent_v6(true)?,
        (true, false) => socket.set_ip_transparent_v4(true)?,
        (false, _) => {}
    }
    match (settings.freebind, address.is_ipv6()) {
        (true, true) => socket.set_freebind_v6(true)?,
        (true, false) => socket.set_freebind_v4(true)?,
        (false, _) => {}
    }
    Ok(socket)
}

/// As Envoy does, takes the place of a socket file that is there already. Other files are left alone.
fn bind_pipe(socket: &Socket, path: &Path, mode: u32) -> io::Result<()> {
    if let Some(name) = abstract_name(path) {
        return socket.bind(&SockAddr::unix(name)?);
    }
    if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    socket.bind(&SockAddr::unix(path)?)?;
    if mode != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The kernel's form of a name in Linux's abstract namespace (unix(7)): a NUL in place of the `@`.
fn abstract_name(path: &Path) -> Option<PathBuf> {
    let name = path.to_str()?.strip_prefix('@')?;
    Some(PathBuf::from(format!("\0{name}")))
}

fn set_options(
    socket: &Socket,
    options: &[SocketOption],
    state: SocketState,
    address: &Address,
) -> Result<(), BindError> {
    for option in options.iter().filter(|option| option.state() == state) {
        let refused =
            |error| BindError::Option { option: option.word(), address: address.to_string(), error };
        option.apply(socket).map_err(refused)?;
    }
    Ok(())
}

fn bound_address(at: &ListenAddress, socket: &Socket) -> Address {
    let kernel = || socket.local_addr().ok().and_then(|address| address.as_socket());
    match at.address.port() {
        Some(0) => kernel().map_or_else(|| at.address.clone(), Address::Socket),
        _ => at.address.clone(),
    }
}

/// The address of an accepted connection: an IPv4 address that comes through an IPv6 socket is shown as what it is.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(_) => address,
        IpAddr::V6(_) => SocketAddr::new(address.ip().to_canonical(), address.port()),
    }
}
