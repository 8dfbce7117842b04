//! Log lines on standard error: text for people, JSON for programs.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins to log at `level` and above; what libraries say, only from `warn` on.
///
/// # Errors
/// Logging was set up before.
pub fn start(format: Format, level: tracing::Level) -> Result<(), TryInitError> {
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        // It logs returned messages with their bodies; the lane says what was returned and why.
        .with_target("lapin", LevelFilter::ERROR)
        // What a sender sends is no error of ours.
        .with_target("actix_http::h1::dispatcher", LevelFilter::OFF)
        .with_target("hookferry", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => {
            use std::io::IsTerminal as _;
            registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()
        }
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
}
