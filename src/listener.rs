//! Connections: taken from a socket, limited, decrypted, and handed to HTTP/1.1 as bytes with an address.
//!
//! Both servers of the process stand on it. [`Listener`] is taken first (`socket.rs`); [`serve`] is the way of a connection: the caps (`admit.rs`), the PROXY
//! header (`proxy.rs`), TLS (`tls.rs`), then requests, watched by `connection.rs`.
//!
//! Promises
//! - A connection that says nothing, stalls in a head or does not read its answers is closed within its deadline; a slow one that goes on reading is not.
//! - TLS certificates can be replaced while connections are open; those live on with what they began with.
//!
//! Knows nothing of webhooks.

mod address;
mod admit;
mod carrier;
mod connection;
mod framing;
mod proxies;
mod proxy;
mod pulse;
pub mod settings;
mod socket;
pub mod tls;

use std::cell::RefCell;
use std::future::{poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{ConnectionType, HttpServiceBuilder, Request, Response};
use actix_service::{IntoServiceFactory, Service as _, ServiceFactory, ServiceFactoryExt as _};
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Server;
use actix_web::http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::{HttpMessage as _, HttpResponse};
use bytes::Bytes;
use tokio::time::Instant;

pub use address::{Address, Mode};
use admit::Admission;
use carrier::Io;
use connection::Connection;
use framing::{Body, Chunks};
pub use proxies::Proxies;
use pulse::{Busy, Pulse};
use socket::Socket;
pub use socket::{File, Listener};
pub use tls::Tls;

/// How long a connection without a request is kept after an answer.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long what a sender still sends after an early answer is read and thrown away, so that it sees the answer.
const LINGER: Duration = Duration::from_secs(2);

/// How a listener treats its connections.
#[derive(Clone)]
pub struct Options {
    /// Threads.
    pub workers: usize,
    /// Most connections open at once, over all workers.
    pub max_connections: usize,
    /// Most connections open at once from one address, IPv6 by /64; 0: any number. Proxies count as no one.
    pub max_connections_per_ip: usize,
    /// Largest head of a request, in bytes.
    pub max_header: usize,
    /// Longest time to receive a head, to finish a TLS handshake, and to take an answer off our hands.
    pub deadline: Duration,
    /// Whether that is for a head with its body; else whoever reads bodies has a deadline for them.
    pub is_for_bodies: bool,
    /// Longest time that a stop waits for connections.
    pub shutdown_grace: Duration,
    /// Whether connections of [`Options::proxies`] begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Who is a proxy.
    pub proxies: Proxies,
    /// Certificates; `None`: plain HTTP.
    pub tls: Option<Arc<Tls>>,
}

/// Serves the application that `factory` makes on `listener`, until the returned handle is stopped.
///
/// `early` answers a request whose client asks before it sends the body (`Expect: 100-continue`), where its head alone
/// decides.
///
/// HTTP/1.1 only (ADR 0005). The future must be awaited for anything to happen.
///
/// # Errors
/// The listener cannot be used.
pub fn serve<F, E, I, S, B>(options: Options, listener: Listener, early: E, factory: F) -> io::Result<Server>
where
    E: Fn(&Request) -> Option<HttpResponse> + Clone + Send + 'static,
    F: Fn() -> I + Clone + Send + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = ()> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: std::fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as actix_service::Service<Request>>::Future: 'static,
    B: MessageBody + Unpin + 'static,
{
    let (workers, grace) = (options.workers, options.shutdown_grace);
    let most = options.max_connections.div_ceil(workers);
    let entry = Arc::new(Entry { admission: Admission::new(options.max_connections_per_ip), options });
    let requests = move || {
        let (entry, early) = (entry.clone(), early.clone());
        let application = factory().into_factory().map_err(|error| error.into().error_response());
        let watched = actix_service::apply_fn_factory(application, |request: Request, service: &_| {
            let begun = begin(&request);
            let answer = begun.map(|busy| (busy, actix_service::Service::call(service, request)));
            async move {
                let answered = match answer {
                    Ok((busy, answer)) => {
                        if busy.as_ref().is_some_and(Busy::has_body) {
                            taken_in().await;
                        }
                        answer.await.map(|answer| (busy, answer.into()))
                    }
                    Err(refusal) => Err(refusal),
                };
                let (busy, mut answer): (_, Response<B>) = match answered {
                    Ok(answered) => answered,
                    Err(refusal) => {
                        look_again().await;
                        return Err(refusal);
                    }
                };
                let is_closing = answer.head().connection_type() == ConnectionType::Close;
                let is_refused = !answer.status().is_success();
                // Whoever is refused does not hold the memory that his request took.
                let is_last = |busy: &Busy| busy.answered(is_closing || is_refused && busy.is_large());
                if busy.as_ref().is_some_and(is_last) {
                    answer.head_mut().set_connection_type(ConnectionType::Close);
                    look_again().await;
                }
                Ok(answer.map_body(|_, body| Answer { body, _busy: busy }))
            }
        });
        // Once a worker.
        actix_service::fn_factory(move || {
            let (entry, early, made) = (entry.clone(), early.clone(), watched.new_service(()));
            async move {
                let application = Rc::new(made.await.map_err(|error| tracing::error!("cannot serve: {error:?}"))?);
                let make = Rc::new(move || {
                    let (application, early) = (application.clone(), early.clone());
                    let expect = actix_service::fn_service(move |request: Request| {
                        let refusal = early(&request);
                        async move {
                            let Some(answer) = refusal else { return Ok(request) };
                            if let Some(pulse) = request.conn_data::<Rc<Pulse>>() {
                                pulse.end();
                                look_again().await;
                            }
                            Err(Response::from(answer))
                        }
                    });
                    HttpServiceBuilder::default()
                        .keep_alive(KEEP_ALIVE)
                        // A connection has its own deadlines, for every request and not only the first.
                        .client_request_timeout(Duration::ZERO)
                        .client_disconnect_timeout(LINGER)
                        .expect(expect)
                        .on_connect_ext(|connection: &Connection, data| {
                            data.insert(connection.pulse());
                        })
                        .h1(actix_service::fn_factory(move || ready(Ok::<_, ()>(application.clone()))))
                        .new_service(())
                });
                // Its clock ticks twice a second: it is made for the first connection and goes with the last.
                let current = Rc::new(RefCell::new(Weak::new()));
                Ok(actix_service::fn_service(move |socket: Socket| {
                    let (entry, make, current) = (entry.clone(), make.clone(), current.clone());
                    async move {
                        let connection = entry.open(socket).await.map_err(DispatchError::Io)?;
                        let running = current.borrow().upgrade();
                        let http = match running {
                            Some(http) => http,
                            None => {
                                let http = make().await.map_err(|()| DispatchError::Io(io::ErrorKind::Other.into()))?;
                                let http = Rc::new(http);
                                *current.borrow_mut() = Rc::downgrade(&http);
                                http
                            }
                        };
                        http.call(connection).await
                    }
                }))
            }
        })
    };
    let server = actix_server::Server::build()
        .workers(workers)
        .max_concurrent_connections(most)
        .shutdown_timeout(grace.as_secs())
        .disable_signals();
    let server = match listener {
        Listener::Tcp(listener) => server.listen("hookferry", listener, move || {
            actix_service::fn_service(|stream: TcpStream| ready(Ok(Socket::Tcp(stream)))).and_then(requests())
        }),
        Listener::Unix(listener) => server.listen_uds("hookferry", listener, move || {
            actix_service::fn_service(|stream: UnixStream| ready(Ok(Socket::Unix(stream)))).and_then(requests())
        }),
    };
    Ok(server?.run())
}

/// When the wait for the head of `request` began, which is being answered: at its first byte, or for the first of a connection
/// when that was opened.
pub fn begun(request: &Request) -> Instant {
    request.conn_data::<Rc<Pulse>>().and_then(|pulse| pulse.begun()).unwrap_or_else(Instant::now)
}

/// The body that HTTP expects behind the head of `request`; `None`: one without end.
fn body(request: &Request) -> Option<Body> {
    let headers = request.headers();
    if headers.contains_key(TRANSFER_ENCODING) {
        return Some(Body::Chunks(Chunks::First));
    }
    // All that follows would be the body, other requests of a proxy that shares the connection among them (RFC 9112, section 6.3).
    let is_web_socket = |to: &HeaderValue| to.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket");
    if headers.get_all(UPGRADE).any(is_web_socket) {
        return None;
    }
    let length = headers.get(CONTENT_LENGTH).map(|length| length.to_str().ok()?.trim().parse().ok());
    length.unwrap_or(Some(0)).map(Body::Bytes)
}

/// What fuzzing reaches.
#[cfg(fuzzing)]
pub mod fuzzed {
    pub use super::proxy::header as proxy_header;
    pub use super::pulse::{Pulse, Turn};

    /// As it is begun.
    pub fn body(request: &super::Request) -> Option<super::Body> {
        super::body(request)
    }
}

/// Begins a request on its connection, unless it is none.
fn begin(request: &Request) -> Result<Option<Busy>, HttpResponse> {
    let Some(pulse) = request.conn_data::<Rc<Pulse>>() else { return Ok(None) };
    let last = request.head().connection_type() != ConnectionType::KeepAlive;
    let busy = body(request).and_then(|body| pulse.clone().begin(last, body));
    if busy.is_none() {
        pulse.end();
    }
    busy.map(Some).ok_or_else(|| HttpResponse::BadRequest().force_close().finish())
}

/// Waits until HTTP has taken in the body that came with its head, which it does right after it has begun a request, and then
/// looks at that again, unasked. A request that asked for its body before would have the whole connection looked at once more.
async fn taken_in() {
    let mut begun = false;
    poll_fn(|_| if std::mem::replace(&mut begun, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// Has the connection look again how long it waits, now that its last answer is made: HTTP may read nothing until then.
async fn look_again() {
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::Ready(())
    })
    .await;
}

/// An answer on its way: until it is made, its request is the only one of the connection.
struct Answer<B> {
    body: B,
    _busy: Option<Busy>,
}

impl<B: MessageBody + Unpin> MessageBody for Answer<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(cx)
    }
}

