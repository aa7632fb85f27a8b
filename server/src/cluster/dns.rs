//! Names to addresses, as the clusters that resolve names ask for them.

mod hickory;

use std::{future::Future, net::IpAddr, pin::Pin, time::Duration};

pub(crate) use self::hickory::{DnsOptions, HickoryLookup};
use crate::config::dns::DnsLookupFamily;

/// The addresses of a name; none if there is no such name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The addresses, in the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// How long they are valid, if the answer says so.
    pub ttl: Option<Duration>,
}

/// Why a name could not be resolved. That there is no such name is an answer, not an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ResolveError(pub String);

/// A kind of IP address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A look-up on its way.
pub(crate) type LookupFuture<'a> = Pin<Box<dyn Future<Output = Result<Resolved, ResolveError>> + Send + 'a>>;

/// Looks up the addresses of one kind.
pub(crate) trait Lookup: Send + Sync {
    /// Asks for the addresses of a name.
    fn lookup<'a>(&'a self, name: &'a str, version: IpVersion) -> LookupFuture<'a>;
}

/// The addresses of a name that are wanted. An IP address is its own name, and the empty name has no addresses.
pub(crate) async fn resolve(
    lookup: &dyn Lookup,
    name: &str,
    family: DnsLookupFamily,
) -> Result<Resolved, ResolveError> {
    if name.is_empty() {
        return Ok(Resolved::default());
    }
    if let Ok(address) = name.parse() {
        return Ok(Resolved { addresses: vec![address], ttl: None });
    }
    match family {
        DnsLookupFamily::V4Only => lookup.lookup(name, IpVersion::V4).await,
        DnsLookupFamily::V6Only => lookup.lookup(name, IpVersion::V6).await,
        DnsLookupFamily::Auto => first_of(lookup, name, [IpVersion::V6, IpVersion::V4]).await,
        DnsLookupFamily::V4Preferred => first_of(lookup, name, [IpVersion::V4, IpVersion::V6]).await,
        DnsLookupFamily::All => all(lookup, name).await,
    }
}

/// The second kind only counts where the first has no addresses or cannot be looked up.
async fn first_of(
    lookup: &dyn Lookup,
    name: &str,
    versions: [IpVersion; 2],
) -> Result<Resolved, ResolveError> {
    match lookup.lookup(name, versions[0]).await {
        Ok(found) if !found.addresses.is_empty() => Ok(found),
        _ => lookup.lookup(name, versions[1]).await,
    }
}

async fn all(lookup: &dyn Lookup, name: &str) -> Result<Resolved, ResolveError> {
    let (v4, v6) =
        futures_util::join!(lookup.lookup(name, IpVersion::V4), lookup.lookup(name, IpVersion::V6));
    match (v4, v6) {
        (Ok(v4), Ok(v6)) => {
            let ttl = [v4.ttl, v6.ttl].into_iter().flatten().min();
            Ok(Resolved { addresses: [v4.addresses, v6.addresses].concat(), ttl })
        }
        (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.addresses.is_empty() => Ok(one),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        collections::HashMap,
        sync::{Mutex, PoisonError},
    };

    use super::*;

    /// Name servers that a test is made of. A name that is not there cannot be looked up.
    #[derive(Default)]
    pub(crate) struct FakeLookup(Mutex<HashMap<String, Resolved>>);

    impl FakeLookup {
        /// Says what a name resolves to from now on.
        pub(crate) fn set(&self, name: &str, addresses: &[&str], ttl: Option<Duration>) {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            self.lock().insert(name.to_owned(), Resolved { addresses, ttl });
        }

        /// Makes look-ups of a name fail from now on.
        pub(crate) fn fail(&self, name: &str) {
            self.lock().remove(name);
        }

        fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Resolved>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Lookup for FakeLookup {
        fn lookup<'a>(&'a self, name: &'a str, version: IpVersion) -> LookupFuture<'a> {
            let answer =
                self.lock().get(name).cloned().ok_or_else(|| ResolveError("server failure".to_owned()));
            let of_version = move |address: &IpAddr| address.is_ipv4() == (version == IpVersion::V4);
            Box::pin(async move {
                let mut answer = answer?;
                answer.addresses.retain(of_version);
                Ok(answer)
            })
        }
    }

    fn ask(name: &str, family: DnsLookupFamily) -> Vec<String> {
        let lookup = FakeLookup::default();
        lookup.set("both", &["192.0.2.1", "2001:db8::1"], None);
        lookup.set("v4", &["192.0.2.1", "192.0.2.2"], None);
        lookup.set("none", &[], None);
        let answer = futures_util::FutureExt::now_or_never(resolve(&lookup, name, family)).unwrap();
        answer.map_or_else(
            |error| vec![error.to_string()],
            |found| found.addresses.iter().map(IpAddr::to_string).collect(),
        )
    }

    #[test]
    fn the_family_says_which_addresses_are_used() {
        use DnsLookupFamily::{All, Auto, V4Only, V4Preferred, V6Only};
        assert_eq!(ask("both", Auto), ["2001:db8::1"]);
        assert_eq!(ask("both", V4Preferred), ["192.0.2.1"]);
        assert_eq!(ask("both", V4Only), ["192.0.2.1"]);
        assert_eq!(ask("both", V6Only), ["2001:db8::1"]);
        assert_eq!(ask("both", All), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(ask("v4", Auto), ["192.0.2.1", "192.0.2.2"]);
        assert!(ask("v4", V6Only).is_empty());
    }

    #[test]
    fn no_such_name_is_an_answer_and_a_failing_server_is_not() {
        assert!(ask("none", DnsLookupFamily::Auto).is_empty());
        assert_eq!(ask("unknown", DnsLookupFamily::Auto), ["server failure"]);
        assert_eq!(ask("unknown", DnsLookupFamily::All), ["server failure"]);
    }

    #[test]
    fn an_ip_address_is_its_own_name_and_the_empty_name_has_none() {
        assert_eq!(ask("192.0.2.9", DnsLookupFamily::V6Only), ["192.0.2.9"]);
        assert!(ask("", DnsLookupFamily::Auto).is_empty());
    }
}
