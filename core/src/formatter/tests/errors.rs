//! What is said of wrong formats.

use super::{operators, stream, structure};
use crate::access_log::AccessLogType;
use crate::formatter::{FormatContext, Formatter, JsonFormatter, OperatorEntry, OperatorSet, Operators};

#[test]
fn wrong_formats_are_explained() {
    let error = |format: &str| Formatter::parse(format, &operators()).unwrap_err().to_string();
    insta::assert_snapshot!(error("a %NOPE(x)% b"), @"Not supported field in StreamInfo: NOPE (at position 2 of `a %NOPE(x)% b`)");
    insta::assert_snapshot!(error("a\n%NOPE%\n"), @r"Not supported field in StreamInfo: NOPE (at position 2 of `a\n%NOPE%\n`)");
    insta::assert_snapshot!(error("%RESPONSE_FLAG%"), @"Not supported field in StreamInfo: RESPONSE_FLAG (at position 0 of `%RESPONSE_FLAG%`); did you mean %RESPONSE_FLAGS%?");
    insta::assert_snapshot!(error("%CEL(a)%"), @"Not supported field in StreamInfo: CEL (at position 0 of `%CEL(a)%`); Envoy knows it, this proxy does not implement it yet");
    insta::assert_snapshot!(error("abc %START_TIME"), @"Incorrect configuration: abc %START_TIME. Couldn't find valid command at position 4; a command is %NAME%, %NAME(argument)% or %NAME(argument):length%, and a percent sign is %%");
    insta::assert_snapshot!(error("%%%"), @"Incorrect configuration: %%%. Couldn't find valid command at position 2; a command is %NAME%, %NAME(argument)% or %NAME(argument):length%, and a percent sign is %%");
    insta::assert_snapshot!(error("%PROTOCOL:4%"), @"PROTOCOL does not take any parameters or length (at position 0 of `%PROTOCOL:4%`)");
    insta::assert_snapshot!(error("%REQ()%"), @"REQ requires parameters (at position 0 of `%REQ()%`)");
    insta::assert_snapshot!(error("%START_TIME(%H):3%"), @"START_TIME does not allow length to be specified. (at position 0 of `%START_TIME(%H):3%`)");
}

/// Operator by operator, in Envoy's words.
#[test]
fn wrong_arguments_are_explained() {
    for (format, message) in [
        ("%REQ(a?b?c)%", "More than 1 alternative header specified in token: a?b?c"),
        ("%REQ(a b)%", "Invalid header configuration. Format string contains invalid characters."),
        ("%START_TIME(%n)%", "Invalid header configuration. Format string contains newline."),
        ("%FILTER_STATE%", "Invalid filter state configuration, key cannot be empty."),
        ("%FILTER_STATE(:PLAIN)%", "Invalid filter state configuration, key cannot be empty."),
        ("%FILTER_STATE(a:b)%", "Invalid filter state serialize type, only support PLAIN/TYPED/FIELD."),
        (
            "%FILTER_STATE(a:FIELD)%",
            "Invalid filter state serialize type, FIELD should be used with the field name.",
        ),
        (
            "%FILTER_STATE(a:PLAIN:x)%",
            "Invalid filter state serialize type, FIELD should be used with the field name.",
        ),
        ("%COMMON_DURATION(a)%", "Invalid common duration configuration: a."),
        ("%COMMON_DURATION(a:b:c)%", "Invalid common duration precision: c."),
        ("%METADATA(FOO:a)%", "FOO is not supported type of metadata"),
        (
            "%GRPC_STATUS(a)%",
            "GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: a",
        ),
        ("%PATH(a)%", "Invalid PATH option: 'a', only 'WQ'/'NQ' are allowed"),
        ("%QUERY_PARAMS(a)%", "Invalid QUERY_PARAMS option: 'a', only 'ORIG'/'DECODED' are allowed"),
        (
            "%REQUESTED_SERVER_NAME(a)%",
            "Invalid REQUESTED_SERVER_NAME option: 'a', only 'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST' are allowed",
        ),
        ("%CLUSTER_METADATA(a):4%", "CLUSTER_METADATA does not allow length to be specified."),
        ("%ENVIRONMENT%", "ENVIRONMENT requires parameters"),
    ] {
        let error = Formatter::parse(format, &operators()).unwrap_err();
        assert!(error.to_string().starts_with(message), "{format}: {error}");
    }
}

#[test]
fn errors_in_json_formats_say_where() {
    let format = structure(r#"{"a":{"b":["fine","%NOPE%"]}}"#);
    let error = JsonFormatter::parse(&format, false, &operators()).unwrap_err();
    insta::assert_snapshot!(error, @"json_format.a.b[1]: Not supported field in StreamInfo: NOPE (at position 0 of `%NOPE%`)");
}

#[test]
fn two_crates_cannot_bring_one_operator() {
    static OPERATORS: &[OperatorEntry] = &[OperatorEntry::plain("X", |_, out| out.text("x"))];
    static SETS: [OperatorSet; 2] = [
        OperatorSet::new("a.x", "crate-a", "", OPERATORS),
        OperatorSet::new("b.x", "crate-b", "", OPERATORS),
    ];
    insta::assert_snapshot!(Operators::of(&SETS).unwrap_err(), @"the formatter operator X is registered by both crate-a and crate-b");
    let one = Operators::of(&SETS[..1]).unwrap();
    let info = stream();
    let format = Formatter::parse("%X%", &one).unwrap();
    assert_eq!(format.format(&FormatContext::new(&info, AccessLogType::NotSet)), "x");
}
