//! The sections of `/config_dump` that show the bootstrap itself.

use serde_json::json;
use underpass_core::{admin::Admin, config::Document};

use crate::timestamp;

/// Adds the bootstrap as it was read, both files merged, and the secrets, of which there are none.
pub fn add(admin: &dyn Admin, document: &Document) {
    let (root, read) = (document.root.clone(), timestamp::now());
    let section = move || {
        json!({
            "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
            "bootstrap": root.to_json(),
            "last_updated": read,
        })
    };
    admin.add_config_dump("bootstrap", Box::new(section));
    let section = || json!({ "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump" });
    admin.add_config_dump("secrets", Box::new(section));
}
