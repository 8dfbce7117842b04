//! The rules of the house that a test can hold: layers, file length, options, clocks, panics.
//!
//! Reads the sources as text; what stands behind `#[cfg(test)]` and in comments does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may import, lowest layer first. `cli`, `main` and `lib` may import all.
const LAYERS: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("telemetry", &[]),
    ("verify", &["event"]),
    ("catalogue", &["event", "verify"]),
    ("journal", &["event", "telemetry"]),
    ("keys", &["event", "verify"]),
    ("backend", &["event"]),
    ("listener", &["event"]),
    ("ingress", &["listener", "event", "catalogue", "verify", "keys", "journal", "telemetry"]),
    ("dispatch", &["event", "journal", "backend", "telemetry"]),
    ("admin", &["listener", "event", "catalogue", "journal", "dispatch", "telemetry"]),
    (
        "config",
        &[
            "listener",
            "event",
            "catalogue",
            "verify",
            "journal",
            "backend",
            "ingress",
            "dispatch",
            "admin",
            "telemetry",
        ],
    ),
    (
        "app",
        &[
            "listener",
            "event",
            "catalogue",
            "verify",
            "keys",
            "journal",
            "backend",
            "ingress",
            "dispatch",
            "admin",
            "telemetry",
            "config",
        ],
    ),
];

/// Words of the code, and the modules (or files) that may hold them.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("actix_", &["ingress", "admin", "app", "listener", "telemetry/log"]),
    ("lapin::", &["backend/rabbitmq"]),
    ("use redis::", &["backend/redis"]),
    ("aws_sdk_sqs::", &["backend/sqs"]),
    ("aws_config::", &["backend/sqs"]),
    ("rustls_acme::", &["listener/tls/acme"]),
    ("aws_smithy_http_client::", &["backend/sqs"]),
    ("use config::", &["config"]),
    ("jsonschema::", &["ingress/schema"]),
    ("governor::", &["ingress/limit"]),
    ("SystemTime::now", &["app", "cli", "telemetry"]),
    ("now_utc()", &["app", "cli", "telemetry"]),
    ("now_v7()", &["app", "cli", "telemetry"]),
    (
        "Instant::now",
        &["app", "cli", "telemetry", "keys", "journal", "dispatch", "backend", "ingress", "listener", "admin"],
    ),
    ("env::var", &["app", "config", "cli", "telemetry"]),
    ("tokio::spawn", &["app", "dispatch", "cli"]),
    (".unwrap()", &[]),
    (".expect(\"", &[]),
    ("panic!(", &[]),
    ("todo!(", &[]),
    ("unimplemented!(", &[]),
    ("dbg!(", &[]),
];

/// Longest file, in lines, with its tests.
const LONGEST: usize = 400;

