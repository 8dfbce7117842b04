//! The public listener.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use actix_http::Request;
use actix_web::dev::Server;

use super::Ingress;
use super::settings::Server as Settings;
use crate::listener::{self, Listener, Tls};

/// Serves `ingress` on `listener` until the returned handle is stopped.
///
/// - `max_connections`: those of `settings`, or as many as there are open files for.
///
/// The future must be awaited for anything to happen.
///
/// # Errors
/// The listener cannot be used.
pub fn serve(
    settings: &Settings,
    max_connections: usize,
    listener: Listener,
    tls: Option<Arc<Tls>>,
    ingress: Arc<Ingress>,
) -> io::Result<Server> {
    let workers = match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let options = listener::Options {
        workers,
        max_connections,
        max_connections_per_ip: settings.max_connections_per_ip,
        max_header: usize::try_from(settings.max_header).unwrap_or(usize::MAX),
        deadline: settings.body_timeout,
        is_for_bodies: false,
        shutdown_grace: settings.shutdown_grace,
        proxy_protocol: settings.proxy_protocol,
        proxies: settings.trusted_proxies.clone(),
        tls,
    };
    let early = ingress.clone();
    listener::serve(
        options,
        listener,
        move |request| early.refuses(request),
        // There is one handler for every path and method: an `App` would route to it, and cost a tenth of a request.
        move || {
            // Counted a worker: a count that all of them write to goes from core to core.
            let ingress = Rc::new(ingress.clone());
            actix_service::fn_service(move |request: Request| {
                let ingress = ingress.clone();
                Box::pin(async move { Ok::<_, Infallible>(ingress.handle(request).await) })
            })
        },
    )
}
