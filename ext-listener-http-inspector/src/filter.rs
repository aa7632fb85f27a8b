//! The filter: reads until it knows what the client speaks, and notes that.

use std::{io, sync::Arc};

use underpass_core::{
    connection::BoxFuture,
    io::LookAhead,
    listener_filter::{AcceptedSocket, ListenerFilter, ListenerFilterError},
    stat_group,
    stats::Scope,
    stream_info::StreamInfo,
};

use crate::request_line::{Beginning, Version, look_at};

/// The longest first line that is read, in bytes, as in Envoy.
const LONGEST_LINE: usize = 64 * 1024;

/// How much is asked of the stream at a time.
const PIECE: usize = 8 * 1024;

stat_group! {
    /// `http_inspector.*`.
    pub(crate) struct Stats {
        /// Clients whose first line is too long.
        counter read_error,
        /// Clients that speak HTTP/1.0, or whatever is taken for it.
        counter http10_found,
        /// Clients that speak HTTP/1.1.
        counter http11_found,
        /// Clients that speak HTTP/2.
        counter http2_found,
        /// Clients that speak something else.
        counter http_not_found,
    }
}

pub(crate) struct HttpInspectorFilter {
    stats: Stats,
}

impl HttpInspectorFilter {
    pub(crate) fn new(stats: &Scope) -> Self {
        Self { stats: Stats::new(&stats.scope("http_inspector")) }
    }

    /// What the stream begins with; `None` if its first line does not end.
    async fn read(&self, mut stream: LookAhead<'_>) -> io::Result<Option<Beginning>> {
        loop {
            if stream.fill(PIECE).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(beginning) = look_at(stream.buffered()) {
                return Ok(Some(beginning));
            }
            if stream.buffered().len() >= LONGEST_LINE {
                return Ok(None);
            }
        }
    }

    fn note(&self, beginning: Beginning, info: &StreamInfo) {
        // The names are those of ALPN, <https://www.iana.org/assignments/tls-extensiontype-values>.
        let (counter, protocol) = match beginning {
            Beginning::Http(Version::Http10) => (&self.stats.http10_found, "http/1.0"),
            Beginning::Http(Version::Http11) => (&self.stats.http11_found, "http/1.1"),
            Beginning::Http(Version::Http2) => (&self.stats.http2_found, "h2c"),
            Beginning::Other => return self.stats.http_not_found.inc(),
        };
        counter.inc();
        *info.details.application_protocols.borrow_mut() = vec![Arc::from(protocol)];
    }
}

impl ListenerFilter for HttpInspectorFilter {
    fn inspect<'a>(
        &'a self,
        socket: &'a mut AcceptedSocket,
    ) -> BoxFuture<'a, Result<(), ListenerFilterError>> {
        Box::pin(async move {
            let transport = socket.info.details.detected_transport_protocol.borrow().clone();
            if transport.is_some_and(|transport| &*transport != "raw_buffer") {
                return Ok(());
            }
            let Some(beginning) = self.read(LookAhead::new(&mut socket.io)).await? else {
                self.stats.read_error.inc();
                return Err(ListenerFilterError::Rejected("the first line is too long".to_owned()));
            };
            self.note(beginning, &socket.info);
            Ok(())
        })
    }
}
