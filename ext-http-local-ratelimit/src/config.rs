//! The messages of the filter.

use serde::Deserialize;
use underpass_core::{
    config::{
        FractionalPercent, HeaderValueOption, MetadataKey, NonEmptyString, PositiveDuration, Ranged,
        RuntimeFractionalPercent, Value, known,
    },
    matcher::HeaderMatcher,
};
use underpass_http::route::config::QueryParameterMatcher;

/// `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`.
#[derive(Debug, Deserialize)]
pub struct LocalRateLimit {
    /// What its stats begin with.
    pub stat_prefix: NonEmptyString,
    /// With which status a request is refused: 429 unless an error is set.
    #[serde(default)]
    pub status: Option<HttpStatus>,
    /// The limit for all requests.
    #[serde(default)]
    pub token_bucket: Option<TokenBucket>,
    /// How many requests are looked at; none unless set.
    #[serde(default)]
    pub filter_enabled: Option<RuntimeFractionalPercent>,
    /// How many of those that are too many are refused; none unless set.
    #[serde(default)]
    pub filter_enforced: Option<RuntimeFractionalPercent>,
    /// Headers of requests that are too many and not refused.
    #[serde(default)]
    pub request_headers_to_add_when_not_enforced: Vec<HeaderValueOption>,
    /// Headers of the answer to refused ones.
    #[serde(default)]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Limits for requests of certain kinds.
    #[serde(default)]
    pub descriptors: Vec<LocalRateLimitDescriptor>,
    /// Of which kinds a request is.
    #[serde(default)]
    pub rate_limits: Vec<RateLimit>,
    /// Which `rate_limits` of routes count.
    #[serde(default)]
    pub stage: u32,
    /// Whether each connection has its own buckets.
    #[serde(default)]
    pub local_rate_limit_per_downstream_connection: bool,
    /// Whether answers tell the limit.
    #[serde(default)]
    pub enable_x_ratelimit_headers: XRateLimitHeaders,
    /// Whether the `rate_limits` of a virtual host count.
    #[serde(default)]
    pub vh_rate_limits: VhRateLimits,
    /// Whether requests with a limit of their own count for that of all as well; they do unless set.
    #[serde(default)]
    pub always_consume_default_token_bucket: Option<bool>,
    /// Whether a gRPC request is told `RESOURCE_EXHAUSTED` instead of `UNAVAILABLE`.
    #[serde(default)]
    pub rate_limited_as_resource_exhausted: bool,
    /// How many values that are not listed have a bucket at a time; 20 unless set.
    #[serde(default)]
    pub max_dynamic_descriptors: Option<Ranged<u32, 1, { u32::MAX as u64 }>>,
    /// Whether refused requests are told when to come again.
    #[serde(default)]
    pub enable_retry_after_header: bool,
}

/// `envoy.type.v3.HttpStatus`.
#[derive(Debug, Deserialize)]
pub struct HttpStatus {
    /// The code, by its name in Envoy or its number.
    pub code: StatusCode,
}

/// `envoy.type.v3.StatusCode`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "Value")]
pub struct StatusCode(pub http::StatusCode);

impl TryFrom<Value> for StatusCode {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let number = match &value {
            Value::Number(number) => Some(*number),
            Value::String(name) => known::enumeration("envoy.type.v3.StatusCode")
                .and_then(|codes| codes.number(name))
                .map(f64::from),
            _ => None,
        };
        let codes = (100_u16..600).find(|code| Some(f64::from(*code)) == number);
        let code = codes.and_then(|code| http::StatusCode::from_u16(code).ok());
        code.map(Self).ok_or_else(|| format!("{} is no HTTP status", value.to_json()))
    }
}

/// `envoy.type.v3.TokenBucket`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct TokenBucket {
    /// How many tokens it holds, and has at the start.
    #[serde(default)]
    pub max_tokens: u32,
    /// How many it gets; one unless set.
    #[serde(default)]
    pub tokens_per_fill: Option<Ranged<u32, 1, { u32::MAX as u64 }>>,
    /// In which time.
    pub fill_interval: PositiveDuration,
}

/// `envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor`.
#[derive(Debug, Deserialize)]
pub struct LocalRateLimitDescriptor {
    /// The kind of request.
    pub entries: Vec<DescriptorEntry>,
    /// Its limit.
    pub token_bucket: TokenBucket,
    /// Whether the limit is only counted.
    #[serde(default)]
    pub shadow_mode: bool,
}

/// `RateLimitDescriptor.Entry`.
#[derive(Debug, Clone, Deserialize)]
pub struct DescriptorEntry {
    /// The key.
    pub key: NonEmptyString,
    /// The value; without, each value has a bucket of its own.
    #[serde(default)]
    pub value: String,
}

/// `envoy.config.route.v3.RateLimit`.
#[derive(Debug, Deserialize)]
pub struct RateLimit {
    /// Not for this filter.
    #[serde(default)]
    pub stage: Option<u32>,
    /// Not for this filter.
    #[serde(default)]
    pub disable_key: String,
    /// What makes up the kind of a request, one entry each.
    pub actions: Vec<Action>,
    /// How many tokens a request takes.
    #[serde(default)]
    pub hits_addend: Option<HitsAddend>,
}

/// `RateLimit.HitsAddend`.
#[derive(Debug, Deserialize)]
pub struct HitsAddend {
    /// So many; one unless set.
    #[serde(default)]
    pub number: Option<Ranged<u64, 0, 1_000_000_000>>,
}

