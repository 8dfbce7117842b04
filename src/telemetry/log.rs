//! Log lines on standard error: text for people, JSON for programs.

use std::sync::{Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
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

/// Least level of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Somebody must act.
    Error,
    /// It went on, with less.
    Warn,
    /// A line an event at most.
    Info,
    /// Steps.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// As it is written.
    pub fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// What is in force, and the way to change it.
struct Control {
    level: Mutex<Level>,
    filter: reload::Handle<Targets, Registry>,
}

static CONTROL: OnceLock<Control> = OnceLock::new();

/// What libraries say, only from `warn` on.
fn targets(level: Level) -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN.min(level.filter()))
        // It logs returned messages with their bodies; the lane says what was returned and why.
        .with_target("lapin", LevelFilter::ERROR)
        // What a sender sends is no error of ours.
        .with_target("actix_http::h1::dispatcher", LevelFilter::OFF)
        .with_target("hookferry", level.filter())
}

/// Begins to log at `level` and above; what libraries say, only from `warn` on.
///
/// # Errors
/// Logging was set up before.
pub fn start(format: Format, level: Level) -> Result<(), TryInitError> {
    let (filter, handle) = reload::Layer::new(targets(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => {
            use std::io::IsTerminal as _;
            registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()?;
        }
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    // Only who has set up the lines gets here, so it is empty.
    let _ = CONTROL.set(Control { level: Mutex::new(level), filter: handle });
    Ok(())
}

/// The level in force; what was not set up says errors at most.
pub fn level() -> Level {
    CONTROL.get().map_or(Level::Error, |control| *control.level.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Logs at `level` and above from now on.
///
/// # Errors
/// Nothing is logged by this process.
pub fn set_level(level: Level) -> Result<(), String> {
    let control = CONTROL.get().ok_or("this process does not log")?;
    let mut current = control.level.lock().unwrap_or_else(PoisonError::into_inner);
    control.filter.reload(targets(level)).map_err(|error| format!("cannot change the log level: {error}"))?;
    *current = level;
    Ok(())
}
