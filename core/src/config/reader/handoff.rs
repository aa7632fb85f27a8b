//! How a node, and a complaint about it, cross serde.
//!
//! serde's visitors receive words, numbers, lists and maps, but a field such as `TypedConfig` wants the node itself
//! with its path. Our deserializer puts it here right before it calls the visitor, and the visitor takes it first
//! thing, on the same thread and in the same call.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    sync::Arc,
};

use serde::{Deserializer, de::Visitor};

use crate::config::{ConfigPath, Node};

/// The newtype name by which a type asks for its node.
pub(crate) const NODE: &str = "$underpass::Node";
/// The newtype name by which a typed config that is only kept asks for its node.
pub(crate) const ANY: &str = "$underpass::Any";
/// The struct name by which a typed config asks to be resolved; its only "field" is the category.
pub(crate) const TYPED: &str = "$underpass::TypedConfig";
/// The same, for one that may be of a type that is not linked: it is handed over unread then.
pub(crate) const OPTIONAL_TYPED: &str = "$underpass::OptionalTypedConfig";

/// What is handed over.
pub(crate) struct Handoff {
    pub(crate) node: Arc<Node>,
    pub(crate) path: ConfigPath,
    /// For typed configs: the message name.
    pub(crate) type_name: Arc<str>,
    /// For typed configs that were resolved: what was read, in the extension's own type.
    pub(crate) config: Option<Box<dyn Any>>,
}

thread_local! {
    static SLOT: RefCell<Option<Handoff>> = const { RefCell::new(None) };
    static COMPLAINTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static READERS: Cell<usize> = const { Cell::new(0) };
}

pub(super) fn put(handoff: Handoff) {
    SLOT.set(Some(handoff));
}

/// What was handed to the visitor that is being called.
pub(crate) fn take<E: serde::de::Error>() -> Result<Handoff, E> {
    SLOT.take().ok_or_else(no_reader)
}

/// What there is to say where another deserializer is at work.
pub(crate) fn no_reader<E: serde::de::Error>() -> E {
    E::custom("this can only be read by underpass's config reader")
}

/// Refuses the value that is being read without ending the reading of what is around it: the caller returns
/// some value and goes on.
///
/// # Errors
/// Where no config reader is at work, the message as an ordinary error.
pub(crate) fn complain<E: serde::de::Error>(message: String) -> Result<(), E> {
    if READERS.get() == 0 {
        return Err(E::custom(message));
    }
    COMPLAINTS.with_borrow_mut(|complaints| complaints.push(message));
    Ok(())
}

pub(super) fn complaints() -> Vec<String> {
    COMPLAINTS.take()
}

/// Runs one reading, within which complaints are heard.
pub(super) fn while_reading<T>(read: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            READERS.set(READERS.get() - 1);
        }
    }
    READERS.set(READERS.get() + 1);
    let _leave = Leave;
    read()
}

/// Asks the deserializer for its node, by one of the newtype names.
pub(crate) fn request<'de, D: Deserializer<'de>>(
    deserializer: D,
    name: &'static str,
) -> Result<Handoff, D::Error> {
    struct TakeNode;
    impl Visitor<'_> for TakeNode {
        type Value = Handoff;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a node of the config tree")
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Handoff, E> {
            take()
        }
    }
    deserializer.deserialize_newtype_struct(name, TakeNode)
}
