//! The attributes of an event, read from an authentic request.

use std::borrow::Cow;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::contract::EventSpec;
use super::read::{Compiler, Place, Reader};
use super::value::Value;
use super::{ContractError, Provider};
use crate::event::Request;
use crate::event::json::Pointers;

/// Longest event id or type, bytes; longer ones are treated as absent.
pub const MAX_NAME: usize = 256;

/// Longest subject or partition key, bytes.
pub const MAX_SUBJECT: usize = 1024;

/// What a request says of its event. `None`: the sender does not say, or says what no attribute may hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Whether the body can stand in `data` as it is.
    pub is_json: bool,
    /// The sender's event id.
    pub id: Option<String>,
    /// The event type, without the provider's name.
    pub kind: Option<String>,
    /// Time of the event, RFC 3339, UTC.
    pub time: Option<String>,
    /// The resource that the event is about.
    pub subject: Option<String>,
    /// Key of ordering, where the source names one.
    pub partition_key: Option<String>,
}

/// All places of a source, with one set of pointers for one pass over the body.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    id: Vec<Place>,
    kind: Vec<Place>,
    time: Vec<Place>,
    /// Of times that name none, as an offset in RFC 3339.
    time_zone: Option<String>,
    subject: Vec<Place>,
    partition_key: Vec<Place>,
    pointers: Pointers,
}

impl Plan {
    pub(super) fn new(event: &EventSpec, partition_key: &[Value]) -> Result<Self, ContractError> {
        let mut compiler = Compiler::default();
        Ok(Self {
            id: compiler.places(&event.id)?,
            kind: compiler.places(&event.kind)?,
            time: compiler.places(&event.time)?,
            time_zone: event.time_zone.as_deref().map(zone).transpose()?,
            subject: compiler.places(&event.subject)?,
            partition_key: compiler.places(partition_key)?,
            pointers: compiler.finish()?,
        })
    }
}

impl Provider {
    /// Reads the attributes of an event.
    ///
    /// - `body`: the body after content decoding; `request.body` is not looked at.
    pub fn extract(&self, request: &Request, body: &[u8]) -> Extracted {
        let plan = &self.plan;
        let reader = Reader::new(request, body, &plan.pointers);
        let name = |text: Cow<str>| plain(&text, MAX_NAME);
        let subject = |text: Cow<str>| plain(&text, MAX_SUBJECT);
        let zone = plan.time_zone.as_deref();
        Extracted {
            is_json: reader.is_json(),
            id: plan.id.iter().filter_map(|place| reader.read(place)).find_map(name),
            kind: plan.kind.iter().filter_map(|place| reader.read(place)).find_map(name),
            time: plan.time.iter().filter_map(|place| reader.read(place)).find_map(|text| instant(&text, zone)),
            subject: plan.subject.iter().filter_map(|place| reader.read(place)).find_map(subject),
            partition_key: plan.partition_key.iter().filter_map(|place| reader.read(place)).find_map(subject),
        }
    }
}

/// `text` without blanks around it, if an attribute may hold it.
fn plain(text: &str, max: usize) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= max && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// A provider's time as RFC 3339 in UTC: from Unix seconds (fractions allowed), Unix milliseconds (from 10^11 on:
/// as seconds that would be the year 5138), or RFC 3339, with `zone` where it may name none. `None` where UTC has no such
/// year of four digits.
fn instant(text: &str, zone: Option<&str>) -> Option<String> {
    let text = text.trim();
    let at = match text.split_once('.').unwrap_or((text, "")) {
        (whole, part) if digits(whole) && (part.is_empty() || digits(part)) => {
            let whole: i128 = whole.parse().ok().filter(|whole| *whole < 100_000_000_000_000)?;
            let nanos: i128 = format!("{part:0<9}").get(..9)?.parse().ok()?;
            let nanos = if whole < 100_000_000_000 { whole * 1_000_000_000 + nanos } else { whole * 1_000_000 };
            OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?
        }
        _ => {
            let local = |zone: &str| OffsetDateTime::parse(&format!("{text}{zone}"), &Rfc3339).ok();
            let at = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| zone.and_then(local));
            at?.checked_to_offset(time::UtcOffset::UTC)?
        }
    };
    at.format(&Rfc3339).ok()
}

/// Checks an offset such as `+07:00`.
fn zone(text: &str) -> Result<String, ContractError> {
    let parses = OffsetDateTime::parse(&format!("2000-01-01T00:00:00{text}"), &Rfc3339).is_ok();
    let is_offset = text.starts_with(['+', '-']) && text.len() == 6 && parses;
    let bad = || ContractError::key("event.time_zone", "is no offset from UTC such as \"+00:00\" or \"-08:00\"");
    is_offset.then(|| text.to_owned()).ok_or_else(bad)
}

