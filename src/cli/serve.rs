//! `hookferry serve`: runs the bridge until it is told to stop.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::Files;
use crate::app::Bridge;
use crate::config::{Config, DEMO};

/// Serves until SIGTERM or SIGINT; a second one exits at once. SIGHUP reloads the configuration.
///
/// # Errors
/// The configuration is wrong, or a part cannot start.
pub async fn run(files: &Files) -> anyhow::Result<ExitCode> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    let (bridge, reloads) = Bridge::start(files.origin()).await?;
    super::print(&banner(&bridge.config()))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = reloads.run(hangup) => {}
    }
    tracing::info!("stopping; a second signal exits at once");
    tokio::select! {
        () = bridge.stop() => Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

/// Where to post, and what to try first.
fn banner(config: &Config) -> String {
    let (ingress, admin) = (config.server.listen, config.admin.listen);
    let mut text = format!("hookferry {} takes webhooks on http://{ingress}\n", env!("CARGO_PKG_VERSION"));
    for source in &config.sources {
        text.push_str(&format!("  {:<16} POST http://{ingress}{}\n", source.name.as_str(), source.path));
    }
    text.push_str(&format!("  {:<16} http://{admin} (/v1/events, /metrics, /readyz)\n", "admin"));
    text.push_str(&format!("  {:<16} {}\n", "journal", config.journal.dir.display()));
    if config.demo {
        text.push_str(&format!(
            "\nNo configuration file: events stay in the journal for their readers. In a second terminal:\n  \
             hookferry tail          # watch events come\n  \
             hookferry send {DEMO}     # send a signed one\n"
        ));
    }
    text
}
