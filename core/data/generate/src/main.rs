//! Writes the table of Envoy's API names that `underpass-core` carries.
//!
//! Reads the `FileDescriptorSet` that the `envoy-types` package ships and prints, sorted by name, each message with its
//! fields and their constraints, and each enum with its values, as far as a configuration can name them. `../README.md`
//! describes the format.
//!
//! `cargo run` rewrites `../envoy-api.txt`; `cargo run -- --check` fails if it would change.

mod constraint;
mod descriptor;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use prost::Message as _;

use descriptor::{
    Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptorSet, Label, OneofDescriptor, Type,
};

/// What a configuration names directly, by `@type` or as the file itself; everything these refer to follows.
const ROOTS: [&str; 7] = [
    "envoy.config.",
    "envoy.extensions.",
    "envoy.type.",
    "envoy.watchdog.",
    "envoy.service.discovery.v3.",
    "xds.core.",
    "xds.type.",
];

/// Published in protos that `envoy-types` leaves out (<https://github.com/cncf/xds>), equal in both packages.
const TYPED_STRUCTS: [&str; 2] = ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"];
const TYPED_STRUCT_FIELDS: &str = " 1 type_url string\n 2 value google.protobuf.Struct\n";

fn main() -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = here.join("../envoy-api.txt");
    let table = Api::read(&descriptor_set(here)?)?.print()?;
    match std::env::args().nth(1).as_deref() {
        None => std::fs::write(&target, table).with_context(|| format!("writing {}", target.display())),
        Some("--check") => {
            let vendored = std::fs::read_to_string(&target)?;
            ensure!(
                vendored == table,
                "{} is not what the descriptors say; run without --check",
                target.display()
            );
            Ok(())
        }
        Some(other) => bail!("unknown argument {other:?}; only --check is known"),
    }
}

/// The descriptors, from wherever cargo keeps the source of `envoy-types`.
fn descriptor_set(here: &Path) -> Result<FileDescriptorSet> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--all-features", "--locked", "--manifest-path"])
        .arg(here.join("Cargo.toml"))
        .output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "envoy-types")
        .and_then(|package| package["manifest_path"].as_str())
        .context("cargo metadata does not list envoy-types")?;
    let file = PathBuf::from(manifest).with_file_name("src/generated/types.bin");
    let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    Ok(FileDescriptorSet::decode(bytes.as_slice())?)
}

/// Every message and enum of a descriptor set, by full name without the leading dot.
#[derive(Default)]
struct Api {
    messages: BTreeMap<String, Descriptor>,
    enums: BTreeMap<String, EnumDescriptor>,
}

impl Api {
    fn read(set: &FileDescriptorSet) -> Result<Self> {
        let mut api = Self::default();
        for file in &set.file {
            for message in &file.message_type {
                api.add(&file.package, message);
            }
            api.add_enums(&file.package, &file.enum_type);
        }
        for name in TYPED_STRUCTS {
            ensure!(!api.messages.contains_key(name), "{name} is published now: drop it from TYPED_STRUCTS");
        }
        Ok(api)
    }

    fn add(&mut self, scope: &str, message: &Descriptor) {
        let name = format!("{scope}.{}", message.name);
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        self.add_enums(&name, &message.enum_type);
        self.messages.insert(name, message.clone());
    }

    fn add_enums(&mut self, scope: &str, enums: &[EnumDescriptor]) {
        for each in enums {
            self.enums.insert(format!("{scope}.{}", each.name), each.clone());
        }
    }

