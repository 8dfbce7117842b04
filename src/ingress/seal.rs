//! Makes an event of a verified request.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::{NoContext, Timestamp, Uuid};

use super::source::Source;
use crate::event::envelope::{Attribute, ascii, hex_digits, put_is_json};
use crate::event::{Headers, Request};
use crate::journal::{Key, Record};
use crate::telemetry::trace::Parent;

/// Most bytes of a kept header's value, and of a trace state (W3C).
const LONGEST_VALUE: usize = 512;

/// Bytes that the attributes of most envelopes take.
const ATTRIBUTES: usize = 640;

/// What the ingress asks of an event once it is sealed.
pub struct Event {
    /// Its id.
    pub id: String,
    /// `<provider>.<event type>`.
    pub kind: String,
    /// What tells it from all others of its source.
    pub told: Told,
    /// CRC-32C of the body.
    pub checksum: u32,
    /// Whether it is kept aside and goes to nobody.
    pub is_set_aside: bool,
}

/// What tells an event from all others of its source.
pub enum Told {
    /// Its id: the signature covers it.
    Id,
    /// Its id, its type (a Shopify event comes under several topics) and the SHA-256 of its body: whoever has one valid
    /// body could use up other ids.
    Body([u8; 32]),
    /// Nothing: another one may be equal to the byte.
    Nothing,
}

/// A verified request as an event: its envelope as the journal keeps it, and what is asked of it.
///
/// The attributes are written once, into one piece of memory: as texts of their own a dozen of them cost as much as the signature.
pub struct Sealed {
    /// What is asked of it.
    pub event: Event,
    /// Whether the body is one JSON value.
    pub is_json: bool,
    /// The body, after content decoding.
    pub body: Bytes,
    attributes: Vec<u8>,
}

impl Sealed {
    /// Adds an attribute; of one that is there already the later counts.
    pub fn put(&mut self, attribute: Attribute, text: &str) {
        attribute.put(text, &mut self.attributes);
    }

    /// Marks it to be kept aside.
    pub fn set_aside(&mut self, why: &str) {
        self.put(Attribute::SetAside, why);
        self.event.is_set_aside = true;
    }

    /// What the journal is to keep, and what is asked of it afterwards.
    pub fn into_record(self, key: Key, window: Duration, now_ms: u64) -> (Record, Event) {
        (Record::of(self.attributes, self.body, key, window, now_ms), self.event)
    }
}

/// Seals a verified request; `content` is its decoded body, `now_ms` the time of receipt (Unix time, milliseconds).
pub fn seal(
    source: &Source,
    request: &Request,
    content: Bytes,
    verification: &'static str,
    client: Option<IpAddr>,
    now_ms: u64,
) -> Sealed {
    // For a large body this is as long as all the rest: where nothing here needs it, it is taken when the event is read.
    let digest = OnceCell::<[u8; 32]>::new();
    let take = || *digest.get_or_init(|| Sha256::digest(&content).into());
    let found = source.provider.extract(request, &content);
    let provider = source.provider.id.as_str();
    let received = rfc3339(now_ms);
    let mut delivery = Uuid::encode_buffer();
    let delivery: &str = delivery_id(now_ms).hyphenated().encode_lower(&mut delivery);
    let repeats = found.id.is_none() && source.provider.contract.event.repeats;
    let told = match found.id {
        None if repeats => Told::Nothing,
        Some(_) if source.provider.id_signed => Told::Id,
        // Without an id the type counts as well: the same body may come under several.
        _ => Told::Body(take()),
    };
    let own = || if repeats { delivery.to_owned() } else { ascii(&hex_digits(&take())).to_owned() };
    let id = found.id.unwrap_or_else(own);
    let kind = [provider, ".", found.kind.as_deref().unwrap_or("unknown")].concat();
    let mut attributes = Vec::with_capacity(ATTRIBUTES);
    let mut put = |attribute: Attribute, text: &str| attribute.put(text, &mut attributes);
    put(Attribute::Id, &id);
    put(Attribute::Source, source.name.as_str());
    put(Attribute::Kind, &kind);
    put(Attribute::Time, found.time.as_deref().unwrap_or(ascii(&received)));
    put(Attribute::RecordedTime, ascii(&received));
    put(Attribute::DeliveryId, delivery);
    put(Attribute::Provider, provider);
    put(Attribute::Verification, verification);
    if let Some(digest) = digest.get() {
        put(Attribute::DigestAtReceipt, ascii(&hex_digits(digest)));
    }
    let parent = parent(request.headers);
    let optional = [
        (Attribute::Subject, found.subject.as_deref()),
        (Attribute::ContentType, text(request.headers, "content-type")),
        (Attribute::PartitionKey, found.partition_key.as_deref()),
        (Attribute::Traceparent, parent.map(|parent| parent.traceparent)),
        (Attribute::Tracestate, parent.and_then(|parent| parent.tracestate)),
    ];
    for (attribute, text) in optional {
        if let Some(text) = text {
            put(attribute, text);
        }
    }
    if let Some(client) = client {
        put_address(client, &mut attributes);
    }
    if found.is_json {
        put_is_json(&mut attributes);
    }
    let event = Event { id, kind, told, checksum: crc32c::crc32c(&content), is_set_aside: false };
    Sealed { event, is_json: found.is_json, body: content, attributes }
}

