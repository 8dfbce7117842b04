//! Reading values from one request: the body is parsed at most once, and only when a value asks for it.

use std::borrow::Cow;
use std::cell::OnceCell;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::ContractError;
use super::value::Value;
use crate::event::json::{Picked, Pointers};
use crate::event::{Request, form};

/// A [`Value`], compiled.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Header(String),
    Query(String),
    /// Number of the pointer in the set.
    Body(usize),
    Form(String, Option<Pointers>),
    Jwt(Pointers),
    /// Number of the pointer to the token, and the claim in it.
    BodyJwt(usize, Pointers),
    Text(String),
    If(String, Box<Place>),
    Joined(Vec<Place>),
}

/// Compiles values and gathers their pointers into one set.
#[derive(Debug, Default)]
pub(super) struct Compiler(Vec<String>);

impl Compiler {
    pub(super) fn place(&mut self, value: &Value) -> Result<Place, ContractError> {
        Ok(match value {
            Value::Text(text) => Place::Text(text.clone()),
            Value::If(text, place) => Place::If(text.clone(), Box::new(self.place(place)?)),
            Value::Joined(values) => Place::Joined(self.places(values)?),
            Value::Header(name) => Place::Header(name.clone()),
            Value::Jwt(pointer) => Place::Jwt(pointers(&[pointer])?),
            Value::BodyJwt(pointer, claim) => {
                self.0.push(pointer.clone());
                Place::BodyJwt(self.0.len() - 1, pointers(&[claim])?)
            }
            Value::Query(name) => Place::Query(name.clone()),
            Value::Body(pointer) => {
                self.0.push(pointer.clone());
                Place::Body(self.0.len() - 1)
            }
            Value::Form { field, pointer } => {
                Place::Form(field.clone(), pointer.as_ref().map(|pointer| pointers(&[pointer])).transpose()?)
            }
        })
    }

    pub(super) fn places(&mut self, values: &[Value]) -> Result<Vec<Place>, ContractError> {
        values.iter().map(|value| self.place(value)).collect()
    }

    pub(super) fn finish(self) -> Result<Pointers, ContractError> {
        pointers(&self.0)
    }
}

fn pointers<S: AsRef<str>>(texts: &[S]) -> Result<Pointers, ContractError> {
    Pointers::new(texts).map_err(|e| ContractError::key("body", e.to_string()))
}

/// One request being read.
pub(super) struct Reader<'a> {
    request: &'a Request<'a>,
    body: &'a [u8],
    pointers: &'a Pointers,
    json: OnceCell<Option<Picked<'a>>>,
    form: OnceCell<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
}

impl<'a> Reader<'a> {
    /// - `body`: content-decoded.
    pub(super) fn new(request: &'a Request<'a>, body: &'a [u8], pointers: &'a Pointers) -> Self {
        Self { request, body, pointers, json: OnceCell::new(), form: OnceCell::new() }
    }

    /// Whether the body is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json().is_some()
    }

    /// The value at `place`; `None` if it is absent, stands twice or is not text.
    pub(super) fn read(&self, place: &Place) -> Option<Cow<'_, str>> {
        match place {
            Place::Text(text) => Some(Cow::Owned(text.clone())),
            Place::If(text, place) => self.read(place).map(|_| Cow::Owned(text.clone())),
            Place::Joined(places) => {
                let all: Option<Vec<_>> = places.iter().map(|place| self.read(place)).collect();
                Some(Cow::Owned(all?.concat()))
            }
            Place::Body(n) => self.json()?.get(*n).map(Cow::Borrowed),
            Place::Jwt(pointers) => claim(self.body, pointers),
            Place::BodyJwt(n, pointers) => claim(self.json()?.get(*n)?.as_bytes(), pointers),
            Place::Header(name) => {
                let value = self.request.headers.nth(name, 0)?;
                let once = self.request.headers.nth(name, 1).is_none();
                std::str::from_utf8(value).ok().filter(|_| once).map(Cow::Borrowed)
            }
            Place::Query(name) => {
                let mut values = url::form_urlencoded::parse(self.request.query.as_bytes())
                    .filter_map(|(key, value)| (key == name.as_str()).then_some(value));
                values.next().filter(|_| values.next().is_none())
            }
            Place::Form(name, inside) => {
                let value = form::only(self.form(), name)?;
                match inside {
                    None => Some(Cow::Borrowed(value)),
                    Some(inside) => inside.read(value.as_bytes()).ok()?.get(0).map(|v| Cow::Owned(v.to_owned())),
                }
            }
        }
    }

    fn json(&self) -> Option<&Picked<'a>> {
        self.json.get_or_init(|| self.pointers.read(self.body).ok()).as_ref()
    }

    fn form(&self) -> &[(Cow<'a, str>, Cow<'a, str>)] {
        let media_type = || self.request.headers.nth("content-type", 0).unwrap_or_default();
        self.form.get_or_init(|| form::fields(media_type(), self.body))
    }
}

fn claim<'v>(token: &[u8], pointers: &Pointers) -> Option<Cow<'v, str>> {
    let payload = URL_SAFE_NO_PAD.decode(token.trim_ascii().split(|b| *b == b'.').nth(1)?).ok()?;
    pointers.read(&payload).ok()?.get(0).map(|value| Cow::Owned(value.to_owned()))
}
