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

impl<'r> ElementAccess<'r> {
    /// The next element that is not left out, with its index.
    #[inline(never)]
    fn next_node(&mut self) -> Option<(usize, &'r Arc<Node>)> {
        let (parent, rest) = (&self.parent, &mut self.rest);
        rest.find(|(index, node)| !parent.pass.leaves_out(node, Path::Index(&parent.path, *index)))
    }
}

impl<'de> SeqAccess<'de> for ElementAccess<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((index, node)) = self.next_node() else { return Ok(None) };
        let path = Path::Index(&self.parent.path, index);
        match self.parent.child(node, path, |element| seed.deserialize(element)) {
            Ok(element) => Ok(Some(element)),
            // serde has no seed for the next element; what is around the list can go on.
            Err(Error::Reported) => {
                self.parent.pass.cut_list();
                Ok(None)
            }
            Err(error @ Error::Message(_)) => Err(error),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}
