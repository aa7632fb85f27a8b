//! What the end of a connection means: flags, counters, and how the other side learns of it.
//!
//! Connections are closed by dropping them. A kernel socket then sends FIN, or RST if bytes were left unread; a reset is
//! asked for first where the other side shall see one.

use std::io;

use underpass_core::{
    cluster::{ClosedBy, ConnectionLease},
    connection::ConnectionError,
    io::{BoxIo, Io},
    relay::{RelayEnd, Side},
    response_flags::ResponseFlag,
    stream_info::{DetectedClose, StreamInfo},
    user_space_socket::{Refusal, RefusalNote},
};

use crate::{connect::GivenUp, stats::TcpProxyStats};

/// Why a connection ended before it had an upstream connection.
pub(crate) enum Unconnected {
    /// With what the proxy answered that was asked for a tunnel.
    GivenUp(GivenUp, Option<Refusal>),
    ClientGone(io::Error),
    TimeUp(TimeUp),
}

impl Unconnected {
    /// What the proxy answered that was asked for a tunnel.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::GivenUp(_, refusal) => refusal.as_ref(),
            Self::ClientGone(_) | Self::TimeUp(_) => None,
        }
    }
}

/// Tells the hop before this one that a proxy is being asked for a tunnel behind the next one.
pub(crate) fn pass_on_asking(next: Option<RefusalNote>, downstream: &BoxIo) {
    if let (Some(next), Some(note)) = (next, downstream.refusal_note())
        && next.was_asked()
    {
        note.ask();
    }
}

/// Tells the hop before this one that a tunnel was refused.
pub(crate) fn pass_on_refusal(refusal: Option<&Refusal>, downstream: &BoxIo) {
    if let (Some(refusal), Some(note)) = (refusal, downstream.refusal_note()) {
        note.leave(refusal.clone());
    }
}

/// Which of its times is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeUp {
    Idle,
    Duration,
}

impl TimeUp {
    /// `%DOWNSTREAM_LOCAL_CLOSE_REASON%`, as in Envoy.
    fn close_reason(self) -> &'static str {
        match self {
            Self::Idle => "tcp_session_idle_timeout",
            Self::Duration => "max_connection_duration_reached",
        }
    }

    fn note(self, info: &StreamInfo, stats: &TcpProxyStats) -> ConnectionError {
        match self {
            Self::Idle => stats.idle_timeout.inc(),
            Self::Duration => {
                stats.max_downstream_connection_duration.inc();
                info.set_flag(ResponseFlag::DurationTimeout);
            }
        }
        *info.details.downstream_local_close_reason.borrow_mut() = Some(self.close_reason().into());
        ConnectionError::Local(self.close_reason().to_owned())
    }
}

/// The end of a connection without an upstream connection.
pub(crate) fn unconnected(why: Unconnected, info: &StreamInfo, stats: &TcpProxyStats) -> ConnectionError {
    match why {
        Unconnected::GivenUp(why, _) => {
            *info.details.downstream_local_close_reason.borrow_mut() = Some(why.close_reason().into());
            ConnectionError::Local(why.to_string())
        }
        Unconnected::ClientGone(error) => {
            if is_reset(&error) {
                info.downstream_detected_close.set(DetectedClose::RemoteReset);
            }
            ConnectionError::Downstream(error)
        }
        Unconnected::TimeUp(time) => time.note(info, stats),
    }
}

/// The end of a relay.
pub(crate) fn relayed(
    end: RelayEnd,
    info: &StreamInfo,
    stats: &TcpProxyStats,
    mut downstream: BoxIo,
    mut upstream: BoxIo,
    lease: Option<Box<dyn ConnectionLease>>,
) -> Result<(), ConnectionError> {
    match end {
        RelayEnd::Finished { first } => {
            // Whoever ends the stream last closes the connection.
            let by = match first {
                Side::Downstream => ClosedBy::Remote,
                Side::Upstream => ClosedBy::Local,
            };
            close(lease, by);
            Ok(())
        }
        RelayEnd::Failed { side: Side::Downstream, error, .. } => {
            if is_reset(&error) {
                info.downstream_detected_close.set(DetectedClose::RemoteReset);
                upstream.reset();
            }
            close(lease, ClosedBy::Local);
            Err(ConnectionError::Downstream(error))
        }
        RelayEnd::Failed { side: Side::Upstream, error, .. } => {
            let refused = upstream.refusal_note();
            pass_on_refusal(refused.as_ref().and_then(RefusalNote::get), &downstream);
            if is_reset(&error) {
                info.set_flag(ResponseFlag::UpstreamRemoteReset);
                info.upstream.detected_close.set(DetectedClose::RemoteReset);
                info.downstream_detected_close.set(DetectedClose::LocalReset);
                downstream.reset();
            }
            close(lease, ClosedBy::Remote);
            Err(ConnectionError::Upstream(error))
        }
        RelayEnd::IdleTimeout => Err(time_up(TimeUp::Idle, info, stats, lease)),
        RelayEnd::DurationTimeout => Err(time_up(TimeUp::Duration, info, stats, lease)),
    }
}

fn time_up(
    time: TimeUp,
    info: &StreamInfo,
    stats: &TcpProxyStats,
    lease: Option<Box<dyn ConnectionLease>>,
) -> ConnectionError {
    // A stream of a tunnel is not a connection that is closed.
    if lease.is_some() {
        *info.upstream.details.local_close_reason.borrow_mut() = Some(time.close_reason().into());
    }
    close(lease, ClosedBy::Local);
    time.note(info, stats)
}

fn close(lease: Option<Box<dyn ConnectionLease>>, by: ClosedBy) {
    if let Some(lease) = lease {
        lease.close(by);
    }
}

/// Whether a side sent a reset. `BrokenPipe` is what a kernel socket reports whose peer had ended its stream before: Envoy
/// takes that for a usual close.
fn is_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}
