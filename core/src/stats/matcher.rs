//! Which stats exist at all: `stats_config.stats_matcher`.

use crate::matcher::StringMatcher;

/// Which stats exist. A stat that is turned off is not listed, and counting in it does nothing.
#[derive(Debug, Clone, Default)]
pub enum StatsMatcher {
    /// All of them.
    #[default]
    AcceptAll,
    /// None (`reject_all`).
    RejectAll,
    /// Only those whose full name matches one of these (`inclusion_list`).
    Include(Vec<StringMatcher>),
    /// Only those whose full name matches none of these (`exclusion_list`).
    Exclude(Vec<StringMatcher>),
}

impl StatsMatcher {
    /// Whether no stat is turned off.
    pub(super) fn is_accept_all(&self) -> bool {
        matches!(self, Self::AcceptAll)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_include_or_exclude_by_full_name() {
        let patterns = || vec![StringMatcher::prefix("cluster."), StringMatcher::exact("server.live")];
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
}
