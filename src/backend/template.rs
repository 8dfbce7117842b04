//! Names that vary by event: `stream`, `routing_key`.
//!
//! A template is parsed once, when the configuration is read; a placeholder that does not exist is an error there.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::Error as _;

use crate::event::{Envelope, Stored};

/// Text with placeholders, each replaced by what the event holds.
#[derive(Debug, Clone, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Source,
    Provider,
    Type,
    Partition,
}

/// Why a template cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// No text at all.
    #[error("the template is empty")]
    Empty,
    /// `{` without its `}`, or the other way round.
    #[error("`{0}` has a brace without its partner")]
    Unbalanced(String),
    /// A placeholder that does not exist.
    #[error("unknown placeholder `{{{0}}}`; known are {{source}}, {{provider}}, {{type}} and {{partition}}")]
    Unknown(String),
}

/// Key of ordering: the event's own, else the name of its source.
pub fn partition(envelope: &Envelope) -> &str {
    match envelope.partition_key.as_deref() {
        Some(key) if !key.is_empty() => key,
        _ => &envelope.source,
    }
}

impl Template {
    /// A template without placeholders.
    pub fn fixed(text: &str) -> Self {
        Self { text: text.to_owned(), parts: vec![Part::Literal(text.to_owned())] }
    }

    /// The text for this event; `{partition}` is the partition key, else the name of the source.
    pub fn render<'a>(&'a self, stored: &'a Stored) -> Cow<'a, str> {
        match self.parts.as_slice() {
            [part] => Cow::Borrowed(part.text(stored)),
            parts => Cow::Owned(parts.iter().map(|part| part.text(stored)).collect()),
        }
    }

    /// The text, if it is the same for every event.
    pub fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// What is the same for every event: the text without its placeholders.
    pub fn literal(&self) -> String {
        let literals = self.parts.iter().map(|part| match part {
            Part::Literal(text) => text.as_str(),
            Part::Field(_) => "",
        });
        literals.collect()
    }
}

impl Part {
    fn text<'a>(&'a self, stored: &'a Stored) -> &'a str {
        let envelope = &stored.envelope;
        match self {
            Self::Literal(text) => text,
            Self::Field(Field::Source) => &envelope.source,
            Self::Field(Field::Provider) => &envelope.provider,
            Self::Field(Field::Type) => &envelope.kind,
            Self::Field(Field::Partition) => partition(envelope),
        }
    }
}

impl FromStr for Template {
    type Err = BadTemplate;

    fn from_str(text: &str) -> Result<Self, BadTemplate> {
        if text.is_empty() {
            return Err(BadTemplate::Empty);
        }
        let unbalanced = || BadTemplate::Unbalanced(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, after) = rest.split_once('{').unwrap_or((rest, ""));
            if literal.contains('}') {
                return Err(unbalanced());
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            if literal.len() == rest.len() {
                break;
            }
            let (name, after) = after.split_once('}').ok_or_else(unbalanced)?;
            parts.push(Part::Field(match name {
                "source" => Field::Source,
                "provider" => Field::Provider,
                "type" => Field::Type,
                "partition" => Field::Partition,
                _ => return Err(BadTemplate::Unknown(name.to_owned())),
            }));
            rest = after;
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(partition: Option<&'static str>) -> Stored {
        let envelope = Envelope {
            source: "shop".into(),
            provider: "shopify".into(),
            kind: "shopify.orders/create".into(),
            partition_key: partition.map(Into::into),
            ..Envelope::default()
        };
        Stored { sequence: 1, time_ms: 0, envelope, json: None }
    }

    #[track_caller]
    fn check(template: &str, expected: Result<&str, BadTemplate>) {
        let rendered = template.parse::<Template>().map(|t| t.render(&stored(Some("eu"))).into_owned());
        assert_eq!(rendered, expected.map(str::to_owned), "{template}");
    }

    #[test]
    fn placeholders_are_replaced_by_what_the_event_holds() {
        check("webhooks", Ok("webhooks"));
        check("{type}", Ok("shopify.orders/create"));
        check("a.{source}-{provider}.{partition}", Ok("a.shop-shopify.eu"));
    }

    #[test]
    fn a_mistake_is_named() {
        check("", Err(BadTemplate::Empty));
        check("a{b", Err(BadTemplate::Unbalanced("a{b".into())));
        check("a}b", Err(BadTemplate::Unbalanced("a}b".into())));
        check("x", Ok("x"));
        check("{kind}", Err(BadTemplate::Unknown("kind".into())));
        check("{}", Err(BadTemplate::Unknown(String::new())));
        check("{", Err(BadTemplate::Unbalanced("{".into())));
    }

    #[test]
    fn the_source_stands_in_for_a_missing_partition_key() {
        let template: Template = "{partition}".parse().unwrap();
        assert_eq!(template.render(&stored(None)), "shop");
        assert_eq!(template.render(&stored(Some(""))), "shop");
    }

    #[test]
    fn the_literal_text_is_the_same_for_every_event() {
        let template: Template = "a:{source}:b".parse().unwrap();
        assert_eq!((template.literal().as_str(), template.constant()), ("a::b", None));
        assert_eq!("webhooks".parse::<Template>().unwrap().constant(), Some("webhooks"));
    }
}
