//! The public listener.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::{App, HttpRequest, HttpServer, web};
use tokio::net::TcpSocket;

use super::Ingress;
use super::settings::Server as Settings;

/// Connections that the kernel holds until a worker takes them.
const BACKLOG: u32 = 4096;

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

/// Takes `address`, so that the port is known to be ours before anything else is started.
///
/// # Errors
/// It is in use or not ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for connections of the last process to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

async fn handle(request: HttpRequest, payload: web::Payload, ingress: web::Data<Ingress>) -> actix_web::HttpResponse {
    ingress.handle(request, payload).await
}
