//! An HTTP server behind a proxy: HTTP/1.1 and HTTP/2 on one port, with paths for what tests want to see.
//!
//! | path | answer |
//! |---|---|
//! | `/echo` | the request's body, piece by piece, and its trailers |
//! | `/sink` | how many bytes the request's body had |
//! | `/bytes/N` | N bytes |
//! | `/status/N` | that status |
//! | `/trailers` | a body and the trailer `x-trailer: done` |
//! | `/delay/N` | an answer after N milliseconds |
//! | `/endless` | a body that never ends |
//! | `/silent` | nothing, ever |
//! | others | the request, as lines of text |

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::server_thread::ServerThread;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its target; over HTTP/2 with scheme and authority.
    pub target: String,
    /// Its version.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Seen {
    /// A header as text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A server; it ends when it is dropped.
#[derive(Debug)]
pub struct HttpOrigin {
    thread: ServerThread,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    streams: AtomicUsize,
}

impl HttpOrigin {
    /// Starts on a port of the kernel's choice.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let thread = ServerThread::start(move |listener| serve(listener, serving));
        Self { thread, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.thread.address()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.thread.address().port()
    }

    /// The requests that came so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("nobody panics with the lock held").clone()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// How many requests are being answered.
    pub fn open_requests(&self) -> usize {
        self.shared.streams.load(Ordering::Relaxed)
    }
}

/// Counts something while it lives.
struct Count(Arc<Shared>, fn(&Shared) -> &AtomicUsize);

impl Count {
    fn new(shared: &Arc<Shared>, which: fn(&Shared) -> &AtomicUsize) -> Self {
        which(shared).fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared), which)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let open = Count::new(&shared, |shared| &shared.open);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let _open = open;
            // A test sees what went wrong at the other end.
            let _ = stream.set_nodelay(true);
            let mut first = [0; 3];
            while stream.peek(&mut first).await.is_ok_and(|count| (1..3).contains(&count)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
            let io = TokioIo::new(stream);
            if &first == b"PRI" {
                let mut server = http2::Builder::new(TokioExecutor::new());
                server
                    .initial_stream_window_size(1024 * 1024)
                    .initial_connection_window_size(4 * 1024 * 1024);
                server.enable_connect_protocol();
                let _ = server.max_concurrent_streams(2000).serve_connection(io, service).await;
            } else {
                let _ = http1::Builder::new().serve_connection(io, service).await;
            }
        });
    }
}

type Body = BoxBody<Bytes, hyper::Error>;

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed()
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Infallible> {
    let open = Count::new(&shared, |shared| &shared.streams);
    let seen = Seen {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        version: request.version(),
        headers: request.headers().clone(),
    };
    let path = request.uri().path().to_owned();
    let text = format!("{} {} {:?}\n", seen.method, seen.target, seen.version);
    let text = seen.headers.iter().fold(text, |text, (name, value)| {
        text + &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
    });
    shared.seen.lock().expect("nobody panics with the lock held").push(seen);
    let (word, number) =
        path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let number: usize = number.parse().unwrap_or(0);
    let mut response = Response::new(match word {
        "echo" => request.into_body().boxed(),
        "sink" => full(count(request.into_body()).await.to_string()),
        "bytes" => full(vec![b'b'; number]),
        "trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-trailer", HeaderValue::from_static("done"));
            let body =
                Full::new(Bytes::from_static(b"body")).with_trailers(async move { Some(Ok(trailers)) });
            body.map_err(|never: Infallible| match never {}).boxed()
        }
        "delay" => {
            tokio::time::sleep(Duration::from_millis(number as u64)).await;
            full("late")
        }
        "endless" => {
            tokio::spawn(count(request.into_body()));
            let piece = || Some((Ok(Frame::data(Bytes::from_static(&[b'e'; 1024]))), ()));
            BodyExt::boxed(StreamBody::new(futures_util::stream::unfold((), move |()| async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                piece()
            })))
        }
        "silent" => {
            // Who does not read does not see that the client is gone.
            if request.into_body().collect().await.is_ok() {
                std::future::pending::<()>().await;
            }
            full("")
        }
        _ => full(text),
    });
    if word == "status" {
        let status = u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok());
        *response.status_mut() = status.unwrap_or_default();
    }
    // The request is open until its answer's body is dropped.
    Ok(response.map(|body| {
        body.map_frame(move |frame| {
            let _open = &open;
            frame
        })
        .boxed()
    }))
}

async fn count(mut body: Incoming) -> usize {
    let mut total = 0;
    while let Some(Ok(frame)) = body.frame().await {
        total += frame.data_ref().map_or(0, Bytes::len);
    }
    total
}
