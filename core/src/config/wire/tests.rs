use proptest::prelude::*;

use super::*;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// One record, as protobuf writes it.
fn record(field: u64, wire_type: u64, payload: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | wire_type), payload].concat()
}

fn number(field: u64, value: i64) -> Vec<u8> {
    record(field, 0, &varint(value.cast_unsigned()))
}

fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    record(field, 2, &[&varint(value.len() as u64), value].concat())
}

fn double(field: u64, value: f64) -> Vec<u8> {
    record(field, 1, &value.to_le_bytes())
}

fn decoded(name: &str, parts: &[Vec<u8>]) -> String {
    let url = format!("type.googleapis.com/{name}");
    decode_any("xds", &url, &parts.concat()).unwrap_or_else(|error| panic!("{error}")).to_json().to_string()
}

fn refused(name: &str, parts: &[Vec<u8>]) -> String {
    decode_any("xds", &format!("type.googleapis.com/{name}"), &parts.concat()).unwrap_err().to_string()
}

#[test]
fn a_message_becomes_the_tree_that_a_file_would_have() {
    let address = bytes(2, bytes(1, [bytes(2, "::1"), number(3, 10_000)].concat()));
    let chain =
        bytes(3, [bytes(7, "chain"), bytes(9, [number(1, 5), number(2, 250_000_000)].concat())].concat());
    let buffer_limit = bytes(5, number(1, 0));
    let direction = number(16, 1);
    let listener = [bytes(1, "l"), address, chain, buffer_limit, direction];
    insta::assert_snapshot!(decoded("envoy.config.listener.v3.Listener", &listener), @r#"{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","address":{"socket_address":{"address":"::1","port_value":10000}},"filter_chains":[{"name":"chain","transport_socket_connect_timeout":"5.25s"}],"name":"l","per_connection_buffer_limit_bytes":0,"traffic_direction":"INBOUND"}"#);
}

#[test]
fn typed_configs_say_their_types_at_every_level() {
    let raw_buffer = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
    let socket = bytes(3, [bytes(1, "raw"), bytes(3, bytes(1, raw_buffer))].concat());
    let upstream = "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport";
    insta::assert_snapshot!(decoded(upstream, &[socket]), @r#"{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport","transport_socket":{"name":"raw","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}"#);
}

#[test]
fn well_known_types_have_their_json_form() {
    let value = |name: &str, parts: &[Vec<u8>]| {
        let url = format!("x/google.protobuf.{name}");
        let tree = decode_any("xds", &url, &parts.concat()).unwrap();
        tree.get("value").unwrap().as_text().unwrap().to_owned()
    };
    assert_eq!(value("Duration", &[]), "0s");
    assert_eq!(value("Duration", &[number(1, 90), number(2, 250_000_000)]), "90.25s");
    assert_eq!(value("Duration", &[number(2, 1)]), "0.000000001s");
    assert_eq!(value("Duration", &[number(1, -1), number(2, -500_000_000)]), "-1.5s");
    assert_eq!(value("Timestamp", &[number(1, 60)]), "1970-01-01T00:01:00Z");
    assert_eq!(value("UInt32Value", &[]), "0");
    assert_eq!(value("Int64Value", &[number(1, i64::MIN)]), "-9223372036854775808");
    assert_eq!(value("BytesValue", &[bytes(1, [0xff])]), "/w==");
    assert_eq!(value("DoubleValue", &[double(1, f64::INFINITY)]), "Infinity");
    assert_eq!(value("FieldMask", &[bytes(1, "a.b"), bytes(1, "c")]), "a.b,c");
    insta::assert_snapshot!(decoded("google.protobuf.Empty", &[]), @r#"{"@type":"type.googleapis.com/google.protobuf.Empty"}"#);
}

#[test]
fn structs_become_plain_data() {
    let pair = |key: &str, value: Vec<u8>| bytes(1, [bytes(1, key), bytes(2, value)].concat());
    let list =
        bytes(6, [bytes(1, double(2, 1.0)), bytes(1, double(2, 2.5)), bytes(1, number(1, 0))].concat());
    let inner = [pair("text", bytes(3, "5")), pair("flag", number(4, 1)), pair("list", list)].concat();
    let metadata = bytes(1, [bytes(1, "envoy.lb"), bytes(2, &inner)].concat());
    let more =
        bytes(1, [bytes(1, "other"), bytes(2, pair("a", bytes(5, pair("b", bytes(3, "c")))))].concat());
    insta::assert_snapshot!(decoded("envoy.config.core.v3.Metadata", &[metadata, more]), @r#"{"@type":"type.googleapis.com/envoy.config.core.v3.Metadata","filter_metadata":{"envoy.lb":{"flag":true,"list":[1,2.5,null],"text":"5"},"other":{"a":{"b":"c"}}}}"#);
}

#[test]
fn lists_come_packed_or_one_by_one_and_later_values_count() {
    let retry = "envoy.config.route.v3.RetryPolicy";
    insta::assert_snapshot!(decoded(retry, &[bytes(7, [varint(503), varint(504)].concat())]), @r#"{"@type":"type.googleapis.com/envoy.config.route.v3.RetryPolicy","retriable_status_codes":[503,504]}"#);
    insta::assert_snapshot!(decoded(retry, &[number(7, 503), number(7, 504)]), @r#"{"@type":"type.googleapis.com/envoy.config.route.v3.RetryPolicy","retriable_status_codes":[503,504]}"#);
    let address = "envoy.config.core.v3.SocketAddress";
    insta::assert_snapshot!(decoded(address, &[number(1, 0), bytes(2, "a"), bytes(2, "b"), number(1, 1), number(1, 9)]), @r#"{"@type":"type.googleapis.com/envoy.config.core.v3.SocketAddress","address":"b","protocol":9}"#);
    let listener = "envoy.config.listener.v3.Listener";
    let split = [bytes(2, bytes(1, bytes(2, "a"))), bytes(2, bytes(1, number(3, 80)))];
    insta::assert_snapshot!(decoded(listener, &split), @r#"{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","address":{"socket_address":{"address":"a","port_value":80}}}"#);
}

#[test]
fn what_is_not_the_message_is_refused() {
    let address = "envoy.config.core.v3.SocketAddress";
    insta::assert_snapshot!(refused("example.Tool", &[]), @"example.Tool: Envoy's API has no such message, and no crate has registered descriptors of it; it must come as xds.type.v3.TypedStruct");
    insta::assert_snapshot!(refused(address, &[number(15, 1)]), @"envoy.config.core.v3.SocketAddress: it has no field of number 15");
    insta::assert_snapshot!(refused(address, &[number(2, 1)]), @"envoy.config.core.v3.SocketAddress: the bytes of `address` are not of the kind that the field has");
    insta::assert_snapshot!(refused(address, &[bytes(2, [0xff])]), @"envoy.config.core.v3.SocketAddress: the bytes of `address` are not of the kind that the field has");
    insta::assert_snapshot!(refused(address, &[bytes(2, "abc")[..3].to_vec()]), @"envoy.config.core.v3.SocketAddress: its bytes are no protobuf, or are cut off");
    insta::assert_snapshot!(refused(address, &[record(2, 3, &[])]), @"envoy.config.core.v3.SocketAddress: its bytes are no protobuf, or are cut off");
    insta::assert_snapshot!(refused("envoy.config.listener.v3.Listener", &[bytes(2, bytes(1, number(2, 1)))]), @"address.socket_address: envoy.config.core.v3.SocketAddress: the bytes of `address` are not of the kind that the field has");
    insta::assert_snapshot!(refused("google.protobuf.Any", &[]), @"google.protobuf.Any: its bytes are not those of such a message");
    let nested = |levels| (0..levels).fold(bytes(3, "x"), |inner, _| bytes(6, bytes(1, inner)));
    assert!(decode_any("xds", "x/google.protobuf.Value", &nested(40)).is_ok());
    insta::assert_snapshot!(refused("google.protobuf.Value", &[nested(60)]), @"google.protobuf.Value: more than 100 levels are nested here");
    let chains =
        [bytes(3, bytes(7, "a")), bytes(3, [bytes(3, bytes(1, "f")), bytes(3, number(99, 1))].concat())];
    insta::assert_snapshot!(refused("envoy.config.listener.v3.Listener", &chains), @"filter_chains[1].filters[1]: envoy.config.listener.v3.Filter: it has no field of number 99");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        for name in [
            "envoy.config.listener.v3.Listener",
            "envoy.config.core.v3.Metadata",
            "google.protobuf.Any",
            "google.protobuf.Value",
            "google.protobuf.Timestamp",
        ] {
            let _tree_or_refused = decode_any("xds", &format!("x/{name}"), &bytes);
        }
    }
}

#[test]
fn of_the_members_of_a_oneof_the_last_one_counts() {
    let address = [bytes(1, bytes(2, "a")), bytes(2, bytes(1, "/pipe")), bytes(1, bytes(2, "b"))];
    insta::assert_snapshot!(decoded("envoy.config.core.v3.Address", &address), @r#"{"@type":"type.googleapis.com/envoy.config.core.v3.Address","socket_address":{"address":"b"}}"#);
}

#[test]
fn keys_that_are_data_differ_by_their_style() {
    let pair = |key: &str, text: &str| bytes(1, [bytes(1, key), bytes(2, bytes(3, text))].concat());
    let data = [pair("a_b", "1"), pair("aB", "2"), pair("a_b", "3")];
    insta::assert_snapshot!(decoded("google.protobuf.Struct", &data), @r#"{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"aB":"2","a_b":"3"}}"#);
}

#[test]
fn one_decoder_shares_the_names_of_fields_among_its_trees() {
    let decoder = MessageDecoder::default();
    let trees = ["a", "b"]
        .map(|host| decoder.decode(host, "envoy.config.core.v3.SocketAddress", &bytes(2, host)).unwrap());
    let [first, second] = trees.each_ref().map(|tree| &tree.entries()[0]);
    assert!(Arc::ptr_eq(&first.key, &second.key));
    assert_eq!(second.value.location().to_string(), "b:1:1");
    assert_eq!(trees[0].get("@type"), None);
}
