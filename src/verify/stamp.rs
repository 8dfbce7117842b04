//! The time of signing, and the window in which it is believed.

use std::borrow::Cow;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::field::{Field, FieldSpec};
use super::{Refusal, RuleError};
use crate::event::Request;

/// `timestamp = { header | body | query | form, split?, prefix?, item?, unit?, enforce? }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StampSpec {
    /// As in [`FieldSpec`].
    pub header: Option<String>,
    /// As in [`FieldSpec`].
    pub body: Option<String>,
    /// As in [`FieldSpec`].
    pub query: Option<String>,
    /// As in [`FieldSpec`].
    pub form: Option<String>,
    /// As in [`FieldSpec`].
    pub split: Option<String>,
    /// As in [`FieldSpec`].
    pub prefix: Option<String>,
    /// As in [`FieldSpec`].
    pub item: Option<usize>,
    /// How the time is written.
    pub unit: Unit,
    /// Whether a time too far from now is refused. `Some(false)`: the time is signed, but the sender names no window
    /// and may repeat an old one; a source's `tolerance` sets one all the same.
    pub enforce: Option<bool>,
}

/// How a timestamp is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, schemars::JsonSchema)]
pub enum Unit {
    /// Seconds since 1970.
    #[default]
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds since 1970.
    #[serde(rename = "ms")]
    Milliseconds,
    /// A date and time with its offset.
    #[serde(rename = "rfc3339")]
    Rfc3339,
    /// Any of the three; a number that would lie past the year 5000 in seconds counts milliseconds.
    #[serde(rename = "auto")]
    Auto,
}

/// The least number that [`Unit::Auto`] takes for milliseconds.
const MILLISECONDS: i64 = 100_000_000_000;

/// A compiled [`StampSpec`] with its window.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    pub(super) field: Field,
    unit: Unit,
    /// Seconds; `None` where any time is believed.
    pub(super) tolerance_s: Option<u64>,
}

/// A time as it was sent (the signature covers this text) and as it counts.
pub(super) struct Sent<'r> {
    pub(super) text: Cow<'r, [u8]>,
    pub(super) at_s: i64,
}

impl Stamp {
    pub(super) fn new(spec: StampSpec, tolerance_s: u64) -> Result<Self, RuleError> {
        let StampSpec { header, body, query, form, split, prefix, item, unit, enforce } = spec;
        let field = FieldSpec { header, body, query, form, split, prefix, item, ..FieldSpec::default() };
        let tolerance_s = enforce.unwrap_or(true).then_some(tolerance_s);
        Ok(Self { field: Field::new(field, "timestamp")?, unit, tolerance_s })
    }

