//! The rules of proto3 JSON, as Envoy applies them to YAML.

use super::*;

#[test]
fn fields_are_named_in_both_styles() {
    assert_eq!(everything("{some_text: a, by_name: {x: 1}}"), everything("{someText: a, byName: {x: 1}}"));
    insta::assert_snapshot!(refused::<Everything>("{some_text: a,\n someText: b}"), @"f.yaml:2:2: error: some_text: `someText` is the same field as `some_text` in line 1");
    insta::assert_snapshot!(refused::<Everything>("{SomeText: a, some_Text: b}"), @r#"
    f.yaml:1:2: error: SomeText: unknown field "SomeText"; did you mean `some_text`?
    f.yaml:1:15: error: some_Text: unknown field "some_Text"; did you mean `some_text`?
    "#);
}

#[test]
fn nothing_and_null_are_absent() {
    let nothing = Everything::default();
    assert_eq!(everything(""), nothing);
    assert_eq!(
        everything("{some_text: null, count: ~, list: , child: null, mode: null, flag: null, values: }"),
        nothing
    );
}

#[test]
fn numbers_may_be_written_as_envoy_reads_them() {
    for (text, number) in [
        ("5", 5),
        ("'5'", 5),
        ("5.0", 5),
        ("1e3", 1000),
        ("'1e3'", 1000),
        ("0x10", 16),
        ("010", 8),
        ("'010'", 10),
        ("09", 9),
        ("+5", 5),
        ("-0", 0),
        ("4294967295", u32::MAX),
    ] {
        assert_eq!(everything(&format!("{{count: {text}}}")).count, number, "{text}");
    }
    assert_eq!(everything("{wide: '18446744073709551615'}").wide, u64::MAX);
    assert_eq!(everything("{signed: -9223372036854775808}").signed, i64::MIN);
    assert_eq!(everything("{wrapper: 0}").wrapper, Some(0));
    let ratio = |text: &str| everything(&format!("{{ratio: {text}}}")).ratio;
    let ratios = ["1", "'1.5'", "-2e-1", "0x10"].map(|text| ratio(text).to_string());
    assert_eq!(ratios, ["1", "1.5", "-0.2", "16"]);
    assert!(ratio("NaN").is_nan() && ratio("-Infinity").is_infinite() && ratio(".inf").is_infinite());
    insta::assert_snapshot!(refused::<Everything>(
        "list: [{count: 4294967296, small: 256, signed: 1.5, wide: -1, ratio: fast}, {count: one, small: 0o9}, {count: []}]"
    ), @"
    f.yaml:1:16: error: list[0].count: 4294967296 is out of range: it must be from 0 to 4294967295
    f.yaml:1:35: error: list[0].small: 256 is out of range: it must be from 0 to 255
    f.yaml:1:48: error: list[0].signed: expected a whole number, not `1.5`
    f.yaml:1:59: error: list[0].wide: -1 is out of range: it must be from 0 to 18446744073709551615
    f.yaml:1:70: error: list[0].ratio: expected a number, not `fast`
    f.yaml:1:85: error: list[1].count: expected a whole number, not `one`
    f.yaml:1:97: error: list[1].small: expected a whole number, not `0o9`
    f.yaml:1:111: error: list[2].count: expected a whole number, not a list
    ");
}

#[test]
fn booleans_are_those_of_envoys_yaml_reader_and_texts_are_words_or_quoted() {
    let flag = |text: &str| everything(&format!("{{flag: {text}}}")).flag;
    assert!(["true", "True", "yes", "y", "ON", "'true'"].into_iter().all(flag));
    assert!(!["false", "no", "n", "Off", "FALSE"].into_iter().any(flag));
    insta::assert_snapshot!(refused::<Everything>("{flag: oN, list: [{flag: 1}, {flag: [true]}]}"), @"
    f.yaml:1:8: error: flag: expected true or false, not `oN`
    f.yaml:1:26: error: list[0].flag: expected true or false, not `1`
    f.yaml:1:37: error: list[1].flag: expected true or false, not a list
    ");

    let text = |text: &str| everything(&format!("{{some_text: {text}}}")).some_text;
    assert_eq!(["y", "no", "1.50", "1a", "'010'"].map(text), ["y", "no", "1.50", "1a", "010"]);
    assert_eq!(text("'~'"), "~");
    insta::assert_snapshot!(refused::<Everything>("{some_text: 5, list: [{some_text: true}, {some_text: 010}]}"), @r#"
    f.yaml:1:13: error: some_text: expected a text, not `5`: write "5" with quotes
    f.yaml:1:35: error: list[0].some_text: expected a text, not `true`: write "true" with quotes
    f.yaml:1:54: error: list[1].some_text: expected a text, not `010`: write "010" with quotes
    "#);
}

#[test]
fn durations_are_those_of_proto3_json() {
    let timeout = |text: &str| everything(&format!("{{timeout: {text}}}")).timeout.unwrap();
    assert_eq!(timeout("0.25s"), Duration::from_millis(250));
    assert_eq!(timeout("3600s"), Duration::from_secs(3600));
    assert_eq!(timeout("1.000000001s"), Duration::new(1, 1));
    assert_eq!(timeout("'0s'"), Duration::ZERO);
    assert_eq!(timeout("{seconds: 1, nanos: 5}"), Duration::new(1, 5));
    let message = |text: &str| refused::<Everything>(&format!("{{timeout: {text}}}"));
    insta::assert_snapshot!(message("1x"), @"f.yaml:1:11: error: timeout: expected a duration in seconds such as `5s` or `0.25s`, not `1x`; a duration ends with a single `s`");
    insta::assert_snapshot!(message("5"), @"f.yaml:1:11: error: timeout: a duration needs its unit: write `5s` for 5 seconds");
    insta::assert_snapshot!(message("-1s"), @"f.yaml:1:11: error: timeout: a duration cannot be negative here, as `-1s` is");
    insta::assert_snapshot!(message("5ms"), @"f.yaml:1:11: error: timeout: expected a duration in seconds such as `5s` or `0.25s`, not `5ms`");
    insta::assert_snapshot!(message("''"), @"f.yaml:1:11: error: timeout: expected a duration in seconds such as `5s` or `0.25s`, not ``; a duration ends with a single `s`");
    insta::assert_snapshot!(message(".5s"), @"f.yaml:1:11: error: timeout: expected a duration in seconds such as `5s` or `0.25s`, not `.5s`");
    insta::assert_snapshot!(message("0.0000000001s"), @"f.yaml:1:11: error: timeout: `0.0000000001s` is finer than a nanosecond: at most nine digits can follow the point");
    insta::assert_snapshot!(message("999999999999s"), @"f.yaml:1:11: error: timeout: `999999999999s` is too long: a duration has at most 315576000000 seconds");
    insta::assert_snapshot!(message("[1s]"), @"f.yaml:1:11: error: timeout: expected a duration such as `1.5s`, not a list");
    insta::assert_snapshot!(message("{minutes: 1}"), @"f.yaml:1:11: error: timeout: a duration has `seconds` and `nanos`, not `minutes`");
}

#[test]
fn bytes_are_base64_in_either_alphabet() {
    let data = |text: &str| everything(&format!("{{data: '{text}'}}")).data.0;
    assert_eq!([data("+/8="), data("-_8="), data("-_8")], [[0xfb, 0xff], [0xfb, 0xff], [0xfb, 0xff]]);
    insta::assert_snapshot!(refused::<Everything>("{data: 'a b'}"), @r#"f.yaml:1:8: error: data: expected bytes in base64, not "a b": Invalid symbol 32, offset 1."#);
}

#[test]
fn enums_are_names_in_any_case_or_numbers() {
    let mode = |text: &str| everything(&format!("{{mode: {text}}}")).mode;
    assert_eq!(["RANDOM", "random", "1", "'1'"].map(mode), [Mode::Random; 4]);
    insta::assert_snapshot!(refused::<Everything>("{mode: RANDOMM, list: [{mode: 7}, {mode: {}}, {mode: LEAST}]}"), @"
    f.yaml:1:8: error: mode: unknown value `RANDOMM`; did you mean `RANDOM`? Possible: ROUND_ROBIN, RANDOM
    f.yaml:1:31: error: list[0].mode: unknown value `7`; possible: ROUND_ROBIN, RANDOM
    f.yaml:1:42: error: list[1].mode: expected one of ROUND_ROBIN, RANDOM, not a map
    f.yaml:1:54: error: list[2].mode: unknown value `LEAST`; possible: ROUND_ROBIN, RANDOM
    ");
}

#[test]
fn maps_have_texts_numbers_or_booleans_as_keys() {
    let read = everything("{by_name: {a.b: 1}, by_number: {7: x}, by_flag: {true: y}}");
    assert_eq!(
        (read.by_name["a.b"], read.by_number[&7].as_str(), read.by_flag[&true].as_str()),
        (1, "x", "y")
    );
    insta::assert_snapshot!(refused::<Everything>("{by_name: {a.b: x, c: y}, by_number: {seven: x}, by_flag: []}"), @r#"
    f.yaml:1:17: error: by_name["a.b"]: expected a whole number, not `x`
    f.yaml:1:23: error: by_name["c"]: expected a whole number, not `y`
    f.yaml:1:46: error: by_number["seven"]: expected a whole number as key, not "seven"
    f.yaml:1:59: error: by_flag: expected a map, not a list
    "#);
}

#[test]
fn structs_hold_what_envoy_would_hold() {
    let read = everything(
        "{values: {list: [1, two, 2.5], value: x, yes: y, no: 'y', octal: 010, none: null}, value: 3}",
    );
    assert_eq!(
        serde_json::to_string(&read.values).unwrap(),
        r#"{"list":[1,"two",2.5],"no":"y","none":null,"octal":8,"value":"x","yes":true}"#
    );
    assert_eq!(read.value, Some(Value::Number(3.0)));
    insta::assert_snapshot!(refused::<Everything>("{values: [1]}"), @"f.yaml:1:10: error: values: expected a map, not a list");
}
