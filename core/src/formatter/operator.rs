//! Operators: what stands between two percent signs.

use std::collections::HashMap;

use super::{FormatContext, Output};
use crate::extension::{NamedExtensions, Registration};

/// The category under which sets of operators are listed.
pub const OPERATOR_CATEGORY: &str = "formatter operators";

/// One use of an operator in a format, with its argument read.
pub trait Operator: Send + Sync {
    /// Prints the value, or nothing where there is none.
    fn print(&self, context: &FormatContext<'_>, out: &mut Output<'_>);
}

impl<F: Fn(&FormatContext<'_>, &mut Output<'_>) + Send + Sync> Operator for F {
    fn print(&self, context: &FormatContext<'_>, out: &mut Output<'_>) {
        self(context, out);
    }
}

/// A command as it stands in a format string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command<'a> {
    /// `DYNAMIC_METADATA`.
    pub name: &'a str,
    /// What stands in parentheses; empty without.
    pub argument: &'a str,
    /// What stands behind the colon: how long the text may be, in bytes.
    pub max_length: Option<usize>,
}

/// An operator that can be used in formats.
#[derive(Debug, Clone, Copy)]
pub struct OperatorEntry {
    /// Its name, in capitals, digits and underscores.
    pub name: &'static str,
    arguments: Arguments,
    length_allowed: bool,
    build: Build,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arguments {
    None,
    Optional,
    Required,
}

type Print = fn(&FormatContext<'_>, &mut Output<'_>);
type BuildOperator = fn(&Command<'_>) -> Result<Box<dyn Operator>, String>;

#[derive(Debug, Clone, Copy)]
enum Build {
    Plain(Print),
    With(BuildOperator),
}

impl OperatorEntry {
    /// An operator that takes neither argument nor length.
    pub const fn plain(name: &'static str, print: Print) -> Self {
        Self { name, arguments: Arguments::None, length_allowed: false, build: Build::Plain(print) }
    }

    /// An operator that may have an argument. An error of `build` says what is wrong with it.
    pub const fn with_optional(name: &'static str, build: BuildOperator) -> Self {
        Self { name, arguments: Arguments::Optional, length_allowed: false, build: Build::With(build) }
    }

    /// An operator that must have an argument. An error of `build` says what is wrong with it.
    pub const fn with_required(name: &'static str, build: BuildOperator) -> Self {
        Self { name, arguments: Arguments::Required, length_allowed: false, build: Build::With(build) }
    }

    /// The same operator, but its text may be limited in length; `build` has to see to that.
    #[must_use]
    pub const fn limited(self) -> Self {
        Self { length_allowed: true, ..self }
    }

    /// The operator for one command; the errors are Envoy's.
    pub(super) fn build(&self, command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
        let (name, has_argument, has_length) =
            (self.name, !command.argument.is_empty(), command.max_length.is_some());
        match self.arguments {
            Arguments::None if has_argument || has_length => {
                return Err(format!("{name} does not take any parameters or length"));
            }
            Arguments::Required if !has_argument => return Err(format!("{name} requires parameters")),
            _ => {}
        }
        if has_length && !self.length_allowed {
            return Err(format!("{name} does not allow length to be specified."));
        }
        match self.build {
            Build::Plain(print) => Ok(Box::new(print)),
            Build::With(build) => build(command),
        }
    }
}

/// Operators that a crate adds, registered with `inventory::submit!`.
#[derive(Debug)]
pub struct OperatorSet {
    /// Name and provider, for the list of extensions.
    pub registration: Registration,
    /// The operators.
    pub operators: &'static [OperatorEntry],
}

impl OperatorSet {
    /// A set that is listed under this name.
    pub const fn new(
        name: &'static str,
        provider: &'static str,
        doc: &'static str,
        operators: &'static [OperatorEntry],
    ) -> Self {
        Self { registration: Registration::named(OPERATOR_CATEGORY, name, provider, doc), operators }
    }
}

inventory::collect!(OperatorSet);

inventory::submit! {
    NamedExtensions(|| inventory::iter::<OperatorSet>().map(|set| &set.registration).collect())
}

/// All operators that a format may use.
#[derive(Debug, Clone, Default)]
pub struct Operators {
    by_name: HashMap<&'static str, (&'static OperatorEntry, &'static str)>,
}

/// Two crates brought an operator of one name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the formatter operator {name} is registered by both {first} and {second}")]
pub struct DuplicateOperator {
    /// The operator.
    pub name: &'static str,
    /// One crate.
    pub first: &'static str,
    /// The other.
    pub second: &'static str,
}

impl Operators {
    /// The operators of all crates that are linked.
    pub fn linked() -> Result<Self, DuplicateOperator> {
        Self::of(inventory::iter::<OperatorSet>())
    }

    /// The operators of these sets.
    pub fn of(sets: impl IntoIterator<Item = &'static OperatorSet>) -> Result<Self, DuplicateOperator> {
        let mut operators = Self::default();
        for set in sets {
            for entry in set.operators {
                let second = set.registration.provider;
                if let Some((_, first)) = operators.by_name.insert(entry.name, (entry, second)) {
                    return Err(DuplicateOperator { name: entry.name, first, second });
                }
            }
        }
        Ok(operators)
    }

    /// The operator of that name.
    pub(super) fn get(&self, name: &str) -> Option<&'static OperatorEntry> {
        self.by_name.get(name).map(|(entry, _)| *entry)
    }

    /// All names, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.by_name.keys().copied()
    }
}
