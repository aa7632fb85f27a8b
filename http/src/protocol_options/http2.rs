//! Options of HTTP/2 (`envoy.config.core.v3.Http2ProtocolOptions`).

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::{ConfigPath, Percent},
};

/// The sizes that Envoy 1.40 announces where nothing is set.
const DEFAULT_HPACK_TABLE_SIZE: u32 = 4096;
const DEFAULT_MAX_CONCURRENT_STREAMS: u32 = 1024;
const DEFAULT_STREAM_WINDOW: u32 = 16 * 1024 * 1024;
const DEFAULT_CONNECTION_WINDOW: u32 = 24 * 1024 * 1024;
/// By how many percent of itself the interval of keepalive pings is prolonged at most, where nothing is set.
const DEFAULT_INTERVAL_JITTER: f64 = 15.0;

/// `envoy.config.core.v3.Http2ProtocolOptions`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Http2ProtocolOptions {
    /// How many bytes the table of HPACK may have: 4096 unless set.
    pub hpack_table_size: Option<u32>,
    /// How many streams may be open at a time: 1024 unless set.
    pub max_concurrent_streams: Option<u32>,
    /// How much the peer may send on a stream before it has to wait: 16 MiB unless set.
    pub initial_stream_window_size: Option<u32>,
    /// How much the peer may send on a connection before it has to wait: 24 MiB unless set.
    pub initial_connection_window_size: Option<u32>,
    /// Whether extended CONNECT (RFC 8441) is spoken.
    pub allow_connect: bool,
    /// A limit of Envoy's codec; floods are held off by those of ours.
    pub max_outbound_frames: Option<u32>,
    /// A limit of Envoy's codec; floods are held off by those of ours.
    pub max_outbound_control_frames: Option<u32>,
    /// A limit of Envoy's codec; floods are held off by those of ours.
    pub max_consecutive_inbound_frames_with_empty_payload: Option<u32>,
    /// A limit of Envoy's codec; floods are held off by those of ours.
    pub max_inbound_priority_frames_per_stream: Option<u32>,
    /// A limit of Envoy's codec; floods are held off by those of ours.
    pub max_inbound_window_update_frames_per_data_frame_sent: Option<u32>,
    /// The old form of the next one.
    pub stream_error_on_invalid_http_messaging: bool,
    /// Whether a message that is not valid ends its stream only, not the connection.
    pub override_stream_error_on_invalid_http_message: Option<bool>,
    /// Further SETTINGS.
    pub custom_settings_parameters: Vec<SettingsParameter>,
    /// Pings that find out whether the peer is still there.
    pub connection_keepalive: Option<KeepaliveSettings>,
}

/// `Http2ProtocolOptions.SettingsParameter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct SettingsParameter {
    /// The number of the parameter.
    pub identifier: u32,
    /// Its value.
    pub value: u32,
}

/// `envoy.config.core.v3.KeepaliveSettings`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct KeepaliveSettings {
    /// How often a ping is sent.
    pub interval: Option<Duration>,
    /// How long its answer may take.
    pub timeout: Option<Duration>,
    /// By how much of itself the interval is randomly prolonged, at most: 15 % unless set.
    pub interval_jitter: Option<Percent>,
    /// After how long without a stream a ping goes ahead of the next one.
    pub connection_idle_interval: Option<Duration>,
}

/// [`Http2ProtocolOptions`] with their defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Http2Settings {
    /// `SETTINGS_HEADER_TABLE_SIZE`.
    pub hpack_table_size: u32,
    /// `SETTINGS_MAX_CONCURRENT_STREAMS`.
    pub max_concurrent_streams: u32,
    /// `SETTINGS_INITIAL_WINDOW_SIZE`.
    pub initial_stream_window_size: u32,
    /// The window of the connection.
    pub initial_connection_window_size: u32,
    /// `SETTINGS_MAX_FRAME_SIZE`, if it is set.
    pub max_frame_size: Option<u32>,
    /// `SETTINGS_MAX_HEADER_LIST_SIZE`, if it is set.
    pub max_header_list_size: Option<u32>,
    /// `SETTINGS_ENABLE_CONNECT_PROTOCOL`.
    pub allow_connect: bool,
    /// Whether a message that is not valid ends its stream only.
    pub stream_error_on_invalid_http_message: bool,
    /// Pings that find out whether the peer is still there.
    pub keepalive: Option<Keepalive>,
}

/// [`KeepaliveSettings`] with their defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Keepalive {
    /// How often a ping is sent; [`Keepalive::next_interval`] adds the jitter.
    pub interval: Option<Duration>,
    /// How long its answer may take.
    pub timeout: Duration,
    /// The largest part of the interval that is added to it, as a fraction.
    pub interval_jitter: f64,
    /// After how long without a stream a ping goes ahead of the next one.
    pub connection_idle_interval: Option<Duration>,
}

