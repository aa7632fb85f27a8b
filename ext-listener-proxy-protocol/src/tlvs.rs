//! What becomes of TLVs: notes for logs and matchers, and values for headers upstream.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use underpass_core::{
    config::{PassThroughTlvs, PassTlvsMatchType, Struct, Value},
    filter_state::{Entry, FilterStateObject, LifeSpan, SharedWithUpstream},
    proxy_protocol::Tlv,
    stream_info::StreamInfo,
};

use crate::config::{KeyValuePair, ProxyProtocol, TlvLocation, ValueStringEncoding};

/// The namespace of the metadata where a rule names none.
const NAMESPACE: &str = "envoy.filters.listener.proxy_protocol";

/// The filter state that holds all noted TLVs (`tlv_location: FILTER_STATE`).
const FILTER_STATE_KEY: &str = "envoy.network.proxy_protocol.tlv";

/// What becomes of TLVs.
#[derive(Debug)]
pub(crate) struct TlvRules {
    notes: HashMap<u8, KeyValuePair>,
    location: TlvLocation,
    passed_through: PassedThrough,
}

#[derive(Debug)]
enum PassedThrough {
    All,
    Only(HashSet<u8>),
}

impl TlvRules {
    /// Of several rules for one type, the last one counts, as in Envoy.
    pub(crate) fn new(config: &ProxyProtocol) -> Self {
        let rules = config.rules.iter();
        let passed_through = match &config.pass_through_tlvs {
            None => PassedThrough::Only(HashSet::new()),
            Some(PassThroughTlvs { match_type: PassTlvsMatchType::IncludeAll, .. }) => PassedThrough::All,
            Some(PassThroughTlvs { tlv_type, .. }) => PassedThrough::Only(tlv_type.iter().copied().collect()),
        };
        Self {
            notes: rules.filter_map(|rule| Some((rule.tlv_type, rule.on_tlv_present.clone()?))).collect(),
            location: config.tlv_location,
            passed_through,
        }
    }

    /// Notes the TLVs that rules ask for.
    pub(crate) fn note(&self, tlvs: &[Tlv], info: &StreamInfo) {
        let notes: Vec<(&KeyValuePair, String)> = tlvs
            .iter()
            .filter_map(|tlv| {
                self.notes.get(&tlv.kind).map(|note| (note, text(note.value_string_encoding, &tlv.value)))
            })
            .collect();
        match self.location {
            _ if notes.is_empty() => {}
            TlvLocation::DynamicMetadata => note_in_metadata(notes, info),
            TlvLocation::FilterState => note_in_filter_state(notes, info),
        }
    }

    /// The TLVs that are kept for headers upstream.
    pub(crate) fn passed_through(&self, mut tlvs: Vec<Tlv>) -> Vec<Tlv> {
        if let PassedThrough::Only(kinds) = &self.passed_through {
            tlvs.retain(|tlv| kinds.contains(&tlv.kind));
        }
        tlvs
    }
}

/// A value that is there already stays: of several TLVs of one type, the first one counts.
fn note_in_metadata(notes: Vec<(&KeyValuePair, String)>, info: &StreamInfo) {
    let mut metadata = info.dynamic_metadata.borrow_mut();
    for (note, text) in notes {
        let namespace = match note.metadata_namespace.as_str() {
            "" => NAMESPACE,
            named => named,
        };
        if metadata.get(namespace, &[note.key.as_str()]).is_none() {
            let values = Struct::from_iter([(note.key.to_string(), Value::String(text))]);
            metadata.merge(namespace, values);
        }
    }
}

fn note_in_filter_state(notes: Vec<(&KeyValuePair, String)>, info: &StreamInfo) {
    let mut values = BTreeMap::new();
    for (note, text) in notes {
        values.entry(note.key.to_string()).or_insert(text);
    }
    set_first(info, FILTER_STATE_KEY, Rc::new(Tlvs(values)));
}

/// Leaves an object on the connection, unless an earlier filter of the same kind has done that: what the outermost
/// header says counts, as in Envoy.
pub(crate) fn set_first(info: &StreamInfo, name: &str, object: Rc<dyn FilterStateObject>) {
    let mut filter_state = info.filter_state.borrow_mut();
    if filter_state.get(name).is_none() {
        let entry = Entry {
            object,
            read_only: false,
            life_span: LifeSpan::Connection,
            shared_with_upstream: SharedWithUpstream::None,
        };
        // proven: there is nothing under the name that could refuse to be replaced.
        let _ = filter_state.set(name, entry);
    }
}

fn text(encoding: ValueStringEncoding, value: &[u8]) -> String {
    match encoding {
        ValueStringEncoding::Base64 => STANDARD.encode(value),
        ValueStringEncoding::Unspecified | ValueStringEncoding::SanitizedUtf8 => value
            .utf8_chunks()
            .fold(String::new(), |text, chunk| text + chunk.valid() + &"!".repeat(chunk.invalid().len())),
    }
}

/// The noted TLVs as filter state; `%FILTER_STATE(envoy.network.proxy_protocol.tlv:FIELD:key)%` prints one of them.
#[derive(Debug)]
struct Tlvs(BTreeMap<String, String>);

impl FilterStateObject for Tlvs {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize_as_string(&self) -> Option<String> {
        self.serialize_as_json().map(|json| json.to_string())
    }

    fn serialize_as_json(&self) -> Option<serde_json::Value> {
        let text = |text: &String| serde_json::Value::from(text.as_str());
        Some(self.0.iter().map(|(key, value)| (key.clone(), text(value))).collect())
    }

    fn field(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}
