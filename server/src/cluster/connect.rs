//! Connecting to a host: the socket by the kind of its address, then the transport socket around it.

mod race;

use std::{io, rc::Rc, sync::Arc};

use underpass_core::{
    address::Address,
    client_connection::{ConnectContext, ConnectError, ConnectedSocket},
    cluster::{ClosedBy, ClusterInfo, Host, Outcome, PoolFailure, PoolFailureReason},
    io::BoxIo,
    stream_info::{Passthrough, StreamInfo},
    transport_socket::TransportError,
    worker::Worker,
};

use crate::client_connection::Factories;

/// Opens one connection.
pub(super) struct Connector<'a> {
    /// The worker that will own it.
    pub worker: &'a Rc<Worker>,
    /// What opens sockets.
    pub factories: &'a Factories,
    /// The cluster.
    pub cluster: &'a Arc<ClusterInfo>,
    /// The host.
    pub host: &'a Arc<Host>,
    /// On whose behalf.
    pub downstream: Option<&'a StreamInfo>,
    /// Whether it reads as soon as it is connected.
    pub reads_at_once: bool,
}

/// A connection that is ready for use.
pub(super) struct Opened {
    /// The bytes, transport socket included.
    pub io: BoxIo,
    /// This end.
    pub local_address: Option<Address>,
    /// The peer's end.
    pub remote_address: Address,
    /// Its number.
    pub connection_id: u64,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// The socket could not be connected.
    Connect(ConnectError),
    /// The transport socket could not be set up.
    Transport(TransportError),
    /// It took too long.
    Timeout,
    /// The worker ends.
    NoWorker,
}

impl Connector<'_> {
    /// Connects within the cluster's `connect_timeout`.
    pub(super) async fn connect(&self) -> Result<Opened, Failure> {
        let (timers, limit) = (self.worker.timers(), self.cluster.connect_timeout);
        let outcome = if self.host.additional_addresses.is_empty() {
            timers.timeout(limit, self.one_address(&self.host.address)).await
        } else {
            // In a box, so that the memory is there only for the few who need it.
            timers.timeout(limit, Box::pin(self.any_address())).await
        };
        let result = outcome.unwrap_or(Err(Failure::Timeout));
        self.take_note(&result);
        result
    }

    async fn any_address(&self) -> Result<Opened, Failure> {
        let addresses = race::order(&self.host.address, &self.host.additional_addresses);
        race::first(addresses.len(), |index| {
            if index > 0 {
                // Envoy counts every attempt, though they are one connection to the outside.
                self.cluster.stats.upstream_cx_total.inc();
            }
            self.one_address(addresses[index])
        })
        .await
    }

    async fn one_address(&self, address: &Address) -> Result<Opened, Failure> {
        let connection_id = self.worker.server().connection_ids.next();
        let transport_socket = self.cluster.transport_socket.as_ref();
        let mut context = ConnectContext {
            worker: self.worker,
            cluster: self.cluster,
            host: self.host,
            address,
            downstream: self.downstream,
            passthrough: Passthrough::default(),
            reads_at_once: self.reads_at_once,
        };
        if let Some(transport_socket) = transport_socket {
            transport_socket.prepare(&mut context);
        }
        let Some(factory) = self.factories.get(address.kind()) else {
            return Err(no_factory(address).into());
        };
        let ConnectedSocket { io, local_address, remote_address } = factory.connect(&mut context).await?;
        let io = match transport_socket {
            Some(transport_socket) => transport_socket.wrap(io, &context).await?,
            None => io,
        };
        Ok(Opened { io, local_address, remote_address, connection_id })
    }

    fn take_note(&self, result: &Result<Opened, Failure>) {
        let stats = &self.cluster.stats;
        let outcome = match result {
            Ok(_) => Outcome::Connected,
            Err(Failure::Timeout) => {
                stats.upstream_cx_connect_timeout.inc();
                Outcome::ConnectTimeout
            }
            Err(Failure::Connect(ConnectError::Bind { .. })) => {
                stats.bind_errors.inc();
                // It says nothing about the host.
                return;
            }
            Err(Failure::Connect(ConnectError::Socket(_)) | Failure::NoWorker) => return,
            Err(Failure::Connect(_) | Failure::Transport(_)) => Outcome::ConnectFailed,
        };
        self.host.report(outcome);
    }
}

/// As if nobody listened there: the kind of address is known, but nothing is linked or installed that could serve it.
fn no_factory(address: &Address) -> ConnectError {
    let source = io::Error::from(rustix::io::Errno::INVAL);
    ConnectError::Immediate { address: address.clone(), source }
}

impl Failure {
    /// Who ended the connection, in Envoy's eyes.
    pub(super) fn closed_by(&self) -> ClosedBy {
        match self {
            Self::Connect(ConnectError::Bind { .. } | ConnectError::Socket(_))
            | Self::Timeout
            | Self::NoWorker => ClosedBy::Local,
            Self::Connect(_) | Self::Transport(_) => ClosedBy::Remote,
        }
    }

    /// What the caller is told.
    pub(super) fn on(self, host: &Arc<Host>) -> PoolFailure {
        let reason = match (&self, self.closed_by()) {
            (Self::Timeout, _) => PoolFailureReason::Timeout,
            (_, ClosedBy::Local) => PoolFailureReason::LocalConnectionFailure,
            (_, ClosedBy::Remote) => PoolFailureReason::RemoteConnectionFailure,
        };
        let words = match self {
            Self::Connect(error) => Some(error.to_string()),
            Self::Transport(error) => Some(error.to_string()),
            Self::Timeout | Self::NoWorker => None,
        };
        let transport_failure_reason = words.map(|words| words.replace(' ', "_"));
        PoolFailure { reason, transport_failure_reason, host: Some(Arc::clone(host)) }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}
