//! Old spellings of command operators that Envoy still accepts in headers to add.

use std::borrow::Cow;

/// `%DYNAMIC_METADATA(["a", "b"])%` is `%DYNAMIC_METADATA(a:b)%`, and `%PER_REQUEST_STATE(x)%` is
/// `%FILTER_STATE(x:PLAIN)%` (Envoy's `source/common/router/header_parser_utils.cc`).
pub(super) fn translate(format: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(format);
    for operator in ["DYNAMIC_METADATA", "UPSTREAM_METADATA"] {
        text = replace(text, &format!("%{operator}(["), "])%", |keys| {
            let keys: Vec<String> = serde_json::from_str(&format!("[{keys}]")).ok()?;
            Some(format!("%{operator}({})%", keys.join(":")))
        });
    }
    replace(text, "%PER_REQUEST_STATE(", ")%", |key| Some(format!("%FILTER_STATE({key}:PLAIN)%")))
}

/// Replaces each stretch from `start` to `end`, unless `with` has nothing for what is between them.
fn replace<'t>(
    text: Cow<'t, str>,
    start: &str,
    end: &str,
    with: impl Fn(&str) -> Option<String>,
) -> Cow<'t, str> {
    if !text.contains(start) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some((before, after)) = rest.split_once(start) {
        let replaced = after.split_once(end).and_then(|(inner, tail)| Some((with(inner)?, tail)));
        out.push_str(before);
        if let Some((new, tail)) = replaced {
            out.push_str(&new);
            rest = tail;
        } else {
            out.push_str(start);
            rest = after;
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn old_spellings_become_new_ones() {
        for (old, new) in [
            ("%DYNAMIC_METADATA([\"a\", \"b\"])%", "%DYNAMIC_METADATA(a:b)%"),
            (
                "x%PER_REQUEST_STATE(a.b)%y%PER_REQUEST_STATE(c)%",
                "x%FILTER_STATE(a.b:PLAIN)%y%FILTER_STATE(c:PLAIN)%",
            ),
            ("%UPSTREAM_METADATA([1])%", "%UPSTREAM_METADATA([1])%"),
            ("%REQ(a)%", "%REQ(a)%"),
        ] {
            assert_eq!(translate(old), new);
        }
    }
}
