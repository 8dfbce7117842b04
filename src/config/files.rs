//! Where a configuration comes from, to be read again.

use std::collections::BTreeSet;
use std::path::PathBuf;

use config::ValueKind;

use super::layers::{Layers, Vars, walk};
use super::{Config, Errors, embedded, load, load_after, providers};
use crate::ingress::schema::Schema;

/// Keys whose value is a file, without `file:` before it; `*` stands for any name.
const PATHS: [&[&str]; 9] = [
    &["server", "tls", "cert"],
    &["server", "tls", "key"],
    &["server", "tls", "client_ca"],
    &["server", "tls", "acme", "ca"],
    &["admin", "tls", "cert"],
    &["admin", "tls", "key"],
    &["admin", "tls", "client_ca"],
    &["sources", "*", "schema"],
    &["sources", "*", "schemas", "*"],
];

/// Files and environment of a configuration.
#[derive(Clone)]
pub struct Origin {
    files: Vec<PathBuf>,
    vars: Vars,
}

impl Origin {
    /// `files` in their order, then `vars`.
    pub fn new(files: Vec<PathBuf>, vars: Vars) -> Self {
        Self { files, vars }
    }

    /// Reads them.
    ///
    /// # Errors
    /// Every mistake of all layers.
    pub fn load(&self) -> Result<Config, Errors> {
        load(&self.files, &self.vars)
    }

    /// Reads them again: a file that held something when `before` was read, and is empty now, is a mistake.
    ///
    /// # Errors
    /// Every mistake of all layers.
    pub fn load_again(&self, before: &Config) -> Result<Config, Errors> {
        load_after(Some(before), &self.files, &self.vars)
    }

    /// The files, and those that they name: secrets, certificates, schemas and what these refer to, the folder of providers
    /// and what is in it. Needs no configuration that checks, since whoever mends one may do it in any of them.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let layers = Layers::read(&embedded(self.files.is_empty()), &self.files, &self.vars, &mut Vec::new());
        let mut found: BTreeSet<PathBuf> = self.files.iter().cloned().collect();
        for (name, mut value) in layers.merged {
            walk(&mut value, &mut vec![name], &mut |path, kind| {
                let ValueKind::String(text) = kind else { return };
                if is_path(path) {
                    found.extend(file(text));
                    if path[0] == "sources" {
                        found.extend(Schema::files(text));
                    }
                }
                if path == ["catalogue", "dir"] {
                    // A file that comes changes the folder.
                    found.insert(PathBuf::from(&*text));
                    found.extend(providers::files(text.as_ref()).unwrap_or_default());
                }
                // A list of the environment is one text with commas.
                let parts = std::iter::once(text.as_str()).chain(text.split(','));
                found.extend(parts.filter_map(|part| part.trim().strip_prefix("file:")).flat_map(file));
            });
        }
        found
    }
}

/// The file that `text` names; where that may be a part of a file, `FILE#/pointer`, also the one.
fn file(text: &str) -> impl Iterator<Item = PathBuf> {
    std::iter::once(text).chain(text.split_once('#').map(|(file, _)| file)).map(PathBuf::from)
}

fn is_path(path: &[String]) -> bool {
    let fits = |(part, pattern): (&String, &&str)| *pattern == "*" || part == pattern;
    PATHS.iter().any(|pattern| path.len() == pattern.len() && path.iter().zip(*pattern).all(fits))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_that_a_configuration_names_is_found_even_where_it_does_not_check() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        let text = r#"
            [catalogue]
            dir = "DIR"
            [server.tls]
            cert = "cert.pem"
            key = "key.pem"
            [sources.one]
            provider = "no such"
            secrets = ["file:one", "env:X", "literal:file:no"]
            schema = "schema.json#/a"
            schemas = { "one.b" = "more.json" }
            options = { certificates = { "https://a" = "file:pin" } }
            [backends.main]
            url = "file:url"
        "#;
        let folder = dir.path().join("providers");
        std::fs::create_dir(&folder).unwrap();
        for name in ["acme.toml", "README.md"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        std::fs::write(&file, text.replace("DIR", folder.to_str().unwrap())).unwrap();
        let vars = [("HOOKFERRY__SOURCES__TWO__SECRETS".to_owned(), "file:x, file:y".to_owned())].into();
        let origin = Origin::new(vec![file.clone()], vars);
        assert!(origin.load().is_err());
        let found = origin.files();
        for name in ["cert.pem", "key.pem", "one", "schema.json", "more.json", "pin", "url", "x", "y"] {
            assert!(found.contains(Path::new(name)), "{name} in {found:?}");
        }
        assert!(found.contains(&file) && found.contains(&folder) && found.contains(&folder.join("acme.toml")));
        assert_eq!(found.len(), 14, "{found:?}");
    }
    #[test]
    fn a_file_that_held_something_may_not_become_empty_and_one_that_never_did_may_stay_so() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = ["a.toml", "b.toml"].map(|name| dir.path().join(name));
        std::fs::write(&first, "[server]\nmax_body = \"2MiB\"\n").unwrap();
        std::fs::write(&second, "\n").unwrap();
        let origin = Origin::new(vec![first.clone(), second.clone()], Vars::new());
        let before = origin.load().unwrap();
        let again = origin.load_again(&before).unwrap();
        std::fs::write(&first, " \n").unwrap();
        assert!(origin.load().is_ok(), "a start takes it");
        let error = origin.load_again(&again).unwrap_err().to_string();
        assert!(error.contains("a.toml: is empty: is it still being written?") && !error.contains("b.toml"), "{error}");
        assert!(error.contains("write a comment into it, or {} where it is JSON"), "{error}");
        std::fs::write(&first, "# nothing, and on purpose\n").unwrap();
        std::fs::write(&second, "[server]\nmax_body = \"3MiB\"\n").unwrap();
        let filled = origin.load_again(&again).unwrap();
        std::fs::write(&second, "").unwrap();
        assert!(origin.load_again(&filled).unwrap_err().to_string().contains("b.toml: is empty"));
    }
}
