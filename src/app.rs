//! Puts the parts together, starts them in order, and stops them in order. Alone in knowing everybody.
//!
//! Start: listeners are taken first (a port in use must not cost a recovery), then the journal, the lanes, the
//! admin listener, the ingress. Stop: the ingress refuses, what is in flight is answered, the lanes drain, the
//! journal is closed. Nothing acknowledged depends on a stop being orderly.

mod certificates;
mod demo;
mod limits;
mod parts;
mod ranges;
mod reload;
mod systemd;
mod watch;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::dev::ServerHandle;
use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::{self, Admin, Configuration};
use crate::backend;
use crate::config::{Config, Origin};
use crate::dispatch::{self, DeadLetters, Dispatch};
use crate::ingress::{self, Ingress};
use crate::journal::{self, Journal};
use crate::listener::{self, Address, Listener, Mode};
use crate::telemetry::{Metrics, Refusals, trace};
use certificates::Certificates;
use parts::Running;
use watch::{Contents, Watch};

pub use demo::secret as demo_secret;
pub use reload::Reloads;

/// Share of the grace of a stop in which lanes may publish what still waits.
const DRAIN_SHARE: u32 = 2;

/// Longest time that a stop spends on sending the last traces.
const LAST_TRACES: Duration = Duration::from_secs(2);

/// A running bridge.
pub struct Bridge {
    /// In force; a reload replaces it.
    config: Arc<ArcSwap<Config>>,
    ingress: Arc<Ingress>,
    admin: Arc<Admin>,
    /// Where the admin listener is.
    listens: Address,
    servers: Vec<(ServerHandle, JoinHandle<std::io::Result<()>>)>,
    /// Files of Unix sockets; they go with the bridge.
    _files: Vec<listener::File>,
    /// Follows what providers publish.
    _ranges: AbortOnDropHandle<()>,
    /// Orders certificates.
    _orders: Option<AbortOnDropHandle<()>>,
}

