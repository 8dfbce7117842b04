//! Secrets: never printed, wiped from memory when dropped, never empty.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes that nobody may print.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Wraps `bytes`; `None` when they are empty, since an empty secret verifies an empty header.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        if bytes.is_empty() { None } else { Some(Self(Zeroizing::new(bytes))) }
    }

    /// The bytes, for the one who computes with them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret as text, where it is UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where a secret comes from: `env:NAME`, `file:PATH` or `literal:VALUE`. Resolved by `config`.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// Environment variable.
    Env(String),
    /// File; one trailing line break is not part of the secret.
    File(std::path::PathBuf),
    /// The value itself.
    Literal(Zeroizing<String>),
}

impl std::str::FromStr for SecretRef {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("literal", value)) => Ok(Self::Literal(Zeroizing::new(value.to_owned()))),
            _ => Err("a secret is written \"env:NAME\", \"file:PATH\" or \"literal:VALUE\""),
        }
    }
}

impl<'de> serde::Deserialize<'de> for SecretRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Zeroizing::new(String::deserialize(deserializer)?).parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Literal(_) => f.write_str("literal:[redacted]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new(b"hunter2".to_vec());
        let reference: SecretRef = "literal:hunter2".parse().unwrap();
        assert!(!format!("{secret:?} {reference:?}").contains("hunter2"));
    }

    #[test]
    fn an_empty_secret_does_not_exist() {
        assert!(Secret::new(Vec::new()).is_none());
    }

    #[test]
    fn a_bare_word_is_not_a_reference() {
        assert!("hunter2".parse::<SecretRef>().is_err());
        assert!("env:".parse::<SecretRef>().is_err());
    }
}
