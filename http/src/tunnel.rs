//! Raw bytes after an answer: a CONNECT that was accepted, a WebSocket, any other upgrade.

use underpass_core::{connection::BoxFuture, io::BoxIo};

/// What is to be done with a downstream stream once the head of a successful answer is sent.
///
/// The codec makes an [`Io`](underpass_core::io::Io) of the stream (the connection itself in HTTP/1, a stream's DATA frames
/// in HTTP/2) and runs the tunnel with it, in the task of the request. The tunnel owns both sides: it counts, it
/// times out, and it resets the downstream where the upstream failed. It may be dropped at any await.
pub struct Tunnel(Box<dyn FnOnce(BoxIo) -> BoxFuture<'static, ()>>);

impl Tunnel {
    /// A tunnel that does this with the downstream.
    pub fn new(run: impl FnOnce(BoxIo) -> BoxFuture<'static, ()> + 'static) -> Self {
        Self(Box::new(run))
    }

    /// Runs it until both sides are done.
    pub fn run(self, downstream: BoxIo) -> BoxFuture<'static, ()> {
        (self.0)(downstream)
    }
}
