//! Ids that are made at random, for streams and whatever else a log shall tell apart.

use std::fmt;

/// A random UUID (RFC 9562, version 4).
pub(crate) struct Uuid(u128);

impl Uuid {
    pub(crate) fn random() -> Self {
        let version = 0x4 << 76;
        let variant = 0x2 << 62;
        Self(fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | version | variant)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

#[cfg(test)]
mod tests {
    use super::Uuid;

    #[test]
    fn ids_have_the_form_of_a_random_uuid() {
        let form = regex::Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
            .unwrap();
        for _ in 0..100 {
            let id = Uuid::random().to_string();
            assert!(form.is_match(&id), "{id}");
        }
    }
}
