//! The public listener.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::{App, HttpRequest, HttpServer, web};

use super::Ingress;
use super::settings::Server as Settings;

/// Serves `ingress` on `listener` until the returned handle is stopped.
///
/// HTTP/1.1 only (ADR 0005). The future must be awaited for anything to happen.
///
/// # Errors
/// The listener cannot be used.
pub fn serve(settings: &Settings, listener: TcpListener, ingress: Arc<Ingress>) -> io::Result<Server> {
    let workers = match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let ingress = web::Data::from(ingress);
    let server = HttpServer::new(move || App::new().app_data(ingress.clone()).default_service(web::to(handle)))
        .workers(workers)
        .max_connections(settings.max_connections.div_ceil(workers))
        .client_request_timeout(settings.body_timeout)
        .shutdown_timeout(settings.shutdown_grace.as_secs())
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

/// Takes `address`, so that the port is known before anything is served.
///
/// # Errors
/// It is in use or not ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn handle(request: HttpRequest, payload: web::Payload, ingress: web::Data<Ingress>) -> actix_web::HttpResponse {
    ingress.handle(request, payload).await
}