    /// Reads the time without judging it.
    ///
    /// # Errors
    /// [`Refusal::Missing`]: none; [`Refusal::Mismatch`]: two, or not a time of its unit.
    pub(super) fn read<'r>(&self, request: &Request<'r>) -> Result<Sent<'r>, Refusal> {
        let text = self.field.only(request)?;
        if text.is_empty() {
            return Err(Refusal::Missing);
        }
        let at_s = std::str::from_utf8(&text).ok().and_then(|text| self.parse(text)).ok_or(Refusal::Mismatch)?;
        Ok(Sent { text, at_s })
    }

    fn parse(&self, text: &str) -> Option<i64> {
        let number = || {
            // Any time is believed here, and a scheme may write it beside the body with nothing between them: digits that were
            // moved from one to the other would make a further request of one that was signed. So it has as many as a time of
            // 2001 to 2286 has. (Of seconds also as many as milliseconds: a body of JSON has no digits to give.)
            let is_whole = self.tolerance_s.is_some()
                || match self.unit {
                    Unit::Milliseconds => text.len() == 13,
                    _ => matches!(text.len(), 10 | 13),
                };
            Some(text).filter(|text| is_whole && text.bytes().all(|b| b.is_ascii_digit()))?.parse::<i64>().ok()
        };
        let date = || OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp);
        match self.unit {
            Unit::Seconds => number(),
            Unit::Milliseconds => number().map(|n| n / 1000),
            Unit::Rfc3339 => date(),
            Unit::Auto => match number() {
                Some(n) if n >= MILLISECONDS => Some(n / 1000),
                Some(n) => Some(n),
                None => date(),
            },
        }
    }

    /// Refuses a time too far from `now_s`, in the past or in the future.
    ///
    /// # Errors
    /// [`Refusal::Stale`], with the distance seen and the limit.
    pub(super) fn fresh(&self, sent: &Sent, now_s: i64) -> Result<(), Refusal> {
        let skew_s = now_s.abs_diff(sent.at_s);
        match self.tolerance_s {
            Some(tolerance_s) if skew_s > tolerance_s => Err(Refusal::Stale { skew_s, tolerance_s }),
            _ => Ok(()),
        }
    }

    /// `now_s` as a sender of this scheme writes it.
    pub(super) fn write(&self, now_s: i64) -> String {
        match self.unit {
            Unit::Seconds | Unit::Auto => now_s.to_string(),
            // Every time that a clock shows can be written.
            Unit::Rfc3339 => OffsetDateTime::from_unix_timestamp(now_s)
                .ok()
                .and_then(|at| at.format(&Rfc3339).ok())
                .unwrap_or_default(),
            Unit::Milliseconds => now_s.saturating_mul(1000).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Draft;

    fn stamp(unit: Unit, enforce: Option<bool>) -> Stamp {
        let (header, split) = (Some("t".into()), Some(",".into()));
        let spec = StampSpec { header, split, prefix: Some("t=".into()), unit, enforce, ..StampSpec::default() };
        Stamp::new(spec, 300).unwrap()
    }

    #[track_caller]
    fn check(unit: Unit, text: &str, expected: Result<i64, Refusal>) {
        let headers = vec![("t".to_owned(), text.to_owned())];
        let draft = Draft { headers, ..Draft::default() };
        assert_eq!(stamp(unit, None).read(&draft.request()).map(|sent| sent.at_s), expected, "{text}");
    }

    #[test]
    fn a_time_is_a_plain_number_of_its_unit() {
        check(Unit::Seconds, "t=1700000000,v1=00", Ok(1_700_000_000));
        check(Unit::Milliseconds, "t=1700000000999", Ok(1_700_000_000));
        for text in ["t=+1", "t=-1", "t=1.5", "t=0x1", "t=1e9", "t=99999999999999999999", "t=\u{661}", "t=1,t=1"] {
            check(Unit::Seconds, text, Err(Refusal::Mismatch));
            check(Unit::Auto, text, Err(Refusal::Mismatch));
        }
        check(Unit::Seconds, "v1=00", Err(Refusal::Missing));
        check(Unit::Seconds, "t=", Err(Refusal::Missing));
    }

    #[test]
    fn a_time_may_be_a_date() {
        check(Unit::Rfc3339, "t=2023-11-14T22:13:20Z", Ok(1_700_000_000));
        check(Unit::Rfc3339, "t=2023-11-14T14:13:20.123-08:00", Ok(1_700_000_000));
        check(Unit::Rfc3339, "t=1700000000", Err(Refusal::Mismatch));
        for text in ["t=2023-11-14T22:13:20Z", "t=1700000000", "t=1700000000000"] {
            check(Unit::Auto, text, Ok(1_700_000_000));
        }
        assert_eq!(stamp(Unit::Rfc3339, None).write(1_700_000_000), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn a_time_is_believed_up_to_the_tolerance_on_both_sides() {
        let stamp = stamp(Unit::Seconds, None);
        let fresh = |at_s| stamp.fresh(&Sent { text: Cow::Borrowed(b""), at_s }, 1_000).is_ok();
        assert_eq!([699, 700, 1_300, 1_301, i64::MIN, i64::MAX].map(fresh), [false, true, true, false, false, false]);
    }

    #[test]
    fn a_time_that_is_believed_whenever_it_is_has_all_its_digits() {
        for (unit, text, is_time) in [
            (Unit::Seconds, "1700000000", true),
            (Unit::Seconds, "170000000", false),
            (Unit::Seconds, "17000000001", false),
            (Unit::Milliseconds, "1700000000", false),
            (Unit::Milliseconds, "1700000000123", true),
            (Unit::Milliseconds, "170000000012", false),
            (Unit::Auto, "1700000000", true),
            (Unit::Auto, "17000000001", false),
        ] {
            assert_eq!(stamp(unit, Some(false)).parse(text).is_some(), is_time, "{unit:?} {text}");
            assert!(stamp(unit, None).parse(text).is_some(), "the window tells: {unit:?} {text}");
        }
    }

    #[test]
    fn a_time_without_a_window_is_believed_always() {
        let stamp = stamp(Unit::Seconds, Some(false));
        assert!(stamp.fresh(&Sent { text: Cow::Borrowed(b""), at_s: 0 }, i64::MAX).is_ok());
    }
}
