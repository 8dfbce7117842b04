//! A request as a sender writes it, unsigned: for `hookferry send` and for tests.

use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::value::Value;
use super::{ContractError, Provider};
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
    /// The contract's `sample.body` is not JSON.
    pub fn sample(&self, id: &str, kind: Option<&str>, now_s: i64) -> Result<Draft, ContractError> {
        let sample = &self.contract.sample;
        let mut body: Json =
            serde_json::from_str(&sample.body).map_err(|_| ContractError::key("sample.body", "is not JSON"))?;
        let methods = &self.contract.methods;
        let method = methods.iter().find(|method| *method == "POST").or(methods.first()).cloned().unwrap_or_default();
        let mut draft = Draft { method, path: "/".to_owned(), ..Draft::default() };
        draft.set_header("content-type", "application/json");
        sample.headers.iter().for_each(|(name, value)| draft.set_header(name, value));
        let event = &self.contract.event;
        put(&mut draft, &mut body, event.id.first(), id);
        put(&mut draft, &mut body, event.kind.first(), kind.unwrap_or(&sample.kind));
        put_time(&mut draft, &mut body, event.time.first(), now_s);
        for name in self.rule.covered_headers() {
            let present = draft.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
            if !present && self.rule.timestamp_header() != Some(name) {
                draft.set_header(name, id);
            }
        }
        draft.body = body.to_string().into_bytes();
        Ok(draft)
    }
}

fn put(draft: &mut Draft, body: &mut Json, place: Option<&Value>, text: &str) {
    match place {
        Some(Value::Header(name)) => draft.set_header(name, text),
        Some(Value::Query(name)) => {
            let parameter = url::form_urlencoded::Serializer::new(String::new()).append_pair(name, text).finish();
            let join = if draft.query.is_empty() { "" } else { "&" };
            draft.query = format!("{}{join}{parameter}", draft.query);
        }
        Some(Value::Body(pointer)) => {
            let number = body.pointer(pointer).is_some_and(Json::is_number);
            let number = text.parse::<u64>().ok().filter(|_| number);
            put_json(body, pointer, number.map_or_else(|| Json::from(text), Json::from));
        }
        // A sample is JSON; senders of forms that name their events there are given their body by hand.
        Some(Value::Form { .. }) | None => {}
    }
}

fn put_time(draft: &mut Draft, body: &mut Json, place: Option<&Value>, now_s: i64) {
    let text = OffsetDateTime::from_unix_timestamp(now_s).ok().and_then(|at| at.format(&Rfc3339).ok());
    match (place, text) {
        (Some(Value::Header(name)), Some(text)) => draft.set_header(name, text),
        (Some(Value::Body(pointer)), text) => {
            let now = match body.pointer(pointer) {
                Some(Json::Number(n)) if n.as_i64().is_some_and(|n| n >= 100_000_000_000) => {
                    Json::from(now_s.saturating_mul(1000))
                }
                Some(Json::Number(_)) => Json::from(now_s),
                _ => text.map_or(Json::Null, Json::from),
            };
            put_json(body, pointer, now);
        }
        _ => {}
    }
}

/// Sets a member, making the objects on the way; a way that leads through a scalar is left alone.
fn put_json(body: &mut Json, pointer: &str, value: Json) {
    let mut at = body;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        at = match at {
            Json::Array(items) => match token.parse::<usize>().ok().and_then(|n| items.get_mut(n)) {
                Some(item) => item,
                None => return,
            },
            Json::Object(members) => members.entry(token).or_insert_with(|| Json::Object(Default::default())),
            _ => return,
        };
    }
    *at = value;
}
