//! The table says what Envoy's protos say, and every line of it is well formed.

use super::*;

fn field(message_name: &str, name: &str) -> Field {
    message(message_name).unwrap().field(name).unwrap_or_else(|| panic!("{message_name} has no field {name}"))
}

#[test]
fn fields_tell_their_number_and_kind() {
    let name = field("envoy.config.listener.v3.Listener", "name");
    assert_eq!((name.name, name.number, name.oneof), ("name", 1, None));
    assert_eq!(name.kind, Kind::Single(Type::Scalar(Scalar::String)));
    let limit = field("envoy.config.listener.v3.Listener", "per_connection_buffer_limit_bytes");
    assert_eq!(limit.kind, Kind::Single(Type::Message("google.protobuf.UInt32Value")));
    let filters = field("envoy.config.listener.v3.FilterChain", "filters");
    assert_eq!(filters.kind, Kind::Repeated(Type::Message("envoy.config.listener.v3.Filter")));
    let direction = field("envoy.config.listener.v3.Listener", "traffic_direction");
    assert_eq!(direction.kind, Kind::Single(Type::Enum("envoy.config.core.v3.TrafficDirection")));
}

#[test]
fn a_map_tells_the_kinds_of_its_keys_and_values() {
    let options = field("envoy.config.cluster.v3.Cluster", "typed_extension_protocol_options");
    assert_eq!(options.kind, Kind::Map(Scalar::String, Type::Message("google.protobuf.Any")));
    assert_eq!(options.kind.value_type(), Type::Message("google.protobuf.Any"));
    assert!(message("envoy.config.cluster.v3.Cluster.TypedExtensionProtocolOptionsEntry").is_none());
}

#[test]
fn members_of_a_oneof_name_it() {
    let port = field("envoy.config.core.v3.SocketAddress", "port_value");
    assert_eq!(port.oneof, Some("port_specifier"));
    assert_eq!(field("envoy.config.core.v3.SocketAddress", "address").oneof, None);
}

#[test]
fn a_field_answers_to_both_of_its_names() {
    let listener = message("envoy.config.listener.v3.Listener").unwrap();
    let snake = listener.field("per_connection_buffer_limit_bytes");
    assert!(snake.is_some());
    assert_eq!(snake, listener.field("perConnectionBufferLimitBytes"));
    assert_eq!(listener.field("PerConnectionBufferLimitBytes"), None);
    assert_eq!(listener.field("per_connectionBufferLimitBytes"), None);
    assert_eq!(listener.field_numbered(5), snake);
}

#[test]
fn json_names_are_those_of_protobuf() {
    assert_eq!(json_name("stat_prefix"), "statPrefix");
    assert_eq!(json_name("name"), "name");
    assert_eq!(json_name("field_1"), "field1");
    assert_eq!(json_name("http2_protocol_options"), "http2ProtocolOptions");
    assert_eq!(json_name("deprecated_v1"), "deprecatedV1");
    assert_eq!(json_name("_leading__double_trailing_"), "LeadingDoubleTrailing");
}

#[test]
fn fields_tell_what_envoy_demands_of_them() {
    let all = |constraints: Constraints| constraints.iter().collect::<Vec<_>>();
    let path = field("envoy.config.core.v3.Pipe", "path");
    assert_eq!(all(path.constraints), [Constraint::MinLen(1)]);
    let mode = field("envoy.config.core.v3.Pipe", "mode");
    assert_eq!(all(mode.constraints), [Constraint::AtMost(511.0)]);
    let interval = field("envoy.config.bootstrap.v3.Bootstrap", "stats_flush_interval");
    assert_eq!(all(interval.constraints), [Constraint::Below(300.0), Constraint::AtLeast(0.001)]);
    let header = field("envoy.config.core.v3.HeaderValueOption", "header");
    assert_eq!(all(header.constraints), [Constraint::Required]);
    let prefixed = field("envoy.extensions.access_loggers.stats.v3.Config.Histogram", "value_format");
    assert_eq!(
        all(prefixed.constraints),
        [Constraint::MinLen(1), Constraint::Prefix("%"), Constraint::Suffix("%")]
    );
}

