//! Percentages, ranges, and values that the runtime can override (`envoy/type/v3`, `envoy/config/core/v3/base.proto`).

use serde::Deserialize;

/// `envoy.type.v3.Percent`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Percent {
    /// From 0 to 100.
    pub value: f64,
}

/// `envoy.type.v3.FractionalPercent`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FractionalPercent {
    /// How many out of the denominator.
    pub numerator: u32,
    /// Out of how many.
    pub denominator: Denominator,
}

/// `FractionalPercent.DenominatorType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Denominator {
    /// 100.
    #[default]
    Hundred,
    /// 10,000.
    TenThousand,
    /// 1,000,000.
    Million,
}

impl FractionalPercent {
    /// The fraction, from 0 to 1; what is more than everything counts as everything.
    pub fn fraction(self) -> f64 {
        let denominator = match self.denominator {
            Denominator::Hundred => 100.0,
            Denominator::TenThousand => 10_000.0,
            Denominator::Million => 1_000_000.0,
        };
        (f64::from(self.numerator) / denominator).min(1.0)
    }
}

/// `envoy.config.core.v3.RuntimeFractionalPercent`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RuntimeFractionalPercent {
    /// The value unless the runtime says otherwise.
    pub default_value: FractionalPercent,
    /// The key that overrides it.
    pub runtime_key: String,
}

/// `envoy.config.core.v3.RuntimeUInt32`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RuntimeUInt32 {
    /// The value unless the runtime says otherwise.
    pub default_value: u32,
    /// The key that overrides it.
    pub runtime_key: String,
}

/// `envoy.config.core.v3.RuntimeDouble`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RuntimeDouble {
    /// The value unless the runtime says otherwise.
    pub default_value: f64,
    /// The key that overrides it.
    pub runtime_key: String,
}

/// `envoy.config.core.v3.RuntimeFeatureFlag`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RuntimeFeatureFlag {
    /// The value unless the runtime says otherwise.
    pub default_value: Option<bool>,
    /// The key that overrides it.
    pub runtime_key: String,
}

/// `envoy.type.v3.Int64Range`: from `start`, included, to `end`, not included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Int64Range {
    /// The first number of the range.
    pub start: i64,
    /// The first number after the range.
    pub end: i64,
}
