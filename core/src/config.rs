//! Reading a configuration: text → tree with places → typed messages, and everything that is wrong in one report.
//!
//! [`parse_yaml`] makes a tree of [`Node`]s, each of which knows its file, line and column; [`decode_any`] makes the
//! same of protobuf's binary form. A [`Reader`] reads any serde type out of it by the rules of proto3 JSON, and
//! resolves the typed configs of extensions on the way ([`TypedConfig`]). It also checks what Envoy demands of its
//! messages, whatever the Rust types say ([`known`]). The accepted tree is kept: `/config_dump` prints it, and its
//! hash tells whether something changed.
//!
//! # Config types
//! A config type derives `serde::Deserialize` and nothing else; `#[serde(default)]` on the struct makes its fields
//! optional, as fields of proto3 are. Names are those of Envoy's proto file; the reader accepts them in both styles.
//! What a message of yours demands of a value, a field type can say: [`NonEmptyString`], [`Ranged`],
//! [`PositiveDuration`]. Then:
//!
//! | proto | Rust |
//! |---|---|
//! | `string`, `uint32`, `bool`, … | `String`, `u32`, `bool`, … |
//! | `bytes` | [`ByteString`] |
//! | wrapper (`google.protobuf.UInt32Value`), message | `Option<…>` |
//! | `google.protobuf.Duration` | `Option<std::time::Duration>` |
//! | `google.protobuf.Struct`, `Value` | [`Struct`], [`Value`] |
//! | `google.protobuf.Any` of a category | [`TypedConfig`], [`ExtensionConfig`] with its name |
//! | enum | a Rust enum with `#[serde(rename_all = "SCREAMING_SNAKE_CASE")]` |
//! | oneof | one `Option` a member, checked with [`one_of`]; or, where the message is nothing else, a Rust enum |

pub mod known;
#[doc(hidden)]
pub mod typetag;

mod bytes;
mod constraint;
mod descriptors;
mod duration;
mod merge;
mod messages;
mod names;
mod node;
mod path;
mod reader;
mod report;
mod scalar;
mod typed;
mod value;
mod wire;
mod yaml;

pub use self::{
    bytes::ByteString,
    constraint::{NonEmptyString, PositiveDuration, Ranged, one_of, required_one_of},
    descriptors::Descriptors,
    merge::merge,
    messages::*,
    node::{Entry, Location, Mark, Node, NodeValue},
    path::{ConfigPath, Segment},
    reader::{Reader, Refused, TypedNode},
    report::{Diagnostic, Report, Severity},
    typed::{ExtensionConfig, OptionalTypedConfig, RawTypedConfig, TypedConfig},
    value::{Struct, Value},
    wire::{DecodeError, MessageDecoder, decode_any},
    yaml::{Document, parse_yaml},
};
pub(crate) use names::{nearest as nearest_name, nearest_type};