#[test]
fn lists_and_maps_tell_the_demands_on_what_they_hold() {
    let all = |constraints: Constraints| constraints.iter().collect::<Vec<_>>();
    let ports = field("envoy.config.listener.v3.FilterChainMatch", "source_ports").constraints;
    assert_eq!(all(ports), []);
    assert_eq!(all(ports.of_items()), [Constraint::AtMost(65535.0), Constraint::AtLeast(1.0)]);
    let metadata = field("envoy.config.core.v3.Metadata", "filter_metadata").constraints;
    assert_eq!(all(metadata.of_keys()), [Constraint::MinLen(1)]);
    assert_eq!(all(metadata.of_items()), []);
}

#[test]
fn a_oneof_may_be_required() {
    let address = message("envoy.config.core.v3.Address").unwrap();
    assert_eq!(address.required_oneofs().collect::<Vec<_>>(), ["address"]);
    let endpoint = message("envoy.config.endpoint.v3.LbEndpoint").unwrap();
    assert_eq!(endpoint.required_oneofs().count(), 0);
}

#[test]
fn nested_messages_and_enums_are_found_by_their_full_name() {
    assert!(message("envoy.config.core.v3.SubstitutionFormatString").is_some());
    assert!(
        message("envoy.config.cluster.v3.Cluster.RingHashLbConfig")
            .unwrap()
            .field("minimum_ring_size")
            .is_some()
    );
    assert!(enumeration("envoy.config.cluster.v3.Cluster.RingHashLbConfig.HashFunction").is_some());
}

#[test]
fn enums_know_names_and_numbers() {
    let kinds = enumeration("envoy.config.cluster.v3.Cluster.DiscoveryType").unwrap();
    assert_eq!(
        kinds.value_names().collect::<Vec<_>>(),
        ["STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST"]
    );
    assert_eq!(kinds.number("LOGICAL_DNS"), Some(2));
    assert_eq!(kinds.number("STATICC"), None);
    assert_eq!(kinds.value_name(4), Some("ORIGINAL_DST"));
    assert_eq!(kinds.value_name(5), None);
}

#[test]
fn what_envoy_does_not_have_is_absent() {
    assert!(message("envoy.config.listener.v3.Listenerr").is_none());
    assert!(message("").is_none());
    assert!(message("envoy.config.core.v3.TrafficDirection").is_none(), "an enum is no message");
    assert!(enumeration("envoy.config.listener.v3.Listener").is_none(), "a message is no enum");
    assert!(message("envoy.config.listener.v3.Listener").unwrap().field("filterchains").is_none());
}

#[test]
fn what_a_configuration_names_by_type_is_there() {
    for name in [
        "envoy.config.bootstrap.v3.Bootstrap",
        "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "envoy.service.discovery.v3.DiscoveryResponse",
        "envoy.watchdog.v3.AbortActionConfig",
        "google.protobuf.Duration",
        "udpa.type.v1.TypedStruct",
        "xds.type.v3.TypedStruct",
    ] {
        assert!(message(name).is_some(), "{name}");
    }
}

#[test]
fn the_table_is_sorted_and_without_duplicates() {
    let unsorted = blocks().windows(2).find(|pair| pair[0].name >= pair[1].name);
    assert!(unsorted.is_none(), "{unsorted:?}");
}

#[test]
fn every_line_parses_and_every_type_it_names_exists() {
    for block in blocks() {
        let lines = block.lines.lines().count();
        if block.is_enum {
            assert_eq!(Enumeration(block).values().count(), lines, "{}", block.name);
            assert!(lines > 0, "{}", block.name);
            continue;
        }
        let each = Message(block);
        assert_eq!(each.fields().count() + each.required_oneofs().count(), lines, "{}", block.name);
        for oneof in each.required_oneofs() {
            assert!(each.fields().any(|field| field.oneof == Some(oneof)), "{}: {oneof}", block.name);
        }
        for field in each.fields() {
            let exists = match field.kind.value_type() {
                Type::Scalar(_) => true,
                Type::Message(name) => message(name).is_some(),
                Type::Enum(name) => enumeration(name).is_some(),
            };
            assert!(exists, "{}.{}: {:?}", block.name, field.name, field.kind);
            assert!(
                field.constraints.is_well_formed(),
                "{}.{}: {:?}",
                block.name,
                field.name,
                field.constraints
            );
        }
    }
}

#[test]
fn the_table_stays_small() {
    assert!(TABLE.len() < 500_000, "{} bytes", TABLE.len());
    assert!(blocks().len() > 1_000, "{} blocks", blocks().len());
}
