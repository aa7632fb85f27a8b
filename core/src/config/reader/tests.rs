//! Reading, told by what is read and what is refused.

mod any_tree;
mod proto_json;
mod refusals;
mod unknown_fields;

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::*;
use crate::config::{
    Address, ByteString, DataSource, Metadata, NonEmptyString, PositiveDuration, Ranged, Struct, Value,
    merge, parse_yaml, required_one_of,
};

/// A bit of everything; no message of Envoy's.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Everything {
    some_text: String,
    small: u8,
    count: u32,
    signed: i64,
    wide: u64,
    ratio: f64,
    flag: bool,
    wrapper: Option<u32>,
    timeout: Option<Duration>,
    data: ByteString,
    mode: Mode,
    list: Vec<Everything>,
    by_name: BTreeMap<String, u32>,
    by_number: BTreeMap<u32, String>,
    by_flag: BTreeMap<bool, String>,
    child: Option<Box<Everything>>,
    values: Struct,
    value: Option<Value>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Mode {
    #[default]
    RoundRobin,
    Random,
}

/// What reading `yaml` gives, with the warnings, or all that is wrong.
fn try_read<T: DeserializeOwned>(message_type: &str, yaml: &str) -> Result<(T, String), String> {
    let document = parse_yaml("f.yaml", yaml).map_err(|report| report.to_string())?;
    let extensions = ExtensionSet::default();
    let reader = Reader::new(&extensions).harmless(&[("envoy.config.listener.v3.Listener", "stat_prefix")]);
    let value = reader.read(&document.root, ConfigPath::root(), message_type);
    let report = reader.into_report();
    assert_eq!(
        value.is_some(),
        !report.has_errors(),
        "a value comes back unless there is an error:\n{report}"
    );
    value.map(|value| (value, report.to_string())).ok_or_else(|| report.to_string())
}

fn read<T: DeserializeOwned>(yaml: &str) -> T {
    try_read("", yaml).unwrap_or_else(|report| panic!("{report}")).0
}

fn refused<T: DeserializeOwned>(yaml: &str) -> String {
    match try_read::<T>("", yaml) {
        Ok(_) => panic!("{yaml} must be refused"),
        Err(report) => report,
    }
}

fn everything(yaml: &str) -> Everything {
    read(yaml)
}
