//! The public listener.

use std::io;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::{App, HttpRequest, web};

use super::Ingress;
use super::settings::Server as Settings;
use crate::listener::{self, Listener, Tls};

/// Serves `ingress` on `listener` until the returned handle is stopped.
///
/// The future must be awaited for anything to happen.
///
/// # Errors
/// The listener cannot be used.
pub fn serve(
    settings: &Settings,
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
        max_connections: settings.max_connections,
        max_connections_per_ip: settings.max_connections_per_ip,
        max_header: usize::try_from(settings.max_header).unwrap_or(usize::MAX),
        deadline: settings.body_timeout,
        shutdown_grace: settings.shutdown_grace,
        proxy_protocol: settings.proxy_protocol,
        proxies: settings.trusted_proxies.clone(),
        tls,
    };
    let early = ingress.clone();
    let ingress = web::Data::from(ingress);
    listener::serve(
        options,
        listener,
        move |request| early.refuses(request),
        move || App::new().app_data(ingress.clone()).default_service(web::to(handle)),
    )
}

async fn handle(request: HttpRequest, payload: web::Payload, ingress: web::Data<Ingress>) -> actix_web::HttpResponse {
    ingress.handle(request, payload).await
}
