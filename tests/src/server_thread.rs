//! A server of a test, in a thread and a runtime of its own.

use std::{net::SocketAddr, thread};

use tokio::{net::TcpListener, sync::oneshot};

/// A server; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct ServerThread {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl ServerThread {
    /// Serves on a port of the kernel's choice.
    pub(crate) fn start<S: Future<Output = ()>>(
        serve: impl FnOnce(TcpListener) -> S + Send + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port for a server");
        listener.set_nonblocking(true).expect("a TCP socket");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (stop, stopped) = oneshot::channel::<()>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = serve(listener) => {}
                    // Dropping the sender is what tells.
                    _ = stopped => {}
                }
            });
        });
        Self { address, _stop: stop }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
