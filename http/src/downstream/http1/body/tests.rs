use proptest::prelude::*;

use super::*;

/// A body, how it ended if it did, and what is left.
type Whole = (Vec<u8>, Option<Option<HeaderMap>>, Vec<u8>);

/// Everything that a decoder makes of pieces.
fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<Whole, BadFraming> {
    let (mut decoder, mut buffer, mut body) = (Decoder::new(framing), BytesMut::new(), Vec::new());
    let mut end = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while end.is_none() {
            match decoder.decode(&mut buffer)? {
                Decoded::Data(data) => body.extend_from_slice(&data),
                Decoded::End(trailers) => end = Some(trailers),
                Decoded::Nothing => break,
            }
        }
    }
    Ok((body, end, buffer.to_vec()))
}

#[test]
fn bodies_end_where_their_framing_says() {
    let (body, end, rest) = decode(Framing::Length(5), &[b"helloGET"]).unwrap();
    assert_eq!((&body[..], end, &rest[..]), (&b"hello"[..], Some(None), &b"GET"[..]));
    let (body, end, rest) =
        decode(Framing::Chunked, &[b"5;a=\"b\"\r\nhello\r\n2\r\n!!\r\n0\r\nx-t: 1\r\n\r\nGET"]).unwrap();
    assert_eq!((&body[..], &rest[..]), (&b"hello!!"[..], &b"GET"[..]));
    assert_eq!(end.unwrap().unwrap()["x-t"], "1");
}

#[test]
fn broken_chunks_are_refused_at_once() {
    for text in [
        &b"zz\r\n"[..],
        b"z",
        b"5\nhello\r\n",
        b"5\r\nhelloXX",
        b"5\r\nhello\n",
        b"fffffffffffffffff\r\n",
        b"ffffffffffffffff\r\n",
        b"-5\r\n",
        b"0x5\r\n",
        b" 5\r\n",
        b"5 x\r\n",
        b"5;a\x01\r\n",
        b"\r\n",
        b"0\r\nbad header\r\n\r\n",
        b"0\r\na : b\r\n\r\n",
    ] {
        assert_eq!(decode(Framing::Chunked, &[text]), Err(BadFraming), "{}", text.escape_ascii());
    }
    let endless_extension = [&b"5;"[..], &vec![b'x'; 5000]].concat();
    assert_eq!(decode(Framing::Chunked, &[&endless_extension]), Err(BadFraming));
}

proptest! {
    /// However the wire is cut, a chunked body comes out as it went in.
    #[test]
    fn chunks_and_cuts_make_no_difference(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..10),
        cut in 1_usize..20,
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            wire.extend(format!("{:X}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
        }
        wire.extend(b"0\r\n\r\nnext");
        let pieces: Vec<&[u8]> = wire.chunks(cut).collect();
        let (body, end, rest) = decode(Framing::Chunked, &pieces).unwrap();
        prop_assert_eq!(body, chunks.concat());
        prop_assert_eq!(end, Some(None));
        prop_assert!(b"next".starts_with(&rest[..]) || &rest == b"next");
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(Framing::Chunked, &[&bytes]);
        let _ = decode(Framing::Chunked, &[b"5\r\n", &bytes]);
        let _ = decode(Framing::Chunked, &[b"0\r\n", &bytes]);
    }
}
