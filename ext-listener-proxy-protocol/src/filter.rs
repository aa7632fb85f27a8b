//! The filter: reads the header and puts what it says in place.

use std::{io, rc::Rc};

use underpass_core::{
    connection::BoxFuture,
    io::LookAhead,
    listener_filter::{AcceptedSocket, ListenerFilter, ListenerFilterError},
    proxy_protocol::{FILTER_STATE_KEY, ProxyHeader},
    stream_info::StreamInfo,
};

use crate::{
    header::{Accepted, Beginning, Endpoints, Header, find},
    stats::Stats,
    tlvs::{TlvRules, set_first},
};

pub(crate) struct ProxyProtocolFilter {
    pub(crate) accepted: Accepted,
    pub(crate) rules: TlvRules,
    pub(crate) stats: Stats,
}

impl ListenerFilter for ProxyProtocolFilter {
    fn inspect<'a>(
        &'a self,
        socket: &'a mut AcceptedSocket,
    ) -> BoxFuture<'a, Result<(), ListenerFilterError>> {
        Box::pin(async move {
            let mut stream = LookAhead::new(&mut socket.io);
            let mut wanted = 1;
            loop {
                match find(stream.buffered(), self.accepted) {
                    Beginning::Incomplete(length) => wanted = length.max(wanted),
                    beginning => return self.take(beginning, &mut stream, &socket.info),
                }
                let missing = wanted - stream.buffered().len();
                if stream.fill(missing).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
            }
        })
    }
}

impl ProxyProtocolFilter {
    fn take(
        &self,
        beginning: Beginning,
        stream: &mut LookAhead<'_>,
        info: &StreamInfo,
    ) -> Result<(), ListenerFilterError> {
        let stats = &self.stats;
        let rejected = |why: &str| Err(ListenerFilterError::Rejected(why.to_owned()));
        match beginning {
            Beginning::Header(header) => {
                stats.version(header.version).found.inc();
                stream.consume(header.length);
                self.put_in_place(header, info);
                Ok(())
            }
            Beginning::Allowed => {
                stats.general.not_found_allowed.inc();
                Ok(())
            }
            Beginning::Disallowed(version) => {
                stats.version(version).found.inc();
                stats.version(version).disallowed.inc();
                rejected("PROXY protocol headers of this version are disallowed")
            }
            Beginning::Malformed(version, reason) => {
                stats.version(version).error.inc();
                stats.downstream_cx_proxy_proto_error.inc();
                rejected(&format!("malformed PROXY protocol header: {reason}"))
            }
            Beginning::NotFound | Beginning::Incomplete(_) => {
                stats.general.not_found_disallowed.inc();
                stats.downstream_cx_proxy_proto_error.inc();
                rejected("no PROXY protocol header")
            }
        }
    }

    fn put_in_place(&self, header: Header, info: &StreamInfo) {
        if let Some(Endpoints { source, destination }) = header.endpoints {
            let mut addresses = info.addresses.borrow_mut();
            addresses.set_remote(source.into());
            let destination = destination.into();
            if *addresses.local() != destination {
                addresses.set_local(destination);
                info.local_address_restored.set(true);
            }
        }
        self.rules.note(&header.tlvs, info);
        let addresses = info.addresses.borrow();
        let object = ProxyHeader {
            source: addresses.remote().clone(),
            destination: addresses.local().clone(),
            tlvs: self.rules.passed_through(header.tlvs),
        };
        drop(addresses);
        set_first(info, FILTER_STATE_KEY, Rc::new(object));
    }
}
