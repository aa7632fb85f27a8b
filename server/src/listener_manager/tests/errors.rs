//! What is wrong with a listener, in Envoy's words and with its place.

use underpass_core::build_context::BuildError;

use super::harness::{ANY_PORT, Proxy, chain, filter, internal, saying, with_chains};
use crate::test_server::TestOptions;

fn error_of(listener: &str) -> String {
    match Proxy::load(TestOptions::default(), &[listener]) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted: {listener}"),
    }
}

fn warnings_of(listeners: &[&str]) -> String {
    let proxy = Proxy::load(TestOptions::default(), listeners).unwrap();
    let warnings = proxy.warnings.borrow();
    warnings.iter().map(BuildError::to_string).collect::<Vec<_>>().join("\n")
}

fn internal_with(field: &str) -> String {
    internal("inner_l", "x").replace("internal_listener", &format!("{field}, internal_listener"))
}

#[test]
fn an_internal_listener_needs_the_bootstrap_extension() {
    let error = Proxy::without_internal_listeners().update(&internal("inner_l", "x")).unwrap_err();
    insta::assert_snapshot!(error, @"listeners[0].internal_listener: error adding listener named 'inner_l': InternalListener bootstrap extension is mandatory");
}

#[test]
fn an_internal_listener_has_no_address() {
    insta::assert_snapshot!(error_of(&internal_with(ANY_PORT)), @"listeners[0].address: error adding listener 'inner_l': address should not be used when an internal listener config is provided");
    let more = "additional_addresses: [{address: {pipe: {path: /x}}}]";
    insta::assert_snapshot!(error_of(&internal_with(more)), @"listeners[0].additional_addresses: error adding listener 'inner_l': address should not be used when an internal listener config is provided");
}

#[test]
fn an_internal_listener_has_no_features_of_sockets() {
    insta::assert_snapshot!(error_of(&internal_with("freebind: true")), @"listeners[0].freebind: error adding listener named 'inner_l': has unsupported tcp listener feature");
    for field in [
        "transparent: true",
        "tcp_backlog_size: 5",
        "tcp_fast_open_queue_length: 0",
        "enable_reuse_port: false",
        "connection_balance_config: {exact_balance: {}}",
    ] {
        let error = error_of(&internal_with(field));
        assert!(
            error.ends_with("error adding listener named 'inner_l': has unsupported tcp listener feature"),
            "{error}"
        );
    }
    insta::assert_snapshot!(error_of(&internal_with("socket_options: [{level: 1, name: 9, int_value: 1}]")), @"listeners[0].socket_options: error adding listener named 'inner_l': does not support socket option");
    insta::assert_snapshot!(error_of(&internal_with("enable_mptcp: true")), @"listeners[0].enable_mptcp: listener inner_l: enable_mptcp can only be used with IP addresses");
}

#[test]
fn what_does_not_matter_to_an_internal_listener_is_accepted() {
    for field in ["bind_to_port: false", "use_original_dst: true", "freebind: false"] {
        Proxy::load(TestOptions::default(), &[&internal_with(field)]).unwrap();
    }
}

#[test]
fn the_old_form_of_an_internal_listener_is_accepted() {
    let old = internal("outer name", "x").replace(
        "internal_listener: {}",
        "address: {envoy_internal_address: {server_listener_name: inner_l}}",
    );
    let proxy = Proxy::load(TestOptions::default(), &[&old]).unwrap();
    assert_eq!(proxy.manager.statuses()[0].addresses[0].to_string(), "envoy://inner_l/");
    let among_others = saying(
        "l",
        "x",
        "additional_addresses: [{address: {envoy_internal_address: {server_listener_name: x}}}]",
    );
    insta::assert_snapshot!(error_of(&among_others), @"listeners[0].additional_addresses[0].address: error adding listener named 'l': use internal_listener field instead of address for internal listeners");
}

#[test]
fn a_nameless_internal_listener_deserves_a_word() {
    insta::assert_snapshot!(warnings_of(&[&internal("''", "x")]), @"listeners[0].name: an internal listener without a name cannot be reached");
}

