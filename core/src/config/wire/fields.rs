//! The records of an encoded message: numbers with payloads, before anybody knows what they mean.

/// One record.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Field<'b> {
    pub(in crate::config) number: u32,
    pub(in crate::config) payload: Payload<'b>,
}

/// What a record carries, by its wire type.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) enum Payload<'b> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'b [u8]),
}

/// The records of a message, in the order of the wire.
pub(in crate::config) fn parse(mut bytes: &[u8]) -> Result<Vec<Field<'_>>, String> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        fields.push(field(&mut bytes).ok_or("its bytes are no protobuf, or are cut off")?);
    }
    Ok(fields)
}

/// The last record of that number: for fields that are no lists it is the one that counts.
pub(in crate::config) fn last<'b>(fields: &[Field<'b>], number: u32) -> Option<Payload<'b>> {
    fields.iter().rev().find(|field| field.number == number).map(|field| field.payload)
}

fn field<'b>(bytes: &mut &'b [u8]) -> Option<Field<'b>> {
    let tag = varint(bytes)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0)?;
    let payload = match tag & 7 {
        0 => Payload::Varint(varint(bytes)?),
        1 => Payload::Fixed64(fixed64(bytes)?),
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Payload::Bytes(take(bytes, length)?)
        }
        5 => Payload::Fixed32(fixed32(bytes)?),
        // Groups, which proto3 does not have, and what is not assigned.
        _ => return None,
    };
    Some(Field { number, payload })
}

/// A number in groups of seven bits, lowest first; at most ten of them.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

pub(super) fn fixed64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes, 8)?.try_into().ok().map(u64::from_le_bytes)
}

pub(super) fn fixed32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn take<'b>(bytes: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}
