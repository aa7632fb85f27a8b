//! Responses that are refused as a whole.

use super::*;

fn refused(protocol: Protocol, type_url: &str, response: &impl Message) -> String {
    let mut mux = mux(protocol);
    mux.stream_opened();
    mux.watch(type_url, Interest::All);
    while mux.next_request().is_some() {}
    let told = receive(&mut mux, response, &[]);
    let [told] = told.as_slice() else { panic!("{told:?}") };
    let answers = match protocol {
        Protocol::StateOfTheWorld => requests(&mut mux),
        Protocol::Delta => delta_requests(&mut mux),
    };
    assert!(answers.len() == 1 && answers[0].contains(" NACK 13: "), "{answers:?}");
    told.strip_prefix("[WatchId(1)] rejected: ").unwrap_or(told).to_owned()
}

#[test]
fn all_that_cannot_be_decoded_is_named_with_resource_path_and_reason() {
    let bytes =
        |value: &'static [u8]| Any { type_url: LISTENER.to_owned(), value: Bytes::from_static(value) };
    let resources = vec![
        named(LISTENER, "good"),
        bytes(b"\x0a\x03bad\xf8\x3f\x01"),
        bytes(b"\x0a\x04deep\x1a\x04\x1a\x02\x50\x01"),
        named(CLUSTER, "strange"),
        bytes(b"\x0a\x03cut\x12\x7f"),
    ];
    insta::assert_snapshot!(refused(Protocol::StateOfTheWorld, LISTENER, &state(LISTENER, "1", resources)), @r"
    Listener/bad: envoy.config.listener.v3.Listener: it has no field of number 1023
    Listener/deep: filter_chains[0].filters[0]: envoy.config.listener.v3.Filter: it has no field of number 10
    Listener/strange: its type type.googleapis.com/envoy.config.cluster.v3.Cluster does not match the type type.googleapis.com/envoy.config.listener.v3.Listener of the response
    resources[4]: envoy.config.listener.v3.Listener: its bytes are no protobuf, or are cut off
    ");
}

#[test]
fn a_typed_config_that_nobody_knows_is_named() {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Listener {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(message, repeated, tag = "9")]
        filters: Vec<Filter>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Filter {
        #[prost(message, optional, tag = "3")]
        typed_config: Option<Any>,
    }
    let strange = Any { type_url: "type.googleapis.com/example.Strange".to_owned(), value: Bytes::new() };
    let listener = Listener { name: "l".to_owned(), filters: vec![Filter { typed_config: Some(strange) }] };
    let any = Any { type_url: LISTENER.to_owned(), value: listener.encode_to_vec().into() };
    let refused = refused(Protocol::StateOfTheWorld, LISTENER, &state(LISTENER, "1", vec![any]));
    assert!(refused.starts_with("Listener/l: ") && refused.contains("example.Strange: "), "{refused}");
}

#[test]
fn duplicate_names_of_a_delta_are_refused_in_envoys_words() {
    let twice = delta(CLUSTER, "1", &["a", "a", "b"], &["b", "c"]);
    insta::assert_snapshot!(refused(Protocol::Delta, CLUSTER, &twice), @r"
    duplicate name a found among added/updated resources
    duplicate name b found in the union of added+removed resources
    ");
}

#[test]
fn an_error_is_cut_where_envoy_cuts_it() {
    let mut mux = mux(Protocol::StateOfTheWorld);
    mux.stream_opened();
    mux.watch(CLUSTER, Interest::All);
    requests(&mut mux);
    receive(&mut mux, &state(CLUSTER, "1", vec![]), &[&"ä".repeat(4000)]);
    let nack = requests(&mut mux).remove(0);
    assert!(nack.ends_with("ä...(truncated)") && nack.len() < 4200, "{}", nack.len());
}
