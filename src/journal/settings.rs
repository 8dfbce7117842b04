//! `[journal]` and `[dedup]`: how accepted events are kept on disk, and how long their ids are remembered.

use std::path::PathBuf;
use std::time::Duration;

use crate::event::{schema, units};

/// Smallest number of segments that the quota is cut into: with fewer, retention frees all or nothing.
pub const LEAST_SEGMENTS: u64 = 4;

/// `[journal]`: how accepted events are kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Journal")]
pub struct Settings {
    /// Directory of the segments; created if missing, locked while in use. Relative to the working directory.
    pub dir: PathBuf,
    /// Quota of the directory, in bytes; when undelivered events fill it, new ones are refused.
    #[serde(deserialize_with = "units::size")]
    #[schemars(with = "schema::Size")]
    pub max_bytes: u64,
    /// How long delivered events stay readable, or until the quota needs the room.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "schema::Duration")]
    pub retention: Duration,
    /// Size at which a segment is sealed, in bytes; see [`Settings::segment_in_force`].
    #[serde(deserialize_with = "units::size")]
    #[schemars(with = "schema::Size")]
    pub segment_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dir: "data".into(),
            max_bytes: 10 << 30,
            retention: Duration::from_secs(24 * 3600),
            segment_bytes: 64 << 20,
        }
    }
}

impl Settings {
    /// Size of a segment that is used, in bytes: at most a quarter of the quota, whatever `segment_bytes` asks for.
    pub fn segment_in_force(&self) -> u64 {
        self.segment_bytes.min(self.max_bytes / LEAST_SEGMENTS)
    }
}

/// `[dedup]`: how long a redelivery is recognised.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dedup {
    /// Redeliveries of one event id within it are acknowledged, not published again. Zero: no dedup.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "schema::Duration")]
    pub window: Duration,
    /// Most ids remembered at once, about 14 bytes of memory each; past it the oldest are forgotten early.
    pub max_keys: u64,
}

impl Default for Dedup {
    fn default() -> Self {
        Self { window: Duration::from_secs(96 * 3600), max_keys: 20_000_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_a_quarter_of_the_quota_at_most() {
        let in_force = |max_bytes| Settings { max_bytes, ..Settings::default() }.segment_in_force();
        assert_eq!([10 << 30, 100 << 20].map(in_force), [64 << 20, 25 << 20]);
    }
}
