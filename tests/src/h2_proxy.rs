//! The proxy at the far end of HTTP/2 tunnels: it answers every stream with one status and sends back what comes.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{Request, Response};
use tokio::net::TcpListener;

use crate::server_thread::ServerThread;

/// A server; it ends when it is dropped.
#[derive(Debug)]
pub struct H2Proxy {
    thread: ServerThread,
    shared: Arc<Shared>,
}

/// What it does with a stream.
#[derive(Debug, Clone, Copy)]
pub enum Behaviour {
    /// Answers with a status. After a 2xx it sends back what comes, and the end.
    Answers(u16),
    /// Answers with 200, says that nothing follows, and counts what comes.
    FinishesFirst,
    /// Never answers.
    Silent,
    /// Answers with 200 and takes nothing: the window stays shut.
    Stalls,
}

#[derive(Debug, Default)]
struct Shared {
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: Mutex<Vec<String>>,
    resets: AtomicUsize,
    received: AtomicUsize,
}

impl H2Proxy {
    /// Starts on a port of the kernel's choice.
    pub fn start(behaviour: Behaviour) -> Self {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let thread = ServerThread::start(move |listener| serve(listener, behaviour, serving));
        Self { thread, shared }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.thread.address().port()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How many streams are open.
    pub fn open_streams(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// How many streams were reset.
    pub fn resets(&self) -> usize {
        self.shared.resets.load(Ordering::Relaxed)
    }

    /// How many bytes came on streams that were finished first here.
    pub fn received(&self) -> usize {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// The requests that came, `METHOD target`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().expect("nobody panics with the lock held").clone()
    }
}

async fn serve(listener: TcpListener, behaviour: Behaviour, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(2000).initial_connection_window_size(16 * 1024 * 1024);
            let Ok(mut connection) = builder.handshake(stream).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(answer(request, respond, behaviour, Arc::clone(&shared)));
            }
        });
    }
}

async fn answer(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    behaviour: Behaviour,
    shared: Arc<Shared>,
) {
    let text = format!("{} {}", request.method(), request.uri());
    shared.requests.lock().expect("nobody panics with the lock held").push(text);
    shared.open.fetch_add(1, Ordering::Relaxed);
    if converse(request.into_body(), respond, behaviour, &shared).await.is_none() {
        shared.resets.fetch_add(1, Ordering::Relaxed);
    }
    shared.open.fetch_sub(1, Ordering::Relaxed);
}

/// `None` if the stream is reset.
async fn converse(
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    behaviour: Behaviour,
    shared: &Shared,
) -> Option<()> {
    let status = match behaviour {
        Behaviour::Answers(status) => status,
        Behaviour::Stalls | Behaviour::FinishesFirst => 200,
        Behaviour::Silent => {
            std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok();
            return None;
        }
    };
    let ends = !(200..300).contains(&status);
    let head = Response::builder().status(status).body(()).ok()?;
    let mut stream = respond.send_response(head, ends).ok()?;
    if ends {
        return Some(());
    }
    if matches!(behaviour, Behaviour::Stalls) {
        std::future::poll_fn(|cx| stream.poll_reset(cx)).await.ok();
        return None;
    }
    if matches!(behaviour, Behaviour::FinishesFirst) {
        stream.send_data(Bytes::new(), true).ok()?;
        while let Some(piece) = body.data().await {
            shared.received.fetch_add(piece.ok()?.len(), Ordering::Relaxed);
        }
        return Some(());
    }
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        // The stream may be over.
        let _ = body.flow_control().release_capacity(piece.len());
        send(&mut stream, piece).await?;
    }
    stream.send_data(Bytes::new(), true).ok()
}

async fn send(stream: &mut SendStream<Bytes>, mut piece: Bytes) -> Option<()> {
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await?.ok()?;
        stream.send_data(piece.split_to(room.min(piece.len())), false).ok()?;
    }
    Some(())
}
