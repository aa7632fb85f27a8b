//! Client connection factories: those that are linked, found by the kind of address.

pub(crate) mod pipe;
pub(crate) mod socket;
pub(crate) mod socket_setup;

use std::sync::Arc;

use rustc_hash::FxHashMap;
use underpass_core::{
    address::AddressKind,
    client_connection::{ClientConnectionFactory, ClientConnectionFactoryRegistration},
};

/// The factories of a process.
#[derive(Default)]
pub(crate) struct Factories(FxHashMap<AddressKind, Arc<dyn ClientConnectionFactory>>);

/// Two crates serve the same kind of address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "two client connection factories serve {kind} addresses: {first} and {second}; link only one of the crates"
)]
pub(crate) struct DuplicateFactory {
    kind: &'static str,
    first: String,
    second: String,
}

impl Factories {
    /// Those that are linked.
    pub(crate) fn linked() -> Result<Self, DuplicateFactory> {
        Self::new(inventory::iter::<ClientConnectionFactoryRegistration>())
    }

    /// These.
    pub(crate) fn new<'r>(
        registrations: impl IntoIterator<Item = &'r ClientConnectionFactoryRegistration>,
    ) -> Result<Self, DuplicateFactory> {
        let mut found: FxHashMap<AddressKind, &ClientConnectionFactoryRegistration> = FxHashMap::default();
        let name = |factory: &ClientConnectionFactoryRegistration| {
            format!("{} of {}", factory.registration.name, factory.registration.provider)
        };
        for factory in registrations {
            if let Some(first) = found.insert(factory.kind, factory) {
                let (first, second) = (name(first), name(factory));
                return Err(DuplicateFactory { kind: factory.kind.name(), first, second });
            }
        }
        Ok(Self(found.into_iter().map(|(kind, factory)| (kind, (factory.new)())).collect()))
    }

    /// The factory for a kind of address.
    pub(crate) fn get(&self, kind: AddressKind) -> Option<&Arc<dyn ClientConnectionFactory>> {
        self.0.get(&kind)
    }

    /// The same with another factory for a kind of address.
    #[cfg(test)]
    pub(crate) fn with(mut self, kind: AddressKind, factory: Arc<dyn ClientConnectionFactory>) -> Self {
        self.0.insert(kind, factory);
        self
    }
}

#[cfg(test)]
mod tests {
    use underpass_core::{client_connection::CLIENT_CONNECTION_FACTORY_CATEGORY, extension::Registration};

    use super::*;

    fn registration(provider: &'static str) -> ClientConnectionFactoryRegistration {
        ClientConnectionFactoryRegistration {
            registration: Registration::named(CLIENT_CONNECTION_FACTORY_CATEGORY, "pipes", provider, ""),
            kind: AddressKind::Pipe,
            new: || Arc::new(pipe::PipeFactory),
        }
    }

    #[test]
    fn sockets_and_pipes_are_always_served() {
        let linked = Factories::linked().unwrap();
        assert!(linked.get(AddressKind::Socket).is_some() && linked.get(AddressKind::Pipe).is_some());
    }

    #[test]
    fn two_factories_for_one_kind_are_refused_by_name() {
        let both = [registration("crate-a"), registration("crate-b")];
        let error = Factories::new(&both).err().unwrap();
        insta::assert_snapshot!(error, @"two client connection factories serve pipe addresses: pipes of crate-a and pipes of crate-b; link only one of the crates");
    }
}
