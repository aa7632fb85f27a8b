//! Messages of `google.protobuf`.

use std::collections::BTreeMap;

use bytes::Bytes;
use underpass_core::config;

/// `google.protobuf.Any`. Its bytes are a part of the message that was received, not a copy.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    /// `type.googleapis.com/` and the full name of the message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Duration {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// The fraction, of the same sign.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Struct {
    /// The values by name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// What it is.
    #[prost(oneof = "value::Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<value::Kind>,
}

/// The kinds of a [`Value`].
pub mod value {
    use super::{ListValue, Struct};

    /// What a value is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        /// Nothing.
        #[prost(int32, tag = "1")]
        Null(i32),
        /// A number.
        #[prost(double, tag = "2")]
        Number(f64),
        /// A text.
        #[prost(string, tag = "3")]
        String(String),
        /// True or false.
        #[prost(bool, tag = "4")]
        Bool(bool),
        /// A map.
        #[prost(message, tag = "5")]
        Struct(Struct),
        /// A list.
        #[prost(message, tag = "6")]
        List(ListValue),
    }
}

/// `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListValue {
    /// Its elements.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

impl Duration {
    /// The time it says, if that is not negative.
    pub fn to_std(self) -> Option<std::time::Duration> {
        let (seconds, nanos) = (u64::try_from(self.seconds).ok()?, u32::try_from(self.nanos).ok()?);
        (nanos < 1_000_000_000).then(|| std::time::Duration::new(seconds, nanos))
    }
}

impl From<&config::Struct> for Struct {
    fn from(from: &config::Struct) -> Self {
        Self { fields: from.iter().map(|(name, value)| (name.clone(), value.into())).collect() }
    }
}

impl From<&config::Value> for Value {
    fn from(from: &config::Value) -> Self {
        let kind = match from {
            config::Value::Null => value::Kind::Null(0),
            config::Value::Bool(value) => value::Kind::Bool(*value),
            config::Value::Number(value) => value::Kind::Number(*value),
            config::Value::String(value) => value::Kind::String(value.clone()),
            config::Value::List(values) => {
                value::Kind::List(ListValue { values: values.iter().map(Self::from).collect() })
            }
            config::Value::Struct(values) => value::Kind::Struct(values.into()),
        };
        Self { kind: Some(kind) }
    }
}
