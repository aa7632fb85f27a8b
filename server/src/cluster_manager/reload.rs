//! Reading the configuration file again: its clusters become those that the file has now.
//!
//! A cluster of the file takes the place of one of the same name that a watched file or a control plane added, as at a start,
//! where it is there first.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use underpass_core::build_context::BuildError;

use super::{ClusterConfig, ClusterManager, Managed};

impl ClusterManager {
    /// Adds a cluster of the configuration file, or changes the one of that name. Returns whether anything changed.
    pub fn set_static(
        self: &Arc<Self>,
        config: &ClusterConfig<'_>,
        warnings: &RefCell<Vec<BuildError>>,
    ) -> Result<bool, BuildError> {
        self.change(config, warnings)
    }

    /// Removes a cluster of the configuration file. Connections to it live on.
    pub fn remove_static(&self, name: &str) -> bool {
        self.take_out(name, false)
    }

    /// The names of those that come from the configuration file.
    pub fn static_names(&self) -> BTreeSet<Arc<str>> {
        let state = self.lock();
        let all = state.active.values().chain(state.warming.values());
        let of_file = all.filter(|managed| !managed.added_via_api);
        of_file.map(|managed| Arc::clone(&managed.cluster.info.name)).collect()
    }

    /// Whether a version of this cluster waits for its first hosts.
    pub fn is_warming(&self, name: &str) -> bool {
        self.lock().warming.contains_key(name)
    }

    /// Makes a cluster that others added one of the configuration file, which says the same.
    pub(super) fn adopt(&self, name: &str) -> bool {
        let mut state = self.lock();
        let state = &mut *state;
        let versions = [state.active.get_mut(name), state.warming.get_mut(name)];
        versions.into_iter().flatten().map(Managed::adopt).count() > 0
    }
}
