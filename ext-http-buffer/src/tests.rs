//! Which requests are passed on; details and stats are those of Envoy 1.40.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::StreamBody;
use underpass_core::testing::TestServer;
use underpass_http::{BodyError, reset::ResetReason, testing};

use super::*;

const CONFIG: &str =
    "{'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 10}";

fn per_route(fields: &str) -> String {
    format!(
        "{{'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute, {fields}}}"
    )
}

/// A body in pieces, without a length.
fn pieces(pieces: &[&'static str]) -> Body {
    let frames: Vec<_> = pieces
        .iter()
        .map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::from_static(piece.as_bytes()))))
        .collect();
    Body::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

/// What the upstream got, or what was answered instead.
async fn sent(server: &TestServer, stream: &Rc<HttpStream>, body: Body) -> (u16, String) {
    let filter = testing::build(server, CONFIG).unwrap();
    let response = testing::serve_with(&filter, stream, body, |stream, body| {
        let length = stream.request().get("content-length").unwrap_or("-").to_owned();
        Response::new(Body::full(format!("{length} {}", String::from_utf8_lossy(&body))))
    });
    testing::text(response.await).await
}

fn stream(server: &TestServer) -> Rc<HttpStream> {
    testing::stream(server, testing::request("POST", "/", &[]))
}

#[tokio::test(flavor = "current_thread")]
async fn a_request_is_passed_on_as_a_whole_or_refused() {
    let server = TestServer::default();
    assert_eq!(
        sent(&server, &stream(&server), pieces(&["0123", "456789"])).await,
        (200, "10 0123456789".into())
    );
    assert_eq!(sent(&server, &stream(&server), Body::empty()).await, (200, "- ".into()));
    let refused = stream(&server);
    assert_eq!(
        sent(&server, &refused, pieces(&["0123", "4567890"])).await,
        (413, "Payload Too Large".into())
    );
    assert_eq!(
        refused.info.details.response_code_details.borrow().as_deref(),
        Some("request_payload_too_large")
    );
    assert!(refused.closes_after_answer());
}

#[tokio::test(flavor = "current_thread")]
async fn it_waits_for_trailers_and_refuses_what_is_broken() {
    let server = TestServer::default();
    let trailers = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("t"))]);
    let frames = [Ok(Frame::data(Bytes::from_static(b"x"))), Ok(Frame::trailers(trailers))];
    let whole = Body::boxed(StreamBody::new(futures_util::stream::iter(frames)));
    let Buffered::Whole(body, 1) = buffer(whole, 1).await else { panic!("it is one byte") };
    let collected = http_body_util::BodyExt::collect(body).await.unwrap();
    assert_eq!(collected.trailers().unwrap()[header::ETAG], "t");
    let reset = BodyError::Reset(ResetReason::RemoteReset.into());
    let frames = [Ok(Frame::data(Bytes::from_static(b"x"))), Err(reset)];
    let broken = Body::boxed(StreamBody::new(futures_util::stream::iter(frames)));
    assert_eq!(sent(&server, &stream(&server), broken).await, (400, String::new()));
}

#[tokio::test(flavor = "current_thread")]
async fn a_route_has_another_limit_or_none() {
    let server = TestServer::default();
    for (fields, expected) in [
        ("disabled: true", (200, "- 01234567890".to_owned())),
        ("buffer: {max_request_bytes: 11}", (200, "11 01234567890".to_owned())),
        ("buffer: {max_request_bytes: 5}", (413, "Payload Too Large".to_owned())),
    ] {
        let stream = stream(&server);
        testing::set_route_config(&server, &stream, &per_route(fields)).unwrap();
        assert_eq!(sent(&server, &stream, pieces(&["01234567890"])).await, expected, "{fields}");
    }
    let refused =
        |fields: &str| testing::set_route_config(&server, &stream(&server), &per_route(fields)).unwrap_err();
    insta::assert_snapshot!(refused("disabled: false"), @r#"routes.yaml:8:135: error: virtual_hosts[0].routes[0].typed_per_filter_config["filter"].disabled: value must be true"#);
    insta::assert_snapshot!(refused(""), @r#"routes.yaml:8:39: error: virtual_hosts[0].routes[0].typed_per_filter_config["filter"]: one of disabled, buffer must be set (override)"#);
    insta::assert_snapshot!(refused("buffer: {max_request_bytes: 0}"), @r#"routes.yaml:8:153: error: virtual_hosts[0].routes[0].typed_per_filter_config["filter"].buffer.max_request_bytes: value must be inside range [1, 4294967295], not 0"#);
}
