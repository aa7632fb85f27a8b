//! Addresses of the downstream connection, and how any address is printed.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::Address;
use crate::formatter::{Command, FormatContext, Operator, OperatorEntry, Output};
use crate::stream_info::DownstreamAddresses;

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry::plain("DOWNSTREAM_REMOTE_ADDRESS", |cx, out| print(cx, out, |a| a.remote(), whole)),
    OperatorEntry::with_optional("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", |c| {
        without_port_of(c, |a| a.remote())
    }),
    OperatorEntry::plain("DOWNSTREAM_REMOTE_PORT", |cx, out| print(cx, out, |a| a.remote(), port)),
    OperatorEntry::plain("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", |cx, out| {
        print(cx, out, |a| a.direct_remote(), whole);
    }),
    OperatorEntry::with_optional("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", |c| {
        without_port_of(c, |a| a.direct_remote())
    }),
    OperatorEntry::plain("DOWNSTREAM_DIRECT_REMOTE_PORT", |cx, out| {
        print(cx, out, |a| a.direct_remote(), port);
    }),
    OperatorEntry::plain("DOWNSTREAM_LOCAL_ADDRESS", |cx, out| print(cx, out, |a| a.local(), whole)),
    OperatorEntry::with_optional("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", |c| {
        without_port_of(c, |a| a.local())
    }),
    OperatorEntry::plain("DOWNSTREAM_LOCAL_PORT", |cx, out| print(cx, out, |a| a.local(), port)),
    OperatorEntry::plain("DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID", |cx, out| {
        print(cx, out, |a| a.local(), endpoint_id);
    }),
    OperatorEntry::plain("DOWNSTREAM_DIRECT_LOCAL_ADDRESS", |cx, out| {
        print(cx, out, |a| a.direct_local(), whole);
    }),
    OperatorEntry::with_optional("DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT", |c| {
        without_port_of(c, |a| a.direct_local())
    }),
    OperatorEntry::plain("DOWNSTREAM_DIRECT_LOCAL_PORT", |cx, out| {
        print(cx, out, |a| a.direct_local(), port);
    }),
    OperatorEntry::plain("DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID", |cx, out| {
        print(cx, out, |a| a.direct_local(), endpoint_id);
    }),
];

fn print(
    cx: &FormatContext<'_>,
    out: &mut Output<'_>,
    which: fn(&DownstreamAddresses) -> &Address,
    how: fn(&Address, &mut Output<'_>),
) {
    how(which(&cx.info.addresses.borrow()), out);
}

#[expect(clippy::unnecessary_wraps, reason = "the form of all operators with arguments")]
fn without_port_of(
    command: &Command<'_>,
    which: fn(&DownstreamAddresses) -> &Address,
) -> Result<Box<dyn Operator>, String> {
    let mask = mask(command);
    Ok(Box::new(move |cx: &FormatContext<'_>, out: &mut Output<'_>| {
        without_port(which(&cx.info.addresses.borrow()), mask, out);
    }))
}

/// How many bits of an IP address are printed. Envoy ignores an argument that is no number.
pub(super) fn mask(command: &Command<'_>) -> Option<u8> {
    let bits: u64 = command.argument.trim().parse().ok()?;
    Some(u8::try_from(bits).unwrap_or(u8::MAX))
}

pub(super) fn whole(address: &Address, out: &mut Output<'_>) {
    out.display(address);
}

/// The address without its port; with a mask, as a network: `10.1.0.0/16`.
pub(super) fn without_port(address: &Address, mask: Option<u8>, out: &mut Output<'_>) {
    match (address.socket(), mask) {
        (Some(socket), Some(bits)) => out.display(network(socket.ip(), bits)),
        (Some(socket), None) => out.display(socket.ip()),
        (None, _) => out.display(address),
    }
}

fn network(ip: IpAddr, bits: u8) -> IpNet {
    let host = IpNet::from(ip);
    IpNet::new(ip, bits).map_or(host, |network| network.trunc())
}

/// The port; addresses of other kinds have none.
pub(super) fn port(address: &Address, out: &mut Output<'_>) {
    match address.socket() {
        Some(socket) => out.number(socket.port()),
        None => out.blank(),
    }
}

/// The endpoint id of an internal address; empty for addresses of other kinds.
pub(super) fn endpoint_id(address: &Address, out: &mut Output<'_>) {
    match address {
        Address::Internal(internal) => out.text(&internal.endpoint_id),
        _ => out.text(""),
    }
}
