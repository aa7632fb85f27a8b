//! What access logs show of TCP connections, in text and in JSON, and when they are written.

use serde_json::{Value, json};
use underpass_tests::{
    Chain, Origin, Proxy, With,
    client::ask,
    config::{extension, file_log, log_to},
    proxy::after_one_connection,
};

/// The one line that the outer proxy logs.
#[track_caller]
fn logged(format: &str) -> String {
    let proxy = after_one_connection(|chain| chain.outer(log_to("outer.log", format)));
    let lines = proxy.lines("outer.log", 1);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].clone()
}

#[test]
fn operators_tell_of_traffic_and_of_what_there_is_not() {
    for (operators, expected) in [
        ("%BYTES_RECEIVED% %BYTES_SENT%", "5 5"),
        ("%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED%", "5 5"),
        ("%DOWNSTREAM_WIRE_BYTES_SENT% %DOWNSTREAM_WIRE_BYTES_RECEIVED%", "5 5"),
        ("%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", "- -"),
        ("%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %PROTOCOL%", "0 - -"),
        ("%REQ(:METHOD)% %REQUESTED_SERVER_NAME% %ROUTE_NAME%", "- - -"),
        ("%UPSTREAM_CLUSTER% %UPSTREAM_REQUEST_ATTEMPT_COUNT%", "to_inner 1"),
        ("%UPSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS%", "- -"),
        ("%ACCESS_LOG_TYPE% %DOWNSTREAM_PEER_SUBJECT%", "TcpConnectionEnd -"),
        ("%DYNAMIC_METADATA(no:such)% %FILTER_STATE(no.such)% %UPSTREAM_METADATA(no:such)%", "- - -"),
        ("100%% %BYTES_RECEIVED%%BYTES_SENT%", "100% 55"),
    ] {
        assert_eq!(logged(operators), expected, "{operators}");
    }
}

#[test]
fn times_are_written_as_their_format_asks() {
    let line = logged("%START_TIME% %START_TIME(%Y-%m-%d)% %START_TIME(%s)% %START_TIME(%s.%3f)% %DURATION%");
    let fields: Vec<&str> = line.split(' ').collect();
    let [start, day, seconds, millis, duration] = fields[..] else { panic!("{line}") };
    assert!(
        start.starts_with(day) && start.ends_with('Z') && start.len() == "2024-01-01T00:00:00.000Z".len(),
        "{line}"
    );
    assert!(millis.starts_with(seconds) && millis.len() == seconds.len() + 4, "{line}");
    assert!(seconds.parse::<u64>().is_ok() && duration.parse::<u64>().is_ok_and(|it| it < 20_000), "{line}");
}

#[test]
fn addresses_are_those_of_the_sockets() {
    let origin = Origin::echo();
    let format = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_PORT% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT% %UPSTREAM_HOST% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%";
    let log = |file: &str| log_to(file, format);
    let proxy = Proxy::start(Chain::to(&origin).outer(log("outer.log")).inner(log("inner.log")));
    let mut client = proxy.connect("outer");
    assert_eq!(ask(&mut client, "hello"), "hello");
    let (peer, local) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    drop(client);
    let hop = "envoy://internal_client_address/";
    assert_eq!(
        proxy.lines("outer.log", 1),
        [format!("{peer} {} {local} {} envoy://inner/ {hop}", peer.port(), local.port())]
    );
    assert_eq!(
        proxy.lines("inner.log", 1),
        // Such addresses have no ports.
        [format!("{hop}  envoy://inner/  {} 127.0.0.1", origin.address())]
    );
}

/// An access logger that writes JSON.
fn json_log(file: &str, format: &Value) -> Value {
    file_log(file, "").with(json!({ "log_format": { "json_format": format } }))
}

