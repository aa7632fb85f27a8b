//! HTTP clients: requests as text over HTTP/1.1, and streams over HTTP/2.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, Request};
use tokio::{runtime::Handle, sync::oneshot};

use crate::{PATIENCE, client::connect};

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Its status; 0 if there was none.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: Vec<(String, String)>,
    /// Whether it ended as it should: a body that broke off, or a reset, says no.
    pub complete: bool,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        find(&self.headers, name)
    }

    /// A trailer; empty if it is not there.
    pub fn trailer(&self, name: &str) -> &str {
        find(&self.trailers, name)
    }
}

fn find<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(each, _)| each == name).map_or("", |(_, value)| value)
}

/// GET over HTTP/1.1 on a connection of its own.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Reply {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n\r\n"))
}

/// Sends these bytes on a connection of its own, and reads one answer.
#[track_caller]
pub fn ask(address: SocketAddr, request: &str) -> Reply {
    let mut stream = connect(address);
    // It may be refused before all of it was read.
    let _ = stream.write_all(request.as_bytes());
    read_reply(&mut BufReader::new(stream))
}

/// Reads one answer of HTTP/1.
pub fn read_reply(stream: &mut BufReader<TcpStream>) -> Reply {
    let mut reply = Reply::default();
    let mut line = String::new();
    if stream.read_line(&mut line).is_err() {
        return reply;
    }
    reply.status = line.split(' ').nth(1).and_then(|code| code.trim().parse().ok()).unwrap_or(0);
    let Some(headers) = read_fields(stream) else { return reply };
    reply.headers = headers;
    let length = reply.header("content-length").parse::<u64>().ok();
    let no_body = reply.status == 204 || reply.status == 304 || reply.status < 200;
    if reply.header("transfer-encoding").ends_with("chunked") {
        read_chunks(stream, &mut reply);
    } else if let Some(length) = length {
        reply.complete =
            stream.take(length).read_to_end(&mut reply.body).is_ok() && reply.body.len() as u64 == length;
    } else if no_body {
        reply.complete = true;
    } else {
        reply.complete = stream.read_to_end(&mut reply.body).is_ok();
    }
    reply
}

fn read_chunks(stream: &mut BufReader<TcpStream>, reply: &mut Reply) {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).is_err() {
            return;
        }
        let Ok(size) = u64::from_str_radix(line.trim(), 16) else { return };
        if size == 0 {
            break;
        }
        let read = stream.take(size).read_to_end(&mut reply.body);
        if !read.is_ok_and(|read| read as u64 == size) || stream.read_line(&mut String::new()).is_err() {
            return;
        }
    }
    if let Some(trailers) = read_fields(stream) {
        reply.trailers = trailers;
        reply.complete = true;
    }
}

/// Fields up to the empty line.
fn read_fields(stream: &mut BufReader<TcpStream>) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Some(fields);
        }
        let (name, value) = line.split_once(':')?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// A runtime on a thread of its own, until the sender is dropped.
fn background() -> (Handle, oneshot::Sender<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let handle = runtime.handle().clone();
    // Dropping the sender is what tells.
    std::thread::spawn(move || drop(runtime.block_on(stopped)));
    (handle, stop)
}

/// A connection of HTTP/2.
#[derive(Debug)]
pub struct H2Client {
    runtime: Handle,
    sender: SendRequest<Bytes>,
    _stop: oneshot::Sender<()>,
}

impl H2Client {
    /// Connects, with windows of 1 MiB for a stream and 16 MiB for the connection.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let (runtime, stop) = background();
        let sender = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.expect("somebody listens");
            stream.set_nodelay(true).expect("a TCP socket");
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(1024 * 1024).initial_connection_window_size(16 * 1024 * 1024);
            let (sender, connection) = builder.handshake(stream).await.expect("HTTP/2 is spoken");
            // How it ends is seen by its streams.
            tokio::spawn(async { drop(connection.await) });
            sender
        });
        Self { runtime, sender, _stop: stop }
    }

    /// Runs a future on the client's runtime, for at most [`PATIENCE`].
    #[track_caller]
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let within = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await });
        within.expect("the exchange ends in time")
    }

    /// What opens streams.
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// One request with its whole body, and its whole answer.
    #[track_caller]
    pub fn ask(&self, request: Request<()>, body: impl Into<Bytes>) -> Reply {
        self.run(exchange(self.sender(), request, body.into(), None))
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.ask(request("GET", path), Bytes::new())
    }

    /// Opens a stream and leaves it open.
    #[track_caller]
    pub fn open(&self, request: Request<()>) -> (SendStream<Bytes>, h2::client::ResponseFuture) {
        self.run(async {
            let mut sender = self.sender().ready().await.expect("the connection takes streams");
            let (response, body) = sender.send_request(request, false).expect("the stream opens");
            (body, response)
        })
    }
}

/// A request to `http://test.example`.
pub fn request(method: &str, path: &str) -> Request<()> {
    let uri = if method == "CONNECT" { path.to_owned() } else { format!("http://test.example{path}") };
    Request::builder().method(method).uri(uri).body(()).expect("a request that is well formed")
}

/// One request with its body and perhaps trailers, and its whole answer.
pub async fn exchange(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    body: Bytes,
    trailers: Option<HeaderMap>,
) -> Reply {
    let Ok(mut sender) = sender.ready().await else { return Reply::default() };
    let ends = body.is_empty() && trailers.is_none();
    let Ok((response, stream)) = sender.send_request(request, ends) else { return Reply::default() };
    let sending = async {
        if !ends {
            send(stream, body, trailers).await;
        }
    };
    let (reply, ()) = tokio::join!(receive(response), sending);
    reply
}

/// Sends a body within what the peer's windows allow. If the stream is reset meanwhile, the answer says so.
pub async fn send(mut stream: SendStream<Bytes>, mut body: Bytes, trailers: Option<HeaderMap>) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let piece = body.split_to(room.min(body.len()));
        let last = body.is_empty() && trailers.is_none();
        if stream.send_data(piece, last).is_err() {
            return;
        }
    }
    if let Some(trailers) = trailers {
        // As above.
        let _ = stream.send_trailers(trailers);
    }
}

/// Reads a whole answer.
pub async fn receive(response: h2::client::ResponseFuture) -> Reply {
    let Ok(response) = response.await else { return Reply::default() };
    let (head, body) = response.into_parts();
    let mut reply = Reply { status: head.status.as_u16(), headers: texts(&head.headers), ..Reply::default() };
    receive_body(body, &mut reply).await;
    reply
}

async fn receive_body(mut body: RecvStream, reply: &mut Reply) {
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return };
        reply.body.extend_from_slice(&piece);
        // The stream may be over.
        let _ = body.flow_control().release_capacity(piece.len());
    }
    if let Ok(trailers) = body.trailers().await {
        reply.trailers = trailers.as_ref().map(texts).unwrap_or_default();
        reply.complete = true;
    }
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}
