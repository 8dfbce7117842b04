//! The second listener: health, figures, and what was accepted, for operators and for consumers without a queue.
//!
//! Everything but `/livez` and `/readyz` asks for the bearer token, where one is configured.

mod backends;
mod consumers;
mod dead;
mod events;
mod health;
mod log_level;
mod page;
mod problem;
mod reloads;
mod replay;
pub mod settings;
mod stream;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpServer, web};
use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

pub use reloads::{Configuration, Reload};

use crate::dispatch::{self, Dispatch};
use crate::event::Secret;
use crate::journal::Journal;
use problem::Problem;

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
}

/// One source, without its secrets.
#[derive(Debug, Clone, serde::Serialize)]
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

/// Serves `admin` on `listener` until the returned handle is stopped.
///
/// # Errors
/// The listener cannot be used.
pub fn serve(listener: TcpListener, admin: Arc<Admin>) -> io::Result<Server> {
    let data = web::Data::from(admin);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .wrap(from_fn(authorize))
            .route("/livez", web::get().to(health::live))
            .route("/readyz", web::get().to(health::ready))
            .route("/metrics", web::get().to(health::metrics))
            .route("/v1/status", web::get().to(health::status))
            .route("/v1/log-level", web::get().to(log_level::show))
            .route("/v1/log-level", web::put().to(log_level::put))
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
            .default_service(web::to(|| async { Problem::NotFound("this path does not exist".to_owned()).response() }))
    })
    .workers(1)
    .disable_signals()
    .listen(listener)?;
    Ok(server.run())
}

/// Lets a request through that bears the token, or needs none.
async fn authorize(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let setup = request.app_data::<web::Data<Admin>>().map(|admin| admin.setup.load_full());
    let token = setup.as_ref().and_then(|setup| setup.token.as_ref());
    let open = matches!(request.path(), "/livez" | "/readyz");
    let bears = |token: &TokenDigest| {
        let header = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
        header.and_then(|value| value.strip_prefix(b"Bearer ")).is_some_and(|given| token.is_of(given.trim_ascii()))
    };
    if open || token.is_none_or(bears) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    Ok(request.into_response(Problem::Unauthorized.response()).map_into_right_body())
}
