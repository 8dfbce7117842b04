//! `hookferry serve`: runs the bridge until it is told to stop.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::Files;
use crate::app::Bridge;
use crate::config::{Config, DEMO};
use crate::listener::Address;

/// Serves until SIGTERM or SIGINT; a second one exits at once, and so does one during the start. SIGHUP reloads the
/// configuration.
///
/// # Errors
/// The configuration is wrong, or a part cannot start.
pub async fn run(files: &Files) -> anyhow::Result<ExitCode> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let (bridge, reloads) = tokio::select! {
        started = Bridge::start(files.origin()) => started?,
        () = stop => {
            // Nothing is acknowledged yet, and the journal is as after a kill.
            tracing::info!("stopped during the start");
            return Ok(ExitCode::SUCCESS);
        }
    };
    super::print(&banner(&bridge.config()))?;
    warn_of_experiments(&bridge.config());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = reloads.run(hangup) => {}
        () = bridge.watchdog() => {}
    }
    tracing::info!("stopping; a second signal exits at once");
    tokio::select! {
        () = bridge.stop() => Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

/// Tells which sources rest on contracts that nobody has seen at work.
fn warn_of_experiments(config: &Config) {
    for source in config.sources.iter().filter(|source| source.provider.contract.experimental) {
        let (name, id) = (source.name.as_str(), &source.provider.id);
        tracing::warn!("source {name}: `{id}` is experimental: try it with real deliveries before you rely on it");
    }
}

/// Where to post, and what to try first.
fn banner(config: &Config) -> String {
    let place = |listen: &Address, tls: bool| match listen {
        Address::Tcp(address) if tls => format!("https://{address}"),
        Address::Tcp(address) => format!("http://{address}"),
        other => format!("{other} "),
    };
    let ingress = place(&config.server.listen, config.tls.is_some());
    let admin = place(&config.admin.listen, config.admin.tls.is_some());
    let mut text = format!("hookferry {} takes webhooks on {}\n", env!("CARGO_PKG_VERSION"), ingress.trim_end());
    for source in &config.sources {
        text.push_str(&format!("  {:<16} POST {ingress}{}\n", source.name.as_str(), source.path));
    }
    text.push_str(&format!("  {:<16} {} (/v1/events, /metrics, /readyz)\n", "admin", admin.trim_end()));
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
