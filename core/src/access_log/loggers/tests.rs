use std::{collections::HashMap, time::Duration};

use super::*;
use crate::{
    access_log::AccessLogType,
    address::Address,
    config::{ConfigPath, Reader, Struct, Value, parse_yaml},
    extension::ExtensionSet,
    formatter::Headers,
    response_flags::ResponseFlag,
    runtime::Layer,
    stream_info::SharedStreamInfo,
    testing::TestServer,
};

fn read(yaml: &str) -> Result<AccessLogFilter, String> {
    let document = parse_yaml("x.yaml", yaml).unwrap();
    let extensions = ExtensionSet::with([]).unwrap();
    let reader = Reader::new(&extensions);
    let filter = reader.read(&document.root, ConfigPath::root(), "envoy.config.accesslog.v3.AccessLogFilter");
    filter.ok_or_else(|| reader.into_report().to_string())
}

fn stream(server: &TestServer) -> SharedStreamInfo {
    server.stream(Address::internal_client(), Address::internal("inner", ""))
}

fn passes(yaml: &str, context: &FormatContext<'_>, server: &TestServer) -> bool {
    read(yaml).unwrap().passes(context, &server.context.runtime.snapshot())
}

#[derive(Default)]
struct RequestHeaders(HashMap<&'static str, &'static str>);

impl Headers for RequestHeaders {
    fn request(&self, name: &str) -> Option<&str> {
        self.0.get(name).copied()
    }

    fn response(&self, _: &str) -> Option<&str> {
        None
    }

    fn response_trailer(&self, _: &str) -> Option<&str> {
        None
    }
}

#[test]
fn conditions_look_at_the_stream() {
    let server = TestServer::default();
    let info = stream(&server);
    info.response_code.set(Some(503));
    info.completed_after.set(Some(Duration::from_millis(1500)));
    info.set_flag(ResponseFlag::UpstreamConnectionFailure);
    let metadata = Struct::from_iter([("key".to_owned(), Value::String("value".into()))]);
    info.dynamic_metadata.borrow_mut().set("ns", metadata);
    let headers = RequestHeaders([("x-kind", "test")].into());
    let mut context = FormatContext::new(&info, AccessLogType::TcpConnectionEnd);
    context.headers = Some(&headers);
    let key = "matcher: {filter: ns, path: [{key: key}], value: {string_match: {exact: value}}}";
    let absent = "matcher: {filter: ns, path: [{key: no}], value: {string_match: {exact: value}}}";
    for (filter, expected) in [
        ("status_code_filter: {comparison: {op: GE, value: {default_value: 500}}}".to_owned(), true),
        ("status_code_filter: {comparison: {op: EQ, value: {default_value: 500}}}".to_owned(), false),
        ("status_code_filter: {comparison: {op: NE, value: {default_value: 500}}}".to_owned(), true),
        ("duration_filter: {comparison: {op: LE, value: {default_value: 1500}}}".to_owned(), true),
        ("duration_filter: {comparison: {op: GE, value: {default_value: 1501}}}".to_owned(), false),
        ("not_health_check_filter: {}".to_owned(), true),
        ("traceable_filter: {}".to_owned(), false),
        ("header_filter: {header: {name: X-Kind, string_match: {prefix: te}}}".to_owned(), true),
        ("header_filter: {header: {name: x-other, present_match: true}}".to_owned(), false),
        ("response_flag_filter: {}".to_owned(), true),
        ("response_flag_filter: {flags: [UO, UF]}".to_owned(), true),
        ("response_flag_filter: {flags: [UO]}".to_owned(), false),
        (format!("metadata_filter: {{{key}}}"), true),
        (format!("metadata_filter: {{{absent}}}"), true),
        (format!("metadata_filter: {{{absent}, match_if_key_not_found: false}}"), false),
        ("log_type_filter: {types: [TcpPeriodic, TcpConnectionEnd]}".to_owned(), true),
        ("log_type_filter: {types: [TcpConnectionEnd], exclude: true}".to_owned(), false),
        ("log_type_filter: {types: [TcpConnectionStart, UdpSessionEnd]}".to_owned(), false),
        ("and_filter: {filters: [{not_health_check_filter: {}}, {traceable_filter: {}}]}".to_owned(), false),
        ("or_filter: {filters: [{not_health_check_filter: {}}, {traceable_filter: {}}]}".to_owned(), true),
    ] {
        assert_eq!(passes(&filter, &context, &server), expected, "{filter}");
    }
}

