//! The filter state that the filter reads, so that `set_filter_state` can make it.

use std::rc::Rc;

use underpass_core::{
    extension::Registration,
    filter_state::{AddressObject, FilterStateObject, OBJECT_FACTORY_CATEGORY, ObjectFactory},
};

/// Where the connection was meant to go.
pub(crate) const LOCAL: &str = "envoy.filters.listener.original_dst.local_ip";

/// Who it is from.
pub(crate) const REMOTE: &str = "envoy.filters.listener.original_dst.remote_ip";

fn create(text: &str) -> Result<Rc<dyn FilterStateObject>, String> {
    Ok(Rc::new(AddressObject::parse(text)?))
}

inventory::submit! {
    ObjectFactory {
        registration: Registration::named(
            OBJECT_FACTORY_CATEGORY,
            LOCAL,
            env!("CARGO_PKG_NAME"),
            "Where a connection was meant to go, for original_dst behind an internal hop.",
        ),
        create,
    }
}

inventory::submit! {
    ObjectFactory {
        registration: Registration::named(
            OBJECT_FACTORY_CATEGORY,
            REMOTE,
            env!("CARGO_PKG_NAME"),
            "Who a connection is from, for original_dst behind an internal hop.",
        ),
        create,
    }
}
