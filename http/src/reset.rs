//! Why a stream ended before its time, in Envoy's words.

use underpass_core::user_space_socket::Refusal;

/// Why a stream was reset; Envoy's `StreamResetReason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResetReason {
    /// This proxy reset it.
    #[error("local reset")]
    LocalReset,
    /// This proxy refused it, so that it may be tried again elsewhere.
    #[error("local refused stream reset")]
    LocalRefusedStreamReset,
    /// The peer reset it.
    #[error("remote reset")]
    RemoteReset,
    /// The peer refused it (HTTP/2 `REFUSED_STREAM`, or a GOAWAY that excludes it).
    #[error("remote refused stream reset")]
    RemoteRefusedStreamReset,
    /// This proxy could not connect.
    #[error("local connection failure")]
    LocalConnectionFailure,
    /// The host refused the connection or went away.
    #[error("remote connection failure")]
    RemoteConnectionFailure,
    /// Connecting took too long.
    #[error("connection timeout")]
    ConnectionTimeout,
    /// The connection ended while the stream was open.
    #[error("connection termination")]
    ConnectionTermination,
    /// A circuit breaker or a buffer limit refused.
    #[error("overflow")]
    Overflow,
    /// The peer's own connection behind a CONNECT failed (HTTP/2 `CONNECT_ERROR`).
    #[error("remote error with CONNECT request")]
    ConnectError,
    /// The peer broke the protocol.
    #[error("protocol error")]
    ProtocolError,
}

impl ResetReason {
    /// As it stands in `%RESPONSE_CODE_DETAILS%`: `remote_connection_failure`.
    pub fn details(self) -> &'static str {
        match self {
            Self::LocalReset => "local_reset",
            Self::LocalRefusedStreamReset => "local_refused_stream_reset",
            Self::RemoteReset => "remote_reset",
            Self::RemoteRefusedStreamReset => "remote_refused_stream_reset",
            Self::LocalConnectionFailure => "local_connection_failure",
            Self::RemoteConnectionFailure => "remote_connection_failure",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionTermination => "connection_termination",
            Self::Overflow => "overflow",
            Self::ConnectError => "remote_error_with_CONNECT_request",
            Self::ProtocolError => "protocol_error",
        }
    }
}

/// A reset, and what the transport says of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StreamReset {
    /// Why.
    pub reason: ResetReason,
    /// In Envoy's words with underscores for spaces, for `%UPSTREAM_TRANSPORT_FAILURE_REASON%` and response code details.
    pub transport_failure_reason: Option<String>,
    /// What a proxy answered to the CONNECT that the connection was to travel through, if that is why it ended: the
    /// upstream is an internal listener that tunnels. Found in the connection's [`Io::refusal_note`].
    ///
    /// [`Io::refusal_note`]: underpass_core::io::Io::refusal_note
    pub refusal: Option<Refusal>,
}

impl From<ResetReason> for StreamReset {
    fn from(reason: ResetReason) -> Self {
        Self { reason, transport_failure_reason: None, refusal: None }
    }
}

impl From<&h2::Error> for StreamReset {
    /// How Envoy's HTTP/2 codec tells its users of an error (`source/common/http/http2/codec_impl.cc`).
    fn from(error: &h2::Error) -> Self {
        let reason = match error.reason() {
            // A stream beyond the last one that a GOAWAY names was not processed (RFC 9113, 6.8).
            Some(_) if error.is_go_away() && error.is_remote() => ResetReason::RemoteRefusedStreamReset,
            Some(h2::Reason::REFUSED_STREAM) if error.is_remote() => ResetReason::RemoteRefusedStreamReset,
            Some(h2::Reason::CONNECT_ERROR) if error.is_remote() => ResetReason::ConnectError,
            Some(h2::Reason::PROTOCOL_ERROR) if error.is_remote() => ResetReason::ProtocolError,
            Some(_) if error.is_remote() => ResetReason::RemoteReset,
            Some(_) if error.is_library() => ResetReason::ProtocolError,
            Some(_) => ResetReason::LocalReset,
            None => ResetReason::ConnectionTermination,
        };
        reason.into()
    }
}

/// Who wants to know how a stream ended. Dropping it without a word says that the stream was given up before its end.
pub trait StreamGuard {
    /// The stream ended, in order or not.
    fn ended(self: Box<Self>, end: Result<(), &StreamReset>);
}

impl From<StreamReset> for std::io::Error {
    fn from(reset: StreamReset) -> Self {
        Self::new(std::io::ErrorKind::ConnectionReset, reset)
    }
}
