//! How a provider writes its secrets.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, de};
use sha1::Digest as _;

use super::KeyError;
use crate::event::Secret;

/// Secrets are pasted by people: the padding may be lost.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// `secret`: `"utf8"`, `"ascii"`, `"base64"`, `"hex"`, `"sha1"`, `"base64-after:PREFIX"` or `"suffix:TEXT"`.
#[derive(Debug, Clone, PartialEq, Eq, Default, schemars::JsonSchema)]
#[schemars(try_from = "String", extend("pattern" = "^(utf8|ascii|base64|hex|sha1|(base64-after|suffix):[\\s\\S]+)$"))]
pub enum SecretForm {
    /// The text itself is the key.
    #[default]
    Utf8,
    /// The key in base64, behind a prefix that may be left out (empty: none).
    Base64 { after: String },
    /// The text itself, of ASCII characters only: for senders that normalise Unicode before they sign.
    Ascii,
    /// The key in hex.
    Hex,
    /// The SHA-1 digest of the text is the key.
    Sha1,
    /// The text, and this behind it.
    Suffix(String),
}

impl SecretForm {
    /// The keys of `secrets`, in their order.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], with the place of the secret, from 1.
    pub(super) fn decode(&self, secrets: &[Secret]) -> Result<Vec<Secret>, KeyError> {
        let one = |(n, secret): (usize, &Secret)| {
            let malformed = || KeyError::Malformed { number: n + 1, expected: self.expected() };
            let bytes = match self {
                Self::Utf8 => Some(secret.expose().to_vec()),
                Self::Ascii => Some(secret.expose().to_vec()).filter(|text| text.is_ascii()),
                Self::Sha1 => Some(sha1::Sha1::digest(secret.expose()).to_vec()),
                Self::Suffix(text) => Some([secret.expose(), text.as_bytes()].concat()),
                Self::Hex => hex::decode(secret.expose()).ok(),
                Self::Base64 { after } => {
                    let text = secret.expose();
                    LENIENT.decode(text.strip_prefix(after.as_bytes()).unwrap_or(text)).ok()
                }
            };
            bytes.and_then(Secret::new).ok_or_else(malformed)
        };
        secrets.iter().enumerate().map(one).collect()
    }

    fn expected(&self) -> String {
        match self {
            Self::Utf8 | Self::Sha1 | Self::Suffix(_) => "text".to_owned(),
            Self::Ascii => "text of ASCII characters".to_owned(),
            Self::Hex => "hex".to_owned(),
            Self::Base64 { after } if after.is_empty() => "base64".to_owned(),
            Self::Base64 { after } => format!("base64, with or without `{after}` before it"),
        }
    }
}

impl std::str::FromStr for SecretForm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "utf8" => Ok(Self::Utf8),
            None if text == "ascii" => Ok(Self::Ascii),
            None if text == "sha1" => Ok(Self::Sha1),
            None if text == "hex" => Ok(Self::Hex),
            None if text == "base64" => Ok(Self::Base64 { after: String::new() }),
            Some(("base64-after", prefix)) if !prefix.is_empty() => Ok(Self::Base64 { after: prefix.to_owned() }),
            Some(("suffix", text)) if !text.is_empty() => Ok(Self::Suffix(text.to_owned())),
            _ => Err(
                "`secret` is \"utf8\", \"ascii\", \"base64\", \"hex\", \"sha1\", \"base64-after:PREFIX\" or \"suffix:TEXT\"",
            ),
        }
    }
}

impl<'de> Deserialize<'de> for SecretForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(form: &str, secret: &str, expected: Option<&[u8]>) {
        let secret = Secret::new(secret.into()).unwrap();
        let keys = form.parse::<SecretForm>().unwrap().decode(&[secret]).ok();
        assert_eq!(keys.as_ref().map(|keys| keys[0].expose()), expected);
    }

    #[test]
    fn a_secret_becomes_the_key_that_its_provider_means() {
        check("utf8", "whsec_AAEC", Some(b"whsec_AAEC"));
        check("base64", "AAEC", Some(&[0, 1, 2]));
        check("base64", "AAE=", Some(&[0, 1]));
        check("base64", "AAE", Some(&[0, 1]));
        check("hex", "00fF", Some(&[0, 255]));
        check("base64-after:whsec_", "whsec_AAEC", Some(&[0, 1, 2]));
        check("base64-after:whsec_", "AAEC", Some(&[0, 1, 2]));
        check("suffix:&", "abc", Some(b"abc&"));
        check("ascii", "abc", Some(b"abc"));
        check("sha1", "abc", Some(&hex::decode("a9993e364706816aba3e25717850c26c9cd0d89d").unwrap()));
    }

    #[test]
    fn a_secret_that_is_not_written_so_stops_the_start() {
        check("hex", "xyz", None);
        check("ascii", "é", None);
        check("base64", "not base64!", None);
        check("base64-after:whsec_", "whsec_", None);
    }

    #[test]
    fn the_error_tells_which_secret_and_never_what_it_is() {
        let secrets = ["AAEC", "hunter2!"].map(|s| Secret::new(s.into()).unwrap());
        let error = SecretForm::Base64 { after: "whsec_".into() }.decode(&secrets).unwrap_err().to_string();
        assert_eq!(error, "secret 2 is not base64, with or without `whsec_` before it");
    }

    #[test]
    fn an_unknown_form_is_refused() {
        for text in ["", "utf-8", "base64-after:", "base64:whsec_"] {
            assert!(text.parse::<SecretForm>().is_err(), "{text}");
        }
    }
}
