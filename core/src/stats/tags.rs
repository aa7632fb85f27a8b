//! Tags: the variable parts of a stat's name, taken out of it for Prometheus.
//!
//! `cluster.up.upstream_cx_total` becomes `cluster.upstream_cx_total` with the tag `envoy.cluster_name` = `up`. The
//! rules are Envoy's (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/metrics/v3/stats.proto>): each
//! extractor looks at the whole name, and what all of them remove is cut out at the end.

mod defaults;
mod tokens;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use regex::Regex;

use tokens::TokenPattern;

/// A name without its variable parts, and those parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// What is left of the name.
    pub name: String,
    /// The tags, in the order in which Envoy prints them.
    pub tags: Vec<Tag>,
}

/// One variable part of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// What it is, as `envoy.cluster_name`.
    pub name: String,
    /// What it is here.
    pub value: String,
}

/// One entry of `stats_config.stats_tags`.
#[derive(Debug, Clone)]
pub struct TagSpecifier {
    /// The name of the tag.
    pub tag_name: String,
    /// Where its value comes from.
    pub value: TagValue,
}

/// Where the value of a configured tag comes from.
#[derive(Debug, Clone)]
pub enum TagValue {
    /// The default extractor of that tag name.
    Default,
    /// A regex: its first group is removed from the name, its second group, or else the first, is the value.
    Regex(String),
    /// The same value for all stats.
    Fixed(String),
}

/// Why `stats_config.stats_tags` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// A tag has no name.
    #[error("tag_name cannot be empty")]
    NoName,
    /// A tag without value has a name that no default extractor has.
    #[error(
        "No regex specified for tag specifier and no default regex for name: '{name}'; give `regex` or `fixed_value`"
    )]
    NoDefault {
        /// The name of the tag.
        name: String,
    },
    /// A regex does not compile.
    #[error("tag '{name}': invalid regex '{regex}': {message}")]
    BadRegex {
        /// The name of the tag.
        name: String,
        /// The regex as configured.
        regex: String,
        /// What is wrong with it.
        message: String,
    },
}

/// The rules by which tags are extracted.
#[derive(Debug)]
pub struct TagRules {
    fixed: Vec<Tag>,
    /// Extractors that any name may match.
    general: Vec<Extractor>,
    /// Extractors of names that begin with a certain word.
    by_first_word: HashMap<String, Vec<Extractor>>,
}

impl Default for TagRules {
    /// Envoy's default tags.
    fn default() -> Self {
        let mut rules = Self { fixed: Vec::new(), general: Vec::new(), by_first_word: HashMap::new() };
        for extractor in defaults::extractors() {
            rules.add(extractor);
        }
        rules
    }
}

impl TagRules {
    /// The rules of a `stats_config`.
    pub fn new(use_all_default_tags: bool, specifiers: &[TagSpecifier]) -> Result<Self, TagError> {
        let mut rules = if use_all_default_tags {
            Self::default()
        } else {
            Self { fixed: Vec::new(), general: Vec::new(), by_first_word: HashMap::new() }
        };
        for TagSpecifier { tag_name, value } in specifiers {
            rules.specify(tag_name, value)?;
        }
        Ok(rules)
    }

