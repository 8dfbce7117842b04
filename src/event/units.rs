//! Sizes (`"1MiB"`) and durations (`"10s"`) as the configuration writes them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A duration such as `"300ms"`, `"10s"`, `"24h"`.
///
/// # Errors
/// Anything that is not a number with a unit.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|_| de::Error::custom(format!("`{text}` is not a duration such as \"300ms\", \"10s\" or \"24h\"")))
}

/// As [`duration`], where the key may be left out.
///
/// # Errors
/// As [`duration`].
pub fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// A size such as `"1MiB"` or `"512KiB"`, in bytes.
///
/// # Errors
/// Anything that is not a number of bytes, with or without a unit.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| de::Error::custom(format!("`{text}` is not a size such as \"512KiB\" or \"1MiB\"")))
}

/// As [`size`], where the key may be left out.
///
/// # Errors
/// As [`size`].
pub fn optional_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    size(deserializer).map(Some)
}

/// A list; one string stands for a list of what its commas separate, so that the environment can set it.
///
/// # Errors
/// An item that `T` refuses, with its text.
pub fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    let items = match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => {
            text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
        }
        OneOrMany::Many(items) => items,
    };
    items.iter().map(|item| item.parse().map_err(de::Error::custom)).collect()
}
