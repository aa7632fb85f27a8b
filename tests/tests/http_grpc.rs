//! gRPC through tunnels: a real client and a real server (tonic), with streams both ways and a status in the trailers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::mpsc};
use tonic::{Code, Request, Response, Status, Streaming, transport::Endpoint};
use tonic_prost::ProstCodec;
use underpass_tests::tunnel::{Options, Tunnel, Way};

#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

fn text(text: impl Into<String>) -> Text {
    Text { text: text.into() }
}

type Codec = ProstCodec<Text, Text>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

/// Greets; refuses who has no name.
struct Greet;

impl tonic::server::UnaryService<Text> for Greet {
    type Response = Text;
    type Future = BoxFuture<Response<Text>>;

    fn call(&mut self, request: Request<Text>) -> Self::Future {
        Box::pin(async move {
            if request.get_ref().text.is_empty() {
                return Err(Status::invalid_argument("a name is needed"));
            }
            let mut response = Response::new(text(format!("hello {}", request.get_ref().text)));
            response.metadata_mut().insert("x-served", "yes".parse().unwrap());
            Ok(response)
        })
    }
}

/// Answers each message at once; ends with an error after the message `fail`.
struct Echo;

struct Answers(Streaming<Text>);

impl Stream for Answers {
    type Item = Result<Text, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx).map(|next| match next? {
            Ok(message) if message.text == "fail" => Some(Err(Status::aborted("as asked for"))),
            Ok(message) => Some(Ok(text(format!("echo {}", message.text)))),
            Err(status) => Some(Err(status)),
        })
    }
}

impl tonic::server::StreamingService<Text> for Echo {
    type Response = Text;
    type ResponseStream = Answers;
    type Future = BoxFuture<Response<Answers>>;

    fn call(&mut self, request: Request<Streaming<Text>>) -> Self::Future {
        Box::pin(async move { Ok(Response::new(Answers(request.into_inner()))) })
    }
}

/// A server on a port of the kernel's choice.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request: http::Request<hyper::body::Incoming>| {
                let request = request.map(|body| {
                    tonic::body::Body::new(body.map_err(|error| Status::internal(error.to_string())))
                });
                let mut grpc = tonic::server::Grpc::new(Codec::default());
                Ok::<_, Infallible>(match request.uri().path() {
                    "/test.Test/Greet" => grpc.unary(Greet, request).await,
                    _ => grpc.streaming(Echo, request).await,
                })
            });
            tokio::spawn(
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

type Client = tonic::client::Grpc<tonic::transport::Channel>;

async fn client(address: SocketAddr) -> Client {
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    tonic::client::Grpc::new(channel)
}

async fn greet(client: &mut Client, name: &str) -> Result<Response<Text>, Status> {
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/test.Test/Greet");
    client.unary(Request::new(text(name)), path, Codec::default()).await
}

/// Messages go in at the sender, answers come out.
async fn converse(client: &mut Client) -> (mpsc::Sender<Text>, Streaming<Text>) {
    client.ready().await.unwrap();
    let (sender, mut receiver) = mpsc::channel(1);
    let messages = async_stream(move |cx| receiver.poll_recv(cx));
    let path = http::uri::PathAndQuery::from_static("/test.Test/Echo");
    let answers = client.streaming(Request::new(messages), path, Codec::default()).await.unwrap();
    (sender, answers.into_inner())
}

fn async_stream<T>(poll: impl FnMut(&mut Context<'_>) -> Poll<Option<T>>) -> impl Stream<Item = T> {
    futures_util::stream::poll_fn(poll)
}

/// A tunnel is started outside the runtime's thread, since that waits.
async fn tunnel(way: Way, origin: SocketAddr) -> Tunnel {
    let options = Options { http2: true, ..Options::default() };
    tokio::task::spawn_blocking(move || Tunnel::start_with(way, origin.port(), &options)).await.unwrap()
}

#[tokio::test]
async fn calls_go_through_every_tunnel() {
    for way in Way::ALL {
        let tunnel = tunnel(way, server().await).await;
        let mut client = client(tunnel.entry()).await;
        let greeting = greet(&mut client, "you").await.unwrap();
        assert_eq!(greeting.get_ref().text, "hello you", "{way:?}");
        assert_eq!(greeting.metadata().get("x-served").unwrap(), "yes");
        let refused = greet(&mut client, "").await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::InvalidArgument, "a name is needed"),
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn both_sides_of_a_stream_take_turns_and_its_status_comes_last() {
    for way in Way::ALL {
        let tunnel = tunnel(way, server().await).await;
        let mut client = client(tunnel.entry()).await;
        let (sender, mut answers) = converse(&mut client).await;
        for turn in 0..100 {
            sender.send(text(turn.to_string())).await.unwrap();
            assert_eq!(answers.next().await.unwrap().unwrap().text, format!("echo {turn}"), "{way:?}");
        }
        drop(sender);
        assert!(answers.next().await.is_none());
        assert!(answers.trailers().await.unwrap().is_some(), "{way:?}");
        let (sender, mut answers) = converse(&mut client).await;
        sender.send(text("fail")).await.unwrap();
        let status = answers.next().await.unwrap().unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Aborted, "as asked for"), "{way:?}");
    }
}

#[tokio::test]
async fn a_hundred_conversations_share_a_tunnel() {
    let tunnel = tunnel(Way::Http2Connect, server().await).await;
    let client = client(tunnel.entry()).await;
    let talks = (0..100).map(|number| {
        let mut client = client.clone();
        async move {
            let (sender, mut answers) = converse(&mut client).await;
            for turn in 0..10 {
                let message = format!("{number} {turn} {}", "x".repeat(1000));
                sender.send(text(&message)).await.unwrap();
                assert_eq!(answers.next().await.unwrap().unwrap().text, format!("echo {message}"));
            }
        }
    });
    futures_util::future::join_all(talks).await;
    let admin = tunnel.left.admin();
    let opened =
        tokio::task::spawn_blocking(move || admin.stat("cluster.proxy.upstream_rq_total")).await.unwrap();
    assert_eq!(opened, 1);
}

#[tokio::test]
async fn a_proxy_answers_grpc_in_its_own_terms() {
    let nobody = underpass_tests::origin::dead_port();
    let tunnel = tunnel(Way::Direct, ([127, 0, 0, 1], nobody).into()).await;
    let mut client = client(tunnel.entry()).await;
    let status = greet(&mut client, "you").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}
