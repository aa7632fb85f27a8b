//! From protobuf's binary form, as control planes send it, to the same tree that a file becomes.
//!
//! The vendored table of Envoy's messages ([`known`]) says what the numbers on the wire mean, and for those of third parties
//! the descriptors that they register. Other messages can only come as `xds.type.v3.TypedStruct`, which carries its field names.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

mod fields;
mod scalars;
mod shape;
mod well_known;

use std::{cell::RefCell, collections::HashMap, fmt, rc::Rc, sync::Arc};

pub(super) use self::fields::{Field, Payload, last, parse};
use self::shape::{Shape, ShapeField};
use super::{
    ConfigPath, Entry, Mark, Node, NodeValue, Segment,
    known::{self, Kind, Type},
    merge,
    typed::type_name,
};

/// The depth at which protobuf's own decoders stop.
const MAX_DEPTH: usize = 100;

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// The way to the innermost message that could not be decoded.
    pub path: ConfigPath,
    /// The name of that message.
    pub message: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_root() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}: {}", self.message, self.problem)
    }
}

impl std::error::Error for DecodeError {}

/// Decodes the content of a `google.protobuf.Any`; the tree is the map that a file would have, `@type` first.
///
/// `source` stands in the place of a file name, and every node is at its first line.
///
/// # Errors
/// If the type is not in the table, or the bytes are not of that type.
pub fn decode_any(source: &str, type_url: &str, value: &[u8]) -> Result<Arc<Node>, DecodeError> {
    let shapes = Shapes::default();
    let decoder = Decoder { source: source.into(), shapes: &shapes };
    Ok(Arc::new(decoder.any(type_url, value, 0)?))
}

/// Decodes many messages, and learns on the way: each message is looked up once, and the names of fields are shared by
/// all trees.
#[derive(Debug, Default)]
pub struct MessageDecoder(Shapes);

impl MessageDecoder {
    /// Decodes a message by its full name; the tree is the map that a file would have, without `@type`.
    ///
    /// `source` stands in the place of a file name, and every node is at its first line.
    ///
    /// # Errors
    /// If the message is not in the table, or the bytes are not such a message.
    pub fn decode(&self, source: &str, message: &str, bytes: &[u8]) -> Result<Arc<Node>, DecodeError> {
        let decoder = Decoder { source: source.into(), shapes: &self.0 };
        Ok(Arc::new(decoder.message(message, bytes, 0)?))
    }
}

/// The messages that were met.
#[derive(Debug, Default)]
struct Shapes {
    by_message: RefCell<HashMap<&'static str, Rc<Shape>>>,
    keys: RefCell<HashMap<&'static str, Arc<str>>>,
}

impl Shapes {
    fn of(&self, message: &str) -> Option<Rc<Shape>> {
        if let Some(shape) = self.by_message.borrow().get(message) {
            return Some(Rc::clone(shape));
        }
        let message = known::message_on_the_wire(message)?;
        let shape = Rc::new(Shape::new(message, &mut self.keys.borrow_mut()));
        self.by_message.borrow_mut().insert(message.name(), Rc::clone(&shape));
        Some(shape)
    }
}

/// What is wrong, while the way back from it is taken.
#[derive(Debug)]
struct Fault {
    /// From the inside to the outside.
    segments: Vec<Segment>,
    message: String,
    problem: String,
}

impl Fault {
    fn new(message: &str, problem: impl Into<String>) -> Self {
        Self { segments: Vec::new(), message: message.to_owned(), problem: problem.into() }
    }

    fn within(mut self, segment: Segment) -> Self {
        self.segments.push(segment);
        self
    }

    fn at(self, field: &ShapeField, position: usize) -> Self {
        let element = match field.kind {
            Kind::Repeated(_) => self.within(Segment::Index(position)),
            Kind::Single(_) | Kind::Map(..) => self,
        };
        element.within(Segment::Field(Arc::clone(&field.key)))
    }
}

impl From<Fault> for DecodeError {
    fn from(fault: Fault) -> Self {
        let path =
            fault.segments.into_iter().rev().fold(ConfigPath::root(), |path, segment| path.join(segment));
        Self { path, message: fault.message, problem: fault.problem }
    }
}

struct Decoder<'d> {
    source: Arc<str>,
    shapes: &'d Shapes,
}

