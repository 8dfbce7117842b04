//! Takes up a changed configuration while requests are served: all of it, or nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::signal::unix::Signal;
use tokio::time::{Duration, Instant};

use super::certificates::Certificates;
use super::watch::{Contents, Watch};
use super::{demo, now_ms, parts, ranges, systemd};
use crate::admin::Admin;
use crate::config::{Config, Errors, Origin};
use crate::event::BackendName;
use crate::ingress::Ingress;
use crate::telemetry::Metrics;

/// How often certificates are looked at.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads the configuration again when it is told to, or a file has changed.
pub struct Reloads {
    pub(super) origin: Origin,
    pub(super) watch: Watch,
    /// What the listeners, the lanes and the journal were started with.
    pub(super) started: Arc<Config>,
    /// What is in force.
    pub(super) current: Arc<ArcSwap<Config>>,
    pub(super) ingress: Arc<Ingress>,
    pub(super) admin: Arc<Admin>,
    pub(super) certificates: Certificates,
}

impl Reloads {
    /// Reloads at every `hangup` and every change of a file, until it is dropped.
    pub async fn run(mut self, mut hangup: Signal) {
        let mut day = tokio::time::interval_at(Instant::now() + DAY, DAY);
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                () = self.watch.changed() => {}
                _ = day.tick() => {
                    self.certificates.tell(&self.admin.parts.metrics);
                    continue;
                }
            }
            self.reload().await;
        }
    }

    async fn reload(&mut self) {
        systemd::reloading();
        let result = self.attempt().await;
        let now_ms = now_ms();
        let metrics = &self.admin.parts.metrics;
        let state = self.admin.configuration.load();
        let next = match result {
            Ok(needs_restart) => {
                let next = state.next(now_ms, needs_restart);
                tracing::info!(generation = next.generation, "configuration reloaded");
                for key in &next.needs_restart {
                    tracing::warn!("{key} has changed, and takes effect at the next start only");
                }
                next
            }
            Err(error) => {
                let errors = match error.downcast_ref::<Errors>() {
                    Some(errors) => errors.mistakes().iter().map(ToString::to_string).collect(),
                    None => vec![format!("{error:#}")],
                };
                tracing::error!(
                    generation = state.generation,
                    "the configuration is not reloaded, what was in force stays: {}",
                    errors.join("; ")
                );
                state.kept(now_ms, errors)
            }
        };
        let successful = next.last_reload.as_ref().is_some_and(|reload| reload.successful);
        count(metrics, successful, now_ms);
        self.admin.configuration.store(Arc::new(next));
        systemd::ready();
    }

    /// Reads, makes all parts, and only then replaces any; the keys that need a restart.
    async fn attempt(&mut self) -> anyhow::Result<Vec<String>> {
        let (origin, started, current) = (self.origin.clone(), self.started.clone(), self.current.load_full());
        let read = tokio::task::spawn_blocking(move || {
            // Before the files are read: what changes in between is found as a change again.
            let seen = Contents::of(origin.files());
            let config = origin.load_again(&current).map_err(anyhow::Error::from).and_then(|mut config| {
                let needs_restart = needs_restart(&started, &config);
                // What is kept beside the journal, such as learnt secrets, stays where the journal is.
                config.journal.dir.clone_from(&started.journal.dir);
                if config.demo {
                    demo::add(&mut config).context("cannot make the secret of the demo source")?;
                }
                Ok((config, needs_restart))
            });
            (seen, config)
        });
        let (seen, config) = read.await.context("reading the configuration panicked")?;
        self.watch.follow(seen);
        let (mut config, needs_restart) = config?;
        if config.admin.token.is_none() && !self.started.admin.listen.is_local() {
            // The listener stays where others reach it until the next start, and so does its token.
            config.admin.token = self.current.load().admin.token.clone();
        }
        ranges::first(&config).await?;
        let backends: Vec<_> = self.started.backends.iter().map(|(name, _)| name.clone()).collect();
        let ingress = self.ingress.setup();
        let running = parts::Running {
            journal: &self.admin.journal,
            backends: &backends,
            metrics: &self.admin.parts.metrics,
            ingress: Some(&ingress),
        };
        let parts = parts::make(&config, &running)?;
        self.hold_backends(&config).await;
        self.admin.journal.widen_dedup(parts::dedup_window(&config));
        self.admin.dispatch.keep_aside(&self.admin.parts, config.sets_aside()).await;
        // A new source's events must find its routes.
        let sources: Vec<_> = config.sources.iter().map(|source| &source.name).collect();
        let routes = Arc::unwrap_or_clone(parts.routes).after(&self.admin.parts.routes.load(), &sources);
        self.admin.parts.routes.store(Arc::new(routes));
        self.ingress.replace(parts.ingress);
        self.admin.setup.store(Arc::new(parts.admin));
        self.certificates.replace(&config, &self.admin.parts.metrics);
        self.current.store(Arc::new(config));
        Ok(needs_restart)
    }

    /// A backend that is new gets its lane at the next start; its events wait for it from now on.
    async fn hold_backends(&self, config: &Config) {
        let configured: Vec<&BackendName> = config.backends.iter().map(|(name, _)| name).collect();
        self.admin.dispatch.hold(&self.admin.journal, &configured).await;
    }
}

