//! Which configuration is in force, and what became of the last attempt to replace it.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The configuration in force, as `GET /v1/status` shows it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Configuration {
    /// 1 after the start; one more with each reload that was applied.
    pub generation: u64,
    /// Since when it is in force, RFC 3339.
    pub since: String,
    /// Keys that stand differently in the files than in the process, which takes them up at its next start.
    pub needs_restart: Vec<String>,
    /// The last reload; `null` where there was none.
    pub last_reload: Option<Reload>,
}

/// One reload.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Reload {
    /// When, RFC 3339.
    pub at: String,
    /// Whether it was applied; otherwise what was in force before still is.
    pub successful: bool,
    /// What was wrong, a line each, with file and key.
    pub errors: Vec<String>,
}

impl Configuration {
    /// What a process starts with; `now_ms` is Unix time, milliseconds.
    pub fn first(now_ms: u64) -> Self {
        Self { generation: 1, since: rfc3339(now_ms), needs_restart: Vec::new(), last_reload: None }
    }

    /// After a reload that was applied.
    pub fn next(&self, now_ms: u64, needs_restart: Vec<String>) -> Self {
        let at = rfc3339(now_ms);
        let reload = Reload { at: at.clone(), successful: true, errors: Vec::new() };
        Self { generation: self.generation + 1, since: at, needs_restart, last_reload: Some(reload) }
    }

    /// After a reload that was refused.
    pub fn kept(&self, now_ms: u64, errors: Vec<String>) -> Self {
        let reload = Reload { at: rfc3339(now_ms), successful: false, errors };
        Self { last_reload: Some(reload), ..self.clone() }
    }
}

fn rfc3339(ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp((ms / 1000) as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}
