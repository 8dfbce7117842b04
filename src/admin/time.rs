//! Times as people and programs write them.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Unix time in milliseconds as RFC 3339, UTC.
pub fn rfc3339(ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// Unix time in milliseconds of an RFC 3339 time; `None` if it is none.
pub fn parse(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// A time that is RFC 3339, a form's `2026-11-28T05:30` (UTC), or a duration before `now_ms` such as `15m`.
pub fn given(text: &str, now_ms: u64) -> Option<u64> {
    let text = text.trim();
    if let Ok(ago) = humantime::parse_duration(text) {
        return Some(now_ms.saturating_sub(u64::try_from(Duration::as_millis(&ago)).ok()?));
    }
    let plain = text.replace(' ', "T");
    parse(&plain).or_else(|| parse(&format!("{plain}Z"))).or_else(|| parse(&format!("{plain}:00Z")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_a_date_or_as_how_long_ago() {
        assert_eq!(rfc3339(1_000), "1970-01-01T00:00:01Z");
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", Some(1_000)),
            ("1970-01-01T01:00:01+01:00", Some(1_000)),
            ("1970-01-01T00:01", Some(60_000)),
            ("1970-01-01 00:01:02", Some(62_000)),
            ("1m", Some(40_000)),
            ("9h", Some(0)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(given(text, 100_000), expected, "{text}");
        }
    }
}
