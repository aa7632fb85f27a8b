//! Pickers: the state that a policy keeps for one list of hosts on one worker.

use std::sync::Arc;

use underpass_core::cluster::Host;

use crate::cluster::host_set::HostList;

/// Picks hosts from a list, one after the other. It belongs to one worker, so it needs no locks.
pub(crate) trait Picker {
    /// Picks one of `hosts`. The list changes when hosts come, go, or change health or weight; what the picker knows about
    /// hosts that stay, it keeps.
    fn pick(&mut self, hosts: &HostList) -> Option<Arc<Host>>;
}

/// Whether all hosts weigh the same, so that weights need not be looked at.
pub(super) fn weights_are_equal(hosts: &[Arc<Host>]) -> bool {
    hosts.windows(2).all(|pair| pair[0].weight() == pair[1].weight())
}

/// An index below `len`, which must not be 0, from a number without bound.
pub(super) fn wrap(number: u64, len: usize) -> usize {
    // proven: the remainder is below `len`, which is a usize.
    usize::try_from(number % len as u64).unwrap_or(0)
}
