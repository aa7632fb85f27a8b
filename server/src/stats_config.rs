//! `stats_config`: from what the configuration says to the rules of the stats store.

use underpass_core::{
    build_context::BuildError,
    config::ConfigPath,
    stats::{
        BucketBounds, BucketSettings, NamePattern, StatsMatcher, StoreOptions, TagRules, TagSpecifier,
        TagValue, Text,
    },
};

use crate::{
    command_line::Options,
    config::{
        bootstrap::Bootstrap,
        stats::{
            HistogramBucketSettings, StatsConfig, StatsMatcher as MatcherConfig, TagSpecifier as TagConfig,
        },
        string_matcher::StringMatcher,
    },
};

/// The rules of the store.
pub fn store_options(bootstrap: &Bootstrap, options: &Options) -> Result<StoreOptions, BuildError> {
    let config = &bootstrap.stats_config;
    let path = ConfigPath::root().field("stats_config");
    let tags = tag_rules(config, options, &path.field("stats_tags"))?;
    let matcher =
        config.stats_matcher.as_ref().map(|matcher| stats_matcher(matcher, &path.field("stats_matcher")));
    let buckets = buckets(&config.histogram_bucket_settings, &path.field("histogram_bucket_settings"))?;
    Ok(StoreOptions { tags, matcher: matcher.transpose()?.unwrap_or_default(), buckets })
}

fn tag_rules(config: &StatsConfig, options: &Options, path: &ConfigPath) -> Result<TagRules, BuildError> {
    let mut specifiers: Vec<_> = config.stats_tags.iter().map(tag).collect();
    for tag in &options.stats_tag {
        specifiers.push(command_line_tag(tag)?);
    }
    let rules = TagRules::new(config.use_all_default_tags_or_default(), &specifiers);
    rules.map_err(|error| BuildError::at(path.clone(), error.to_string()))
}

fn tag(config: &TagConfig) -> TagSpecifier {
    let value = match (&config.regex, &config.fixed_value) {
        (_, Some(fixed)) => TagValue::Fixed(fixed.clone()),
        (Some(regex), None) if !regex.is_empty() => TagValue::Regex(regex.clone()),
        _ => TagValue::Default,
    };
    TagSpecifier { tag_name: config.tag_name.clone(), value }
}

/// `--stats-tag name:value`.
fn command_line_tag(text: &str) -> Result<TagSpecifier, BuildError> {
    let split = text.split_once(':').filter(|(name, value)| {
        !name.is_empty()
            && name.chars().all(char::is_alphanumeric)
            && !value.is_empty()
            && !value.contains('.')
    });
    let Some((name, value)) = split else {
        let form = "must be of the form tag:value, the tag alphanumeric, the value without a dot";
        return Err(BuildError::new(format!("--stats-tag {text:?} {form}")));
    };
    Ok(TagSpecifier { tag_name: name.to_owned(), value: TagValue::Fixed(value.to_owned()) })
}

fn stats_matcher(config: &MatcherConfig, path: &ConfigPath) -> Result<StatsMatcher, BuildError> {
    let patterns = |list: &[StringMatcher], field: &str| {
        let at = |index| path.field(field).field("patterns").index(index);
        list.iter()
            .enumerate()
            .map(|(index, matcher)| pattern(matcher, &at(index)))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(match config {
        MatcherConfig::RejectAll(true) => StatsMatcher::RejectAll,
        MatcherConfig::RejectAll(false) => StatsMatcher::AcceptAll,
        MatcherConfig::InclusionList(list) => {
            StatsMatcher::Include(patterns(&list.patterns, "inclusion_list")?)
        }
        MatcherConfig::ExclusionList(list) => {
            StatsMatcher::Exclude(patterns(&list.patterns, "exclusion_list")?)
        }
    })
}

fn buckets(config: &[HistogramBucketSettings], path: &ConfigPath) -> Result<BucketSettings, BuildError> {
    let bounds = |(index, settings): (usize, &HistogramBucketSettings)| {
        let at = path.index(index);
        let names = pattern(&settings.matcher, &at.field("match"))?;
        let mut bounds = settings.buckets.clone();
        bounds.sort_by(f64::total_cmp);
        Ok(BucketBounds { names, bounds })
    };
    Ok(BucketSettings::new(config.iter().enumerate().map(bounds).collect::<Result<_, _>>()?))
}

fn pattern(config: &StringMatcher, path: &ConfigPath) -> Result<NamePattern, BuildError> {
    let text = |text: &String| Text::new(text, config.ignore_case);
    let StringMatcher { exact, prefix, suffix, safe_regex, contains, .. } = config;
    Ok(match (exact, prefix, suffix, contains, safe_regex) {
        (Some(exact), ..) => NamePattern::Exact(text(exact)),
        (_, Some(prefix), ..) => NamePattern::Prefix(text(prefix)),
        (_, _, Some(suffix), ..) => NamePattern::Suffix(text(suffix)),
        (_, _, _, Some(contains), _) => NamePattern::Contains(text(contains)),
        (.., Some(regex)) => NamePattern::regex(&regex.regex).map_err(|error| {
            BuildError::at(
                path.field("safe_regex").field("regex"),
                format!("not a regular expression: {error}"),
            )
        })?,
        _ => {
            return Err(BuildError::at(
                path.clone(),
                "one of exact, prefix, suffix, contains, safe_regex is required",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_of_the_command_line_has_a_name_and_a_value() {
        assert!(command_line_tag("zone:a").is_ok());
        for wrong in ["zone", ":a", "zone:", "zo.ne:a", "zone:a.b"] {
            assert!(command_line_tag(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bounds_may_come_in_any_order() {
        let matcher = StringMatcher { prefix: Some("cluster.".into()), ..StringMatcher::default() };
        let settings = HistogramBucketSettings { matcher, buckets: vec![2.0, 1.0] };
        let read = buckets(&[settings], &ConfigPath::root()).unwrap();
        assert!(format!("{read:?}").contains("[1.0, 2.0]"), "{read:?}");
    }
}
