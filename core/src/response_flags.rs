//! Response flags: why a connection or a request ended the way it did, under Envoy's short and long names.

use std::fmt;

macro_rules! response_flags {
    ($($(#[$doc:meta])* $variant:ident = $short:literal, $long:literal;)+) => {
        /// One reason. The order is Envoy's, in which several flags are printed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ResponseFlag { $($(#[$doc])* $variant,)+ }

        impl ResponseFlag {
            /// Every flag, in Envoy's order.
            pub const ALL: &'static [ResponseFlag] = &[$(ResponseFlag::$variant,)+];

            /// `UF`.
            pub fn short_name(self) -> &'static str {
                match self { $(Self::$variant => $short,)+ }
            }

            /// `UpstreamConnectionFailure`.
            pub fn long_name(self) -> &'static str {
                match self { $(Self::$variant => $long,)+ }
            }
        }
    };
}

// https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#response-flags
response_flags! {
    /// Local service failed its health check.
    FailedLocalHealthCheck = "LH", "FailedLocalHealthCheck";
    /// The upstream cluster has no healthy host.
    NoHealthyUpstream = "UH", "NoHealthyUpstream";
    /// The upstream did not answer in time.
    UpstreamRequestTimeout = "UT", "UpstreamRequestTimeout";
    /// The connection was reset by this proxy.
    LocalReset = "LR", "LocalReset";
    /// The upstream reset the connection.
    UpstreamRemoteReset = "UR", "UpstreamRemoteReset";
    /// Connecting to the upstream failed.
    UpstreamConnectionFailure = "UF", "UpstreamConnectionFailure";
    /// The upstream ended the connection.
    UpstreamConnectionTermination = "UC", "UpstreamConnectionTermination";
    /// A circuit breaker refused.
    UpstreamOverflow = "UO", "UpstreamOverflow";
    /// No route, or no filter chain matched.
    NoRouteFound = "NR", "NoRouteFound";
    /// A fault filter delayed the request.
    DelayInjected = "DI", "DelayInjected";
    /// A fault filter aborted the request.
    FaultInjected = "FI", "FaultInjected";
    /// A rate limit refused.
    RateLimited = "RL", "RateLimited";
    /// An authorization service refused.
    UnauthorizedExternalService = "UAEX", "UnauthorizedExternalService";
    /// The rate limit service failed.
    RateLimitServiceError = "RLSE", "RateLimitServiceError";
    /// The downstream ended the connection.
    DownstreamConnectionTermination = "DC", "DownstreamConnectionTermination";
    /// All attempts are used up.
    UpstreamRetryLimitExceeded = "URX", "UpstreamRetryLimitExceeded";
    /// The stream was idle for too long.
    StreamIdleTimeout = "SI", "StreamIdleTimeout";
    /// A header of Envoy's had an invalid value.
    InvalidEnvoyRequestHeaders = "IH", "InvalidEnvoyRequestHeaders";
    /// The downstream broke its protocol.
    DownstreamProtocolError = "DPE", "DownstreamProtocolError";
    /// The upstream stream lived for too long.
    UpstreamMaxStreamDurationReached = "UMSDR", "UpstreamMaxStreamDurationReached";
    /// A cache answered.
    ResponseFromCacheFilter = "RFCF", "ResponseFromCacheFilter";
    /// A filter's configuration did not arrive in time.
    NoFilterConfigFound = "NFCF", "NoFilterConfigFound";
    /// The connection reached its maximum duration.
    DurationTimeout = "DT", "DurationTimeout";
    /// The upstream broke its protocol.
    UpstreamProtocolError = "UPE", "UpstreamProtocolError";
    /// The cluster does not exist.
    NoClusterFound = "NC", "NoClusterFound";
    /// The overload manager ended it.
    OverloadManager = "OM", "OverloadManagerTerminated";
    /// A name could not be resolved.
    DnsResolutionFailed = "DF", "DnsResolutionFailed";
    /// Dropped by a `drop_overload` policy.
    DropOverload = "DO", "DropOverload";
    /// The downstream reset the stream.
    DownstreamRemoteReset = "DR", "DownstreamRemoteReset";
    /// Dropped by an unconditional `drop_overload` policy.
    UnconditionalDropOverload = "UDO", "UnconditionalDropOverload";
}

/// A set of flags; prints as `UF,URX`, or `-` when empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResponseFlags(u32);

impl ResponseFlags {
    /// Adds a flag.
    pub fn insert(&mut self, flag: ResponseFlag) {
        self.0 |= 1 << flag as u8;
    }

    /// Whether the flag is set.
    pub fn contains(self, flag: ResponseFlag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// Whether none is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags that are set, in Envoy's order.
    pub fn iter(self) -> impl Iterator<Item = ResponseFlag> {
        ResponseFlag::ALL.iter().copied().filter(move |flag| self.contains(*flag))
    }

    /// `UpstreamConnectionFailure,UpstreamRetryLimitExceeded`, or `-` when empty.
    pub fn long(self) -> String {
        self.join(ResponseFlag::long_name)
    }

    fn join(self, name: fn(ResponseFlag) -> &'static str) -> String {
        if self.is_empty() { "-".to_owned() } else { self.iter().map(name).collect::<Vec<_>>().join(",") }
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.join(ResponseFlag::short_name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_in_envoys_order() {
        let mut flags = ResponseFlags::default();
        assert_eq!((flags.to_string(), flags.long()), ("-".into(), "-".into()));
        flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
        flags.insert(ResponseFlag::UpstreamConnectionFailure);
        assert_eq!(flags.to_string(), "UF,URX");
        assert_eq!(flags.long(), "UpstreamConnectionFailure,UpstreamRetryLimitExceeded");
    }
}
