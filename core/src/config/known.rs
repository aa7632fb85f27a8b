//! What Envoy's API calls its messages, fields and enum values, and what it demands of them, whether or not this proxy
//! implements them.
//!
//! With it the reader of a configuration tells a misspelt field from one that Envoy has and this proxy lacks. The names are
//! vendored (`core/data/README.md` says from where) as one sorted text; the first look-up indexes its blocks, and a block
//! is parsed once, when it is first asked for.
//!
//! ```
//! use underpass_core::config::known;
//!
//! let listener = known::message("envoy.config.listener.v3.Listener").unwrap();
//! let field = listener.field("filterChains").unwrap();
//! assert_eq!(field.name, "filter_chains");
//! assert_eq!(field.kind, known::Kind::Repeated(known::Type::Message("envoy.config.listener.v3.FilterChain")));
//! ```

mod check;
mod constraint;
mod demand;
mod lists;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use super::descriptors;

pub use check::check;
pub use constraint::{Constraint, Constraints};
pub use lists::complete_lists;

const TABLE: &str = include_str!("../../data/envoy-api.txt");

/// The message with this full name (`envoy.config.core.v3.Address`, no leading dot), if Envoy has it.
pub fn message(name: &str) -> Option<Message> {
    find(name).filter(|block| !block.is_enum).map(Message)
}

/// The enum with this full name (`envoy.config.core.v3.TrafficDirection`), if Envoy has it.
pub fn enumeration(name: &str) -> Option<Enumeration> {
    find(name).filter(|block| block.is_enum).map(Enumeration)
}

/// The message with this full name, be it Envoy's or one that a crate has registered [descriptors](super::Descriptors) of.
pub(super) fn message_on_the_wire(name: &str) -> Option<Message> {
    message(name).or_else(|| find_in(third_party_blocks(), name).filter(|block| !block.is_enum).map(Message))
}

/// The same for enums.
pub(super) fn enumeration_on_the_wire(name: &str) -> Option<Enumeration> {
    enumeration(name)
        .or_else(|| find_in(third_party_blocks(), name).filter(|block| block.is_enum).map(Enumeration))
}

/// The full names of all messages, sorted.
pub fn message_names() -> impl Iterator<Item = &'static str> {
    blocks().iter().filter(|block| !block.is_enum).map(|block| block.name)
}

/// The JSON name of a protobuf field: `per_connection_buffer_limit_bytes` is `perConnectionBufferLimitBytes`.
///
/// Underscores go and the character after one is raised; digits stay, so `field_1` is `field1`
/// (<https://protobuf.dev/programming-guides/json/>, "Field names").
pub fn json_name(field: &str) -> String {
    json_name_chars(field).collect()
}

fn json_name_chars(field: &str) -> impl Iterator<Item = char> {
    let mut raise = false;
    field.chars().filter_map(move |letter| {
        if letter == '_' {
            raise = true;
            return None;
        }
        let letter = if raise { letter.to_ascii_uppercase() } else { letter };
        raise = false;
        Some(letter)
    })
}

/// A message of Envoy's API.
#[derive(Debug, Clone, Copy)]
pub struct Message(Block);

impl Message {
    /// The full name, without a leading dot.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The fields, in the order of the proto file.
    pub fn fields(&self) -> impl Iterator<Item = Field> + use<> {
        self.parsed().iter().copied()
    }

    fn parsed(self) -> &'static [Field] {
        self.0.fields.get_or_init(|| self.0.lines.lines().filter_map(Field::parse).collect())
    }

    /// The names of the oneofs of which Envoy demands that a member is set.
    pub fn required_oneofs(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.0.lines.lines().filter_map(|line| line.strip_prefix(" oneof ")?.strip_suffix(" required"))
    }

    /// The field that a configuration calls `name`, which may be the proto name (snake case) or the JSON name
    /// (lower camel case).
    pub fn field(&self, name: &str) -> Option<Field> {
        self.fields().find(|field| field.is_called(name))
    }

    /// The field with this number on the wire.
    pub fn field_numbered(&self, number: u32) -> Option<Field> {
        self.fields().find(|field| field.number == number)
    }
}

/// A field of a [`Message`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The proto name, in snake case.
    pub name: &'static str,
    /// The number on the wire.
    pub number: u32,
    /// What it holds.
    pub kind: Kind,
    /// The oneof it belongs to. A set member counts as set even at its zero value.
    pub oneof: Option<&'static str>,
    /// What Envoy demands of it.
    pub constraints: Constraints,
}

impl Field {
    /// Whether a configuration may call this field `name`: its proto name, or its JSON name.
    pub fn is_called(&self, name: &str) -> bool {
        // The first letter is the same in both forms, and most names differ in it already.
        self.name == name
            || (self.name.as_bytes().first() == name.as_bytes().first()
                && json_name_chars(self.name).eq(name.chars()))
    }

    fn parse(line: &'static str) -> Option<Self> {
        let mut words = Words(line.strip_prefix(' ')?);
        let number = words.next()?.parse().ok()?;
        let name = words.next()?;
        let kind = Kind::parse(&mut words)?;
        let oneof = words.next_if("oneof").and_then(|_| words.next());
        Some(Self { name, number, kind, oneof, constraints: Constraints::new(words.0) })
    }
}

/// The words of a line that are not read yet.
struct Words(&'static str);

impl Words {
    fn next_if(&mut self, expected: &str) -> Option<&'static str> {
        let (word, _) = self.0.split_once(' ')?;
        (word == expected).then(|| self.next()).flatten()
    }
}

