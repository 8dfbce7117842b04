//! Where a value stands in a request: a header, the query, the body or a form; one item of the list there, behind a
//! prefix.
//!
//! This one primitive reads `sha256=<hex>`, `t=<time>,v1=<hex>,v1=<hex>`, `v1,<base64> v1,<base64>`,
//! `<key>|<hex>&<key>|<hex>` and a signature within the JSON that it covers.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Draft, MAX_SIGNATURES, Refusal, RuleError};
use crate::event::json::{Pointers, replacement};
use crate::event::{Request, form};

/// `{ header | body | query | form | whole, also?, split?, prefix?, item? }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FieldSpec {
    /// Name of the header, in any case. `{n}` in it stands for the numbers from 1.
    pub header: Option<String>,
    /// Further headers that may hold it, in place of the first or beside it.
    pub also: Vec<String>,
    /// JSON Pointer into the body.
    pub body: Option<String>,
    /// Parameter of the query.
    pub query: Option<String>,
    /// Field of the form in the body; with `body` beside it, that pointer leads into the JSON in the field.
    pub form: Option<String>,
    /// The whole body is the value.
    pub whole: bool,
    /// Separator of the list, one ASCII character; blanks around the items do not count.
    pub split: Option<String>,
    /// What the value begins with; items of a list without it are somebody else's. A `*` at its beginning stands
    /// for any text.
    pub prefix: Option<String>,
    /// Which item of the list it is, from 1, where its place alone tells it.
    pub item: Option<usize>,
}

/// A compiled [`FieldSpec`].
#[derive(Debug, Clone)]
pub(super) struct Field {
    place: Place,
    pub(super) split: Option<u8>,
    pub(super) prefix: String,
    item: Option<usize>,
}

/// The whole text in which a value stands.
#[derive(Debug, Clone)]
enum Place {
    /// Lower-case names, one at least.
    Headers(Vec<String>),
    Body(String, Pointers),
    Query(String),
    Form(String),
    FormJson(String, String, Pointers),
    Whole,
}

impl Field {
    pub(super) fn new(spec: FieldSpec, key: &'static str) -> Result<Self, RuleError> {
        let split = match spec.split.as_deref().map(str::as_bytes) {
            None => None,
            Some([b]) if b.is_ascii() => Some(*b),
            Some(_) => return Err(RuleError::new(key, "has a `split` that is not one ASCII character")),
        };
        if spec.item == Some(0) || (spec.item.is_some() && split.is_none()) {
            return Err(RuleError::new(key, "has an `item` that is not the place in a list, from 1"));
        }
        let place = match (spec.header, spec.body, spec.query, spec.form) {
            (Some(header), None, None, None) => {
                let numbered = |n: usize| header.replace("{n}", &n.to_string());
                let last = if header.contains("{n}") { MAX_SIGNATURES } else { 1 };
                let names = (1..=last).map(numbered).chain(spec.also);
                Place::Headers(names.map(|name| header_name(&name, key)).collect::<Result<_, _>>()?)
            }
            _ if !spec.also.is_empty() => return Err(RuleError::new(key, "has `also`, which stands beside `header`")),
            (None, Some(body), None, form) => {
                let pointers = Pointers::new([&body]).map_err(|e| RuleError::new(key, format!("has a `body`: {e}")))?;
                match form {
                    None => Place::Body(body, pointers),
                    Some(form) => Place::FormJson(form, body, pointers),
                }
            }
            (None, None, None, None) if spec.whole => Place::Whole,
            _ if spec.whole => return Err(RuleError::new(key, "has `whole`, which stands alone")),
            (None, None, Some(query), None) if !query.is_empty() => Place::Query(query),
            (None, None, None, Some(form)) if !form.is_empty() => Place::Form(form),
            _ => return Err(RuleError::new(key, "needs one of `header`, `body`, `query`, `form` and `whole`")),
        };
        Ok(Self { place, split, prefix: spec.prefix.unwrap_or_default(), item: spec.item })
    }

    /// Lower-case name of the first header, where the value stands in one.
    pub(super) fn header(&self) -> Option<&str> {
        match &self.place {
            Place::Headers(names) => names.first().map(String::as_str),
            _ => None,
        }
    }

