//! One range of retained events on its way to a backend again.

use serde::{Deserialize, Serialize};

use crate::dispatch::files::Id;
use crate::event::Stored;
use crate::event::route::Glob;

/// Which retained events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// First position.
    pub from: u64,
    /// Last position.
    pub to: u64,
    /// Only of this source.
    pub source: Option<String>,
    /// Only of these types.
    pub kind: Option<Glob>,
}

/// An order to publish a range again, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Order {
    /// `<backend>-<number>`, a number that no other order had.
    #[serde(with = "text")]
    #[schema(value_type = String)]
    pub id: Id,
    /// First position.
    #[serde(with = "position")]
    #[schema(value_type = String)]
    pub from: u64,
    /// Last position.
    #[serde(with = "position")]
    #[schema(value_type = String)]
    pub to: u64,
    /// Only of this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Pattern of the types.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Every event up to here is decided.
    #[serde(with = "position")]
    #[schema(value_type = String)]
    pub after: u64,
    /// Events that the backend has confirmed.
    pub delivered: u64,
    /// Events that became dead letters.
    pub rejected: u64,
    /// When it was given, Unix time, milliseconds.
    pub time_ms: u64,
}

impl Order {
    /// A new order.
    pub fn new(id: Id, range: Range, time_ms: u64) -> Self {
        let Range { from, to, source, kind } = range;
        let kind = kind.map(|kind| kind.as_str().to_owned());
        Self { id, from, to, source, kind, after: from.saturating_sub(1), delivered: 0, rejected: 0, time_ms }
    }

    /// Whether `stored` is meant; what is set aside is released, not replayed.
    pub fn wants(&self, stored: &Stored) -> bool {
        let event = &stored.envelope;
        (self.from..=self.to).contains(&stored.sequence)
            && event.set_aside.is_none()
            && self.source.as_ref().is_none_or(|source| *source == *event.source)
            && self.kind.as_ref().is_none_or(|kind| Glob::from(kind.clone()).matches(&event.kind))
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.after >= self.to
    }
}

/// An id as its text.
mod text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::dispatch::files::Id;

    pub fn serialize<S: Serializer>(id: &Id, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A position as its 20 digits.
mod position {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::dispatch::files;

    pub fn serialize<S: Serializer>(position: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{position:020}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        files::digits(&text).ok_or_else(|| D::Error::custom("not a position"))
    }
}
