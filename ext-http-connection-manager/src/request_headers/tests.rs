//! What is expected here is what the real Envoy sent to its upstream.

use std::net::SocketAddr;

use underpass_core::testing::TestServer;
use underpass_http::testing::request;

use super::*;
use crate::config::tests::read;

const INSIDE: &str = "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}";
const UUID: &str = "12345678-1234-9234-1234-123456789012";

struct Outcome {
    head: RequestHead,
    remote: String,
    stream_id: Option<String>,
}

impl Outcome {
    fn get(&self, name: &str) -> &str {
        self.head.get(name).unwrap_or("-")
    }
}

fn after(config: &str, peer: &str, headers: &[(&str, &str)]) -> Outcome {
    let server = TestServer::default();
    let config = read(config).unwrap();
    let mut settings = server.build("", |context| RequestHeaders::build(&config, context)).unwrap();
    settings.client_address = settings.client_address.with_local_address("192.0.2.2");
    let address = |text: &str| Address::Socket(text.parse::<SocketAddr>().unwrap());
    let info = server.stream(address(peer), address("10.9.9.9:8080"));
    let mut head = request("GET", "/", headers);
    settings.apply(&mut head, &info, &[HeaderName::from_static("x-secret")]);
    let remote = info.addresses.borrow().remote().to_string();
    let stream_id = info.details.stream_id.borrow().clone();
    Outcome { head, remote, stream_id }
}

const CLIENT: &str = "20.0.0.1:5";

#[test]
fn a_proxy_in_the_middle_believes_what_it_is_told_of_the_client() {
    let plain = after("", CLIENT, &[]);
    assert_eq!((plain.get("x-forwarded-for"), plain.get("x-forwarded-proto")), ("-", "http"));
    assert_eq!(plain.remote, CLIENT);
    for (forwarded_for, remote, internal) in [
        ("1.2.3.4, 5.6.7.8", "5.6.7.8:0", "-"),
        ("10.0.0.1", "10.0.0.1:0", "true"),
        ("10.0.0.1, 10.0.0.2", "10.0.0.2:0", "-"),
        ("bogus", CLIENT, "-"),
        ("10.0.0.1,", CLIENT, "-"),
        (",10.0.0.1", "10.0.0.1:0", "-"),
        ("10.0.0.1:80", CLIENT, "-"),
        ("::1", "[::1]:0", "-"),
    ] {
        let outcome =
            after(INSIDE, CLIENT, &[("x-forwarded-for", forwarded_for), ("x-envoy-internal", "true")]);
        assert_eq!((outcome.get("x-forwarded-for"), &*outcome.remote), (forwarded_for, remote));
        assert_eq!(outcome.get("x-envoy-internal"), internal, "{forwarded_for}");
        assert_eq!(outcome.get("x-envoy-external-address"), "-");
    }
}