/// The way of a connection before its first request.
struct Entry {
    options: Options,
    admission: Admission,
}

impl Entry {
    /// The connection, ready for requests, and whom it is with.
    async fn open(&self, socket: Socket) -> io::Result<(Connection, Option<SocketAddr>)> {
        let opening = self.prepare(socket);
        match tokio::time::timeout(self.options.deadline, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn prepare(&self, mut socket: Socket) -> io::Result<(Connection, Option<SocketAddr>)> {
        let begun = Instant::now();
        socket.set_nodelay()?;
        let mut peer = socket.peer()?;
        if self.options.proxy_protocol && self.is_proxy(peer) {
            peer = proxy::header(&mut socket).await?.or(peer);
        }
        let permit = match peer.filter(|_| !self.is_proxy(peer)) {
            Some(client) => self.admission.admit(client.ip())?,
            None => None,
        };
        let io = match &self.options.tls {
            Some(tls) => Io::Tls(Box::new(tls.accept(socket).await?)),
            None => {
                // Buffers are for who says something: thousands of silent connections would hold them for nothing.
                socket.readable().await?;
                Io::Plain(socket)
            }
        };
        Ok((Connection::new(io, permit, begun, &self.options), peer))
    }

    fn is_proxy(&self, peer: Option<SocketAddr>) -> bool {
        self.options.proxies.are(peer.map(|peer| peer.ip()))
    }
}
