//! The second listener: health, figures, and what was accepted, for operators and for consumers without a queue.
//!
//! Everything but `/livez` and `/readyz` asks for the bearer token, where one is configured.

mod backends;
mod console;
mod consumers;
mod dead;
mod deliveries;
mod events;
mod guard;
mod health;
mod history;
mod log_level;
mod openapi;
mod page;
mod problem;
mod refusals;
mod reloads;
mod replay;
mod routes;
mod search;
pub mod settings;
mod stream;
mod time;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{AppConfig, Server};
use actix_web::middleware::from_fn;
use actix_web::{App, web};
use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

pub use reloads::{Configuration, Reload};

use crate::dispatch::{self, Dispatch};
use crate::journal::Journal;
use crate::listener::{self, Listener, Proxies, Tls};
use crate::telemetry::Refusals;
pub use guard::{Session, TokenDigest};
pub use history::{EVERY_MS as SAMPLE_MS, History};

/// What the listener shows.
pub struct Admin {
    /// Accepted events.
    pub journal: Journal,
    /// The lanes.
    pub dispatch: Dispatch,
    /// What the lanes were started with.
    pub parts: dispatch::Options,
    /// What a reload replaces.
    pub setup: ArcSwap<Setup>,
    /// What the ingress has refused.
    pub refusals: Refusals,
    /// Figures over time.
    pub history: History,
    /// Sessions of the console.
    pub session: Session,
    /// Whether only this host reaches the listener.
    pub is_local: bool,
    /// Whether it speaks TLS: a session's cookie then goes nowhere else.
    pub is_tls: bool,
    /// Which configuration is in force.
    pub configuration: ArcSwap<Configuration>,
    /// Cancelled when the process begins to stop.
    pub stopping: CancellationToken,
    /// When the process started, Unix time, milliseconds.
    pub started_ms: u64,
}

/// What the listener knows of the configuration in force.
pub struct Setup {
    /// The sources, as `GET /v1/sources` lists them.
    pub sources: Vec<SourceView>,
    /// Digest of the bearer token.
    pub token: Option<TokenDigest>,
    /// Names of this listener beside those of loopback; none: any, where it listens elsewhere.
    pub hosts: Vec<String>,
}

/// One source, without its secrets.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// Its endpoint.
    pub path: String,
    /// Its provider.
    pub provider: String,
    /// How it proves authenticity.
    pub verification: String,
    /// Backends that its events can reach.
    pub backends: Vec<String>,
}

/// Serves `admin` on `listener` until the returned handle is stopped.
///
/// # Errors
/// The listener cannot be used.
pub fn serve(listener: Listener, tls: Option<Arc<Tls>>, admin: Arc<Admin>) -> io::Result<Server> {
    let data = web::Data::from(admin);
    // A few operators and consumers, who may be slow: a long poll and a stream of events are one connection each.
    let options = listener::Options {
        workers: 1,
        max_connections: 1024,
        max_connections_per_ip: 0,
        max_header: 32 << 10,
        deadline: Duration::from_secs(10),
        is_for_bodies: true,
        shutdown_grace: Duration::from_secs(5),
        proxy_protocol: false,
        proxies: Proxies::default(),
        tls,
    };
    let application = move || {
        let routes = App::new().app_data(data.clone()).wrap(from_fn(guard::guard)).configure(routes::configure);
        actix_service::map_config(routes, |()| AppConfig::default())
    };
    listener::serve(options, listener, |_| None, application)
}
