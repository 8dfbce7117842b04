//! The built-in providers, and beside or in place of them an operator's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{CatalogueError, Provider, files, names, provider};

/// Every provider that a configuration may name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    own: BTreeMap<String, (PathBuf, Provider)>,
    wrong: BTreeSet<String>,
}

impl Catalogue {
    /// Adds the provider of a file; one of its name is replaced.
    pub fn add(&mut self, file: PathBuf, provider: Provider) {
        self.own.insert(provider.id.clone(), (file, provider));
    }

    /// Notes that the provider `name` has a file that cannot be used.
    pub fn add_wrong(&mut self, name: String) {
        self.wrong.insert(name);
    }

    /// Whether the provider `name` has a file that cannot be used.
    pub fn is_wrong(&self, name: &str) -> bool {
        self.wrong.contains(name)
    }

    /// The operator's own providers and their files, by name.
    pub fn own(&self) -> impl Iterator<Item = (&Path, &Provider)> {
        self.own.values().map(|(file, provider)| (file.as_path(), provider))
    }

    /// File of the provider `name`, where it is the operator's own.
    pub fn file(&self, name: &str) -> Option<&Path> {
        self.own.get(name).map(|(file, _)| file.as_path())
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.own.keys().map(String::as_str).collect();
        for name in names() {
            all.push(name);
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The provider `name`, compiled.
    ///
    /// # Errors
    /// [`CatalogueError::Unknown`], with the most similar name where one is similar.
    pub fn provider(&self, name: &str) -> Result<Provider, CatalogueError> {
        match self.own.get(name) {
            Some((_, own)) => Ok(own.clone()),
            None => provider(name).map_err(|error| match error {
                CatalogueError::Unknown { name, .. } => {
                    let near = files::near(&name, self.own.keys().map(String::as_str));
                    CatalogueError::Unknown { name, near }
                }
                other => other,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "title = 'X'\n[verify]\nkind = 'token'\ntoken = { header = 's' }";

    #[test]
    fn own_providers_stand_beside_the_built_in_ones_or_in_their_place() {
        let mut catalogue = Catalogue::default();
        let before = catalogue.names().len();
        for name in ["acme", "github"] {
            catalogue.add(format!("{name}.toml").into(), Provider::from_toml(name, OURS).unwrap());
        }
        assert_eq!(catalogue.names().len(), before + 1);
        assert!(catalogue.names().is_sorted());
        assert_eq!(catalogue.provider("acme").unwrap().contract.title, "X");
        assert_eq!(catalogue.provider("github").unwrap().contract.title, "X");
        assert_eq!(catalogue.provider("stripe").unwrap().contract.title, "Stripe");
        assert_eq!(catalogue.file("gitlab"), None);
        let error = catalogue.provider("acmee").unwrap_err().to_string();
        assert_eq!(error, "provider `acmee` is not in the catalogue, but `acme` is");
    }
}
