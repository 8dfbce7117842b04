//! One dead letter: what a person needs to decide, and the whole event.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::backend::Failure;
use crate::dispatch::files::{BadId, Id};
use crate::event::cloudevents::Unreadable;
use crate::event::{BackendName, Stored};

/// One event that a backend refused for good.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Letter {
    /// `<backend>-<sequence>`.
    pub id: String,
    /// The backend that refused it, or `schema` where it was set aside before.
    pub backend: String,
    /// Position in the journal, 20 digits.
    pub sequence: String,
    /// Class of the refusal.
    pub reason: String,
    /// What the broker said.
    pub detail: String,
    /// Tries, the last one included.
    pub attempts: u32,
    /// When, Unix time, milliseconds.
    pub time_ms: u64,
    /// Whether it waits to be published again; not part of the file.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub replaying: Option<bool>,
    /// The event, structured; `None` where only the rest was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub event: Option<Box<RawValue>>,
}

/// A file in a letter's place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no letter, or another's.
    #[error("{0}")]
    Damaged(String),
}

impl Letter {
    /// The letter of `stored`.
    ///
    /// # Errors
    /// The event cannot be written as JSON.
    pub fn new(name: &BackendName, stored: &Stored, why: &Failure, attempts: u32, time_ms: u64) -> io::Result<Self> {
        let letter = Self::of(name.as_str(), stored, why.reason.label(), &why.detail, time_ms)?;
        Ok(Self { attempts, ..letter })
    }

    /// The letter of `stored` after one try, held by `holder`: a backend, or who else keeps letters.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(holder: &str, stored: &Stored, reason: &str, detail: &str, time_ms: u64) -> io::Result<Self> {
        Ok(Self {
            id: format!("{holder}-{}", stored.sequence),
            backend: holder.to_owned(),
            sequence: stored.sequence_text(),
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            attempts: 1,
            time_ms,
            replaying: None,
            event: Some(structured(stored)?),
        })
    }

    /// The letter in `bytes`, which lie in the place of `id`.
    ///
    /// # Errors
    /// They are none, or of another place.
    pub fn parse(bytes: &[u8], id: &Id) -> Result<Self, LetterError> {
        let damaged = |why: String| LetterError::Damaged(why);
        let letter: Self = serde_json::from_slice(bytes).map_err(|error| damaged(format!("not a letter: {error}")))?;
        if letter.id() != Ok(id.clone()) {
            return Err(damaged(format!("it says that it is {}", letter.id)));
        }
        match letter.stored() {
            Ok(stored) if stored.sequence == id.number => Ok(letter),
            Ok(stored) => Err(damaged(format!("its event is {}", stored.sequence))),
            Err(why) => Err(damaged(why.to_string())),
        }
    }

    /// Its id, read.
    ///
    /// # Errors
    /// It is none.
    pub fn id(&self) -> Result<Id, BadId> {
        self.id.parse()
    }

    /// The event, as it was.
    ///
    /// # Errors
    /// There is none, or not as this program writes them.
    pub fn stored(&self) -> Result<Stored, Unreadable> {
        Stored::read_json(self.event.as_ref().map_or("", |event| event.get()))
    }
}

fn structured(stored: &Stored) -> io::Result<Box<RawValue>> {
    let json = |stored: &Stored| {
        let mut out = Vec::new();
        stored.write_json(&mut out);
        String::from_utf8(out).ok().and_then(|text| RawValue::from_string(text).ok())
    };
    let whole = json(stored).or_else(|| {
        // A body that claims to be JSON and is not would stop the lane here for ever.
        let mut stored = stored.clone();
        stored.envelope.is_json = false;
        json(&stored)
    });
    whole.ok_or_else(|| io::Error::other("the event is not JSON"))
}
