//! Which stats exist at all: `stats_config.stats_matcher`.

use regex::Regex;

/// Which stats exist. A stat that is turned off is not listed, and counting in it does nothing.
#[derive(Debug, Clone, Default)]
pub enum StatsMatcher {
    /// All of them.
    #[default]
    AcceptAll,
    /// None (`reject_all`).
    RejectAll,
    /// Only those whose full name matches one of these (`inclusion_list`).
    Include(Vec<NamePattern>),
    /// Only those whose full name matches none of these (`exclusion_list`).
    Exclude(Vec<NamePattern>),
}

/// A condition on a full name, as Envoy's `StringMatcher`.
#[derive(Debug, Clone)]
pub enum NamePattern {
    /// The whole name.
    Exact(Text),
    /// How it begins.
    Prefix(Text),
    /// How it ends.
    Suffix(Text),
    /// What it contains.
    Contains(Text),
    /// A regex for the whole name (`safe_regex`); see [`NamePattern::regex`].
    Regex(Regex),
}

/// A text of a [`NamePattern`].
#[derive(Debug, Clone)]
pub struct Text {
    text: String,
    ignore_case: bool,
}

impl Text {
    /// A text; with `ignore_case`, ASCII letters match in either case.
    pub fn new(text: impl Into<String>, ignore_case: bool) -> Self {
        let text = text.into();
        Self { text: if ignore_case { text.to_ascii_lowercase() } else { text }, ignore_case }
    }

    fn is_in(&self, name: &str, test: impl Fn(&str, &str) -> bool) -> bool {
        if self.ignore_case { test(&name.to_ascii_lowercase(), &self.text) } else { test(name, &self.text) }
    }
}

impl StatsMatcher {
    /// Whether the stat of this full name exists.
    pub fn accepts(&self, full_name: &str) -> bool {
        match self {
            Self::AcceptAll => true,
            Self::RejectAll => false,
            Self::Include(patterns) => patterns.iter().any(|pattern| pattern.matches(full_name)),
            Self::Exclude(patterns) => !patterns.iter().any(|pattern| pattern.matches(full_name)),
        }
    }
}

impl NamePattern {
    /// Whether the pattern matches a full name.
    pub fn matches(&self, full_name: &str) -> bool {
        match self {
            Self::Exact(text) => text.is_in(full_name, |name, text| name == text),
            Self::Prefix(text) => text.is_in(full_name, |name, text| name.starts_with(text)),
            Self::Suffix(text) => text.is_in(full_name, |name, text| name.ends_with(text)),
            Self::Contains(text) => text.is_in(full_name, |name, text| name.contains(text)),
            Self::Regex(regex) => regex.is_match(full_name),
        }
    }

    /// A regex that has to match the whole name, as Envoy's `safe_regex` does.
    pub fn regex(pattern: &str) -> Result<Self, regex::Error> {
        // Compiled as it is first, so that a pattern like `a)(b` cannot break out of the group.
        Regex::new(pattern)?;
        Regex::new(&format!("^(?:{pattern})$")).map(Self::Regex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        Text::new(text, false)
    }

    #[test]
    fn lists_include_or_exclude_by_full_name() {
        let patterns =
            || vec![NamePattern::Prefix(text("cluster.")), NamePattern::Exact(text("server.live"))];
        let include = StatsMatcher::Include(patterns());
        let exclude = StatsMatcher::Exclude(patterns());
        for (name, included) in
            [("cluster.up.x", true), ("server.live", true), ("server.lives", false), ("tcp.a.b", false)]
        {
            assert_eq!(include.accepts(name), included, "{name}");
            assert_eq!(exclude.accepts(name), !included, "{name}");
        }
        assert!(!StatsMatcher::RejectAll.accepts("server.live"));
        assert!(StatsMatcher::AcceptAll.accepts("server.live"));
    }

    #[test]
    fn patterns_match_as_envoys_string_matcher() {
        assert!(NamePattern::Suffix(text("total")).matches("a.cx_total"));
        assert!(!NamePattern::Suffix(text("TOTAL")).matches("a.cx_total"));
        assert!(NamePattern::Suffix(Text::new("TOTAL", true)).matches("a.cx_total"));
        assert!(NamePattern::Contains(text("cx")).matches("a.cx_total"));
        let regex = NamePattern::regex("a|ab").unwrap();
        assert!(regex.matches("ab") && regex.matches("a") && !regex.matches("abc"));
    }
}
