//! What is kept of one accepted event, and its bytes in the journal.
//!
//! Grammar of the attributes: `attribute*`, `attribute = tag u8, length u32 little-endian, bytes`.
//! Of a repeated one the last counts. Unknown tags are skipped, so that a reader of this release reads what a later one adds.

use bytes::{Buf as _, BufMut, Bytes};
use bytestring::ByteString;
use sha2::{Digest as _, Sha256};

/// One accepted event: CloudEvents attributes and the body, byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The provider's event id, else the body's SHA-256 in hex; equal on redelivery.
    pub id: ByteString,
    /// Name of the source in the configuration (not yet a URN).
    pub source: ByteString,
    /// `<provider>.<event type>`.
    pub kind: ByteString,
    /// The resource that the event is about.
    pub subject: Option<ByteString>,
    /// The provider's event time, else the time of receipt; RFC 3339, UTC.
    pub time: ByteString,
    /// The request's Content-Type.
    pub content_type: Option<ByteString>,
    /// Time of receipt; RFC 3339, UTC.
    pub recorded_time: ByteString,
    /// UUIDv7 of this acceptance.
    pub delivery_id: ByteString,
    /// Name of the provider.
    pub provider: ByteString,
    /// How authenticity was proved, e.g. `hmac-sha256`; `none` where it was not.
    pub verification: ByteString,
    /// SHA-256 of the body, lower-case hex, where it was needed at receipt; else [`Self::body_sha256`] takes it.
    pub digest_at_receipt: Option<ByteString>,
    /// Key of ordering and of FIFO groups.
    pub partition_key: Option<ByteString>,
    /// W3C trace context of the request.
    pub traceparent: Option<ByteString>,
    /// W3C trace state of the request.
    pub tracestate: Option<ByteString>,
    /// The sender's address.
    pub client_ip: Option<ByteString>,
    /// JSON object of the kept request headers, as text.
    pub http_headers: Option<ByteString>,
    /// Why it is kept aside and goes to nobody, until somebody releases it; not part of the published event.
    pub set_aside: Option<ByteString>,
    /// Whether [`Self::body`] is one JSON value, so that it may stand in `data` as it is.
    pub is_json: bool,
    /// The body, after content decoding; otherwise byte for byte as sent.
    pub body: Bytes,
}

/// An envelope at its place in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Position in the journal: rising, never reused, with gaps.
    pub sequence: u64,
    /// When the journal took it, Unix time, milliseconds: of what was set aside, when it was released; 0 outside of the journal.
    pub time_ms: u64,
    /// The event.
    pub envelope: Envelope,
    /// What [`Self::write_json`] gives, where that was made ahead of time. Whoever changes the rest takes it away.
    pub json: Option<Bytes>,
}

/// The attributes of a record cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("attributes are damaged")]
pub struct Damaged;

const IS_JSON: u8 = 32;

macro_rules! attributes {
    ($($tag:literal $field:ident $name:ident $kind:ident),+ $(,)?) => {
        /// A text of an [`Envelope`], as the journal numbers it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Attribute {
            $(
                #[doc = concat!("[`Envelope::", stringify!($field), "`].")]
                $name = $tag,
            )+
        }

        impl Envelope {
            /// Appends the attributes (not the body) to `out`.
            pub fn encode(&self, out: &mut Vec<u8>) {
                $(attributes!(@put out Attribute::$name, self.$field, $kind);)+
                if self.is_json {
                    put_is_json(out);
                }
            }

            /// Reads what [`Self::encode`] wrote; shares the memory of `attributes` and `body`.
            ///
            /// # Errors
            /// [`Damaged`] when lengths do not add up or text is not UTF-8.
            pub fn decode(mut attributes: Bytes, body: Bytes) -> Result<Self, Damaged> {
                let mut envelope = Self { body, ..Self::default() };
                while !attributes.is_empty() {
                    if attributes.len() < 5 {
                        return Err(Damaged);
                    }
                    let tag = attributes[0];
                    let length = u32::from_le_bytes([attributes[1], attributes[2], attributes[3], attributes[4]]) as usize;
                    attributes.advance(5);
                    if attributes.len() < length {
                        return Err(Damaged);
                    }
                    let value = attributes.split_to(length);
                    match tag {
                        $($tag => attributes!(@set envelope.$field, value, $kind),)+
                        IS_JSON => envelope.is_json = true,
                        _ => {}
                    }
                }
                Ok(envelope)
            }
        }
    };
    (@put $out:ident $attribute:expr, $value:expr, text) => { $attribute.put(&$value, $out) };
    (@put $out:ident $attribute:expr, $value:expr, maybe) => {
        if let Some(value) = &$value {
            $attribute.put(value, $out);
        }
    };
    (@set $place:expr, $value:ident, text) => { $place = text($value)? };
    (@set $place:expr, $value:ident, maybe) => { $place = Some(text($value)?) };
}

