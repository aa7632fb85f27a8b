//! Times and durations.

use std::time::{Duration, Instant, SystemTime};

use crate::formatter::time::TimeFormat;
use crate::formatter::{Command, FormatContext, Operator, OperatorEntry, Output};
use crate::stream_info::StreamInfo;

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry::with_optional("START_TIME", |command| time(command, false, StreamInfo::start_time)),
    OperatorEntry::with_optional("START_TIME_LOCAL", |command| time(command, true, StreamInfo::start_time)),
    OperatorEntry::with_optional("EMIT_TIME", |command| time(command, false, |_| SystemTime::now())),
    OperatorEntry::with_optional("EMIT_TIME_LOCAL", |command| time(command, true, |_| SystemTime::now())),
    OperatorEntry::plain("DURATION", |cx, out| milliseconds(Some(cx.info.duration()), out)),
    OperatorEntry::plain("UPSTREAM_CONNECTION_POOL_READY_DURATION", |cx, out| {
        milliseconds(cx.info.upstream.connection_pool_ready.get(), out);
    }),
    OperatorEntry::with_required("COMMON_DURATION", common_duration),
    OperatorEntry::plain("REQUEST_DURATION", |cx, out| {
        since_start(cx, cx.info.details.last_byte_received.get(), out);
    }),
    OperatorEntry::plain("REQUEST_TX_DURATION", |cx, out| {
        since_start(cx, cx.info.upstream.details.last_byte_sent.get(), out);
    }),
    OperatorEntry::plain("RESPONSE_DURATION", |cx, out| {
        since_start(cx, cx.info.upstream.details.first_byte_received.get(), out);
    }),
    OperatorEntry::plain("RESPONSE_TX_DURATION", |cx, out| {
        let (info, from) = (cx.info, cx.info.upstream.details.first_byte_received.get());
        let duration = from.and_then(|from| info.details.last_byte_sent.get()?.checked_duration_since(from));
        milliseconds(duration, out);
    }),
    OperatorEntry::plain("ROUNDTRIP_DURATION", |_, _| {}),
    // What follows is about handshakes; a stream of bytes has none.
    OperatorEntry::plain("DOWNSTREAM_HANDSHAKE_DURATION", |_, _| {}),
    OperatorEntry::plain("ROUTE_RESOLUTION_TIME_US", |_, _| {}),
    OperatorEntry::plain("ROUTE_RESOLUTION_COUNT", |_, out| out.number(0_u64)),
];

fn time(
    command: &Command<'_>,
    local: bool,
    when: fn(&StreamInfo) -> SystemTime,
) -> Result<Box<dyn Operator>, String> {
    let format = TimeFormat::parse(command.argument, local)?;
    Ok(Box::new(move |cx: &FormatContext<'_>, out: &mut Output<'_>| {
        if let Some(time) = format.of(when(cx.info)) {
            out.display(time);
        }
    }))
}

/// From the start of a request to a moment of it.
fn since_start(cx: &FormatContext<'_>, moment: Option<Instant>, out: &mut Output<'_>) {
    milliseconds(moment.and_then(|moment| moment.checked_duration_since(cx.info.start())), out);
}

fn milliseconds(duration: Option<Duration>, out: &mut Output<'_>) {
    if let Some(duration) = duration {
        out.number(as_number(duration.as_millis()));
    }
}

/// Saturates after 584 years of nanoseconds.
fn as_number(units: u128) -> u64 {
    u64::try_from(units).unwrap_or(u64::MAX)
}

/// A moment of a stream's life that `%COMMON_DURATION%` can name.
type Moment = fn(&StreamInfo) -> Option<Instant>;

/// The moments that are noted. All other names are valid, as in Envoy, and have no value.
fn moment(name: &str) -> Moment {
    match name {
        "DS_CX_BEG" | "DS_RX_BEG" => |info| Some(info.start()),
        "DS_CX_END" => |info| Some(info.start() + info.completed_after.get()?),
        "DS_RX_END" => |info| info.details.last_byte_received.get(),
        "DS_TX_BEG" => |info| info.details.first_byte_sent.get(),
        "DS_TX_END" => |info| info.details.last_byte_sent.get(),
        "US_TX_BEG" => |info| info.upstream.details.first_byte_sent.get(),
        "US_TX_END" => |info| info.upstream.details.last_byte_sent.get(),
        "US_RX_BEG" => |info| info.upstream.details.first_byte_received.get(),
        "US_RX_END" => |info| info.upstream.details.last_byte_received.get(),
        "US_CX_BEG" => |info| info.upstream.connect_started.get(),
        "US_CX_END" => |info| info.upstream.connected.get(),
        _ => |_| None,
    }
}

/// `%COMMON_DURATION(DS_RX_BEG:US_CX_END:us)%`.
fn common_duration(command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    let words: Vec<&str> = command.argument.split(':').collect();
    let (from, to, unit) = match words[..] {
        [from, to] => (from, to, "ms"),
        [from, to, unit] => (from, to, unit),
        _ => return Err(format!("Invalid common duration configuration: {}.", command.argument)),
    };
    let units: fn(&Duration) -> u128 = match unit {
        "ms" => Duration::as_millis,
        "us" => Duration::as_micros,
        "ns" => Duration::as_nanos,
        _ => return Err(format!("Invalid common duration precision: {unit}.")),
    };
    let (from, to) = (moment(from), moment(to));
    Ok(Box::new(move |cx: &FormatContext<'_>, out: &mut Output<'_>| {
        if let (Some(from), Some(to)) = (from(cx.info), to(cx.info))
            && let Some(duration) = to.checked_duration_since(from)
        {
            out.number(as_number(units(&duration)));
        }
    }))
}
