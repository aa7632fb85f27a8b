//! What a request to `/stats` asks for.

use regex::Regex;

use crate::stats::Stat;

/// What a request to `/stats` asks for. The default asks for everything as text.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// `format`.
    pub format: Format,
    /// `usedonly`: only stats that were ever written.
    pub used_only: bool,
    /// `filter`: only stats in whose full name the regex is found.
    pub filter: Option<Regex>,
    /// `invert_filter`: only stats in whose full name it is not found.
    pub invert_filter: bool,
    /// `type`; the Prometheus format shows all types, as in Envoy.
    pub kind: StatKind,
    /// `histogram_buckets`.
    pub buckets: HistogramBuckets,
    /// `text_readouts`: show them to Prometheus, as gauges that are zero.
    pub text_readouts: bool,
}

/// How the stats are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `name: value`.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// Prometheus' text format.
    Prometheus,
}

impl Format {
    /// The content type of the response.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text | Self::Prometheus => "text/plain; charset=UTF-8",
            Self::Json => "application/json",
        }
    }
}

/// Which stats are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatKind {
    /// All of them.
    #[default]
    All,
    /// Counters.
    Counters,
    /// Gauges.
    Gauges,
    /// Histograms.
    Histograms,
    /// Text readouts.
    TextReadouts,
}

impl StatKind {
    /// Whether stats of the other kind are shown too.
    pub(super) fn shows(self, kind: Self) -> bool {
        self == Self::All || self == kind
    }
}

/// How histograms are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HistogramBuckets {
    /// Quantiles as text and JSON, cumulative buckets for Prometheus.
    #[default]
    Unset,
    /// Buckets, each with all that lies below its bound.
    Cumulative,
    /// Buckets, each with what lies between the bound before and its own.
    Disjoint,
    /// The bins as they are kept, and the quantiles.
    Detailed,
    /// Quantiles.
    Summary,
}

/// Why a query cannot be answered. The text is the body of a response with status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// `format` is not one of ours.
    #[error("usage: /stats?format=(json|prometheus|text)\n")]
    Format,
    /// `type` is not a kind of stats.
    #[error("invalid &type= param")]
    Kind,
    /// `filter` is no regex.
    #[error("Invalid re2 regex: {0}")]
    Filter(String),
    /// `histogram_buckets` is not one of ours.
    #[error("usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n")]
    Buckets,
    /// Prometheus does not know this kind of buckets.
    #[error("unsupported prometheus histogram bucket mode")]
    PrometheusBuckets,
}

impl Query {
    /// Reads the decoded parameters of a URL. Unknown ones are ignored, and of one that comes twice the first counts.
    pub fn parse<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, QueryError> {
        let parameters: Vec<_> = parameters.into_iter().collect();
        let value =
            |name| parameters.iter().find(|parameter| parameter.0 == name).map(|parameter| parameter.1);
        let query = Self {
            format: value("format").map_or(Ok(Format::Text), format)?,
            used_only: value("usedonly").is_some(),
            filter: value("filter").map(filter).transpose()?,
            invert_filter: value("invert_filter").is_some(),
            kind: value("type").map_or(Ok(StatKind::All), kind)?,
            buckets: value("histogram_buckets").map_or(Ok(HistogramBuckets::Unset), buckets)?,
            text_readouts: value("text_readouts").is_some(),
        };
        Ok(query)
    }

    /// Whether a stat is shown.
    pub(super) fn shows<V>(&self, stat: &Stat<V>) -> bool {
        let found =
            self.filter.as_ref().is_none_or(|regex| regex.is_match(stat.name.as_str()) != self.invert_filter);
        found && (stat.used || !self.used_only)
    }
}

fn format(value: &str) -> Result<Format, QueryError> {
    match value {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        "prometheus" => Ok(Format::Prometheus),
        _ => Err(QueryError::Format),
    }
}

fn filter(value: &str) -> Result<Regex, QueryError> {
    Regex::new(value).map_err(|error| QueryError::Filter(error.to_string()))
}

fn kind(value: &str) -> Result<StatKind, QueryError> {
    match value {
        "All" => Ok(StatKind::All),
        "Counters" => Ok(StatKind::Counters),
        "Gauges" => Ok(StatKind::Gauges),
        "Histograms" => Ok(StatKind::Histograms),
        "TextReadouts" => Ok(StatKind::TextReadouts),
        _ => Err(QueryError::Kind),
    }
}

fn buckets(value: &str) -> Result<HistogramBuckets, QueryError> {
    match value {
        "cumulative" => Ok(HistogramBuckets::Cumulative),
        "disjoint" => Ok(HistogramBuckets::Disjoint),
        "detailed" => Ok(HistogramBuckets::Detailed),
        "summary" | "none" => Ok(HistogramBuckets::Summary),
        _ => Err(QueryError::Buckets),
    }
}
