//! `stats_config`: from what the configuration says to the rules of the stats store.

use underpass_core::{
    build_context::BuildError,
    config::ConfigPath,
    stats::{BucketBounds, BucketSettings, StatsMatcher, StoreOptions, TagRules, TagSpecifier, TagValue},
};

use crate::{
    command_line::Options,
    config::{
        bootstrap::Bootstrap,
        stats::{
            HistogramBucketSettings, StatsConfig, StatsMatcher as MatcherConfig, TagSpecifier as TagConfig,
        },
    },
};

/// The rules of the store.
pub fn store_options(bootstrap: &Bootstrap, options: &Options) -> Result<StoreOptions, BuildError> {
    let config = &bootstrap.stats_config;
    let path = ConfigPath::root().field("stats_config");
    let tags = tag_rules(config, options, &path.field("stats_tags"))?;
    let matcher = config.stats_matcher.as_ref().map(stats_matcher).unwrap_or_default();
    Ok(StoreOptions { tags, matcher, buckets: buckets(&config.histogram_bucket_settings) })
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

fn stats_matcher(config: &MatcherConfig) -> StatsMatcher {
    match config {
        MatcherConfig::RejectAll(true) => StatsMatcher::RejectAll,
        MatcherConfig::RejectAll(false) => StatsMatcher::AcceptAll,
        MatcherConfig::InclusionList(list) => StatsMatcher::Include(list.patterns.clone()),
        MatcherConfig::ExclusionList(list) => StatsMatcher::Exclude(list.patterns.clone()),
    }
}

fn buckets(config: &[HistogramBucketSettings]) -> BucketSettings {
    let bounds = |settings: &HistogramBucketSettings| {
        let mut bounds = settings.buckets.clone();
        bounds.sort_by(f64::total_cmp);
        BucketBounds { names: settings.matcher.clone(), bounds }
    };
    BucketSettings::new(config.iter().map(bounds).collect())
}

#[cfg(test)]
mod tests {
    use underpass_core::matcher::StringMatcher;

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
        let matcher = StringMatcher::prefix("cluster.");
        let settings = HistogramBucketSettings { matcher, buckets: vec![2.0, 1.0] };
        let read = buckets(&[settings]);
        assert!(format!("{read:?}").contains("[1.0, 2.0]"), "{read:?}");
    }
}
