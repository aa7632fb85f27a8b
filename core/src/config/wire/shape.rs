//! A message of the table, in the form in which many of its kind are decoded.

use std::{collections::HashMap, sync::Arc};

use crate::config::known::{Kind, Message};

/// The fields of a message.
#[derive(Debug)]
pub(super) struct Shape(
    /// By number.
    Vec<ShapeField>,
);

/// A field.
#[derive(Debug)]
pub(super) struct ShapeField {
    number: u32,
    /// Its name, shared by all trees.
    pub(super) key: Arc<str>,
    pub(super) kind: Kind,
    pub(super) oneof: Option<&'static str>,
}

impl Shape {
    pub(super) fn new(message: Message, keys: &mut HashMap<&'static str, Arc<str>>) -> Self {
        let mut key = |name| Arc::clone(keys.entry(name).or_insert_with(|| name.into()));
        let mut fields: Vec<_> = message
            .fields()
            .map(|field| ShapeField {
                number: field.number,
                key: key(field.name),
                kind: field.kind,
                oneof: field.oneof,
            })
            .collect();
        fields.sort_unstable_by_key(|field| field.number);
        Self(fields)
    }

    /// Whether setting the field `number` unsets `other`: they are members of one oneof.
    pub(super) fn excludes(&self, number: u32, other: u32) -> bool {
        let oneof = |number| self.field(number).and_then(|field| field.oneof);
        number != other && oneof(number).is_some_and(|name| oneof(other) == Some(name))
    }

    pub(super) fn field(&self, number: u32) -> Option<&ShapeField> {
        let at = self.0.binary_search_by_key(&number, |field| field.number).ok()?;
        self.0.get(at)
    }
}
