//! A request as a sender writes it, unsigned: for `hookferry send` and for tests.

use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::value::Value;
use super::{ContractError, Provider};
use crate::event::json::set;
use crate::verify::Draft;

impl Provider {
    /// An event with this id and type (`None`: the sample's own), placed where this provider's rules read them.
    ///
    /// The path is `/`, there is no public URL: the caller knows them. It lacks the signature: see
    /// [`crate::verify::sign`].
    ///
    /// - `now_s`: time of the event, Unix seconds.
    ///
    /// # Errors
    /// The contract's `sample.body` is not JSON, and its headers name no other media type.
    pub fn sample(&self, id: &str, kind: Option<&str>, now_s: i64) -> Result<Draft, ContractError> {
        let sample = &self.contract.sample;
        let methods = &self.contract.methods;
        let method = methods.iter().find(|method| *method == "POST").or(methods.first()).cloned().unwrap_or_default();
        let mut draft = Draft { method, path: "/".to_owned(), ..Draft::default() };
        draft.set_header("content-type", "application/json");
        sample.headers.iter().for_each(|(name, value)| draft.set_header(name, value));
        draft.body = if media_type(&draft).contains("json") && !sample.body.trim().is_empty() {
            let body: Json =
                serde_json::from_str(&sample.body).map_err(|_| ContractError::key("sample.body", "is not JSON"))?;
            body.to_string().into_bytes()
        } else {
            sample.body.clone().into_bytes()
        };
        let event = &self.contract.event;
        put(&mut draft, event.id.first(), id);
        if kind.is_some() || !sample.kind.is_empty() {
            put(&mut draft, event.kind.first(), kind.unwrap_or(&sample.kind));
        }
        put_time(&mut draft, event.time.first(), event.time_zone.as_deref(), now_s);
        for name in self.rule.covered_headers() {
            let present = draft.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
            if !present && self.rule.timestamp_header() != Some(name) {
                draft.set_header(name, id);
            }
        }
        Ok(draft)
    }
}

fn media_type(draft: &Draft) -> String {
    let value = draft.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    value.map(|(_, value)| value.to_ascii_lowercase()).unwrap_or_default()
}

fn put(draft: &mut Draft, place: Option<&Value>, text: &str) {
    match place {
        Some(Value::Header(name)) => draft.set_header(name, text),
        Some(Value::Query(name)) => draft.edit_query(name, |_| Some(text.to_owned())),
        Some(Value::Body(pointer)) => edit_json(&mut draft.body, pointer, |old| scalar(old, text)),
        Some(Value::Form { field, pointer: None }) => draft.edit_form(field, |_| Some(text.to_owned())),
        Some(Value::Form { field, pointer: Some(pointer) }) => draft.edit_form(field, |old| {
            let mut inner = old.unwrap_or_default().into_bytes();
            edit_json(&mut inner, pointer, |old| scalar(old, text));
            String::from_utf8(inner).ok()
        }),
        Some(Value::Joined(values)) => put_joined(draft, values, text),
        // What stands in a token, only its signer can set.
        Some(Value::Text(_) | Value::If(..) | Value::Jwt(_) | Value::BodyJwt(..)) | None => {}
    }
}

/// Cuts `text` at the literals; where it has them not, the last place takes all that is left.
fn put_joined(draft: &mut Draft, values: &[Value], mut text: &str) {
    let places = values.iter().filter(|value| !matches!(value, Value::Text(_))).count();
    let mut seen = 0;
    for (n, value) in values.iter().enumerate() {
        match value {
            Value::Text(literal) => text = text.strip_prefix(literal.as_str()).unwrap_or(text),
            place => {
                seen += 1;
                let end = match values.get(n + 1) {
                    Some(Value::Text(literal)) if seen < places => text.find(literal.as_str()),
                    _ => None,
                };
                let (own, rest) = text.split_at(end.unwrap_or(text.len()));
                // Where nothing is left, the sample's own value stays.
                if !own.is_empty() {
                    put(draft, Some(place), own);
                }
                text = rest;
            }
        }
    }
}

/// `text` as the number that stood there, where it is one.
fn scalar(old: Option<&Json>, text: &str) -> Json {
    let number = text.parse::<u64>().ok().filter(|_| old.is_some_and(Json::is_number));
    number.map_or_else(|| Json::from(text), Json::from)
}

fn edit_json(body: &mut Vec<u8>, pointer: &str, new: impl FnOnce(Option<&Json>) -> Json) {
    if let Ok(mut json) = serde_json::from_slice::<Json>(body) {
        let value = new(json.pointer(pointer));
        set(&mut json, pointer, value);
        *body = json.to_string().into_bytes();
    }
}

/// As a sender writes it that names no zone.
fn local(at: OffsetDateTime, zone: &str) -> Option<String> {
    let offset = OffsetDateTime::parse(&format!("2000-01-01T00:00:00{zone}"), &Rfc3339).ok()?.offset();
    let text = at.checked_to_offset(offset)?.format(&Rfc3339).ok()?;
    Some(text.get(..19)?.replacen('T', " ", 1))
}

fn put_time(draft: &mut Draft, place: Option<&Value>, zone: Option<&str>, now_s: i64) {
    let at = OffsetDateTime::from_unix_timestamp(now_s).ok();
    let text = match zone {
        None => at.and_then(|at| at.format(&Rfc3339).ok()),
        Some(zone) => at.and_then(|at| local(at, zone)),
    };
    match (place, text) {
        (Some(Value::Body(pointer)), text) => edit_json(&mut draft.body, pointer, |old| match old {
            Some(Json::Number(n)) if n.as_f64().is_some_and(|n| n >= 100_000_000_000.0) => {
                Json::from(now_s.saturating_mul(1000))
            }
            Some(Json::Number(_)) => Json::from(now_s),
            Some(Json::String(text)) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                Json::from(if text.len() > 11 { now_s.saturating_mul(1000) } else { now_s }.to_string())
            }
            _ => text.map_or(Json::Null, Json::from),
        }),
        (Some(place), Some(text)) => put(draft, Some(place), &text),
        _ => {}
    }
}