/// `RateLimit.Action`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The name of this process's cluster.
    SourceCluster(Empty),
    /// The route's cluster.
    DestinationCluster(Empty),
    /// A header.
    RequestHeaders(RequestHeaders),
    /// A query parameter.
    QueryParameters(QueryParameters),
    /// The client's address.
    RemoteAddress(Empty),
    /// A word.
    GenericKey(GenericKey),
    /// A word, if headers fulfil conditions.
    HeaderValueMatch(HeaderValueMatch),
    /// A value of dynamic metadata.
    DynamicMetadata(DynamicMetadata),
    /// A value of metadata.
    Metadata(MetadataValue),
    /// The client's network.
    MaskedRemoteAddress(MaskedRemoteAddress),
    /// A word, if query parameters fulfil conditions.
    QueryParameterValueMatch(QueryParameterValueMatch),
}

/// A message without fields.
#[derive(Debug, Deserialize)]
pub struct Empty {}

/// `RateLimit.Action.RequestHeaders`.
#[derive(Debug, Deserialize)]
pub struct RequestHeaders {
    /// The header.
    pub header_name: NonEmptyString,
    /// The entry's key.
    pub descriptor_key: NonEmptyString,
    /// Whether a request without is of the kind that the other actions say.
    #[serde(default)]
    pub skip_if_absent: bool,
}

/// `RateLimit.Action.QueryParameters`.
#[derive(Debug, Deserialize)]
pub struct QueryParameters {
    /// The parameter.
    pub query_parameter_name: NonEmptyString,
    /// The entry's key.
    pub descriptor_key: NonEmptyString,
    /// Whether a request without is of the kind that the other actions say.
    #[serde(default)]
    pub skip_if_absent: bool,
}

/// `RateLimit.Action.GenericKey`.
#[derive(Debug, Deserialize)]
pub struct GenericKey {
    /// The entry's value.
    pub descriptor_value: NonEmptyString,
    /// The value where command operators in it print nothing.
    #[serde(default)]
    pub default_value: String,
    /// The entry's key, by default `generic_key`.
    #[serde(default)]
    pub descriptor_key: String,
}

/// `RateLimit.Action.HeaderValueMatch`.
#[derive(Debug, Deserialize)]
pub struct HeaderValueMatch {
    /// The entry's value.
    pub descriptor_value: NonEmptyString,
    /// The value where command operators in it print nothing.
    #[serde(default)]
    pub default_value: String,
    /// The entry's key, by default `header_match`.
    #[serde(default)]
    pub descriptor_key: String,
    /// Whether the conditions are to hold or not to hold.
    #[serde(default)]
    pub expect_match: Option<bool>,
    /// The conditions.
    pub headers: Vec<HeaderMatcher>,
}

/// `RateLimit.Action.QueryParameterValueMatch`.
#[derive(Debug, Deserialize)]
pub struct QueryParameterValueMatch {
    /// The entry's value.
    pub descriptor_value: NonEmptyString,
    /// The value where command operators in it print nothing.
    #[serde(default)]
    pub default_value: String,
    /// The entry's key, by default `query_match`.
    #[serde(default)]
    pub descriptor_key: String,
    /// Whether the conditions are to hold or not to hold.
    #[serde(default)]
    pub expect_match: Option<bool>,
    /// The conditions.
    pub query_parameters: Vec<QueryParameterMatcher>,
}

/// `RateLimit.Action.DynamicMetaData`.
#[derive(Debug, Deserialize)]
pub struct DynamicMetadata {
    /// The entry's key.
    pub descriptor_key: NonEmptyString,
    /// Which value.
    pub metadata_key: MetadataKey,
    /// The value where there is none.
    #[serde(default)]
    pub default_value: String,
}

/// `RateLimit.Action.MetaData`.
#[derive(Debug, Deserialize)]
pub struct MetadataValue {
    /// The entry's key.
    pub descriptor_key: NonEmptyString,
    /// Which value.
    pub metadata_key: MetadataKey,
    /// The value where there is none.
    #[serde(default)]
    pub default_value: String,
    /// Of what.
    #[serde(default)]
    pub source: MetadataSource,
    /// Whether a request without is of the kind that the other actions say.
    #[serde(default)]
    pub skip_if_absent: bool,
}

/// `RateLimit.Action.MetaData.Source`, as far as it is implemented.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MetadataSource {
    /// Of the request.
    #[default]
    Dynamic,
    /// Of the route.
    RouteEntry,
}

/// `RateLimit.Action.MaskedRemoteAddress`.
#[derive(Debug, Deserialize)]
pub struct MaskedRemoteAddress {
    /// How many bits of an IPv4 address count; all unless set.
    #[serde(default)]
    pub v4_prefix_mask_len: Option<Ranged<u8, 0, 32>>,
    /// How many bits of an IPv6 address count; all unless set.
    #[serde(default)]
    pub v6_prefix_mask_len: Option<Ranged<u8, 0, 128>>,
}

/// `envoy.extensions.common.ratelimit.v3.XRateLimitHeadersRFCVersion`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum XRateLimitHeaders {
    /// They do not.
    #[default]
    #[serde(rename = "OFF")]
    Off,
    /// By `x-ratelimit-limit`, `x-ratelimit-remaining`, `x-ratelimit-reset`.
    #[serde(rename = "DRAFT_VERSION_03")]
    DraftVersion03,
}

/// `envoy.extensions.common.ratelimit.v3.VhRateLimitsOptions`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VhRateLimits {
    /// Where the route has none.
    #[default]
    Override,
    /// They do.
    Include,
    /// They do not.
    Ignore,
}

/// Of nothing, nothing.
pub(crate) const NEVER: FractionalPercent =
    FractionalPercent { numerator: 0, denominator: underpass_core::config::Denominator::Hundred };
