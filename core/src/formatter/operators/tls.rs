//! TLS sessions and certificates. No transport socket of this proxy speaks TLS itself, and without it there is no value,
//! as in Envoy; formats that name these operators work all the same.

use crate::formatter::time::TimeFormat;
use crate::formatter::{Command, FormatContext, Operator, OperatorEntry, Output};

macro_rules! absent {
    ($($name:ident)+; $($time:ident)+) => {
        &[
            $(OperatorEntry::plain(stringify!($name), |_, _| {}),)+
            $(OperatorEntry::with_optional(stringify!($time), absent_time),)+
        ]
    };
}

pub(super) const OPERATORS: &[OperatorEntry] = absent! {
    DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_IP_SAN DOWNSTREAM_LOCAL_OTHERNAME_SAN
    DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1
    DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256 DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_DNS_SAN
    DOWNSTREAM_PEER_EMAIL_SAN DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_IP_SAN
    DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256 DOWNSTREAM_PEER_ISSUER_SERIAL
    DOWNSTREAM_PEER_OTHERNAME_SAN DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN
    DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_GROUP DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_VERSION
    TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT
    UPSTREAM_LOCAL_DNS_SAN UPSTREAM_LOCAL_IP_SAN UPSTREAM_LOCAL_URI_SAN UPSTREAM_PEER_CERT UPSTREAM_PEER_DNS_SAN
    UPSTREAM_PEER_IP_SAN UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN UPSTREAM_SERVER_NAME
    UPSTREAM_TLS_CIPHER UPSTREAM_TLS_GROUP UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION;
    DOWNSTREAM_PEER_CERT_V_END DOWNSTREAM_PEER_CERT_V_START UPSTREAM_PEER_CERT_V_END UPSTREAM_PEER_CERT_V_START
};

/// A certificate's time; its format is checked now, so that it does not fail when certificates come.
fn absent_time(command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    TimeFormat::parse(command.argument, false)?;
    Ok(Box::new(|_: &FormatContext<'_>, _: &mut Output<'_>| {}))
}