    /// Lower-case names of all headers that may hold it.
    pub(super) fn headers(&self) -> &[String] {
        match &self.place {
            Place::Headers(names) => names,
            _ => &[],
        }
    }

    /// The place in words.
    pub(super) fn words(&self) -> String {
        match &self.place {
            Place::Headers(names) => format!("header `{}`", names.join("` or `")),
            Place::Body(pointer, _) => format!("`{pointer}` of the JSON body"),
            Place::Query(name) => format!("query parameter `{name}`"),
            Place::Form(name) => format!("form field `{name}`"),
            Place::FormJson(name, pointer, _) => format!("`{pointer}` of the JSON in form field `{name}`"),
            Place::Whole => "the whole body".to_owned(),
        }
    }

    /// JSON Pointer of the value, where it stands in the body.
    pub(super) fn body(&self) -> Option<&str> {
        match &self.place {
            Place::Body(pointer, _) => Some(pointer),
            _ => None,
        }
    }

    /// Whether the value is the whole body.
    pub(super) fn is_whole_body(&self) -> bool {
        matches!(self.place, Place::Whole)
    }

    /// Whether both stand in the same text.
    pub(super) fn shares(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Place::Headers(a), Place::Headers(b)) => a == b,
            (Place::Body(a, _), Place::Body(b, _)) => a == b,
            (Place::Query(a), Place::Query(b)) | (Place::Form(a), Place::Form(b)) => a == b,
            (Place::FormJson(a, p, _), Place::FormJson(b, q, _)) => (a, p) == (b, q),
            _ => false,
        }
    }

    /// The values behind the prefix, in their order; at most [`MAX_SIGNATURES`].
    ///
    /// # Errors
    /// [`Refusal::Missing`] without the text or with an empty one, [`Refusal::Mismatch`] where it stands twice.
    pub(super) fn values<'r>(&self, request: &Request<'r>) -> Result<Vec<Cow<'r, [u8]>>, Refusal> {
        if let Place::Headers(names) = &self.place
            && let [name] = names.as_slice()
        {
            // The usual place, at the least cost.
            return Ok(self.items(header_once(request, name)?).map(Cow::Borrowed).collect());
        }
        let mut found = Vec::new();
        for text in self.texts(request)? {
            match text {
                Cow::Borrowed(text) => found.extend(self.items(text).map(Cow::Borrowed)),
                Cow::Owned(text) => found.extend(self.items(&text).map(|item| Cow::Owned(item.to_vec()))),
            }
        }
        found.truncate(MAX_SIGNATURES);
        Ok(found)
    }

    /// The only value behind the prefix.
    ///
    /// # Errors
    /// As [`Self::values`]; [`Refusal::Missing`] without a value, [`Refusal::Mismatch`] with two.
    pub(super) fn only<'r>(&self, request: &Request<'r>) -> Result<Cow<'r, [u8]>, Refusal> {
        let mut values = self.values(request)?.into_iter();
        let first = values.next().ok_or(Refusal::Missing)?;
        if values.next().is_some() { Err(Refusal::Mismatch) } else { Ok(first) }
    }

    fn items<'t>(&self, text: &'t [u8]) -> impl Iterator<Item = &'t [u8]> {
        let nth = self.item.map(|item| item - 1);
        text.split(|b| Some(*b) == self.split)
            .enumerate()
            .filter(move |(n, _)| nth.is_none_or(|nth| nth == *n))
            .filter_map(|(_, item)| behind(item.trim_ascii(), self.prefix.as_bytes()))
            .take(MAX_SIGNATURES)
    }

    fn texts<'r>(&self, request: &Request<'r>) -> Result<Vec<Cow<'r, [u8]>>, Refusal> {
        let text = match &self.place {
            Place::Headers(names) => {
                let mut texts = Vec::new();
                for name in names {
                    match header_once(request, name) {
                        Ok(text) => texts.push(Cow::Borrowed(text)),
                        Err(Refusal::Missing) => {}
                        Err(refusal) => return Err(refusal),
                    }
                }
                return if texts.is_empty() { Err(Refusal::Missing) } else { Ok(texts) };
            }
            Place::Body(_, pointers) => {
                let picked = pointers.read(request.body).map_err(|_| Refusal::Missing)?;
                picked.get(0).ok_or(Refusal::Missing)?.to_owned()
            }
            Place::Whole if request.body.trim_ascii().is_empty() => return Err(Refusal::Missing),
            Place::Whole if request.body.trim_ascii().len() != request.body.len() => return Err(Refusal::Mismatch),
            Place::Whole => return Ok(vec![Cow::Borrowed(request.body)]),
            Place::Query(name) => parameter_once(request.query, name)?,
            Place::Form(name) => form_once(request, name)?,
            Place::FormJson(name, _, pointers) => within(&form_once(request, name)?, pointers)?,
        };
        if text.trim_ascii().is_empty() { Err(Refusal::Missing) } else { Ok(vec![Cow::Owned(text.into_bytes())]) }
    }

    /// The value as a sender writes it in its list.
    pub(super) fn write(&self, value: &str) -> String {
        match self.prefix.strip_prefix('*') {
            Some(rest) => format!("1{rest}{value}"),
            None => format!("{}{value}", self.prefix),
        }
    }

    /// Changes the whole text: what `edit` makes of it, or nothing where that is `None`.
    pub(super) fn edit(&self, draft: &mut Draft, edit: impl FnOnce(Option<String>) -> Option<String>) {
        match &self.place {
            Place::Headers(names) => {
                let there = |name: &&String| draft.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
                let Some(name) = names.iter().find(there).or(names.first()) else { return };
                let old = draft.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                match edit(old.map(|(_, value)| value.clone())) {
                    Some(value) => draft.set_header(name, value),
                    None => draft.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name)),
                }
            }
            Place::Body(pointer, pointers) => {
                let old = pointers.read(&draft.body).ok().and_then(|picked| picked.get(0).map(str::to_owned));
                // Every other byte of the body stays as it was given.
                let Ok(text) = std::str::from_utf8(&draft.body) else { return };
                if let Some((range, new)) = replacement(text, pointer, edit(old).as_deref()) {
                    draft.body.splice(range, new.into_bytes());
                }
            }
            Place::Whole => {
                let old = String::from_utf8_lossy(&draft.body).into_owned();
                draft.body = edit(Some(old)).unwrap_or_default().into_bytes();
            }
            Place::Query(name) => draft.edit_query(name, edit),
            Place::Form(name) => draft.edit_form(name, edit),
            Place::FormJson(name, pointer, pointers) => draft.edit_form(name, |old| {
                let old = old.unwrap_or_default();
                let value = edit(within(&old, pointers).ok());
                let (range, new) = replacement(&old, pointer, value.as_deref())?;
                let mut inner = old;
                inner.replace_range(range, &new);
                Some(inner)
            }),
        }
    }
}

