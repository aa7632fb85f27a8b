//! Refuses what Envoy refuses: each field of a tree against what Envoy's protos demand of it.

use std::collections::HashSet;

use rustc_hash::FxHashMap;

use super::{Constraint, Constraints, Field, Kind, Message, Scalar, Type, demand, enumeration, message};
use crate::config::{ConfigPath, Location, Node, NodeValue, Report, duration, scalar, typed::type_name};

/// Reports every demand of Envoy's that the message at `node` does not meet, and that the messages below it do not meet,
/// those in typed configs included.
///
/// `path` is the way to `node`. What is of the wrong kind (a list where a number belongs) is left to the reader, which has
/// to say so anyway.
pub fn check(message_name: &str, node: &Node, path: &ConfigPath, report: &mut Report) {
    Checker { report }.named(message_name, node, path);
}

/// What has to be looked at in a message of a kind: worked out once, since control planes send thousands of them.
#[derive(Debug)]
pub(super) struct Plan {
    required_oneofs: Box<[&'static str]>,
    /// For each field, whether something is wrong where it is not written.
    refuses_absence: Box<[bool]>,
    by_name: FxHashMap<&'static str, usize>,
}

impl Plan {
    fn of(message: Message) -> &'static Self {
        message.0.plan.get_or_init(|| {
            let fields = message.parsed();
            Self {
                required_oneofs: message.required_oneofs().collect(),
                refuses_absence: fields.iter().map(|field| !unmet_by_absence(field).is_empty()).collect(),
                by_name: fields.iter().enumerate().map(|(index, field)| (field.name, index)).collect(),
            }
        })
    }

    /// Which field a configuration calls that.
    fn position(&self, fields: &[Field], key: &str) -> Option<usize> {
        let by_json_name = || fields.iter().position(|field| field.is_called(key));
        self.by_name.get(key).copied().or_else(by_json_name)
    }
}

struct Checker<'r> {
    report: &'r mut Report,
}

impl Checker<'_> {
    fn refuse(&mut self, node: &Node, path: &ConfigPath, unmet: impl IntoIterator<Item = String>) {
        let mut unmet = unmet.into_iter().peekable();
        if unmet.peek().is_some() {
            self.refuse_at(&node.location(), path, unmet);
        }
    }

    fn refuse_at(&mut self, location: &Location, path: &ConfigPath, unmet: impl IntoIterator<Item = String>) {
        for demand in unmet {
            self.report.error(path.clone(), Some(location.clone()), demand);
        }
    }

    fn named(&mut self, message_name: &str, node: &Node, path: &ConfigPath) {
        match message_name {
            "google.protobuf.Any" => self.any(node, path),
            // The other well-known types have a JSON form of their own, and no demands.
            well_known if well_known.starts_with("google.protobuf.") => {}
            name => {
                if let Some(message) = message(name) {
                    self.message(message, node, path);
                }
            }
        }
    }

    fn message(&mut self, message: Message, node: &Node, path: &ConfigPath) {
        if !matches!(node.value, NodeValue::Map(_) | NodeValue::Null) {
            return;
        }
        let (fields, plan) = (message.parsed(), Plan::of(message));
        // Of two forms of one name, the first counts.
        let mut written: Vec<Option<&Node>> = vec![None; fields.len()];
        let mut seen = vec![false; fields.len()];
        for entry in node.entries() {
            if let Some(at) = plan.position(fields, &entry.key).filter(|at| !seen[*at]) {
                seen[at] = true;
                written[at] = (!entry.value.is_null()).then_some(&*entry.value);
            }
        }
        let mut oneofs: Vec<Oneof> = plan.required_oneofs.iter().map(|name| Oneof::required(name)).collect();
        for (at, field) in fields.iter().enumerate() {
            if let Some(oneof) = field.oneof {
                Oneof::note(&mut oneofs, oneof, field, written[at].is_some());
            }
            match written[at] {
                Some(value) => self.field(field, value, &path.field(field.name)),
                None if field.oneof.is_none() && plan.refuses_absence[at] => {
                    self.refuse(node, &path.field(field.name), unmet_by_absence(field));
                }
                None => {}
            }
        }
        self.refuse(node, path, oneofs.iter().filter_map(Oneof::unmet));
    }

    fn field(&mut self, field: &Field, node: &Node, path: &ConfigPath) {
        match (field.kind, &node.value) {
            (Kind::Single(single), _) => self.value(single, field.constraints, node, path),
            (Kind::Repeated(element), NodeValue::List(elements)) => {
                self.refuse(node, path, demand::count(field.constraints, elements.len()));
                let mut seen = field.constraints.contains(Constraint::Unique).then(HashSet::new);
                for (index, element_node) in elements.iter().enumerate() {
                    let path = path.index(index);
                    if seen.as_mut().is_some_and(|seen| !seen.insert(element_node.stable_hash())) {
                        self.refuse(element_node, &path, ["value must not be there twice".to_owned()]);
                    }
                    self.value(element, field.constraints.of_items(), element_node, &path);
                }
            }
            (Kind::Map(key, value), NodeValue::Map(entries)) => {
                self.refuse(node, path, demand::count(field.constraints, entries.len()));
                for entry in entries {
                    let path = path.key(&entry.key);
                    if key == Scalar::String {
                        let unmet = demand::text(field.constraints.of_keys(), &entry.key);
                        let unmet = unmet.into_iter().map(|unmet| format!("key: {unmet}"));
                        self.refuse_at(&entry.location(), &path, unmet);
                    }
                    self.value(value, field.constraints.of_items(), &entry.value, &path);
                }
            }
            _ => {}
        }
    }

    fn value(&mut self, value_type: Type, constraints: Constraints, node: &Node, path: &ConfigPath) {
        match value_type {
            Type::Scalar(scalar) => self.refuse(node, path, unmet_by_scalar(scalar, constraints, node)),
            Type::Enum(name) => self.refuse(node, path, unmet_by_enum(name, constraints, node)),
            Type::Message("google.protobuf.Duration") => {
                let seconds = node.as_text().and_then(|text| duration::parse(text).ok());
                let unmet = seconds.map(|duration| demand::number(constraints, duration.as_secs_f64(), "s"));
                self.refuse(node, path, unmet.into_iter().flatten());
            }
            Type::Message(name) => match wrapped(name) {
                Some(scalar) => self.refuse(node, path, unmet_by_scalar(scalar, constraints, node)),
                None if constraints.contains(Constraint::Skip) => {}
                None => self.named(name, node, path),
            },
        }
    }

    /// A typed config: whatever message it says it is, if Envoy has it.
    fn any(&mut self, node: &Node, path: &ConfigPath) {
        let named = |key: &str| node.get(key).and_then(|url| url.as_text()).map(type_name);
        match named("@type") {
            Some("xds.type.v3.TypedStruct" | "udpa.type.v1.TypedStruct") => {
                let name = named("type_url").or_else(|| named("typeUrl"));
                if let (Some(name), Some(value)) = (name, node.get("value")) {
                    self.named(name, value, &path.field("value"));
                }
            }
            Some("google.protobuf.Any") | None => {}
            Some(name) => self.named(name, node, path),
        }
    }
}