#[test]
fn an_address_has_to_be_one() {
    let at =
        |address: &str| error_of(&saying("l", "x", "").replace(ANY_PORT, &format!("address: {address}")));
    insta::assert_snapshot!(error_of(&saying("l", "x", "").replace(ANY_PORT, "stat_prefix: x")), @"listeners[0]: error adding listener named 'l': address is necessary");
    insta::assert_snapshot!(at("{socket_address: {address: localhost, port_value: 1}}"), @"listeners[0].address.socket_address.address: malformed IP address: localhost. A listener needs an IP address");
    insta::assert_snapshot!(at("{socket_address: {address: 127.0.0.1, port_value: 1, ipv4_compat: true}}"), @"listeners[0].address.socket_address.ipv4_compat: Only IPv6 address '::' or valid IPv4-mapped IPv6 address can set ipv4_compat: 127.0.0.1");
    insta::assert_snapshot!(at("{socket_address: {address: 127.0.0.1, port_value: 1, protocol: UDP}}"), @"listeners[0].address.socket_address.protocol: UDP listeners are not implemented by Underpass");
    insta::assert_snapshot!(at("{socket_address: {address: 127.0.0.1, named_port: http}}"), @"listeners[0].address.socket_address.port_value: a listener needs a port_value; 0 lets the kernel choose");
    insta::assert_snapshot!(at("{pipe: {path: '@name', mode: 420}}"), @"listeners[0].address.pipe.mode: Cannot set mode for Abstract AF_UNIX sockets");
    let long = "y".repeat(107);
    insta::assert_snapshot!(at(&format!("{{pipe: {{path: /{long}}}}}")).replace(&long, "…"), @r#"listeners[0].address.pipe.path: Path "/…" exceeds maximum UNIX domain socket path size of 108."#);
}

#[test]
fn a_socket_option_that_cannot_be_set_is_an_error() {
    let more = "socket_options: [{level: 1, name: 9, int_value: 1}, {level: 1, name: 999, int_value: 1}]";
    let error = error_of(&saying("l", "x", more));
    let start = "listeners[0].socket_options[1]: socket option level 1 name 999 is not implemented by Underpass; it can set SO";
    assert!(error.starts_with(start), "{error}");
}

#[test]
fn fast_open_is_accepted_with_a_warning() {
    insta::assert_snapshot!(warnings_of(&[&saying("l", "x", "tcp_fast_open_queue_length: 5")]), @"listeners[0].tcp_fast_open_queue_length: has no effect: there is no safe way to set TCP_FASTOPEN; bit 0x400 of net.ipv4.tcp_fastopen turns it on for every listener");
}

#[test]
fn a_listener_needs_filter_chains() {
    insta::assert_snapshot!(error_of(&with_chains("l", &[], "")), @"listeners[0]: error adding listener '127.0.0.1:0': no filter chains specified");
    let only_default = format!("default_filter_chain: {}", chain("x", ""));
    Proxy::load(TestOptions::default(), &[&with_chains("l", &[], &only_default)]).unwrap();
}

#[test]
fn a_chain_ends_in_its_only_terminal_filter() {
    let chain = |filters: &[String]| {
        error_of(&with_chains("l", &[format!("{{filters: [{}]}}", filters.join(", "))], ""))
    };
    insta::assert_snapshot!(chain(&[filter("Say", "text: x"), filter("Pass", "")]), @"listeners[0].filter_chains[0].filters[0]: Error: terminal filter named Say of type test.say must be the last filter in a network filter chain.");
    insta::assert_snapshot!(chain(&[filter("Pass", "")]), @"listeners[0].filter_chains[0].filters[0]: Error: non-terminal filter named Pass of type test.pass is the last filter in a network filter chain.");
}

#[test]
fn chains_that_match_the_same_are_named() {
    let same = "filter_chain_match: {destination_port: 5}";
    let chains = [chain("x", &format!("name: first, {same}")), chain("x", &format!("name: second, {same}"))];
    insta::assert_snapshot!(error_of(&with_chains("l", &chains, "")), @r#"listeners[0].filter_chains[1]: error adding listener '127.0.0.1:0': filter chain 'second' has the same matching rules defined as 'first'. duplicate matcher is: {"destination_port":5}"#);
}

#[test]
fn chains_that_match_some_of_the_same_are_refused() {
    let chains = [
        chain("x", "filter_chain_match: {server_names: [a.test, b.test]}"),
        chain("x", "filter_chain_match: {server_names: [B.test]}"),
    ];
    insta::assert_snapshot!(error_of(&with_chains("l", &chains, "")), @"listeners[0].filter_chains[1].filter_chain_match: error adding listener '127.0.0.1:0': multiple filter chains with overlapping matching rules are defined");
}

#[test]
fn half_a_wildcard_is_refused() {
    let chains = [chain("x", "filter_chain_match: {server_names: ['*a.test']}")];
    insta::assert_snapshot!(error_of(&with_chains("l", &chains, "")), @r#"listeners[0].filter_chains[0].filter_chain_match.server_names: error adding listener '127.0.0.1:0': partial wildcards are not supported in "server_names""#);
}

#[test]
fn of_two_listeners_with_one_name_the_first_wins_and_both_places_are_named() {
    let (first, second) = (saying("l", "first", ""), internal("l", "second"));
    insta::assert_snapshot!(warnings_of(&[&first, &second]), @"listeners[1]: duplicate listener 'l': listeners[0] (test.yaml:1:1) has this name already, so this one is ignored");
    let proxy = Proxy::load(TestOptions::default(), &[&first, &second]).unwrap();
    assert_eq!(proxy.manager.statuses()[0].addresses[0].to_string(), "127.0.0.1:0");
}

#[test]
fn two_listeners_cannot_have_one_address() {
    let at = |name| saying(name, "x", "").replace("port_value: 0", "port_value: 4712");
    let Err(error) = Proxy::load(TestOptions::default(), &[&at("a"), &at("b")]) else { panic!("accepted") };
    insta::assert_snapshot!(error, @"listeners[1]: error adding listener: 'b' has duplicate address '127.0.0.1:4712' as existing listener, to check if the listener has duplicated addresses with other listeners or 'enable_reuse_port' is set to 'false' for the listener");
    Proxy::load(TestOptions::default(), &[&saying("a", "x", ""), &saying("b", "x", "")]).unwrap();
}

#[test]
fn a_listener_without_a_name_gets_one() {
    let proxy =
        Proxy::load(TestOptions::default(), &[&saying("''", "x", ""), &saying("''", "x", "")]).unwrap();
    let names: Vec<_> = proxy.manager.statuses().into_iter().map(|status| status.name).collect();
    assert_ne!(names[0], names[1]);
    let shape: Vec<_> = names[0].split('-').map(str::len).collect();
    assert_eq!(shape, [8, 4, 4, 4, 12]);
}

#[tokio::test(flavor = "local")]
async fn a_port_in_use_is_said_in_envoys_words() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let listener = saying("outer", "x", "").replace("port_value: 0", &format!("port_value: {port}"));
    let proxy = Proxy::load(TestOptions::default(), &[&listener]).unwrap();
    let error = proxy.manager.bind().unwrap_err();
    assert_eq!(error.to_string(), format!("cannot bind '127.0.0.1:{port}': Address already in use"));
    assert_eq!(proxy.server.stat("listener_manager.listener_create_failure"), 1);
}
