//! Patterns over the dot-separated words of a name.

use std::ops::Range;

/// A pattern such as `http.*.fault.$.**`: `$` is the tag, `*` is one word, `**` is any number of words, but at the
/// end at least one.
#[derive(Debug)]
pub(super) struct TokenPattern(&'static str);

impl TokenPattern {
    pub(super) fn new(pattern: &'static str) -> Self {
        Self(pattern)
    }

    /// The word with which a name must begin.
    pub(super) fn first_word(&self) -> Option<&'static str> {
        self.0.split('.').next().filter(|word| !word.starts_with(['$', '*']))
    }

    /// What to cut out of the name, one dot included, and the tag's value.
    pub(super) fn find<'a>(&self, name: &'a str) -> Option<(Range<usize>, &'a str)> {
        let value = matched(self.0, name, 0)?;
        let text = name.get(value.clone())?;
        // The dot behind the word goes with it, or else the one before it.
        let cut = if value.end < name.len() {
            value.start..value.end + 1
        } else {
            value.start.saturating_sub(1)..value.end
        };
        Some((cut, text))
    }
}

/// Where the `$` of `pattern` is in `name`, whose first byte has the offset `at`; `None` if the pattern does not
/// match. A pattern without `$` that matches gives an empty range.
fn matched(pattern: &str, name: &str, at: usize) -> Option<Range<usize>> {
    let (word, pattern_rest) = split(pattern);
    if word == "**" {
        let Some(pattern_rest) = pattern_rest else { return (!name.is_empty()).then_some(0..0) };
        let mut tail = Some((name, at));
        while let Some((name, at)) = tail {
            if let Some(found) = matched(pattern_rest, name, at) {
                return Some(found);
            }
            tail = name.split_once('.').map(|(word, rest)| (rest, at + word.len() + 1));
        }
        return None;
    }
    let (token, name_rest) = split(name);
    if token.is_empty() || !matches!(word, "$" | "*") && word != token {
        return None;
    }
    let rest = match (pattern_rest, name_rest) {
        (None, None) => 0..0,
        (Some(pattern), Some(name)) => matched(pattern, name, at + token.len() + 1)?,
        _ => return None,
    };
    Some(if word == "$" { at..at + token.len() } else { rest })
}

/// The first word, and what comes after its dot.
fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('.').map_or((text, None), |(word, rest)| (word, Some(rest)))
}
