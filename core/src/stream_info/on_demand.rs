//! What few connections need and every HTTP request does: memory that is there once somebody asks for it.

use std::{
    cell::{OnceCell, RefCell},
    fmt,
    ops::Deref,
    thread::LocalKey,
};

/// A thread keeps so many boxes of a kind for later.
const KEPT_AT_MOST: usize = 64;

/// A box that comes into being when somebody first looks into it; [`get`](Self::get) only looks whether it is there.
///
/// The box goes to the next one who needs such a box, so that requests, each of which does, allocate nothing for it.
pub struct OnDemand<T: Recycled>(OnceCell<Box<T>>);

/// Something that has a place where its boxes wait to be used again.
pub trait Recycled: Default + 'static {
    /// The place of the calling thread.
    fn shelf() -> &'static LocalKey<Shelf<Self>>;
}

/// Where boxes wait to be used again. What was in them is gone.
pub struct Shelf<T>(RefCell<Vec<Box<T>>>);

impl<T: Recycled> OnDemand<T> {
    /// The value, if anybody has had something to note there.
    pub fn get(&self) -> Option<&T> {
        self.0.get().map(|value| &**value)
    }

    /// Puts a value there, unless there is one.
    pub(super) fn fill(&self, value: T) {
        self.0.get_or_init(|| {
            let mut place = take();
            *place = value;
            place
        });
    }
}

impl<T: Recycled> Deref for OnDemand<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get_or_init(take)
    }
}

impl<T: Recycled> Default for OnDemand<T> {
    fn default() -> Self {
        Self(OnceCell::new())
    }
}

impl<T: Recycled + fmt::Debug> fmt::Debug for OnDemand<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Recycled> Drop for OnDemand<T> {
    fn drop(&mut self) {
        let Some(mut value) = self.0.take() else { return };
        // Nothing is borrowed while the old content is dropped. A thread that ends keeps nothing.
        *value = T::default();
        let _ = T::shelf().try_with(|Shelf(kept)| {
            let mut kept = kept.borrow_mut();
            if kept.len() < KEPT_AT_MOST {
                kept.push(value);
            }
        });
    }
}

#[expect(clippy::unnecessary_box_returns, reason = "what is recycled is the box, as it is")]
fn take<T: Recycled>() -> Box<T> {
    T::shelf().try_with(|Shelf(kept)| kept.borrow_mut().pop()).ok().flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Default)]
    struct Noted(Cell<u8>);

    impl Recycled for Noted {
        fn shelf() -> &'static LocalKey<Shelf<Self>> {
            thread_local! { static SHELF: Shelf<Noted> = Shelf::default(); }
            &SHELF
        }
    }

    #[test]
    fn a_box_is_used_again_and_forgets_what_was_in_it() {
        let first = OnDemand::<Noted>::default();
        assert!(first.get().is_none());
        first.0.get_or_init(take).0.set(7);
        let place: *const Noted = &raw const *first;
        drop(first);
        let second = OnDemand::<Noted>::default();
        assert_eq!((second.0.get_or_init(take).0.get(), &raw const *second), (0, place));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let many: Vec<_> = (0..2 * KEPT_AT_MOST).map(|_| OnDemand::<Noted>::default()).collect();
        many.iter().for_each(|one| one.0.get_or_init(take).0.set(1));
        drop(many);
        assert_eq!(Noted::shelf().with(|Shelf(kept)| kept.borrow().len()), KEPT_AT_MOST);
    }
}
