//! Layers of a configuration: embedded defaults, each file in its order, the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use config::builder::DefaultState;
use config::{Config, ConfigBuilder, ConfigError, Environment, File, FileFormat, Map, Source, Value, ValueKind};

use super::mistake::Mistake;

/// Environment variables by name; injected, so that tests need not touch the process.
pub type Vars = BTreeMap<String, String>;

const PREFIX: &str = "HOOKFERRY__";
/// How the embedded layer is named in messages.
pub(super) const DEFAULTS: &str = "defaults";
const ENVIRONMENT: &str = "environment";

/// All layers merged, and each by itself, to tell where a key comes from.
pub(super) struct Layers {
    /// Sections by name.
    pub merged: Map<String, Value>,
    /// From the lowest to the highest.
    layers: Vec<Layer>,
    /// Files that hold nothing.
    pub blank: Vec<PathBuf>,
}

#[derive(Clone)]
struct Layer {
    /// File name; `None`: the environment.
    file: Option<String>,
    root: Value,
}

/// The name alone: values may be secrets.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layer({:?})", self.file)
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        self.root.clone().into_table()
    }
}

impl Layers {
    /// Reads what can be read; a file that cannot is a mistake, and its layer is left out.
    pub fn read(defaults: &str, files: &[impl AsRef<Path>], vars: &Vars, mistakes: &mut Vec<Mistake>) -> Self {
        let (mut layers, mut blank) = (Vec::new(), Vec::new());
        let mut add = |name: &str, text: Result<(String, FileFormat), String>| match text
            .and_then(|(text, format)| parse(&text, format))
        {
            Ok(root) => layers.push(Layer { file: Some(name.to_owned()), root }),
            Err(what) => mistakes.push(Mistake { file: name.to_owned(), key: String::new(), what }),
        };
        add(DEFAULTS, Ok((defaults.to_owned(), FileFormat::Toml)));
        for file in files {
            let file = file.as_ref();
            let text = load(file);
            if text.as_ref().is_ok_and(|(text, _)| text.trim().is_empty()) {
                blank.push(file.to_owned());
            }
            add(&file.display().to_string(), text);
        }
        match overrides(vars) {
            Ok(root) => layers.push(Layer { file: None, root }),
            Err(what) => mistakes.push(Mistake { file: ENVIRONMENT.to_owned(), key: String::new(), what }),
        }
        let merged = layers.iter().cloned().fold(Config::builder(), ConfigBuilder::<DefaultState>::add_source).build();
        let merged = merged.and_then(|config| config.cache.into_table()).unwrap_or_else(|error| {
            mistakes.push(Mistake { file: ENVIRONMENT.to_owned(), key: String::new(), what: error.to_string() });
            Map::new()
        });
        Self { merged, layers, blank }
    }

    /// A file that is no layer but stands for itself, and what is in it.
    pub fn one(name: &str, text: &str) -> Result<(Self, Value), String> {
        let root = parse(text, FileFormat::Toml)?;
        let layers = vec![Layer { file: Some(name.to_owned()), root: root.clone() }];
        Ok((Self { merged: Map::new(), layers, blank: Vec::new() }, root))
    }

    /// Sorts mistakes by layer, then by key; behind them come those that stand elsewhere, as they were found.
    pub fn sort(&self, mistakes: &mut [Mistake]) {
        let rank = |mistake: &Mistake| self.layers.iter().position(|layer| layer.file.as_ref() == Some(&mistake.file));
        mistakes.sort_by_cached_key(|mistake| match rank(mistake) {
            Some(rank) => (rank, Some(mistake.clone())),
            None => (usize::MAX, None),
        });
    }

    /// Name of the highest layer that holds `path`, or else the nearest thing around it.
    pub fn origin(&self, path: &[String]) -> String {
        for length in (1..=path.len()).rev() {
            if let Some(layer) = self.layers.iter().rev().find(|layer| holds(&layer.root, &path[..length])) {
                return match &layer.file {
                    Some(file) => file.clone(),
                    None if length == path.len() => {
                        format!("{PREFIX}{}", path.join("__").to_uppercase())
                    }
                    None => ENVIRONMENT.to_owned(),
                };
            }
        }
        let last_file = self.layers.iter().rev().find_map(|layer| layer.file.clone());
        last_file.unwrap_or_else(|| DEFAULTS.to_owned())
    }
}

/// Calls `each` with every value inside `value` that holds no others, and its path.
pub(super) fn walk(value: &mut Value, path: &mut Vec<String>, each: &mut impl FnMut(&[String], &mut ValueKind)) {
    let mut inside = |name: String, value: &mut Value| {
        path.push(name);
        walk(value, path, each);
        path.pop();
    };
    match &mut value.kind {
        ValueKind::Table(table) => table.iter_mut().for_each(|(key, value)| inside(key.clone(), value)),
        ValueKind::Array(items) => items.iter_mut().enumerate().for_each(|(n, value)| inside(n.to_string(), value)),
        kind => each(path, kind),
    }
}

/// The environment of this process; what is not UTF-8 is left out, and so is unset for whoever names it.
pub fn environment() -> Vars {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn load(file: &Path) -> Result<(String, FileFormat), String> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let format = match extension.to_ascii_lowercase().as_str() {
        "toml" => FileFormat::Toml,
        "yaml" | "yml" => FileFormat::Yaml,
        "json" => FileFormat::Json,
        _ => return Err("the name does not end in .toml, .yaml, .yml or .json".to_owned()),
    };
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read it: {error}"))?;
    Ok((text, format))
}

fn parse(text: &str, format: FileFormat) -> Result<Value, String> {
    let sections = File::from_str(text, format).collect().map_err(|error| match error {
        ConfigError::FileParse { cause, .. } => one_line(&cause.to_string()),
        other => other.to_string(),
    })?;
    Ok(sections.into())
}

/// The place and the reason, without the lines of the file between them: they may hold a secret.
fn one_line(error: &str) -> String {
    let mut lines = error.trim_end().lines();
    match (lines.next(), lines.next_back()) {
        (Some(place), Some(reason)) => format!("{place}: {reason}"),
        (place, _) => place.unwrap_or("cannot be parsed").to_owned(),
    }
}

fn overrides(vars: &Vars) -> Result<Value, String> {
    let ours = vars.iter().filter(|(name, _)| name.starts_with(PREFIX));
    let source = Environment::with_prefix("HOOKFERRY")
        .separator("__")
        .source(Some(ours.map(|(name, value)| (name.clone(), value.clone())).collect()));
    // The builder turns `section.key` into tables.
    Config::builder().add_source(source).build().map(|config| config.cache).map_err(|error| error.to_string())
}

fn holds(value: &Value, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match &value.kind {
        ValueKind::Table(table) => table.get(first).is_some_and(|value| holds(value, rest)),
        ValueKind::Array(items) => {
            first.parse::<usize>().ok().and_then(|n| items.get(n)).is_some_and(|value| holds(value, rest))
        }
        _ => false,
    }
}
