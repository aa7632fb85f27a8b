//! The seed's example, in the forms in which it may be written.

use underpass_core::config::{Address, Value};

use super::accept;

/// As the page about internal listeners had it, and has it since listeners have an `internal_listener` field.
const OLD: &str = r#"
static_resources:
  listeners:
  - name: outbound_tcp_svc_19000
    address:
      socket_address:
        address: 0.0.0.0
        port_value: 19000
    filter_chains:
    - filters:
      - name: tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          cluster: bridge_internal_listener
          stat_prefix: svc_tcp_proxy
  - name: singleton_internal_encap
    address:
      envoy_internal_address:
        server_listener_name: singleton_internal_encap
    filter_chains:
    - filters:
      - name: tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          cluster: singleton_internal_encap
          stat_prefix: encap_tcp_proxy
  clusters:
  - name: bridge_internal_listener
    connect_timeout: 3600s
    type: STATIC
    load_assignment:
      cluster_name: "bridge_internal_listener"
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              envoy_internal_address:
                server_listener_name: singleton_internal_encap
    transport_socket:
      name: envoy.transport_sockets.raw_buffer
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer
  - name: singleton_internal_encap
    connect_timeout: 3600s
    type: STATIC
    load_assignment:
      cluster_name: "singleton_internal_encap"
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address:
                address: 0.0.0.0
                port_value: 19001
bootstrap_extensions:
- name: envoy.bootstrap.internal_listener
  typed_config:
    "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
layered_runtime:
  layers:
  - name: enable_internal_address
    static_layer:
      envoy.reloadable_features.internal_address: true
"#;

const OLD_ADDRESS: &str = "    address:
      envoy_internal_address:
        server_listener_name: singleton_internal_encap
    filter_chains";

fn modern() -> String {
    let modern = OLD.replacen(OLD_ADDRESS, "    internal_listener: {}\n    filter_chains", 1);
    assert_ne!(modern, OLD);
    modern
}

#[test]
fn the_old_form_is_read() {
    let bootstrap = accept(OLD);
    let [outer, inner] = &bootstrap.static_resources.listeners[..] else { panic!("{bootstrap:?}") };
    assert!(
        matches!(&outer.address, Some(Address::SocketAddress(address)) if address.port_value == Some(19000))
    );
    let Some(Address::EnvoyInternalAddress(internal)) = &inner.address else { panic!("{inner:?}") };
    assert_eq!(internal.server_listener_name, "singleton_internal_encap");
    assert!(format!("{:?}", inner.filter_chains[0].filters[0].typed_config).contains("encap_tcp_proxy"));
    let [bridge, encap] = &bootstrap.static_resources.clusters[..] else { panic!("{bootstrap:?}") };
    assert!(bridge.transport_socket.is_some() && encap.transport_socket.is_none());
    assert_eq!(bridge.connect_timeout_or_default().as_secs(), 3600);
    assert_eq!(bootstrap.bootstrap_extensions.len(), 1);
    let layer = bootstrap.layered_runtime.layers[0].static_layer.as_ref().unwrap();
    assert_eq!(layer.get("envoy.reloadable_features.internal_address"), Some(&Value::Bool(true)));
}

#[test]
fn the_modern_form_differs_in_the_address_only() {
    let old = accept(OLD).static_resources.listeners.remove(1);
    let modern = accept(&modern()).static_resources.listeners.remove(1);
    assert!(modern.internal_listener.is_some() && modern.address.is_none());
    assert!(old.internal_listener.is_none() && old.address.is_some());
    assert_eq!(format!("{:?}", old.filter_chains), format!("{:?}", modern.filter_chains));
}

#[test]
fn lower_camel_case_says_the_same() {
    let mut camel = String::new();
    for line in modern().lines() {
        let (key, rest) = line.split_once(':').unwrap_or((line, ""));
        let is_name_of_data = key.contains("reloadable_features") || key.contains("\"@type\"");
        camel +=
            &if is_name_of_data { key.to_owned() } else { underpass_core::config::known::json_name(key) };
        if line.contains(':') {
            camel.push(':');
        }
        camel += rest;
        camel.push('\n');
    }
    assert!(camel.contains("staticResources:") && camel.contains("portValue: 19000"), "{camel}");
    assert_eq!(format!("{:?}", accept(&camel)), format!("{:?}", accept(&modern())));
}