/// What stands in `item` behind `prefix`, in which a `*` at the beginning is any text.
fn behind<'t>(item: &'t [u8], prefix: &[u8]) -> Option<&'t [u8]> {
    match prefix.strip_prefix(b"*") {
        None => item.strip_prefix(prefix),
        Some(rest) => {
            let at = item.windows(rest.len().max(1)).position(|window| window == rest)?;
            item.get(at + rest.len()..)
        }
    }
}

/// The value of a header that stands exactly once and is not empty.
pub(super) fn header_once<'r>(request: &Request<'r>, name: &str) -> Result<&'r [u8], Refusal> {
    let value = request.headers.nth(name, 0).ok_or(Refusal::Missing)?;
    if request.headers.nth(name, 1).is_some() {
        return Err(Refusal::Mismatch);
    }
    if value.trim_ascii().is_empty() { Err(Refusal::Missing) } else { Ok(value) }
}

/// The value of a query parameter that stands exactly once.
pub(super) fn parameter_once(query: &str, name: &str) -> Result<String, Refusal> {
    let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let (_, value) = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() { Err(Refusal::Mismatch) } else { Ok(value.into_owned()) }
}

/// The value of a form field that stands exactly once.
pub(super) fn form_once(request: &Request, name: &str) -> Result<String, Refusal> {
    let fields = form::fields(request.headers.nth("content-type", 0).unwrap_or_default(), request.body);
    if !fields.iter().any(|(key, _)| key == name) {
        return Err(Refusal::Missing);
    }
    form::only(&fields, name).map(str::to_owned).ok_or(Refusal::Mismatch)
}

