//! Challenges that are answered with their MAC, for whoever asks: what may be one, so that no event is.

use std::borrow::Cow;

use serde::Deserialize;

/// `challenge`: all that is signed for a stranger. An event whose signed text could be one proves nothing, since its
/// signature may be our own answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Challenge {
    /// The only characters in it. JSON and forms of several fields need others.
    pub characters: String,
    /// Fewest of them.
    pub shortest: usize,
    /// Most of them.
    pub longest: usize,
}

impl Default for Challenge {
    fn default() -> Self {
        let letters = ('A'..='Z').chain('a'..='z').chain('0'..='9');
        Self { characters: letters.chain("-._~+/=".chars()).collect(), shortest: 1, longest: 256 }
    }
}

impl Challenge {
    /// Whether `text` is one.
    pub fn fits(&self, text: &[u8]) -> bool {
        self.holds(&[Cow::Borrowed(text)])
    }

    /// Whether the text in `pieces` is one.
    pub(super) fn holds(&self, pieces: &[Cow<[u8]>]) -> bool {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut bytes = pieces.iter().flat_map(|piece| piece.iter());
        (self.shortest..=self.longest).contains(&length) && bytes.all(|b| self.characters.as_bytes().contains(b))
    }
}
