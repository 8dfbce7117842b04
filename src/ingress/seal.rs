//! Makes the envelope of a verified request.

use std::net::IpAddr;

use bytes::Bytes;
use bytestring::ByteString;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::{NoContext, Timestamp, Uuid};

use super::source::{self, Source};
use crate::event::{Envelope, Request};

/// Most bytes of a kept header's value, and of a trace state (W3C).
const LONGEST_VALUE: usize = 512;

/// An envelope and the digest that it was made with.
pub struct Sealed {
    /// The envelope.
    pub envelope: Envelope,
    /// SHA-256 of the body.
    pub digest: [u8; 32],
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
    let digest: [u8; 32] = Sha256::digest(&content).into();
    let body_sha256 = hex_text(&digest);
    let found = source.provider.extract(request, &content);
    let recorded_time = rfc3339(now_ms);
    let kind = format!("{}.{}", source.provider.id, found.kind.as_deref().unwrap_or("unknown"));
    let traceparent = header(request, "traceparent").filter(|value| is_traceparent(value));
    let envelope = Envelope {
        id: found.id.map_or_else(|| body_sha256.clone(), ByteString::from),
        source: source.name.as_str().into(),
        kind: kind.into(),
        subject: found.subject.map(ByteString::from),
        time: found.time.map_or_else(|| recorded_time.clone(), ByteString::from),
        content_type: header(request, "content-type"),
        recorded_time,
        delivery_id: delivery_id(now_ms),
        provider: source.provider.id.as_str().into(),
        verification: ByteString::from_static(verification),
        body_sha256,
        partition_key: found.partition_key.map(ByteString::from),
        tracestate: traceparent.as_ref().and_then(|_| header(request, "tracestate")),
        traceparent,
        client_ip: source::text(client),
        http_headers: None,
        set_aside: None,
        is_json: found.is_json,
        body: content,
    };
    Sealed { envelope, digest }
}

/// The kept request headers as the text of a JSON object; repeated ones joined as HTTP does; `None` if none is kept.
pub fn kept_headers(source: &Source, headers: &[(&str, &[u8])]) -> Option<ByteString> {
    if source.headers.is_empty() {
        return None;
    }
    let mut kept = serde_json::Map::new();
    for &(name, value) in headers.iter().filter(|(name, _)| source.keeps(name)) {
        let value = String::from_utf8_lossy(&value[..value.len().min(LONGEST_VALUE)]);
        match kept.get_mut(name) {
            Some(serde_json::Value::String(before)) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            _ => _ = kept.insert(name.to_owned(), value.into()),
        }
    }
    (!kept.is_empty()).then(|| serde_json::Value::Object(kept).to_string().into())
}

/// The value of a header that is there once and is text.
fn header(request: &Request, name: &str) -> Option<ByteString> {
    let value = request.headers.nth(name, 0)?;
    if request.headers.nth(name, 1).is_some() || value.len() > LONGEST_VALUE {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?.trim();
    (!text.is_empty()).then(|| text.into())
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
fn delivery_id(now_ms: u64) -> ByteString {
    let id = Uuid::new_v7(Timestamp::from_unix(NoContext, now_ms / 1000, (now_ms % 1000) as u32 * 1_000_000));
    (&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer())).into()
}

/// Lower-case hex, two digits a byte.
fn hex_text(digest: &[u8; 32]) -> ByteString {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    ascii(&text)
}

/// RFC 3339 in UTC, always to the millisecond, so that times sort as text.
///
/// Digits are written by hand: the formatter of the standard library takes as long as the signature of a small body.
fn rfc3339(ms: u64) -> ByteString {
    let Ok(time) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000) else {
        // A clock beyond the year 9999.
        return ByteString::from_static("9999-12-31T23:59:59.999Z");
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
    ascii(&text)
}

/// Text that was written digit by digit.
fn ascii(text: &[u8]) -> ByteString {
    ByteString::from(std::str::from_utf8(text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(rfc3339(1_078_056_001_007), "2004-02-29T12:00:01.007Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn digests_are_lower_case_hex() {
        let digest: [u8; 32] = std::array::from_fn(|n| (n as u8).wrapping_mul(37));
        assert_eq!(hex_text(&digest), hex::encode(digest));
    }

    #[test]
    fn delivery_ids_rise_with_time() {
        assert!(delivery_id(1_700_000_000_000) < delivery_id(1_700_000_000_001));
        assert_eq!(Uuid::parse_str(&delivery_id(1)).unwrap().get_version_num(), 7);
    }
}