fn put_address(address: IpAddr, out: &mut Vec<u8>) {
    let IpAddr::V4(v4) = address else {
        return Attribute::ClientIp.put(&address.to_string(), out);
    };
    // Digits are written by hand: the formatter of the standard library takes as long as all other attributes.
    let mut text = [0; "255.255.255.255".len()];
    let mut length = 0;
    for (n, octet) in v4.octets().into_iter().enumerate() {
        let digits = [(n > 0).then_some(b'.'), (octet > 99).then_some(b'0' + octet / 100)];
        let digits = digits.into_iter().chain([(octet > 9).then_some(b'0' + octet / 10 % 10)]);
        for digit in digits.flatten().chain([b'0' + octet % 10]) {
            text[length] = digit;
            length += 1;
        }
    }
    Attribute::ClientIp.put(ascii(&text[..length]), out);
}

/// The kept request headers as the text of a JSON object; repeated ones joined as HTTP does; `None` if none is kept.
pub fn kept_headers<'a>(source: &Source, headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<String> {
    if source.headers.is_empty() {
        return None;
    }
    let mut kept = serde_json::Map::new();
    for (name, value) in headers.filter(|(name, _)| source.keeps(name)) {
        let value = String::from_utf8_lossy(&value[..value.len().min(LONGEST_VALUE)]);
        match kept.get_mut(name) {
            Some(serde_json::Value::String(before)) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            _ => _ = kept.insert(name.to_owned(), value.into()),
        }
    }
    (!kept.is_empty()).then(|| serde_json::Value::Object(kept).to_string())
}

/// The trace that the sender has begun.
pub fn parent(headers: &dyn Headers) -> Option<Parent<'_>> {
    let traceparent = text(headers, "traceparent").filter(|value| is_traceparent(value))?;
    Some(Parent { traceparent, tracestate: text(headers, "tracestate") })
}

/// The value of a header that is there once and is text.
fn text<'a>(headers: &'a dyn Headers, name: &str) -> Option<&'a str> {
    let value = headers.nth(name, 0)?;
    if headers.nth(name, 1).is_some() || value.len() > LONGEST_VALUE {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?.trim();
    (!text.is_empty()).then_some(text)
}

/// Version 00 to fe, two ids that are not all zeros, flags (W3C Trace Context).
fn is_traceparent(value: &str) -> bool {
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let mut parts = value.splitn(4, '-');
    let mut part = |length| parts.next().filter(|text| hex(text, length)).map(str::to_owned);
    let (version, trace, span) = (part(2), part(32), part(16));
    let flags = parts.next().is_some_and(|rest| hex(rest.split('-').next().unwrap_or_default(), 2));
    let real = |id: Option<String>| id.is_some_and(|id| id.bytes().any(|b| b != b'0'));
    flags && version.is_some_and(|version| version != "ff") && real(trace) && real(span)
}

/// A UUIDv7 of this moment.
fn delivery_id(now_ms: u64) -> Uuid {
    Uuid::new_v7(Timestamp::from_unix(NoContext, now_ms / 1000, (now_ms % 1000) as u32 * 1_000_000))
}

/// RFC 3339 in UTC, always to the millisecond, so that times sort as text.
///
/// Digits are written by hand: the formatter of the standard library takes as long as the signature of a small body.
fn rfc3339(ms: u64) -> [u8; 24] {
    let Ok(time) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000) else {
        // A clock beyond the year 9999.
        return *b"9999-12-31T23:59:59.999Z";
    };
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, milli) = time.to_hms_milli();
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut write = |end: usize, mut value: u32| {
        let mut at = end;
        while value > 0 {
            at -= 1;
            text[at] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    write(4, year.unsigned_abs());
    for (end, value) in [(7, u8::from(month)), (10, day), (13, hour), (16, minute), (19, second)] {
        write(end, value.into());
    }
    write(23, milli.into());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Envelope;

    #[test]
    fn a_trace_is_continued_only_where_it_is_one() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-\n1",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        let text = |ms| String::from_utf8(rfc3339(ms).to_vec()).unwrap();
        assert_eq!(text(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(text(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(text(1_078_056_001_007), "2004-02-29T12:00:01.007Z");
        assert_eq!(text(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn delivery_ids_rise_with_time() {
        assert!(delivery_id(1_700_000_000_000) < delivery_id(1_700_000_000_001));
        assert_eq!(delivery_id(1).get_version_num(), 7);
    }

    #[test]
    fn addresses_are_written_as_everywhere() {
        for address in ["0.0.0.0", "127.0.0.1", "10.99.100.255", "9.10.101.200", "::1", "2001:db8::ff00:42:8329"] {
            let mut attributes = Vec::new();
            put_address(address.parse().unwrap(), &mut attributes);
            let read = Envelope::decode(attributes.into(), Bytes::new()).unwrap();
            assert_eq!(read.client_ip.as_deref(), Some(address));
        }
    }
}
