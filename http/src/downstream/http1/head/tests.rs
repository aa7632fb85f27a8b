use http::header;
use proptest::prelude::*;
use underpass_core::stats::Store;

use super::*;
use crate::{downstream::CodecStats, protocol_options::HeadersWithUnderscoresAction};

fn options() -> ServerOptions {
    ServerOptions::new(CodecStats::new(&Store::new(1).scope("")))
}

fn read_with(text: &[u8], options: &ServerOptions) -> Result<Option<ParsedHead>, Refusal> {
    HeadReader::default().read(&mut BytesMut::from(text), options)
}

fn read(text: &str) -> ParsedHead {
    read_with(text.as_bytes(), &options()).unwrap().expect("a whole head")
}

/// What a request line and headers are refused with; `host: h` comes on top.
fn refused(line: &str, headers: &str) -> String {
    let text = format!("{line}\r\nhost: h\r\n{headers}\r\n");
    match read_with(text.as_bytes(), &options()) {
        Err(Refusal { status, details }) => format!("{} {details}", status.as_u16()),
        Ok(head) => format!("accepted: {:?}", head.map(|head| head.framing)),
    }
}

#[test]
fn what_smuggling_is_made_of_is_refused() {
    let post = |headers: &str| refused("POST / HTTP/1.1", headers);
    let refusals = [
        post("content-length: 5\r\ntransfer-encoding: chunked\r\n"),
        post("transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
        post("content-length: 5\r\ncontent-length: 5\r\n"),
        post("content-length: 5\r\ncontent-length: 6\r\n"),
        post("content-length: 5, 5\r\n"),
        post("content-length: +5\r\n"),
        post("content-length: -5\r\n"),
        post("content-length: 0x5\r\n"),
        post("content-length:\r\n"),
        post("content-length: 99999999999999999999999\r\n"),
        post("transfer-encoding: gzip\r\n"),
        post("transfer-encoding: gzip, chunked\r\n"),
        post("transfer-encoding: chunked, chunked\r\n"),
        post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        post("transfer-encoding: identity, chunked\r\n"),
        post("transfer-encoding: xchunked\r\n"),
        post("transfer-encoding : chunked\r\n"),
        post("transfer-encoding: \x0bchunked\r\n"),
        post("a: b\r\n transfer-encoding: chunked\r\n"),
        post("host: other\r\n"),
        post("a: b\0c\r\n"),
        post("a: b\rc\r\n"),
        post(" a: b\r\n"),
        post("a b: c\r\n"),
        post(": b\r\n"),
        post("no colon\r\n"),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @"
    400 http1.content_length_and_chunked_not_allowed
    400 http1.content_length_and_chunked_not_allowed
    400 http1.codec_error
    400 http1.codec_error
    400 http1.codec_error
    400 http1.codec_error
    400 http1.codec_error
    400 http1.codec_error
    400 http1.codec_error
    400 http1.codec_error
    501 http1.invalid_transfer_encoding
    501 http1.invalid_transfer_encoding
    501 http1.invalid_transfer_encoding
    501 http1.invalid_transfer_encoding
    501 http1.invalid_transfer_encoding
    501 http1.invalid_transfer_encoding
    400 http1.codec_error
    400 http1.invalid_characters
    400 http1.codec_error
    400 http.invalid_authority
    400 http1.invalid_characters
    400 http1.invalid_characters
    400 http1.codec_error
    400 http1.codec_error
    400 http1.codec_error
    400 http1.codec_error
    ");
}

#[test]
fn request_lines_are_refused_as_in_envoy() {
    let refusals = [
        refused("garbage", ""),
        refused("GET", ""),
        refused("GET /", ""),
        refused("GET / HTTP/1.0", ""),
        refused("GET / HTTP/3.7", ""),
        refused("GET / HTTP/1.12", ""),
        refused("G(T / HTTP/1.1", ""),
        refused("FROB / HTTP/1.1", ""),
        refused("get / HTTP/1.1", ""),
        refused("GET foo HTTP/1.1", ""),
        refused("GET /a b HTTP/1.1", ""),
        refused("GET /a\x01 HTTP/1.1", ""),
        refused("GET /\u{e4} HTTP/1.1", ""),
        refused("GET /a#b HTTP/1.1", ""),
        refused("GET ftp://a/ HTTP/1.1", ""),
        refused("GET http://a b/ HTTP/1.1", ""),
        refused("CONNECT h HTTP/1.1", ""),
        refused("CONNECT h:99999 HTTP/1.1", ""),
        refused("CONNECT h:443 HTTP/1.1", "content-length: 5\r\n"),
        refused("CONNECT h:443 HTTP/1.1", "transfer-encoding: chunked\r\n"),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @"
    400 http1.codec_error
    400 http1.codec_error
    426 low_version
    426 low_version
    426 low_version
    400 http1.codec_error
    400 http1.codec_error
    400 http1.codec_error
    400 http1.codec_error
    400 http1.codec_error
    400 http1.codec_error
    400 http1.invalid_characters
    400 http1.codec_error
    400 path_normalization_failed
    400 http1.codec_error
    400 http1.codec_error
    400 http1.invalid_url
    400 http1.invalid_url
    400 http1.body_disallowed
    501 http1.invalid_transfer_encoding
    ");
}

#[test]
fn a_head_becomes_a_request_of_one_form() {
    let origin = read("\r\nGET /a?b HTTP/1.1\r\nHost: h:80\r\nX-Y:  z \r\nx-y: w\r\n\r\n").head;
    assert_eq!((origin.authority(), origin.path(), origin.scheme.as_str()), ("h:80", "/a?b", "http"));
    assert_eq!(origin.headers.get_all("x-y").iter().collect::<Vec<_>>(), ["z", "w"]);
    let absolute = read("GET https://foo.com:80?q HTTP/1.1\r\nhost: h\r\n\r\n").head;
    assert_eq!(
        (absolute.authority(), absolute.path(), absolute.scheme.as_str()),
        ("foo.com:80", "/?q", "https")
    );
    let connect = read("CONNECT [::1]:443 HTTP/1.1\r\nhost: h\r\n\r\n").head;
    assert_eq!((connect.authority(), connect.path.is_none()), ("[::1]:443", true));
    assert_eq!(read("OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n").head.path(), "*");
}

#[test]
fn connection_and_expect_are_understood() {
    assert!(read("GET / HTTP/1.1\r\nhost: h\r\n\r\n").keep_alive);
    assert!(!read("GET / HTTP/1.1\r\nhost: h\r\nconnection: foo, Close\r\n\r\n").keep_alive);
    assert!(!read("GET / HTTP/1.1\r\nhost: h\r\nproxy-connection: close\r\n\r\n").keep_alive);
    assert!(read("GET / HTTP/1.1\r\nhost: h\r\nexpect: 100-Continue\r\n\r\n").expects_continue);
    let h2c =
        read("GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: x\r\n\r\n");
    assert!(h2c.head.headers.is_empty());
}

#[test]
fn http_1_0_is_served_where_it_is_allowed() {
    let mut options = options();
    options.http1.accept_http_10 = true;
    options.http1.default_host_for_http_10 = Some(HeaderValue::from_static("default"));
    let read = |text: &str| read_with(text.as_bytes(), &options).map(|head| head.expect("a whole head"));
    let head = read("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((head.head.authority(), head.keep_alive), ("default", false));
    assert!(read("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").unwrap().keep_alive);
    assert_eq!(read("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n").unwrap_err(), TRANSFER_ENCODING);
}

#[test]
fn heads_have_limits() {
    let mut options = options();
    let with = |count: usize, size: usize| {
        let lines: Vec<_> = (1..count).map(|n| format!("a{n}: {}\r\n", "x".repeat(size))).collect();
        let lines = lines.concat();
        format!("GET / HTTP/1.1\r\nhost: h\r\n{lines}\r\n")
    };
    assert!(read_with(with(100, 1).as_bytes(), &options).unwrap().is_some());
    assert_eq!(read_with(with(101, 1).as_bytes(), &options).unwrap_err(), TOO_MANY);
    assert_eq!(read_with(with(10, 7000).as_bytes(), &options).unwrap_err(), TOO_LARGE);
    // Nobody waits for the end of a head that is too large already.
    let endless = format!("GET /{}", "x".repeat(70_000));
    assert_eq!(read_with(endless.as_bytes(), &options).unwrap_err(), TOO_LARGE);
    options.max_headers_count = 300;
    assert!(read_with(with(300, 1).as_bytes(), &options).unwrap().is_some());
}

#[test]
fn headers_with_underscores_are_dropped_or_refused() {
    let mut options = options();
    let text = b"GET / HTTP/1.1\r\nhost: h\r\na_b: c\r\n\r\n";
    options.underscores = HeadersWithUnderscoresAction::DropHeader;
    assert!(read_with(text, &options).unwrap().unwrap().head.headers.is_empty());
    options.underscores = HeadersWithUnderscoresAction::RejectRequest;
    assert_eq!(read_with(text, &options).unwrap_err(), UNDERSCORE);
}

proptest! {
    /// However a head is cut into pieces, the same request is read, and nothing of what follows is touched.
    #[test]
    fn pieces_make_no_difference(cuts in proptest::collection::vec(1_usize..40, 0..30)) {
        let head = b"POST /path?query HTTP/1.1\r\nhost: example.com\r\ncontent-length: 12\r\nx: y\r\n\r\n";
        let text = [head, &b"GET / HTTP/1.1"[..]].concat();
        let (options, mut reader, mut buffer) = (options(), HeadReader::default(), BytesMut::new());
        let mut rest = &text[..];
        let mut cuts = cuts.into_iter();
        let parsed = loop {
            let (piece, after) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
            buffer.extend_from_slice(piece);
            rest = after;
            if let Some(parsed) = reader.read(&mut buffer, &options).unwrap() {
                break parsed;
            }
            prop_assert!(!rest.is_empty(), "the head was not found");
        };
        buffer.extend_from_slice(rest);
        prop_assert_eq!(&buffer[..], b"GET / HTTP/1.1");
        prop_assert_eq!(parsed.framing, Framing::Length(12));
        prop_assert_eq!(parsed.size, head.len());
    }

    /// Nothing that a client sends makes it panic, and what is accepted has one length only.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = [b"POST / HTTP/1.1\r\nhost: h\r\n", &bytes[..], b"\r\n\r\n"].concat();
        for text in [&bytes[..], &text] {
            if let Ok(Some(head)) = read_with(text, &options()) {
                let headers = &head.head.headers;
                let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
                prop_assert!(lengths + headers.get_all(header::TRANSFER_ENCODING).iter().count() <= 1);
            }
        }
    }
}
