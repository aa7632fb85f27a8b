//! What belongs to the process: host name, environment, and ids that are made up on demand.

use std::env;

use crate::formatter::{Command, FormatContext, Operator, OperatorEntry, Output};
use crate::stream_info::Uuid;

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry::plain("HOSTNAME", |_, out| {
        out.text(&rustix::system::uname().nodename().to_string_lossy());
    }),
    OperatorEntry::with_required("ENVIRONMENT", environment).limited(),
    OperatorEntry::plain("UNIQUE_ID", |_, out| out.display(Uuid::random())),
    OperatorEntry::plain("STREAM_ID", stream_id),
    // Nothing traces here.
    OperatorEntry::plain("TRACE_ID", |_, _| {}),
    OperatorEntry::plain("SPAN_ID", |_, _| {}),
];

/// An environment variable, read when the configuration is.
#[expect(clippy::unnecessary_wraps, reason = "the form of all operators with arguments")]
fn environment(command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    let max_length = command.max_length;
    let value = env::var_os(command.argument).map(|value| value.to_string_lossy().into_owned());
    Ok(Box::new(move |_: &FormatContext<'_>, out: &mut Output<'_>| match &value {
        Some(value) => out.text_up_to(max_length, value),
        // A text even in JSON, as in Envoy.
        None => out.text("-"),
    }))
}

/// The id that a filter gave the stream, or else one that is made when somebody first asks.
fn stream_id(cx: &FormatContext<'_>, out: &mut Output<'_>) {
    out.text(&cx.info.stream_id());
}
