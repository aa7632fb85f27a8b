//! An address that may be unknown, in half the memory that an [`Address`] takes: each stream has several, and so has each hop.

use std::{
    cell::Cell,
    fmt,
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
    path::Path,
    sync::Arc,
};

use crate::address::{Address, InternalAddress};

/// A cell for an address.
#[derive(Default)]
pub struct AddressCell(Cell<Compact>);

/// What most connections have stands here, and has no box.
#[derive(Default)]
enum Compact {
    #[default]
    Unknown,
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
    Pipe(Box<Arc<Path>>),
    Internal(Arc<InternalAddress>),
}

impl AddressCell {
    /// The address, if it is known.
    pub fn get(&self) -> Option<Address> {
        let inside = self.0.take();
        let address = match &inside {
            Compact::Unknown => None,
            Compact::V4(address) => Some(Address::Socket(SocketAddr::V4(*address))),
            Compact::V6(address) => Some(Address::Socket(SocketAddr::V6(**address))),
            Compact::Pipe(path) => Some(Address::Pipe(Arc::clone(path))),
            Compact::Internal(address) => Some(Address::Internal(Arc::clone(address))),
        };
        self.0.set(inside);
        address
    }

    /// Replaces it.
    pub fn set(&self, address: Option<Address>) {
        self.0.set(match address {
            None => Compact::Unknown,
            Some(Address::Socket(SocketAddr::V4(address))) => Compact::V4(address),
            Some(Address::Socket(SocketAddr::V6(address))) => Compact::V6(Box::new(address)),
            Some(Address::Pipe(path)) => Compact::Pipe(Box::new(path)),
            Some(Address::Internal(address)) => Compact::Internal(address),
        });
    }
}

impl fmt::Debug for AddressCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_again() {
        assert!(size_of::<AddressCell>() <= 16, "{} bytes", size_of::<AddressCell>());
        let cell = AddressCell::default();
        let socket = |text: &str| Address::Socket(text.parse().unwrap());
        let pipe = Address::Pipe(Path::new("/run/x.sock").into());
        let all = ["192.0.2.1:80", "[2001:db8::1]:80", "[fe80::1%3]:80"].map(socket);
        for address in all.into_iter().chain([pipe, Address::internal("inner", "ep1")]) {
            cell.set(Some(address.clone()));
            assert_eq!((cell.get(), cell.get()), (Some(address.clone()), Some(address)));
        }
        cell.set(None);
        assert_eq!(cell.get(), None);
    }
}
