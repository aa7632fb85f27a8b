//! One reading of a tree: what it finds, and which nodes it leaves out because earlier passes could not read them.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
};

use super::{Reader, path::Path};
use crate::config::{ConfigPath, Diagnostic, Location, Mark, Node, Severity};

pub(super) struct Pass<'r> {
    pub(super) reader: &'r Reader<'r>,
    found: RefCell<Vec<Diagnostic>>,
    errors: Cell<usize>,
    /// How many lists ended early because an element broke.
    lists_cut: Cell<usize>,
    left_out: LeftOut,
    /// The nodes that broke in this pass, with all that was found in and below them.
    broken: RefCell<Vec<(ConfigPath, Mark, Vec<Diagnostic>)>>,
}

/// The nodes that earlier passes could not read.
#[derive(Default)]
struct LeftOut {
    found: HashMap<ConfigPath, Vec<Diagnostic>>,
    /// Where they stand: a quick way to see that a node is none of them.
    marks: HashSet<Mark>,
}

/// A moment of a pass, to ask what happened since.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    found: usize,
    errors: usize,
    lists_cut: usize,
}

impl<'r> Pass<'r> {
    pub(super) fn first(reader: &'r Reader<'r>) -> Self {
        Self::leaving_out(reader, LeftOut::default())
    }

    fn leaving_out(reader: &'r Reader<'r>, left_out: LeftOut) -> Self {
        let (found, broken) = (RefCell::default(), RefCell::default());
        Self { reader, found, errors: Cell::new(0), lists_cut: Cell::new(0), left_out, broken }
    }

    /// The pass that has to follow this one; or, if nothing broke or the `base` of all did, everything that was found.
    pub(super) fn next(mut self, base: &ConfigPath) -> Result<Self, Vec<Diagnostic>> {
        let broken = self.broken.get_mut();
        let is_new = |path: &ConfigPath| path != base && !self.left_out.found.contains_key(path);
        if broken.is_empty() || !broken.iter().all(|(path, ..)| is_new(path)) {
            return Err(self.everything());
        }
        for (path, mark, found) in broken.drain(..) {
            self.left_out.marks.insert(mark);
            self.left_out.found.insert(path, found);
        }
        Ok(Self::leaving_out(self.reader, self.left_out))
    }

    /// Everything that this pass and those before it have found, once.
    pub(super) fn everything(self) -> Vec<Diagnostic> {
        let broken = self.broken.into_inner().into_iter().flat_map(|(.., found)| found);
        let left_out = self.left_out.found.into_values().flatten();
        let mut seen = HashSet::new();
        let mut all: Vec<Diagnostic> =
            self.found.into_inner().into_iter().chain(broken).chain(left_out).collect();
        all.retain(|diagnostic| seen.insert((diagnostic.path.clone(), diagnostic.message.clone())));
        all
    }

    pub(super) fn push(&self, severity: Severity, path: ConfigPath, location: Location, message: String) {
        if severity == Severity::Error {
            self.errors.update(|errors| errors + 1);
        }
        self.found.borrow_mut().push(Diagnostic { severity, path, location: Some(location), message });
    }

    pub(super) fn error(&self, path: Path<'_>, location: Location, message: String) {
        self.push(Severity::Error, path.to_config_path(), location, message);
    }

    /// Whether an earlier pass failed at this node; what it found there is then part of this pass too.
    pub(super) fn leaves_out(&self, node: &Node, path: Path<'_>) -> bool {
        if !self.left_out.marks.contains(&node.mark) {
            return false;
        }
        let Some(found) = self.left_out.found.get(&path.to_config_path()) else { return false };
        self.errors.update(|errors| errors + 1);
        self.found.borrow_mut().extend(found.iter().cloned());
        true
    }

    /// Notes that a node could not be read, and takes what was found in it since `moment` to it.
    pub(super) fn break_off(&self, node: &Node, path: Path<'_>, moment: Moment) {
        let found = self.found.borrow_mut().split_off(moment.found);
        self.broken.borrow_mut().push((path.to_config_path(), node.mark, found));
    }

    /// Notes that a list ends early because an element could not be read; the next pass reads on behind it.
    pub(super) fn cut_list(&self) {
        self.lists_cut.update(|lists| lists + 1);
    }

    pub(super) fn moment(&self) -> Moment {
        let found = self.found.borrow().len();
        Moment { found, errors: self.errors.get(), lists_cut: self.lists_cut.get() }
    }

    /// Whether something was refused since.
    pub(super) fn refused_since(&self, moment: Moment) -> bool {
        self.errors.get() > moment.errors
    }

    /// Whether a list was cut since, so that what holds it may look wrong without being so.
    pub(super) fn cut_since(&self, moment: Moment) -> bool {
        self.lists_cut.get() > moment.lists_cut
    }
}
