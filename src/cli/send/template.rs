//! Requests of one source, each with an id of its own: all that stays is built once.
//!
//! A value in a JSON body is replaced where it stands, so every other byte of the body stays as it was given.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Context as _;
use serde_json::value::RawValue;

use crate::verify::Draft;

/// Where a request has its event id or type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A header.
    Header(String),
    /// A JSON Pointer into the body.
    Body(String),
}

/// A request with room for an id.
#[derive(Debug, Clone)]
pub struct Template {
    draft: Draft,
    slot: Slot,
}

#[derive(Debug, Clone)]
enum Slot {
    None,
    Header(usize),
    /// Where the id stands in the body, without quotes.
    Body(Range<usize>),
}

impl Template {
    /// `draft` with room at `place` for ids as long as `like`; without a place no id is ever set.
    ///
    /// # Errors
    /// The body is not JSON, or has no object where the id should be.
    pub fn new(mut draft: Draft, place: Option<&Place>, like: &str) -> anyhow::Result<Self> {
        let slot = match place {
            None => Slot::None,
            Some(place) => match set(&mut draft, place, like)? {
                None => Slot::Header(draft.headers.len() - 1),
                Some(range) => Slot::Body(range),
            },
        };
        Ok(Self { draft, slot })
    }

    /// The request with this id, which is as long as the one that the template was made with.
    pub fn with_id(&self, id: &str) -> Draft {
        let mut draft = self.draft.clone();
        match &self.slot {
            Slot::None => {}
            Slot::Header(at) => {
                if let Some((_, value)) = draft.headers.get_mut(*at) {
                    id.clone_into(value);
                }
            }
            Slot::Body(range) => {
                if let Some(old) = draft.body.get_mut(range.clone()).filter(|old| old.len() == id.len()) {
                    old.copy_from_slice(id.as_bytes());
                }
            }
        }
        draft
    }
}

/// Sets the value at `place`; where that is in the body, says where it now stands, without its quotes.
/// A header that is set moves to the end.
///
/// # Errors
/// The body is not JSON, or has no object where the value should be.
pub fn set(draft: &mut Draft, place: &Place, value: &str) -> anyhow::Result<Option<Range<usize>>> {
    match place {
        Place::Header(name) => {
            draft.set_header(name, value);
            Ok(None)
        }
        Place::Body(pointer) => {
            let text = std::str::from_utf8(&draft.body).context("the body is not UTF-8")?;
            let Edit { range, before, value, after } = edit(text, pointer, value)?;
            let start = range.start + before.len();
            let stands = start..start + value.len();
            draft.body.splice(range, [before, value, after].concat().into_bytes());
            Ok(Some(stands))
        }
    }
}

/// What is to stand in place of `range`: the value, and what it takes around it.
struct Edit {
    range: Range<usize>,
    before: String,
    value: String,
    after: String,
}

/// The change of `text` after which `pointer` shows `value`.
fn edit(text: &str, pointer: &str, value: &str) -> anyhow::Result<Edit> {
    let missing = || format!("the body has no place `{pointer}` for `{value}`");
    let mut at: &RawValue = serde_json::from_str(text).context("the body is not JSON")?;
    let start = |raw: &RawValue| raw.get().as_ptr() as usize - text.as_ptr() as usize;
    let unescaped = |token: &str| token.replace("~1", "/").replace("~0", "~");
    let tokens: Vec<String> = pointer.split('/').skip(1).map(unescaped).collect();
    let string = serde_json::to_string(value)?;
    let inner = string[1..string.len() - 1].to_owned();
    for (depth, token) in tokens.iter().enumerate() {
        let next = if at.get().starts_with('{') {
            let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(at.get())?;
            let found = members.get(token.as_str()).copied();
            if found.is_none() && depth + 1 == tokens.len() {
                let behind_brace = start(at) + 1;
                let comma = if members.is_empty() { "" } else { "," };
                return Ok(Edit {
                    range: behind_brace..behind_brace,
                    before: format!("{}:\"", serde_json::to_string(token)?),
                    value: inner,
                    after: format!("\"{comma}"),
                });
            }
            found
        } else {
            let items: Vec<&RawValue> = serde_json::from_str(at.get()).ok().with_context(missing)?;
            token.parse::<usize>().ok().and_then(|n| items.get(n).copied())
        };
        at = next.with_context(missing)?;
    }
    let range = start(at)..start(at) + at.get().len();
    // What is a number stays one, if it can.
    let is_number = at.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let quote = if is_number && value.bytes().all(|b| b.is_ascii_digit()) { "" } else { "\"" };
    Ok(Edit { range, before: quote.to_owned(), value: inner, after: quote.to_owned() })
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
    fn check(body: &str, pointer: &str, with: &str) {
        let mut draft = draft(body);
        let place = Place::Body(pointer.to_owned());
        let range = set(&mut draft, &place, ID).unwrap().unwrap();
        assert_eq!(std::str::from_utf8(&draft.body).unwrap(), with);
        assert_eq!(&draft.body[range], ID.as_bytes());
    }

    #[test]
    fn a_value_in_a_body_is_replaced_where_it_stands() {
        check(r#"{ "b":1.10,"id" : "old", "a": 1e400 }"#, "/id", r#"{ "b":1.10,"id" : "evt_0001", "a": 1e400 }"#);
        check(r#" {"data":[{"id":"x"},{"i/d":"y"}]}"#, "/data/1/i~1d", r#" {"data":[{"id":"x"},{"i/d":"evt_0001"}]}"#);
        check(r#"{"id":null}"#, "/id", r#"{"id":"evt_0001"}"#);
    }

    #[test]
    fn a_value_that_is_absent_is_added() {
        check("{}", "/id", r#"{"id":"evt_0001"}"#);
        check(r#"{"data": {"a":1}}"#, "/data/id", r#"{"data": {"id":"evt_0001","a":1}}"#);
        assert!(set(&mut draft(r#"{"a":1}"#), &Place::Body("/data/id".into()), ID).is_err());
        assert!(set(&mut draft("a=b"), &Place::Body("/id".into()), ID).is_err());
    }

    #[test]
    fn what_was_a_number_stays_one_and_text_is_escaped() {
        let mut number = draft(r#"{"id":12}"#);
        set(&mut number, &Place::Body("/id".into()), "34").unwrap();
        assert_eq!(number.body, br#"{"id":34}"#);
        let mut text = draft(r#"{"id":12}"#);
        set(&mut text, &Place::Body("/id".into()), "a\"b").unwrap();
        assert_eq!(text.body, br#"{"id":"a\"b"}"#);
    }

    #[test]
    fn each_request_of_a_template_differs_by_its_id_only() {
        for place in [Place::Body("/id".into()), Place::Header("x-id".into())] {
            let mut first = draft(r#"{"id":"sample","n":1}"#);
            first.set_header("x-other", "1");
            first.set_header("X-Id", "sample");
            let template = Template::new(first, Some(&place), ID).unwrap();
            let mut a = template.with_id("evt_0007");
            assert!(format!("{:?} {}", a.headers, String::from_utf8_lossy(&a.body)).contains("evt_0007"));
            set(&mut a, &place, "evt_0008").unwrap();
            assert_eq!(a, template.with_id("evt_0008"));
        }
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