#[test]
fn json_keeps_numbers_nesting_and_null() {
    let format = json!({
        "received": "%BYTES_RECEIVED%",
        "text": "got %BYTES_RECEIVED% bytes",
        "flags": "%RESPONSE_FLAGS%",
        "server_name": "%REQUESTED_SERVER_NAME%",
        "nested": { "cluster": "%UPSTREAM_CLUSTER%", "list": ["%BYTES_SENT%", "fixed"] },
        "quoted": "say \"%UPSTREAM_CLUSTER%\"",
    });
    let proxy =
        after_one_connection(|chain| chain.outer(json!({ "access_log": [json_log("outer.log", &format)] })));
    let line: Value = serde_json::from_str(&proxy.lines("outer.log", 1)[0]).unwrap();
    let expected = json!({
        "received": 5,
        "text": "got 5 bytes",
        "flags": "-",
        "server_name": null,
        "nested": { "cluster": "to_inner", "list": [5, "fixed"] },
        "quoted": "say \"to_inner\"",
    });
    assert_eq!(line, expected);
}

#[test]
fn several_logs_each_get_the_line() {
    let proxy = after_one_connection(|chain| {
        let stream = |kind: &str, text: &str| {
            let format = json!({ "log_format": { "text_format_source": { "inline_string": text } } });
            extension(&format!("access_loggers.stream.v3.{kind}AccessLog"), format)
        };
        chain.outer(json!({ "access_log": [
            file_log("one.log", "one %BYTES_SENT%"),
            file_log("two.log", "two %BYTES_SENT%"),
            stream("Stdout", "out %BYTES_SENT%\n"),
            stream("Stderr", "err %BYTES_SENT%\n"),
        ]}))
    });
    assert_eq!(proxy.lines("one.log", 1), ["one 5"]);
    assert_eq!(proxy.lines("two.log", 1), ["two 5"]);
    assert_eq!(proxy.lines("stdout.log", 1), ["out 5"]);
    underpass_tests::eventually("standard error has the line", || proxy.log().contains("err 5\n"));
}

#[test]
fn filters_decide_which_connections_are_logged() {
    // Codes are 0 and flags are none for a TCP connection that went well.
    let filtered = |file: &str, filter: Value| {
        let mut log = file_log(file, "logged");
        log["filter"] = filter;
        log
    };
    let code = |op: &str, value: u32| {
        json!({ "status_code_filter": { "comparison": {
            "op": op, "value": { "default_value": value, "runtime_key": "no.such.key" }
        }}})
    };
    let failed = json!({ "response_flag_filter": { "flags": ["UF", "UH"] } });
    let proxy = after_one_connection(|chain| {
        chain.outer(json!({ "access_log": [
            filtered("failed.log", failed.clone()),
            filtered("zero.log", code("EQ", 0)),
            filtered("error.log", code("GE", 500)),
            filtered("either.log", json!({ "or_filter": { "filters": [failed, code("LE", 100)] } })),
        ]}))
    });
    assert_eq!(proxy.lines("zero.log", 1), ["logged"]);
    assert_eq!(proxy.lines("either.log", 1), ["logged"]);
    assert!(proxy.lines_now("failed.log").is_empty() && proxy.lines_now("error.log").is_empty());
}

#[test]
fn log_may_be_written_at_the_start_and_from_time_to_time() {
    let origin = Origin::echo();
    let proxy = Proxy::start(
        Chain::to(&origin).outer(log_to("outer.log", "%ACCESS_LOG_TYPE% %BYTES_RECEIVED%")).outer(
            json!({ "access_log_options": {
                "flush_access_log_on_connected": true, "access_log_flush_interval": "0.1s"
            }}),
        ),
    );
    let mut client = proxy.connect("outer");
    assert_eq!(ask(&mut client, "hello"), "hello");
    assert!(proxy.lines("outer.log", 3).len() >= 3);
    drop(client);
    proxy.admin().wait_idle();
    underpass_tests::eventually("the last line is written", || {
        proxy.lines_now("outer.log").last().is_some_and(|it| it == "TcpConnectionEnd 5")
    });
    let lines = proxy.lines_now("outer.log");
    assert_eq!(lines[0], "TcpUpstreamConnected 0");
    let between = &lines[1..lines.len() - 1];
    assert!(between.iter().all(|line| line.starts_with("TcpPeriodic ")), "{lines:?}");
}
