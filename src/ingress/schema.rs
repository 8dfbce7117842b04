//! JSON Schemas that a source's bodies must meet.
//!
//! A schema is named as `FILE` or `FILE#/pointer`, a part of a larger document. It is compiled when the configuration is
//! loaded, may refer to files of its own directory and below, and to nothing else. Patterns run in linear time; what
//! a body costs is bounded by its size, its depth ([`crate::event::json::MAX_DEPTH`]), the schema's size, and the steps
//! that a schema may take which refers to itself (`steps.rs`).
//!
//! What is told of a mismatch names the place in the body and the rule, never a value.

mod steps;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::seal::Sealed;
use super::{Refusal, Source};
use crate::event::route::Glob;

/// Largest file of a schema, bytes.
const LARGEST_FILE: u64 = 16 << 20;
/// Bytes of a body that is held against a schema in place: a larger one would keep the worker's other requests waiting.
const CHECKED_AT_ONCE: usize = 64 << 10;
/// Most characters of what is told of a mismatch.
const LONGEST_REASON: usize = 500;

/// What becomes of an event that does not meet its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String")]
#[schemars(!try_from, rename_all = "snake_case")]
pub enum OnInvalid {
    /// It is accepted, and kept aside as a dead letter.
    #[default]
    DeadLetter,
    /// It is refused.
    Reject,
}

impl TryFrom<String> for OnInvalid {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "dead_letter" => Ok(Self::DeadLetter),
            "reject" => Ok(Self::Reject),
            _ => Err("is \"dead_letter\" or \"reject\""),
        }
    }
}

/// One compiled schema.
#[derive(Debug)]
pub struct Schema {
    name: String,
    validator: Validator,
    /// Whether words for a mismatch cost no more than the check.
    has_words: bool,
}

/// The schemas of one source.
#[derive(Debug, Default)]
pub struct Schemas {
    /// For every event.
    pub all: Option<Schema>,
    /// For events whose type fits.
    pub by_type: Vec<(Glob, Schema)>,
    /// What becomes of an event that does not meet them all.
    pub on_invalid: OnInvalid,
}

impl Schemas {
    /// Whether events may be set aside.
    pub fn set_aside(&self) -> bool {
        !self.is_empty() && self.on_invalid == OnInvalid::DeadLetter
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_none() && self.by_type.is_empty()
    }

    /// Whether the body of an event of type `kind` meets every schema that is meant for it. Takes time in proportion to
    /// its size.
    ///
    /// - `is_json`: whether the body is one JSON value.
    ///
    /// # Errors
    /// Why not, for a person.
    pub fn check(&self, kind: &str, is_json: bool, body: &[u8]) -> Result<(), String> {
        let by_type = self.by_type.iter().filter(|(glob, _)| glob.matches(kind)).map(|(_, schema)| schema);
        let mut schemas = self.all.iter().chain(by_type).peekable();
        if schemas.peek().is_none() {
            return Ok(());
        }
        if !is_json {
            return Err("the body is not JSON, or nested too deep".to_owned());
        }
        // Of a repeated key the last one counts, as everywhere.
        let value: Value =
            serde_json::from_slice(body).map_err(|error| format!("no schema can be held against the body: {error}"))?;
        schemas.try_for_each(|schema| schema.check(&value, body.len()))
    }
}

impl Schema {
    /// Reads and compiles the schema `reference`: `FILE` or `FILE#/pointer`.
    ///
    /// # Errors
    /// For a person: it cannot be read, is no schema, or refers to what is not beside it.
    pub fn load(reference: &str) -> Result<Self, String> {
        Self::read(reference, &Asked::default())
    }

