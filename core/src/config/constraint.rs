//! Field types that check what they hold, by the rules that Envoy states in its proto files.
//!
//! What they refuse is reported with its place, and reading goes on.

use std::{fmt, ops::Deref, time::Duration};

use serde::{Deserialize, Deserializer};

use super::reader::handoff::complain;

/// A text of at least one character (`min_len: 1`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NonEmptyString(String);

impl NonEmptyString {
    /// The text, unless it is empty.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty()).then_some(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for NonEmptyString {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NonEmptyString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NonEmptyString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            complain("value length must be at least 1 character".to_owned())?;
        }
        Ok(Self(text))
    }
}

/// A number from `MIN` to `MAX`, both included; `N` is any unsigned integer type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranged<N, const MIN: u64, const MAX: u64>(N);

impl<N: Copy + Into<u64>, const MIN: u64, const MAX: u64> Ranged<N, MIN, MAX> {
    /// The number, if it is in the range.
    pub fn new(number: N) -> Option<Self> {
        (MIN..=MAX).contains(&number.into()).then_some(Self(number))
    }

    /// The number.
    pub fn get(self) -> N {
        self.0
    }
}

impl<'de, N: Deserialize<'de> + Copy + Into<u64>, const MIN: u64, const MAX: u64> Deserialize<'de>
    for Ranged<N, MIN, MAX>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = N::deserialize(deserializer)?;
        if !(MIN..=MAX).contains(&number.into()) {
            complain(format!("value must be inside range [{MIN}, {MAX}], not {}", number.into()))?;
        }
        Ok(Self(number))
    }
}

/// A duration that is longer than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PositiveDuration(Duration);

impl PositiveDuration {
    /// The duration, unless it is zero.
    pub fn new(duration: Duration) -> Option<Self> {
        (!duration.is_zero()).then_some(Self(duration))
    }

    /// The duration.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl<'de> Deserialize<'de> for PositiveDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let duration = Duration::deserialize(deserializer)?;
        if duration.is_zero() {
            complain("value must be greater than 0s".to_owned())?;
        }
        Ok(Self(duration))
    }
}

/// The one field of a oneof that is set, for the validation of config types that write a oneof as `Option` fields.
///
/// ```
/// use underpass_core::config::one_of;
///
/// assert_eq!(one_of("cluster_specifier", &[("cluster", true), ("weighted_clusters", false)]), Ok(Some("cluster")));
/// assert_eq!(
///     one_of("cluster_specifier", &[("cluster", true), ("weighted_clusters", true)]).unwrap_err(),
///     "only one of cluster, weighted_clusters can be set (cluster_specifier)",
/// );
/// ```
///
/// # Errors
/// A message that names the fields, if more than one is set.
pub fn one_of<'f>(oneof: &str, fields: &[(&'f str, bool)]) -> Result<Option<&'f str>, String> {
    let set: Vec<&str> = fields.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    match set[..] {
        [] => Ok(None),
        [name] => Ok(Some(name)),
        _ => Err(format!("only one of {} can be set ({oneof})", set.join(", "))),
    }
}

/// As [`one_of`], for a oneof of which one field is required.
///
/// # Errors
/// A message that names the fields, unless exactly one is set.
pub fn required_one_of<'f>(oneof: &str, fields: &[(&'f str, bool)]) -> Result<&'f str, String> {
    one_of(oneof, fields)?.ok_or_else(|| {
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        format!("one of {} must be set ({oneof})", names.join(", "))
    })
}