impl Http2Settings {
    /// What the options come to; `stream_error` is what holds for all versions of HTTP, `at` is where they stand.
    pub fn build(
        options: &Http2ProtocolOptions,
        stream_error: bool,
        at: &ConfigPath,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        warn_of_limits(options, at, context);
        let custom = custom_settings(options, &at.field("custom_settings_parameters"))?;
        let custom = |identifier: u32| custom.get(&identifier).copied();
        let setting =
            |named: Option<u32>, identifier, default| named.or(custom(identifier)).unwrap_or(default);
        Ok(Self {
            hpack_table_size: setting(options.hpack_table_size, 1, DEFAULT_HPACK_TABLE_SIZE),
            max_concurrent_streams: setting(
                options.max_concurrent_streams,
                3,
                DEFAULT_MAX_CONCURRENT_STREAMS,
            ),
            initial_stream_window_size: setting(options.initial_stream_window_size, 4, DEFAULT_STREAM_WINDOW),
            initial_connection_window_size: options
                .initial_connection_window_size
                .unwrap_or(DEFAULT_CONNECTION_WINDOW),
            max_frame_size: custom(5),
            max_header_list_size: custom(6),
            allow_connect: options.allow_connect,
            stream_error_on_invalid_http_message: options
                .override_stream_error_on_invalid_http_message
                .unwrap_or(stream_error || options.stream_error_on_invalid_http_messaging),
            keepalive: options.connection_keepalive.as_ref().and_then(Keepalive::new),
        })
    }
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            hpack_table_size: DEFAULT_HPACK_TABLE_SIZE,
            max_concurrent_streams: DEFAULT_MAX_CONCURRENT_STREAMS,
            initial_stream_window_size: DEFAULT_STREAM_WINDOW,
            initial_connection_window_size: DEFAULT_CONNECTION_WINDOW,
            max_frame_size: None,
            max_header_list_size: None,
            allow_connect: false,
            stream_error_on_invalid_http_message: false,
            keepalive: None,
        }
    }
}

impl Keepalive {
    /// A timeout is demanded by the reader.
    fn new(settings: &KeepaliveSettings) -> Option<Self> {
        let jitter = settings.interval_jitter.map_or(DEFAULT_INTERVAL_JITTER, |percent| percent.value);
        Some(Self {
            interval: settings.interval,
            timeout: settings.timeout?,
            interval_jitter: jitter.clamp(0.0, 100.0) / 100.0,
            connection_idle_interval: settings.connection_idle_interval,
        })
    }

    /// When to send the next ping.
    pub fn next_interval(&self) -> Option<Duration> {
        let interval = self.interval?;
        Some(interval + interval.mul_f64(self.interval_jitter * fastrand::f64()))
    }
}

fn warn_of_limits(options: &Http2ProtocolOptions, at: &ConfigPath, context: &BuildContext<'_>) {
    for (field, limit) in [
        ("max_outbound_frames", options.max_outbound_frames),
        ("max_outbound_control_frames", options.max_outbound_control_frames),
        (
            "max_consecutive_inbound_frames_with_empty_payload",
            options.max_consecutive_inbound_frames_with_empty_payload,
        ),
        ("max_inbound_priority_frames_per_stream", options.max_inbound_priority_frames_per_stream),
        (
            "max_inbound_window_update_frames_per_data_frame_sent",
            options.max_inbound_window_update_frames_per_data_frame_sent,
        ),
    ] {
        if limit.is_some() {
            let message =
                "is a limit of Envoy's codec and changes nothing here: floods are held off by fixed limits";
            context.warn(BuildError::at(at.field(field), message));
        }
    }
}

/// The parameters by number, checked as Envoy checks them (`source/common/http/utility.cc`).
fn custom_settings(
    options: &Http2ProtocolOptions,
    at: &ConfigPath,
) -> Result<BTreeMap<u32, u32>, BuildError> {
    let named = [
        (1, "hpack_table_size", options.hpack_table_size),
        (3, "max_concurrent_streams", options.max_concurrent_streams),
        (4, "initial_stream_window_size", options.initial_stream_window_size),
    ];
    let mut settings = BTreeMap::new();
    for (index, parameter) in options.custom_settings_parameters.iter().enumerate() {
        let SettingsParameter { identifier, value } = *parameter;
        let wrong = |message: String| Err(BuildError::at(at.index(index), message));
        if let Some((_, name, _)) = named.iter().find(|(id, _, named)| *id == identifier && named.is_some()) {
            return wrong(format!(
                "the {{{name}}} HTTP/2 SETTINGS parameter(s) can not be configured through both named and custom parameters"
            ));
        }
        match (identifier, value) {
            (2, 1) => {
                return wrong(
                    "server push is not supported by Envoy and can not be enabled via a SETTINGS parameter."
                        .to_owned(),
                );
            }
            (8, _) => {
                return wrong(
                    "the \"allow_connect\" SETTINGS parameter must only be configured through the named field".to_owned(),
                );
            }
            (5, 0..16_384 | 16_777_216..) => {
                return wrong(format!(
                    "a maximum frame size of {value} is not inside range [16384, 16777215]"
                ));
            }
            (1..=6, _) => {}
            _ => {
                return wrong(format!(
                    "the HTTP/2 SETTINGS parameter 0x{identifier:02x} is not implemented yet: those of RFC 9113 (1 to 6) are"
                ));
            }
        }
        if settings.insert(identifier, value).is_some_and(|before| before != value) {
            return wrong(format!(
                "inconsistent HTTP/2 custom SETTINGS parameter(s) detected; identifiers = {{0x{identifier:02x}}}"
            ));
        }
    }
    Ok(settings)
}
