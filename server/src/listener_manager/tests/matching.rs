//! Each dimension of a filter chain match, from YAML to the chain that serves a real connection.

use tokio::net::{TcpSocket, TcpStream};

use super::harness::{Proxy, chain, expect, filter, with_chains};

/// Serves two chains that tell who they are: one that asks for something, and one for the rest.
fn proxy(asks: &str, more: &str) -> Proxy {
    let chains =
        [chain("special", &format!("name: special, filter_chain_match: {{{asks}}}")), chain("general", "")];
    Proxy::serving(&[&with_chains("l", &chains, more)])
}

async fn served_by(proxy: &Proxy, expected: &str) {
    expect(&mut proxy.connect("l").await, expected).await;
}

#[tokio::test(flavor = "local")]
async fn the_destination_decides() {
    served_by(&proxy("prefix_ranges: [{address_prefix: 127.0.0.1, prefix_len: 32}]", ""), "special").await;
    served_by(&proxy("prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]", ""), "general").await;
    served_by(&proxy("destination_port: 1", ""), "general").await;
    let unbound = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let asks = format!("destination_port: {}", unbound.port());
    let chains = [chain("special", &format!("filter_chain_match: {{{asks}}}")), chain("general", "")];
    let listener =
        with_chains("l", &chains, "").replace("port_value: 0", &format!("port_value: {}", unbound.port()));
    served_by(&Proxy::serving(&[&listener]), "special").await;
}

#[tokio::test(flavor = "local")]
async fn the_source_decides() {
    served_by(&proxy("source_type: SAME_IP_OR_LOOPBACK", ""), "special").await;
    served_by(&proxy("source_type: EXTERNAL", ""), "general").await;
    served_by(&proxy("source_prefix_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]", ""), "special")
        .await;
    served_by(
        &proxy("direct_source_prefix_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]", ""),
        "special",
    )
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let proxy = proxy(&format!("source_ports: [1, {}]", socket.local_addr().unwrap().port()), "");
    let at = format!("127.0.0.1:{}", proxy.port("l")).parse().unwrap();
    let mut client: TcpStream = socket.connect(at).await.unwrap();
    expect(&mut client, "special").await;
}

#[tokio::test(flavor = "local")]
async fn what_a_listener_filter_found_decides() {
    let asks_for =
        |name: &str| format!("listener_filters: [{}]", filter("Inspect", &format!("server_name: {name}")));
    served_by(&proxy("server_names: ['*.Example.com']", &asks_for("www.example.com")), "special").await;
    served_by(&proxy("server_names: ['*.example.com']", &asks_for("example.com")), "general").await;
    served_by(&proxy("transport_protocol: raw_buffer", ""), "special").await;
    served_by(&proxy("transport_protocol: tls", ""), "general").await;
    served_by(&proxy("application_protocols: [h2]", ""), "general").await;
}

#[tokio::test(flavor = "local")]
async fn the_default_chain_serves_what_no_other_does() {
    let chains = [chain("special", "filter_chain_match: {source_type: EXTERNAL}")];
    let more = format!("default_filter_chain: {}", chain("by default, {chain}", "name: rest"));
    served_by(&Proxy::serving(&[&with_chains("l", &chains, &more)]), "by default, rest").await;
}