attributes! {
    1 id Id text,
    2 source Source text,
    3 kind Kind text,
    4 subject Subject maybe,
    5 time Time text,
    6 content_type ContentType maybe,
    7 recorded_time RecordedTime text,
    8 delivery_id DeliveryId text,
    9 provider Provider text,
    10 verification Verification text,
    11 digest_at_receipt DigestAtReceipt maybe,
    12 partition_key PartitionKey maybe,
    13 traceparent Traceparent maybe,
    14 tracestate Tracestate maybe,
    15 client_ip ClientIp maybe,
    16 http_headers HttpHeaders maybe,
    17 set_aside SetAside maybe,
}

impl Envelope {
    /// SHA-256 of the body, lower-case hex.
    pub fn body_sha256(&self) -> ByteString {
        let digest = || ascii(&hex_digits(&Sha256::digest(&self.body).into())).into();
        self.digest_at_receipt.clone().unwrap_or_else(digest)
    }
}

/// Lower-case hex, two digits a byte.
pub fn hex_digits(digest: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// Text that was written digit by digit.
pub fn ascii(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

impl Attribute {
    /// Appends the attribute to `out`, as [`Envelope::encode`] does.
    pub fn put(self, text: &str, out: &mut Vec<u8>) {
        out.put_u8(self as u8);
        // Attributes come from a request head or from the configuration: far below 4 GiB.
        out.put_u32_le(text.len() as u32);
        out.put_slice(text.as_bytes());
    }
}

/// Appends that [`Envelope::is_json`] holds.
pub fn put_is_json(out: &mut Vec<u8>) {
    out.put_u8(IS_JSON);
    out.put_u32_le(0);
}

fn text(value: Bytes) -> Result<ByteString, Damaged> {
    ByteString::try_from(value).map_err(|_| Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Envelope {
        Envelope {
            id: "evt_1".into(),
            source: "shop".into(),
            kind: "shopify.orders/create".into(),
            subject: Some("orders/1".into()),
            content_type: Some("application/json".into()),
            is_json: true,
            body: Bytes::from_static(b"{\"a\": 1}"),
            ..Envelope::default()
        }
    }

    #[test]
    fn digests_are_lower_case_hex_taken_at_receipt_or_later() {
        let digest: [u8; 32] = std::array::from_fn(|n| (n as u8).wrapping_mul(37));
        assert_eq!(ascii(&hex_digits(&digest)), hex::encode(digest));
        let told = Envelope { digest_at_receipt: Some("of another body".into()), ..sample() };
        assert_eq!(told.body_sha256(), "of another body");
        // printf '{"a": 1}' | sha256sum
        let known = "f9d86028c6e0d64e225186f96acb69338b2c59764df79162107f5c4bb34d1310";
        assert_eq!(sample().body_sha256(), known);
    }

    #[test]
    fn an_envelope_comes_back_as_it_was() {
        let mut out = Vec::new();
        sample().encode(&mut out);
        assert_eq!(Envelope::decode(out.into(), sample().body).unwrap(), sample());
    }

    #[test]
    fn unknown_attributes_are_skipped() {
        let mut out = Vec::new();
        out.extend_from_slice(b"\xc8\x04\0\0\0more");
        sample().encode(&mut out);
        assert_eq!(Envelope::decode(out.into(), sample().body).unwrap(), sample());
    }

    #[test]
    fn of_an_attribute_that_is_written_twice_the_last_one_counts() {
        let mut out = Vec::new();
        sample().encode(&mut out);
        Attribute::Subject.put("orders/2", &mut out);
        let expected = Envelope { subject: Some("orders/2".into()), ..sample() };
        assert_eq!(Envelope::decode(out.into(), sample().body).unwrap(), expected);
    }

    #[test]
    fn no_cut_of_the_attributes_panics() {
        let mut out = Vec::new();
        sample().encode(&mut out);
        for cut in 0..out.len() {
            let _ = Envelope::decode(Bytes::copy_from_slice(&out[..cut]), Bytes::new());
        }
        assert_eq!(Envelope::decode(Bytes::from_static(&[1, 9, 0, 0, 0, b'x']), Bytes::new()), Err(Damaged));
    }
}
