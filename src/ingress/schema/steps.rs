//! Bounds what holding a schema against a body costs.
//!
//! Without references a schema costs at most its own size for each value of the body. With them it can branch into
//! itself: `{"anyOf": [{"properties": {"x": {"$ref": "#"}}}, …]}` doubles at each level of the body. So each reference
//! is a step, counted by a keyword of ours that stands before it, and a check that has used up its steps ends.

use std::cell::Cell;

use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Value, json};

/// The keyword that counts; no schema of anybody else has it.
pub const KEYWORD: &str = "hookferry:step";

/// Keywords that lead elsewhere.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
/// Keywords whose values are data and no schemas.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// What a reference leaves in force beside it up to draft 7.
const BESIDE: [&str; 5] = ["$schema", "$id", "id", "definitions", "$defs"];

/// Steps that every check has.
const STEPS: u64 = 200_000;
/// Steps to find words for a mismatch: each costs more, since it keeps what it saw.
pub const WORDS: u64 = 10_000;
/// Further ones for each byte of the body.
const STEPS_PER_BYTE: u64 = 16;

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(0) };
}

/// Counts one step; fails once there are none left.
pub struct Step;

impl Step {
    fn take() -> bool {
        let left = LEFT.get();
        LEFT.set(left.saturating_sub(1));
        left > 0
    }
}

impl<'i> Keyword<'i> for Step {
    fn validate(&self, _: &'i Value) -> Result<(), ValidationError<'i>> {
        if Self::take() { Ok(()) } else { Err(ValidationError::custom("the check takes too many steps")) }
    }

    fn is_valid(&self, _: &'i Value) -> bool {
        Self::take()
    }
}

/// Steps for a body of `bytes`.
pub fn for_body(bytes: usize) -> u64 {
    STEPS + STEPS_PER_BYTE * bytes as u64
}

/// What `check` says; `None` where it took more than `steps`, whatever it then said.
pub fn bounded<T>(steps: u64, check: impl FnOnce() -> T) -> Option<T> {
    LEFT.set(steps);
    let said = check();
    (LEFT.get() > 0).then_some(said)
}

/// How a document means its references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// A reference counts alone, without what stands beside it.
    alone: bool,
    /// There is `if`, which looks at a reference only while there are steps, also when words are looked for. `allOf`
    /// looks at all its parts then.
    pub has_if: bool,
}

/// The dialect that a document names; `None`: none.
pub fn dialect(document: &Value) -> Option<Dialect> {
    let named = document.get("$schema")?.as_str()?;
    let is = |drafts: &[&str]| drafts.iter().any(|draft| named.contains(draft));
    let old = is(&["draft-03", "draft-04", "draft-06"]);
    Some(Dialect { alone: old || is(&["draft-07"]), has_if: !old })
}

/// The dialect of documents that name none.
pub const NEWEST: Dialect = Dialect { alone: false, has_if: true };

/// Puts a step before every reference of a document.
pub fn count(document: &mut Value, dialect: Dialect) {
    walk(document, dialect);
}

fn walk(value: &mut Value, dialect: Dialect) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, dialect)),
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                if !DATA.contains(&key.as_str()) {
                    walk(value, dialect);
                }
            }
            guard(object, dialect);
        }
        _ => {}
    }
}

fn guard(object: &mut Map<String, Value>, dialect: Dialect) {
    let is_text = |name: &&str| object.get(*name).is_some_and(Value::is_string);
    let names: Vec<&str> = REFERENCES.into_iter().filter(is_text).collect();
    if names.is_empty() {
        return;
    }
    if dialect.alone {
        object.retain(|key, _| names.contains(&key.as_str()) || BESIDE.contains(&key.as_str()));
    }
    let guarded = names.into_iter().filter_map(|name| {
        let reference = object.remove(name)?;
        Some(if dialect.has_if {
            json!({ "if": { KEYWORD: true }, "then": { name: reference }, "else": false })
        } else {
            json!({ "allOf": [{ KEYWORD: true }, { name: reference }] })
        })
    });
    let guarded: Vec<_> = guarded.collect();
    match object.get_mut("allOf") {
        Some(Value::Array(all)) => all.extend(guarded),
        _ => _ = object.insert("allOf".to_owned(), guarded.into()),
    }
}
