use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::address::Address;
use crate::cluster::{ClusterInfo, Host};
use crate::config::{Metadata, Struct, Value};
use crate::filter_state::{Entry, LifeSpan, SharedWithUpstream, StringObject};
use crate::response_flags::ResponseFlag;
use crate::stats::Store;
use crate::stream_info::ListenerInfo;

mod errors;

fn operators() -> Operators {
    Operators::linked().unwrap()
}

fn socket(address: &str) -> Address {
    Address::from(address.parse::<SocketAddr>().unwrap())
}

fn json(text: &str) -> Value {
    fn value(json: serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap()),
            serde_json::Value::String(text) => Value::String(text),
            serde_json::Value::Array(values) => Value::List(values.into_iter().map(value).collect()),
            serde_json::Value::Object(values) => {
                Value::Struct(values.into_iter().map(|(key, json)| (key, value(json))).collect())
            }
        }
    }
    value(serde_json::from_str(text).unwrap())
}

fn structure(text: &str) -> Struct {
    json(text).as_struct().unwrap().clone()
}

fn metadata(namespace: &str, values: &str) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.filter_metadata.insert(namespace.to_owned(), structure(values));
    metadata
}

/// A TCP stream that was proxied, as the one of which Envoy 1.40 was asked.
fn stream() -> StreamInfo {
    let listener = ListenerInfo {
        name: "outer".into(),
        metadata: Arc::new(metadata("lm", r#"{"k":"listenerval"}"#)),
        ..ListenerInfo::default()
    };
    let info = StreamInfo::new(7, Arc::new(listener), socket("127.0.0.1:49666"), socket("127.0.0.1:29350"))
        .starting_at(Duration::new(1_795_442_613, 433_518_000));
    info.bytes_received.set(5);
    info.bytes_sent.set(6);
    *info.filter_chain_name.borrow_mut() = Some("fc".into());
    info.completed_after.set(Some(Duration::from_micros(51_586)));
    *info.details.route_metadata.borrow_mut() = Some(Arc::new(metadata("rm", r#"{"k":"routeval"}"#)));
    *info.details.virtual_host_metadata.borrow_mut() = Some(Arc::new(metadata("vm", r#"{"k":"hostval"}"#)));
    info.dynamic_metadata.borrow_mut().set("dm", structure(r#"{"k":"dval","list":[1,"two"]}"#));
    let object = |text: &str| Entry {
        object: Rc::new(StringObject(text.into())),
        read_only: true,
        life_span: LifeSpan::Connection,
        shared_with_upstream: SharedWithUpstream::Once,
    };
    info.filter_state.borrow_mut().set("my.key", object("va\"lue one")).unwrap();
    info.upstream.filter_state.borrow_mut().set("up.key", object("up")).unwrap();
    let mut host = Host::new(1, socket("127.0.0.1:29099"));
    host.metadata = Arc::new(metadata("hm", r#"{"k":"hval","neg":-1}"#));
    let host = Arc::new(host);
    info.upstream.note_attempt(Arc::clone(&host));
    let mut cluster = ClusterInfo::new("c", &Store::new(1).scope(""));
    cluster.observability_name = "alt_c".into();
    cluster.metadata = metadata(
        "cm",
        r#"{"k":"cval","n":3.5,"b":true,"z":null,"l":[1,"x",{"a":null}],"s":{"y":1,"a":"\"q\""}}"#,
    );
    *info.upstream.cluster.borrow_mut() = Some(Arc::new(cluster));
    info.upstream.local_address.set(Some(socket("127.0.0.1:41898")));
    info.upstream.remote_address.set(Some(socket("127.0.0.1:29099")));
    info.upstream.note_connection(&host, 1);
    info.upstream.attempts.set(1);
    info.upstream.connection_pool_ready.set(Some(Duration::from_micros(400)));
    info.upstream.connect_started.set(Some(info.start() + Duration::from_micros(214)));
    info.upstream.connected.set(Some(info.start() + Duration::from_micros(521)));
    info.upstream.wire_bytes_sent.set(5);
    info.upstream.wire_bytes_received.set(6);
    info
}

fn text_of(info: &StreamInfo, format: &str) -> String {
    let context = FormatContext::new(info, AccessLogType::TcpConnectionEnd);
    Formatter::parse(format, &operators()).unwrap().format(&context)
}

fn json_of(info: &StreamInfo, format: &str, omit_empty: bool) -> String {
    let context = FormatContext::new(info, AccessLogType::TcpConnectionEnd);
    JsonFormatter::parse(&structure(format), omit_empty, &operators()).unwrap().format(&context)
}

/// Operator, text, JSON; what Envoy 1.40 printed for such a stream.
const PROXIED: &[(&str, &str, &str)] = &[
    ("ACCESS_LOG_TYPE", "TcpConnectionEnd", r#""TcpConnectionEnd""#),
    ("BYTES_RECEIVED", "5", "5"),
    ("BYTES_SENT", "6", "6"),
    ("DOWNSTREAM_WIRE_BYTES_RECEIVED", "5", "5"),
    ("DOWNSTREAM_WIRE_BYTES_SENT", "6", "6"),
    ("UPSTREAM_WIRE_BYTES_SENT", "5", "5"),
    ("UPSTREAM_WIRE_BYTES_RECEIVED", "6", "6"),
    ("UPSTREAM_HEADER_BYTES_SENT", "0", "0"),
    ("CONNECTION_ID", "7", "7"),
    ("CONNECTION_TERMINATION_DETAILS", "-", "null"),
    ("CUSTOM_FLAGS", "", r#""""#),
    ("DURATION", "51", "51"),
    ("RESPONSE_FLAGS", "-", r#""-""#),
    ("RESPONSE_FLAGS_LONG", "-", r#""-""#),
    ("RESPONSE_CODE", "0", "0"),
    ("RESPONSE_CODE_DETAILS", "-", "null"),
    ("PROTOCOL", "-", "null"),
    ("UPSTREAM_PROTOCOL", "-", "null"),
    ("LISTENER_NAME", "outer", r#""outer""#),
    ("FILTER_CHAIN_NAME", "fc", r#""fc""#),
    ("ROUTE_NAME", "-", "null"),
    ("REQUESTED_SERVER_NAME", "-", "null"),
    ("DOWNSTREAM_DETECTED_CLOSE_TYPE", "Normal", r#""Normal""#),
    ("DOWNSTREAM_LOCAL_CLOSE_REASON", "-", "null"),
    ("DOWNSTREAM_REMOTE_ADDRESS", "127.0.0.1:49666", r#""127.0.0.1:49666""#),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "127.0.0.1", r#""127.0.0.1""#),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)", "127.0.0.0/16", r#""127.0.0.0/16""#),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(99)", "127.0.0.1/32", r#""127.0.0.1/32""#),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(a)", "127.0.0.1", r#""127.0.0.1""#),
    ("DOWNSTREAM_REMOTE_PORT", "49666", "49666"),
    ("DOWNSTREAM_DIRECT_LOCAL_ADDRESS", "127.0.0.1:29350", r#""127.0.0.1:29350""#),
    ("DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID", "", r#""""#),
    ("DOWNSTREAM_TLS_VERSION", "-", "null"),
    ("DOWNSTREAM_PEER_CERT_V_END(%s)", "-", "null"),
    ("UPSTREAM_HOST", "127.0.0.1:29099", r#""127.0.0.1:29099""#),
    ("UPSTREAM_HOST_NAME", "127.0.0.1:29099", r#""127.0.0.1:29099""#),
    ("UPSTREAM_HOST_NAME_WITHOUT_PORT", "127.0.0.1", r#""127.0.0.1""#),
    ("UPSTREAM_HOSTS_ATTEMPTED", "127.0.0.1:29099", r#""127.0.0.1:29099""#),
    ("UPSTREAM_CONNECTION_IDS_ATTEMPTED", "1", r#""1""#),
    ("UPSTREAM_CLUSTER", "alt_c", r#""alt_c""#),
    ("UPSTREAM_CLUSTER_RAW", "c", r#""c""#),
    ("UPSTREAM_LOCAL_ADDRESS", "127.0.0.1:41898", r#""127.0.0.1:41898""#),
    ("UPSTREAM_LOCAL_PORT", "41898", "41898"),
    ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)", "127.0.0.0/8", r#""127.0.0.0/8""#),
    ("UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID", "", r#""""#),
    ("UPSTREAM_CONNECTION_ID", "1", "1"),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", "1", "1"),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", "-", "null"),
    ("UPSTREAM_CONNECTION_POOL_READY_DURATION", "0", "0"),
    ("COMMON_DURATION(DS_RX_BEG:US_CX_BEG:us)", "214", "214"),
    ("COMMON_DURATION(US_CX_BEG:US_CX_END:ns)", "307000", "307000"),
    ("COMMON_DURATION(DS_CX_BEG:DS_CX_END)", "51", "51"),
    ("COMMON_DURATION(US_CX_END:DS_RX_BEG:ns)", "-", "null"),
    ("COMMON_DURATION(DS_RX_BEG:foo)", "-", "null"),
    ("START_TIME", "2026-11-23T14:03:33.433Z", r#""2026-11-23T14:03:33.433Z""#),
    ("START_TIME(%Y)", "2026", r#""2026""#),
    ("DYNAMIC_METADATA(dm)", r#"{"k":"dval","list":[1,"two"]}"#, r#"{"k":"dval","list":[1,"two"]}"#),
    ("DYNAMIC_METADATA(dm:k)", "dval", r#""dval""#),
    ("DYNAMIC_METADATA(dm:k):2", "dv", r#""dv""#),
    ("DYNAMIC_METADATA(dm:list):3", "[1,", r#"[1,"two"]"#),
    ("DYNAMIC_METADATA(a::b)", "-", "null"),
    ("METADATA(LISTENER:lm:k)", "listenerval", r#""listenerval""#),
    ("METADATA(UPSTREAM_HOST:hm)", r#"{"k":"hval","neg":-1}"#, r#"{"k":"hval","neg":-1}"#),
    ("METADATA(CLUSTER:cm:s):5", r#"{"a":"#, r#"{"a":"\"q\"","y":1}"#),
    ("METADATA(CLUSTER)", "-", "null"),
    ("METADATA(ROUTE:x)", "-", "null"),
    ("METADATA(ROUTE:rm:k)", "routeval", r#""routeval""#),
    ("METADATA(VIRTUAL_HOST:vm:k)", "hostval", r#""hostval""#),
    ("CLUSTER_METADATA(cm:n)", "3.5", "3.5"),
    ("CLUSTER_METADATA(cm:b)", "true", "true"),
    ("CLUSTER_METADATA(cm:z)", "-", "null"),
    ("CLUSTER_METADATA(cm:l)", r#"[1,"x",{"a":null}]"#, r#"[1,"x",{"a":null}]"#),
    ("CLUSTER_METADATA(cm:l:0)", "-", "null"),
    ("CLUSTER_METADATA(cm:s:a)", r#""q""#, r#""\"q\"""#),
    ("UPSTREAM_METADATA(hm:neg)", "-1", "-1"),
    ("UPSTREAM_METADATA(nope)", "-", "null"),
    ("FILTER_STATE(my.key)", r#""va\"lue one""#, r#""va\"lue one""#),
    ("FILTER_STATE(my.key):3", r#""va"#, r#""va\"lue one""#),
    ("FILTER_STATE(my.key:PLAIN)", "va\"lue one", r#""va\"lue one""#),
    ("FILTER_STATE(my.key:PLAIN):3", "va\"", r#""va\"""#),
    ("FILTER_STATE(my.key:FIELD:x)", "-", "null"),
    ("UPSTREAM_FILTER_STATE(my.key)", "-", "null"),
    ("UPSTREAM_FILTER_STATE(up.key:PLAIN)", "up", r#""up""#),
    ("ENVIRONMENT(UNDERPASS_TEST_NOT_SET)", "-", r#""-""#),
    ("LOCAL_REPLY_BODY", "", r#""""#),
    ("REQUEST_HEADERS_BYTES", "0", "0"),
    ("REQ(a?b)", "-", "null"),
    ("RESP(:status)", "-", "null"),
    ("TRAILER(a)", "-", "null"),
    ("PATH", "-", "null"),
    ("GRPC_STATUS", "-", "null"),
    ("TRACE_ID", "-", "null"),
];

#[test]
fn a_proxied_stream_prints_as_in_envoy() {
    let info = stream();
    for (operator, text, json) in PROXIED {
        assert_eq!(text_of(&info, &format!("%{operator}%")), *text, "{operator}");
        let format = serde_json::json!({ "x": format!("%{operator}%") }).to_string();
        assert_eq!(json_of(&info, &format, false), format!(r#"{{"x":{json}}}"#), "{operator}");
        let omitted = if *json == "null" { "{}".to_owned() } else { format!(r#"{{"x":{json}}}"#) };
        assert_eq!(json_of(&info, &format, true), omitted, "{operator}");
    }
}

/// The upstream refused the connection.
#[test]
fn a_failed_stream_prints_as_in_envoy() {
    let info = stream();
    info.set_flag(ResponseFlag::UpstreamConnectionFailure);
    info.set_flag(ResponseFlag::UpstreamRetryLimitExceeded);
    *info.upstream.details.transport_failure_reason.borrow_mut() =
        Some("delayed connect error: Connection refused".to_owned());
    *info.upstream.host.borrow_mut() = Some(Arc::new(Host::new(2, socket("[::1]:29999"))));
    info.upstream.remote_address.set(None);
    info.upstream.connection_id.set(None);
    *info.details.downstream_local_close_reason.borrow_mut() = Some("tcp_session_idle_timeout".into());
    assert_eq!(
        text_of(
            &info,
            "%UPSTREAM_HOST_NAME%|%UPSTREAM_HOST_NAME_WITHOUT_PORT%|%UPSTREAM_REMOTE_ADDRESS%|%UPSTREAM_REMOTE_PORT%|\
             %UPSTREAM_TRANSPORT_FAILURE_REASON%|%RESPONSE_FLAGS%|%RESPONSE_FLAGS_LONG%|%UPSTREAM_CONNECTION_ID%|\
             %DOWNSTREAM_LOCAL_CLOSE_REASON%"
        ),
        "[::1]:29999|[::1]|-|-|delayed_connect_error:_Connection_refused|UF,URX|\
         UpstreamConnectionFailure,UpstreamRetryLimitExceeded|0|tcp_session_idle_timeout"
    );
}

#[test]
fn internal_addresses_have_an_endpoint_id_and_no_port() {
    let info = stream();
    info.addresses.borrow_mut().set_local(Address::internal("inner", "ep1"));
    info.addresses.borrow_mut().set_remote(Address::internal_client());
    let format = "%DOWNSTREAM_LOCAL_ADDRESS%|%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(8)%|%DOWNSTREAM_LOCAL_PORT%|\
                  %DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID%|%DOWNSTREAM_REMOTE_ADDRESS%|%DOWNSTREAM_DIRECT_LOCAL_ADDRESS%";
    assert_eq!(
        text_of(&info, format),
        "envoy://inner/ep1|envoy://inner/ep1||ep1|envoy://internal_client_address/|127.0.0.1:29350"
    );
    assert_eq!(json_of(&info, r#"{"port":"%DOWNSTREAM_LOCAL_PORT%"}"#, false), r#"{"port":null}"#);
}

#[test]
fn server_names_of_clients_cannot_break_a_log_line() {
    let info = stream();
    for (name, printed) in [
        ("evil\" \n.example", "invalid:evil___.example"),
        ("*.a", "invalid:_.a"),
        ("::1", "invalid:__1"),
        ("a_b-c.example.", "a_b-c.example."),
    ] {
        *info.details.requested_server_name.borrow_mut() = Some(name.into());
        assert_eq!(text_of(&info, "%REQUESTED_SERVER_NAME%"), printed);
    }
}

#[test]
fn a_stream_keeps_the_id_it_was_given_first() {
    let info = stream();
    let id = text_of(&info, "%STREAM_ID%");
    assert_eq!((text_of(&info, "%STREAM_ID%"), id.len()), (id, 36));
    assert_ne!(text_of(&info, "%UNIQUE_ID%"), text_of(&info, "%UNIQUE_ID%"));
}

#[test]
fn text_and_operators_alternate() {
    let info = stream();
    assert_eq!(text_of(&info, "a %BYTES_SENT%%BYTES_SENT% 100%% é"), "a 66 100% é");
    assert_eq!(text_of(&info, ""), "");
    let omit = Formatter::parse("x%PROTOCOL%y", &operators()).unwrap().omit_empty_values(true);
    assert_eq!(omit.format(&FormatContext::new(&info, AccessLogType::NotSet)), "xy");
}

#[test]
fn lengths_do_not_cut_characters() {
    let info = stream();
    info.dynamic_metadata.borrow_mut().set("u", structure(r#"{"k":"aé€"}"#));
    for (length, expected) in [(0, ""), (1, "a"), (2, "a"), (3, "aé"), (5, "aé"), (6, "aé€"), (99, "aé€")]
    {
        assert_eq!(text_of(&info, &format!("%DYNAMIC_METADATA(u:k):{length}%")), expected);
    }
}

/// As Envoy 1.40 printed it, but for the numbers with a fraction, which its YAML reader takes for texts.
#[test]
fn json_formats_keep_structure_and_types() {
    let format = r#"{"num":5,"b":true,"z":null,"empty":"","lit":"<é> \u0001 \t \"q\" \\ /","mix":"a%PROTOCOL%b%BYTES_SENT%",
        "pct":"100%%","obj":{"y":"%PROTOCOL%","a":"%BYTES_SENT%","o":{}},
        "list":["%BYTES_SENT%","%PROTOCOL%",["x"],{"k":"%PROTOCOL%"}],"allnull":{"k":"%PROTOCOL%"},"trail":"%BYTES_SENT% ",
        "Z":1,"a b":"1"}"#;
    insta::assert_snapshot!(json_of(&stream(), format, false), @r#"{"Z":1,"a b":"1","allnull":{"k":null},"b":true,"empty":"","list":[6,null,["x"],{"k":null}],"lit":"<é> \u0001 \t \"q\" \\ /","mix":"a-b6","num":5,"obj":{"a":6,"o":{},"y":null},"pct":"100%","trail":"6 ","z":null}"#);
    insta::assert_snapshot!(json_of(&stream(), format, true), @r#"{"Z":1,"a b":"1","b":true,"empty":"","list":[6,["x"]],"lit":"<é> \u0001 \t \"q\" \\ /","mix":"ab6","num":5,"obj":{"a":6},"pct":"100%","trail":"6 "}"#);
}

#[test]
fn the_default_format_is_envoys() {
    let format = LogFormat::default_of_access_logs(&operators()).unwrap();
    let info = stream();
    insta::assert_snapshot!(
        format.format(&FormatContext::new(&info, AccessLogType::TcpConnectionEnd)),
        @r#"[2026-11-23T14:03:33.433Z] "- - -" 0 - 5 6 51 - "-" "-" "-" "-" "127.0.0.1:29099""#
    );
}

/// Headers of one request, for tests.
struct Request(&'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)]);

impl Headers for Request {
    fn request(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn response(&self, name: &str) -> Option<&str> {
        self.1.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn response_trailer(&self, _: &str) -> Option<&str> {
        None
    }
}

/// What Envoy 1.40 printed for this request.
#[test]
fn requests_print_as_in_envoy() {
    let request = Request(
        &[
            (":method", "GET"),
            (":path", "/d?q=1%202&e=&x='"),
            (":authority", "ex.com:80"),
            ("x-a", "A v"),
            ("content-type", "application/grpc"),
        ],
        &[("x-kind", "k1"), ("grpc-status", "7")],
    );
    let info = stream();
    let context =
        FormatContext { headers: Some(&request), ..FormatContext::new(&info, AccessLogType::DownstreamEnd) };
    for (operator, expected) in [
        ("REQ(:METHOD)", "GET"),
        ("REQ(X-A)", "A v"),
        ("REQ(x-none?:authority):3", "ex."),
        ("REQ(?x-a)", "A v"),
        ("REQ_WITHOUT_QUERY(:path)", "/d"),
        ("RESP(X-KIND)", "k1"),
        ("TRAILER(x)", "-"),
        ("PATH", "/d?q=1%202&e=&x='"),
        ("PATH(NQ):3", "/d"),
        ("PATH(NQ:ORIG)", "-"),
        ("PATH(WQ:PATH):4", "/d?q"),
        ("QUERY_PARAM(q)", "1 2"),
        ("QUERY_PARAM(e)", ""),
        ("QUERY_PARAM(none)", "-"),
        ("QUERY_PARAM(q):1", "1"),
        ("QUERY_PARAMS(ORIG):3", "q=1"),
        ("GRPC_STATUS", "PermissionDenied"),
        ("GRPC_STATUS(SNAKE_STRING)", "PERMISSION_DENIED"),
        ("GRPC_STATUS_NUMBER", "7"),
        ("REQUESTED_SERVER_NAME", "-"),
        ("REQUESTED_SERVER_NAME(HOST_FIRST)", "ex.com:80"),
        ("REQUESTED_SERVER_NAME(SNI_FIRST:ORIG)", "-"),
    ] {
        let format = Formatter::parse(&format!("%{operator}%"), &operators()).unwrap();
        assert_eq!(format.format(&context), expected, "{operator}");
    }
}

proptest::proptest! {
    #[test]
    fn text_without_percent_signs_stays(text in "[^%]*") {
        proptest::prop_assert_eq!(text_of(&stream(), &text), text);
    }

    #[test]
    fn no_format_panics(format in r"(%?[A-Z_]{0,3}(REQ|START_TIME|DYNAMIC_METADATA|FILTER_STATE|BYTES_SENT)?(\([a-z:?%é)]{0,4}\))?(:[0-9]{0,2})?%?[ é]{0,2}){0,4}") {
        if let Ok(format) = Formatter::parse(&format, &operators()) {
            let _ = format.format(&FormatContext::new(&stream(), AccessLogType::NotSet));
        }
    }

    /// Whatever filters leave on a stream, a JSON log line is JSON, in one line.
    #[test]
    fn json_lines_are_json(key in ".*", value in ".*") {
        let info = stream();
        let values = [("k".to_owned(), Value::String(value.clone()))].into_iter().collect();
        info.dynamic_metadata.borrow_mut().set("p", values);
        let format = [(key.clone(), Value::String("%DYNAMIC_METADATA(p:k)%".to_owned()))].into_iter().collect();
        let format = LogFormat::json(&format, false, &operators()).unwrap();
        let line = format.format(&FormatContext::new(&info, AccessLogType::NotSet));
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        proptest::prop_assert_eq!(read[key].as_str(), Some(value.as_str()));
        proptest::prop_assert_eq!(line.matches('\n').count(), 1);
    }
}
