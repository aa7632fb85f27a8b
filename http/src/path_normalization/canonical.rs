//! The canonical form of a path, by the rules of the URL library that Envoy takes them from (Chromium's).
//!
//! Dots are resolved, also escaped ones; what needs no escape loses it; what may not stand in a path gets one; a backslash
//! is a slash. An escape that is none (`%zz`) stays.

use std::borrow::Cow;

/// What is done with a character of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// It stays, escaped or not.
    Pass,
    /// It stays, and loses its escape (RFC 3986, section 2.3).
    Unreserved,
    /// It gets an escape.
    Escape,
    /// It may not be there, not even escaped.
    Invalid,
}

fn class(byte: u8) -> Class {
    match byte {
        0 => Class::Invalid,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => Class::Unreserved,
        b'"' | b'#' | b'<' | b'>' | b'?' | b'^' | b'`' | b'{'..=b'}' | ..=b' ' | 0x7f.. => Class::Escape,
        _ => Class::Pass,
    }
}

/// The canonical form of a path without its query; `None` if it holds what no path may hold.
pub fn canonical(path: &str) -> Option<Cow<'_, str>> {
    if is_canonical(path.as_bytes()) {
        return Some(Cow::Borrowed(path));
    }
    let plain_dots = without_parameters_of_dots(path);
    let mut writer = Writer::new(plain_dots.as_bytes());
    writer.run()?;
    String::from_utf8(writer.out).ok().map(Cow::Owned)
}

/// Whether there is nothing to do; almost all paths are so.
fn is_canonical(path: &[u8]) -> bool {
    let mut previous = 0;
    path.first() == Some(&b'/')
        && path.iter().all(|&byte| {
            let dot_segment = byte == b'.' && previous == b'/';
            previous = byte;
            !dot_segment
                && !matches!(byte, b'%' | b'\\')
                && matches!(class(byte), Class::Pass | Class::Unreserved)
        })
}

/// `/a/..;x/b` is `/a/../b`: servers that know path parameters would see it so.
fn without_parameters_of_dots(path: &str) -> Cow<'_, str> {
    if !path.contains(".;") {
        return Cow::Borrowed(path);
    }
    let segments = path.split('/').map(|segment| {
        if segment.starts_with("..;") {
            ".."
        } else if segment.starts_with(".;") {
            "."
        } else {
            segment
        }
    });
    Cow::Owned(segments.collect::<Vec<_>>().join("/"))
}

/// What follows a dot that stands behind a slash, and how long it is.
enum AfterDot {
    /// This directory.
    Current(usize),
    /// The one above it.
    Up(usize),
    /// A name that begins with a dot.
    Name,
}

struct Writer<'p> {
    path: &'p [u8],
    out: Vec<u8>,
    /// Where in `out` the last percent sign stands that began no escape.
    bare_percent: Option<usize>,
}

impl<'p> Writer<'p> {
    fn new(path: &'p [u8]) -> Self {
        Self { path, out: Vec::with_capacity(path.len() + 1), bare_percent: None }
    }

    fn run(&mut self) -> Option<()> {
        let mut at = 0;
        match self.path.first() {
            Some(b'/' | b'\\') => {}
            _ => self.out.push(b'/'),
        }
        while let Some(&byte) = self.path.get(at) {
            let dot = self.dot_at(at);
            if dot > 0 {
                at += self.dot(at, dot);
                continue;
            }
            match byte {
                b'\\' => self.out.push(b'/'),
                b'%' => {
                    at += self.escape(at)?;
                    continue;
                }
                _ if class(byte) == Class::Escape => push_escaped(&mut self.out, byte),
                _ if class(byte) == Class::Invalid => return None,
                _ => self.out.push(byte),
            }
            at += 1;
        }
        Some(())
    }

    /// How long the dot there is: `.` or `%2E`; 0 if there is none.
    fn dot_at(&self, at: usize) -> usize {
        match self.path.get(at..) {
            Some([b'.', ..]) => 1,
            Some([b'%', b'2', b'e' | b'E', ..]) => 3,
            _ => 0,
        }
    }

    fn is_slash_at(&self, at: usize) -> bool {
        matches!(self.path.get(at), Some(b'/' | b'\\'))
    }

    /// Writes the dot there, which is `length` long, or does what it means; says how much it took.
    fn dot(&mut self, at: usize, length: usize) -> usize {
        let after = at + length;
        let meaning = if self.out.last() == Some(&b'/') { self.after_dot(after) } else { AfterDot::Name };
        match meaning {
            AfterDot::Name => {
                self.out.push(b'.');
                length
            }
            AfterDot::Current(more) => length + more,
            AfterDot::Up(more) => {
                self.up();
                length + more
            }
        }
    }

    fn after_dot(&self, after: usize) -> AfterDot {
        if after == self.path.len() {
            return AfterDot::Current(0);
        }
        if self.is_slash_at(after) {
            return AfterDot::Current(1);
        }
        let second = self.dot_at(after);
        match second {
            0 => AfterDot::Name,
            _ if after + second == self.path.len() => AfterDot::Up(second),
            _ if self.is_slash_at(after + second) => AfterDot::Up(second + 1),
            _ => AfterDot::Name,
        }
    }

    /// Takes the last segment off; `out` ends with a slash before and after.
    fn up(&mut self) {
        let parents = &self.out[..self.out.len() - 1];
        let end = parents.iter().rposition(|&byte| byte == b'/').map_or(1, |slash| slash + 1);
        self.out.truncate(end);
        self.bare_percent = self.bare_percent.filter(|&percent| percent < end);
    }

    /// Writes the escape there, or the percent sign that is none; says how much it took.
    fn escape(&mut self, at: usize) -> Option<usize> {
        let Some(byte) = unescaped(self.path, at) else {
            self.bare_percent = Some(self.out.len());
            self.out.push(b'%');
            return Some(1);
        };
        match class(byte) {
            Class::Invalid => return None,
            Class::Unreserved => {
                self.out.push(byte);
                self.keep_bare_percent_bare(at + 3);
            }
            Class::Pass | Class::Escape => self.out.extend_from_slice(&self.path[at..at + 3]),
        }
        Some(3)
    }

    /// `%%341` must not become `%41`, which the next reader would unescape: the bare percent sign gets an escape.
    fn keep_bare_percent_bare(&mut self, next: usize) {
        let length = self.out.len();
        let Some(percent) = self.bare_percent.filter(|percent| percent + 3 >= length) else { return };
        let with_next = percent + 2 == length;
        if with_next {
            match self.path.get(next) {
                Some(&byte) if byte.is_ascii() => self.out.push(byte),
                _ => return,
            }
        }
        let is_escape = unescaped(&self.out, percent).is_some();
        if with_next {
            self.out.truncate(length);
        }
        if is_escape {
            let after = percent + 1;
            self.out.splice(after..after, *b"25");
        }
    }
}

/// The byte that the escape there stands for, if it is one.
fn unescaped(path: &[u8], at: usize) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match path.get(at..at + 3)? {
        [b'%', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}
