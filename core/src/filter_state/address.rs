//! An IP address with a port as filter state.

use std::{any::Any, net::SocketAddr};

use super::FilterStateObject;

/// An IP address with a port, made from a text such as `10.1.2.3:80` or `[::1]:80`.
///
/// Several well-known names hold one, for example `envoy.filters.listener.original_dst.local_ip`. Streams whose addresses
/// differ do not share upstream connections (Envoy's `source/common/network/filter_state_dst_address.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressObject(pub SocketAddr);

impl AddressObject {
    /// Reads the text; the error says what it should be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?} is no IP address with a port, such as 10.1.2.3:80 or [::1]:80");
        text.parse().map(Self).map_err(|_| expected())
    }
}

impl FilterStateObject for AddressObject {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize_as_string(&self) -> Option<String> {
        Some(self.0.to_string())
    }

    /// Envoy's object has no protobuf form, so `%FILTER_STATE(key)%` prints `-`; `:PLAIN` and `:FIELD:` have a value.
    fn serialize_as_json(&self) -> Option<serde_json::Value> {
        None
    }

    fn field(&self, name: &str) -> Option<String> {
        match name {
            "ip" => Some(self.0.ip().to_string()),
            "port" => Some(self.0.port().to_string()),
            _ => None,
        }
    }

    fn hash(&self) -> Option<u64> {
        Some(xxhash_rust::xxh64::xxh64(self.0.to_string().as_bytes(), 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_parts_can_be_asked_for() {
        let object = AddressObject::parse("[1::2]:99").unwrap();
        assert_eq!(object.serialize_as_string().as_deref(), Some("[1::2]:99"));
        assert_eq!(object.serialize_as_json(), None);
        let field = |name| object.field(name);
        assert_eq!(
            [field("ip"), field("port"), field("name")],
            [Some("1::2".into()), Some("99".into()), None]
        );
    }

    #[test]
    fn different_addresses_split_pools() {
        let hash = |text| AddressObject::parse(text).unwrap().hash();
        assert_eq!(hash("1.2.3.4:80"), hash("1.2.3.4:80"));
        assert_ne!(hash("1.2.3.4:80"), hash("1.2.3.4:81"));
    }

    #[test]
    fn a_text_that_is_no_address_is_an_error() {
        for text in [
            "",
            "nonsense",
            "1.2.3.4",
            "1.2.3.4:",
            "1.2.3.4:99999",
            "::1:80",
            "01.2.3.4:80",
            " 1.2.3.4:80",
            "envoy://a/",
        ] {
            assert!(AddressObject::parse(text).is_err(), "{text:?}");
        }
        insta::assert_snapshot!(AddressObject::parse("1.2.3.4").unwrap_err(), @r#""1.2.3.4" is no IP address with a port, such as 10.1.2.3:80 or [::1]:80"#);
    }
}
