//! The first message of a TLS client, made by hand: enough for whoever wants to know the server's name.

/// A `ClientHello` in one record: RFC 8446 section 4.1.2, with server name (RFC 6066 section 3) and ALPN (RFC 7301).
pub fn client_hello(server_name: &str, protocols: &[&str]) -> Vec<u8> {
    let name = [&[0], &*sized16(server_name.as_bytes())].concat();
    let protocols: Vec<u8> = protocols.iter().flat_map(|it| sized8(it.as_bytes())).collect();
    let mut extensions = vec![
        extension(0x0000, &sized16(&name)),
        // X25519, ECDSA and RSA-PSS with SHA-256, TLS 1.3, a key share of zeros.
        extension(0x000a, &sized16(&[0x00, 0x1d])),
        extension(0x000d, &sized16(&[0x04, 0x03, 0x08, 0x04])),
        extension(0x002b, &sized8(&[0x03, 0x04])),
        extension(0x0033, &sized16(&[&[0x00, 0x1d], &*sized16(&[9; 32])].concat())),
    ];
    if !protocols.is_empty() {
        extensions.push(extension(0x0010, &sized16(&protocols)));
    }
    let body = [
        &[0x03, 0x03][..],
        &[7; 32],
        &sized8(&[]),
        // TLS_AES_128_GCM_SHA256, no compression.
        &sized16(&[0x13, 0x01]),
        &sized8(&[0]),
        &sized16(&extensions.concat()),
    ]
    .concat();
    let handshake = [&[0x01, 0x00], &*sized16(&body)].concat();
    [&[0x16, 0x03, 0x01], &*sized16(&handshake)].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized16(data)].concat()
}

fn sized8(data: &[u8]) -> Vec<u8> {
    let length = u8::try_from(data.len()).expect("short enough for a byte");
    [&[length], data].concat()
}

fn sized16(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("short enough for two bytes");
    [&length.to_be_bytes()[..], data].concat()
}
