//! What every scheme with a signature shares: where the signatures and the time stand, and what they cover.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::field::{Field, FieldSpec};
use super::sign::{Draft, SignError};
use super::stamp::{Sent, Stamp, StampSpec};
use super::template::{Filling, Template};
use super::{Refusal, RuleError};
use crate::event::Request;

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Two digits a byte, in either case.
    Hex,
    /// RFC 4648 with padding.
    Base64,
    /// The alphabet for URLs, with or without padding.
    Base64Url,
}

impl Encoding {
    pub(super) fn decode(self, text: &[u8]) -> Option<Bytes> {
        let mut short = [0; SHORT];
        match self {
            Self::Hex if text.len() <= 2 * SHORT => {
                let length = text.len() / 2;
                hex::decode_to_slice(text, short.get_mut(..length)?).ok()?;
                Some(Bytes::Short(short, length))
            }
            Self::Hex => hex::decode(text).ok().map(Bytes::Long),
            Self::Base64 => base64(&STANDARD, text, short),
            Self::Base64Url => {
                let end = text.iter().rposition(|b| *b != b'=').map_or(0, |at| at + 1);
                if text.len() - end < 3 { base64(&URL_SAFE_NO_PAD, text.get(..end)?, short) } else { None }
            }
        }
    }

    /// Writes `bytes`.
    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
        }
    }
}

/// Length of the longest MAC, bytes.
const SHORT: usize = 64;

/// A signature; that of a MAC costs no allocation.
#[derive(Debug, Clone)]
pub(super) enum Bytes {
    /// So many of these.
    Short([u8; SHORT], usize),
    /// Those of public keys are longer.
    Long(Vec<u8>),
}

impl Bytes {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match short.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                Self::Short(short, bytes.len())
            }
            None => Self::Long(bytes.to_vec()),
        }
    }

    /// Whether both are the same, in a time that tells nothing but their lengths, which are no secret.
    pub(super) fn is(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self, other).is_ok()
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(bytes, length) => bytes.get(..*length).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

fn base64(engine: &impl base64::Engine, text: &[u8], mut short: [u8; SHORT]) -> Option<Bytes> {
    // What is longer than it could be does not fit.
    if text.len() <= SHORT / 3 * 4 {
        let length = engine.decode_slice(text, &mut short).ok()?;
        return Some(Bytes::Short(short, length));
    }
    engine.decode(text).ok().map(|bytes| Bytes::new(&bytes))
}

/// `tolerance` where the provider names none.
pub(super) fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

/// The places of a signature.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    encoding: Encoding,
    pub(super) signature: Field,
    pub(super) timestamp: Option<Stamp>,
    pub(super) message: Template,
}

/// What a request bears as proof, unchecked.
pub(super) struct Proof<'r> {
    /// As they are written; at most [`super::MAX_SIGNATURES`].
    values: Vec<Cow<'r, [u8]>>,
    encoding: Encoding,
    sent: Option<Sent<'r>>,
}

impl Proof<'_> {
    /// The signatures; what does not decode is none.
    pub(super) fn signatures(&self) -> impl Iterator<Item = Bytes> {
        self.values.iter().filter_map(|text| self.encoding.decode(text))
    }

    pub(super) fn time(&self) -> Option<&[u8]> {
        self.sent.as_ref().map(|sent| sent.text.as_ref())
    }
}

