//! Lists, element by element.

use std::sync::Arc;

use serde::de::{DeserializeSeed, SeqAccess};

use super::{error::Error, node::NodeDeserializer, path::Path};
use crate::config::Node;

/// The elements of a list; broken ones are left out.
pub(super) struct ElementAccess<'r> {
    parent: NodeDeserializer<'r>,
    rest: std::iter::Enumerate<std::slice::Iter<'r, Arc<Node>>>,
}

impl<'r> ElementAccess<'r> {
    pub(super) fn new(parent: NodeDeserializer<'r>, elements: &'r [Arc<Node>]) -> Self {
        Self { parent, rest: elements.iter().enumerate() }
    }
}

impl<'de> SeqAccess<'de> for ElementAccess<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        for (index, node) in self.rest.by_ref() {
            let path = Path::Index(&self.parent.path, index);
            if self.parent.pass.leaves_out(node, path) {
                continue;
            }
            let element = self.parent.child(node, path, |element| seed.deserialize(element));
            return element.map(Some).or_else(|error| match error {
                // serde has no seed for the next element; what is around the list can go on.
                Error::Reported => {
                    self.parent.pass.cut_list();
                    Ok(None)
                }
                error @ Error::Message(_) => Err(error),
            });
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}
