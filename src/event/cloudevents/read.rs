//! Reads an event back from its structured form, the body with its bytes unchanged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::event::{Envelope, Stored};

/// The text is not what [`Stored::write_json`] writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a structured event: {0}")]
pub struct Unreadable(String);

/// White space of JSON.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

#[derive(Deserialize)]
struct Form<'a> {
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: Option<String>,
    time: String,
    datacontenttype: Option<String>,
    recordedtime: String,
    sequence: String,
    deliveryid: String,
    provider: String,
    verification: String,
    bodysha256: String,
    partitionkey: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    clientip: Option<String>,
    httpheaders: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
}

/// `null` is a body too, not an absent one.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Stored {
    /// Reads what [`Self::write_json`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn read_json(text: &str) -> Result<Self, Unreadable> {
        let wrong = |why: &str| Unreadable(why.to_owned());
        let form: Form = serde_json::from_str(text).map_err(|error| Unreadable(error.to_string()))?;
        let (body, is_json) = match (form.data, form.data_base64) {
            (Some(data), None) => (Bytes::copy_from_slice(body(text, data)?.as_bytes()), true),
            (None, Some(encoded)) => {
                (STANDARD.decode(encoded).map_err(|_| wrong("`data_base64` is not base64"))?.into(), false)
            }
            _ => return Err(wrong("it has not one of `data` and `data_base64`")),
        };
        let source = form.source.strip_prefix("urn:webhook:").ok_or_else(|| wrong("`source` is of another program"))?;
        let envelope = Envelope {
            id: form.id.into(),
            source: source.into(),
            kind: form.kind.into(),
            subject: form.subject.map(ByteString::from),
            time: form.time.into(),
            content_type: form.datacontenttype.map(ByteString::from),
            recorded_time: form.recordedtime.into(),
            delivery_id: form.deliveryid.into(),
            provider: form.provider.into(),
            verification: form.verification.into(),
            digest_at_receipt: Some(form.bodysha256.into()),
            partition_key: form.partitionkey.map(ByteString::from),
            traceparent: form.traceparent.map(ByteString::from),
            tracestate: form.tracestate.map(ByteString::from),
            client_ip: form.clientip.map(ByteString::from),
            http_headers: form.httpheaders.map(ByteString::from),
            set_aside: None,
            is_json,
            body,
        };
        let sequence = form.sequence.parse().map_err(|_| wrong("`sequence` is not a position"))?;
        Ok(Self { sequence, time_ms: 0, envelope, json: None })
    }
}

/// The body that stands in `data`, with the white space around its value: that is of the sender as well.
fn body<'a>(text: &'a str, data: &RawValue) -> Result<&'a str, Unreadable> {
    let value = data.get();
    // `data` is a part of `text`.
    let start = value.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
    let last = || Unreadable("`data` is not its last member".to_owned());
    let (before, after) = (text.get(..start).ok_or_else(last)?, text.get(start + value.len()..).ok_or_else(last)?);
    let end = after.trim_end_matches(SPACE).strip_suffix('}').ok_or_else(last)?;
    if !end.trim_matches(SPACE).is_empty() {
        return Err(last());
    }
    text.get(before.trim_end_matches(SPACE).len()..start + value.len() + end.len()).ok_or_else(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &[u8], is_json: bool) {
        let envelope = Envelope {
            id: "a\"b\n\u{1}".into(),
            source: "shop".into(),
            kind: "shop.x".into(),
            subject: Some("".into()),
            http_headers: Some("{\"a\":\"b\"}".into()),
            client_ip: Some("::1".into()),
            is_json,
            digest_at_receipt: Some("9f86d081".into()),
            body: Bytes::copy_from_slice(body),
            ..Envelope::default()
        };
        let stored = Stored { sequence: 9, time_ms: 0, envelope, json: None };
        let mut json = Vec::new();
        stored.write_json(&mut json);
        assert_eq!(Stored::read_json(std::str::from_utf8(&json).unwrap()).unwrap(), stored);
    }

    #[test]
    fn an_event_comes_back_from_its_structured_form_byte_for_byte() {
        check(b"{ \"b\" : 1.10,\r\n\t\"a\":12345678901234567890, \"a\":1e400 }", true);
        check(b"\r\n {\"a\":\"}\"} \t\n\n", true);
        check(b"null", true);
        check(b" \"x\"", true);
        check(b"-0.0\n", true);
        check("[".repeat(5000).as_bytes(), false);
        check(format!("{}{}", "[".repeat(5000), "]".repeat(5000)).as_bytes(), true);
        check(b"\xff\x00", false);
        check(b"", false);
    }

    #[test]
    fn something_else_is_not_read() {
        for text in ["", "{}", "[1]", "{\"data\":1", "\u{0}"] {
            assert!(Stored::read_json(text).is_err(), "{text:?}");
        }
    }
}
