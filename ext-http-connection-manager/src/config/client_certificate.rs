//! What the upstream is told of the client's certificate, by the header `x-forwarded-client-cert`.

use serde::Deserialize;

/// `HttpConnectionManager.ForwardClientCertDetails`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ForwardClientCertDetails {
    /// The header does not pass.
    #[default]
    Sanitize,
    /// With a client certificate, it passes.
    ForwardOnly,
    /// With a client certificate, its details are added.
    AppendForward,
    /// With a client certificate, it is replaced by its details.
    SanitizeSet,
    /// It passes.
    AlwaysForwardOnly,
}

/// `HttpConnectionManager.SetCurrentClientCertDetails`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SetCurrentClientCertDetails {
    /// The subject.
    pub subject: Option<bool>,
    /// The certificate itself.
    pub cert: bool,
    /// The whole chain.
    pub chain: bool,
    /// Its DNS names.
    pub dns: bool,
    /// Its URIs.
    pub uri: bool,
}
