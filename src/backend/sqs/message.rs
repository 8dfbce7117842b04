//! One event as an SQS message: text of XML 1.0 characters, at least one, and at most ten attributes.

use std::collections::HashMap;
use std::fmt::Write as _;

use aws_sdk_sqs::types::MessageAttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::backend::Format;
use crate::event::Stored;
use crate::event::cloudevents::CONTENT_TYPE;

/// Most attributes of a message.
const MAX_ATTRIBUTES: usize = 10;
/// Attributes of the binary format, the most useful first.
const BINARY: [&str; 16] = [
    "id",
    "type",
    "source",
    "specversion",
    "provider",
    "contentType",
    "time",
    "sequence",
    "partitionkey",
    "subject",
    "traceparent",
    "deliveryid",
    "recordedtime",
    "verification",
    "bodysha256",
    "clientip",
];

type Attributes = HashMap<String, MessageAttributeValue>;

/// A size that the message has at least, in bytes, told without building it.
pub fn least_bytes(stored: &Stored) -> usize {
    stored.envelope.body.len()
}

/// Body, attributes, and their size as SQS counts it.
pub fn build(stored: &Stored, format: Format) -> (String, Attributes, usize) {
    let (body, pairs) = match format {
        Format::Structured => structured(stored),
        Format::Binary => binary(stored),
    };
    let mut bytes = body.len();
    let mut attributes = Attributes::with_capacity(MAX_ATTRIBUTES);
    for (name, value) in pairs {
        // SQS refuses an attribute without a value.
        if value.is_empty() || attributes.len() == MAX_ATTRIBUTES {
            continue;
        }
        let value = escaped(value);
        bytes += name.len() + "String".len() + value.len();
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
        // Both required members are set above.
        attributes.extend(value.ok().map(|value| (name.to_owned(), value)));
    }
    (body, attributes, bytes)
}

fn structured(stored: &Stored) -> (String, Vec<(&'static str, String)>) {
    let mut json = Vec::new();
    stored.write_json(&mut json);
    let json = String::from_utf8(json).unwrap_or_else(|_| {
        // A body that claims to be JSON and is not even UTF-8 travels as base64.
        let mut stored = Stored { json: None, ..stored.clone() };
        stored.envelope.is_json = false;
        let mut json = Vec::new();
        stored.write_json(&mut json);
        String::from_utf8_lossy(&json).into_owned()
    });
    let e = &stored.envelope;
    let pairs = vec![
        ("id", e.id.to_string()),
        ("type", e.kind.to_string()),
        ("source", stored.source_urn()),
        ("provider", e.provider.to_string()),
        ("contentType", CONTENT_TYPE.to_owned()),
    ];
    // Characters that XML has not stand only inside JSON strings, where the escape means the same.
    (escaped(json), pairs)
}

fn binary(stored: &Stored) -> (String, Vec<(&'static str, String)>) {
    let mut all = HashMap::new();
    stored.attributes(|name, value| {
        let name = if name == "datacontenttype" { "contentType" } else { name };
        all.insert(name, value.to_owned());
    });
    let mut pairs = Vec::with_capacity(BINARY.len() + 1);
    let body = match std::str::from_utf8(&stored.envelope.body) {
        Ok(text) if !text.is_empty() && text.chars().all(allowed) => text.to_owned(),
        _ => {
            pairs.push(("dataencoding", "base64".to_owned()));
            let encoded = STANDARD.encode(&stored.envelope.body);
            // A message has at least one character; decoders skip the line break.
            if encoded.is_empty() { "\n".to_owned() } else { encoded }
        }
    };
    pairs.extend(BINARY.into_iter().filter_map(|name| Some((name, all.remove(name)?))));
    (body, pairs)
}

/// Whether XML 1.0, and so SQS, has the character.
fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Characters that SQS refuses, as `\uXXXX`.
fn escaped(text: String) -> String {
    if text.chars().all(allowed) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if allowed(c) {
            out.push(c);
        } else {
            // Writing into a String cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Envelope;

    fn stored(body: &'static [u8], is_json: bool) -> Stored {
        let envelope = Envelope {
            id: "evt\u{1}1".into(),
            source: "shop".into(),
            kind: "shop.x".into(),
            provider: "custom".into(),
            time: "t".into(),
            recorded_time: "t".into(),
            delivery_id: "d".into(),
            digest_at_receipt: Some("h".into()),
            partition_key: Some("p".into()),
            is_json,
            body: body.into(),
            ..Envelope::default()
        };
        Stored { sequence: 7, time_ms: 0, envelope, json: None }
    }

    #[test]
    fn json_stays_equal_though_sqs_takes_no_such_character() {
        let body = "{\"a\":\"\u{fffe}\u{ffff}\u{7f}é\"}";
        let (text, _, _) = build(&stored(body.as_bytes(), true), Format::Structured);
        assert!(text.chars().all(allowed));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["data"]["a"], "\u{fffe}\u{ffff}\u{7f}é");
        assert_eq!(value["id"], "evt\u{1}1");
    }

    #[test]
    fn json_that_is_no_text_travels_as_base64_whether_it_was_made_ahead_or_not() {
        let mut stored = stored(b"\"\xff\"", true);
        for _ in 0..2 {
            let (text, _, _) = build(&stored, Format::Structured);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&value["data_base64"], value.get("data")), (&"Iv8i".into(), None));
            let mut json = Vec::new();
            stored.write_json(&mut json);
            stored.json = Some(json.into());
        }
    }

    #[test]
    fn a_raw_body_travels_as_it_is_only_if_sqs_takes_its_characters() {
        for (body, sent, encoded) in [
            (&b"a=1&b=\r\n2"[..], "a=1&b=\r\n2", false),
            (b"\x00", "AA==", true),
            (b"\xff\xfe", "//4=", true),
            (b"", "\n", true),
        ] {
            let (text, attributes, _) = build(&stored(body, false), Format::Binary);
            assert_eq!((text.as_str(), attributes.contains_key("dataencoding")), (sent, encoded), "{body:?}");
        }
    }

    #[test]
    fn at_most_ten_attributes_none_empty_all_counted() {
        let (text, attributes, bytes) = build(&stored(b"\x00", false), Format::Binary);
        assert_eq!(attributes.len(), 10);
        let value = |name: &str| attributes[name].string_value().unwrap();
        assert_eq!(
            (value("id"), value("dataencoding"), value("sequence")),
            ("evt\\u00011", "base64", "00000000000000000007")
        );
        let counted: usize = attributes.iter().map(|(name, v)| name.len() + 6 + v.string_value().unwrap().len()).sum();
        assert_eq!(bytes, text.len() + counted);
        let (_, attributes, _) = build(&stored(b"{}", true), Format::Structured);
        let mut names: Vec<_> = attributes.into_keys().collect();
        names.sort();
        assert_eq!(names, ["contentType", "id", "provider", "source", "type"]);
    }
}