/// The time: Unix time, milliseconds.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Bridge {
    /// Starts everything that the configuration names; when this returns, requests are taken. Whoever wants changes of
    /// the configuration to be taken up runs the [`Reloads`].
    ///
    /// # Errors
    /// The configuration is wrong; a listener, the journal or a source cannot be used.
    pub async fn start(origin: Origin) -> anyhow::Result<(Self, Reloads)> {
        // Before it is read: what changes meanwhile is taken up later.
        let seen = Contents::of(origin.files());
        let mut config = origin.load()?;
        let connections = limits::connections(config.server.max_connections);
        let (mut passed, mut files) = (systemd::Passed::from_env(), Vec::new());
        let mut listen = |address: &Address, mode: Mode| {
            let taken = match address {
                Address::Systemd(name) => passed.take(name.as_deref()),
                address => Listener::bind(address, mode).map_err(anyhow::Error::from).map(|(listener, file)| {
                    files.extend(file);
                    listener
                }),
            };
            taken.with_context(|| format!("cannot listen on {address}"))
        };
        let public = listen(&config.server.listen, config.server.socket_mode)?;
        let private = listen(&config.admin.listen, config.admin.socket_mode)?;
        for name in passed.left() {
            tracing::warn!("systemd passes the socket {name}, which no `listen` names");
        }
        let listens = private.address().context("cannot tell where the admin listener is")?;
        if config.demo {
            demo::add(&mut config).context("cannot make the secret of the demo source")?;
        }
        trace::start(&config.telemetry).map_err(anyhow::Error::msg)?;
        let metrics = Metrics::default();
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        metrics.build_info.get_or_create(&version).set(1);

        let journal = open_journal(&config, &metrics).await?;
        ranges::first(&config).await?;
        let running: Vec<_> = config.backends.iter().map(|(name, _)| name.clone()).collect();
        let setup =
            parts::make(&config, &Running { journal: &journal, backends: &running, metrics: &metrics, ingress: None })?;
        let options = dispatch::Options {
            dead: DeadLetters::new(&config.journal.dir, &metrics.dead_letters),
            journal: journal.clone(),
            routes: Arc::new(ArcSwap::new(setup.routes)),
            metrics: metrics.clone(),
        };
        let backends = config.backends.iter().map(|(name, settings)| {
            let context = backend::Context { name: name.clone(), journal: journal.id() };
            (name.clone(), settings.build(&context))
        });
        let dispatch = Dispatch::start(&options, backends.collect()).await;
        dispatch.keep_aside(&options, config.sets_aside()).await;
        let admin = Arc::new(Admin {
            journal: journal.clone(),
            dispatch,
            parts: options,
            setup: ArcSwap::from_pointee(setup.admin),
            refusals: Refusals::default(),
            history: admin::History::default(),
            session: admin::Session::new().context("no random bytes")?,
            is_local: listens.is_local(),
            is_tls: config.admin.tls.is_some(),
            configuration: ArcSwap::from_pointee(Configuration::first(now_ms())),
            stopping: CancellationToken::new(),
            started_ms: now_ms(),
        });
        let ingress = Arc::new(Ingress::new(setup.ingress, journal, &metrics, admin.refusals.clone()));
        tokio::spawn(sample(admin.clone()));
        let mut servers = Vec::new();
        let certificates = Certificates::new(&config, &metrics);
        let (tls, orders) = (certificates.clone(), certificates.order(&metrics));
        for server in [
            admin::serve(private, tls.admin, admin.clone()),
            ingress::serve(&config.server, connections, public, tls.server, ingress.clone()),
        ] {
            let server = server.context("cannot serve")?;
            servers.push((server.handle(), tokio::spawn(server)));
        }
        reload::begin(&metrics, now_ms());
        let started = Arc::new(config);
        let current = Arc::new(ArcSwap::new(started.clone()));
        let ranges = AbortOnDropHandle::new(tokio::spawn(ranges::follow(current.clone())));
        let reloads = Reloads {
            origin,
            watch: Watch::new(seen),
            started,
            current: current.clone(),
            ingress: ingress.clone(),
            admin: admin.clone(),
            certificates,
        };
        systemd::ready();
        Ok((
            Self { config: current, ingress, admin, servers, listens, _files: files, _ranges: ranges, _orders: orders },
            reloads,
        ))
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Keeps systemd's watchdog quiet as long as the bridge answers. Never returns.
    pub async fn watchdog(&self) {
        systemd::watchdog(self.admin.journal.clone(), self.listens.clone()).await;
    }

    /// Stops within `[server] shutdown_grace`: nothing in flight is left unanswered, nothing acknowledged is lost.
    pub async fn stop(mut self) {
        systemd::stopping();
        let grace = self.config.load().server.shutdown_grace;
        let deadline = tokio::time::Instant::now() + grace;
        self.admin.stopping.cancel();
        if let Some((ingress, task)) = self.servers.pop() {
            self.ingress.stop();
            ingress.pause().await;
            if tokio::time::timeout_at(deadline, self.ingress.idle()).await.is_err() {
                tracing::warn!("some requests were not received in full within {}", humantime::format_duration(grace));
            }
            ingress.stop(false).await;
            joined(task).await;
        }
        let left = deadline.saturating_duration_since(tokio::time::Instant::now()) / DRAIN_SHARE;
        self.admin.dispatch.stop(left.max(Duration::from_millis(100))).await;
        if let Some((admin, task)) = self.servers.pop() {
            admin.stop(false).await;
            joined(task).await;
        }
        let tail = *self.admin.journal.tail().borrow();
        let backlogs: Vec<_> =
            self.admin.dispatch.lanes().iter().map(|lane| format!("{} {}", lane.name, lane.backlog(tail))).collect();
        let journal = self.admin.journal.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || journal.close()).await {
            tracing::error!("closing the journal panicked: {error}");
        }
        let left = deadline.saturating_duration_since(tokio::time::Instant::now()).min(LAST_TRACES);
        if let Err(error) = tokio::task::spawn_blocking(move || trace::stop(left)).await {
            tracing::error!("sending the last traces panicked: {error}");
        }
        tracing::info!(left = backlogs.join(", "), "stopped");
    }
}

/// Takes the console's samples until the process stops.
async fn sample(admin: Arc<Admin>) {
    let mut every = tokio::time::interval(Duration::from_millis(admin::SAMPLE_MS));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => admin.sample(),
            () = admin.stopping.cancelled() => return,
        }
    }
}

async fn joined(task: JoinHandle<std::io::Result<()>>) {
    match task.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("a listener ended with an error: {error}"),
        Err(error) => tracing::error!("a listener panicked: {error}"),
    }
}

async fn open_journal(config: &Config, metrics: &Metrics) -> anyhow::Result<Journal> {
    let options = journal::Options {
        settings: config.journal.clone(),
        dedup: journal::settings::Dedup { window: parts::dedup_window(config), ..config.dedup.clone() },
        clock: now_ms,
        metrics: metrics.clone(),
    };
    let opened = tokio::task::spawn_blocking(move || Journal::open(options)).await;
    Ok(opened.context("opening the journal panicked")??)
}

#[cfg(test)]
mod tests;
