//! The filter: reads until it knows what the client speaks, and notes that.

use std::{io, sync::Arc};

use underpass_core::{
    config::{Struct, Value},
    connection::BoxFuture,
    io::LookAhead,
    listener_filter::{AcceptedSocket, ListenerFilter, ListenerFilterError},
    stat_group,
    stats::Scope,
    stream_info::StreamInfo,
};

use crate::{
    client_hello::ClientHello,
    failure::Failure,
    records::{Beginning, Records},
};

/// The namespace of the dynamic metadata, and the key in it.
const METADATA: (&str, &str) = ("envoy.filters.listener.tls_inspector", "failure_reason");

stat_group! {
    /// `tls_inspector.*`.
    pub(crate) struct Stats {
        /// Clients whose ClientHello was too long.
        counter client_hello_too_large,
        /// Clients that speak TLS.
        counter tls_found,
        /// Clients that do not.
        counter tls_not_found,
        /// TLS clients that offer protocols.
        counter alpn_found,
        /// TLS clients that offer none.
        counter alpn_not_found,
        /// TLS clients that ask for a server.
        counter sni_found,
        /// TLS clients that do not.
        counter sni_not_found,
        /// How many bytes decided what a client is.
        histogram(Bytes) bytes_processed,
    }
}

pub(crate) struct TlsInspectorFilter {
    /// How many bytes are read at first, and at most.
    first: usize,
    most: usize,
    close_others: bool,
    stats: Stats,
}

impl TlsInspectorFilter {
    pub(crate) fn new(first: usize, most: usize, close_others: bool, stats: &Scope) -> Self {
        Self { first, most, close_others, stats: Stats::new(&stats.scope("tls_inspector")) }
    }
}

impl ListenerFilter for TlsInspectorFilter {
    fn inspect<'a>(
        &'a self,
        socket: &'a mut AcceptedSocket,
    ) -> BoxFuture<'a, Result<(), ListenerFilterError>> {
        Box::pin(async move {
            let beginning = self.read(LookAhead::new(&mut socket.io)).await?;
            self.note(beginning, &socket.info)
        })
    }
}

impl TlsInspectorFilter {
    /// What the stream begins with; `None` for a `ClientHello` that is too long.
    async fn read(&self, mut stream: LookAhead<'_>) -> io::Result<Option<Beginning>> {
        let mut records = Records::default();
        let mut wanted = self.first;
        loop {
            let missing = wanted - stream.buffered().len();
            if stream.fill(missing).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let buffered = stream.buffered().len();
            if let Some(beginning) = records.look_at(stream.buffered()) {
                self.stats.bytes_processed.record(records.processed() as u64);
                return Ok(Some(beginning));
            }
            if buffered >= self.most {
                self.stats.bytes_processed.record(buffered as u64);
                return Ok(None);
            }
            if buffered >= wanted {
                wanted = (2 * buffered).min(self.most);
            }
        }
    }

    fn note(&self, beginning: Option<Beginning>, info: &StreamInfo) -> Result<(), ListenerFilterError> {
        let rejected = |why: &str| Err(ListenerFilterError::Rejected(why.to_owned()));
        match beginning {
            None => {
                self.stats.client_hello_too_large.inc();
                note_failure(info, "ClientHelloTooLarge");
                rejected("the ClientHello is too long")
            }
            Some(Beginning::CloseNotify) => rejected("the client closed before its ClientHello"),
            Some(Beginning::Other(failure)) => {
                self.stats.tls_not_found.inc();
                note_failure(info, "ClientHelloNotDetected");
                note_reason(info, failure);
                if self.close_others {
                    rejected("the client does not begin with a ClientHello")
                } else {
                    Ok(())
                }
            }
            Some(Beginning::Hello(hello)) => self.note_hello(hello, info),
        }
    }

    fn note_hello(&self, hello: ClientHello, info: &StreamInfo) -> Result<(), ListenerFilterError> {
        let known_version = hello.has_known_version();
        let ClientHello { server_name, application_protocols, .. } = hello;
        count(server_name.is_some(), &self.stats.sni_found, &self.stats.sni_not_found);
        if server_name.is_some() {
            *info.details.requested_server_name.borrow_mut() = server_name;
        }
        let offers_protocols = !application_protocols.is_empty();
        if offers_protocols {
            *info.details.application_protocols.borrow_mut() = application_protocols;
        }
        if !known_version {
            self.stats.tls_not_found.inc();
            note_failure(info, "ClientHelloInvalidTlsVersion");
            note_reason(info, Failure::InvalidVersion);
            return Err(ListenerFilterError::Rejected("the ClientHello has no version of TLS".to_owned()));
        }
        self.stats.tls_found.inc();
        count(offers_protocols, &self.stats.alpn_found, &self.stats.alpn_not_found);
        *info.details.detected_transport_protocol.borrow_mut() = Some(Arc::from("tls"));
        Ok(())
    }
}

fn count(found: bool, yes: &underpass_core::stats::Counter, no: &underpass_core::stats::Counter) {
    if found { yes.inc() } else { no.inc() }
}

fn note_failure(info: &StreamInfo, reason: &str) {
    let values = Struct::from_iter([(METADATA.1.to_owned(), Value::String(reason.to_owned()))]);
    info.dynamic_metadata.borrow_mut().merge(METADATA.0, values);
}

fn note_reason(info: &StreamInfo, failure: Failure) {
    *info.details.downstream_transport_failure_reason.borrow_mut() = Some(failure.to_string());
}
