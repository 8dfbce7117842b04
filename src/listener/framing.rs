//! Where a request ends in the bytes of a connection (RFC 9112), so that HTTP can be given one at a time.
//!
//! Nothing here decides what a request is: HTTP reads the same bytes, and where both differ the connection ends.

/// The end of a head, looked for in its parts as they come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadEnd {
    /// A line of it was seen: empty ones before it do not count (section 2.2).
    begun: bool,
    line: Line,
}

/// What came of the line that has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Nothing,
    Return,
    Text,
}

impl HeadEnd {
    /// Whether nothing of the head was seen.
    pub fn is_at_start(self) -> bool {
        self == Self::default()
    }

    /// How many of the next `bytes` end the head; `None`: all are of it, and more follows.
    pub fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', bytes) {
            let line = self.line.then(&bytes[start..newline]);
            start = newline + 1;
            self.line = Line::Nothing;
            match line {
                Line::Text => self.begun = true,
                Line::Nothing | Line::Return if self.begun => return Some(start),
                Line::Nothing | Line::Return => {}
            }
        }
        self.line = self.line.then(&bytes[start..]);
        None
    }
}

impl Line {
    fn then(self, bytes: &[u8]) -> Self {
        match (self, bytes) {
            (line, b"") => line,
            (Self::Nothing, b"\r") => Self::Return,
            _ => Self::Text,
        }
    }
}

/// The body that follows a whole `head`, where it is as plain as nearly always: a length in digits, or none. `None`: HTTP is
/// to say.
pub fn plain_body(head: &[u8]) -> Option<Body> {
    let mut length = None;
    let mut start = 0;
    for newline in memchr::memchr_iter(b'\n', head) {
        let line = &head[start..newline];
        start = newline + 1;
        let Some((name, value)) = memchr::memchr(b':', line).map(|colon| line.split_at(colon)) else { continue };
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value[1..].trim_ascii();
            if length.is_some() || !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            length = Some(std::str::from_utf8(digits).ok()?.parse().ok()?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return None;
        }
    }
    Some(Body::Bytes(length.unwrap_or(0)))
}

/// The rest of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Bytes(u64),
    /// Chunks (RFC 9112, section 7.1).
    Chunks(Chunks),
}

/// A place in a chunked body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Chunks {
    /// Before the size of a chunk.
    #[default]
    First,
    /// In the size, so far so much.
    Size(u64),
    /// Behind its digits.
    Space(u64),
    /// In an extension.
    Extension(u64),
    /// Before the newline behind the size.
    SizeEnd(u64),
    /// In the data: so many bytes are left.
    Data(u64),
    /// Before the return behind the data.
    DataReturn,
    /// Before the newline behind it.
    DataEnd,
    /// Behind the last chunk, at the start of a line.
    Line,
    /// In a trailer field.
    Field,
    /// Before the newline behind it.
    FieldEnd,
    /// Before the newline of the empty line.
    End,
    /// Behind the body.
    Done,
}

/// The bytes are no chunks.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

impl Body {
    /// Whether nothing is left.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Bytes(0) | Self::Chunks(Chunks::Done))
    }

    /// How many of the next `bytes` are of the body; what is left of it is then less.
    ///
    /// # Errors
    /// No program would be sure to read them as this one does: bytes behind them may be taken for another request.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Self::Bytes(left) => {
                let taken = (bytes.len() as u64).min(*left);
                *left -= taken;
                Ok(taken as usize)
            }
            Self::Chunks(at) => at.take(bytes),
        }
    }
}

impl Chunks {
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut taken = 0;
        while taken < bytes.len() && *self != Self::Done {
            if let Self::Data(left) = self {
                let data = ((bytes.len() - taken) as u64).min(*left);
                *left -= data;
                taken += data as usize;
                if *left == 0 {
                    *self = Self::DataReturn;
                }
            } else {
                *self = self.step(bytes[taken]).ok_or(Malformed)?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    fn step(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::First, _) => Self::Size(digit(byte)?),
            (Self::Size(size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                Self::Size(size.checked_mul(16)?.checked_add(digit(byte)?)?)
            }
            (Self::Size(size) | Self::Space(size), b' ' | b'\t') => Self::Space(size),
            (Self::Size(size) | Self::Space(size), b';') => Self::Extension(size),
            (Self::Size(size) | Self::Space(size) | Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Extension(size), b'\t' | b' '..=b'~' | 0x80..) => Self::Extension(size),
            (Self::SizeEnd(0), b'\n') | (Self::FieldEnd, b'\n') => Self::Line,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataReturn, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::First,
            (Self::Line, b'\r') => Self::End,
            (Self::Field, b'\r') => Self::FieldEnd,
            // A newline alone ends the body for programs that are less strict.
            (Self::Line | Self::Field, _) if byte != b'\n' => Self::Field,
            (Self::End, b'\n') => Self::Done,
            _ => return None,
        })
    }
}

