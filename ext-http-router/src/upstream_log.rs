//! Logs of attempts (`upstream_log`): what one attempt was like, seen from the upstream.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Context,
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use tokio::time::{Interval, MissedTickBehavior};
use underpass_core::{
    access_log::{AccessLogType, AccessLogs},
    build_context::{BuildContext, BuildError},
    formatter::FormatContext,
    response_flags::ResponseFlag,
    stream_info::StreamInfo,
};
use underpass_http::{HttpStream, message_headers::MessageHeaders};

use crate::{config::Router, filter::Settings, request::Request, request_body::SentCounter};

/// Where and when attempts are logged.
pub(crate) struct UpstreamLogs {
    logs: AccessLogs,
    on_stream: bool,
    interval: Option<Duration>,
}

impl UpstreamLogs {
    /// `None` if attempts are not logged.
    pub(crate) fn build(config: &Router, context: &BuildContext<'_>) -> Result<Option<Self>, BuildError> {
        let logs = AccessLogs::build(&config.upstream_log, context)?;
        let options = config.upstream_log_options.clone().unwrap_or_default();
        Ok((!logs.is_empty()).then_some(Self {
            logs,
            on_stream: options.flush_upstream_log_on_upstream_stream,
            interval: options.upstream_log_flush_interval.filter(|interval| !interval.is_zero()),
        }))
    }
}

/// The log of one attempt; written when it is dropped.
pub(crate) struct AttemptLog {
    settings: Arc<Settings>,
    stream: Rc<HttpStream>,
    /// What is known of the attempt. Received is what came from the upstream.
    info: StreamInfo,
    head: RefCell<Option<(StatusCode, HeaderMap)>>,
    trailers: RefCell<Option<HeaderMap>>,
    sent: SentCounter,
    timer: RefCell<Option<Pin<Box<Interval>>>>,
    is_periodic: Cell<bool>,
}

impl AttemptLog {
    /// An attempt begins. `None` if attempts are not logged.
    pub(crate) fn start(request: &Request) -> Option<Rc<Self>> {
        let logs = request.settings.logs.as_ref()?;
        let of_stream = &request.stream.info;
        let info = of_stream.for_request();
        info.details.route_name.replace(of_stream.details.route_name.borrow().clone());
        info.details.stream_id.replace(of_stream.details.stream_id.borrow().clone());
        let timer = logs.interval.map(|interval| {
            let mut timer = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Box::pin(timer)
        });
        Some(Rc::new(Self {
            settings: Arc::clone(&request.settings),
            stream: Rc::clone(&request.stream),
            info,
            head: RefCell::default(),
            trailers: RefCell::default(),
            sent: request.body.sent_counter(),
            is_periodic: Cell::new(timer.is_some()),
            timer: RefCell::new(timer),
        }))
    }

    /// There is an upstream stream.
    pub(crate) fn stream_begins(&self) {
        if self.settings.logs.as_ref().is_some_and(|logs| logs.on_stream) {
            self.write(AccessLogType::UpstreamPoolReady);
        }
    }

    pub(crate) fn set_flag(&self, flag: ResponseFlag) {
        self.info.set_flag(flag);
    }

    /// The head of the answer is there.
    pub(crate) fn answered(&self, status: StatusCode, headers: &HeaderMap) {
        self.info.response_code.set(Some(status.as_u16()));
        *self.head.borrow_mut() = Some((status, headers.clone()));
    }

    /// A piece of the answer is there.
    pub(crate) fn received(&self, length: u64) {
        self.info.bytes_received.update(|bytes| bytes + length);
    }

    /// Bytes of a tunnel were sent. (Those of a body are counted by whoever reads it.)
    pub(crate) fn sent(&self, length: u64) {
        self.info.bytes_sent.update(|bytes| bytes + length);
    }

    /// The answer is complete.
    pub(crate) fn complete(self: Rc<Self>, trailers: Option<&HeaderMap>) {
        *self.trailers.borrow_mut() = trailers.cloned();
    }

    /// Writes if it is time to.
    pub(crate) fn poll_periodic(&self, cx: &mut Context<'_>) {
        if !self.is_periodic.get() {
            return;
        }
        loop {
            let mut timer = self.timer.borrow_mut();
            let Some(timer) = timer.as_mut() else { return };
            if timer.poll_tick(cx).is_pending() {
                return;
            }
            self.write(AccessLogType::UpstreamPeriodic);
        }
    }

    fn write(&self, moment: AccessLogType) {
        let Some(logs) = &self.settings.logs else { return };
        self.copy_upstream();
        let request = self.stream.request();
        let (head, trailers) = (self.head.borrow(), self.trailers.borrow());
        let mut headers = MessageHeaders::of_request(&request);
        if let Some((status, head)) = &*head {
            headers = headers.with_response(*status, head).with_response_trailers(trailers.as_ref());
        }
        let context = FormatContext { info: &self.info, access_log_type: moment, headers: Some(&headers) };
        logs.logs.log(&context);
    }

    /// Takes over what the stream's info says of this attempt.
    fn copy_upstream(&self) {
        let (from, to) = (&self.stream.info.upstream, &self.info.upstream);
        to.host.replace(from.host.borrow().clone());
        to.cluster.replace(from.cluster.borrow().clone());
        to.local_address.set(from.local_address.get());
        to.remote_address.set(from.remote_address.get());
        to.connection_id.set(from.connection_id.get());
        to.details.transport_failure_reason.replace(from.details.transport_failure_reason.borrow().clone());
        to.connect_started.set(from.connect_started.get());
        to.connected.set(from.connected.get());
        to.details.protocol.set(from.details.protocol.get());
        to.connection_pool_ready.set(from.connection_pool_ready.get());
        to.details.first_byte_sent.set(from.details.first_byte_sent.get());
        to.details.last_byte_sent.set(from.details.last_byte_sent.get());
        to.details.first_byte_received.set(from.details.first_byte_received.get());
        to.details.last_byte_received.set(from.details.last_byte_received.get());
        to.wire_bytes_sent.set(from.wire_bytes_sent.get());
        to.wire_bytes_received.set(from.wire_bytes_received.get());
        if let Some(sent) = self.sent.get() {
            self.info.bytes_sent.set(sent);
        }
    }
}

impl Drop for AttemptLog {
    fn drop(&mut self) {
        self.info.complete();
        self.write(AccessLogType::UpstreamEnd);
    }
}
