//! Filter state: `%FILTER_STATE(key:PLAIN)%` and its upstream twin.

use crate::filter_state::FilterState;
use crate::formatter::{Command, FormatContext, Operator, OperatorEntry, Output};

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry::with_optional("FILTER_STATE", |command| build(command, false)).limited(),
    OperatorEntry::with_optional("UPSTREAM_FILTER_STATE", |command| build(command, true)).limited(),
];

struct FilterStateOperator {
    key: Box<str>,
    form: Form,
    upstream: bool,
    max_length: Option<usize>,
}

/// How an object is printed.
enum Form {
    /// As JSON.
    Typed,
    /// As text.
    Plain,
    /// One field of it.
    Field(Box<str>),
}

fn build(command: &Command<'_>, upstream: bool) -> Result<Box<dyn Operator>, String> {
    let mut words = command.argument.split(':');
    let key = words.next().filter(|key| !key.is_empty());
    let key = key.ok_or("Invalid filter state configuration, key cannot be empty.")?;
    let (form, field) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !matches!(form, "" | "TYPED" | "PLAIN" | "FIELD") {
        return Err("Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.".to_owned());
    }
    if (form == "FIELD") == field.is_empty() {
        return Err(
            "Invalid filter state serialize type, FIELD should be used with the field name.".to_owned()
        );
    }
    let form = match form {
        "FIELD" => Form::Field(field.into()),
        "PLAIN" => Form::Plain,
        _ => Form::Typed,
    };
    Ok(Box::new(FilterStateOperator { key: key.into(), form, upstream, max_length: command.max_length }))
}

impl Operator for FilterStateOperator {
    fn print(&self, cx: &FormatContext<'_>, out: &mut Output<'_>) {
        let state = if self.upstream { &cx.info.upstream.filter_state } else { &cx.info.filter_state };
        self.object(&state.borrow(), out);
    }
}

impl FilterStateOperator {
    fn object(&self, state: &FilterState, out: &mut Output<'_>) {
        let Some(object) = state.get(&self.key) else { return };
        match &self.form {
            Form::Typed => {
                if let Some(json) = object.serialize_as_json() {
                    out.json_text(self.max_length, &json.to_string());
                }
            }
            Form::Plain => {
                if let Some(text) = object.serialize_as_string() {
                    out.text_up_to(self.max_length, &text);
                }
            }
            Form::Field(name) => {
                if let Some(text) = object.field(name) {
                    out.text_up_to(self.max_length, &text);
                }
            }
        }
    }
}