impl Iterator for Words {
    type Item = &'static str;

    fn next(&mut self) -> Option<&'static str> {
        let (word, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

/// How often a field holds its [`Type`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// At most once.
    Single(Type),
    /// As a list.
    Repeated(Type),
    /// As the values of a map with keys of this scalar.
    Map(Scalar, Type),
}

impl Kind {
    /// The type of the value, of each element, or of each value of the map.
    pub fn value_type(self) -> Type {
        match self {
            Self::Single(single) => single,
            Self::Repeated(element) => element,
            Self::Map(_, value) => value,
        }
    }

    fn parse(words: &mut Words) -> Option<Self> {
        Some(match words.next()? {
            "repeated" => Self::Repeated(Type::parse(words.next()?, words)?),
            "map" => Self::Map(Scalar::parse(words.next()?)?, Type::parse(words.next()?, words)?),
            single => Self::Single(Type::parse(single, words)?),
        })
    }
}

/// The type of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A number, string, bool or bytes.
    Scalar(Scalar),
    /// A message, by full name; [`message`] has its fields.
    Message(&'static str),
    /// An enum, by full name; [`enumeration`] has its values.
    Enum(&'static str),
}

impl Type {
    fn parse(first: &'static str, rest: &mut Words) -> Option<Self> {
        match first {
            "enum" => rest.next().map(Self::Enum),
            message if message.contains('.') => Some(Self::Message(message)),
            scalar => Scalar::parse(scalar).map(Self::Scalar),
        }
    }
}

/// A protobuf scalar. Wire encodings are told apart (`sint32`, `fixed64`, …), as the binary form needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is protobuf's scalar of that name")]
pub enum Scalar {
    Bool,
    Bytes,
    Double,
    Fixed32,
    Fixed64,
    Float,
    Int32,
    Int64,
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
    String,
    Uint32,
    Uint64,
}

impl Scalar {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "bool" => Self::Bool,
            "bytes" => Self::Bytes,
            "double" => Self::Double,
            "fixed32" => Self::Fixed32,
            "fixed64" => Self::Fixed64,
            "float" => Self::Float,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "sfixed32" => Self::Sfixed32,
            "sfixed64" => Self::Sfixed64,
            "sint32" => Self::Sint32,
            "sint64" => Self::Sint64,
            "string" => Self::String,
            "uint32" => Self::Uint32,
            "uint64" => Self::Uint64,
            _ => return None,
        })
    }
}

/// An enum of Envoy's API.
#[derive(Debug, Clone, Copy)]
pub struct Enumeration(Block);

impl Enumeration {
    /// The full name, without a leading dot.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The values, name and number, in the order of the proto file. The first one is the default.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, i32)> + use<> {
        self.0.lines.lines().filter_map(|line| {
            let (number, name) = line.trim_start().split_once(' ')?;
            Some((name, number.parse().ok()?))
        })
    }

    /// The names of the values, in the order of the proto file.
    pub fn value_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.values().map(|(name, _)| name)
    }

    /// The number of the value with this name.
    pub fn number(&self, value_name: &str) -> Option<i32> {
        self.values().find(|(name, _)| *name == value_name).map(|(_, number)| number)
    }

    /// The name of the value with this number, the first one where several share it.
    pub fn value_name(&self, number: i32) -> Option<&'static str> {
        self.values().find(|(_, each)| *each == number).map(|(name, _)| name)
    }
}

/// One message or enum in [`TABLE`]: the words of its heading and its indented lines.
#[derive(Debug)]
struct Entry {
    name: &'static str,
    is_enum: bool,
    lines: &'static str,
    /// Those of a message, once they were asked for.
    fields: OnceLock<Box<[Field]>>,
    /// What to look at in a message, once one was checked.
    plan: OnceLock<check::Plan>,
}

type Block = &'static Entry;

fn find(name: &str) -> Option<Block> {
    find_in(blocks(), name)
}

fn find_in(blocks: &'static [Entry], name: &str) -> Option<Block> {
    blocks.binary_search_by_key(&name, |block| block.name).ok().map(|at| &blocks[at])
}

/// The blocks of [`TABLE`], sorted by name as the table is.
fn blocks() -> &'static [Entry] {
    static BLOCKS: OnceLock<Vec<Entry>> = OnceLock::new();
    BLOCKS.get_or_init(|| split(TABLE))
}

/// Those of linked crates.
fn third_party_blocks() -> &'static [Entry] {
    static BLOCKS: OnceLock<Vec<Entry>> = OnceLock::new();
    BLOCKS.get_or_init(|| {
        let mut blocks = split(descriptors::table());
        blocks.sort_by_key(|block| block.name);
        blocks
    })
}

fn split(mut rest: &'static str) -> Vec<Entry> {
    let mut blocks = Vec::new();
    while let Some((heading, after)) = rest.split_once('\n') {
        let length = after.split_inclusive('\n').take_while(|line| line.starts_with(' ')).map(str::len).sum();
        let (lines, next) = after.split_at(length);
        let (name, is_enum) = match heading.strip_suffix(" enum") {
            Some(name) => (name, true),
            None => (heading, false),
        };
        blocks.push(Entry { name, is_enum, lines, fields: OnceLock::new(), plan: OnceLock::new() });
        rest = next;
    }
    blocks
}
