//! The path of the node that is being read: links on the stack, made into a [`ConfigPath`] only for a message.

use crate::config::{
    ConfigPath,
    known::{self, Type},
};

#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    /// Where reading began, and the Envoy name of the message there.
    Base(&'p ConfigPath, &'p str),
    Field(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
    Key(&'p Path<'p>, &'p str),
    /// The same place, known to hold a message of this type because an `@type` says so.
    Typed(&'p Path<'p>, &'p str),
}

impl Path<'_> {
    pub(super) fn to_config_path(self) -> ConfigPath {
        match self {
            Self::Base(path, _) => path.clone(),
            Self::Field(parent, name) => parent.to_config_path().field(name),
            Self::Index(parent, index) => parent.to_config_path().index(index),
            Self::Key(parent, key) => parent.to_config_path().key(key),
            Self::Typed(same, _) => same.to_config_path(),
        }
    }

    /// What Envoy's message is called that stands here, as far as the table of its names leads.
    ///
    /// It is found by walking down from the root, which only happens on the way to a message.
    pub(super) fn message(self) -> Option<known::Message> {
        match self {
            Self::Base(_, name) | Self::Typed(_, name) => known::message(name),
            _ => match self.value_type()? {
                Type::Message(name) => known::message(name),
                _ => None,
            },
        }
    }

    /// What Envoy's enum is called whose value stands here.
    pub(super) fn enumeration(self) -> Option<known::Enumeration> {
        match self.value_type()? {
            Type::Enum(name) => known::enumeration(name),
            _ => None,
        }
    }

    pub(super) fn value_type(self) -> Option<Type> {
        match self {
            Self::Base(..) | Self::Typed(..) => None,
            Self::Field(parent, name) => Some(parent.message()?.field(name)?.kind.value_type()),
            Self::Index(parent, _) | Self::Key(parent, _) => parent.value_type(),
        }
    }
}