    /// The files that the schema `reference` refers to, as far as they can be told: also one that cannot be read, since it
    /// may come.
    pub fn files(reference: &str) -> BTreeSet<PathBuf> {
        let asked = Asked::default();
        // Why it is none, its load tells.
        drop(Self::read(reference, &asked));
        std::mem::take(&mut *asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn read(reference: &str, asked: &Asked) -> Result<Self, String> {
        let (file, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let unreadable = |error: std::io::Error| format!("cannot read {file}: {error}");
        let path = Path::new(file).canonicalize().map_err(unreadable)?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        let mut document = read(&path).map_err(|error| format!("cannot read {file}: {error}"))?;
        let dialect = steps::dialect(&document).unwrap_or(steps::NEWEST);
        steps::count(&mut document, dialect);
        let mut url = Url::from_file_path(&path).map_err(|()| format!("{file} is not the path of a file"))?;
        let options = jsonschema::options()
            .with_retriever(Beside { folder, dialect, asked: asked.clone() })
            .with_keyword(steps::KEYWORD, |_, _, _| Ok(Box::new(steps::Step)))
            .with_pattern_options(PatternOptions::regex())
            .with_base_uri(url.as_str());
        let built = if pointer.is_empty() {
            options.build(&document)
        } else {
            url.set_fragment(Some(pointer));
            options.with_base_uri("json-schema:///part").build(&json!({ "$ref": url.as_str() }))
        };
        let validator = built.map_err(|error| format!("{reference}: {}", one_line(&error.to_string())))?;
        Ok(Self { name: reference.to_owned(), validator, has_words: dialect.has_if })
    }

    /// - `bytes`: size of the body.
    fn check(&self, body: &Value, bytes: usize) -> Result<(), String> {
        match steps::bounded(steps::for_body(bytes), || self.validator.is_valid(body)) {
            Some(true) => return Ok(()),
            None => return Err(format!("{}: the check takes too many steps", self.name)),
            Some(false) => {}
        }
        let words = steps::bounded(steps::WORDS, || {
            if !self.has_words {
                return None;
            }
            let error = self.validator.validate(body).err()?;
            let place = match error.instance_path().as_str() {
                "" => "the body",
                place => place,
            };
            Some(format!("{}: {place}: {}", self.name, error.masked()))
        });
        let reason = words.flatten().unwrap_or_else(|| format!("{}: the body does not meet it", self.name));
        Err(reason.chars().take(LONGEST_REASON).collect())
    }
}

/// Files that were asked for.
type Asked = Arc<Mutex<BTreeSet<PathBuf>>>;

/// Reads the files of one directory and below.
struct Beside {
    folder: PathBuf,
    dialect: steps::Dialect,
    asked: Asked,
}

impl Retrieve for Beside {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let path = Url::parse(uri.as_str()).ok().filter(|url| url.scheme() == "file");
        let path = path.and_then(|url| url.to_file_path().ok()).ok_or("only files are read")?;
        if path.starts_with(&self.folder) {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        }
        let path = path.canonicalize()?;
        if !path.starts_with(&self.folder) {
            return Err(format!("only files below {} are read", self.folder.display()).into());
        }
        let mut document = read(&path)?;
        let dialect = steps::dialect(&document).unwrap_or(self.dialect);
        if dialect.has_if != self.dialect.has_if {
            return Err("a schema of draft 6 or older and a newer one cannot refer to each other".into());
        }
        steps::count(&mut document, dialect);
        Ok(document)
    }
}

fn read(path: &Path) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    let length = path.metadata()?.len();
    if length > LARGEST_FILE {
        return Err(format!("{length} B are more than the {LARGEST_FILE} B of a schema").into());
    }
    let text = std::fs::read(path)?;
    serde_json::from_slice(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text)).map_err(Into::into)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Holds the source's schemas against an event: one that does not meet them is refused, or marked to be kept aside.
///
/// - `large`: a permit for each large body that is looked at, waited for until `deadline`.
///
/// # Errors
/// [`Refusal::SchemaMismatch`]; [`Refusal::Busy`] without a permit.
pub async fn check(
    source: &Source,
    sealed: &mut Sealed,
    large: &Arc<Semaphore>,
    deadline: Instant,
) -> Result<(), Refusal> {
    if source.schemas.is_empty() {
        return Ok(());
    }
    let checked = if sealed.body.len() <= CHECKED_AT_ONCE {
        source.schemas.check(&sealed.event.kind, sealed.is_json, &sealed.body)
    } else {
        let permit = timeout_at(deadline, large.clone().acquire_owned()).await.map_err(|_| Refusal::Busy)?;
        let (schemas, kind, body) = (source.schemas.clone(), sealed.event.kind.clone(), sealed.body.clone());
        let is_json = sealed.is_json;
        let checked = tokio::task::spawn_blocking(move || {
            // A sender that hangs up ends the request, and not the check.
            let _permit = permit;
            schemas.check(&kind, is_json, &body)
        });
        let checked = checked.await;
        checked.unwrap_or_else(|_| Err("the check of the schema panicked".to_owned()))
    };
    match checked {
        Ok(()) => Ok(()),
        Err(_) if source.schemas.on_invalid == OnInvalid::Reject => Err(Refusal::SchemaMismatch),
        Err(why) => {
            sealed.set_aside(&why);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
