//! Ring hash: hosts have many places on a ring of hashes, and a hash belongs to the next place on it.
//!
//! The places are those of Envoy (after ketama): the hash of `<address>_<number>`, so that a fleet of both proxies sends
//! a hash to the same host.

use std::sync::Arc;

use underpass_core::cluster::Host;
use xxhash_rust::xxh64::xxh64;

use super::{
    hashing::{HashTable, WeightedHost, hash_key},
    murmur::murmur_hash_2,
};

/// How rings are built.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RingOptions {
    /// At least so many places.
    pub min_size: u64,
    /// At most so many places.
    pub max_size: u64,
    /// Whether places are hashed with `MurmurHash2` rather than xxHash.
    pub murmur: bool,
    /// Whether a place comes from the host's name rather than its address.
    pub use_hostname: bool,
}

underpass_core::stat_group! {
    /// The scope `cluster.<name>.ring_hash_lb`: the ring that was built last.
    pub(crate) struct RingStats {
        /// Places on the ring.
        gauge size,
        /// Places of the host that has the fewest.
        gauge min_hashes_per_host,
        /// Places of the host that has the most.
        gauge max_hashes_per_host,
    }
}

/// The ring of one priority.
pub(crate) struct Ring(Vec<(u64, Arc<Host>)>);

impl Ring {
    /// Gives every host places in proportion to its weight.
    pub(crate) fn new(hosts: &[WeightedHost], options: &RingOptions, stats: &RingStats) -> Self {
        let smallest = hosts.iter().map(|host| host.share).fold(1.0, f64::min);
        if hosts.is_empty() || smallest <= 0.0 {
            return Self(Vec::new());
        }
        // The host of the smallest weight gets a whole number of places, unless the ring would be too large.
        let wanted = (smallest * options.min_size as f64).ceil() / smallest;
        let scale = wanted.min(options.max_size as f64);
        let mut places = Vec::new();
        let (mut target, mut fewest, mut most) = (0.0, u64::MAX, 0);
        for host in hosts {
            // Sums, so that fractions of a place are not lost.
            target += scale * host.share;
            let key = hash_key(&host.host, options.use_hostname);
            let mut count = 0;
            while (places.len() as f64) < target {
                places.push((hash(&format!("{key}_{count}"), options.murmur), Arc::clone(&host.host)));
                count += 1;
            }
            (fewest, most) = (fewest.min(count), most.max(count));
        }
        places.sort_by_key(|(hash, _)| *hash);
        stats.size.set(places.len() as u64);
        stats.min_hashes_per_host.set(fewest);
        stats.max_hashes_per_host.set(most);
        Self(places)
    }
}

fn hash(text: &str, murmur: bool) -> u64 {
    if murmur { murmur_hash_2(text.as_bytes()) } else { xxh64(text.as_bytes(), 0) }
}

impl HashTable for Ring {
    fn find(&self, hash: u64) -> Option<&Arc<Host>> {
        let at = self.0.partition_point(|(place, _)| *place < hash);
        self.0.get(at).or(self.0.first()).map(|(_, host)| host)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use underpass_core::stats::Store;

    use super::*;
    use crate::cluster::{
        host_set::tests::{host, host_set},
        load_balancer::hashing::weighted_hosts,
    };

    fn options() -> RingOptions {
        RingOptions { min_size: 1024, max_size: 8 * 1024 * 1024, murmur: false, use_hostname: false }
    }

    fn ring_of(hosts: Vec<Arc<Host>>, options: &RingOptions) -> Ring {
        let stats = RingStats::new(&Store::new(1).scope("cluster.up.ring_hash_lb"));
        Ring::new(&weighted_hosts(&host_set(hosts), false), options, &stats)
    }

    fn places(ring: &Ring) -> HashMap<u16, usize> {
        let mut counts = HashMap::new();
        for (_, host) in &ring.0 {
            *counts.entry(host.address.port().unwrap()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn weights_are_numbers_of_places() {
        let ring = ring_of(vec![host(1, 1), host(2, 3)], &options());
        assert_eq!(places(&ring), HashMap::from([(1, 256), (2, 768)]));
    }

    #[test]
    fn a_small_ring_shares_out_what_it_has() {
        let small = RingOptions { min_size: 1, max_size: 6, ..options() };
        let ring = ring_of((1..=4).map(|port| host(port, 1)).collect(), &small);
        assert_eq!(ring.0.len(), 4);
        let six = RingOptions { min_size: 6, ..small };
        let ring = ring_of((1..=4).map(|port| host(port, 1)).collect(), &six);
        assert_eq!(places(&ring), HashMap::from([(1, 2), (2, 1), (3, 2), (4, 1)]));
    }

    #[test]
    fn the_size_is_shown() {
        let stats = RingStats::new(&Store::new(1).scope("cluster.up.ring_hash_lb"));
        let hosts = weighted_hosts(&host_set(vec![host(1, 1), host(2, 1)]), false);
        Ring::new(&hosts, &options(), &stats);
        let shown =
            (stats.size.value(), stats.min_hashes_per_host.value(), stats.max_hashes_per_host.value());
        assert_eq!(shown, (1024, 512, 512));
    }

    #[test]
    fn an_empty_ring_finds_nobody() {
        assert!(ring_of(vec![], &options()).find(7).is_none());
    }

    // Computed with Envoy's inputs: xxHash64("127.0.0.1:1_0").
    #[test]
    fn places_come_from_address_and_number() {
        let ring = ring_of(vec![host(1, 1)], &RingOptions { min_size: 1, ..options() });
        assert_eq!(ring.0[0].0, xxh64(b"127.0.0.1:1_0", 0));
        let murmur = RingOptions { min_size: 1, murmur: true, ..options() };
        assert_eq!(ring_of(vec![host(1, 1)], &murmur).0[0].0, murmur_hash_2(b"127.0.0.1:1_0"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_host_that_goes_takes_only_its_own_hashes_along(count in 3..12_u16, gone in 0..12_u16, seed: u64) {
            let gone = gone % count;
            let hosts: Vec<_> = (0..count).map(|port| host(port, 1)).collect();
            let before = ring_of(hosts.clone(), &options());
            let stay = hosts.into_iter().filter(|host| host.address.port() != Some(gone)).collect();
            let after = ring_of(stay, &options());
            let mut random = fastrand::Rng::with_seed(seed);
            let mut moved = 0;
            for _ in 0..1000 {
                let hash = random.u64(..);
                let (old, new) = (before.find(hash).unwrap(), after.find(hash).unwrap());
                // Rings of different sizes differ in a few places besides, since each host gets more or fewer of them.
                moved += usize::from(old.address != new.address && old.address.port() != Some(gone));
            }
            prop_assert!(moved <= 400, "{moved} of 1000 hashes moved without need");
        }
    }
}
