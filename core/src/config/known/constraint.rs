//! What Envoy demands of a field, as its protos say it by the rules of protoc-gen-validate.

/// The demands on one field: words of the table, parsed when they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Constraints {
    words: &'static str,
    scope: &'static str,
}

impl Constraints {
    pub(super) fn new(words: &'static str) -> Self {
        Self { words, scope: "" }
    }

    /// The demands on the value itself, or on the list or map as a whole.
    pub fn iter(self) -> impl Iterator<Item = Constraint> {
        self.scoped().filter_map(Constraint::parse)
    }

    /// The demands on each element of a list, or each value of a map.
    #[must_use]
    pub fn of_items(self) -> Self {
        Self { scope: "items.", ..self }
    }

    /// The demands on each key of a map.
    #[must_use]
    pub fn of_keys(self) -> Self {
        Self { scope: "keys.", ..self }
    }

    /// Whether this demand is among them.
    pub fn contains(self, constraint: Constraint) -> bool {
        self.iter().any(|each| each == constraint)
    }

    #[cfg(test)]
    pub(super) fn is_well_formed(self) -> bool {
        let parsed: usize =
            [self, self.of_items(), self.of_keys()].map(|scope| scope.iter().count()).iter().sum();
        parsed == self.words.split_ascii_whitespace().count()
    }

    fn scoped(self) -> impl Iterator<Item = &'static str> {
        let words = self.words.split_ascii_whitespace();
        words.filter_map(move |word| word.strip_prefix(self.scope)).filter(move |word| !self.is_deeper(word))
    }

    /// Whether a word found without a scope belongs to one.
    fn is_deeper(self, word: &str) -> bool {
        self.scope.is_empty() && (word.starts_with("items.") || word.starts_with("keys."))
    }
}

/// One demand on a value. Numbers stand for durations too, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Constraint {
    /// It must be present.
    Required,
    /// What is inside this message is not checked.
    Skip,
    /// The other demands do not hold for an empty value.
    IgnoreEmpty,
    /// It must be this boolean.
    Const(bool),
    /// A number must be less.
    Below(f64),
    /// A number must be less or equal.
    AtMost(f64),
    /// A number must be greater.
    Above(f64),
    /// A number must be greater or equal.
    AtLeast(f64),
    /// An enum must have a value that Envoy knows.
    DefinedOnly,
    /// An enum must not have this number.
    Not(i32),
    /// A text must have at least so many characters, bytes at least so many bytes.
    MinLen(u64),
    /// A text must have at most so many characters, bytes at most so many bytes.
    MaxLen(u64),
    /// A text must have at least so many bytes.
    MinBytes(u64),
    /// A text must have at most so many bytes.
    MaxBytes(u64),
    /// A text must start with this.
    Prefix(&'static str),
    /// A text must end with this.
    Suffix(&'static str),
    /// A text must match this regular expression.
    Pattern(&'static str),
    /// A text must be one of these, which commas separate.
    In(&'static str),
    /// A text must be the name of an HTTP header.
    HeaderName,
    /// A text must be possible as the value of an HTTP header.
    HeaderValue,
    /// A text must not contain NUL, CR or LF.
    NoLineBreak,
    /// A list or map must have at least so many elements.
    MinItems(u64),
    /// A list or map must have at most so many elements.
    MaxItems(u64),
    /// No two elements of a list may be equal.
    Unique,
}

impl Constraint {
    fn parse(word: &'static str) -> Option<Self> {
        let Some((name, value)) = word.split_once('=') else {
            return Some(match word {
                "required" => Self::Required,
                "skip" => Self::Skip,
                "ignore_empty" => Self::IgnoreEmpty,
                "defined_only" => Self::DefinedOnly,
                "header_name" => Self::HeaderName,
                "header_value" => Self::HeaderValue,
                "no_line_break" => Self::NoLineBreak,
                "unique" => Self::Unique,
                _ => return None,
            });
        };
        Some(match name {
            "const" => Self::Const(value.parse().ok()?),
            "lt" => Self::Below(value.parse().ok()?),
            "lte" => Self::AtMost(value.parse().ok()?),
            "gt" => Self::Above(value.parse().ok()?),
            "gte" => Self::AtLeast(value.parse().ok()?),
            "not_in" => Self::Not(value.parse().ok()?),
            "min_len" => Self::MinLen(value.parse().ok()?),
            "max_len" => Self::MaxLen(value.parse().ok()?),
            "min_bytes" => Self::MinBytes(value.parse().ok()?),
            "max_bytes" => Self::MaxBytes(value.parse().ok()?),
            "prefix" => Self::Prefix(value),
            "suffix" => Self::Suffix(value),
            "pattern" => Self::Pattern(value),
            "in" => Self::In(value),
            "min_items" => Self::MinItems(value.parse().ok()?),
            "max_items" => Self::MaxItems(value.parse().ok()?),
            _ => return None,
        })
    }
}
