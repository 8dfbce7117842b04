//! Where one value stands in a request, as provider files and configurations write it.

use serde::{Deserialize, Deserializer, de};

use crate::event::json::Pointers;

/// `"header:NAME"`, `"body:/pointer"`, `"query:NAME"`, `"form:FIELD"`, `"form:FIELD:/pointer"` for JSON inside a form
/// field, `"text:push"` for what is always the same, `"push if body:/ref"` for what is so where a place holds
/// something, `"jwt:/claim"` where the body is a JSON Web Token and `"body:/pointer:jwt:/claim"` where one stands in it, or
/// several as in `"{body:/object}.{body:/action}"`.
#[derive(Debug, Clone, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(try_from = "String", rename = "Place")]
pub enum Value {
    /// A claim of the JSON Web Token that is the body, by JSON Pointer.
    Jwt(String),
    /// A claim of a JSON Web Token that stands in the body: pointer of the token, pointer of the claim.
    BodyJwt(String, String),
    /// The same text always.
    Text(String),
    /// The text, where the place holds a scalar.
    If(String, Box<Value>),
    /// Several places and the text between them; absent where one of them is.
    Joined(Vec<Value>),
    /// A request header; lower case.
    Header(String),
    /// A scalar of the JSON body, by JSON Pointer.
    Body(String),
    /// A parameter of the query.
    Query(String),
    /// A field of a form, or a scalar of the JSON in it.
    Form { field: String, pointer: Option<String> },
}

/// A text that names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a place such as \"header:x-event-id\", \"body:/data/id\", \"query:id\" or \"form:id\"")]
pub struct BadValue(pub String);

impl Value {
    /// Reads the text form.
    ///
    /// # Errors
    /// [`BadValue`], also for a pointer that is none.
    pub fn parse(text: &str) -> Result<Self, BadValue> {
        let bad = || BadValue(text.to_owned());
        if text.contains('{') {
            return Self::joined(text).ok_or_else(bad);
        }
        if let Some((name, place)) = text.split_once(" if ") {
            return Ok(Self::If(name.to_owned(), Box::new(Self::parse(place)?)));
        }
        let value = match text.split_once(':').ok_or_else(bad)? {
            (_, "") => return Err(bad()),
            ("text", text) => Self::Text(text.to_owned()),
            ("header", name) => Self::Header(name.to_ascii_lowercase()),
            ("body", pointer) => match pointer.split_once(":jwt:") {
                Some((pointer, claim)) => Self::BodyJwt(pointer.to_owned(), claim.to_owned()),
                None => Self::Body(pointer.to_owned()),
            },
            ("jwt", pointer) => Self::Jwt(pointer.to_owned()),
            ("query", name) => Self::Query(name.to_owned()),
            ("form", field) => match field.split_once(":/") {
                Some((field, rest)) => Self::Form { field: field.to_owned(), pointer: Some(format!("/{rest}")) },
                None => Self::Form { field: field.to_owned(), pointer: None },
            },
            _ => return Err(bad()),
        };
        if let Self::Body(pointer) | Self::Jwt(pointer) | Self::Form { pointer: Some(pointer), .. } = &value {
            Pointers::new([pointer]).map_err(|_| bad())?;
        }
        if let Self::BodyJwt(pointer, claim) = &value {
            Pointers::new([pointer, claim]).map_err(|_| bad())?;
        }
        Ok(value)
    }

    /// Whether it is a claim of the token at `pointer`.
    pub(super) fn is_within(&self, pointer: &str) -> bool {
        matches!(self, Self::BodyJwt(own, _) if own == pointer)
    }

    /// Whether it stands in an item of a list.
    pub(super) fn is_in_list(&self) -> bool {
        let numbered = |pointer: &str| {
            let is_number = |token: &str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit());
            pointer.split('/').skip(1).any(is_number)
        };
        match self {
            Self::Body(pointer) | Self::Jwt(pointer) => numbered(pointer),
            Self::BodyJwt(pointer, claim) => numbered(pointer) || numbered(claim),
            Self::Form { pointer, .. } => pointer.as_deref().is_some_and(numbered),
            Self::If(_, place) => place.is_in_list(),
            Self::Joined(values) => values.iter().any(Self::is_in_list),
            Self::Text(_) | Self::Header(_) | Self::Query(_) => false,
        }
    }

    fn joined(mut text: &str) -> Option<Self> {
        let mut values = Vec::new();
        while let Some((before, from)) = text.split_once('{') {
            let (place, after) = from.split_once('}')?;
            if !before.is_empty() {
                values.push(Self::Text(before.to_owned()));
            }
            values.push(Self::parse(place).ok()?);
            text = after;
        }
        if !text.is_empty() {
            values.push(Self::Text(text.to_owned()));
        }
        Some(Self::Joined(values))
    }
}

impl std::str::FromStr for Value {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        Self::parse(text)
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "text:{text}"),
            Self::If(text, place) => write!(f, "{text} if {place}"),
            Self::Joined(values) => values.iter().try_for_each(|value| match value {
                Self::Text(text) => f.write_str(text),
                place => write!(f, "{{{place}}}"),
            }),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Body(pointer) => write!(f, "body:{pointer}"),
            Self::Jwt(pointer) => write!(f, "jwt:{pointer}"),
            Self::BodyJwt(pointer, claim) => write!(f, "body:{pointer}:jwt:{claim}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Form { field, pointer: Some(pointer) } => write!(f, "form:{field}:{pointer}"),
            Self::Form { field, pointer: None } => write!(f, "form:{field}"),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_is_written() {
        for text in [
            "header:x-id",
            "body:/a/b",
            "body:/a/b:jwt:/c",
            "query:hub.mode",
            "form:payload",
            "form:payload:/type",
            "text:push",
            "a{body:/a}.{header:b}",
        ] {
            assert_eq!(Value::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Value::parse("header:X-Id").unwrap(), Value::Header("x-id".to_owned()));
    }

    #[test]
    fn a_text_that_names_no_place_is_refused() {
        for text in
            ["", "body", "body:", "body:id", "cookie:a", "header:", "form:a:/~2", "text:", "{body:/a", "{a}", "{}"]
        {
            assert_eq!(Value::parse(text), Err(BadValue(text.to_owned())));
        }
    }
}
