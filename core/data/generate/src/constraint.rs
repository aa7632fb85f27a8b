//! Constraints of protoc-gen-validate as words of the table.

use anyhow::{Context, Result, ensure};

use crate::descriptor::{
    AnyRules, BytesRules, Duration, DurationRules, EnumRules, FieldRules, MapRules, RepeatedRules,
    StringRules, TypeRules,
};

/// Numbers share their rules, but not a type.
macro_rules! number_words {
    ($words:ident, $rules:ident) => {{
        ensure!(
            $rules.r#const.is_none() && $rules.r#in.is_empty() && $rules.not_in.is_empty(),
            "{:?}",
            $rules
        );
        $words.value("lt", $rules.lt);
        $words.value("lte", $rules.lte);
        $words.value("gt", $rules.gt);
        $words.value("gte", $rules.gte);
        $words.flag("ignore_empty", $rules.ignore_empty);
    }};
}

/// The words for the rules of a field, each with a leading space. Fails on a rule that has no word yet.
pub fn words(rules: &FieldRules) -> Result<String> {
    let mut words = Words::default();
    if let Some(message) = &rules.message {
        words.flag("skip", message.skip);
        words.flag("required", message.required);
    }
    match &rules.r#type {
        None => {}
        Some(TypeRules::Float(number)) => number_words!(words, number),
        Some(TypeRules::Double(number)) => number_words!(words, number),
        Some(TypeRules::Int32(number)) => number_words!(words, number),
        Some(TypeRules::Int64(number)) => number_words!(words, number),
        Some(TypeRules::Uint32(number)) => number_words!(words, number),
        Some(TypeRules::Uint64(number)) => number_words!(words, number),
        Some(TypeRules::Bool(rule)) => words.value("const", rule.r#const),
        Some(TypeRules::String(rules)) => string_words(&mut words, rules)?,
        Some(TypeRules::Bytes(rules)) => bytes_words(&mut words, rules),
        Some(TypeRules::Enum(rules)) => enum_words(&mut words, rules)?,
        Some(TypeRules::Repeated(rules)) => repeated_words(&mut words, rules)?,
        Some(TypeRules::Map(rules)) => map_words(&mut words, rules)?,
        Some(TypeRules::Any(rules)) => any_words(&mut words, rules)?,
        Some(TypeRules::Duration(rules)) => duration_words(&mut words, rules)?,
        Some(TypeRules::Timestamp(rules)) => words.flag("required", rules.required),
    }
    Ok(words.0)
}

#[derive(Default)]
struct Words(String);

impl Words {
    fn word(&mut self, word: &str) {
        self.0.push(' ');
        self.0.push_str(word);
    }

    fn flag(&mut self, word: &str, set: bool) {
        if set {
            self.word(word);
        }
    }

    fn value(&mut self, word: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.word(&format!("{word}={}", value.to_string()));
        }
    }

    fn list(&mut self, word: &str, values: &[impl ToString]) {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            self.value(word, Some(values.join(",")));
        }
    }

    /// The rules of what is inside, each word behind `scope` and a dot.
    fn inner(&mut self, scope: &str, rules: Option<&FieldRules>) -> Result<()> {
        for word in rules.map(words).transpose()?.unwrap_or_default().split_whitespace() {
            self.word(&format!("{scope}.{word}"));
        }
        Ok(())
    }
}

fn string_words(words: &mut Words, rules: &StringRules) -> Result<()> {
    ensure!(rules.r#const.is_none() && rules.not_in.is_empty(), "{rules:?}");
    words.value("min_len", rules.min_len.filter(|length| *length > 0));
    words.value("max_len", rules.max_len);
    words.value("min_bytes", rules.min_bytes);
    words.value("max_bytes", rules.max_bytes);
    words.value("prefix", rules.prefix.as_ref());
    words.value("suffix", rules.suffix.as_ref());
    // A space would end the word; the escape means the same to a regular expression.
    words.value("pattern", rules.pattern.as_ref().map(|pattern| pattern.replace(' ', r"\x20")));
    words.list("in", &rules.r#in);
    let (name, value) = (rules.well_known_regex == 1, rules.well_known_regex == 2);
    let strict = rules.strict.unwrap_or(true);
    ensure!(name || value || rules.well_known_regex == 0, "{rules:?}");
    words.flag("header_name", name && strict);
    words.flag("header_value", value && strict);
    words.flag("no_line_break", (name || value) && !strict);
    words.flag("ignore_empty", rules.ignore_empty);
    for free in [&rules.prefix, &rules.suffix].into_iter().flatten().chain(&rules.r#in) {
        ensure!(!free.contains([' ', ',', '\n']), "{free:?} cannot be a word of the table");
    }
    Ok(())
}

fn bytes_words(words: &mut Words, rules: &BytesRules) {
    words.value("min_len", rules.min_len.filter(|length| *length > 0));
    words.value("max_len", rules.max_len);
}

fn enum_words(words: &mut Words, rules: &EnumRules) -> Result<()> {
    ensure!(rules.r#in.is_empty(), "{rules:?}");
    words.flag("defined_only", rules.defined_only);
    words.list("not_in", &rules.not_in);
    Ok(())
}

fn repeated_words(words: &mut Words, rules: &RepeatedRules) -> Result<()> {
    words.value("min_items", rules.min_items.filter(|count| *count > 0));
    words.value("max_items", rules.max_items);
    words.flag("unique", rules.unique);
    words.flag("ignore_empty", rules.ignore_empty);
    words.inner("items", rules.items.as_deref())
}

fn map_words(words: &mut Words, rules: &MapRules) -> Result<()> {
    ensure!(!rules.ignore_empty, "{rules:?}");
    words.value("min_items", rules.min_pairs);
    words.value("max_items", rules.max_pairs);
    words.inner("keys", rules.keys.as_deref())?;
    words.inner("items", rules.values.as_deref())
}

fn any_words(words: &mut Words, rules: &AnyRules) -> Result<()> {
    ensure!(rules.r#in.is_empty() && rules.not_in.is_empty(), "{rules:?}");
    words.flag("required", rules.required);
    Ok(())
}

fn duration_words(words: &mut Words, rules: &DurationRules) -> Result<()> {
    ensure!(rules.r#const.is_none(), "{rules:?}");
    words.flag("required", rules.required);
    for (word, bound) in [("lt", &rules.lt), ("lte", &rules.lte), ("gt", &rules.gt), ("gte", &rules.gte)] {
        words.value(word, bound.as_ref().map(seconds).transpose()?);
    }
    Ok(())
}

/// A duration as a decimal number of seconds.
fn seconds(duration: &Duration) -> Result<String> {
    let nanos = u32::try_from(duration.nanos).context("a negative bound")?;
    let text = format!("{}.{nanos:09}", duration.seconds);
    Ok(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}
