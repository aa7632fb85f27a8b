//! Counting how streams end.

use std::rc::Rc;

use tokio::task::JoinHandle;

use crate::{
    frames::FrameMeter,
    reset::{ResetReason, StreamGuard, StreamReset},
    upstream::accounting::StreamHold,
};

/// What a stream holds until its answer has ended. One that is dropped before was given up here.
pub(super) struct Guard {
    hold: StreamHold,
    /// The task that sends the request's body, if there is one.
    upload: Option<JoinHandle<()>>,
    /// Where its frames are noted.
    frames: Option<(Rc<FrameMeter>, u32)>,
    ended: bool,
}

impl Guard {
    pub(super) fn new(hold: StreamHold) -> Self {
        Self { hold, upload: None, frames: None, ended: false }
    }

    /// From now on the stream's frames are noted, if somebody wants to know.
    pub(super) fn watch_frames(&mut self, frames: &Rc<FrameMeter>, stream: u32) {
        if let Some(info) = &self.hold.info {
            frames.watch(stream, info);
            self.frames = Some((Rc::clone(frames), stream));
        }
    }

    /// From now on a task sends the rest of the request.
    pub(super) fn watch(&mut self, upload: JoinHandle<()>) {
        self.upload = Some(upload);
    }

    /// Counts a reset as Envoy's `MultiplexedActiveClientBase::onStreamReset` does, and completes what is known of it.
    pub(super) fn fail(&mut self, reset: StreamReset) -> StreamReset {
        self.ended = true;
        let connection = &self.hold.connection;
        let stats = &connection.cluster.stats;
        match reset.reason {
            ResetReason::ConnectionTermination
            | ResetReason::LocalConnectionFailure
            | ResetReason::RemoteConnectionFailure
            | ResetReason::ConnectionTimeout => {
                stats.upstream_rq_pending_failure_eject.inc();
                return connection.ended_with_request(reset.reason);
            }
            ResetReason::LocalReset | ResetReason::ProtocolError => stats.upstream_rq_tx_reset.inc(),
            ResetReason::RemoteReset => stats.upstream_rq_rx_reset.inc(),
            _ => {}
        }
        reset
    }

    fn give_up(&mut self) {
        self.fail(ResetReason::LocalReset.into());
    }
}

impl StreamGuard for Guard {
    fn ended(mut self: Box<Self>, end: Result<(), &StreamReset>) {
        match end {
            Err(reset) => {
                self.fail(reset.clone());
            }
            // An answer that is complete before its request is ends the request, as in Envoy.
            Ok(()) if self.upload.as_ref().is_some_and(|upload| !upload.is_finished()) => self.give_up(),
            Ok(()) => self.ended = true,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.ended {
            self.give_up();
        }
        if let Some(upload) = &self.upload {
            upload.abort();
        }
        if let Some((frames, stream)) = &self.frames {
            frames.forget(*stream);
        }
    }
}
