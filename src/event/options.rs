//! What a source sets for its provider besides secrets, by the catalogue's names.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// One option.
#[derive(Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Setting {
    /// `audience = "https://…"`
    Text(String),
    /// `topic_arns = ["arn:…", "arn:…"]`
    List(Vec<String>),
    /// `certificates = { "https://…" = "file:…" }`
    Table(BTreeMap<String, String>),
}

impl fmt::Debug for Setting {
    // Some options are tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// All options of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Options(BTreeMap<String, Setting>);

impl Options {
    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.0.iter().map(|(name, setting)| (name.as_str(), setting))
    }

    /// Sets one.
    pub fn insert(&mut self, name: &str, setting: Setting) {
        self.0.insert(name.to_owned(), setting);
    }

    /// The option `name`, where it is set.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.0.get(name)
    }

    /// The option `name`, where it is one text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Setting::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The texts of the option `name`; one text is a list of one, a table is none.
    pub fn texts(&self, name: &str) -> &[String] {
        match self.0.get(name) {
            Some(Setting::Text(text)) => std::slice::from_ref(text),
            Some(Setting::List(list)) => list,
            Some(Setting::Table(_)) | None => &[],
        }
    }
}

impl FromIterator<(String, String)> for Options {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(texts: I) -> Self {
        Self(texts.into_iter().map(|(name, text)| (name, Setting::Text(text))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_a_text_a_list_or_a_table() {
        let options: Options = toml::from_str("a = 'x'\nb = ['y', 'z']\nc = { 'https://h/p' = 'v' }").unwrap();
        assert_eq!((options.text("a"), options.text("b"), options.text("d")), (Some("x"), None, None));
        assert_eq!(options.texts("a"), ["x"]);
        assert_eq!(options.texts("b"), ["y", "z"]);
        assert!(options.texts("c").is_empty());
        assert!(toml::from_str::<Options>("a = 1").is_err());
        assert!(!format!("{options:?}").contains('x'));
    }
}