impl Signed {
    pub(super) fn new(
        encoding: Encoding,
        signature: FieldSpec,
        timestamp: Option<StampSpec>,
        message: &str,
        tolerance: Duration,
    ) -> Result<Self, RuleError> {
        let message = Template::new(message)?;
        let timestamp = timestamp.map(|stamp| Stamp::new(stamp, tolerance.as_secs())).transpose()?;
        match (&timestamp, message.covers_timestamp()) {
            (None, true) => {
                return Err(RuleError::new("message", "holds {timestamp}, but no `timestamp` says where it is"));
            }
            (Some(stamp), false) if !covers(&message, &stamp.field) => {
                return Err(RuleError::new("timestamp", "is not part of `message`, so anybody could change it"));
            }
            _ => {}
        }
        Ok(Self { encoding, signature: Field::new(signature, "signature")?, timestamp, message })
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Reads the signatures and the time.
    pub(super) fn read<'r>(&self, request: &Request<'r>) -> Result<Proof<'r>, Refusal> {
        let values = self.signature.values(request)?;
        let sent = self.timestamp.as_ref().map(|stamp| stamp.read(request)).transpose()?;
        Ok(Proof { values, encoding: self.encoding, sent })
    }

    /// The bytes that are signed, in pieces.
    pub(super) fn message<'v>(
        &'v self,
        request: &'v Request,
        timestamp: Option<&'v [u8]>,
        secret: Option<&'v [u8]>,
    ) -> Result<Vec<Cow<'v, [u8]>>, Refusal> {
        self.message.fill(Filling { request, timestamp, secret, other_port: false })
    }

    /// As [`Self::message`], with the port in the URL where it has none, and without where it has one.
    pub(super) fn message_of_other_port<'v>(
        &'v self,
        request: &'v Request,
        timestamp: Option<&'v [u8]>,
    ) -> Result<Vec<Cow<'v, [u8]>>, Refusal> {
        self.message.fill(Filling { request, timestamp, secret: None, other_port: true })
    }

    /// Judges the time of a proof whose signature is right.
    pub(super) fn fresh(&self, proof: &Proof, now_s: i64) -> Result<(), Refusal> {
        match (&self.timestamp, &proof.sent) {
            (Some(stamp), Some(sent)) => stamp.fresh(sent, now_s),
            _ => Ok(()),
        }
    }

    /// Writes time and signature where [`Self::read`] finds them.
    pub(super) fn write(
        &self,
        draft: &mut Draft,
        now_s: i64,
        secret: Option<&[u8]>,
        tag: impl FnOnce(&[Cow<[u8]>]) -> Bytes,
    ) -> Result<(), SignError> {
        let time = self.timestamp.as_ref().map(|stamp| (stamp, stamp.write(now_s)));
        if let Some((stamp, text)) = &time {
            stamp.field.edit(draft, |_| Some(stamp.field.write(text)));
        }
        let request = draft.request();
        let message = self.message(&request, time.as_ref().map(|(_, text)| text.as_bytes()), secret);
        let tag = tag(&message.map_err(|_| SignError::Incomplete)?);
        let mut value = self.signature.write(&self.encoding.encode(&tag));
        if let Some((stamp, text)) = &time
            && stamp.field.shares(&self.signature)
        {
            let split = char::from(self.signature.split.unwrap_or(b','));
            value = format!("{}{split}{value}", stamp.field.write(text));
        }
        self.signature.edit(draft, |_| Some(value));
        Ok(())
    }
}

/// Whether the message covers the place of the time, other than as `{timestamp}`.
fn covers(message: &Template, stamp: &Field) -> bool {
    match (stamp.header(), stamp.body()) {
        (Some(header), _) => message.headers().any(|name| name == header),
        (_, Some(pointer)) => message.covers_body() || message.pointers().any(|covered| covered == pointer),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_read_back_as_it_is_written() {
        let bytes = [0xfb, 0xff, 0x00, 0x10];
        for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
            assert_eq!(encoding.decode(encoding.encode(&bytes).as_bytes()).as_deref(), Some(&bytes[..]));
        }
        assert_eq!(Encoding::Base64Url.encode(&bytes), "-_8AEA");
        for text in ["-_8AEA", "-_8AEA=", "-_8AEA=="] {
            assert_eq!(Encoding::Base64Url.decode(text.as_bytes()).as_deref(), Some(&bytes[..]), "{text}");
        }
        for text in ["+/8AEA", "-_8AEA===", "=-_8AEA", "-_8 AEA"] {
            assert!(Encoding::Base64Url.decode(text.as_bytes()).is_none(), "{text}");
        }
    }
}