#[test]
fn a_stream_without_status_flags_and_headers_has_none() {
    let server = TestServer::default();
    let info = stream(&server);
    let context = FormatContext::new(&info, AccessLogType::NotSet);
    for (filter, expected) in [
        ("status_code_filter: {comparison: {op: EQ, value: {default_value: 0}}}", true),
        ("response_flag_filter: {}", false),
        ("header_filter: {header: {name: x, present_match: false}}", true),
        ("log_type_filter: {types: [NotSet]}", true),
        ("log_type_filter: {}", false),
    ] {
        assert_eq!(passes(filter, &context, &server), expected, "{filter}");
    }
}

#[test]
fn the_runtime_overrides_what_is_compared_with_and_how_much_is_sampled() {
    let values = [("limit".to_owned(), Value::Number(10.0)), ("share".to_owned(), Value::Number(100.0))];
    let server = TestServer::with_runtime(vec![Layer::from_struct("l", &Struct::from_iter(values))]);
    let info = stream(&server);
    info.response_code.set(Some(20));
    let context = FormatContext::new(&info, AccessLogType::NotSet);
    let compared = |value: &str| {
        passes(&format!("status_code_filter: {{comparison: {{op: GE, value: {value}}}}}"), &context, &server)
    };
    assert!(compared("{default_value: 30, runtime_key: limit}"));
    assert!(!compared("{default_value: 30, runtime_key: other}"));
    let sampled = |filter: &str| passes(&format!("runtime_filter: {filter}"), &context, &server);
    assert!(sampled("{runtime_key: share}"));
    assert!(!sampled("{runtime_key: other}"));
    assert!(sampled("{runtime_key: other, percent_sampled: {numerator: 1000000, denominator: MILLION}}"));
}

#[test]
fn all_logs_of_one_stream_id_draw_the_same_lot() {
    let server = TestServer::default();
    let info = stream(&server);
    // 0x00000031 is 49.
    *info.details.stream_id.borrow_mut() = Some("00000031-0000-4000-8000-000000000000".into());
    let context = FormatContext::new(&info, AccessLogType::NotSet);
    let sampled = |numerator: u32| {
        let filter =
            format!("runtime_filter: {{runtime_key: k, percent_sampled: {{numerator: {numerator}}}}}");
        passes(&filter, &context, &server)
    };
    assert!((0..100).all(|_| sampled(50)));
    assert!((0..100).all(|_| !sampled(49)));
}

/// Whoever logs a connection first finds no id made yet.
#[test]
fn all_logs_of_one_connection_draw_the_same_lot() {
    let server = TestServer::default();
    let half = "runtime_filter: {runtime_key: k, percent_sampled: {numerator: 50}}";
    let lots: Vec<bool> = (0..50)
        .map(|_| {
            let info = stream(&server);
            info.has_random_id.set(true);
            let context = FormatContext::new(&info, AccessLogType::NotSet);
            let first = passes(half, &context, &server);
            assert!((0..20).all(|_| passes(half, &context, &server) == first));
            first
        })
        .collect();
    assert!(lots.contains(&true) && lots.contains(&false), "{lots:?}");
}

#[test]
fn a_filter_that_makes_no_sense_is_refused() {
    insta::assert_snapshot!(read("response_flag_filter: {flags: [UF, XX]}").unwrap_err(), @r#"x.yaml:1:36: error: response_flag_filter.flags[1]: "XX" is no response flag; known are LH, UH, UT, LR, UR, UF, UC, UO, NR, DI, FI, RL, UAEX, RLSE, DC, URX, SI, IH, DPE, UMSDR, RFCF, NFCF, DT, UPE, NC, OM, DF, DO, DR, UDO"#);
    insta::assert_snapshot!(read("{}").unwrap_err(), @"x.yaml:1:1: error: one of status_code_filter, duration_filter, not_health_check_filter, traceable_filter, runtime_filter, and_filter, or_filter, header_filter, response_flag_filter, metadata_filter, log_type_filter must be set");
    insta::assert_snapshot!(read("{not_health_check_filter: {}, traceable_filter: {}}").unwrap_err(), @"x.yaml:1:1: error: only one of not_health_check_filter, traceable_filter can be set");
    insta::assert_snapshot!(read("grpc_status_filter: {statuses: [OK]}").unwrap_err(), @"x.yaml:1:1: error: grpc_status_filter: Envoy knows this field, Underpass does not implement it yet");
    insta::assert_snapshot!(read("status_code_filter: {}").unwrap_err(), @"x.yaml:1:21: error: status_code_filter: `comparison` is missing");
    insta::assert_snapshot!(read("runtime_filter: {}").unwrap_err(), @"x.yaml:1:17: error: runtime_filter: `runtime_key` is missing");
}
