use underpass_core::{
    access_log::AccessLogType,
    address::Address,
    formatter::FormatContext,
    testing::{self, TestServer},
};

use super::*;

const PATH: &str = "/logs/access.log";

fn build(server: &TestServer, fields: &str) -> Result<Arc<dyn AccessLogger>, String> {
    let yaml = format!(
        "'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\n{fields}"
    );
    let config = testing::read::<dyn AccessLoggerConfig>(&yaml)?;
    server.build("", |context| config.build(context)).map_err(|error| error.to_string())
}

/// What is logged of a stream of 5 bytes, with this format.
fn logged(format: &str) -> Vec<String> {
    let server = TestServer::default();
    let logger = build(&server, &format!("path: {PATH}\n{format}")).unwrap();
    let info = server.stream(Address::internal_client(), Address::internal("inner", "ep1"));
    info.bytes_received.set(5);
    logger.log(&FormatContext::new(&info, AccessLogType::TcpConnectionEnd));
    server.logged(PATH)
}

fn refused(fields: &str) -> String {
    build(&TestServer::default(), fields).err().expect("this is wrong")
}

#[test]
fn text_formats_are_printed_as_they_stand() {
    for format in [
        r#"log_format: {text_format_source: {inline_string: "%BYTES_RECEIVED% %DOWNSTREAM_LOCAL_ADDRESS%\n"}}"#,
        r#"log_format: {text_format: "%BYTES_RECEIVED% %DOWNSTREAM_LOCAL_ADDRESS%\n"}"#,
        r#"format: "%BYTES_RECEIVED% %DOWNSTREAM_LOCAL_ADDRESS%\n""#,
    ] {
        assert_eq!(logged(format), ["5 envoy://inner/ep1\n"], "{format}");
    }
    assert_eq!(logged("format: no end of line"), ["no end of line"]);
}

#[test]
fn json_formats_are_one_object_a_line_with_numbers_as_numbers() {
    const FORMAT: &str =
        r#"{rx: "%BYTES_RECEIVED%", mixed: "x%BYTES_RECEIVED%", sni: "%REQUESTED_SERVER_NAME%"}"#;
    for field in ["json_format", "typed_json_format"] {
        assert_eq!(logged(&format!("{field}: {FORMAT}")), ["{\"mixed\":\"x5\",\"rx\":5,\"sni\":null}\n"]);
    }
    let omitting = format!("log_format: {{json_format: {FORMAT}, omit_empty_values: true}}");
    assert_eq!(logged(&omitting), ["{\"mixed\":\"x5\",\"rx\":5}\n"]);
}

#[test]
fn a_format_may_stand_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("format");
    std::fs::write(&path, "%BYTES_RECEIVED%\n").unwrap();
    let format = format!("log_format: {{text_format_source: {{filename: {}}}}}", path.display());
    assert_eq!(logged(&format), ["5\n"]);
}

#[test]
fn without_a_format_the_line_is_envoys() {
    for format in ["", "format: ''"] {
        let lines = logged(format);
        let (time, rest) = lines[0].split_at(27);
        assert!(time.starts_with('[') && time.ends_with("Z] "), "{time:?}");
        assert!(rest.starts_with("\"- - -\" 0 - 5 0 "), "{rest:?}");
        assert!(rest.ends_with(" - \"-\" \"-\" \"-\" \"-\" \"-\"\n"), "{rest:?}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    insta::assert_snapshot!(refused(""), @"test.yaml:1:1: error: `path` is missing");
    insta::assert_snapshot!(refused("path: ''"), @"test.yaml:2:7: error: path: value length must be at least 1 character");
    insta::assert_snapshot!(refused("path: /a\nformat: a\njson_format: {}"), @"test.yaml:1:1: error: only one of format, json_format can be set (access_log_format)");
    insta::assert_snapshot!(refused("path: /a\nformat: '%BYTES_RECEIVD%'"), @"format: Not supported field in StreamInfo: BYTES_RECEIVD (at position 0 of `%BYTES_RECEIVD%`); did you mean %BYTES_RECEIVED%?");
    insta::assert_snapshot!(refused("path: /a\nlog_format: {}"), @"test.yaml:3:13: error: log_format: one of text_format, json_format, text_format_source must be set (format)");
    insta::assert_snapshot!(refused("path: /a\nlog_format: {json_format: {a: {b: '%X'}}}"), @"log_format: json_format.a.b: Incorrect configuration: %X. Couldn't find valid command at position 0; a command is %NAME%, %NAME(argument)% or %NAME(argument):length%, and a percent sign is %%");
    insta::assert_snapshot!(refused("path: /a\nlog_format: {text_format_source: {filename: /no/such/file}}"), @r#"log_format: text_format_source: cannot read the file "/no/such/file": No such file or directory (os error 2)"#);
}
