//! Why a connection does not begin with a `ClientHello`, in the words of Envoy's TLS library.

use std::fmt;

macro_rules! failures {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)+) => {
        /// What is wrong with the bytes. It prints as `%DOWNSTREAM_TRANSPORT_FAILURE_REASON%` does in Envoy.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Failure { $($(#[$doc])* $variant,)+ }

        impl Failure {
            /// BoringSSL's number and name of the error.
            fn in_boringssl(self) -> (u32, &'static str) {
                match self { $(Self::$variant => ($code, $name),)+ }
            }
        }
    };
}

// Numbers and names were seen in Envoy 1.40's access logs.
failures! {
    /// An HTTP request in the clear.
    HttpRequest = 0x1000_009c, "HTTP_REQUEST";
    /// A CONNECT request in the clear.
    ProxyRequest = 0x1000_009b, "HTTPS_PROXY_REQUEST";
    /// No version of TLS where one should be: not TLS at all.
    WrongVersion = 0x1000_00f7, "WRONG_VERSION_NUMBER";
    /// A record that is longer than TLS allows.
    RecordTooLong = 0x1000_0092, "ENCRYPTED_LENGTH_TOO_LONG";
    /// A record that is not of a handshake.
    UnexpectedRecord = 0x1000_00e1, "UNEXPECTED_RECORD";
    /// A message that is longer than a `ClientHello` may be.
    MessageTooLong = 0x1000_0096, "EXCESSIVE_MESSAGE_SIZE";
    /// Another message than a `ClientHello`.
    UnexpectedMessage = 0x1000_00df, "UNEXPECTED_MESSAGE";
    /// More behind the `ClientHello` than may be there.
    ExcessData = 0x1000_00ff, "EXCESS_HANDSHAKE_DATA";
    /// A `ClientHello` whose parts do not fit together.
    Malformed = 0x1000_0083, "CLIENTHELLO_PARSE_FAILED";
    /// A server name extension that is none.
    MalformedServerName = 0x1000_0095, "ERROR_PARSING_EXTENSION";
    /// A version of TLS that does not exist.
    InvalidVersion = 0x1000_0085, "CONNECTION_REJECTED";
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, name) = self.in_boringssl();
        write!(f, "TLS_error|error:{code:x}:SSL_routines:OPENSSL_internal:{name}:TLS_error_end")
    }
}
