//! What to say about a field or an enum value that no type here has: misspelt, or Envoy's and not implemented yet.

use super::{node::NodeDeserializer, path::Path};
use crate::config::{
    Entry, NodeValue, Severity,
    known::{self, Kind, Type},
    names::{self, nearest},
    scalar,
};

const NOT_YET: &str = "Envoy knows this field, Underpass does not implement it yet";

/// Reports a key that is no field of the message.
pub(super) fn field(parent: &NodeDeserializer<'_>, entry: &Entry, fields: &'static [&'static str]) {
    let reader = parent.pass.reader;
    let known = parent.path.message().and_then(|message| Some((message, message.field(&entry.key)?)));
    if let Some((_, field)) = known
        && is_default(entry, &field)
    {
        return;
    }
    let harmless =
        known.is_some_and(|(message, field)| reader.harmless.contains(&(message.name(), field.name)));
    let tolerated = reader.allow_unknown_fields || (known.is_none() && reader.tolerate_unknown_fields);
    let severity = if harmless || tolerated { Severity::Warning } else { Severity::Error };
    let mut message = match (&known, nearest(&names::snake_case(&entry.key), fields.iter().copied())) {
        (Some(_), _) => NOT_YET.to_owned(),
        (None, Some(nearest)) => format!("unknown field {:?}; did you mean `{nearest}`?", entry.key),
        (None, None) if fields.is_empty() => {
            format!("unknown field {:?}; this message has no fields", entry.key)
        }
        (None, None) => format!("unknown field {:?}; known: {}", entry.key, fields.join(", ")),
    };
    if severity == Severity::Warning {
        message.push_str("; it is ignored");
    }
    let name = known.map_or(&*entry.key, |(_, field)| field.name);
    let path = Path::Field(&parent.path, name).to_config_path();
    parent.pass.push(severity, path, entry.location(), message);
}

/// Whether a field says no more than its absence would.
///
/// Messages, wrappers and members of a oneof tell "absent" from "empty", so they never do.
fn is_default(entry: &Entry, field: &known::Field) -> bool {
    let (text, plain) = match &entry.value.value {
        NodeValue::Null => return true,
        NodeValue::List(elements) => return elements.is_empty() && matches!(field.kind, Kind::Repeated(_)),
        NodeValue::Map(entries) => return entries.is_empty() && matches!(field.kind, Kind::Map(..)),
        NodeValue::Scalar { text, plain } => (&**text, *plain),
    };
    let Kind::Single(single) = field.kind else { return false };
    if field.oneof.is_some() {
        return false;
    }
    match single {
        Type::Message(_) => false,
        Type::Enum(name) => known::enumeration(name).is_some_and(|enumeration| {
            let zero = enumeration.value_name(0);
            zero == Some(text) || scalar::integer(text, plain) == Some(0)
        }),
        Type::Scalar(known::Scalar::String | known::Scalar::Bytes) => text.is_empty(),
        Type::Scalar(known::Scalar::Bool) => plain && scalar::boolean(text) == Some(false),
        Type::Scalar(_) => scalar::number(text, plain) == Some(0.0),
    }
}

/// The value of an enum that is written as `text`, a name or a number; reports what is neither.
pub(super) fn enum_value(
    parent: &NodeDeserializer<'_>,
    text: &str,
    values: &'static [&'static str],
) -> Option<&'static str> {
    // Envoy reads the names of enum values in any case.
    if let Some(value) = values.iter().copied().find(|value| value.eq_ignore_ascii_case(text)) {
        return Some(value);
    }
    let known = parent.path.enumeration();
    let number = scalar::integer(text, true).and_then(|number| i32::try_from(number).ok());
    let by_number = number.and_then(|number| match known {
        Some(known) => known.value_name(number),
        None => usize::try_from(number).ok().and_then(|index| values.get(index).copied()),
    });
    if let Some(value) = by_number.and_then(|name| values.iter().copied().find(|value| *value == name)) {
        return Some(value);
    }
    let allowed = values.join(", ");
    let envoy_has_it = known.is_some_and(|known| {
        by_number.is_some() || known.value_names().any(|name| name.eq_ignore_ascii_case(text))
    });
    parent.error(if envoy_has_it {
        format!(
            "Envoy knows the value `{text}`, Underpass does not implement it yet; it implements: {allowed}"
        )
    } else if let Some(nearest) = nearest(&text.to_ascii_uppercase(), values.iter().copied()) {
        format!("unknown value `{text}`; did you mean `{nearest}`? Possible: {allowed}")
    } else {
        format!("unknown value `{text}`; possible: {allowed}")
    });
    None
}
