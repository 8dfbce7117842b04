//! One section of the configuration into its settings, with every mistake in it at once.
//!
//! A deserializer stops at its first error. Here the offending key is recorded, taken out, and the
//! section read again, until nothing is wrong with what is left.

use config::{ConfigError, Value, ValueKind};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::layers::{DEFAULTS, Layers, walk};
use super::mistake::{Mistake, did_you_mean};

/// Keys that other releases know, so that "unknown" is not the whole truth about them.
const OTHER_RELEASES: &[&str] = &["public_keys", "options"];

/// An error of a section, with the path to it.
pub type DecodeError = serde_path_to_error::Error<ConfigError>;

/// Deserializes a section.
///
/// # Errors
/// The first mistake in it.
pub fn decode<T: DeserializeOwned>(value: Value) -> Result<T, DecodeError> {
    serde_path_to_error::deserialize(value)
}

/// Where mistakes go, and where keys come from.
pub struct Collector<'a> {
    /// The layers that were read.
    pub layers: &'a Layers,
    /// What was found so far.
    pub mistakes: Vec<Mistake>,
}

impl Collector<'_> {
    /// Records a mistake at a key.
    pub fn mistake(&mut self, path: &[&str], what: impl Into<String>) {
        let path: Vec<String> = path.iter().map(|&part| part.to_owned()).collect();
        self.record(&path, what.into());
    }

    /// Records a mistake at the first of these keys that somebody set, or else at the first.
    pub fn mistake_among(&mut self, paths: &[&[&str]], what: impl Into<String>) {
        let set = |path: &&&[&str]| {
            let path: Vec<String> = path.iter().map(|&part| part.to_owned()).collect();
            self.layers.origin(&path) != DEFAULTS
        };
        if let Some(path) = paths.iter().find(set).or(paths.first()) {
            self.mistake(path, what);
        }
    }

    fn record(&mut self, path: &[String], what: String) {
        let mistake = Mistake { file: self.layers.origin(path), key: dotted(path), what };
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// Refuses fractions, which `config` would round; no option is one.
    fn fractions(&mut self, path: &[String], value: &mut Value) {
        let mut found = Vec::new();
        walk(value, &mut path.to_vec(), &mut |path, kind| {
            if let ValueKind::Float(_) = kind {
                found.push(path.to_vec());
                *kind = ValueKind::Nil;
            }
        });
        for path in found {
            self.record(&path, "must be a whole number".to_owned());
        }
    }

    /// Reads the section at `path` with `decode` and records its mistakes. What is right in it is given
    /// back all the same, for the checks to come; `None` where something is missing without a default.
    pub fn section<T>(
        &mut self,
        path: &[&str],
        mut value: Value,
        decode: impl Fn(Value) -> Result<T, DecodeError>,
    ) -> Option<T> {
        let path: Vec<String> = path.iter().map(|&part| part.to_owned()).collect();
        if matches!(value.kind, ValueKind::Nil) {
            // An empty section of a YAML file.
            value.kind = ValueKind::Table(config::Map::new());
        }
        self.fractions(&path, &mut value);
        let mut filled: Vec<(Vec<String>, usize)> = Vec::new();
        let mut taken_out: Vec<Vec<String>> = Vec::new();
        loop {
            let error = match decode(value.clone()) {
                Ok(settings) => return filled.is_empty().then_some(settings),
                Err(error) => error,
            };
            let mut inside = segments(error.path());
            let what = match root_cause(error.inner()) {
                ConfigError::NotFound(field) => {
                    // `config` puts the path before it.
                    inside.push(field.rsplit(['.', ']']).next().unwrap_or(field).to_owned());
                    // Something in its place lets the reading come to the next mistake.
                    if filled.iter().any(|(path, _)| *path == inside) || !fill(&mut value, &inside, 0) {
                        return None;
                    }
                    filled.push((inside.clone(), 0));
                    if !taken_out.contains(&inside) {
                        self.record(&[path.clone(), inside].concat(), "missing".to_owned());
                    }
                    continue;
                }
                cause => explain(cause, inside.last()),
            };
            if let Some((path, n)) = filled.iter_mut().find(|(path, _)| path.starts_with(&inside)) {
                // What was filled in is what is wrong now.
                *n += 1;
                if *path == inside && fill(&mut value, &inside, *n) {
                    continue;
                }
                return None;
            }
            let whole = [path.clone(), inside.clone()].concat();
            // A reference that led nowhere is the mistake already.
            if !self.mistakes.iter().any(|mistake| mistake.key == dotted(&whole)) {
                self.record(&whole, what);
            }
            while inside.last().is_some_and(|part| part.parse::<usize>().is_ok()) {
                // Taking one item out would shift the numbers of the others.
                inside.pop();
            }
            taken_out.push(inside.clone());
            if inside.is_empty() || !take_out(&mut value, &inside) {
                return None;
            }
        }
    }
}