/// Settings: file, struct, and the section of `config/default.toml` that shows all its fields.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("src/ingress/settings.rs", "Server", "server"),
    ("src/ingress/settings.rs", "Source", "sources.*"),
    ("src/admin/settings.rs", "Settings", "admin"),
    ("src/listener/settings.rs", "Tls", "server.tls"),
    ("src/listener/settings.rs", "Acme", "server.tls.acme"),
    ("src/journal/settings.rs", "Settings", "journal"),
    ("src/journal/settings.rs", "Dedup", "dedup"),
    ("src/telemetry/settings.rs", "Settings", "telemetry"),
    ("src/event/route.rs", "Route", "routes"),
    ("src/verify/hmac.rs", "HmacSpec", "sources.shop.verify"),
    ("src/catalogue/contract.rs", "EventSpec", "sources.shop.event"),
    ("src/catalogue/contract.rs", "HandshakeSpec", "sources.shop.handshake"),
    ("src/catalogue/contract.rs", "Sample", "sources.shop.sample"),
    ("src/catalogue/contract.rs", "Example", "sources.shop.example"),
    ("src/catalogue/settings.rs", "Settings", "catalogue"),
    ("src/backend/redis/settings.rs", "Settings", "backends.main"),
    ("src/backend/rabbitmq/settings.rs", "Settings", "backends.rabbit"),
    ("src/backend/sqs/settings.rs", "Settings", "backends.orders"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

/// A file of `src/`: its path inside it without `.rs`, and its code.
struct Source {
    name: String,
    code: String,
}

impl Source {
    fn module(&self) -> &str {
        self.name.split('/').next().unwrap()
    }

    fn is_under(&self, place: &str) -> bool {
        self.name == place || self.name.starts_with(&format!("{place}/"))
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    let src = root().join("src");
    files(&src, "rs", &mut paths);
    let (mut sources, mut tests) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.strip_prefix(&src).unwrap().with_extension("").display().to_string();
        let code = code(&fs::read_to_string(&path).unwrap(), |module| tests.push(format!("{name}/{module}")));
        sources.push(Source { name, code });
    }
    sources.retain(|source| !tests.iter().any(|test| source.is_under(test)));
    sources
}

/// The lines before inline tests, without comments; tests in a file of their own are told to `test_module`.
fn code(text: &str, mut test_module: impl FnMut(&str)) -> String {
    let mut code = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let item = lines.next().unwrap_or_default();
            match item.split("mod ").nth(1).and_then(|item| item.strip_suffix(';')) {
                Some(module) => test_module(module),
                None if item.trim_end().ends_with(';') => {}
                None => break,
            }
        } else if !line.trim_start().starts_with("//") {
            code.push(line);
        }
    }
    code.join("\n")
}

#[track_caller]
fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// Modules of this crate that the code names, as `crate::x` or inside `crate::{x, y::{z}}`.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (n, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if begins && c.is_alphanumeric() => {
                    found.insert(word(&list[n..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn imports_are_read_from_paths_and_lists() {
    let found = imports("use crate::event::{Secret, names};\nuse crate::{admin, journal::{a, b}};\ncrate::verify::f()");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["admin", "event", "journal", "verify"]);
}

#[test]
fn a_module_imports_only_from_below() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut found = Vec::new();
    for source in sources() {
        let module = source.module();
        let Some(allowed) = layers.get(module) else {
            if !["cli", "main", "lib"].contains(&module) {
                found.push(format!("src/{}.rs is in no layer", source.name));
            }
            continue;
        };
        for import in imports(&source.code) {
            if import != module && layers.contains_key(import.as_str()) && !allowed.contains(&import.as_str()) {
                found.push(format!("src/{}.rs imports {import}", source.name));
            }
            if import == "cli" {
                found.push(format!("src/{}.rs imports {import}", source.name));
            }
        }
    }
    none("imports against the layers", found);
}

#[test]
fn what_has_its_place_stands_nowhere_else() {
    let mut found = Vec::new();
    for source in sources() {
        for (word, places) in ONLY_IN {
            if source.code.contains(word) && !places.iter().any(|place| source.is_under(place)) {
                found.push(format!("src/{}.rs holds `{word}`", source.name));
            }
        }
    }
    none("out of place", found);
}

#[test]
fn no_file_is_longer_than_one_sitting() {
    let mut paths = Vec::new();
    for dir in ["src", "tests", "benches"] {
        files(&root().join(dir), "rs", &mut paths);
    }
    let lines = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().count();
    let long = paths.iter().filter(|path| lines(path) > LONGEST);
    none("too long", long.map(|path| format!("{}: {} lines", path.display(), lines(path))).collect());
}

/// Keys that choose one of several structs, and are a field of none.
const CHOICES: &[(&str, &str)] = &[
    ("backends.main", "type"),
    ("backends.rabbit", "type"),
    ("backends.orders", "type"),
    ("sources.shop.verify", "kind"),
];

/// Keys of the annotated defaults by section, commented ones too; those of all sources together.
fn default_keys() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("config/default.toml")).unwrap();
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            section = match name.trim_start_matches('[').split('.').collect::<Vec<_>>()[..] {
                ["sources", _] => "sources.*".to_owned(),
                _ => name.trim_start_matches('[').to_owned(),
            };
            sections.entry(section.clone()).or_default();
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            sections.entry(section.clone()).or_default().insert(key.to_owned());
        }
    }
    sections
}

