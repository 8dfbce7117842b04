//! References to secrets into secrets.

use std::path::Path;

use config::{Value, ValueKind};

use super::layers::{Vars, walk};
use crate::event::{Secret, SecretRef};

/// Reads what a reference names; a relative file is relative to the working directory.
///
/// # Errors
/// For a person: it is missing, empty or unreadable; never its value.
pub fn resolve(reference: &SecretRef, vars: &Vars) -> Result<Secret, String> {
    let (bytes, name) = match reference {
        SecretRef::Env(name) => match vars.get(name) {
            Some(value) => (value.clone().into_bytes(), format!("environment variable `{name}`")),
            None => return Err(format!("environment variable `{name}` is not set")),
        },
        SecretRef::File(path) => (read(path)?, format!("file {}", path.display())),
        SecretRef::Literal(value) => (value.as_bytes().to_vec(), "the secret".to_owned()),
    };
    Secret::new(bytes).ok_or(format!("{name} is empty"))
}

/// Content of a secret's file, without one line break at its end.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Ok(bytes)
}

/// Puts what they name in the place of all strings `env:NAME` and `file:PATH` inside `value`.
/// Where that fails the string stays, and its path comes back with the reason.
pub fn resolve_strings(value: &mut Value, vars: &Vars) -> Vec<(Vec<String>, String)> {
    let mut wrong = Vec::new();
    walk(value, &mut Vec::new(), &mut |path, kind| {
        let ValueKind::String(text) = kind else { return };
        if !text.starts_with("env:") && !text.starts_with("file:") {
            return;
        }
        let reference = text.parse::<SecretRef>().map_err(str::to_owned);
        match reference.and_then(|reference| resolve(&reference, vars)) {
            Ok(secret) => match secret.expose_str() {
                Some(plain) => *text = plain.to_owned(),
                None => wrong.push((path.to_vec(), "is not UTF-8 text".to_owned())),
            },
            Err(what) => wrong.push((path.to_vec(), what)),
        }
    });
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> Vars {
        [("FULL", "s3cret"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn resolved(reference: &str) -> Result<String, String> {
        resolve(&reference.parse().unwrap(), &vars()).map(|secret| secret.expose_str().unwrap().to_owned())
    }

    #[test]
    fn one_line_break_at_the_end_of_a_file_is_not_part_of_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        for (content, secret) in [("a b", "a b"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
            let path = dir.path().join("secret");
            std::fs::write(&path, content).unwrap();
            assert_eq!(resolved(&format!("file:{}", path.display())).as_deref(), Ok(secret), "{content:?}");
        }
    }

    #[test]
    fn a_secret_that_is_missing_empty_or_unreadable_is_an_error_that_names_it() {
        assert_eq!(resolved("env:FULL").as_deref(), Ok("s3cret"));
        assert_eq!(resolved("env:GONE").unwrap_err(), "environment variable `GONE` is not set");
        assert_eq!(resolved("env:EMPTY").unwrap_err(), "environment variable `EMPTY` is empty");
        assert_eq!(resolved("literal:").unwrap_err(), "the secret is empty");
        assert!(resolved("file:/no/such/file").unwrap_err().starts_with("cannot read /no/such/file: "));
    }
}