/// What is not written has its zero value, which is not always allowed.
fn unmet_by_absence(field: &Field) -> Vec<String> {
    match field.kind {
        Kind::Single(Type::Message(_)) => {
            let required = field.constraints.contains(Constraint::Required);
            required.then(|| "value is required".to_owned()).into_iter().collect()
        }
        Kind::Single(Type::Scalar(Scalar::String | Scalar::Bytes)) => demand::text(field.constraints, ""),
        Kind::Single(Type::Scalar(Scalar::Bool)) => demand::boolean(field.constraints, false),
        Kind::Single(Type::Scalar(_)) => demand::number(field.constraints, 0.0, ""),
        Kind::Single(Type::Enum(name)) => demand::enum_number(field.constraints, name, 0),
        Kind::Repeated(_) | Kind::Map(..) => demand::count(field.constraints, 0),
    }
}

/// The scalar in one of protobuf's wrapper messages, which JSON writes bare.
fn wrapped(message_name: &str) -> Option<Scalar> {
    if !message_name.starts_with("google.protobuf.") || message_name == "google.protobuf.Any" {
        return None;
    }
    match message(message_name)?.field("value")?.kind {
        Kind::Single(Type::Scalar(scalar)) => Some(scalar),
        _ => None,
    }
}

fn unmet_by_scalar(scalar: Scalar, constraints: Constraints, node: &Node) -> Vec<String> {
    let NodeValue::Scalar { text, plain } = &node.value else { return Vec::new() };
    match scalar {
        Scalar::String => demand::text(constraints, text),
        Scalar::Bytes => demand::bytes(constraints, text),
        Scalar::Bool => {
            scalar::boolean(text).map(|value| demand::boolean(constraints, value)).unwrap_or_default()
        }
        _ => scalar::number(text, *plain)
            .map(|value| demand::number(constraints, value, ""))
            .unwrap_or_default(),
    }
}

fn unmet_by_enum(name: &str, constraints: Constraints, node: &Node) -> Vec<String> {
    let Some(text) = node.as_text() else { return Vec::new() };
    // Envoy reads the names of enum values in any case.
    let by_name = |(value, number): (&str, i32)| value.eq_ignore_ascii_case(text).then_some(number);
    let number = enumeration(name).and_then(|values| values.values().find_map(by_name));
    let number = number.or_else(|| text.parse().ok());
    number.map(|number| demand::enum_number(constraints, name, number)).unwrap_or_default()
}

/// The members of a oneof that a message sets.
struct Oneof {
    name: &'static str,
    required: bool,
    members: Vec<&'static str>,
    set: Vec<&'static str>,
}

impl Oneof {
    fn required(name: &'static str) -> Self {
        Self { name, required: true, members: Vec::new(), set: Vec::new() }
    }

    fn note(oneofs: &mut Vec<Self>, name: &'static str, member: &Field, is_set: bool) {
        let at = oneofs.iter().position(|oneof| oneof.name == name).unwrap_or_else(|| {
            oneofs.push(Self { required: false, ..Self::required(name) });
            oneofs.len() - 1
        });
        oneofs[at].members.push(member.name);
        if is_set {
            oneofs[at].set.push(member.name);
        }
    }

    fn unmet(&self) -> Option<String> {
        match self.set.len() {
            0 if self.required => {
                let one_of = if self.members.len() > 1 { "one of " } else { "" };
                Some(format!("{one_of}{} must be set ({})", self.members.join(", "), self.name))
            }
            0 | 1 => None,
            _ => Some(format!("only one of {} can be set ({})", self.set.join(", "), self.name)),
        }
    }
}

#[cfg(test)]
mod tests;
