//! Messages of third parties: what an extension's configuration looks like in protobuf's binary form.
//!
//! A crate with `.proto` files of its own registers what `protoc` makes of them, and its messages are decoded from binary `Any`
//! like Envoy's own. A crate without reaches the same with `xds.type.v3.TypedStruct`, which carries its field names.
//!
//! ```ignore
//! // protoc --include_imports --descriptor_set_out=src/greeter.binpb greeter.proto
//! inventory::submit! {
//!     Descriptors { provider: env!("CARGO_PKG_NAME"), file_descriptor_set: include_bytes!("greeter.binpb") }
//! }
//! ```

use std::{collections::BTreeMap, fmt::Write as _, sync::OnceLock};

use super::wire::{Field, Payload, last, parse};

/// What a crate submits to inventory so that its messages can be decoded from bytes.
pub struct Descriptors {
    /// The crate, for errors.
    pub provider: &'static str,
    /// A serialized `google.protobuf.FileDescriptorSet`. What it imports need not be in it if it is Envoy's or Google's.
    pub file_descriptor_set: &'static [u8],
}

inventory::collect!(Descriptors);

impl Descriptors {
    /// Whether all that are linked can be read.
    ///
    /// # Errors
    /// Whose cannot, and why.
    pub fn check() -> Result<(), String> {
        for descriptors in inventory::iter::<Self> {
            let mut blocks = BTreeMap::new();
            files(descriptors.file_descriptor_set, &mut blocks).map_err(|why| {
                format!("the descriptors of {} cannot be read: {why}", descriptors.provider)
            })?;
        }
        Ok(())
    }
}

/// Messages and enums of all crates that are linked, in the form of Envoy's table. Of two with one name, the first counts: an
/// import is in many sets.
pub(super) fn table() -> &'static str {
    static TABLE: OnceLock<String> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut blocks = BTreeMap::new();
        for descriptors in inventory::iter::<Descriptors> {
            // Sets that cannot be read are refused at the start.
            let _ = files(descriptors.file_descriptor_set, &mut blocks);
        }
        blocks.into_iter().fold(String::new(), |table, (heading, lines)| table + &heading + "\n" + &lines)
    })
}

/// By heading.
type Blocks = BTreeMap<String, String>;

/// `google/protobuf/descriptor.proto`, as far as it matters: `FileDescriptorSet`.
fn files(set: &[u8], blocks: &mut Blocks) -> Result<(), String> {
    for file in messages(&parse(set)?, 1)? {
        let file = parse(file)?;
        let package = text(&file, 2)?;
        for message in messages(&file, 4)? {
            message_type(package, message, blocks)?;
        }
        for enumeration in messages(&file, 5)? {
            enum_type(package, enumeration, blocks)?;
        }
    }
    Ok(())
}

/// `DescriptorProto`.
fn message_type(scope: &str, message: &[u8], blocks: &mut Blocks) -> Result<(), String> {
    let message = parse(message)?;
    let name = qualified(scope, text(&message, 1)?);
    let mut maps = BTreeMap::new();
    for nested in messages(&message, 3)? {
        let fields = parse(nested)?;
        let options = messages(&fields, 7)?.pop().map(parse).transpose()?.unwrap_or_default();
        if matches!(last(&options, 7), Some(Payload::Varint(1))) {
            maps.insert(qualified(&name, text(&fields, 1)?), messages(&fields, 2)?);
        } else {
            message_type(&name, nested, blocks)?;
        }
    }
    for enumeration in messages(&message, 4)? {
        enum_type(&name, enumeration, blocks)?;
    }
    let oneofs = messages(&message, 8)?;
    let mut lines = String::new();
    for field in messages(&message, 2)? {
        let field = parse(field)?;
        let (Some(number), Some(of)) = (number(&field, 3), field_type(&field)?) else { continue };
        let map = maps.get(&type_name(&field)?);
        let kind = match map {
            Some(pair) => {
                let part = |at: usize| pair.get(at).map(|part| parse(part)).transpose();
                let of = |part: Option<Vec<Field<'_>>>| part.map(|part| field_type(&part)).transpose();
                let (Some(Some(key)), Some(Some(value))) = (of(part(0)?)?, of(part(1)?)?) else { continue };
                format!("map {key} {value}")
            }
            // LABEL_REPEATED
            None if self::number(&field, 4) == Some(3) => format!("repeated {of}"),
            None => of,
        };
        // The oneof of a proto3 `optional` field is made up.
        let oneof = self::number(&field, 9).filter(|_| self::number(&field, 17) != Some(1));
        let oneof = oneof.and_then(|at| oneofs.get(usize::try_from(at).ok()?));
        let oneof = oneof.map(|oneof| Ok::<_, String>(text(&parse(oneof)?, 1)?.to_owned())).transpose()?;
        let oneof = oneof.map(|name| format!(" oneof {name}")).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(lines, " {number} {} {kind}{oneof}", text(&field, 1)?);
    }
    blocks.entry(name).or_insert(lines);
    Ok(())
}

/// `EnumDescriptorProto`.
fn enum_type(scope: &str, enumeration: &[u8], blocks: &mut Blocks) -> Result<(), String> {
    let enumeration = parse(enumeration)?;
    let mut lines = String::new();
    for value in messages(&enumeration, 2)? {
        let value = parse(value)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "enums are 32 bits wide, whatever the wire holds"
        )]
        let number = number(&value, 2).unwrap_or(0) as i32;
        let _ = writeln!(lines, " {number} {}", text(&value, 1)?);
    }
    blocks.entry(qualified(scope, text(&enumeration, 1)?) + " enum").or_insert(lines);
    Ok(())
}

/// The type of a `FieldDescriptorProto` in the words of the table; groups have none.
fn field_type(field: &[Field<'_>]) -> Result<Option<String>, String> {
    let scalar = match number(field, 5) {
        Some(1) => "double",
        Some(2) => "float",
        Some(3) => "int64",
        Some(4) => "uint64",
        Some(5) => "int32",
        Some(6) => "fixed64",
        Some(7) => "fixed32",
        Some(8) => "bool",
        Some(9) => "string",
        Some(11) => return type_name(field).map(Some),
        Some(12) => "bytes",
        Some(13) => "uint32",
        Some(14) => return Ok(Some(format!("enum {}", type_name(field)?))),
        Some(15) => "sfixed32",
        Some(16) => "sfixed64",
        Some(17) => "sint32",
        Some(18) => "sint64",
        _ => return Ok(None),
    };
    Ok(Some(scalar.to_owned()))
}

/// `type_name`, which begins with a dot.
fn type_name(field: &[Field<'_>]) -> Result<String, String> {
    Ok(text(field, 6)?.trim_start_matches('.').to_owned())
}

fn qualified(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

fn messages<'b>(fields: &[Field<'b>], number: u32) -> Result<Vec<&'b [u8]>, String> {
    let of_number = fields.iter().filter(|field| field.number == number);
    let bytes = of_number.map(|field| match field.payload {
        Payload::Bytes(bytes) => Ok(bytes),
        _ => Err(format!("field {number} is no message")),
    });
    bytes.collect()
}

fn text<'b>(fields: &[Field<'b>], number: u32) -> Result<&'b str, String> {
    match last(fields, number) {
        None => Ok(""),
        Some(Payload::Bytes(bytes)) => std::str::from_utf8(bytes).map_err(|error| error.to_string()),
        Some(_) => Err(format!("field {number} is no text")),
    }
}

fn number(fields: &[Field<'_>], number: u32) -> Option<u64> {
    match last(fields, number) {
        Some(Payload::Varint(value)) => Some(value),
        _ => None,
    }
}
