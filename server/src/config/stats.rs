//! Which stats there are and how they are tagged: `envoy.config.metrics.v3.StatsConfig`.

use serde::Deserialize;
use underpass_core::matcher::StringMatcher;

/// `envoy.config.metrics.v3.StatsConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StatsConfig {
    /// Tags beside the usual ones.
    pub stats_tags: Vec<TagSpecifier>,
    /// Whether Envoy's usual tags are extracted; yes by default.
    pub use_all_default_tags: Option<bool>,
    /// Which stats exist at all; absent, all of them.
    pub stats_matcher: Option<StatsMatcher>,
    /// Buckets of histograms, for Prometheus; the first entry that matches counts.
    pub histogram_bucket_settings: Vec<HistogramBucketSettings>,
}

impl StatsConfig {
    /// `use_all_default_tags`, yes by default.
    pub fn use_all_default_tags_or_default(&self) -> bool {
        self.use_all_default_tags.unwrap_or(true)
    }
}

/// `envoy.config.metrics.v3.TagSpecifier`. At most one of the values is set; without one the name is that of a usual tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TagSpecifier {
    /// The tag's name.
    pub tag_name: String,
    /// Its first group is cut out of a stat's name; the second group, or the first if there is no other, is the value.
    pub regex: Option<String>,
    /// The value, the same for all stats.
    pub fixed_value: Option<String>,
}

/// `envoy.config.metrics.v3.StatsMatcher`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatsMatcher {
    /// Whether there are no stats.
    RejectAll(bool),
    /// All but these.
    ExclusionList(ListStringMatcher),
    /// Only these.
    InclusionList(ListStringMatcher),
}

/// `envoy.type.matcher.v3.ListStringMatcher`: one of the patterns is enough.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ListStringMatcher {
    /// The patterns.
    pub patterns: Vec<StringMatcher>,
}

/// `envoy.config.metrics.v3.HistogramBucketSettings`.
#[derive(Debug, Clone, Deserialize)]
pub struct HistogramBucketSettings {
    /// Which histograms.
    #[serde(rename = "match")]
    pub matcher: StringMatcher,
    /// The upper bounds.
    #[serde(default)]
    pub buckets: Vec<f64>,
}
