//! What was tried, in turn: one thing where nothing went wrong.

use std::{fmt, mem, ops::Deref, slice};

/// A list that takes as little memory as one item where it has no more.
pub struct Attempted<T>(Items<T>);

#[expect(clippy::box_collection, reason = "the usual case shall not have the size of a vector")]
enum Items<T> {
    None,
    One(T),
    Several(Box<Vec<T>>),
}

impl<T> Attempted<T> {
    /// Adds what was tried last.
    pub fn push(&mut self, item: T) {
        match &mut self.0 {
            Items::None => self.0 = Items::One(item),
            Items::Several(items) => items.push(item),
            Items::One(_) => {
                if let Items::One(first) = mem::replace(&mut self.0, Items::None) {
                    self.0 = Items::Several(Box::new(vec![first, item]));
                }
            }
        }
    }
}

impl<T> Deref for Attempted<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Items::None => &[],
            Items::One(item) => slice::from_ref(item),
            Items::Several(items) => items,
        }
    }
}

impl<T> Extend<T> for Attempted<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

impl<T> Default for Attempted<T> {
    fn default() -> Self {
        Self(Items::None)
    }
}

impl<T: fmt::Debug> fmt::Debug for Attempted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_attempts_are_there_in_turn() {
        let mut attempted = Attempted::default();
        assert!(attempted.is_empty());
        for (number, all) in [(1, &[1][..]), (2, &[1, 2]), (3, &[1, 2, 3])] {
            attempted.push(number);
            assert_eq!(&*attempted, all);
        }
        attempted.extend(Some(4));
        assert_eq!((attempted.len(), attempted.last()), (4, Some(&4)));
        assert!(size_of::<Attempted<Box<u8>>>() <= 16);
    }
}
