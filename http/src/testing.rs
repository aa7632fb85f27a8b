//! For tests of HTTP filters: requests, streams, and an upstream that answers what the test says.
//!
//! Behind the feature `testing`, which belongs into `[dev-dependencies]`.

#![allow(clippy::expect_used, reason = "a test that asks for what is no request shall say so and end")]

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Version, uri::Scheme};
use http_body_util::BodyExt as _;
use underpass_core::{
    address::Address,
    config::{ConfigPath, Reader, parse_yaml},
    connection::BoxFuture,
    drain::DrainSignal,
    extension::ExtensionSet,
    testing::{self, TestServer},
};

use crate::{
    Body, HttpConnection, HttpStream, RequestHead, Response,
    filter::{FilterChain, HttpFilter, HttpFilterConfig, HttpFilterContext, Next},
    route::{RouteConfiguration, RouteTable},
};

/// Builds a filter from the YAML of its typed config, `@type` included. Its stats begin with `http.test.`; in the chain it
/// is called `filter`.
///
/// # Errors
/// The report, or what building it says.
pub fn build(server: &TestServer, yaml: &str) -> Result<Arc<dyn HttpFilter>, String> {
    let config = testing::read::<dyn HttpFilterConfig>(yaml)?;
    let built = server.build("", |build| {
        config.build(&HttpFilterContext { build, name: "filter", stat_prefix: "http.test." })
    });
    built.map_err(|error| error.to_string())
}

/// An HTTP/1.1 request to `example.com` over plain text; `headers` may hold `:authority` and `:scheme`.
///
/// # Panics
/// If the method, the path or a header is none.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead {
        method: method.parse().expect("a method"),
        scheme: Scheme::HTTP,
        authority: HeaderValue::from_static("example.com"),
        path: (method != "CONNECT").then(|| path.parse().expect("a path")),
        headers: http::HeaderMap::new(),
        version: Version::HTTP_11,
    };
    for (name, value) in headers {
        match *name {
            ":authority" => head.authority = value.parse().expect("an authority"),
            ":scheme" => head.scheme = value.parse().expect("a scheme"),
            name => {
                let name = HeaderName::from_bytes(name.as_bytes()).expect("the name of a header");
                head.headers.append(name, value.parse().expect("the value of a header"));
            }
        }
    }
    head
}

/// A stream with this request, from 10.0.0.1:1234 to 127.0.0.1:80.
///
/// # Panics
/// Never; the addresses are right.
pub fn stream(server: &TestServer, head: RequestHead) -> Rc<HttpStream> {
    let address = |text: &str| Address::Socket(text.parse().expect("an address"));
    let info = server.stream(address("10.0.0.1:1234"), address("127.0.0.1:80"));
    let connection = HttpConnection {
        info: Rc::clone(&info),
        worker: server.worker(),
        drain: DrainSignal::default().watch(),
        buffer_limit: 1024 * 1024,
    };
    Rc::new(HttpStream::new(Rc::new(connection), info, head))
}

/// Gives a stream these routes, from the YAML of a `RouteConfiguration`.
///
/// # Errors
/// The report, or what building it says.
pub fn set_routes(server: &TestServer, stream: &HttpStream, yaml: &str) -> Result<(), String> {
    let extensions = ExtensionSet::from_inventory().map_err(|error| error.to_string())?;
    let document = parse_yaml("routes.yaml", yaml).map_err(|report| report.to_string())?;
    let reader = Reader::new(&extensions);
    let read = reader.read::<RouteConfiguration>(
        &document.root,
        ConfigPath::root(),
        "envoy.config.route.v3.RouteConfiguration",
    );
    let Some(routes) = read else { return Err(reader.into_report().to_string()) };
    let table = server.build("", |build| {
        let context = HttpFilterContext { build, name: "", stat_prefix: "http.test." };
        RouteTable::build(&routes, &ConfigPath::root(), &context)
    });
    stream.set_routes(table.map_err(|error| error.to_string())?);
    Ok(())
}

/// Gives a stream one route, to the cluster `up`, that says this to the filter `filter`: the YAML of a typed config.
///
/// # Errors
/// As [`set_routes`].
pub fn set_route_config(server: &TestServer, stream: &HttpStream, config: &str) -> Result<(), String> {
    let yaml = format!(
        "name: r\nvirtual_hosts:\n- name: v\n  domains: ['*']\n  routes:\n  - match: {{prefix: /}}\n    \
         route: {{cluster: up}}\n    typed_per_filter_config: {{filter: {config}}}\n"
    );
    set_routes(server, stream, &yaml)
}

/// A terminal filter that reads the whole body and answers.
pub fn upstream(
    answer: impl Fn(&HttpStream, Bytes) -> Response + Send + Sync + 'static,
) -> Arc<dyn HttpFilter> {
    struct Upstream<F>(F);
    impl<F: Fn(&HttpStream, Bytes) -> Response + Send + Sync> HttpFilter for Upstream<F> {
        fn serve<'a>(
            &'a self,
            stream: &'a Rc<HttpStream>,
            body: Body,
            _: Next<'a>,
        ) -> BoxFuture<'a, Response> {
            Box::pin(async move {
                let body = body.collect().await.map(http_body_util::Collected::to_bytes);
                (self.0)(stream, body.unwrap_or_default())
            })
        }
    }
    Arc::new(Upstream(answer))
}

/// Sends the stream through a filter called `filter`, to an upstream that answers 200 without a body.
pub async fn serve(filter: &Arc<dyn HttpFilter>, stream: &Rc<HttpStream>, body: Body) -> Response {
    serve_with(filter, stream, body, |_, _| Response::new(Body::empty())).await
}

/// The same, to an upstream that answers this.
pub async fn serve_with(
    filter: &Arc<dyn HttpFilter>,
    stream: &Rc<HttpStream>,
    body: Body,
    answer: impl Fn(&HttpStream, Bytes) -> Response + Send + Sync + 'static,
) -> Response {
    let chain = FilterChain::of([("filter", Arc::clone(filter)), ("upstream", upstream(answer))]);
    chain.start(|_| None).run(stream, body).await
}

/// The status of an answer and its body as text.
pub async fn text(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    (status, String::from_utf8_lossy(&body.unwrap_or_default()).into_owned())
}