    /// The names under [`ROOTS`] and all that their fields refer to.
    fn reachable(&self) -> BTreeSet<&str> {
        let is_root = |name: &&String| ROOTS.iter().any(|root| name.starts_with(root));
        let mut open: Vec<&str> =
            self.messages.keys().chain(self.enums.keys()).filter(is_root).map(String::as_str).collect();
        open.push("google.protobuf.Struct"); // for the TYPED_STRUCTS
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            if let Some(message) = self.messages.get(name) {
                open.extend(message.field.iter().filter(|field| !field.type_name.is_empty()).map(type_name));
            }
        }
        seen
    }

    fn print(&self) -> Result<String> {
        let mut blocks: BTreeMap<&str, String> = BTreeMap::new();
        for name in self.reachable() {
            let block = match (self.messages.get(name), self.enums.get(name)) {
                (Some(message), _) if message.is_map_entry() => {
                    continue;
                }
                (Some(message), _) => self.message_block(name, message)?,
                (None, Some(values)) => enum_block(name, values)?,
                (None, None) => bail!("{name} is referred to, but not in the descriptor set"),
            };
            blocks.insert(name, block);
        }
        for name in TYPED_STRUCTS {
            blocks.insert(name, format!("{name}\n{TYPED_STRUCT_FIELDS}"));
        }
        Ok(blocks.into_values().collect())
    }

    fn message_block(&self, name: &str, message: &Descriptor) -> Result<String> {
        let validates = message.options.as_ref().is_none_or(|options| !options.disabled && !options.ignored);
        ensure!(validates, "{name}: the table has no word for a message whose constraints are off");
        let mut block = format!("{name}\n");
        for field in &message.field {
            ensure!(
                field.json_name == lower_camel(&field.name),
                "{name}.{}: has the JSON name {}, which underpass-core would not derive",
                field.name,
                field.json_name
            );
            write!(block, " {} {} {}", field.number, field.name, self.kind(field)?)?;
            ensure!(!field.proto3_optional, "{name}.{}: the table has no word for `optional`", field.name);
            if let Some(index) = field.oneof_index {
                let oneof = message
                    .oneof_decl
                    .get(usize::try_from(index)?)
                    .context("a field of an undeclared oneof")?;
                write!(block, " oneof {}", oneof.name)?;
            }
            if let Some(rules) = field.options.as_ref().and_then(|options| options.rules.as_ref()) {
                block += &constraint::words(rules).with_context(|| format!("{name}.{}", field.name))?;
            }
            block.push('\n');
        }
        let is_required =
            |oneof: &&OneofDescriptor| oneof.options.as_ref().is_some_and(|options| options.required);
        for oneof in message.oneof_decl.iter().filter(is_required) {
            writeln!(block, " oneof {} required", oneof.name)?;
        }
        Ok(block)
    }

    fn kind(&self, field: &FieldDescriptor) -> Result<String> {
        let single = match field.r#type() {
            Type::Message => type_name(field).to_owned(),
            Type::Enum => format!("enum {}", type_name(field)),
            Type::Unknown | Type::Group => bail!("{}: has the type {:?}", field.name, field.r#type()),
            scalar => format!("{scalar:?}").to_lowercase(),
        };
        if field.label() != Label::Repeated {
            return Ok(single);
        }
        match self.messages.get(&single) {
            Some(entry) if entry.is_map_entry() => {
                let [key, value] = entry.field.as_slice() else {
                    bail!("{single}: a map entry has two fields")
                };
                Ok(format!("map {} {}", self.kind(key)?, self.kind(value)?))
            }
            _ => Ok(format!("repeated {single}")),
        }
    }
}

fn enum_block(name: &str, values: &EnumDescriptor) -> Result<String> {
    let mut block = format!("{name} enum\n");
    for value in &values.value {
        writeln!(block, " {} {}", value.number, value.name)?;
    }
    Ok(block)
}

fn type_name(field: &FieldDescriptor) -> &str {
    field.type_name.trim_start_matches('.')
}

/// The JSON name protobuf gives a field: underscores go, the letter after one is raised.
fn lower_camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut raise = false;
    for letter in name.chars() {
        if letter == '_' {
            raise = true;
        } else {
            camel.push(if raise { letter.to_ascii_uppercase() } else { letter });
            raise = false;
        }
    }
    camel
}
