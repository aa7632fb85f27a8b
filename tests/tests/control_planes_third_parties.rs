//! A control plane configures an extension of a third party: in binary, as its descriptors say, or as a `TypedStruct`.

#![expect(clippy::expect_used, reason = "a test that cannot go on shall say so and end")]

use std::{io::Read as _, path::Path};

use serde_json::{Value, json};
use underpass_tests::{
    Proxy, Start,
    config::listener,
    control_plane::{ControlPlane, aggregated, api, is_installed, steered},
    resources::LISTENER,
};

const FORMS: [&str; 2] = ["GRPC", "DELTA_GRPC"];

fn started(plane: &ControlPlane, api_type: &str) -> Proxy {
    let resources = json!({ "ads_config": api(api_type), "lds_config": aggregated() });
    Start::new(steered(plane, resources)).binary(Path::new(env!("CARGO_BIN_EXE_third_party"))).start()
}

/// A control plane that knows the messages of `greeter.proto`.
fn plane() -> ControlPlane {
    let mut plane = ControlPlane::start();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/greeter.binpb");
    let descriptors = base64(&std::fs::read(path).expect("the descriptors are there"));
    plane.command(&json!({ "descriptors": descriptors }));
    plane
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = |chunk: &[u8]| {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..4)
            .map(move |at| LETTERS[(bits >> (18 - 6 * at) & 63) as usize])
            .take(chunk.len() + 1)
            .collect::<Vec<_>>()
    };
    let mut text: Vec<u8> = bytes.chunks(3).flat_map(letters).collect();
    text.resize(text.len().next_multiple_of(4), b'=');
    String::from_utf8(text).expect("letters")
}

fn entry(typed_config: &Value) -> Value {
    listener("entry", [json!({ "name": "third party", "typed_config": typed_config })])
}

fn heard(proxy: &Proxy) -> String {
    let mut said = String::new();
    proxy.connect("entry").read_to_string(&mut said).expect("it says something and closes");
    said
}

#[test]
fn what_has_descriptors_is_sent_in_binary() {
    if !is_installed() {
        return;
    }
    for api_type in FORMS {
        let mut plane = plane();
        plane.set(
            LISTENER,
            "1",
            &[entry(&json!({
                "@type": "type.googleapis.com/example.greeter.v1.Greeter",
                "tone": "FORMAL",
                "persons": [{ "name": "Ada", "titles": ["Countess "] }, { "name": "Bob" }],
                "counts": { "a": 1, "b": 70_000 },
                "patience": "1.5s",
                "silent": false,
                "offset": -3,
            }))],
        );
        let proxy = started(&plane, api_type);
        let said = r#"Formal Countess Ada,Bob {"a": 1, "b": 70000} Some(1.5s) (None, Some(false)) Some(-3)"#;
        assert_eq!(heard(&proxy), said);
        let dump = proxy.admin().get("/config_dump");
        assert!(dump.contains("example.greeter.v1.Greeter") && dump.contains("FORMAL"), "{dump}");

        // The field 99 of a person, in the same place of a listener: filter_chains (3) > filters (3) > typed_config (4).
        let wrap = |field: u8, inner: &[u8]| {
            let length = u8::try_from(inner.len()).expect("short");
            [&[field << 3 | 2, length], inner].concat()
        };
        let person = wrap(2, &[0x98, 0x06, 1]);
        let url = b"type.googleapis.com/example.greeter.v1.Greeter";
        let any = [wrap(1, url), wrap(2, &person)].concat();
        let filter = [wrap(1, b"x"), wrap(4, &any)].concat();
        let bytes = [wrap(1, b"entry"), wrap(3, &wrap(3, &filter))].concat();
        plane.set(LISTENER, "2", &[json!({ "name": "entry", "$bytes": base64(&bytes) })]);
        let nack = plane.answer_to("1.2");
        let why = nack["error_detail"]["message"].as_str().unwrap_or_default();
        let place = "Listener/entry: filter_chains[0].filters[0].typed_config.persons[0]: example.greeter.v1.Greeter.Person: it has no field of number 99";
        assert_eq!(why, place);
        assert_eq!(heard(&proxy), said);
    }
}

#[test]
fn what_has_none_is_sent_as_a_typed_struct() {
    if !is_installed() {
        return;
    }
    for api_type in FORMS {
        for wrapper in ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"] {
            let mut plane = plane();
            let wrapped = |value: Value| {
                entry(&json!({
                    "@type": format!("type.googleapis.com/{wrapper}"),
                    "type_url": "type.googleapis.com/example.plain.v1.Plain",
                    "value": value,
                }))
            };
            plane.set(LISTENER, "1", &[wrapped(json!({ "text": "plain" }))]);
            let proxy = started(&plane, api_type);
            assert_eq!(heard(&proxy), "plain");
            plane.set(LISTENER, "2", &[wrapped(json!({ "text": 3 }))]);
            let nack = plane.answer_to("1.2");
            let why = nack["error_detail"]["message"].as_str().unwrap_or_default();
            let place = "filter_chains[0].filters[0].typed_config";
            assert!(why.contains(place) && why.contains("text"), "{why}");
            assert_eq!(heard(&proxy), "plain");
        }
    }
}

#[test]
fn bytes_without_descriptors_are_refused_with_what_to_do() {
    if !is_installed() {
        return;
    }
    let mut plane = plane();
    let proxy = started(&plane, "GRPC");
    let wrap = |field: u8, inner: &[u8]| {
        let length = u8::try_from(inner.len()).expect("short");
        [&[field << 3 | 2, length], inner].concat()
    };
    let any = wrap(1, b"type.googleapis.com/example.plain.v1.Plain");
    let bytes = [wrap(1, b"entry"), wrap(3, &wrap(3, &wrap(4, &any)))].concat();
    plane.set(LISTENER, "1", &[json!({ "name": "entry", "$bytes": base64(&bytes) })]);
    let nack = plane.answer_to("1.1");
    let why = nack["error_detail"]["message"].as_str().unwrap_or_default();
    assert_eq!(
        why,
        "Listener/entry: filter_chains[0].filters[0].typed_config: example.plain.v1.Plain: Envoy's API has no such message, and no crate has registered descriptors of it; it must come as xds.type.v3.TypedStruct"
    );
    drop(proxy);
}