    fn specify(&mut self, name: &str, value: &TagValue) -> Result<(), TagError> {
        match value {
            _ if name.is_empty() => return Err(TagError::NoName),
            TagValue::Fixed(value) => self.fixed.push(Tag { name: name.to_owned(), value: value.clone() }),
            TagValue::Regex(regex) => self.add(Extractor::configured(name, regex)?),
            TagValue::Default => {
                let mut found = false;
                for extractor in defaults::extractors().into_iter().filter(|e| e.tag == name) {
                    found = true;
                    self.add(extractor);
                }
                if !found {
                    return Err(TagError::NoDefault { name: name.to_owned() });
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, extractor: Extractor) {
        match extractor.first_word() {
            Some(word) => self.by_first_word.entry(word.to_owned()).or_default().push(extractor),
            None => self.general.push(extractor),
        }
    }

    /// Takes the tags out of a full name.
    pub fn extract(&self, full_name: &str) -> Tagged {
        let first_word = full_name.split_once('.').map(|(word, _)| word);
        let special = first_word.and_then(|word| self.by_first_word.get(word)).into_iter().flatten();
        let mut tags = self.fixed.clone();
        let mut cuts: Vec<Range<usize>> = Vec::new();
        let mut found: Vec<&str> = Vec::new();
        for extractor in self.general.iter().chain(special) {
            // A tag may have several extractors; the first that matches wins.
            if found.contains(&extractor.tag.as_str()) {
                continue;
            }
            if let Some((cut, value)) = extractor.find(full_name) {
                found.push(&extractor.tag);
                tags.push(Tag { name: extractor.tag.clone(), value: value.to_owned() });
                cuts.push(cut);
            }
        }
        Tagged { name: without(full_name, cuts), tags }
    }
}

/// `text` without the bytes in `cuts`, which may overlap.
fn without(text: &str, mut cuts: Vec<Range<usize>>) -> String {
    cuts.sort_by_key(|cut| cut.start);
    let mut rest = String::with_capacity(text.len());
    let mut at = 0;
    for cut in cuts {
        rest.push_str(text.get(at..cut.start).unwrap_or_default());
        at = at.max(cut.end);
    }
    rest.push_str(text.get(at..).unwrap_or_default());
    rest
}

/// Finds one tag in a name.
#[derive(Debug)]
struct Extractor {
    tag: String,
    pattern: Pattern,
}

#[derive(Debug)]
enum Pattern {
    Tokens(TokenPattern),
    Regex {
        /// The pattern, and, once it was needed, the compiled one: most servers need few of the default ones.
        source: String,
        compiled: OnceLock<Regex>,
        /// What a name must contain; cheaper to look for than the regex.
        contains: &'static str,
        /// The value that is no tag (`listener.admin`).
        except: &'static str,
    },
}

impl Extractor {
    fn configured(tag: &str, source: &str) -> Result<Self, TagError> {
        let compiled = Regex::new(source).map_err(|error| TagError::BadRegex {
            name: tag.to_owned(),
            regex: source.to_owned(),
            message: error.to_string(),
        })?;
        let pattern =
            Pattern::Regex { source: source.to_owned(), compiled: compiled.into(), contains: "", except: "" };
        Ok(Self { tag: tag.to_owned(), pattern })
    }

    /// The word with which a name must begin for the extractor to match, if there is one.
    fn first_word(&self) -> Option<&str> {
        match &self.pattern {
            Pattern::Tokens(tokens) => tokens.first_word(),
            Pattern::Regex { source, .. } => first_word_of_regex(source),
        }
    }

    /// What to cut out of the name, and the tag's value.
    fn find<'a>(&self, full_name: &'a str) -> Option<(Range<usize>, &'a str)> {
        match &self.pattern {
            Pattern::Tokens(tokens) => tokens.find(full_name),
            Pattern::Regex { source, compiled, contains, except } => {
                if !full_name.contains(contains) {
                    return None;
                }
                // proven: configured patterns come compiled, and a test compiles every default one.
                #[expect(clippy::expect_used)]
                let regex = compiled.get_or_init(|| Regex::new(source).expect("a default pattern"));
                let groups = regex.captures(full_name)?;
                let cut = groups.get(1).filter(|group| !group.is_empty())?;
                let value = groups.get(2).filter(|group| !group.is_empty()).unwrap_or(cut).as_str();
                (except.is_empty() || value != *except).then_some((cut.range(), value))
            }
        }
    }
}

/// The word that a regex of the form `^word\.…` or `^word$` begins with.
fn first_word_of_regex(source: &str) -> Option<&str> {
    let rest = source.strip_prefix('^')?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    let (word, after) = rest.split_at(end);
    (!word.is_empty() && (after.starts_with(r"\.") || after == "$")).then_some(word)
}

#[cfg(test)]
mod tests;
