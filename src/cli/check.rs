//! `hookferry check` and `hookferry config default`: what a configuration will do, in words.
//!
//! Functions that give text; printing and exit status are the caller's.

use std::fmt::Write as _;
use std::sync::Arc;

use bytesize::ByteSize;
use humantime::format_duration;

use crate::backend::{Backend, Context};
use crate::catalogue::Provider;
use crate::config::{Config, DEFAULT, Source};
use crate::event::BackendName;

/// The annotated default configuration.
pub fn default_config() -> &'static str {
    DEFAULT
}

/// What each listener, the journal, each source and each backend will do; no secret is in it.
pub fn describe(config: &Config) -> String {
    let mut out = String::new();
    let _ = write!(out, "ingress on {}, ", config.server.listen);
    let token = if config.admin.token.is_some() { "with a token" } else { "without a token" };
    let _ = writeln!(out, "admin on {}, {token}", config.admin.listen);
    journal(config, &mut out);
    for (file, provider) in config.catalogue.own() {
        let _ = writeln!(out, "provider {} in {}: {}", provider.id, file.display(), examples(provider));
    }
    for source in &config.sources {
        describe_source(config, source, &mut out);
    }
    if config.sources.is_empty() {
        out.push_str("no source: no webhook is accepted\n");
    }
    for (name, settings) in &config.backends {
        let _ = writeln!(out, "backend {name}: {}", settings.describe());
    }
    if config.backends.is_empty() {
        out.push_str("no backend: events stay in the journal for its readers\n");
    }
    out
}

/// How many requests show that a contract does what it says; one that does not never comes here.
fn examples(provider: &Provider) -> String {
    match provider.contract.example.len() {
        0 => "no [[example]], so nothing shows that it is right".to_owned(),
        1 => "its example holds".to_owned(),
        n => format!("its {n} examples hold"),
    }
}

fn journal(config: &Config, out: &mut String) {
    let journal = &config.journal;
    let segment = journal.segment_in_force();
    let _ = writeln!(
        out,
        "journal in {}: at most {} in segments of {}, delivered events kept for {}",
        journal.dir.display(),
        ByteSize(journal.max_bytes),
        ByteSize(segment),
        format_duration(journal.retention),
    );
    if segment < journal.segment_bytes {
        let asked = ByteSize(journal.segment_bytes);
        let _ = writeln!(out, "  journal.segment_bytes asks for {asked}: a quarter of journal.max_bytes is in force");
    }
    match config.dedup.window {
        window if window.is_zero() => out.push_str("redeliveries are not recognised\n"),
        window => {
            let _ = writeln!(out, "redeliveries are recognised for {}", format_duration(window));
        }
    }
}

fn describe_source(config: &Config, source: &Source, out: &mut String) {
    let provider = &source.provider;
    let _ = writeln!(
        out,
        "source {}: {} {}, {} ({})",
        source.name,
        provider.contract.methods.join(" and "),
        source.path,
        provider.contract.title,
        provider.rule.method(),
    );
    let secrets = match source.secrets.len() {
        0 if config.demo && source.name.as_str() == crate::config::DEMO => {
            format!("secret in {}, made at first start", config.demo_secret_file().display())
        }
        0 if provider.learns() => "no secret yet: the sender shows it in a handshake".to_owned(),
        0 if provider.rule.supplies_keys() => "public keys as the sender publishes them, or as pinned".to_owned(),
        0 => "authenticity is not checked".to_owned(),
        1 if provider.rule.wants_public_keys() => "1 public key".to_owned(),
        n if provider.rule.wants_public_keys() => format!("{n} public keys"),
        1 => "1 secret".to_owned(),
        n => format!("{n} secrets"),
    };
    if provider.contract.experimental {
        let id = &provider.id;
        let _ = writeln!(out, "  warning: `{id}` is experimental: try it with real deliveries before you rely on it");
    }
    let tolerance = provider.rule.tolerance_s().map(|s| format!(", signed at most {s} s ago")).unwrap_or_default();
    let _ = writeln!(out, "  {secrets}{tolerance}");
    if provider.contract.inline && !provider.contract.example.is_empty() {
        let _ = writeln!(out, "  {}", examples(provider));
    }
    let destinations = config.routes.reachable(source.name.as_str(), &provider.id);
    let names: Vec<&str> = destinations.iter().map(BackendName::as_str).collect();
    match (names.is_empty(), config.backends.is_empty()) {
        (true, true) => {}
        (true, false) => out.push_str("  to no backend: its events stay in the journal\n"),
        (false, _) => {
            let some = if config.routes.depends_on_type(source.name.as_str()) { " (by routes)" } else { "" };
            let _ = writeln!(out, "  to {}{some}", names.join(", "));
        }
    }
}

/// The backends of a configuration, to reach them; they publish nothing.
pub fn backends(config: &Config) -> Vec<(BackendName, Arc<dyn Backend>)> {
    let build = |(name, settings): &(BackendName, crate::backend::Settings)| {
        let context = Context { name: name.clone(), journal: "check".to_owned() };
        (name.clone(), settings.build(&context))
    };
    config.backends.iter().map(build).collect()
}

/// Reaches every backend, all at once; a line for each thing that would lose data there.
///
/// The flag says whether all of them were reached and hold what they must.
pub async fn lint(backends: Vec<(BackendName, Arc<dyn Backend>)>) -> (String, bool) {
    let mut tasks = Vec::new();
    for (name, backend) in backends {
        tasks.push((name, tokio::spawn(async move { backend.lint().await })));
    }
    let (mut out, mut good) = (String::new(), true);
    for (name, task) in tasks {
        match task.await {
            Ok(Ok(findings)) if findings.is_empty() => {
                let _ = writeln!(out, "backend {name}: reached, nothing there would lose data");
            }
            Ok(Ok(findings)) => {
                for finding in findings {
                    let _ = writeln!(out, "backend {name}: warning: {finding}");
                }
            }
            Ok(Err(failure)) => {
                good = false;
                let _ = writeln!(out, "backend {name}: error: {failure}");
            }
            Err(error) => {
                good = false;
                let _ = writeln!(out, "backend {name}: error: {error}");
            }
        }
    }
    (out, good)
}
