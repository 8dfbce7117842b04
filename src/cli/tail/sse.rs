//! Server-sent events (WHATWG HTML, 9.2), as far as a client without a browser needs them.

use std::mem::take;

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// The stream's position after this event; kept from the last one that named it.
    pub id: String,
    /// Value of the field `event`; empty where there is none.
    pub name: String,
    /// Lines of the field `data`.
    pub data: String,
}

/// Puts events together from the parts in which a stream arrives.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    /// Becomes the event's at its end: a stream that is cut inside an event has not reached its id.
    id: String,
    event: Event,
    has_data: bool,
}

impl Parser {
    /// Takes the next part of the stream and calls `each` with every event that it completes.
    pub fn feed(&mut self, part: &[u8], mut each: impl FnMut(&Event)) {
        for &byte in part {
            let after_cr = take(&mut self.after_cr);
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    self.end_line(&mut each);
                }
                _ => self.line.push(byte),
            }
        }
    }

    /// Position after the last complete event, where one named it; with it the stream can be resumed.
    pub fn position(&self) -> Option<&str> {
        Some(self.event.id.as_str()).filter(|id| !id.is_empty())
    }

    fn end_line(&mut self, each: &mut impl FnMut(&Event)) {
        let line = take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            self.event.id.clone_from(&self.id);
            if take(&mut self.has_data) {
                each(&self.event);
            }
            self.event.name.clear();
            self.event.data.clear();
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" if !value.contains('\0') => self.id = value.to_owned(),
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            // A comment, or a field that means nothing here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\n\nid: 7\ndata: {\"a\": 1}\n\n: beat\r\n\r\nid:8\r\nevent: x\r\ndata:one\r\ndata: two ü\r\n\r\nretry: 5\n\nid: 9\n\ndata: three\n\nid: 10\ndata: cut";

    fn events(parts: &[&[u8]]) -> Vec<(String, String, String)> {
        let mut parser = Parser::default();
        let mut all = Vec::new();
        for part in parts {
            parser.feed(part, |event| all.push((event.id.clone(), event.name.clone(), event.data.clone())));
        }
        all
    }

    #[test]
    fn events_come_out_whole_wherever_the_stream_is_split() {
        let bytes = STREAM.as_bytes();
        let whole = events(&[bytes]);
        let text = |id: &str, name: &str, data: &str| (id.to_owned(), name.to_owned(), data.to_owned());
        assert_eq!(whole, [text("7", "", "{\"a\": 1}"), text("8", "x", "one\ntwo ü"), text("9", "", "three")]);
        for cut in 0..bytes.len() {
            assert_eq!(events(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(events(&single), whole);
    }

    #[test]
    fn an_event_that_the_end_of_the_stream_cuts_is_not_shown() {
        let mut parser = Parser::default();
        parser.feed(b"id: 1\n\nid: 2\ndata: x\n", |event| panic!("{event:?}"));
        assert_eq!(parser.position(), Some("1"));
    }
}
