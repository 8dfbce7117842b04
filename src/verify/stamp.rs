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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Draft;

    #[track_caller]
    fn check(unit: Unit, text: &str, expected: Result<i64, Refusal>) {
        let spec = StampSpec { header: "t".into(), split: Some(",".into()), prefix: Some("t=".into()), unit };
        let headers = vec![("t".to_owned(), text.to_owned())];
        let draft = Draft { headers, ..Draft::default() };
        let stamp = Stamp::new(spec, 300).unwrap();
        assert_eq!(stamp.read(&draft.request()).map(|sent| sent.at_s), expected, "{text}");
    }

    #[test]
    fn a_time_is_a_plain_number_of_its_unit() {
        check(Unit::Seconds, "t=1700000000,v1=00", Ok(1_700_000_000));
        check(Unit::Milliseconds, "t=1700000000999", Ok(1_700_000_000));
        for text in ["t=+1", "t=-1", "t=1.5", "t=0x1", "t=1e9", "t=99999999999999999999", "t=\u{661}", "t=1,t=1"] {
            check(Unit::Seconds, text, Err(Refusal::Mismatch));
        }
        check(Unit::Seconds, "v1=00", Err(Refusal::Missing));
        check(Unit::Seconds, "t=", Err(Refusal::Missing));
    }

    #[test]
    fn a_time_is_believed_up_to_the_tolerance_on_both_sides() {
        let spec = StampSpec { header: "t".into(), split: None, prefix: None, unit: Unit::Seconds };
        let stamp = Stamp::new(spec, 300).unwrap();
        let fresh = |at_s| stamp.fresh(&Sent { text: b"", at_s }, 1_000).is_ok();
        assert_eq!([699, 700, 1_300, 1_301, i64::MIN, i64::MAX].map(fresh), [false, true, true, false, false, false]);
    }
}