/// The first figures of a process: its start counts as a reload that was applied, not as one.
pub fn begin(metrics: &Metrics, now_ms: u64) {
    for result in RESULTS {
        metrics.config_reloads.get_or_create(&vec![("result", result.to_owned())]).inc_by(0);
    }
    metrics.config_last_reload_successful.set(1);
    metrics.config_last_reload_timestamp_seconds.set((now_ms / 1000) as i64);
}

const RESULTS: [&str; 2] = ["success", "failure"];

fn count(metrics: &Metrics, successful: bool, now_ms: u64) {
    let result = RESULTS[usize::from(!successful)];
    metrics.config_reloads.get_or_create(&vec![("result", result.to_owned())]).inc();
    metrics.config_last_reload_successful.set(i64::from(successful));
    if successful {
        metrics.config_last_reload_timestamp_seconds.set((now_ms / 1000) as i64);
    }
}

/// Keys in which `new` differs from what a process that was started with `old` can take up.
fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    let mut key = |name: &str, differs: bool| {
        if differs {
            keys.push(name.to_owned());
        }
    };
    key("server.listen", old.server.listen != new.server.listen);
    key("server.socket_mode", old.server.socket_mode != new.server.socket_mode);
    key("server.workers", old.server.workers != new.server.workers);
    key("server.max_connections", old.server.max_connections != new.server.max_connections);
    key("server.body_timeout (for headers)", old.server.body_timeout != new.server.body_timeout);
    key("server.max_connections_per_ip", old.server.max_connections_per_ip != new.server.max_connections_per_ip);
    key("server.max_header", old.server.max_header != new.server.max_header);
    key("server.proxy_protocol", old.server.proxy_protocol != new.server.proxy_protocol);
    let proxies = old.server.trusted_proxies != new.server.trusted_proxies;
    key("server.trusted_proxies (for PROXY headers)", new.server.proxy_protocol && proxies);
    key("server.tls", old.tls.is_some() != new.tls.is_some());
    let acme = |config: &Config| config.server.tls.as_ref().and_then(|tls| tls.acme.clone());
    key("server.tls.acme", old.tls.is_some() && new.tls.is_some() && acme(old) != acme(new));
    key("admin.tls", old.admin.tls.is_some() != new.admin.tls.is_some());
    key("admin.listen", old.admin.listen != new.admin.listen);
    key("admin.socket_mode", old.admin.socket_mode != new.admin.socket_mode);
    key("journal.dir", old.journal.dir != new.journal.dir);
    key("journal.max_bytes", old.journal.max_bytes != new.journal.max_bytes);
    key("journal.retention", old.journal.retention != new.journal.retention);
    key("journal.segment_bytes", old.journal.segment_bytes != new.journal.segment_bytes);
    key("dedup.max_keys", old.dedup.max_keys != new.dedup.max_keys);
    key("telemetry", old.telemetry != new.telemetry);
    let names = old.backends.iter().chain(&new.backends).map(|(name, _)| name);
    for name in names.collect::<BTreeSet<_>>() {
        let settings = |config: &Config| config.backends.iter().find(|(of, _)| of == name).map(|(_, s)| s.clone());
        key(&format!("backends.{name}"), settings(old) != settings(new));
    }
    keys
}

#[cfg(test)]
mod tests;
