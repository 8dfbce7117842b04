//! `[catalogue]`: the folder of an operator's own provider files.

use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeArray, DeTable, DeValue};

use super::contract::{CUSTOM, NONE, verify};
use super::layers::Layers;
use super::mistake::{Mistake, did_you_mean};
use super::section::{Collector, decode, steps};
use crate::catalogue::settings::Settings;
use crate::catalogue::{self, Catalogue, Contract, Provider};
use crate::event::SourceName;

/// Reads every file of the folder, and all mistakes in them.
pub fn read(collect: &mut Collector, settings: &Settings) -> Catalogue {
    let mut catalogue = Catalogue::default();
    let Some(dir) = &settings.dir else {
        if !settings.replace.is_empty() {
            collect.mistake(&["catalogue", "replace"], "stands only beside `dir`");
        }
        return catalogue;
    };
    let files = match files(dir) {
        Ok(files) => files,
        Err(error) => {
            collect.mistake(&["catalogue", "dir"], format!("cannot read {}: {error}", dir.display()));
            return catalogue;
        }
    };
    let stems: Vec<String> = files.iter().map(|file| stem(file)).collect();
    for (n, name) in settings.replace.iter().enumerate() {
        let at = ["catalogue", "replace", &n.to_string()];
        if !catalogue::names().any(|built_in| built_in == name) {
            let near = did_you_mean(name, catalogue::names());
            collect.mistake(&at, format!("no built-in provider is named `{name}`{near}"));
        } else if !stems.contains(name) {
            collect.mistake(&at, format!("there is no {}", dir.join(format!("{name}.toml")).display()));
        }
    }
    for (file, name) in files.into_iter().zip(stems) {
        match provider(&file, &name, settings) {
            Ok(provider) => catalogue.add(file, provider),
            Err(mistakes) => {
                collect.mistakes.extend(mistakes);
                catalogue.add_wrong(name);
            }
        }
    }
    catalogue
}

/// The provider files of a folder, sorted.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        // What a link leads to counts: Kubernetes mounts files as links.
        if path.extension().is_some_and(|extension| extension == "toml") && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads one file, and holds its examples against it.
fn provider(file: &Path, name: &str, settings: &Settings) -> Result<Provider, Vec<Mistake>> {
    let shown = file.display().to_string();
    let whole = |what: String| vec![Mistake { file: shown.clone(), key: String::new(), what }];
    name.parse::<SourceName>().map_err(|error| whole(error.to_string()))?;
    if [CUSTOM, NONE].contains(&name) {
        return Err(whole(format!("`{name}` has a meaning of its own in `provider`: choose another name")));
    }
    if catalogue::names().any(|built_in| built_in == name) && !settings.replace.iter().any(|other| other == name) {
        let or = format!("say replace = [\"{name}\"] in [catalogue]");
        return Err(whole(format!("`{name}` is a built-in provider: choose another name, or {or}")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| whole(format!("cannot read it: {error}")))?;
    let (layers, value) = Layers::one(&shown, &text).map_err(whole)?;
    let mut collect = Collector { layers: &layers, mistakes: Vec::new() };
    let read = contract(&mut collect, name, value);
    match read.filter(|_| collect.mistakes.is_empty()) {
        Some(provider) => Ok(provider),
        None => {
            let mistakes = collect.mistakes.into_iter();
            let mut mistakes: Vec<_> = mistakes.map(|mistake| (line(&text, &mistake.key), mistake)).collect();
            mistakes.sort();
            let at = |(line, mistake)| Mistake { file: format!("{shown}:{line}"), ..mistake };
            Err(mistakes.into_iter().map(at).collect())
        }
    }
}

fn contract(collect: &mut Collector, name: &str, mut value: config::Value) -> Option<Provider> {
    let whole = verify(collect, &[], &mut value);
    let contract: Contract = collect.section(&[], value, decode)?;
    if !whole || !collect.mistakes.is_empty() {
        // What is left of it would only be wrong in other ways.
        return None;
    }
    match Provider::new(name, contract) {
        Ok(provider) => {
            for unmet in provider.unmet() {
                collect.mistake(&["example", &unmet.number.to_string()], unmet.why);
            }
            Some(provider)
        }
        Err(error) => {
            let key = error.place();
            collect.mistake(&steps(&key).collect::<Vec<_>>(), error.problem());
            None
        }
    }
}

/// Line of a key, from 1; of what is nearest around it where it is not there.
fn line(text: &str, key: &str) -> usize {
    let Ok(table) = DeTable::parse(text) else { return 1 };
    let mut at = 0;
    let table = table.into_inner();
    let mut inside = Some(&table);
    let mut list = None;
    for step in steps(key) {
        let found = match (inside, list) {
            (Some(table), _) => table.iter().find(|(name, _)| name.get_ref() == step).map(|(name, value)| {
                at = name.span().start;
                value
            }),
            (None, Some(items)) => {
                let items: &DeArray = items;
                step.parse::<usize>().ok().and_then(|n| items.get(n)).inspect(|value| at = value.span().start)
            }
            _ => None,
        };
        (inside, list) = match found.map(toml::Spanned::get_ref) {
            Some(DeValue::Table(table)) => (Some(table), None),
            Some(DeValue::Array(items)) => (None, Some(items)),
            _ => break,
        };
    }
    1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_line_and_one_that_is_missing_that_of_its_table() {
        let text = "title = 'X'\n\n[verify]\nkind = 'hmac'\nsignature = {\n  header = 'x' }\n\n[[example]]\nnow = 1\n\n[[example]]\nnow = 2\n";
        for (key, expected) in [
            ("", 1),
            ("title", 1),
            ("verify", 3),
            ("verify.kind", 4),
            ("verify.signature.header", 6),
            ("verify.message", 3),
            ("example[1]", 11),
            ("example[1].now", 12),
            ("example[7]", 8),
        ] {
            assert_eq!(line(text, key), expected, "{key}");
        }
    }
}