/// Keys of a settings struct, as a file spells them.
fn fields(file: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let start = text.find(&format!("pub struct {name} {{")).unwrap_or_else(|| panic!("{file} holds no {name}"));
    let mut renamed = None;
    let mut keys = Vec::new();
    for line in text[start..].lines().skip(1).take_while(|line| !line.starts_with('}')).map(str::trim) {
        if let Some((_, rest)) = line.split_once("rename = \"") {
            renamed = rest.split('"').next();
        } else if let Some((field, _)) = line.strip_prefix("pub ").and_then(|line| line.split_once(':')) {
            keys.push(renamed.take().unwrap_or(field).to_owned());
        }
    }
    keys
}

#[test]
fn every_option_stands_in_the_annotated_defaults() {
    let sections = default_keys();
    let mut found = Vec::new();
    for (file, name, section) in SETTINGS {
        let fields = fields(file, name);
        assert!(!fields.is_empty(), "{file} {name}");
        let shown = sections.get(*section);
        for field in fields {
            let is_table = sections
                .keys()
                .any(|name| name.ends_with(&format!("shop.{field}")) || *name == format!("{section}.{field}"));
            if !is_table && !shown.is_some_and(|keys| keys.contains(&field)) {
                found.push(format!("[{section}] {field}, a field of {name} in {file}"));
            }
        }
    }
    none("missing in config/default.toml", found);
}

#[test]
fn the_annotated_defaults_show_no_option_that_does_not_exist() {
    let sections = default_keys();
    let mut found = Vec::new();
    for (file, name, section) in SETTINGS {
        let fields = fields(file, name);
        let unknown = sections
            .get(*section)
            .into_iter()
            .flatten()
            .filter(|key| !fields.contains(key) && !CHOICES.contains(&(section, key)));
        found.extend(unknown.map(|key| format!("[{section}] {key}")));
    }
    none("unknown to the code", found);
}

#[test]
fn every_settings_struct_is_known_here() {
    let known = |name: &str| SETTINGS.iter().any(|(file, ..)| *file == format!("src/{name}.rs"));
    let strange = sources().into_iter().filter(|source| source.name.ends_with("/settings") && !known(&source.name));
    none("not in SETTINGS", strange.map(|source| source.name).collect());
}

#[test]
fn every_provider_file_is_in_the_catalogue() {
    let mut paths = Vec::new();
    files(&root().join("providers"), "toml", &mut paths);
    let catalogue: String =
        sources().into_iter().filter(|source| source.module() == "catalogue").map(|source| source.code).collect();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let absent = paths.iter().map(name).filter(|name| !catalogue.contains(&format!("\"{name}\"")));
    none("not in the catalogue", absent.collect());
}

#[test]
fn decisions_are_numbered_and_have_every_part() {
    let mut paths = Vec::new();
    files(&root().join("docs/adr"), "md", &mut paths);
    assert!(!paths.is_empty());
    for (n, path) in paths.iter().enumerate() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(&format!("{:04}-", n + 1)), "{name}");
        let text = fs::read_to_string(path).unwrap();
        for part in ["Status: ", "Context:", "Decision:", "Consequences:", "Rejected:", "Measured by:"] {
            assert!(text.lines().any(|line| line.starts_with(part)), "{name} has no line `{part}`");
        }
    }
}

/// Commands of the program, from the enum that clap reads.
fn commands() -> Vec<String> {
    let text = fs::read_to_string(root().join("src/cli.rs")).unwrap();
    let Some(start) = text.find("enum Command {") else { return Vec::new() };
    let variants = text[start..].lines().skip(1).take_while(|line| !line.starts_with('}')).map(str::trim);
    let variants = variants.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    variants
        .map(|line| line.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_lowercase())
        .collect()
}

#[test]
fn the_readme_mentions_every_command() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap_or_default();
    let absent = commands().into_iter().filter(|command| !readme.contains(&format!("hookferry {command}")));
    none("not in README.md", absent.collect());
}
