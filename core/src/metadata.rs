//! Dynamic metadata: what filters learn about a stream, by namespace, for formatters and for the next hop.

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use crate::config::{Struct, Value};

/// Namespaces (usually names of filters) with one `Struct` each.
///
/// A clone shares them until one of the two is changed; without any there is nothing but a null pointer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DynamicMetadata {
    namespaces: Option<Rc<Namespaces>>,
}

type Namespaces = BTreeMap<Arc<str>, Struct>;

impl DynamicMetadata {
    /// The values of a namespace.
    pub fn namespace(&self, name: &str) -> Option<&Struct> {
        self.namespaces.as_ref()?.get(name)
    }

    /// The value at a path of keys below a namespace.
    pub fn get(&self, namespace: &str, path: &[&str]) -> Option<&Value> {
        lookup(self.namespace(namespace)?, path)
    }

    /// Stores a whole namespace; what stood there is replaced.
    pub fn set(&mut self, namespace: impl Into<Arc<str>>, values: Struct) {
        self.change().insert(namespace.into(), values);
    }

    /// Adds values to a namespace; a key that stands there already is replaced.
    pub fn merge(&mut self, namespace: impl Into<Arc<str>>, values: Struct) {
        self.change().entry(namespace.into()).or_default().extend(values);
    }

    /// All namespaces, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Struct)> {
        let namespaces = self.namespaces.as_deref().map(BTreeMap::iter);
        namespaces.unwrap_or_default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_none()
    }

    fn change(&mut self) -> &mut Namespaces {
        Rc::make_mut(self.namespaces.get_or_insert_default())
    }
}

/// The value at a path of keys below a `Struct`; an empty path names nothing.
pub fn lookup<'a>(values: &'a Struct, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(values.get(*first)?, |value, key| match value {
        Value::Struct(inner) => inner.get(*key),
        _ => None,
    })
}
