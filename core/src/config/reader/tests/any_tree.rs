//! Whatever stands in a file, it is either read or refused.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::{refusals::Checked, *};

/// Trees that are now and then what a type expects.
fn trees() -> impl Strategy<Value = Json> {
    const KEYS: [&str; 14] = [
        "count",
        "some_text",
        "someText",
        "list",
        "child",
        "by_name",
        "by_number",
        "mode",
        "timeout",
        "values",
        "ranges",
        "main",
        "start",
        "end",
    ];
    const WORDS: [&str; 8] = ["1", "-1", "RANDOM", "5s", "true", "", "9e99", "x"];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (0..5).prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        prop::sample::select(&WORDS).prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 60, 5, |inner| {
        let pairs = prop::collection::btree_map(prop::sample::select(&KEYS), inner.clone(), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Json::from),
            pairs.prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn every_tree_is_read_or_refused(tree in trees()) {
        let text = tree.to_string();
        // `try_read` checks that there is either a value or an error.
        let _read_or_refused = try_read::<Everything>("", &text);
        let _read_or_refused = try_read::<Checked>("", &text);
        let _read_or_refused = try_read::<Vec<Address>>("", &text);
        let _read_or_refused = try_read::<Value>("envoy.config.bootstrap.v3.Bootstrap", &text);
    }
}
