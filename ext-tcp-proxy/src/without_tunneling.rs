//! What stands where tunnels are in a binary without HTTP: a configuration that asks for one is refused.

use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::Value,
    connection::BoxFuture,
    io::BoxIo,
    stream_info::StreamInfo,
};

use crate::upstream::{Attempt, OpenFailure, Upstream, UpstreamKind};

/// `TcpProxy.TunnelingConfig`, unread.
pub type TunnelingConfig = Value;

/// There is none.
pub(crate) enum Tunnel {}

impl Tunnel {
    pub(crate) fn build(_: &TunnelingConfig, context: &BuildContext<'_>) -> Result<Self, BuildError> {
        let message = "this binary is built without tunnels, which need HTTP: the feature `tunneling` of \
                       underpass-ext-tcp-proxy, or `http` of underpass-proxy-bin";
        Err(context.error_at("tunneling_config", message))
    }
}

impl UpstreamKind for Tunnel {
    fn open<'a>(&'a self, _: Attempt<'a>) -> BoxFuture<'a, Result<Upstream, OpenFailure>> {
        match *self {}
    }
}

/// What a tunnel adds to the client's side: there is none.
pub(crate) enum ForClient {}

impl ForClient {
    pub(crate) fn wrap(self, _: BoxIo) -> BoxIo {
        match self {}
    }
}

/// The trailers of a tunnel's answer: there is none.
pub(crate) enum ResponseTrailers {}

impl ResponseTrailers {
    pub(crate) fn propagate(self, _: &StreamInfo) {
        match self {}
    }
}
