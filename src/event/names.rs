//! Names of sources and backends: short, safe in paths, metric labels and log lines.

use std::fmt;
use std::sync::Arc;

/// A name that is not 1 to 64 characters of `a-z`, `0-9`, `_` and `-`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("name `{0}` is not 1 to 64 characters of a-z, 0-9, `_` and `-`, beginning with a letter or a digit")]
pub struct BadName(pub String);

fn valid(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=64).contains(&text.len())
        && plain(text.as_bytes()[0])
        && text.bytes().all(|b| plain(b) || b == b'_' || b == b'-')
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $type {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                if valid(text) { Ok(Self(text.into())) } else { Err(BadName(text.to_owned())) }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Name of a `[sources.<name>]` section.
    SourceName
);
name!(
    /// Name of a `[backends.<name>]` section.
    BackendName
);
name!(
    /// Name of a cursor that the server keeps for a consumer.
    ConsumerName
);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, accepted: bool) {
        assert_eq!(text.parse::<SourceName>().is_ok(), accepted, "{text:?}");
    }

    #[test]
    fn a_name_is_safe_in_a_path_and_in_a_label() {
        check("github", true);
        check("stripe-eu_2", true);
        check("2nd", true);
        check("", false);
        check("GitHub", false);
        check("a/b", false);
        check("-x", false);
        check(&"x".repeat(65), false);
    }
}
