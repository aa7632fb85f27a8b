//! Maglev: a table of fixed size in which every host has entries by weight; a hash is an index into it.
//!
//! The table is that of section 3.4 of "Maglev: A Fast and Reliable Software Network Load Balancer" (Google, 2016), with
//! weights as Envoy adds them, and with Envoy's hashes, so that a fleet of both sends a hash to the same host.

use std::sync::Arc;

use underpass_core::cluster::Host;
use xxhash_rust::xxh64::xxh64;

use super::hashing::{HashTable, WeightedHost, hash_key};

/// How tables are built.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MaglevOptions {
    /// Entries, a prime number.
    pub table_size: u64,
    /// Whether entries come from the host's name rather than its address.
    pub use_hostname: bool,
}

underpass_core::stat_group! {
    /// The scope `cluster.<name>.maglev_lb`: the table that was built last.
    pub(crate) struct MaglevStats {
        /// Entries of the host that has the fewest.
        gauge min_entries_per_host,
        /// Entries of the host that has the most.
        gauge max_entries_per_host,
    }
}

/// The table of one priority.
pub(crate) struct Table {
    hosts: Vec<Arc<Host>>,
    /// Indices into `hosts`.
    entries: Vec<u32>,
}

/// A host on its way through the table: it visits every entry once, in an order of its own.
struct Walk {
    next: u64,
    skip: u64,
    share: f64,
    /// It takes an entry once its share has grown to this.
    target: f64,
    taken: u64,
}

/// An entry that nobody has taken yet.
const FREE: u32 = u32::MAX;

impl Table {
    /// Gives every host entries in proportion to its weight.
    pub(crate) fn new(hosts: &[WeightedHost], options: &MaglevOptions, stats: &MaglevStats) -> Self {
        let largest = hosts.iter().map(|host| host.share).fold(0.0, f64::max);
        if hosts.is_empty() || largest <= 0.0 || options.table_size < 2 {
            return Self { hosts: Vec::new(), entries: Vec::new() };
        }
        // The order in which hosts take entries must not depend on that of the configuration.
        let mut keyed: Vec<_> =
            hosts.iter().map(|host| (hash_key(&host.host, options.use_hostname), host)).collect();
        keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut walks: Vec<_> =
            keyed.iter().map(|(key, host)| Walk::new(key, host.share, options.table_size)).collect();
        let entries = fill(&mut walks, options.table_size, largest);
        stats.min_entries_per_host.set(walks.iter().map(|walk| walk.taken).min().unwrap_or(0));
        stats.max_entries_per_host.set(walks.iter().map(|walk| walk.taken).max().unwrap_or(0));
        Self { hosts: keyed.into_iter().map(|(_, host)| Arc::clone(&host.host)).collect(), entries }
    }
}

fn fill(walks: &mut [Walk], size: u64, largest: f64) -> Vec<u32> {
    let mut entries = vec![FREE; usize::try_from(size).unwrap_or(0)];
    let mut left = entries.len();
    for round in 1_u32.. {
        for (index, walk) in (0_u32..).zip(walks.iter_mut()) {
            if left == 0 {
                return entries;
            }
            // A host with half of the largest share takes part in every second round only.
            if f64::from(round) * walk.share >= walk.target {
                walk.target += largest;
                walk.take_free_entry(&mut entries, index, size);
                left -= 1;
            }
        }
    }
    entries
}

impl Walk {
    fn new(key: &str, share: f64, size: u64) -> Self {
        let next = xxh64(key.as_bytes(), 0) % size;
        let skip = xxh64(key.as_bytes(), 1) % (size - 1) + 1;
        Self { next, skip, share, target: 0.0, taken: 0 }
    }

    /// Takes the next entry that is free; there must be one.
    fn take_free_entry(&mut self, entries: &mut [u32], index: u32, size: u64) {
        loop {
            let at = usize::try_from(self.next).unwrap_or(0);
            // The size is prime, so that every entry is visited before one comes again.
            self.next = (self.next + self.skip) % size;
            if entries[at] == FREE {
                entries[at] = index;
                self.taken += 1;
                return;
            }
        }
    }
}

impl HashTable for Table {
    fn find(&self, hash: u64) -> Option<&Arc<Host>> {
        let at = hash.checked_rem(self.entries.len() as u64)?;
        let index = self.entries.get(usize::try_from(at).ok()?)?;
        self.hosts.get(usize::try_from(*index).ok()?)
    }
}

/// Whether a number is prime.
pub(crate) fn is_prime(number: u64) -> bool {
    number >= 2 && (2..=number.isqrt()).all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use underpass_core::stats::Store;

    use super::*;
    use crate::cluster::{
        host_set::tests::{host, host_set},
        load_balancer::hashing::weighted_hosts,
    };

    fn stats() -> MaglevStats {
        MaglevStats::new(&Store::new(1).scope("cluster.up.maglev_lb"))
    }

    fn table_of(hosts: Vec<Arc<Host>>, table_size: u64) -> Table {
        let options = MaglevOptions { table_size, use_hostname: false };
        Table::new(&weighted_hosts(&host_set(hosts), false), &options, &stats())
    }

    fn entries_of(table: &Table, port: u16) -> usize {
        let has = |index: &&u32| table.hosts[**index as usize].address.port() == Some(port);
        table.entries.iter().filter(has).count()
    }

    #[test]
    fn equal_hosts_share_the_table() {
        let stats = stats();
        let options = MaglevOptions { table_size: 65537, use_hostname: false };
        let hosts = weighted_hosts(&host_set(vec![host(27910, 1), host(27911, 1)]), false);
        Table::new(&hosts, &options, &stats);
        assert_eq!((stats.min_entries_per_host.value(), stats.max_entries_per_host.value()), (32768, 32769));
    }

    #[test]
    fn weights_are_numbers_of_entries() {
        let table = table_of(vec![host(1, 1), host(2, 2), host(3, 4)], 701);
        for (port, expected) in [(1, 100), (2, 200), (3, 400)] {
            let entries = entries_of(&table, port);
            assert!(entries.abs_diff(expected) <= 1, "{port}: {entries}, not about {expected}");
        }
    }

    #[test]
    fn the_order_of_the_configuration_does_not_count() {
        let one = table_of(vec![host(1, 1), host(2, 1), host(3, 1)], 101);
        let other = table_of(vec![host(3, 1), host(1, 1), host(2, 1)], 101);
        assert_eq!(one.entries, other.entries);
    }

    #[test]
    fn an_empty_table_finds_nobody() {
        assert!(table_of(vec![], 101).find(5).is_none());
    }

    #[test]
    fn primes_are_told_from_other_numbers() {
        let primes: Vec<_> = (0..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65537) && is_prime(5_000_011) && !is_prime(65536));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_host_that_goes_moves_little_besides_its_own_entries(count in 3..12_u16, gone in 0..12_u16) {
            let gone = gone % count;
            let hosts: Vec<_> = (0..count).map(|port| host(port, 1)).collect();
            let before = table_of(hosts.clone(), 1009);
            let after = table_of(hosts.into_iter().filter(|host| host.address.port() != Some(gone)).collect(), 1009);
            let moved = (0..1009).filter(|hash| {
                let (old, new) = (before.find(*hash).unwrap(), after.find(*hash).unwrap());
                old.address != new.address && old.address.port() != Some(gone)
            });
            let moved = moved.count();
            prop_assert!(moved <= 250, "{moved} of 1009 entries moved without need");
        }
    }
}
