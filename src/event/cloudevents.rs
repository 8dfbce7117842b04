//! CloudEvents 1.0: the envelope as a consumer sees it.
//!
//! The body of a JSON event stands in `data` with its bytes unchanged: nothing is parsed and written anew,
//! so key order, spacing and big numbers stay.

mod read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use read::Unreadable;

use super::Stored;
use super::json::write_string;

/// Media type of the structured form.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

impl Stored {
    /// The position as the 20 digits of the attribute `sequence`.
    pub fn sequence_text(&self) -> String {
        // By hand: the formatter of the standard library writes each leading zero by itself.
        let mut digits = [b'0'; 20];
        let mut rest = self.sequence;
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        String::from_utf8_lossy(&digits).into_owned()
    }

    /// `urn:webhook:<source name>`.
    pub fn source_urn(&self) -> String {
        ["urn:webhook:", &*self.envelope.source].concat()
    }

    /// Calls `each` with every attribute that is present, in the order of the contract, without the data.
    pub fn attributes<'a>(&'a self, mut each: impl FnMut(&'static str, &str)) {
        let e = &self.envelope;
        each("specversion", "1.0");
        each("id", &e.id);
        each("source", &self.source_urn());
        each("type", &e.kind);
        let mut maybe = |name, value: &'a Option<bytestring::ByteString>| {
            if let Some(value) = value {
                each(name, value);
            }
        };
        maybe("subject", &e.subject);
        maybe("datacontenttype", &e.content_type);
        maybe("partitionkey", &e.partition_key);
        maybe("traceparent", &e.traceparent);
        maybe("tracestate", &e.tracestate);
        maybe("clientip", &e.client_ip);
        maybe("httpheaders", &e.http_headers);
        each("time", &e.time);
        each("recordedtime", &e.recorded_time);
        each("sequence", &self.sequence_text());
        each("deliveryid", &e.delivery_id);
        each("provider", &e.provider);
        each("verification", &e.verification);
        each("bodysha256", &e.body_sha256());
    }

    /// Appends the structured form, one JSON object, to `out`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match &self.json {
            Some(json) => out.extend_from_slice(json),
            None => self.write(out, |body, out| out.extend_from_slice(body)),
        }
    }

    /// As [`Self::write_json`], on one line: line breaks between the tokens of `data` become spaces.
    pub fn write_json_line(&self, out: &mut Vec<u8>) {
        // A line break inside a JSON string is always escaped, so a raw one stands between tokens.
        self.write(out, |body, out| {
            out.extend(body.iter().map(|&b| if b == b'\n' || b == b'\r' { b' ' } else { b }));
        });
    }

    /// Appends the attributes alone, one JSON object on one line, to `out`.
    pub fn write_attributes(&self, out: &mut Vec<u8>) {
        self.open(out);
        out.push(b'}');
    }

    /// The object up to the data.
    fn open(&self, out: &mut Vec<u8>) {
        let mut open = b'{';
        self.attributes(|name, value| {
            out.push(open);
            open = b',';
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            write_string(value, out);
        });
    }

    fn write(&self, out: &mut Vec<u8>, put_json: impl Fn(&[u8], &mut Vec<u8>)) {
        let body = &self.envelope.body;
        out.reserve(1024 + if self.envelope.is_json { body.len() } else { body.len() / 3 * 4 + 4 });
        self.open(out);
        if self.envelope.is_json {
            out.extend_from_slice(b",\"data\":");
            put_json(body, out);
        } else {
            out.extend_from_slice(b",\"data_base64\":\"");
            let start = out.len();
            out.resize(start + body.len().div_ceil(3) * 4, 0);
            // The space is exactly the encoded length, so encoding cannot fail.
            let written = STANDARD.encode_slice(body, &mut out[start..]).unwrap_or(0);
            out.truncate(start + written);
            out.push(b'"');
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::super::Envelope;
    use super::*;

    fn stored(body: &'static [u8], is_json: bool) -> Stored {
        let envelope = Envelope {
            id: "a\"b\n".into(),
            source: "s".into(),
            kind: "s.t".into(),
            is_json,
            body: body.into(),
            ..Envelope::default()
        };
        Stored { sequence: 7, time_ms: 0, envelope, json: None }
    }

    fn text(stored: &Stored) -> String {
        let mut out = Vec::new();
        stored.write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_json_body_stands_in_data_unchanged() {
        let json = text(&stored(b"{ \"b\":1.10,\r\n\"a\":12345678901234567890 }", true));
        assert!(json.ends_with(",\"data\":{ \"b\":1.10,\r\n\"a\":12345678901234567890 }}"), "{json}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["id"], "a\"b\n");
        assert_eq!(value["sequence"], "00000000000000000007");
    }

    #[test]
    fn every_attribute_is_in_the_reference() {
        let some = || Some("x".into());
        let envelope = Envelope {
            subject: some(),
            content_type: some(),
            partition_key: some(),
            traceparent: some(),
            tracestate: some(),
            client_ip: some(),
            http_headers: some(),
            ..stored(b"", false).envelope
        };
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/envelope.md");
        let reference = std::fs::read_to_string(path).unwrap();
        let told: Vec<_> = reference.lines().filter_map(|line| line.strip_prefix("| `")).collect();
        let mut missing = Vec::new();
        Stored { sequence: 7, time_ms: 0, envelope, json: None }.attributes(|name, _| {
            if !told
                .iter()
                .any(|row| row.split('|').next().is_some_and(|cell| format!("`{cell}").contains(&format!("`{name}`"))))
            {
                missing.push(name);
            }
        });
        assert_eq!(missing, [""; 0], "not in docs/envelope.md");
    }

    #[test]
    fn positions_have_twenty_digits_and_sort_as_text() {
        let text = |sequence| Stored { sequence, ..stored(b"", false) }.sequence_text();
        assert_eq!((&*text(0), &*text(u64::MAX)), ("00000000000000000000", "18446744073709551615"));
        assert!(text(9) < text(10) && text(999_999) < text(1_000_000));
    }

    #[test]
    fn any_other_body_stands_in_base64() {
        let value: serde_json::Value = serde_json::from_str(&text(&stored(b"\xff\x00", false))).unwrap();
        assert_eq!(value["data_base64"], "/wA=");
        assert!(value.get("data").is_none());
    }

    #[test]
    fn a_line_holds_no_line_break() {
        let mut out = Vec::new();
        stored(b"{\n\"a\":\r\n\"x\\ny\"}", true).write_json_line(&mut out);
        assert!(!out.contains(&b'\n') && !out.contains(&b'\r'));
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap()["data"]["a"], "x\ny");
    }
}
