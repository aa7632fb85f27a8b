//! Lists of headers to add and to remove, as routes, tunnels, filters and local replies have them.
//!
//! Such a list is built once: names are checked, values without command operators become header values, the others become
//! formatters. What it does to a message is what Envoy's `HeaderParser` does: first the removals, then all values are made
//! from the headers as they are then, then what overwrites, then what adds.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#custom-request-response-headers>

mod obsolete;

use std::ops::Deref;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use underpass_core::{
    access_log::AccessLogType,
    build_context::BuildError,
    config::{AppendAction, ConfigPath, HeaderValueOption},
    formatter::{FormatContext, Formatter, Operators},
    stream_info::StreamInfo,
};

use crate::{
    RequestHead,
    inline_headers::{self, Side},
    message_headers::MessageHeaders,
};

/// What one pair of lists (`request_headers_to_add`, `request_headers_to_remove`) comes to.
#[derive(Debug, Default)]
pub struct HeaderMutations {
    remove: Box<[HeaderName]>,
    add: Box<[Addition]>,
}

#[derive(Debug)]
struct Addition {
    name: HeaderName,
    value: Value,
    action: AppendAction,
    keep_empty_value: bool,
}

#[derive(Debug)]
enum Value {
    Fixed(HeaderValue),
    Formatted(Formatter),
}

impl HeaderMutations {
    /// Builds two lists; `add_at` and `remove_at` are where they stand.
    ///
    /// # Errors
    /// What cannot be a header, or may not be one here, with Envoy's words.
    pub fn build<S: Deref<Target = str>>(
        add: &[HeaderValueOption],
        add_at: &ConfigPath,
        remove: &[S],
        remove_at: &ConfigPath,
    ) -> Result<Self, BuildError> {
        let removal = |(index, name): (usize, &S)| removable(name, &remove_at.index(index));
        Ok(Self {
            remove: remove.iter().enumerate().map(removal).collect::<Result<_, _>>()?,
            add: additions(add, add_at)?,
        })
    }

    /// Builds a list that only adds.
    ///
    /// # Errors
    /// As [`HeaderMutations::build`].
    pub fn additions(add: &[HeaderValueOption], add_at: &ConfigPath) -> Result<Self, BuildError> {
        Ok(Self { remove: Box::default(), add: additions(add, add_at)? })
    }

    /// Builds one addition, which stands at `at`.
    ///
    /// # Errors
    /// As [`HeaderMutations::build`].
    pub fn addition(add: &HeaderValueOption, at: &ConfigPath) -> Result<Self, BuildError> {
        Ok(Self { remove: Box::default(), add: [Addition::build(add, at)?].into() })
    }

    /// Whether they change nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// Changes the headers of a request.
    pub fn apply_to_request(&self, head: &mut RequestHead, info: &StreamInfo) {
        self.remove_from(&mut head.headers);
        if self.add.is_empty() {
            return;
        }
        let headers = MessageHeaders::of_request(head);
        let values = self.values(&head.headers, &with_headers(info, &headers));
        self.write(Side::Request, values, &mut head.headers);
    }

    /// Changes the headers of an answer.
    pub fn apply_to_response(
        &self,
        headers: &mut HeaderMap,
        status: StatusCode,
        request: &RequestHead,
        info: &StreamInfo,
    ) {
        self.remove_from(headers);
        if self.add.is_empty() {
            return;
        }
        let seen = MessageHeaders::of_request(request).with_response(status, headers);
        let values = self.values(headers, &with_headers(info, &seen));
        self.write(Side::Response, values, headers);
    }

    /// Changes the headers of a request that is not one of this proxy's streams, or trailers; operators read what `context`
    /// holds.
    pub fn apply(&self, headers: &mut HeaderMap, context: &FormatContext<'_>) {
        self.remove_from(headers);
        if !self.add.is_empty() {
            let values = self.values(headers, context);
            self.write(Side::Request, values, headers);
        }
    }

    fn remove_from(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
    }

