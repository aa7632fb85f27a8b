//! Random: any host. As in Envoy, weights do not count.

use std::sync::Arc;

use fastrand::Rng;
use underpass_core::cluster::Host;

use super::picker::Picker;
use crate::cluster::host_set::HostList;

/// Picks at random.
pub(crate) struct Random(Rng);

impl Random {
    /// A picker of its own dice.
    pub(crate) fn new(random: Rng) -> Self {
        Self(random)
    }
}

impl Picker for Random {
    fn pick(&mut self, hosts: &HostList) -> Option<Arc<Host>> {
        self.0.choice(&**hosts).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::host_set::tests::host;

    #[test]
    fn every_host_has_the_same_chance() {
        let hosts: HostList = vec![host(1, 1), host(2, 100), host(3, 1)].into();
        let mut picker = Random::new(Rng::with_seed(7));
        let mut counts = [0; 3];
        for _ in 0..3000 {
            counts[usize::from(picker.pick(&hosts).unwrap().address.port().unwrap()) - 1] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert!(picker.pick(&HostList::from(vec![])).is_none());
    }
}
