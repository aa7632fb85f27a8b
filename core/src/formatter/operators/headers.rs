//! Headers and trailers of a request and its response; a stream that is no request has none.

use crate::formatter::{Command, FormatContext, HeaderSizes, Headers, Operator, OperatorEntry, Output};

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry::with_required("REQ", |c| header(c, Of::Request)).limited(),
    OperatorEntry::with_required("REQUEST_HEADER", |c| header(c, Of::Request)).limited(),
    OperatorEntry::with_required("STREAM_INFO_REQ", |c| header(c, Of::Request)).limited(),
    OperatorEntry::with_required("REQ_WITHOUT_QUERY", |c| header(c, Of::RequestWithoutQuery)).limited(),
    OperatorEntry::with_required("RESP", |c| header(c, Of::Response)).limited(),
    OperatorEntry::with_required("RESPONSE_HEADER", |c| header(c, Of::Response)).limited(),
    OperatorEntry::with_required("TRAILER", |c| header(c, Of::ResponseTrailers)).limited(),
    OperatorEntry::with_required("RESPONSE_TRAILER", |c| header(c, Of::ResponseTrailers)).limited(),
    OperatorEntry::plain("REQUEST_HEADERS_BYTES", |cx, out| out.number(sizes(cx).request)),
    OperatorEntry::plain("RESPONSE_HEADERS_BYTES", |cx, out| out.number(sizes(cx).response)),
    OperatorEntry::plain("RESPONSE_TRAILERS_BYTES", |cx, out| out.number(sizes(cx).response_trailers)),
    OperatorEntry::plain("LOCAL_REPLY_BODY", |cx, out| {
        out.text(cx.headers.map_or("", Headers::local_reply_body));
    }),
    // Bytes of headers on the wire: a stream of bytes has none.
    OperatorEntry::plain("DOWNSTREAM_HEADER_BYTES_RECEIVED", |_, out| out.number(0_u64)),
    OperatorEntry::plain("DOWNSTREAM_HEADER_BYTES_SENT", |_, out| out.number(0_u64)),
    OperatorEntry::plain("DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED", |_, out| out.number(0_u64)),
    OperatorEntry::plain("DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", |_, out| out.number(0_u64)),
    OperatorEntry::plain("UPSTREAM_HEADER_BYTES_RECEIVED", |_, out| out.number(0_u64)),
    OperatorEntry::plain("UPSTREAM_HEADER_BYTES_SENT", |_, out| out.number(0_u64)),
    OperatorEntry::plain("UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED", |_, out| out.number(0_u64)),
    OperatorEntry::plain("UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", |_, out| out.number(0_u64)),
    OperatorEntry::plain("VIRTUAL_CLUSTER_NAME", |_, _| {}),
];

fn sizes(cx: &FormatContext<'_>) -> HeaderSizes {
    cx.headers.map(Headers::sizes).unwrap_or_default()
}

/// Whose headers.
#[derive(Clone, Copy)]
enum Of {
    Request,
    /// The same, up to a question mark in the value.
    RequestWithoutQuery,
    Response,
    ResponseTrailers,
}

/// The first of one or two headers that is there.
struct HeaderOperator {
    of: Of,
    names: Vec<Box<str>>,
    max_length: Option<usize>,
}

/// `%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):10%`.
fn header(command: &Command<'_>, of: Of) -> Result<Box<dyn Operator>, String> {
    let names: Vec<Box<str>> =
        command.argument.split('?').map(|name| name.to_ascii_lowercase().into()).collect();
    if names.len() > 2 {
        return Err(format!("More than 1 alternative header specified in token: {}", command.argument));
    }
    if !names.iter().all(|name| is_header_name(name)) {
        return Err("Invalid header configuration. Format string contains invalid characters.".to_owned());
    }
    let names = names.into_iter().filter(|name| !name.is_empty()).collect();
    Ok(Box::new(HeaderOperator { of, names, max_length: command.max_length }))
}

/// A token (RFC 9110, section 5.6.2), with a colon in front of pseudo headers.
fn is_header_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    name.strip_prefix(':').unwrap_or(name).bytes().all(token)
}

impl Operator for HeaderOperator {
    fn print(&self, cx: &FormatContext<'_>, out: &mut Output<'_>) {
        let Some(headers) = cx.headers else { return };
        let value = |name: &str| match self.of {
            Of::Request => headers.request(name),
            Of::RequestWithoutQuery => headers.request(name).and_then(|value| value.split('?').next()),
            Of::Response => headers.response(name),
            Of::ResponseTrailers => headers.response_trailer(name),
        };
        if let Some(value) = self.names.iter().find_map(|name| value(name)) {
            out.text_up_to(self.max_length, value);
        }
    }
}