    /// The value of each addition that takes place; all are made before the first header changes.
    fn values(&self, present: &HeaderMap, context: &FormatContext<'_>) -> Vec<Option<HeaderValue>> {
        let value = |addition: &Addition| {
            let takes_place = match addition.action {
                AppendAction::AppendIfExistsOrAdd | AppendAction::OverwriteIfExistsOrAdd => true,
                AppendAction::AddIfAbsent => !present.contains_key(&addition.name),
                AppendAction::OverwriteIfExists => present.contains_key(&addition.name),
            };
            let value = if takes_place { addition.value.make(context)? } else { return None };
            (addition.keep_empty_value || !value.is_empty()).then_some(value)
        };
        self.add.iter().map(value).collect()
    }

    fn write(&self, side: Side, mut values: Vec<Option<HeaderValue>>, headers: &mut HeaderMap) {
        for (addition, value) in self.add.iter().zip(&mut values) {
            if addition.overwrites()
                && let Some(value) = value.take()
            {
                headers.insert(addition.name.clone(), value);
            }
        }
        for (addition, value) in self.add.iter().zip(values) {
            if let Some(value) = value {
                inline_headers::append(side, headers, &addition.name, value);
            }
        }
    }
}

fn with_headers<'a>(info: &'a StreamInfo, headers: &'a MessageHeaders<'a>) -> FormatContext<'a> {
    FormatContext { info, access_log_type: AccessLogType::NotSet, headers: Some(headers) }
}

impl Addition {
    fn build(option: &HeaderValueOption, at: &ConfigPath) -> Result<Self, BuildError> {
        let header = at.field("header");
        let action = match option.append {
            Some(_) if option.append_action != AppendAction::default() => {
                let message = "Both append and append_action are set and it's not allowed; append_action alone says it all";
                return Err(BuildError::at(at.field("append"), message));
            }
            Some(true) => AppendAction::AppendIfExistsOrAdd,
            Some(false) => AppendAction::OverwriteIfExistsOrAdd,
            None => option.append_action,
        };
        Ok(Self {
            name: modifiable(&option.header.key, &header.field("key"))?,
            value: Value::build(&option.header.value, &header.field("value"))?,
            action,
            keep_empty_value: option.keep_empty_value,
        })
    }

    fn overwrites(&self) -> bool {
        matches!(self.action, AppendAction::OverwriteIfExists | AppendAction::OverwriteIfExistsOrAdd)
    }
}

impl Value {
    fn build(text: &str, at: &ConfigPath) -> Result<Self, BuildError> {
        let wrong = |message: String| BuildError::at(at.clone(), message);
        if !text.contains('%') {
            let value = HeaderValue::from_str(text);
            return value.map(Self::Fixed).map_err(|_| {
                wrong(format!("{text:?} cannot be the value of a header: it holds a control character"))
            });
        }
        let operators = Operators::linked().map_err(|error| wrong(error.to_string()))?;
        let text = obsolete::translate(text);
        let formatter = Formatter::parse(&text, &operators).map_err(|error| wrong(error.to_string()))?;
        Ok(Self::Formatted(formatter.omit_empty_values(true)))
    }

    /// `None` if what the operators print cannot stand in a header.
    fn make(&self, context: &FormatContext<'_>) -> Option<HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Formatted(formatter) => HeaderValue::try_from(formatter.format(context)).ok(),
        }
    }
}

fn additions(add: &[HeaderValueOption], at: &ConfigPath) -> Result<Box<[Addition]>, BuildError> {
    add.iter().enumerate().map(|(index, option)| Addition::build(option, &at.index(index))).collect()
}

/// A header that may be added to a message.
///
/// # Errors
/// If it is a pseudo-header or `host`, which routes rewrite by other means, or no name of a header.
pub fn modifiable(name: &str, at: &ConfigPath) -> Result<HeaderName, BuildError> {
    header_name(name, at, "modified")
}

/// A header that may be removed from a message.
///
/// # Errors
/// As [`modifiable`].
pub fn removable(name: &str, at: &ConfigPath) -> Result<HeaderName, BuildError> {
    header_name(name, at, "removed")
}

fn header_name(name: &str, at: &ConfigPath, done: &str) -> Result<HeaderName, BuildError> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        let message = format!(":-prefixed or host headers may not be {done}");
        return Err(BuildError::at(at.clone(), message));
    }
    HeaderName::try_from(name)
        .map_err(|_| BuildError::at(at.clone(), format!("{name:?} is no name of a header")))
}

#[cfg(test)]
mod tests;
