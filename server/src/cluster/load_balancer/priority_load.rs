//! How load is spread over priorities, and when there is panic.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority> and
//! `…/panic_threshold`. All numbers are percent, rounded down as Envoy rounds them.

use std::sync::Arc;

use underpass_core::cluster::Host;

use crate::cluster::host_set::HostSet;

/// What share of the load each priority gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PriorityLoads {
    /// For the healthy hosts of each priority.
    pub healthy: Vec<u32>,
    /// For the degraded hosts of each priority.
    pub degraded: Vec<u32>,
    /// Which priorities use all of their hosts, whatever their health.
    pub panic: Vec<bool>,
}

/// Which hosts of a priority are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Availability {
    /// The healthy ones.
    Healthy,
    /// The degraded ones.
    Degraded,
}

impl PriorityLoads {
    /// Spreads the load; `panic_threshold` is in percent of hosts that can be used, and 0 turns panic off.
    pub(crate) fn new(sets: &[Arc<HostSet>], panic_threshold: u32) -> Self {
        let availability: Vec<_> = sets.iter().map(|set| availability(set)).collect();
        let mut loads = Self::by_availability(&availability);
        loads.panic_where_needed(sets, &availability, panic_threshold);
        loads
    }

    /// Healthy hosts come first, in the order of the priorities; what is left goes to degraded ones.
    fn by_availability(availability: &[(u32, u32)]) -> Self {
        let count = availability.len();
        let mut loads = Self { healthy: vec![0; count], degraded: vec![0; count], panic: vec![false; count] };
        let total = total_availability(availability);
        if total == 0 {
            return loads;
        }
        let left =
            distribute(&mut loads.healthy, availability.iter().map(|(healthy, _)| *healthy), 100, total);
        let left =
            distribute(&mut loads.degraded, availability.iter().map(|(_, degraded)| *degraded), left, total);
        // What rounding left over goes to the first that can take it.
        if let Some(first) = availability.iter().position(|(healthy, _)| *healthy > 0) {
            loads.healthy[first] += left;
        } else if let Some(first) = availability.iter().position(|(_, degraded)| *degraded > 0) {
            loads.degraded[first] += left;
        }
        loads
    }

    /// There is no panic as long as all priorities together can take the whole load.
    fn panic_where_needed(&mut self, sets: &[Arc<HostSet>], availability: &[(u32, u32)], threshold: u32) {
        let total = total_availability(availability);
        if threshold == 0 && total == 0 {
            self.healthy[0] = 100;
            return;
        }
        for (panic, set) in self.panic.iter_mut().zip(sets) {
            *panic = total < 100 && is_below(set, threshold);
        }
        if self.panic.iter().all(|panic| *panic) {
            self.spread_by_number(sets);
        }
    }

    /// In total panic each priority gets load in proportion to the number of its hosts.
    fn spread_by_number(&mut self, sets: &[Arc<HostSet>]) {
        let counts: Vec<_> = sets.iter().map(|set| set.hosts.all.len()).collect();
        let total: usize = counts.iter().sum();
        self.degraded.fill(0);
        self.healthy.fill(0);
        let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
        if total == 0 {
            self.healthy[first] = 100;
            return;
        }
        for (load, count) in self.healthy.iter_mut().zip(&counts) {
            *load = percent(100 * count / total);
        }
        self.healthy[first] += 100 - self.healthy.iter().sum::<u32>();
    }

    /// The priority for a number that is random or comes from a hash.
    pub(crate) fn choose(&self, number: u64) -> (usize, Availability) {
        let wanted = u32::try_from(number % 100).unwrap_or(0) + 1;
        let healthy = self.healthy.iter().map(|load| (load, Availability::Healthy)).enumerate();
        let degraded = self.degraded.iter().map(|load| (load, Availability::Degraded)).enumerate();
        let mut sum = 0;
        for (priority, (load, availability)) in healthy.chain(degraded) {
            sum += load;
            if wanted <= sum {
                return (priority, availability);
            }
        }
        // The loads add up to 100, so this is not reached; the first priority is never wrong.
        (0, Availability::Healthy)
    }
}

/// How much of its full load the healthy and the degraded hosts of a priority can take.
fn availability(set: &HostSet) -> (u32, u32) {
    let (healthy, degraded, total) = if set.weighted_health {
        let counted = |host: &&Arc<Host>| !is_excluded(host);
        let total = set.hosts.all.iter().filter(counted).map(|host| weight(host)).sum();
        (sum_of_weights(&set.hosts.healthy), sum_of_weights(&set.hosts.degraded), total)
    } else {
        (set.hosts.healthy.len() as u64, set.hosts.degraded.len() as u64, set.hosts.counted() as u64)
    };
    if total == 0 {
        return (0, 0);
    }
    let share = |part: u64| {
        let share = u64::from(set.overprovisioning_factor) * part / total;
        u32::try_from(share.min(100)).unwrap_or(100)
    };
    (share(healthy), share(degraded))
}

fn is_excluded(host: &Host) -> bool {
    use underpass_core::cluster::HealthFlag;
    [
        HealthFlag::PendingActiveHealthCheck,
        HealthFlag::ExcludedByImmediateFailure,
        HealthFlag::EdsStatusDraining,
    ]
    .into_iter()
    .any(|flag| host.has(flag))
}

fn weight(host: &Host) -> u64 {
    host.weight().into()
}

fn sum_of_weights(hosts: &[Arc<Host>]) -> u64 {
    hosts.iter().map(|host| weight(host)).sum()
}

fn total_availability(availability: &[(u32, u32)]) -> u32 {
    availability.iter().map(|(healthy, degraded)| healthy + degraded).sum::<u32>().min(100)
}

/// Gives each priority what it can take of `left`; returns what nobody took.
fn distribute(loads: &mut [u32], availability: impl Iterator<Item = u32>, mut left: u32, total: u32) -> u32 {
    for (load, availability) in loads.iter_mut().zip(availability) {
        *load = left.min(availability * 100 / total);
        left -= *load;
    }
    left
}

fn is_below(set: &HostSet, threshold: u32) -> bool {
    let usable = set.hosts.healthy.len() + set.hosts.degraded.len();
    let counted = set.hosts.counted();
    let share = if counted == 0 { 0.0 } else { 100.0 * usable as f64 / counted as f64 };
    share < f64::from(threshold.min(100))
}

fn percent(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(100)
}

#[cfg(test)]
mod tests;
