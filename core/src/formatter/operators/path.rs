//! The path of a request, and the parameters behind its question mark.

use std::borrow::Cow;

use crate::formatter::{Command, FormatContext, Operator, OperatorEntry, Output};

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry::with_optional("PATH", path).limited(),
    OperatorEntry::with_required("QUERY_PARAM", query_parameter).limited(),
    OperatorEntry::with_optional("QUERY_PARAMS", query_parameters).limited(),
];

/// `%PATH(NQ:ORIG)%`: with or without the query, from which of the two headers.
fn path(command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    let (query, from) = command.argument.split_once(':').unwrap_or((command.argument, ""));
    let with_query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        _ => return Err(format!("Invalid PATH option: '{query}', only 'WQ'/'NQ' are allowed")),
    };
    let names: &[_] = match from {
        "" | "ORIG_OR_PATH" => &["x-envoy-original-path", ":path"],
        "ORIG" => &["x-envoy-original-path"],
        "PATH" => &[":path"],
        _ => {
            return Err(format!(
                "Invalid PATH option: '{from}', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed"
            ));
        }
    };
    let max_length = command.max_length;
    Ok(Box::new(move |cx: &FormatContext<'_>, out: &mut Output<'_>| {
        let Some(headers) = cx.headers else { return };
        if let Some(path) = names.iter().find_map(|name| headers.request(name)) {
            let path = if with_query { path } else { path.split('?').next().unwrap_or_default() };
            out.text_up_to(max_length, path);
        }
    }))
}

/// The query of the request, without its question mark.
fn query<'a>(cx: &FormatContext<'a>) -> Option<&'a str> {
    let path = cx.headers?.request(":path")?;
    let path = path.split('#').next().unwrap_or_default();
    path.split_once('?').map(|(_, query)| query)
}

/// `%QUERY_PARAM(name)%`: one parameter, percent-decoded.
#[expect(clippy::unnecessary_wraps, reason = "the form of all operators with arguments")]
fn query_parameter(command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    let (name, max_length) = (command.argument.to_owned(), command.max_length);
    Ok(Box::new(move |cx: &FormatContext<'_>, out: &mut Output<'_>| {
        let mut parameters =
            query(cx).unwrap_or_default().split('&').map(|word| word.split_once('=').unwrap_or((word, "")));
        if let Some((_, value)) = parameters.find(|(key, _)| percent_decoded(key) == name) {
            out.text_up_to(max_length, &percent_decoded(value));
        }
    }))
}

/// `%QUERY_PARAMS%`: all of them, as they came. Envoy 1.40 printed the same for its option `DECODED`.
fn query_parameters(command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    if !matches!(command.argument, "" | "ORIG" | "DECODED") {
        let option = command.argument;
        return Err(format!("Invalid QUERY_PARAMS option: '{option}', only 'ORIG'/'DECODED' are allowed"));
    }
    let max_length = command.max_length;
    Ok(Box::new(move |cx: &FormatContext<'_>, out: &mut Output<'_>| {
        if let Some(query) = query(cx).filter(|query| !query.is_empty()) {
            out.text_up_to(max_length, query);
        }
    }))
}

/// The text with `%20` and the like decoded; what is no UTF-8 then is replaced.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|&b| char::from(b).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (first, hex(0), hex(1)) {
            // Two hexadecimal digits make one byte.
            bytes.extend(u8::try_from(high * 16 + low));
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn percent_signs_are_decoded_where_two_digits_follow() {
        for (text, expected) in
            [("a%20b", "a b"), ("%c3%A9", "é"), ("100%", "100%"), ("%zz%4", "%zz%4"), ("%ff", "\u{fffd}")]
        {
            assert_eq!(percent_decoded(text), expected);
        }
    }
}
