//! Events to publish, and messages as they are read back, whatever the broker and the format.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookferry::backend::{Format, Outcome, Session};
use hookferry::event::{Envelope, Stored};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// What a consumer finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub attributes: BTreeMap<String, String>,
    pub data: Vec<u8>,
}

impl Message {
    /// Reads the structured form; `data` keeps its bytes.
    pub fn structured(json: &[u8]) -> Self {
        let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(json).unwrap();
        let mut data = Vec::new();
        let mut attributes = BTreeMap::new();
        for (name, value) in fields {
            match name.as_str() {
                "data" => data = value.get().as_bytes().to_vec(),
                "data_base64" => data = STANDARD.decode(serde_json::from_str::<String>(value.get()).unwrap()).unwrap(),
                _ => drop(attributes.insert(name, serde_json::from_str(value.get()).unwrap())),
            }
        }
        Self { attributes, data }
    }

    pub fn sequence(&self) -> u64 {
        self.attributes["sequence"].parse().unwrap()
    }
}

/// What a consumer must find of `stored`, if the message has room for every attribute.
pub fn expected(stored: &Stored) -> Message {
    let mut attributes = BTreeMap::new();
    stored.attributes(|name, value| drop(attributes.insert(name.to_owned(), value.to_owned())));
    Message { attributes, data: stored.envelope.body.to_vec() }
}

/// An event of source `shop` with this body.
pub fn event(sequence: u64, body: impl Into<Vec<u8>>) -> Stored {
    let body = body.into();
    let envelope = Envelope {
        id: format!("evt_{sequence}").into(),
        source: "shop".into(),
        kind: "shopify.orders/create".into(),
        subject: Some("orders/1".into()),
        time: "2026-11-23T10:00:00Z".into(),
        content_type: Some("application/json".into()),
        recorded_time: "2026-11-23T10:00:01.5Z".into(),
        delivery_id: format!("0198c0de-0000-7000-8000-{sequence:012}").into(),
        provider: "shopify".into(),
        verification: "hmac-sha256".into(),
        digest_at_receipt: Some(hex::encode(Sha256::digest(&body)).into()),
        partition_key: Some(format!("shop-{}", sequence % 3).into()),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        tracestate: Some("a=b".into()),
        client_ip: Some("192.0.2.1".into()),
        http_headers: Some("{\"x-shopify-topic\":\"orders/create\"}".into()),
        set_aside: None,
        is_json: serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok(),
        body: body.into(),
    };
    Stored { sequence, time_ms: 0, envelope, json: None }
}

/// `count` small events from `first` on, with gaps in their sequences as a journal has them.
pub fn events(first: u64, count: u64) -> Vec<Stored> {
    (0..count).map(|n| event(first + 3 * n, format!("{{ \"n\": {n}, \"b\":1.10 }}"))).collect()
}

/// Bodies and attributes that a careless program would change.
pub fn awkward(first: u64) -> Vec<Stored> {
    let big = |bytes: usize| format!("{{\"big\":\"{}\"}}", "x".repeat(bytes));
    let bodies: Vec<Vec<u8>> = vec![
        b"{ \"b\" : 1.10,\r\n\t\"a\":12345678901234567890, \"a\":1e400 }".to_vec(),
        "{\"emoji\":\"\u{1f600}\u{e9}\u{7f}\",\"escaped\":\"\\u0001\\ud83d\\ude00\"}".into(),
        b"[]".to_vec(),
        b"a=1&b=%00\r\nc".to_vec(),
        b"control \x00\x01\x1b characters".to_vec(),
        b"\xff\xfe\x80 not UTF-8".to_vec(),
        Vec::new(),
        big(900 << 10).into_bytes(),
        (0..600usize << 10).map(|n| (n * 31 % 251) as u8).collect(),
    ];
    let mut stored: Vec<_> = bodies.into_iter().enumerate().map(|(n, body)| event(first + n as u64, body)).collect();
    stored[0].envelope.id = "quote \" and \\ and line\nbreak \u{e9}\u{1f600}".into();
    stored[1].envelope.subject = None;
    stored[1].envelope.partition_key = None;
    stored[1].envelope.tracestate = None;
    stored[3].envelope.content_type = Some("application/x-www-form-urlencoded".into());
    stored
}

/// Publishes as a lane does: what must be retried is published again, from the first of it on. Returns the outcomes.
pub async fn drive(session: &mut dyn Session, events: &[Stored]) -> Vec<Outcome> {
    let mut decided = Vec::new();
    for _ in 0..10 {
        let outcomes = session.publish(&events[decided.len()..]).await;
        assert_eq!(outcomes.len(), events.len() - decided.len(), "one outcome an event");
        decided.extend(outcomes.into_iter().take_while(|outcome| !matches!(outcome, Outcome::Retry(_))));
        if decided.len() == events.len() {
            break;
        }
    }
    decided
}

/// Both formats, by name.
pub const FORMATS: [Format; 2] = [Format::Structured, Format::Binary];
