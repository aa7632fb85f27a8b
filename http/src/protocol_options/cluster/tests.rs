use std::time::Duration;

use underpass_core::testing::{TestServer, read};

use super::*;
use crate::protocol_options::HeadersWithUnderscoresAction;

fn build(yaml: &str) -> Result<Arc<ClusterProtocolOptions>, String> {
    let text = format!(
        "{{'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, {yaml}}}"
    );
    let config = read::<dyn ProtocolOptionsConfig>(&text)?;
    let built = TestServer::default()
        .build("cluster.c", |context| context.build(&config, |it, cx| it.build("c", cx)));
    built.map(|built| built.downcast().unwrap()).map_err(|error| error.to_string())
}

#[test]
fn a_cluster_says_which_protocol_it_speaks() {
    let built = build("explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 7}}").unwrap();
    assert_eq!((built.protocol, built.http2.max_concurrent_streams), (UpstreamProtocol::Http2, 7));
    let built = build("explicit_http_config: {http_protocol_options: {enable_trailers: true}}").unwrap();
    assert_eq!((built.protocol, built.http1.enable_trailers), (UpstreamProtocol::Http1, true));
    let built =
        build("use_downstream_protocol_config: {http2_protocol_options: {allow_connect: true}}").unwrap();
    assert_eq!((built.protocol, built.http2.allow_connect), (UpstreamProtocol::Downstream, true));
}

#[test]
fn what_is_not_set_is_as_in_envoy() {
    let built = build(
        "explicit_http_config: {http2_protocol_options: {connection_keepalive: {interval: 1s, timeout: 2s}}}",
    )
    .unwrap();
    assert_eq!(built.common.idle_timeout, Some(Duration::from_secs(3600)));
    assert_eq!((built.common.max_headers_count, built.common.max_response_headers_bytes), (100, 80 * 1024));
    assert_eq!(built.common.headers_with_underscores_action, HeadersWithUnderscoresAction::Allow);
    let http2 = Http2Settings { keepalive: built.http2.keepalive.clone(), ..Http2Settings::default() };
    assert_eq!(built.http2, http2);
    assert!((http2.keepalive.unwrap().interval_jitter - 0.15).abs() < f64::EPSILON);
    assert!(build("explicit_http_config: {http_protocol_options: {}}, common_http_protocol_options: {idle_timeout: 0s}").unwrap().common.idle_timeout.is_none());
}

#[test]
fn custom_settings_count() {
    let built = build("explicit_http_config: {http2_protocol_options: {custom_settings_parameters: [{identifier: 3, value: 9}, {identifier: 5, value: 20000}]}}").unwrap();
    assert_eq!((built.http2.max_concurrent_streams, built.http2.max_frame_size), (9, Some(20_000)));
}

#[test]
fn what_envoy_refuses_is_refused() {
    let error = |yaml: &str| build(yaml).unwrap_err();
    let http2 = |yaml: &str| error(&format!("explicit_http_config: {{http2_protocol_options: {{{yaml}}}}}"));
    insta::assert_snapshot!(error("auto_config: {}"), @"auto_config: ALPN configured for cluster c which has a non-ALPN transport socket; write explicit_http_config");
    insta::assert_snapshot!(error("explicit_http_config: {}"), @"test.yaml:1:109: error: explicit_http_config: one of http_protocol_options, http2_protocol_options, http3_protocol_options must be set (protocol_config)");
    insta::assert_snapshot!(error("explicit_http_config: {http3_protocol_options: {}}"), @"test.yaml:1:110: error: explicit_http_config.http3_protocol_options: Envoy knows this field, Underpass does not implement it yet");
    insta::assert_snapshot!(http2("custom_settings_parameters: [{identifier: 2, value: 1}]"), @"explicit_http_config.http2_protocol_options.custom_settings_parameters[0]: server push is not supported by Envoy and can not be enabled via a SETTINGS parameter.");
    insta::assert_snapshot!(http2("custom_settings_parameters: [{identifier: 8, value: 1}]"), @r#"explicit_http_config.http2_protocol_options.custom_settings_parameters[0]: the "allow_connect" SETTINGS parameter must only be configured through the named field"#);
    insta::assert_snapshot!(http2("custom_settings_parameters: [{identifier: 9, value: 1}]"), @"explicit_http_config.http2_protocol_options.custom_settings_parameters[0]: the HTTP/2 SETTINGS parameter 0x09 is not implemented yet: those of RFC 9113 (1 to 6) are");
    insta::assert_snapshot!(http2("custom_settings_parameters: [{identifier: 6, value: 1}, {identifier: 6, value: 2}]"), @"explicit_http_config.http2_protocol_options.custom_settings_parameters[1]: inconsistent HTTP/2 custom SETTINGS parameter(s) detected; identifiers = {0x06}");
    insta::assert_snapshot!(http2("max_concurrent_streams: 1, custom_settings_parameters: [{identifier: 3, value: 1}]"), @"explicit_http_config.http2_protocol_options.custom_settings_parameters[0]: the {max_concurrent_streams} HTTP/2 SETTINGS parameter(s) can not be configured through both named and custom parameters");
    insta::assert_snapshot!(http2("initial_stream_window_size: 1"), @"test.yaml:1:163: error: explicit_http_config.http2_protocol_options.initial_stream_window_size: value must be inside range [65535, 2147483647], not 1");
    insta::assert_snapshot!(http2("connection_keepalive: {interval: 1s}"), @"test.yaml:1:157: error: explicit_http_config.http2_protocol_options.connection_keepalive.timeout: value is required");
    insta::assert_snapshot!(error("explicit_http_config: {http_protocol_options: {}}, http_filters: [{name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation}}]"), @"http_filters[0]: The codec filter is the only valid terminal upstream HTTP filter, use 'envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec'");
    insta::assert_snapshot!(error("explicit_http_config: {http_protocol_options: {header_key_format: {}}}"), @"test.yaml:1:153: error: explicit_http_config.http_protocol_options.header_key_format: one of proper_case_words, stateful_formatter must be set (header_format)");
}
