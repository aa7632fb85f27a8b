//! A place for one request on an upstream connection, and what becomes of it.

use std::{cell::OnceCell, rc::Rc, sync::Arc};

use http::{HeaderMap, StatusCode};
use underpass_core::{
    address::Address,
    cluster::{ClusterInfo, Host},
    io::BoxIo,
    stream_info::SharedStreamInfo,
};

use super::{
    accounting::{ConnectionState, StreamHold},
    http1::{self, Http1Client},
    http2::{self, Http2Place},
    protocol::Protocol,
};
use crate::{Body, RequestHead, Response, reset::StreamReset};

/// A place for one request. Dropping it gives the place back.
pub struct PooledStream {
    place: Place,
    hold: StreamHold,
}

/// The connection of a place.
pub(super) enum Place {
    Http1(Box<Http1Client>),
    Http2(Http2Place),
}

impl Place {
    pub(super) fn connection(&self) -> &Rc<ConnectionState> {
        match self {
            Self::Http1(client) => &client.connection,
            Self::Http2(place) => &place.client.connection,
        }
    }

    /// The connection takes no more requests after this one.
    pub(super) fn use_up(&self) {
        match self {
            Self::Http1(client) => client.use_up(),
            Self::Http2(place) => place.client.drain(),
        }
    }
}

/// Answers that came before the last one (1xx, but 100): in the extensions of a response, where there were any.
#[derive(Debug, Clone, Default)]
pub struct InterimAnswers(pub Vec<StatusCode>);

impl InterimAnswers {
    pub(super) fn note(&mut self, status: StatusCode) {
        // More than a few are no matter for stats.
        if status != StatusCode::CONTINUE && self.0.len() < 16 {
            self.0.push(status);
        }
    }

    pub(super) fn put_into<B>(self, response: &mut http::Response<B>) {
        if !self.0.is_empty() {
            response.extensions_mut().insert(self);
        }
    }
}

/// The trailers of a tunnel's answer, once they have arrived.
pub type Trailers = Rc<OnceCell<HeaderMap>>;

/// The answer to a tunnel request.
pub struct Established {
    /// The answer; its body is empty where there is a tunnel.
    pub response: Response,
    /// The tunnel: after a 2xx to a CONNECT, or a 101. It counts its wire bytes into the cluster's stats itself; dropping
    /// it unfinished resets the stream.
    pub io: Option<BoxIo>,
    /// Whether the peer's direction ended with the head of the answer.
    pub ended: bool,
    /// Trailers that end the tunnel's stream (HTTP/2 only).
    pub trailers: Trailers,
}

impl PooledStream {
    pub(super) fn new(place: Place, hold: StreamHold) -> Self {
        Self { place, hold }
    }

    fn connection(&self) -> &ConnectionState {
        self.place.connection()
    }

    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        &self.connection().host
    }

    /// The cluster.
    pub fn cluster(&self) -> &Arc<ClusterInfo> {
        &self.connection().cluster
    }

    /// The number of the connection.
    pub fn connection_id(&self) -> u64 {
        self.connection().connection_id
    }

    /// This end of the connection.
    pub fn local_address(&self) -> Option<&Address> {
        self.connection().local_address.as_ref()
    }

    /// The peer's end.
    pub fn remote_address(&self) -> &Address {
        &self.connection().remote_address
    }

    /// What the connection speaks.
    pub fn protocol(&self) -> Protocol {
        self.connection().protocol
    }

    /// How many requests the connection has carried, this one included.
    pub fn requests(&self) -> u32 {
        self.connection().requests()
    }

    /// Notes in `info` which connection is used, and from now on the wire bytes of the stream.
    pub fn note(&mut self, info: &SharedStreamInfo) {
        let upstream = &info.upstream;
        let connection = self.place.connection();
        upstream.local_address.set(connection.local_address.clone());
        upstream.remote_address.set(Some(connection.remote_address.clone()));
        upstream.note_connection(&connection.host, connection.connection_id);
        upstream.details.protocol.set(Some(connection.protocol.name()));
        self.hold.account_to(info);
    }

    /// Sends a request and waits for the head of the answer. Dropping the future, or the answer's body before its end,
    /// resets the stream. The head is looked at now; the future does not need it.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn send(
        self,
        head: &RequestHead,
        body: Body,
    ) -> impl Future<Output = Result<Response, StreamReset>> + use<> {
        #[expect(
            clippy::large_enum_variant,
            reason = "it moves into the future at once; a box would cost each request"
        )]
        enum Begun {
            Http1(Result<http1::Begun, StreamReset>),
            Http2(Http2Place, StreamHold, Result<http2::Encoded, StreamReset>, Body),
        }
        let begun = match self.place {
            Place::Http1(client) => Begun::Http1(http1::begin(client, self.hold, head, body)),
            Place::Http2(place) => Begun::Http2(place, self.hold, http2::encode(head.clone()), body),
        };
        async move {
            match begun {
                Begun::Http1(begun) => http1::send(begun?).await,
                Begun::Http2(place, hold, encoded, body) => http2::send(place, hold, encoded?, body).await,
            }
        }
    }

    /// Sends a CONNECT, or the request for an upgrade, and waits for the answer.
    ///
    /// # Errors
    /// Why there is no answer. One that refuses is no error.
    pub async fn tunnel(self, head: RequestHead) -> Result<Established, StreamReset> {
        match self.place {
            Place::Http1(client) => http1::tunnel(client, self.hold, head).await,
            Place::Http2(place) => http2::tunnel(place, self.hold, head).await,
        }
    }
}
