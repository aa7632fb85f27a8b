//! The parts of protobuf's descriptors that the table is made from, and the constraints Envoy's protos attach to them.
//!
//! `prost-types` drops extensions of the options, and Envoy's constraints are such extensions (`validate.proto` of
//! protoc-gen-validate), so the few messages needed are written down here.

use prost::{Enumeration, Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub struct FileDescriptorSet {
    #[prost(message, repeated, tag = "1")]
    pub file: Vec<FileDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FileDescriptor {
    #[prost(string, tag = "2")]
    pub package: String,
    #[prost(message, repeated, tag = "4")]
    pub message_type: Vec<Descriptor>,
    #[prost(message, repeated, tag = "5")]
    pub enum_type: Vec<EnumDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Descriptor {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, repeated, tag = "2")]
    pub field: Vec<FieldDescriptor>,
    #[prost(message, repeated, tag = "3")]
    pub nested_type: Vec<Descriptor>,
    #[prost(message, repeated, tag = "4")]
    pub enum_type: Vec<EnumDescriptor>,
    #[prost(message, optional, tag = "7")]
    pub options: Option<MessageOptions>,
    #[prost(message, repeated, tag = "8")]
    pub oneof_decl: Vec<OneofDescriptor>,
}

impl Descriptor {
    /// Whether this is what protoc makes of a `map<key, value>`.
    pub fn is_map_entry(&self) -> bool {
        self.options.as_ref().is_some_and(|options| options.map_entry)
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct MessageOptions {
    #[prost(bool, tag = "7")]
    pub map_entry: bool,
    /// `validate.disabled`
    #[prost(bool, tag = "1071")]
    pub disabled: bool,
    /// `validate.ignored`
    #[prost(bool, tag = "1072")]
    pub ignored: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct OneofDescriptor {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub options: Option<OneofOptions>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OneofOptions {
    /// `validate.required`
    #[prost(bool, tag = "1071")]
    pub required: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct FieldDescriptor {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "3")]
    pub number: i32,
    #[prost(enumeration = "Label", tag = "4")]
    pub label: i32,
    #[prost(enumeration = "Type", tag = "5")]
    pub r#type: i32,
    #[prost(string, tag = "6")]
    pub type_name: String,
    #[prost(message, optional, tag = "8")]
    pub options: Option<FieldOptions>,
    #[prost(uint32, optional, tag = "9")]
    pub oneof_index: Option<u32>,
    #[prost(string, tag = "10")]
    pub json_name: String,
    #[prost(bool, tag = "17")]
    pub proto3_optional: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum Label {
    Unknown = 0,
    Optional = 1,
    Required = 2,
    Repeated = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum Type {
    Unknown = 0,
    Double = 1,
    Float = 2,
    Int64 = 3,
    Uint64 = 4,
    Int32 = 5,
    Fixed64 = 6,
    Fixed32 = 7,
    Bool = 8,
    String = 9,
    Group = 10,
    Message = 11,
    Bytes = 12,
    Uint32 = 13,
    Enum = 14,
    Sfixed32 = 15,
    Sfixed64 = 16,
    Sint32 = 17,
    Sint64 = 18,
}

#[derive(Clone, PartialEq, Message)]
pub struct FieldOptions {
    /// `validate.rules`
    #[prost(message, optional, tag = "1071")]
    pub rules: Option<FieldRules>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EnumDescriptor {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, repeated, tag = "2")]
    pub value: Vec<EnumValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EnumValue {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "2")]
    pub number: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct FieldRules {
    #[prost(message, optional, tag = "17")]
    pub message: Option<MessageRules>,
    #[prost(oneof = "TypeRules", tags = "1, 2, 3, 4, 5, 6, 13, 14, 15, 16, 18, 19, 20, 21, 22")]
    pub r#type: Option<TypeRules>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum TypeRules {
    #[prost(message, tag = "1")]
    Float(FloatRules),
    #[prost(message, tag = "2")]
    Double(DoubleRules),
    #[prost(message, tag = "3")]
    Int32(Int32Rules),
    #[prost(message, tag = "4")]
    Int64(Int64Rules),
    #[prost(message, tag = "5")]
    Uint32(Uint32Rules),
    #[prost(message, tag = "6")]
    Uint64(Uint64Rules),
    #[prost(message, tag = "13")]
    Bool(BoolRules),
    #[prost(message, tag = "14")]
    String(StringRules),
    #[prost(message, tag = "15")]
    Bytes(BytesRules),
    #[prost(message, tag = "16")]
    Enum(EnumRules),
    #[prost(message, boxed, tag = "18")]
    Repeated(Box<RepeatedRules>),
    #[prost(message, boxed, tag = "19")]
    Map(Box<MapRules>),
    #[prost(message, tag = "20")]
    Any(AnyRules),
    #[prost(message, tag = "21")]
    Duration(DurationRules),
    #[prost(message, tag = "22")]
    Timestamp(TimestampRules),
}

#[derive(Clone, PartialEq, Message)]
pub struct MessageRules {
    #[prost(bool, tag = "1")]
    pub skip: bool,
    #[prost(bool, tag = "2")]
    pub required: bool,
}

/// The rules of all numbers have the same shape.
macro_rules! number_rules {
    ($($rules:ident: $wire:ident $rust:ty;)*) => { $(
        #[derive(Clone, PartialEq, Message)]
        pub struct $rules {
            #[prost($wire, optional, tag = "1")]
            pub r#const: Option<$rust>,
            #[prost($wire, optional, tag = "2")]
            pub lt: Option<$rust>,
            #[prost($wire, optional, tag = "3")]
            pub lte: Option<$rust>,
            #[prost($wire, optional, tag = "4")]
            pub gt: Option<$rust>,
            #[prost($wire, optional, tag = "5")]
            pub gte: Option<$rust>,
            #[prost($wire, repeated, tag = "6")]
            pub r#in: Vec<$rust>,
            #[prost($wire, repeated, tag = "7")]
            pub not_in: Vec<$rust>,
            #[prost(bool, tag = "8")]
            pub ignore_empty: bool,
        }
    )* };
}

number_rules! {
    FloatRules: float f32;
    DoubleRules: double f64;
    Int32Rules: int32 i32;
    Int64Rules: int64 i64;
    Uint32Rules: uint32 u32;
    Uint64Rules: uint64 u64;
}

#[derive(Clone, PartialEq, Message)]
pub struct BoolRules {
    #[prost(bool, optional, tag = "1")]
    pub r#const: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct StringRules {
    #[prost(string, optional, tag = "1")]
    pub r#const: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub min_len: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub max_len: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    pub min_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    pub max_bytes: Option<u64>,
    #[prost(string, optional, tag = "6")]
    pub pattern: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub prefix: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub suffix: Option<String>,
    #[prost(string, repeated, tag = "10")]
    pub r#in: Vec<String>,
    #[prost(string, repeated, tag = "11")]
    pub not_in: Vec<String>,
    /// `KnownRegex`: 1 is the name of an HTTP header, 2 its value.
    #[prost(int32, tag = "24")]
    pub well_known_regex: i32,
    #[prost(bool, optional, tag = "25")]
    pub strict: Option<bool>,
    #[prost(bool, tag = "26")]
    pub ignore_empty: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct BytesRules {
    #[prost(uint64, optional, tag = "2")]
    pub min_len: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub max_len: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EnumRules {
    #[prost(bool, tag = "2")]
    pub defined_only: bool,
    #[prost(int32, repeated, tag = "3")]
    pub r#in: Vec<i32>,
    #[prost(int32, repeated, tag = "4")]
    pub not_in: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RepeatedRules {
    #[prost(uint64, optional, tag = "1")]
    pub min_items: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub max_items: Option<u64>,
    #[prost(bool, tag = "3")]
    pub unique: bool,
    #[prost(message, optional, boxed, tag = "4")]
    pub items: Option<Box<FieldRules>>,
    #[prost(bool, tag = "5")]
    pub ignore_empty: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct MapRules {
    #[prost(uint64, optional, tag = "1")]
    pub min_pairs: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub max_pairs: Option<u64>,
    #[prost(message, optional, boxed, tag = "4")]
    pub keys: Option<Box<FieldRules>>,
    #[prost(message, optional, boxed, tag = "5")]
    pub values: Option<Box<FieldRules>>,
    #[prost(bool, tag = "6")]
    pub ignore_empty: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct AnyRules {
    #[prost(bool, tag = "1")]
    pub required: bool,
    #[prost(string, repeated, tag = "2")]
    pub r#in: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub not_in: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DurationRules {
    #[prost(bool, tag = "1")]
    pub required: bool,
    #[prost(message, optional, tag = "2")]
    pub r#const: Option<Duration>,
    #[prost(message, optional, tag = "3")]
    pub lt: Option<Duration>,
    #[prost(message, optional, tag = "4")]
    pub lte: Option<Duration>,
    #[prost(message, optional, tag = "5")]
    pub gt: Option<Duration>,
    #[prost(message, optional, tag = "6")]
    pub gte: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Duration {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimestampRules {
    #[prost(bool, tag = "1")]
    pub required: bool,
}
