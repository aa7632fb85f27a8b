//! Conditions on texts, numbers, headers and metadata, as configurations state them (`envoy.type.matcher.v3` and
//! `envoy.config.route.v3.HeaderMatcher`).
//!
//! Each of them is read from a config and ready to match: what cannot match, such as a broken regex, is
//! reported with its place while the file is read.

mod header;
mod metadata;
mod string;
mod substitution;
mod value;

pub use self::{
    header::HeaderMatcher,
    metadata::{MetadataMatcher, PathSegment},
    string::{RegexMatcher, StringMatcher},
    substitution::RegexMatchAndSubstitute,
    value::{DoubleMatcher, DoubleRange, ListMatcher, NullMatch, OrMatcher, ValueMatcher},
};
