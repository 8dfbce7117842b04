//! The time of signing, and the window in which it is believed.

use serde::Deserialize;

use super::field::{Field, FieldSpec};
use super::{Refusal, RuleError};
use crate::event::Request;

/// `timestamp = { header, split?, prefix?, unit? }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StampSpec {
    /// As in [`FieldSpec`].
    pub header: String,
    /// As in [`FieldSpec`].
    #[serde(default)]
    pub split: Option<String>,
    /// As in [`FieldSpec`].
    #[serde(default)]
    pub prefix: Option<String>,
    /// What the number counts.
    #[serde(default)]
    pub unit: Unit,
}

/// What a timestamp counts, since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Unit {
    /// Seconds.
    #[default]
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
}

/// A compiled [`StampSpec`] with its window.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    pub(super) field: Field,
    unit: Unit,
    pub(super) tolerance_s: u64,
}

/// A time as it was sent (the signature covers this text) and as it counts.
pub(super) struct Sent<'r> {
    pub(super) text: &'r [u8],
    pub(super) at_s: i64,
}

impl Stamp {
    pub(super) fn new(spec: StampSpec, tolerance_s: u64) -> Result<Self, RuleError> {
        let StampSpec { header, split, prefix, unit } = spec;
        Ok(Self { field: Field::new(FieldSpec { header, split, prefix }, "timestamp")?, unit, tolerance_s })
    }

    /// Reads the time without judging it.
    ///
    /// # Errors
    /// [`Refusal::Missing`]: none; [`Refusal::Mismatch`]: two, or not a plain number.
    pub(super) fn read<'r>(&self, request: &Request<'r>) -> Result<Sent<'r>, Refusal> {
        let text = self.field.only(request)?;
        if text.is_empty() {
            return Err(Refusal::Missing);
        }
        let number: i64 = std::str::from_utf8(text)
            .ok()
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or(Refusal::Mismatch)?;
        Ok(Sent { text, at_s: if self.unit == Unit::Milliseconds { number / 1000 } else { number } })
    }

    /// Refuses a time too far from `now_s`, in the past or in the future.
    ///
    /// # Errors
    /// [`Refusal::Stale`], with the distance seen and the limit.
    pub(super) fn fresh(&self, sent: &Sent, now_s: i64) -> Result<(), Refusal> {
        let (skew_s, tolerance_s) = (now_s.abs_diff(sent.at_s), self.tolerance_s);
        if skew_s > tolerance_s { Err(Refusal::Stale { skew_s, tolerance_s }) } else { Ok(()) }
    }

    /// `now_s` as a sender of this scheme writes it.
    pub(super) fn write(&self, now_s: i64) -> String {
        match self.unit {
            Unit::Seconds => now_s.to_string(),
            Unit::Milliseconds => now_s.saturating_mul(1000).to_string(),
        }
    }
}
