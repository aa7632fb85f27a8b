//! Response flags: why a connection or a request ended the way it did, under Envoy's short and long names.

use std::fmt;

macro_rules! response_flags {
    ($($(#[$doc:meta])* $variant:ident = $short:literal, $long:literal;)+) => {
        /// One reason. The order is Envoy's.
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

/// A set of flags; prints as `UF,URX` in the order in which they were set, as in Envoy, or `-` when empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResponseFlags {
    set: u32,
    /// The first flags that were set, as numbers from 1; few streams have more than two.
    first: [u8; 8],
}

impl ResponseFlags {
    /// Adds a flag.
    pub fn insert(&mut self, flag: ResponseFlag) {
        if self.contains(flag) {
            return;
        }
        if let Some(free) = self.first.get_mut(self.set.count_ones() as usize) {
            *free = flag as u8 + 1;
        }
        self.set |= 1 << flag as u8;
    }

    /// Whether the flag is set.
    pub fn contains(self, flag: ResponseFlag) -> bool {
        self.set & (1 << flag as u8) != 0
    }

    /// Whether none is set.
    pub fn is_empty(self) -> bool {
        self.set == 0
    }

    /// The flags that are set, in the order in which they were.
    pub fn iter(self) -> impl Iterator<Item = ResponseFlag> {
        let first = self
            .first
            .into_iter()
            .filter_map(|number| ResponseFlag::ALL.get(usize::from(number).checked_sub(1)?).copied());
        let others = ResponseFlag::ALL
            .iter()
            .copied()
            .filter(move |flag| self.contains(*flag) && !self.first.contains(&(*flag as u8 + 1)));
        first.chain(others)
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

/// Sets are the same whatever the order.
impl PartialEq for ResponseFlags {
    fn eq(&self, other: &Self) -> bool {
        self.set == other.set
    }
}

impl Eq for ResponseFlags {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_in_the_order_in_which_they_were_set() {
        let mut flags = ResponseFlags::default();
        assert_eq!((flags.to_string(), flags.long()), ("-".into(), "-".into()));
        flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
        flags.insert(ResponseFlag::UpstreamConnectionFailure);
        flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
        assert_eq!(flags.to_string(), "URX,UF");
        assert_eq!(flags.long(), "UpstreamRetryLimitExceeded,UpstreamConnectionFailure");
    }

    #[test]
    fn no_flag_is_lost_however_many_there_are() {
        let mut flags = ResponseFlags::default();
        ResponseFlag::ALL.iter().rev().for_each(|flag| flags.insert(*flag));
        let mut all: Vec<_> = flags.iter().collect();
        assert_eq!(all[0], *ResponseFlag::ALL.last().unwrap());
        all.sort();
        assert_eq!(all, ResponseFlag::ALL);
    }
}
