//! Changes of the parameters in a request's path.
//!
//! As in Envoy the parameters are sorted by name afterwards. What is not changed stays as it was written; Envoy decodes
//! it, and so may write a path that is none.

use std::fmt::Write as _;

use http::uri::PathAndQuery;
use underpass_core::{
    access_log::AccessLogType,
    build_context::BuildError,
    config::{AppendAction, ConfigPath},
    formatter::{FormatContext, Formatter, Operators},
    stream_info::StreamInfo,
};
use underpass_http::{RequestHead, message_headers::MessageHeaders};

use crate::config;

/// A list of mutations.
#[derive(Default)]
pub(crate) struct QueryMutations(Vec<Mutation>);

enum Mutation {
    Append { key: String, value: Formatter, action: AppendAction },
    Remove(String),
}

/// A parameter, its name decoded for comparisons.
struct Parameter {
    name: String,
    written: String,
}

impl QueryMutations {
    /// `path` is that of the message that has them. The messages are Envoy's.
    pub(crate) fn build(
        mutations: &[config::KeyValueMutation],
        path: &ConfigPath,
    ) -> Result<Self, BuildError> {
        let path = path.field("query_parameter_mutations");
        let mutations = mutations.iter().enumerate();
        let mutations = mutations.map(|(index, mutation)| Mutation::build(mutation, &path.index(index)));
        mutations.collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn apply(&self, head: &mut RequestHead, info: &StreamInfo) {
        if self.0.is_empty() || head.path.is_none() {
            return;
        }
        let (path, query) = head.path().split_once('?').unwrap_or((head.path(), ""));
        let mut parameters: Vec<Parameter> =
            query.split('&').filter(|pair| !pair.is_empty()).map(Parameter::read).collect();
        let headers = MessageHeaders::of_request(head);
        let context = FormatContext { info, access_log_type: AccessLogType::NotSet, headers: Some(&headers) };
        for mutation in &self.0 {
            mutation.apply(&mut parameters, &context);
        }
        parameters.sort_by(|one, other| one.name.cmp(&other.name));
        let mut text = path.to_owned();
        for (index, parameter) in parameters.iter().enumerate() {
            text.push(if index == 0 { '?' } else { '&' });
            text.push_str(&parameter.written);
        }
        if let Ok(changed) = PathAndQuery::try_from(text) {
            head.path = Some(changed);
        }
    }
}

impl Mutation {
    fn build(mutation: &config::KeyValueMutation, path: &ConfigPath) -> Result<Self, BuildError> {
        let refuse = |message: &str| BuildError::at(path.clone(), message);
        let Some(append) = &mutation.append else {
            return match mutation.remove.as_str() {
                "" => Err(refuse("One of 'append'/'remove' must be specified.")),
                name => Ok(Self::Remove(name.to_owned())),
            };
        };
        let record =
            append.record.as_ref().ok_or_else(|| refuse("No record specified for append mutation."))?;
        let text = record.value.as_ref().and_then(|value| value.as_str());
        let text = text.ok_or_else(|| refuse("Only string value is allowed for record value."))?;
        let operators = Operators::linked().map_err(|error| refuse(&error.to_string()))?;
        let value = Formatter::parse(text, &operators).map_err(|error| refuse(&error.to_string()))?;
        Ok(Self::Append {
            key: record.key.to_string(),
            value: value.omit_empty_values(true),
            action: append.action,
        })
    }

    fn apply(&self, parameters: &mut Vec<Parameter>, context: &FormatContext<'_>) {
        let (key, value, action) = match self {
            Self::Remove(name) => return parameters.retain(|parameter| parameter.name != *name),
            Self::Append { key, value, action } => (key, value, *action),
        };
        let present = parameters.iter().any(|parameter| parameter.name == *key);
        match action {
            AppendAction::AddIfAbsent if present => return,
            AppendAction::OverwriteIfExists if !present => return,
            AppendAction::OverwriteIfExists | AppendAction::OverwriteIfExistsOrAdd => {
                parameters.retain(|parameter| parameter.name != *key);
            }
            AppendAction::AddIfAbsent | AppendAction::AppendIfExistsOrAdd => {}
        }
        let mut written = encode(key);
        written.push('=');
        written.push_str(&encode(&value.format(context)));
        parameters.push(Parameter { name: key.clone(), written });
    }
}

impl Parameter {
    fn read(pair: &str) -> Self {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let written = if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") };
        Self { name: decode(name), written }
    }
}

/// Percent-decodes; what is not encoded well stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = decoded.filter(|_| *first == b'%') {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
