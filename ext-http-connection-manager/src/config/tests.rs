use std::cell::RefCell;

use underpass_core::{
    build_context::BuildContext,
    config::{ConfigPath, Reader, parse_yaml},
    extension::ExtensionSet,
    testing::TestServer,
};

use super::*;

const MESSAGE: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

pub(crate) fn read(yaml: &str) -> Result<HttpConnectionManager, String> {
    let text = format!("{{stat_prefix: s, route_config: {{}}, {yaml}}}");
    let document = parse_yaml("x.yaml", &text).unwrap();
    let extensions = ExtensionSet::from_inventory().unwrap();
    let reader = Reader::new(&extensions);
    let config = reader.read::<HttpConnectionManager>(&document.root, ConfigPath::root(), MESSAGE);
    let config = config.ok_or_else(|| reader.into_report().to_string())?;
    let server = TestServer::default();
    let (scope, warnings) = (server.stats.scope("l"), RefCell::default());
    let context = BuildContext::new(&server.context, &scope, ConfigPath::root(), &warnings);
    config.validate(&context).map_err(|error| error.to_string())?;
    match warnings.into_inner().first() {
        Some(warning) => Err(format!("warning: {warning}")),
        None => Ok(config),
    }
}

#[test]
fn what_is_not_set_is_as_in_envoy() {
    let config = read("").unwrap();
    assert_eq!(config.server_name_or_default(), "envoy");
    assert_eq!(config.max_request_headers_bytes(), 60 * 1024);
    assert_eq!(config.stream_idle_timeout_or_default(), Some(Duration::from_secs(300)));
    assert_eq!((config.request_timeout_if_any(), config.request_headers_timeout_if_any()), (None, None));
    assert_eq!(config.drain_timeout_or_default(), Duration::from_secs(5));
    assert_eq!(config.delayed_close_timeout_or_default(), Some(Duration::from_secs(1)));
    assert_eq!(config.access_log_options_or_default(), HcmAccessLogOptions::default());
    let config = read("stream_idle_timeout: 0s, access_log_flush_interval: 1s").unwrap();
    assert_eq!(config.stream_idle_timeout_or_default(), None);
    assert!(config.access_log_options_or_default().access_log_flush_interval.is_some());
}

#[test]
fn what_envoy_refuses_is_refused() {
    let error = |yaml: &str| read(yaml).unwrap_err();
    insta::assert_snapshot!(error("codec_type: HTTP3"), @"codec_type: HTTP/3 codec configured on non-QUIC listener.");
    insta::assert_snapshot!(error("strip_matching_host_port: true, strip_any_host_port: true"), @"strip_any_host_port: Error: Only one of `strip_matching_host_port` or `strip_any_host_port` can be set.");
    insta::assert_snapshot!(error("access_log_flush_interval: 1s, access_log_options: {}"), @"access_log_flush_interval: Only one of access_log_flush_interval or access_log_options can be specified.");
    insta::assert_snapshot!(error("flush_access_log_on_new_request: true, access_log_options: {}"), @"flush_access_log_on_new_request: Only one of flush_access_log_on_new_request or access_log_options can be specified.");
    insta::assert_snapshot!(error("upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: WebSocket}]"), @"upgrade_configs[1]: Error: multiple upgrade configs with the same name: 'WebSocket'");
    insta::assert_snapshot!(error("scheme_header_transformation: {scheme_to_overwrite: ftp}"), @r#"x.yaml:1:88: error: scheme_header_transformation.scheme_to_overwrite: value must be one of http, https, not "ftp""#);
    insta::assert_snapshot!(error("max_request_headers_kb: 8193"), @"x.yaml:1:60: error: max_request_headers_kb: value must be inside range (0, 8192], not 8193");
    insta::assert_snapshot!(error("local_reply_config: {mappers: [{}]}"), @"x.yaml:1:67: error: local_reply_config.mappers[0]: `filter` is missing");
    insta::assert_snapshot!(error("via: \"a\\nb\""), @r#"x.yaml:1:41: error: via: value must not have NUL, CR or LF, not "a\nb""#);
    insta::assert_snapshot!(error("rds: {route_config_name: x, config_source: {ads: {}}}"), @"x.yaml:1:1: error: only one of rds, route_config can be set (route_specifier)");
}

#[test]
fn what_has_no_effect_is_said() {
    insta::assert_snapshot!(read("set_current_client_cert_details: {uri: true}").unwrap_err(), @"warning: set_current_client_cert_details: is about client certificates, which no connection has without TLS: it has no effect");
    insta::assert_snapshot!(read("add_proxy_protocol_connection_state: false").unwrap_err(), @"warning: add_proxy_protocol_connection_state: has no effect: an upstream PROXY header is made from the addresses of the stream");
}
