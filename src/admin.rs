//! The second listener: health, figures, and what was accepted, for operators and for consumers without a queue.
//!
//! Everything but `/livez` and `/readyz` asks for the bearer token, where one is configured.

mod backends;
mod console;
mod consumers;
mod dead;
mod events;
mod guard;
mod health;
mod history;
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
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

<<<<<<< HEAD
use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, web};
=======
use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
>>>>>>> main
use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

pub use reloads::{Configuration, Reload};

use crate::dispatch::{self, Dispatch};
use crate::journal::Journal;
<<<<<<< HEAD
use crate::listener::{self, Tls};
use problem::Problem;
=======
use crate::telemetry::Refusals;
pub use guard::{Session, TokenDigest};
pub use history::{EVERY_MS as SAMPLE_MS, History};
>>>>>>> main

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
    /// The address that is listened on.
    pub bound: SocketAddr,
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

<<<<<<< HEAD
/// SHA-256 of a bearer token: comparing digests tells nothing of the token, not even its length.
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of `token`.
    pub fn new(token: &Secret) -> Self {
        Self(Sha256::digest(token.expose()).into())
    }

    fn is_of(&self, token: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(token).into();
        digest.ct_eq(&self.0).into()
    }
}

/// A few operators and consumers, who may be slow: a long poll and a stream of events are one connection each.
const OPTIONS: listener::Options = listener::Options {
    workers: 1,
    max_connections: 1024,
    max_connections_per_ip: 0,
    max_header: 32 << 10,
    deadline: Duration::from_secs(10),
    shutdown_grace: Duration::from_secs(5),
    proxy_protocol: false,
    proxies: Vec::new(),
    tls: None,
};

=======
>>>>>>> main
/// Serves `admin` on `listener` until the returned handle is stopped.
///
/// # Errors
/// The listener cannot be used.
pub fn serve(listener: TcpListener, tls: Option<Arc<Tls>>, admin: Arc<Admin>) -> io::Result<Server> {
    let data = web::Data::from(admin);
<<<<<<< HEAD
    let options = listener::Options { tls, ..OPTIONS };
    listener::serve(
        options,
        listener,
        |_| None,
        move || {
            App::new()
                .app_data(data.clone())
                .wrap(from_fn(authorize))
                .route("/livez", web::get().to(health::live))
                .route("/readyz", web::get().to(health::ready))
                .route("/metrics", web::get().to(health::metrics))
                .route("/v1/status", web::get().to(health::status))
                .route("/v1/sources", web::get().to(health::sources))
                .route("/v1/events", web::get().to(events::list))
                .route("/v1/events/stream", web::get().to(stream::stream))
                .route("/v1/events/{sequence}", web::get().to(events::show))
                .route("/v1/events/{sequence}/replay", web::post().to(replay::event))
                .route("/v1/consumers", web::get().to(consumers::list))
                .route("/v1/consumers/{name}/events", web::get().to(consumers::events))
                .route("/v1/consumers/{name}", web::put().to(consumers::put))
                .route("/v1/consumers/{name}", web::delete().to(consumers::delete))
                .route("/v1/backends", web::get().to(backends::list))
                .route("/v1/backends/{name}/pause", web::post().to(backends::pause))
                .route("/v1/backends/{name}/resume", web::post().to(backends::resume))
                .route("/v1/dead-letters", web::get().to(dead::list))
                .route("/v1/dead-letters/{id}", web::get().to(dead::show))
                .route("/v1/dead-letters/{id}", web::delete().to(dead::delete))
                .route("/v1/dead-letters/{id}/replay", web::post().to(dead::replay))
                .route("/v1/replays", web::get().to(replay::list))
                .route("/v1/replays", web::post().to(replay::range))
                .route("/v1/replays/{id}", web::delete().to(replay::cancel))
                .default_service(web::to(|| async {
                    Problem::NotFound("this path does not exist".to_owned()).response()
                }))
        },
    )
=======
    let server = HttpServer::new(move || {
        App::new().app_data(data.clone()).wrap(from_fn(guard::guard)).configure(routes::configure)
    })
    .workers(1)
    .disable_signals()
    .listen(listener)?;
    Ok(server.run())
>>>>>>> main
}
