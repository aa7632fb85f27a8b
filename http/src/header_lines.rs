//! Where headers stand in an HTTP/1 head, of requests and of answers.
//!
//! What the parser finds borrows from the buffer; places do not, so the head can be split off and its pieces be shared.

use std::{mem::MaybeUninit, ops::Range};

/// How many headers are read without asking for memory.
const USUAL_HEADERS: usize = 100;

/// Where a header stands in its head.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// Parses with room for so many headers.
pub(crate) fn with_space<'b, R>(
    max_headers: usize,
    parse: impl FnOnce(&mut [MaybeUninit<httparse::Header<'b>>]) -> R,
) -> R {
    if max_headers <= USUAL_HEADERS {
        let mut few = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
        return parse(&mut few[..max_headers]);
    }
    let mut many = Vec::new();
    many.resize_with(max_headers, MaybeUninit::uninit);
    parse(&mut many)
}

/// Where headers that were found in a head stand in it.
pub(crate) fn lines_of(head: &[u8], headers: &[httparse::Header<'_>]) -> impl Iterator<Item = Line> {
    let line = |header: &httparse::Header<'_>| Line {
        name: place(head, header.name.as_bytes()),
        value: place(head, header.value),
    };
    headers.iter().map(line)
}

/// Where a part of a head stands in it.
pub(crate) fn place(head: &[u8], part: &[u8]) -> Range<usize> {
    let from = part.as_ptr().addr() - head.as_ptr().addr();
    from..from + part.len()
}
