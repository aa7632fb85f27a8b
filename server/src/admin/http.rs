//! The admin interface on the wire: HTTP/1.1 on a TCP address or a unix pipe.

use std::{borrow::Cow, collections::BTreeMap, convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};
use underpass_core::{
    address::Address,
    admin::{AdminRequest, AdminResponse},
};

use super::AdminRegistry;

/// More than anybody has to say to an admin interface.
const MAX_BODY: usize = 1 << 20;
/// How long a client may take for its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// A body of this kind has further parameters.
const FORM: &str = "application/x-www-form-urlencoded";

/// Why the admin interface could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind '{address}': {}", without_code(error))]
pub struct AdminBindError {
    /// The address of the `admin` block.
    pub address: Address,
    /// What the system says.
    pub error: io::Error,
}

/// `Address already in use (os error 98)` without what stands in brackets, as Envoy prints it.
fn without_code(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

enum Socket {
    Tcp(TcpListener),
    Pipe(UnixListener),
}

/// An admin interface that listens.
pub struct AdminServer {
    socket: Socket,
    address: Address,
}

impl AdminServer {
    /// Opens the address. Needs a tokio runtime.
    pub fn bind(address: &Address) -> Result<Self, AdminBindError> {
        let failed = |error| AdminBindError { address: address.clone(), error };
        let (socket, address) = match address {
            Address::Socket(wanted) => {
                let listener = std::net::TcpListener::bind(wanted).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                (Socket::Tcp(TcpListener::from_std(listener).map_err(failed)?), Address::Socket(bound))
            }
            Address::Pipe(path) => {
                remove_stale(path);
                (Socket::Pipe(UnixListener::bind(path).map_err(failed)?), address.clone())
            }
            Address::Internal(_) => {
                let message = "the admin interface needs a socket or a pipe address";
                return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, message)));
            }
        };
        Ok(Self { socket, address })
    }

    /// Where it listens; the port is the one the kernel gave.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until it is dropped. Needs a `LocalSet` or a local runtime.
    pub async fn serve(self, registry: Arc<AdminRegistry>) {
        let mut complained = false;
        loop {
            let accepted = match &self.socket {
                Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    // Answers are small and written at once.
                    let _ = stream.set_nodelay(true);
                    tokio::task::spawn_local(serve_connection(stream, Arc::clone(&registry)));
                }),
                Socket::Pipe(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::task::spawn_local(serve_connection(stream, Arc::clone(&registry)));
                }),
            };
            let Err(error) = accepted else {
                complained = false;
                continue;
            };
            // Said once until it works again: where descriptors run out, this may go on for hours.
            if !std::mem::replace(&mut complained, true) {
                tracing::warn!(target: "admin", "cannot accept connections, will try again: {error}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A socket file that nobody listens on any more is left over from an earlier run.
fn remove_stale(path: &std::path::Path) {
    let stale = std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if stale {
        // If this fails, binding fails and says why.
        let _ = std::fs::remove_file(path);
    }
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    stream: S,
    registry: Arc<AdminRegistry>,
) {
    let service = service_fn(move |request| {
        let registry = Arc::clone(&registry);
        async move { Ok::<_, Infallible>(answer(&registry, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).half_close(true);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(target: "admin", "connection ended: {error}");
    }
}

async fn answer(registry: &AdminRegistry, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return render(AdminResponse::error(413, "the body is too large or incomplete\n"), false);
    };
    let body = body.to_bytes().to_vec();
    let mut query = parameters(head.uri.query().unwrap_or_default().as_bytes());
    if head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == FORM) {
        query.extend(parameters(&body));
    }
    let request = AdminRequest { query, body };
    let (method, path) = (head.method.as_str(), &*normalized(head.uri.path()));
    tracing::debug!(target: "admin", "request: {method} {path}");
    // HEAD is answered like GET; hyper leaves the body out.
    let method = if method == "HEAD" { "GET" } else { method };
    render(registry.answer(method, path, &request), true)
}

/// The path as Envoy's admin interface normalizes it: `//ready` is `/ready`.
fn normalized(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return path.into();
    }
    let mut merged = String::with_capacity(path.len());
    for next in path.chars() {
        if next != '/' || !merged.ends_with('/') {
            merged.push(next);
        }
    }
    merged.into()
}

/// Of a parameter that comes twice the first counts, as in Envoy.
fn parameters(text: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(text) {
        found.entry(name.into_owned()).or_insert_with(|| value.into_owned());
    }
    found
}

fn render(answer: AdminResponse, keep_alive: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() =
        http::StatusCode::from_u16(answer.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Tools that look for Envoy's admin interface find this one.
    headers.insert(header::SERVER, HeaderValue::from_static("envoy"));
    if !keep_alive {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use underpass_core::admin::{Admin as _, AdminEndpoint};

    use super::*;

    async fn ask(address: &Address, request: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address.socket().unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn on_a_server(test: impl AsyncFnOnce(&Address)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let registry = Arc::new(AdminRegistry::default());
            let echo = |request: &AdminRequest| AdminResponse::text(format!("{:?}", request.query));
            registry.add_endpoint(AdminEndpoint::show("/echo", "", echo));
            let server = AdminServer::bind(&Address::Socket("127.0.0.1:0".parse().unwrap())).unwrap();
            let address = server.address().clone();
            tokio::task::spawn_local(server.serve(registry));
            test(&address).await;
        });
    }

    #[test]
    fn an_endpoint_answers_with_envoys_headers() {
        on_a_server(async |address| {
            let request = "GET /echo?a=1&flag&b=%5Ex HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            let answer = ask(address, request).await;
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=UTF-8\r\n"),
                "{answer}"
            );
            assert!(answer.contains("x-content-type-options: nosniff\r\nserver: envoy\r\n"), "{answer}");
            assert!(answer.ends_with(r#"{"a": "1", "b": "^x", "flag": ""}"#), "{answer}");
        });
    }

    #[test]
    fn parameters_come_in_the_path_or_as_a_form() {
        on_a_server(async |address| {
            let head = "POST /echo?a=1&a=2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n";
            let answer = ask(address, &format!("{head}content-type: {FORM}\r\n\r\nb=3")).await;
            assert!(answer.ends_with(r#"{"a": "1", "b": "3"}"#), "{answer}");
            let answer = ask(address, &format!("{head}\r\nb=3")).await;
            assert!(answer.ends_with(r#"{"a": "1"}"#), "{answer}");
        });
    }

    #[test]
    fn garbage_does_not_hurt() {
        on_a_server(async |address| {
            ask(address, "\0\u{1}nonsense\r\n\r\n").await;
            let answer = ask(address, "GET //echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            let answer = ask(address, "GET /nope HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        });
    }

    #[test]
    fn a_taken_address_is_named() {
        on_a_server(async |address| {
            let refused = AdminServer::bind(address).err().unwrap().to_string();
            assert_eq!(refused, format!("cannot bind '{address}': Address already in use"));
        });
    }
}