impl Decoder<'_> {
    fn any(&self, type_url: &str, value: &[u8], depth: usize) -> Result<Node, Fault> {
        let name = type_name(type_url);
        let mut entries = vec![entry("@type".into(), self.text(type_url))];
        let decoded = self.message(name, value, depth)?;
        match decoded.value {
            NodeValue::Map(fields) if !well_known::has_own_json(name) => entries.extend(fields),
            // As proto3 JSON writes an Any of a message that is no map there.
            _ => entries.push(entry("value".into(), decoded)),
        }
        Ok(self.node(NodeValue::Map(entries)))
    }

    fn message(&self, name: &str, bytes: &[u8], depth: usize) -> Result<Node, Fault> {
        let fail = |problem: &str| Fault::new(name, problem);
        if depth >= MAX_DEPTH {
            return Err(fail(&format!("more than {MAX_DEPTH} levels are nested here")));
        }
        let fields = parse(bytes).map_err(|problem| fail(&problem))?;
        if well_known::has_own_json(name) {
            return self.well_known(name, &fields, depth);
        }
        let shape = self.shapes.of(name).ok_or_else(|| {
            fail(
                "Envoy's API has no such message, and no crate has registered descriptors of it; \
                 it must come as xds.type.v3.TypedStruct",
            )
        })?;
        // One for each field that is there, with the field's number.
        let mut gathered: Vec<(u32, Entry)> = Vec::new();
        for field in &fields {
            let known = shape
                .field(field.number)
                .ok_or_else(|| fail(&format!("it has no field of number {}", field.number)))?;
            if known.oneof.is_some() {
                gathered.retain(|(other, _)| !shape.excludes(field.number, *other));
            }
            let present = gathered.iter().position(|(number, _)| *number == field.number);
            let position = present.map_or(0, |at| gathered[at].1.value.elements().len());
            let value = self.field(known, field.payload, depth).map_err(|fault| fault.at(known, position))?;
            let value = value.ok_or_else(|| {
                fail(&format!("the bytes of `{}` are not of the kind that the field has", known.key))
            })?;
            match present {
                None => gathered.push((field.number, entry(Arc::clone(&known.key), value))),
                Some(at) => append(known.kind, &mut gathered[at].1.value, value),
            }
        }
        Ok(self.node(NodeValue::Map(gathered.into_iter().map(|(_, entry)| entry).collect())))
    }

    /// One occurrence of a field: a value, or a list or map of one value. `None` if the bytes do not fit.
    fn field(&self, field: &ShapeField, payload: Payload<'_>, depth: usize) -> Result<Option<Node>, Fault> {
        match (field.kind, payload) {
            (Kind::Single(single), _) => self.value(single, payload, depth),
            (Kind::Repeated(element), Payload::Bytes(bytes)) if scalars::is_packable(element) => {
                let Some(payloads) = scalars::unpack(element, bytes) else { return Ok(None) };
                let nodes: Result<Option<Vec<_>>, _> = payloads
                    .into_iter()
                    .map(|payload| Ok(self.value(element, payload, depth)?.map(Arc::new)))
                    .collect();
                Ok(nodes?.map(|nodes| self.node(NodeValue::List(nodes))))
            }
            (Kind::Repeated(element), _) => {
                let element = self.value(element, payload, depth)?;
                Ok(element.map(|element| self.node(NodeValue::List(vec![Arc::new(element)]))))
            }
            (Kind::Map(key, value), Payload::Bytes(bytes)) => {
                self.map_entry(Type::Scalar(key), value, bytes, depth)
            }
            (Kind::Map(..), _) => Ok(None),
        }
    }

    fn value(&self, kind: Type, payload: Payload<'_>, depth: usize) -> Result<Option<Node>, Fault> {
        match (kind, payload) {
            (Type::Message(name), Payload::Bytes(bytes)) => self.message(name, bytes, depth + 1).map(Some),
            (Type::Enum(name), Payload::Varint(number)) => Ok(Some(self.enum_value(name, number))),
            (Type::Message(_) | Type::Enum(_), _) => Ok(None),
            (Type::Scalar(scalar), _) => Ok(scalars::value(scalar, payload).map(|value| self.node(value))),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "enums are 32 bits wide, whatever the wire holds")]
    fn enum_value(&self, name: &str, number: u64) -> Node {
        let number = number as i32;
        let name = known::enumeration_on_the_wire(name).and_then(|values| values.value_name(number));
        self.node(scalars::plain(name.map_or_else(|| number.to_string(), str::to_owned)))
    }

    /// A pair of a map is a message with the key as field 1 and the value as field 2.
    fn map_entry(&self, key: Type, value: Type, bytes: &[u8], depth: usize) -> Result<Option<Node>, Fault> {
        let Ok(fields) = parse(bytes) else { return Ok(None) };
        let key = match last(&fields, 1) {
            Some(payload) => self.value(key, payload, depth)?,
            None => scalars::default(key).map(|key| self.node(key)),
        };
        let value = match last(&fields, 2) {
            Some(payload) => self.value(value, payload, depth)?,
            None => match value {
                Type::Message(name) => Some(self.message(name, &[], depth + 1)?),
                other => scalars::default(other).map(|value| self.node(value)),
            },
        };
        let (Some(key), Some(value)) = (key, value) else { return Ok(None) };
        Ok(Some(self.node(NodeValue::Map(vec![entry(key.as_text().unwrap_or_default().into(), value)]))))
    }

    fn node(&self, value: NodeValue) -> Node {
        Node { file: Arc::clone(&self.source), mark: Mark { line: 1, column: 1 }, value }
    }

    fn text(&self, text: &str) -> Node {
        self.node(scalars::quoted(text))
    }
}

/// Takes in another occurrence of a field: lists go on, maps gain a key, messages are merged, and of scalars the last one
/// counts.
fn append(kind: Kind, present: &mut Arc<Node>, next: Node) {
    match (kind, &mut Arc::make_mut(present).value, next.value) {
        (Kind::Repeated(_), NodeValue::List(elements), NodeValue::List(more)) => elements.extend(more),
        (Kind::Map(..), NodeValue::Map(entries), NodeValue::Map(more)) => {
            for pair in more {
                insert(entries, pair);
            }
        }
        (_, _, value) => *present = merge(present, &Arc::new(Node { value, ..Node::clone(present) })),
    }
}

/// Of two pairs with one key, the last one counts.
fn insert(entries: &mut Vec<Entry>, pair: Entry) {
    match entries.iter_mut().find(|entry| entry.key == pair.key) {
        Some(entry) => *entry = pair,
        None => entries.push(pair),
    }
}

fn entry(key: Arc<str>, value: Node) -> Entry {
    Entry { key, mark: value.mark, value: Arc::new(value) }
}

#[cfg(test)]
mod tests;