fn digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `find` says of `bytes` that come in parts of `size`.
    fn end(bytes: &[u8], size: usize) -> Option<usize> {
        let mut head = HeadEnd::default();
        bytes.chunks(size).enumerate().find_map(|(part, bytes)| head.find(bytes).map(|end| part * size + end))
    }

    #[test]
    fn a_head_ends_at_its_empty_line_in_whatever_parts_it_comes() {
        for (head, rest) in [
            ("GET / HTTP/1.1\r\nA: b\r\n\r\n", "\r\n\r\n"),
            ("GET / HTTP/1.1\n\n", "GET"),
            ("GET / HTTP/1.1\r\n\n", "\n"),
            ("GET / HTTP/1.1\nA: b\r\r\n\r\n", ""),
            ("\r\n\n\r\nGET / HTTP/1.1\r\n\r\n", "{\n\n}"),
        ] {
            let wire = [head, rest].concat();
            for size in 1..=wire.len() {
                assert_eq!(end(wire.as_bytes(), size), Some(head.len()), "{wire:?} {size}");
            }
            let cut = &wire.as_bytes()[..head.len() - 1];
            assert_eq!(end(cut, cut.len()), None);
        }
    }

    #[test]
    fn a_length_in_digits_or_none_at_all_is_plain_and_all_else_is_for_http() {
        let plain = |fields: &str| plain_body(format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes());
        assert_eq!(plain(""), Some(Body::Bytes(0)));
        assert_eq!(plain("CONTENT-length:\t007 \r\nX-Content-Length: 8\r\n"), Some(Body::Bytes(7)));
        for odd in
            ["Content-Length: 5\r\nContent-Length: 5", "Content-Length: +5", "Content-Length:", "transfer-encoding: x"]
        {
            assert_eq!(plain(&format!("{odd}\r\n")), None, "{odd}");
        }
        assert_eq!(plain("Content-Length: 99999999999999999999\r\n"), None);
    }

    /// How far a chunked body goes in `bytes` that come in parts of `size`, and whether it ends there.
    fn chunks(bytes: &[u8], size: usize) -> Result<(usize, bool), Malformed> {
        let (mut body, mut taken) = (Body::Chunks(Chunks::First), 0);
        for part in bytes.chunks(size) {
            taken += body.take(part)?;
        }
        Ok((taken, body.is_done()))
    }

    #[test]
    fn chunks_end_where_they_say_in_whatever_parts_they_come() {
        for (body, is_done) in [
            ("0\r\n\r\n", true),
            ("5 ;a=\"\t\"\r\n\r\n0\r\n\r\n00\r\n\r\n", true),
            ("a\r\n0123456789\r\n0;x\r\nTrailer: 1\r\nB: 2\r\n\r\n", true),
            ("A\r\n012345", false),
        ] {
            let wire = if is_done { format!("{body}POST / HTTP/1.1\r\n") } else { body.to_owned() };
            for size in 1..=wire.len() {
                assert_eq!(chunks(wire.as_bytes(), size), Ok((body.len(), is_done)), "{body:?} {size}");
            }
        }
    }

    #[test]
    fn chunks_that_another_program_might_read_differently_are_malformed() {
        for body in [
            "\r\n",
            ";\r\n",
            "-1\r\n",
            "0x5\r\n",
            "5\n",
            "5;\nhello",
            "5 \r\r\n",
            "1\r\nab",
            "1\r\na\n",
            "0\r\n\n",
            "0\r\nA: b\n",
            "0\r\nA: b\r\r\n",
            "0\r\n\rA",
            "fffffffffffffffff\r\n",
            "5 5\r\n",
            "5;\x01\r\n",
        ] {
            assert_eq!(chunks(body.as_bytes(), 1), Err(Malformed), "{body:?}");
            assert_eq!(chunks(body.as_bytes(), body.len()), Err(Malformed), "{body:?}");
        }
    }
}