#[test]
fn a_proxy_at_the_edge_writes_down_who_the_client_is() {
    let edge = |headers: &[_]| after(&format!("use_remote_address: true, {INSIDE}"), CLIENT, headers);
    let outcome = edge(&[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https")]);
    assert_eq!(outcome.get("x-forwarded-for"), "10.0.0.1,20.0.0.1");
    assert_eq!(outcome.get("x-envoy-external-address"), "20.0.0.1");
    assert_eq!((outcome.get("x-forwarded-proto"), outcome.head.scheme.as_str()), ("http", "http"));
    assert_eq!(outcome.remote, CLIENT);
    let inside = after(&format!("use_remote_address: true, {INSIDE}"), "10.0.0.7:1", &[]);
    assert_eq!((inside.get("x-envoy-internal"), inside.get("x-envoy-external-address")), ("true", "-"));
    let local = after("use_remote_address: true", "127.0.0.1:1", &[]);
    assert_eq!(
        (local.get("x-forwarded-for"), local.get("x-envoy-external-address")),
        ("192.0.2.2", "127.0.0.1")
    );
    assert_eq!(
        after("use_remote_address: true, skip_xff_append: true", CLIENT, &[]).get("x-forwarded-for"),
        "-"
    );
}

#[test]
fn proxies_that_are_trusted_may_name_the_client() {
    let hops = |count: u32, headers: &[_]| {
        after(
            &format!(
                "use_remote_address: true, append_x_forwarded_port: true, xff_num_trusted_hops: {count}"
            ),
            CLIENT,
            headers,
        )
    };
    let outcome = hops(
        1,
        &[
            ("x-forwarded-for", "1.2.3.4, 5.6.7.8"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "77"),
        ],
    );
    assert_eq!((&*outcome.remote, outcome.get("x-envoy-external-address")), ("5.6.7.8:0", "5.6.7.8"));
    assert_eq!((outcome.get("x-forwarded-proto"), outcome.get("x-forwarded-port")), ("https", "77"));
    assert_eq!(outcome.head.scheme.as_str(), "https");
    assert_eq!(hops(2, &[("x-forwarded-for", "1.2.3.4, 5.6.7.8")]).remote, "1.2.3.4:0");
    assert_eq!(hops(2, &[("x-forwarded-for", "1.2.3.4")]).remote, CLIENT);
    assert_eq!(hops(0, &[("x-forwarded-port", "77")]).get("x-forwarded-port"), "8080");
}

#[test]
fn what_only_this_side_may_say_is_not_taken_from_outside() {
    let headers = [
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-original-url", "u"),
        ("x-envoy-original-path", "/"),
        ("x-envoy-decorator-operation", "d"),
        ("x-envoy-anything", "a"),
        ("x-secret", "s"),
    ];
    let left = |config: &str, extra: &[(&str, &str)]| {
        let outcome = after(config, CLIENT, &[&headers[..], extra].concat());
        headers
            .iter()
            .filter(|(name, _)| outcome.get(name) != "-")
            .map(|(_, value)| *value)
            .collect::<String>()
    };
    assert_eq!(left("", &[]), "/da");
    assert_eq!(left("use_remote_address: true", &[]), "a");
    assert_eq!(left(INSIDE, &[("x-forwarded-for", "10.0.0.1")]), "5xxu/das");
}

#[test]
fn what_is_for_one_hop_ends_here() {
    let outcome = after(
        "",
        CLIENT,
        &[
            ("connection", "keep-alive"),
            ("keep-alive", "5"),
            ("proxy-connection", "x"),
            ("upgrade", "h2c"),
            ("te", "gzip, trailers"),
            ("x-forwarded-client-cert", "By=x"),
            ("referer", "http://u@h/"),
        ],
    );
    let mut names: Vec<_> = outcome.head.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["te", "x-forwarded-proto", "x-request-id"]);
    assert_eq!(outcome.get("te"), "trailers");
    assert_eq!(after("", CLIENT, &[("te", "trailers;q=1")]).get("te"), "-");
    let upgrade = after("", CLIENT, &[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
    assert_eq!((upgrade.get("connection"), upgrade.get("upgrade")), ("keep-alive, Upgrade", "websocket"));
    let kept = after(
        "forward_client_cert_details: ALWAYS_FORWARD_ONLY",
        CLIENT,
        &[("x-forwarded-client-cert", "By=x")],
    );
    assert_eq!(kept.get("x-forwarded-client-cert"), "By=x");
}

#[test]
fn a_request_has_an_id() {
    let outcome = after("", CLIENT, &[("x-request-id", UUID)]);
    assert_eq!((outcome.get("x-request-id"), outcome.stream_id.as_deref()), (UUID, Some(UUID)));
    assert_ne!(
        after("use_remote_address: true", CLIENT, &[("x-request-id", UUID)]).get("x-request-id"),
        UUID
    );
    let preserve = "use_remote_address: true, preserve_external_request_id: true";
    assert_eq!(
        after(preserve, CLIENT, &[("x-request-id", UUID)]).get("x-request-id"),
        UUID.replace("-9", "-4")
    );
    assert_eq!(after("generate_request_id: false", CLIENT, &[]).get("x-request-id"), "-");
    let plain = "request_id_extension: {typed_config: {'@type': type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig, pack_trace_reason: false}}";
    let outcome = after(&format!("{preserve}, {plain}"), CLIENT, &[("x-request-id", UUID)]);
    assert_eq!(outcome.get("x-request-id"), UUID);
}

#[test]
fn the_scheme_is_what_the_proxy_in_front_says_or_the_configuration() {
    assert_eq!(after("", CLIENT, &[("x-forwarded-proto", "HTTPS")]).head.scheme, Scheme::HTTPS);
    assert_eq!(after("", CLIENT, &[("x-forwarded-proto", "ftp")]).head.scheme, Scheme::HTTP);
    let outcome = after("scheme_header_transformation: {scheme_to_overwrite: https}", CLIENT, &[]);
    assert_eq!((outcome.get("x-forwarded-proto"), outcome.get(":scheme")), ("https", "https"));
}

#[test]
fn this_proxy_adds_itself_to_via() {
    assert_eq!(after("via: 1.1 me", CLIENT, &[("via", "1.0 a")]).get("via"), "1.0 a, 1.1 me");
    assert_eq!(after("via: 1.1 me", CLIENT, &[]).get("via"), "1.1 me");
}
