//! What belongs to the process: host name, environment, and ids that are made up on demand.

use std::env;
use std::fmt;

use crate::formatter::{Command, FormatContext, Operator, OperatorEntry, Output};

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
    let mut id = cx.info.details.stream_id.borrow_mut();
    out.text(id.get_or_insert_with(|| Uuid::random().to_string()));
}

/// A random UUID (RFC 9562, version 4).
struct Uuid(u128);

impl Uuid {
    fn random() -> Self {
        let version = 0x4 << 76;
        let variant = 0x2 << 62;
        Self(fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | version | variant)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

#[cfg(test)]
mod tests {
    use super::Uuid;

    #[test]
    fn ids_have_the_form_of_a_random_uuid() {
        let form = regex::Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
            .unwrap();
        for _ in 0..100 {
            let id = Uuid::random().to_string();
            assert!(form.is_match(&id), "{id}");
        }
    }
}
