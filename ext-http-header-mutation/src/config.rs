//! The messages of the filter.

use serde::Deserialize;
use underpass_core::{
    config::{AppendAction, HeaderValueOption, NonEmptyString, Value},
    matcher::StringMatcher,
};

/// `envoy.extensions.filters.http.header_mutation.v3.HeaderMutation`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct HeaderMutation {
    /// What is changed of every request and its answer.
    pub mutations: Option<Mutations>,
    /// Whether the most specific of the route's levels goes last.
    pub most_specific_header_mutations_wins: bool,
}

/// `HeaderMutationPerRoute`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct HeaderMutationPerRoute {
    /// What is changed here, besides.
    pub mutations: Option<Mutations>,
}

/// `Mutations`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Mutations {
    /// Of a request's headers.
    pub request_mutations: Vec<Mutation>,
    /// Of the parameters in its path.
    pub query_parameter_mutations: Vec<KeyValueMutation>,
    /// Of an answer's headers.
    pub response_mutations: Vec<Mutation>,
    /// Of its trailers.
    pub response_trailers_mutations: Vec<Mutation>,
    /// Of a request's trailers.
    pub request_trailers_mutations: Vec<Mutation>,
}

/// `envoy.config.common.mutation_rules.v3.HeaderMutation`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mutation {
    /// Removes a header.
    Remove(NonEmptyString),
    /// Adds or changes a header.
    Append(HeaderValueOption),
    /// Removes headers by their names.
    RemoveOnMatch(RemoveOnMatch),
}

/// `HeaderMutation.RemoveOnMatch`.
#[derive(Debug, Deserialize)]
pub struct RemoveOnMatch {
    /// Which names.
    pub key_matcher: StringMatcher,
}

/// `envoy.config.core.v3.KeyValueMutation`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct KeyValueMutation {
    /// Adds or changes a parameter.
    pub append: Option<KeyValueAppend>,
    /// Removes a parameter.
    pub remove: String,
}

/// `envoy.config.core.v3.KeyValueAppend`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct KeyValueAppend {
    /// The parameter.
    pub record: Option<KeyValuePair>,
    /// What happens if it is there already.
    pub action: AppendAction,
}

/// `envoy.config.core.v3.KeyValuePair`.
#[derive(Debug, Deserialize)]
pub struct KeyValuePair {
    /// The name.
    pub key: NonEmptyString,
    /// The value: a text, perhaps with command operators in it.
    #[serde(default)]
    pub value: Option<Value>,
}
