//! Requests of one source, each with an id of its own: all that stays is built once.
//!
//! A value in a JSON body is replaced where it stands, so every other byte of the body stays as it was given.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Context as _;
use serde_json::value::RawValue;

use crate::event::json;
use crate::verify::Draft;

/// A request with room for an id.
#[derive(Debug, Clone)]
pub struct Template {
    draft: Draft,
    slots: Vec<Slot>,
}

/// Where an id stands.
#[derive(Debug, Clone)]
enum Slot {
    Header(usize, Range<usize>),
    Query(Range<usize>),
    Body(Range<usize>),
}

impl Template {
    /// Takes every place of `draft` that shows `id` as room for ids of the same length.
    /// `None`: no place does, so all requests of the template would be one event.
    pub fn new(draft: Draft, id: &str) -> Option<Self> {
        let body = String::from_utf8_lossy(&draft.body);
        let places = |text: &str| text.match_indices(id).map(|(at, id)| at..at + id.len()).collect::<Vec<_>>();
        let headers = draft.headers.iter().enumerate();
        let mut slots: Vec<Slot> = headers
            .flat_map(|(n, (_, value))| places(value).into_iter().map(move |range| Slot::Header(n, range)))
            .collect();
        slots.extend(places(&draft.query).into_iter().map(Slot::Query));
        // A body that is not UTF-8 has other offsets as text than as bytes.
        if matches!(body, Cow::Borrowed(_)) {
            slots.extend(places(&body).into_iter().map(Slot::Body));
        }
        drop(body);
        (!slots.is_empty()).then_some(Self { draft, slots })
    }

    /// The request with this id, which is as long as the one that the template was made with.
    pub fn with_id(&self, id: &str) -> Draft {
        let mut draft = self.draft.clone();
        for slot in &self.slots {
            match slot {
                Slot::Header(n, range) => {
                    if let Some((_, value)) = draft.headers.get_mut(*n) {
                        value.replace_range(range.clone(), id);
                    }
                }
                Slot::Query(range) => draft.query.replace_range(range.clone(), id),
                Slot::Body(range) => _ = draft.body.splice(range.clone(), id.bytes()),
            }
        }
        draft
    }
}

/// Sets the scalar of a JSON body that `pointer` shows; an absent member is added.
///
/// # Errors
/// The body is not JSON, or has no object where the value should be.
pub fn set(body: &mut Vec<u8>, pointer: &str, value: &str) -> anyhow::Result<()> {
    let text = std::str::from_utf8(body).context("the body is not UTF-8")?;
    let _: &RawValue = serde_json::from_str(text).context("the body is not JSON")?;
    let missing = || format!("the body has no place `{pointer}` for `{value}`");
    let (range, new) = json::replacement(text, pointer, Some(value)).with_context(missing)?;
    body.splice(range, new.into_bytes());
    Ok(())
}

/// Makes the body `size` bytes long, by a member `padding` of a JSON object, else by blanks at its end.
///
/// # Errors
/// The body is longer than that.
pub fn pad(body: &mut Vec<u8>, size: usize) -> anyhow::Result<()> {
    let add = size.checked_sub(body.len()).with_context(|| format!("the body has {} bytes already", body.len()))?;
    let empty =
        serde_json::from_slice::<BTreeMap<Cow<'_, str>, &RawValue>>(body).ok().map(|members| members.is_empty());
    let comma = if empty == Some(true) { "" } else { "," };
    let frame = format!("{comma}\"padding\":\"\"");
    match body.iter().rposition(|&b| b == b'}').filter(|_| empty.is_some() && add >= frame.len()) {
        Some(end) => {
            let padding = format!("{comma}\"padding\":\"{}\"", "x".repeat(add - frame.len()));
            body.splice(end..end, padding.into_bytes());
        }
        None => body.resize(size, b' '),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "evt_0001";

    fn draft(body: &str) -> Draft {
        Draft { method: "POST".into(), body: body.into(), ..Draft::default() }
    }

    #[track_caller]
    fn check(body: &str, pointer: &str, value: &str, with: &str) {
        let mut bytes = body.as_bytes().to_vec();
        set(&mut bytes, pointer, value).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), with);
    }

    #[test]
    fn a_value_in_a_body_is_replaced_where_it_stands() {
        check(r#"{ "b":1.10,"id" : "old", "a": 1e400 }"#, "/id", ID, r#"{ "b":1.10,"id" : "evt_0001", "a": 1e400 }"#);
        check(
            r#" {"data":[{"id":"x"},{"i/d":"y"}]}"#,
            "/data/1/i~1d",
            ID,
            r#" {"data":[{"id":"x"},{"i/d":"evt_0001"}]}"#,
        );
        check(r#"{"id":null}"#, "/id", ID, r#"{"id":"evt_0001"}"#);
        check(r#"{"id":12}"#, "/id", "34", r#"{"id":34}"#);
        check(r#"{"id":12}"#, "/id", "a\"b", r#"{"id":"a\"b"}"#);
    }

    #[test]
    fn a_value_that_is_absent_is_added() {
        check("{}", "/id", ID, r#"{"id":"evt_0001"}"#);
        check(r#"{"data": {"a":1}}"#, "/data/id", ID, r#"{"data": {"id":"evt_0001","a":1}}"#);
        assert!(set(&mut br#"{"a":1}"#.to_vec(), "/data/id", ID).is_err());
        assert!(set(&mut b"a=b".to_vec(), "/id", ID).is_err());
    }

    #[test]
    fn each_request_of_a_template_differs_by_its_id_only() {
        let mut first = draft(r#"{"id":"evt_0001","n":1,"again":"x evt_0001"}"#);
        first.set_header("x-other", "1");
        first.set_header("x-id", "id=evt_0001");
        first.query = "a=b&id=evt_0001".to_owned();
        let template = Template::new(first, ID).unwrap();
        let other = template.with_id("evt_0007");
        let shown = format!("{} {:?} {}", other.query, other.headers, String::from_utf8_lossy(&other.body));
        assert_eq!(shown.matches("evt_0007").count(), 4, "{shown}");
        assert!(!shown.contains(ID), "{shown}");
        assert_eq!(Template::new(other, "evt_0007").unwrap().with_id("evt_0009"), template.with_id("evt_0009"));
        assert!(Template::new(draft("{}"), ID).is_none());
    }

    #[test]
    fn a_body_is_padded_to_a_size_and_stays_what_it_is() {
        for body in ["{}", r#"{"a":1}"#, r#"{"a":{}} "#] {
            let mut padded = body.as_bytes().to_vec();
            pad(&mut padded, 100).unwrap();
            assert_eq!(padded.len(), 100);
            assert!(serde_json::from_slice::<serde_json::Value>(&padded).unwrap()["padding"].is_string(), "{body}");
        }
        let mut form = b"a=b".to_vec();
        pad(&mut form, 5).unwrap();
        assert_eq!(form, b"a=b  ");
        assert!(pad(&mut form, 4).is_err());
    }
}
