//! The messages of `envoy.config.core.v3` and `envoy.type.v3` that extensions embed in their own.

mod address;
mod config_source;
mod data_source;
mod format;
mod headers;
mod metadata;
mod numbers;
mod proxy_protocol;
mod socket;

pub use self::{
    address::{Address, CidrRange, EnvoyInternalAddress, Pipe, Protocol, SocketAddress},
    config_source::{ApiVersion, ConfigSource, PathConfigSource, RawMessage, SourceKind, WatchedDirectory},
    data_source::{DataSource, DataSourceError},
    format::{FormatterConfig, JsonFormatOptions, SubstitutionFormatString},
    headers::{AppendAction, HeaderValue, HeaderValueOption},
    metadata::{Metadata, MetadataKey, MetadataPathSegment},
    numbers::{
        Denominator, FractionalPercent, Int64Range, Percent, RuntimeDouble, RuntimeFeatureFlag,
        RuntimeFractionalPercent, RuntimeUInt32,
    },
    proxy_protocol::{PassThroughTlvs, PassTlvsMatchType},
    socket::{SocketOption, SocketState, TcpKeepalive},
};
