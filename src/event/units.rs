//! Sizes (`"1MiB"`) and durations (`"10s"`) as the configuration writes them.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroizing;

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
/// The first item that `T` refuses, as `T` says it.
pub fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    struct List<T>(PhantomData<T>);

    impl<'de, T> de::Visitor<'de> for List<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of texts, or one text with commas")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(|item| item.parse().map_err(E::custom)).collect()
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()?.map(Zeroizing::<String>::new) {
                list.push(item.parse().map_err(de::Error::custom)?);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_any(List(PhantomData))
}

/// As [`list`], where none at all is more likely a variable that was not set than what is meant.
///
/// # Errors
/// As [`list`], and for an empty one.
pub fn filled_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    let list = list(deserializer)?;
    if list.is_empty() { Err(de::Error::custom("is empty; left out, there is no such list")) } else { Ok(list) }
}

/// As [`list`], where the key may be left out.
///
/// # Errors
/// As [`list`].
pub fn optional_list<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    list(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    #[derive(Debug, serde::Deserialize)]
    struct Settings {
        #[serde(default, deserialize_with = "super::filled_list")]
        allow_ips: Vec<String>,
    }

    /// A variable that was not set must not open a source that it was to close.
    #[test]
    fn a_list_of_networks_may_be_left_out_but_not_empty() {
        let read = |toml: &str| toml::from_str::<Settings>(toml).map(|settings| settings.allow_ips);
        assert_eq!(read("").unwrap(), [""; 0]);
        assert_eq!(read("allow_ips = 'a, b'").unwrap(), ["a", "b"]);
        for empty in ["''", "' , '", "[]"] {
            let error = read(&format!("allow_ips = {empty}")).unwrap_err().to_string();
            assert!(error.contains("is empty"), "{error}");
        }
    }
}
