//! `[backends.*]` and `[[routes]]`, and what all sections with many entries share.

use std::fmt::Display;
use std::str::FromStr;

use config::{ConfigError, Map, Value, ValueKind};

use super::Vars;
use super::mistake::did_you_mean;
use super::secrets::resolve_strings;
use super::section::{Collector, decode};
use crate::backend::{self, TYPES};
use crate::event::BackendName;
use crate::event::route::Route;
use crate::telemetry;

/// A section of sections into its entries, by name; a name that cannot be one is a mistake.
pub fn entries<N>(collect: &mut Collector, section: &str, value: Option<Value>) -> Vec<(N, Value)>
where
    N: FromStr<Err: Display> + Ord,
{
    let table = match value.map(|value| value.kind) {
        Some(ValueKind::Table(table)) => table,
        None | Some(ValueKind::Nil) => Map::new(),
        Some(_) => {
            collect.mistake(&[section], format!("must be sections [{section}.<name>]"));
            Map::new()
        }
    };
    let mut entries: Vec<(N, Value)> = Vec::new();
    for (name, value) in table {
        match name.parse::<N>() {
            Ok(parsed) => entries.push((parsed, value)),
            Err(error) => collect.mistake(&[section, &name], error.to_string()),
        }
    }
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries
}

/// Puts what they name in the place of all references inside a section; whether all of them lead somewhere.
fn resolved(collect: &mut Collector, section: &[&str], value: &mut Value, vars: &Vars) -> bool {
    let wrong = resolve_strings(value, vars);
    let complete = wrong.is_empty();
    for (inside, what) in wrong {
        let path: Vec<&str> = section.iter().copied().chain(inside.iter().map(String::as_str)).collect();
        collect.mistake(&path, what);
    }
    complete
}

/// Reads `[telemetry]`, after the references in it are resolved.
pub fn telemetry(collect: &mut Collector, value: Option<Value>, vars: &Vars) -> telemetry::settings::Settings {
    let read = value.and_then(|mut value| {
        resolved(collect, &["telemetry"], &mut value, vars);
        collect.section(&["telemetry"], value, decode)
    });
    read.unwrap_or_default()
}

/// Reads one backend by its `type`, after `env:` and `file:` in its strings are resolved.
pub fn backend(
    collect: &mut Collector,
    name: &BackendName,
    mut value: Value,
    vars: &Vars,
) -> Option<backend::Settings> {
    let section = ["backends", name.as_str()];
    let complete = resolved(collect, &section, &mut value, vars);
    chosen(collect, &section, value, "type", TYPES, |kind, table| backend::Settings::parse(kind, table))
        .filter(|_| complete)
}

/// Reads a section of which `key` chooses the struct, by one of the words `known`.
pub fn chosen<T>(
    collect: &mut Collector,
    section: &[&str],
    mut value: Value,
    key: &str,
    known: &[&str],
    parse: impl Fn(&str, Tracked) -> Result<T, ConfigError>,
) -> Option<T> {
    let kind = match &mut value.kind {
        ValueKind::Table(table) => table.remove(key),
        _ => None,
    };
    let at = [section, &[key]].concat();
    let Some(kind) = kind.and_then(|kind| kind.into_string().ok()) else {
        collect.mistake(&at, format!("missing: one of {}", known.join(", ")));
        return None;
    };
    if !known.contains(&kind.as_str()) {
        let near = did_you_mean(&kind, known.iter().copied());
        collect.mistake(&at, format!("`{kind}` is not one of {}{near}", known.join(", ")));
        return None;
    }
    collect.section(section, value, |value| {
        let mut track = serde_path_to_error::Track::new();
        let result = parse(&kind, serde_path_to_error::Deserializer::new(value, &mut track));
        result.map_err(|error| serde_path_to_error::Error::new(track.path(), error))
    })
}

/// A section that remembers where in it a mistake is.
pub type Tracked<'a, 'b> = serde_path_to_error::Deserializer<'a, 'b, Value>;

/// Reads all routes, each with its mistakes and its number.
pub fn routes(collect: &mut Collector, value: Option<Value>) -> Vec<(usize, Route)> {
    let items = match value.map(|value| value.kind) {
        Some(ValueKind::Array(items)) => items,
        None | Some(ValueKind::Nil) => Vec::new(),
        Some(_) => {
            collect.mistake(&["routes"], "must be a list: [[routes]]");
            Vec::new()
        }
    };
    let read = |(n, value): (usize, Value)| Some((n, collect.section(&["routes", &n.to_string()], value, decode)?));
    items.into_iter().enumerate().filter_map(read).collect()
}
