//! What hash-based load balancing goes by.

use underpass_core::stream_info::StreamInfo;
use xxhash_rust::xxh64::xxh64;

use crate::config::HashPolicy;

impl HashPolicy {
    /// The hash of a connection, if what it is made from is there. Envoy's function, so that both proxies pick the same
    /// host of a ring.
    pub(crate) fn hash(&self, info: &StreamInfo) -> Option<u64> {
        match self {
            Self::SourceIp(_) => {
                let address = info.addresses.borrow().remote().socket()?.ip().to_string();
                Some(xxh64(address.as_bytes(), 0))
            }
            Self::FilterState(object) => info.filter_state.borrow().get(&object.key)?.hash(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use underpass_core::{
        address::Address,
        config::NonEmptyString,
        filter_state::{
            Entry, FilterStateObject, HashableString, LifeSpan, SharedWithUpstream, StringObject,
        },
        testing::TestServer,
    };

    use super::*;
    use crate::config::{FilterStateHash, SourceIpHash};

    fn stream(remote: Address) -> Rc<StreamInfo> {
        TestServer::default().stream(remote, Address::internal("here", ""))
    }

    fn from(address: &str) -> Address {
        address.parse::<std::net::SocketAddr>().unwrap().into()
    }

    #[test]
    fn clients_of_one_address_hash_alike_whatever_their_port() {
        let policy = HashPolicy::SourceIp(SourceIpHash {});
        let hash = |address| policy.hash(&stream(from(address)));
        assert_eq!(hash("10.0.0.1:80"), hash("10.0.0.1:81"));
        assert_ne!(hash("10.0.0.1:80"), hash("10.0.0.2:80"));
        // xxHash64 of "10.0.0.1", which Envoy computes as well.
        assert_eq!(hash("10.0.0.1:80"), Some(xxh64(b"10.0.0.1", 0)));
        assert_eq!(policy.hash(&stream(Address::internal_client())), None);
    }

    #[test]
    fn an_object_counts_if_it_has_a_hash() {
        let key = NonEmptyString::new("k").unwrap();
        let policy = HashPolicy::FilterState(FilterStateHash { key });
        let hash_with = |object: Option<Rc<dyn FilterStateObject>>| {
            let info = stream(Address::internal_client());
            if let Some(object) = object {
                let entry = Entry {
                    object,
                    read_only: false,
                    life_span: LifeSpan::Connection,
                    shared_with_upstream: SharedWithUpstream::None,
                };
                info.filter_state.borrow_mut().set("k", entry).unwrap();
            }
            policy.hash(&info)
        };
        let hashable = HashableString("v".into());
        assert_eq!(hash_with(Some(Rc::new(hashable.clone()))), hashable.hash());
        assert_eq!(hash_with(Some(Rc::new(StringObject("v".into())))), None);
        assert_eq!(hash_with(None), None);
    }
}