fn digits(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Draft, Spec};

    #[track_caller]
    fn time(text: &str, expected: Option<&str>) {
        assert_eq!(instant(text, None).as_deref(), expected, "{text:?}");
    }

    #[test]
    fn a_time_without_a_zone_is_read_in_the_one_that_the_sender_documents() {
        let zoned = |text: &str| instant(text, Some("+07:00"));
        assert_eq!(zoned("2023-11-15 05:13:20").as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(zoned("2023-11-15T05:13:20.902").as_deref(), Some("2023-11-14T22:13:20.902Z"));
        assert_eq!(zoned("2023-11-14T22:13:20Z").as_deref(), Some("2023-11-14T22:13:20Z"), "what it names counts");
        assert_eq!(zoned("1700000000").as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(zoned("2023-11-15"), None);
        assert_eq!(instant("2023-11-15 05:13:20", None), None, "nobody knows whose midday that is");
        for zone in ["", "Z", "7", "+7:00", "UTC", "+0700", "+25:00", ".5Z+01", ".1234Z"] {
            let event = toml::from_str(&format!("time_zone = '{zone}'")).unwrap();
            let error = Provider::custom("shop", Spec::None {}, event).unwrap_err().to_string();
            assert!(error.contains("`event.time_zone` is no offset"), "{zone}: {error}");
        }
    }

    fn extract(event: &str, headers: &[(&str, &str)], body: &str) -> Extracted {
        let provider = Provider::custom("shop", Spec::None {}, toml::from_str(event).unwrap()).unwrap();
        let provider = provider.with_partition_key(&[Value::parse("body:/shop").unwrap()]).unwrap();
        let mut draft = Draft::default();
        headers.iter().for_each(|(name, value)| draft.headers.push((name.to_string(), value.to_string())));
        provider.extract(&draft.request(), body.as_bytes())
    }

    #[test]
    fn times_of_every_provider_become_rfc_3339_in_utc() {
        time("1700000000", Some("2023-11-14T22:13:20Z"));
        time("1700000000.5", Some("2023-11-14T22:13:20.5Z"));
        time("1700000000123", Some("2023-11-14T22:13:20.123Z"));
        time("2023-11-14T23:13:20.123456+01:00", Some("2023-11-14T22:13:20.123456Z"));
        time(" 2023-11-14T22:13:20Z ", Some("2023-11-14T22:13:20Z"));
        time("9999-12-31T23:59:59-01:00", None);
        time("0000-01-01T00:00:00+01:00", None);
        for text in ["", "-1", "1e3", "soon", "99999999999999999999", "1.2.3", "2023-11-14", "true"] {
            time(text, None);
        }
    }

    #[test]
    fn attributes_are_read_where_the_source_says() {
        let event = "id = 'header:X-Id'\ntype = 'body:/kind'\ntime = 'body:/at'\nsubject = 'body:/order/id'";
        let body = r#"{"kind":" paid ","at":1700000000,"order":{"id":7},"shop":"a"}"#;
        let expected = Extracted {
            is_json: true,
            id: Some("e1".to_owned()),
            kind: Some("paid".to_owned()),
            time: Some("2023-11-14T22:13:20Z".to_owned()),
            subject: Some("7".to_owned()),
            partition_key: Some("a".to_owned()),
        };
        assert_eq!(extract(event, &[("x-id", "e1")], body), expected);
    }

    #[test]
    fn the_next_place_counts_where_one_is_absent_or_unfit() {
        let id = |headers: &[(&str, &str)], body: &str| {
            extract("id = ['header:x-id', 'body:/id', 'body:/uuid']", headers, body).id
        };
        let long = "x".repeat(MAX_NAME + 1);
        assert_eq!(id(&[], r#"{"uuid":"u"}"#).as_deref(), Some("u"));
        assert_eq!(id(&[("x-id", "1"), ("X-Id", "2")], r#"{"id":"b"}"#).as_deref(), Some("b"));
        assert_eq!(id(&[("x-id", " ")], &format!(r#"{{"id":"{long}","uuid":"u"}}"#)).as_deref(), Some("u"));
        assert_eq!(id(&[], r#"{"id":"a\nb"}"#), None);
        assert_eq!(id(&[], "not json"), None);
    }

    #[test]
    fn a_form_gives_its_fields_and_the_json_in_them() {
        let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let event = "type = ['form:payload:/type', 'form:command']";
        let body = "payload=%7B%22type%22%3A%22block_actions%22%7D&command=no";
        let extracted = extract(event, &form, body);
        assert_eq!((extracted.is_json, extracted.kind.as_deref()), (false, Some("block_actions")));
        assert_eq!(extract(event, &form, "command=%2Fweather").kind.as_deref(), Some("/weather"));
        assert_eq!(extract(event, &[], "command=%2Fweather").kind, None);
    }
}
