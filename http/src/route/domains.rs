//! Which virtual host stands for a host.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::table::VirtualHostRoutes;

/// The virtual hosts of a route configuration, by their domains.
///
/// Exact names go first, then the longest `*.suffix`, then the longest `prefix.*`, then `*`
/// (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto>).
#[derive(Default)]
pub(super) struct Domains {
    exact: ByName,
    /// `*.b` by what follows the star, the longest first.
    suffixes: ByLength,
    /// `a.*` by what stands before the star, the longest first.
    prefixes: ByLength,
    any: Option<Arc<VirtualHostRoutes>>,
}

impl Domains {
    /// Adds a domain of a virtual host.
    ///
    /// # Errors
    /// If it is there already.
    pub(super) fn add(&mut self, domain: &str, host: &Arc<VirtualHostRoutes>) -> Result<(), ()> {
        let domain = domain.to_ascii_lowercase();
        let host = Arc::clone(host);
        let before = if domain == "*" {
            self.any.replace(host)
        } else if let Some(suffix) = domain.strip_prefix('*') {
            of_length(&mut self.suffixes, suffix.len()).insert(suffix.into(), host)
        } else if let Some(prefix) = domain.strip_suffix('*') {
            of_length(&mut self.prefixes, prefix.len()).insert(prefix.into(), host)
        } else {
            self.exact.insert(domain.into(), host)
        };
        if before.is_none() { Ok(()) } else { Err(()) }
    }

    /// Whether the host does not matter.
    pub(super) fn has_only_any(&self) -> bool {
        self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty()
    }

    /// The virtual host for a host.
    pub(super) fn find(&self, host: &str) -> Option<&Arc<VirtualHostRoutes>> {
        if self.has_only_any() {
            return self.any.as_ref();
        }
        let host = in_lower_case(host);
        // `*.b` is not for `.b`, and `a.*` not for `a.`: the star stands for one character at least.
        let shorter = |(length, _): &&(usize, ByName)| *length < host.len();
        let by_suffix = || {
            let suffix = |length: usize| host.get(host.len() - length..);
            self.suffixes.iter().filter(shorter).find_map(|(length, hosts)| hosts.get(suffix(*length)?))
        };
        let by_prefix = || {
            let prefix = |length: usize| host.get(..length);
            self.prefixes.iter().filter(shorter).find_map(|(length, hosts)| hosts.get(prefix(*length)?))
        };
        self.exact.get(&*host).or_else(by_suffix).or_else(by_prefix).or(self.any.as_ref())
    }
}

type ByName = HashMap<Box<str>, Arc<VirtualHostRoutes>>;
type ByLength = Vec<(usize, ByName)>;

/// The names of one length, kept behind those that are longer.
fn of_length(lengths: &mut ByLength, length: usize) -> &mut ByName {
    let at = lengths.partition_point(|(other, _)| *other > length);
    if lengths.get(at).is_none_or(|(other, _)| *other != length) {
        lengths.insert(at, (length, ByName::default()));
    }
    &mut lengths[at].1
}

/// `a.b` of `a.b:80`, `[::1]` of `[::1]:80`; anything else as it is.
pub(crate) fn without_port(authority: &str) -> &str {
    port_start(authority).map_or(authority, |colon| &authority[..colon])
}

/// Where the colon is that a port would follow. As in Envoy (`HeaderUtility::getPortStart`), what follows need not be a
/// number.
pub(crate) fn port_start(authority: &str) -> Option<usize> {
    let colon = authority.rfind(':')?;
    // An IPv6 address in brackets has colons of its own.
    authority.rfind(']').is_none_or(|bracket| bracket < colon).then_some(colon)
}

fn in_lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    }
}
