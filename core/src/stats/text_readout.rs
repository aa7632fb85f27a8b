//! Text readouts: a word instead of a number.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::registry::{Listed, Name};

/// A text that is listed among the stats, as `control_plane.identifier` is.
///
/// A small handle: clones hold the same text. The default one holds nothing.
#[derive(Debug, Clone, Default)]
pub struct TextReadout(Option<Arc<TextReadoutState>>);

/// The text itself, shared by its handles.
#[derive(Debug)]
pub(super) struct TextReadoutState {
    name: Name,
    text: Mutex<String>,
    used: AtomicBool,
}

impl TextReadout {
    pub(super) fn new(state: Option<Arc<TextReadoutState>>) -> Self {
        Self(state)
    }

    /// Replaces the text.
    pub fn set(&self, text: impl Into<String>) {
        if let Some(state) = &self.0 {
            state.used.store(true, Ordering::Relaxed);
            *state.text.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
        }
    }

    /// The text; empty at first.
    pub fn value(&self) -> String {
        self.0.as_ref().map_or_else(String::new, |state| state.value())
    }
}

impl TextReadoutState {
    pub(super) fn new(name: Name) -> Self {
        Self { name, text: Mutex::default(), used: AtomicBool::new(false) }
    }

    pub(super) fn value(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }
}

impl Listed for TextReadoutState {
    fn name(&self) -> &Name {
        &self.name
    }
}
