//! typetag's attribute, without a second deserializer behind it.
//!
//! typetag finds the extension of an `@type` and makes its config one of the category. By itself it would also read the
//! config, through erased-serde; each field of each config would be compiled once more for that, which was 5.5 MB of 14 MB of
//! code. Our reader has read the config when it asks typetag. So the attribute's expansion finds, in the place of
//! erased-serde's `deserialize`, one that takes what was read.

use std::{any::Any, cell::RefCell};

use serde::{
    Deserialize,
    de::value::{Error, MapDeserializer},
};

pub use ::typetag::deserialize;

thread_local! {
    /// The config that typetag is asked to make one of its category.
    static READ: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// Makes a config of the type that is called so one of the category.
///
/// # Errors
/// typetag knows no such type, or two of that name.
pub(super) fn to_category<'de, C: ?Sized>(type_name: &str, config: Box<dyn Any>) -> Result<Box<C>, Error>
where
    Box<C>: Deserialize<'de>,
{
    READ.set(Some(config));
    let tag = [("@type", type_name)];
    Box::<C>::deserialize(MapDeserializer::new(tag.into_iter()))
}

/// What the expansion of typetag's attribute names.
#[doc(hidden)]
pub mod __private23 {
    pub use ::typetag::__private23::*;

    pub mod erased_serde {
        use serde::de::Error as _;

        use crate::config::{reader::handoff, typetag::READ};

        /// Takes the config that was read.
        ///
        /// # Errors
        /// It was not our reader that asked typetag.
        pub fn deserialize<T: 'static>(
            _: &mut dyn ::erased_serde::Deserializer<'_>,
        ) -> Result<T, ::erased_serde::Error> {
            let read = READ.take().ok_or_else(handoff::no_reader)?;
            let config =
                read.downcast().map_err(|_| ::erased_serde::Error::custom("another type was read"))?;
            Ok(*config)
        }
    }
}
