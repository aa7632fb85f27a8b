//! What a cluster wants of its kernel sockets: `upstream_bind_config`, keepalive and other options.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::BorrowedFd,
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use underpass_core::{
    address::Address,
    build_context::BuildError,
    client_connection::{ConnectError, SocketSetup},
    config::{self, ConfigPath, SocketState},
};

use crate::{
    config::{cluster::UpstreamConnectionOptions, socket::BindConfig},
    socket_option::SocketOption,
};

/// The options of a cluster's sockets.
#[derive(Debug, Default)]
pub(crate) struct UpstreamSockets {
    /// Where connections come from; at most one for IPv4 and one for IPv6.
    sources: Vec<SocketAddr>,
    freebind: bool,
    options: Vec<SocketOption>,
    keepalive: Option<config::TcpKeepalive>,
}

impl UpstreamSockets {
    /// The options of a cluster; `None` if it has none. `bind` is its `upstream_bind_config`, or that of all clusters, with its
    /// path.
    pub(crate) fn new(
        cluster: &str,
        bind: Option<(&BindConfig, ConfigPath)>,
        connection: &UpstreamConnectionOptions,
    ) -> Result<Option<Self>, BuildError> {
        let mut sockets = Self { keepalive: connection.tcp_keepalive, ..Self::default() };
        if let Some((bind, path)) = bind {
            sockets.sources = sources(cluster, bind, &path)?;
            sockets.freebind = bind.freebind.unwrap_or(false);
            sockets.options = SocketOption::all(&bind.socket_options)
                .map_err(|(index, wrong)| BuildError::at(path.field("socket_options").index(index), wrong))?;
        }
        let nothing = sockets.sources.is_empty()
            && !sockets.freebind
            && sockets.options.is_empty()
            && sockets.keepalive.is_none();
        Ok((!nothing).then_some(sockets))
    }

    fn apply(&self, socket: BorrowedFd<'_>, state: SocketState) -> io::Result<()> {
        let mut options = self.options.iter().filter(|option| option.state() == state);
        options.try_for_each(|option| option.apply(&socket))
    }

    /// The source for a destination: the one of its IP version, or else the first, which then fails to bind, as in Envoy.
    fn source_for(&self, remote: SocketAddr) -> Option<SocketAddr> {
        let same_version = |source: &&SocketAddr| source.is_ipv4() == remote.is_ipv4();
        self.sources.iter().find(same_version).or(self.sources.first()).copied()
    }

    fn bind(&self, socket: &SockRef<'_>, source: SocketAddr) -> io::Result<()> {
        if self.freebind {
            match source {
                SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
                SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
            }
        }
        socket.bind(&source.into())
    }
}

impl SocketSetup for UpstreamSockets {
    fn before_connect(&self, fd: BorrowedFd<'_>, remote: &Address) -> Result<(), ConnectError> {
        let Some(remote) = remote.socket() else { return Ok(()) };
        let socket = SockRef::from(&fd);
        if let Some(keepalive) = &self.keepalive {
            set_keepalive(&socket, keepalive).map_err(ConnectError::Socket)?;
        }
        self.apply(fd, SocketState::Prebind).map_err(ConnectError::Socket)?;
        if let Some(address) = self.source_for(remote) {
            self.bind(&socket, address).map_err(|source| ConnectError::Bind { address, source })?;
        }
        self.apply(fd, SocketState::Bound).map_err(ConnectError::Socket)
    }
}

fn set_keepalive(socket: &SockRef<'_>, keepalive: &config::TcpKeepalive) -> io::Result<()> {
    socket.set_keepalive(true)?;
    let mut options = TcpKeepalive::new();
    if let Some(time) = keepalive.keepalive_time {
        options = options.with_time(Duration::from_secs(time.into()));
    }
    if let Some(interval) = keepalive.keepalive_interval {
        options = options.with_interval(Duration::from_secs(interval.into()));
    }
    if let Some(probes) = keepalive.keepalive_probes {
        options = options.with_retries(probes);
    }
    socket.set_tcp_keepalive(&options)
}

fn sources(cluster: &str, bind: &BindConfig, path: &ConfigPath) -> Result<Vec<SocketAddr>, BuildError> {
    let mut sources = Vec::new();
    if let Some(source) = &bind.source_address {
        sources.push(source_address(source, &path.field("source_address"))?);
    }
    let path = path.field("extra_source_addresses");
    let prefix = format!("Cluster {cluster}'s upstream binding config has");
    let error = |message: &str| BuildError::at(path.clone(), format!("{prefix} {message}"));
    if bind.extra_source_addresses.is_empty() {
        return Ok(sources);
    }
    if sources.is_empty() {
        return Err(error(
            "extra source addresses but no source_address. Extra addresses cannot be specified if source_address is not set",
        ));
    }
    if bind.extra_source_addresses.len() > 1 {
        return Err(error("more than one extra source address. Only one extra source can be supported"));
    }
    for (index, extra) in bind.extra_source_addresses.iter().enumerate() {
        let path = path.index(index);
        let Some(address) = &extra.address else {
            return Err(BuildError::at(path.field("address"), "value is required"));
        };
        sources.push(source_address(address, &path.field("address"))?);
    }
    if sources.windows(2).any(|pair| pair[0].is_ipv4() == pair[1].is_ipv4()) {
        return Err(error(
            "two same IP version source addresses. Only two different IP version source addresses can be supported",
        ));
    }
    Ok(sources)
}

fn source_address(config: &config::SocketAddress, path: &ConfigPath) -> Result<SocketAddr, BuildError> {
    let address = config.address.parse::<IpAddr>().map_err(|_| {
        BuildError::at(path.field("address"), format!("malformed IP address: {}", config.address))
    })?;
    Ok((address, config.port_value.unwrap_or(0)).into())
}
