//! What the program says of itself: log lines and figures. Nothing here knows what they are about.

pub mod log;
pub mod metrics;
mod process;
mod refusals;
mod scrape;
pub mod settings;
pub mod trace;

pub use metrics::Metrics;
pub use refusals::{Refusals, Refused};
pub use scrape::Scrape;
