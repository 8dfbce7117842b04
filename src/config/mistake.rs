//! What is wrong with a configuration: a list, each with its file and key.

use std::fmt;

/// One mistake, for the person who wrote the file. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where it stands: a file as it was named on the command line, an environment variable, or `defaults`.
    pub file: String,
    /// Dotted key, e.g. `sources.github.secrets`; empty: the file as a whole.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        // What follows is likely a value that lost its place, maybe a secret: `secret:abc` is a key in YAML.
        let mark = self.key.find(|c: char| matches!(c, ':' | '=') || c.is_whitespace());
        match mark {
            Some(mark) => write!(f, "{}…: ", &self.key[..mark])?,
            None if self.key.is_empty() => {}
            None => write!(f, "{}: ", self.key)?,
        }
        f.write_str(&self.what)
    }
}

/// Every mistake of a configuration, a line each; never empty.
#[derive(Debug, PartialEq, Eq)]
pub struct Errors(pub(super) Vec<Mistake>);

impl Errors {
    /// The mistakes, in the order of the sections.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// `; did you mean ...?` with the candidate nearest to `word`; empty where none is near.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let near = candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min();
    near.map_or_else(String::new, |(_, candidate)| format!("; did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let keys = ["max_body", "body_timeout", "listen"];
        assert_eq!(did_you_mean("max_bdoy", keys), "; did you mean `max_body`?");
        assert_eq!(did_you_mean("listne", keys), "; did you mean `listen`?");
        assert_eq!(did_you_mean("colour", keys), "");
    }
}
