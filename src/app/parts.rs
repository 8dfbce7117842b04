//! What a configuration says, made into what the parts hold: at the start, and again at each reload.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use anyhow::Context as _;

use crate::admin::{self, SourceView, TokenDigest};
use crate::config::{self, Config};
use crate::dispatch;
use crate::event::BackendName;
use crate::event::route::Routes;
use crate::ingress::{self, limit::Limits};
use crate::journal::Journal;
use crate::keys;
use crate::telemetry::Metrics;

/// Everything that can change while the process runs.
pub struct Parts {
    /// For the lanes.
    pub routes: Arc<Routes>,
    /// For the ingress.
    pub ingress: ingress::Setup,
    /// For the admin listener.
    pub admin: admin::Setup,
}

/// What runs already, and goes on.
pub struct Running<'a> {
    /// The journal.
    pub journal: &'a Journal,
    /// Backends that have a lane.
    pub backends: &'a [BackendName],
    /// Figures.
    pub metrics: &'a Metrics,
    /// What the ingress holds now, at a reload.
    pub ingress: Option<&'a ingress::Setup>,
}

/// Makes all parts, or none.
///
/// # Errors
/// A source cannot be used.
pub fn make(config: &Config, running: &Running) -> anyhow::Result<Parts> {
    let routes = Arc::new(config.routes.clone());
    let mut client = None;
    let sources = config.sources.iter().map(|source| receiver(source, config, running, &mut client));
    let sources = sources.collect::<anyhow::Result<_>>()?;
    let follow = |name: &BackendName| (name.clone(), running.journal.follow_cursor(&dispatch::cursor_name(name)));
    let confirmed = ingress::Confirmed::new(config.routes.clone(), running.backends.iter().map(follow).collect());
    let admin = admin::Setup {
        sources: config.sources.iter().map(|source| view(source, config)).collect(),
        token: config.admin.token.as_ref().map(TokenDigest::new),
        hosts: config.admin.hosts.clone(),
    };
    Ok(Parts { ingress: ingress::Setup::new(&config.server, sources, confirmed), routes, admin })
}

/// How long the journal must remember event ids: the longest window of any source.
pub fn dedup_window(config: &Config) -> Duration {
    let longest = config.sources.iter().filter_map(|source| source.settings.dedup_window).max();
    config.dedup.window.max(longest.unwrap_or_default())
}

/// Limits of a source as they are used up now, where the rates stay what they are.
fn limits(source: &config::Source, running: &Running) -> Arc<Limits> {
    let (all, each) = (source.settings.rate_limit, source.settings.rate_limit_per_ip);
    let before = running.ingress.and_then(|setup| setup.named(&source.name)).map(|before| &before.limits);
    match before.filter(|before| before.are(all, each)) {
        Some(before) => before.clone(),
        None => Arc::new(Limits::new(all, each)),
    }
}

fn view(source: &config::Source, config: &Config) -> SourceView {
    let reachable = config.routes.reachable(source.name.as_str(), &source.provider.id);
    SourceView {
        name: source.name.to_string(),
        path: source.path.clone(),
        provider: source.settings.provider.clone(),
        verification: source.provider.rule.method().to_owned(),
        backends: reachable.iter().map(ToString::to_string).collect(),
    }
}

/// The keys of a source, and the task that fetches or keeps them where one is needed.
///
/// At a reload those that were fetched stay where the source would fetch the same: their server may be away.
fn ring(
    source: &config::Source,
    config: &Config,
    running: &Running,
    client: &mut Option<keys::Client>,
) -> anyhow::Result<keys::Ring> {
    let (name, provider) = (source.name.clone(), &source.provider);
    let store = keys::store(&config.journal.dir, &name);
    let mut secrets = source.secrets.clone();
    if provider.learns() {
        secrets.splice(0..0, store.read()?);
    }
    let own = source.keys_of(&secrets)?;
    if !provider.acts() && !provider.rule.fetches(&own) {
        return Ok(keys::Ring::fixed(name, provider.rule.clone(), own));
    }
    let before = running.ingress.and_then(|setup| setup.named(&source.name));
    let own = match before.filter(|before| provider.fetches_as(&before.provider)) {
        Some(before) => own.and_fetched_of(&before.keys.load()),
        None => own,
    };
    let client = match client {
        Some(client) => client.clone(),
        None => client.insert(keys::Client::new().context("no certificate authorities to fetch keys with")?).clone(),
    };
    let (mut ring, keeper) = keys::Ring::kept(name, provider.rule.clone(), own, secrets, client, store);
    ring.own(tokio::spawn(keeper.run(super::now_ms)));
    Ok(ring)
}

fn receiver(
    source: &config::Source,
    config: &Config,
    running: &Running,
    client: &mut Option<keys::Client>,
) -> anyhow::Result<ingress::Source> {
    let settings = &source.settings;
    let contract = &source.provider.contract;
    // The loader has checked the ranges.
    let status = |status: u16, otherwise| StatusCode::from_u16(status).unwrap_or(otherwise);
    Ok(ingress::Source {
        name: source.name.clone(),
        path: source.path.clone(),
        provider: source.provider.clone(),
        keys: ring(source, config, running, client).with_context(|| format!("source {}", source.name))?,
        networks: source.networks.clone(),
        limits: limits(source, running),
        max_body: settings.max_body.unwrap_or(config.server.max_body),
        dedup_window: settings.dedup_window.unwrap_or(config.dedup.window),
        schemas: source.schemas.clone(),
        ack: settings.ack,
        success_status: status(settings.success_status.unwrap_or(contract.success_status), StatusCode::OK),
        busy_status: status(settings.busy_status.unwrap_or(contract.busy_status), StatusCode::SERVICE_UNAVAILABLE),
        public_url: settings.public_url.clone(),
        headers: settings.headers.clone(),
        figures: ingress::Figures::new(running.metrics, source.name.as_str()),
    })
}