/// The scalar that `pointers` show in JSON that is a text by itself.
pub(super) fn within(json: &str, pointers: &Pointers) -> Result<String, Refusal> {
    let picked = pointers.read(json.as_bytes()).map_err(|_| Refusal::Missing)?;
    picked.get(0).map(str::to_owned).ok_or(Refusal::Missing)
}

/// `name` in lower case, if a header can have it.
pub(super) fn header_name(name: &str, key: &'static str) -> Result<String, RuleError> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(RuleError::new(key, format!("names the header `{name}`, which cannot be")));
    }
    Ok(name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        let mut draft = Draft { query: "sig=abc&x=1&x=2".into(), ..Draft::default() };
        draft.body = br#"{"sig":{"v":"abc","n":12,"e":""}}"#.to_vec();
        draft.set_header("S-1", "k1/SHA256/aa , k2/SHA256/bb,k3/SHA1/cc");
        draft.set_header("S-2", "dd");
        draft
    }

    fn values(spec: &str, draft: &Draft) -> Result<Vec<String>, Refusal> {
        let field = Field::new(toml::from_str(spec).unwrap(), "signature").unwrap();
        let text = |value: Cow<[u8]>| String::from_utf8(value.into_owned()).unwrap();
        Ok(field.values(&draft.request())?.into_iter().map(text).collect())
    }

    #[track_caller]
    fn check(spec: &str, expected: Result<&[&str], Refusal>) {
        let expected = expected.map(|values| values.iter().map(|v| (*v).to_owned()).collect());
        assert_eq!(values(spec, &draft()), expected, "{spec}");
    }

    #[test]
    fn a_value_is_read_wherever_it_stands() {
        check("header = 'S-2'", Ok(&["dd"]));
        check("header = 's-9'\nalso = ['s-2']", Ok(&["dd"]));
        check("header = 's-{n}'\nsplit = ','\nprefix = '*/SHA256/'", Ok(&["aa", "bb"]));
        check("header = 's-1'\nsplit = ','\nitem = 3", Ok(&["k3/SHA1/cc"]));
        check("body = '/sig/v'", Ok(&["abc"]));
        check("body = '/sig/n'", Ok(&["12"]));
        check("query = 'sig'", Ok(&["abc"]));
    }

    #[test]
    fn what_is_absent_or_empty_is_missing_and_what_stands_twice_proves_nothing() {
        check("header = 's-9'", Err(Refusal::Missing));
        check("body = '/sig/e'", Err(Refusal::Missing));
        check("body = '/sig'", Err(Refusal::Missing));
        check("query = 'y'", Err(Refusal::Missing));
        check("query = 'x'", Err(Refusal::Mismatch));
        check("form = 'x'", Err(Refusal::Missing));
    }

    #[test]
    fn an_edit_changes_the_value_in_its_place() {
        for spec in ["header = 's-2'", "body = '/sig/v'", "query = 'sig'"] {
            let field = Field::new(toml::from_str(spec).unwrap(), "signature").unwrap();
            let mut draft = draft();
            field.edit(&mut draft, |old| old.map(|old| format!("{old}!")));
            assert!(values(spec, &draft).unwrap()[0].ends_with('!'), "{spec}");
            field.edit(&mut draft, |_| None);
            assert_eq!(values(spec, &draft), Err(Refusal::Missing), "{spec}");
        }
    }

    #[test]
    fn a_place_that_cannot_be_is_refused() {
        for spec in [
            "",
            "header = 'a'\nbody = '/a'",
            "body = 'a'",
            "query = ''",
            "query = 'a'\nalso = ['b']",
            "header = 'a'\nitem = 1",
        ] {
            assert_eq!(Field::new(toml::from_str(spec).unwrap(), "token").unwrap_err().key, "token", "{spec}");
        }
    }
}