/// The parts of `a.b[0].c`.
pub fn steps(key: &str) -> impl Iterator<Item = &str> {
    key.split(['.', '[', ']']).filter(|step| !step.is_empty())
}

/// `a.b[0].c`.
fn dotted(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        if part.parse::<usize>().is_ok() {
            text.push_str(&format!("[{part}]"));
        } else {
            text.push_str(if text.is_empty() { "" } else { "." });
            text.push_str(part);
        }
    }
    text
}

fn segments(path: &serde_path_to_error::Path) -> Vec<String> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn root_cause(mut error: &ConfigError) -> &ConfigError {
    while let ConfigError::At { error: inner, .. } = error {
        error = inner;
    }
    error
}

/// What is wrong, without the file and key that `config` puts into its own messages, and without
/// values of strings, which may be secrets.
fn explain(error: &ConfigError, key: Option<&String>) -> String {
    let text = match error {
        ConfigError::Type { unexpected, expected, .. } => {
            let expected = if expected.contains("integer") { "a whole number, zero or more" } else { expected };
            format!("invalid type: {unexpected}, expected {expected}")
        }
        other => other.to_string(),
    };
    if let Some(rest) = text.strip_prefix("unknown field ") {
        let mut words = rest.split('`').skip(1).step_by(2);
        let field = words.next().unwrap_or_default();
        if OTHER_RELEASES.contains(&field) {
            return "not supported by this version".to_owned();
        }
        return format!("unknown key{}", did_you_mean(field, words));
    }
    if let Some((_, variant)) = text.split_once(" does not have variant constructor ") {
        return format!("`{variant}` is not one of its values");
    }
    if let (true, Some(expected)) = (text.starts_with("invalid type: string "), text.rfind(", expected ")) {
        return format!("must be {}, not a text", in_words(&text[expected + ", expected ".len()..]));
    }
    if let Some((found, expected)) = text.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        // `64-bit integer` is no word of a configuration.
        return format!("must be {}, not {}", in_words(expected), found.trim_start_matches("64-bit "));
    }
    match key {
        Some(key) => text.replace(&format!(" for key `{key}`"), ""),
        None => text,
    }
}

fn in_words(expected: &str) -> &str {
    if expected.starts_with("struct ") { "a table of keys" } else { expected }
}

fn child<'a>(value: &'a mut Value, part: &str) -> Option<&'a mut Value> {
    match &mut value.kind {
        ValueKind::Table(table) => table.get_mut(part),
        ValueKind::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
        _ => None,
    }
}

fn parent<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut config::Map<String, Value>> {
    let mut at = value;
    for part in path {
        at = child(at, part)?;
    }
    match &mut at.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

fn take_out(value: &mut Value, path: &[String]) -> bool {
    let Some((last, path)) = path.split_last() else { return false };
    parent(value, path).is_some_and(|table| table.remove(last).is_some())
}

/// Puts the `n`-th filling where something is missing; `false` where there are no more.
fn fill(value: &mut Value, path: &[String], n: usize) -> bool {
    let fillings = [Value::from(""), Value::from(0), Value::from(false), Value::from(Vec::<String>::new())];
    let (Some((last, path)), Some(filling)) = (path.split_last(), fillings.into_iter().nth(n)) else { return false };
    parent(value, path).map(|table| table.insert(last.clone(), filling)).is_some()
}
