//! HTTP/1.1 client of the commands: one kept-alive connection, over TLS where the URL says `https`.
//!
//! A [`Client`] drives its own connection inside the call that waits for the answer: no task is spawned,
//! and a dropped call closes the connection. A request is sent once; only a connection that is found closed
//! before anything was written is opened again.
//!
//! Knows nothing of webhooks or of the admin API.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest};
pub use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::api::plain;
use super::trust::Trust;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL, or what was to be sent, is not usable.
    #[error("{0}")]
    Unusable(String),
    /// Nobody took the connection.
    #[error("cannot connect to {address}: {why}")]
    Connect { address: String, why: String },
    /// The answer did not come in time.
    #[error("no complete answer from {address} within {}", humantime::format_duration(*limit))]
    Timeout { address: String, limit: Duration },
    /// The connection ended, or what came over it is not HTTP.
    #[error("connection to {address} was lost before the answer was complete: {why}")]
    Lost { address: String, why: String },
}

/// A request without its origin.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub target: Uri,
    /// Headers; `Host` and `Content-Length` are added.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Outgoing {
    /// A request without headers or body for `target` (path and query).
    ///
    /// # Errors
    /// [`Error::Unusable`] when `target` is not a request target.
    pub fn new(method: Method, target: &str) -> Result<Self, Error> {
        let uri = target.parse().map_err(|why| Error::Unusable(format!("`{target}` is not a request path: {why}")))?;
        Ok(Self { method, target: uri, headers: HeaderMap::new(), body: Bytes::new() })
    }

    /// Adds a header.
    ///
    /// # Errors
    /// [`Error::Unusable`] when a header cannot hold `value`; the value is not shown, since it may be a token.
    pub fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Error> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Error::Unusable(format!("the value for the header `{name}` holds control characters")))?;
        self.headers.append(name, value);
        Ok(self)
    }

    /// Adds `Authorization: Bearer <token>`, where there is a token.
    ///
    /// # Errors
    /// As [`Self::header`].
    pub fn bearer(self, token: Option<&str>) -> Result<Self, Error> {
        match token {
            Some(token) => self.header(header::AUTHORIZATION, &format!("Bearer {token}")),
            None => Ok(self),
        }
    }
}

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Status and, where the body is a problem document (RFC 9457), its code and detail: one line for a person.
    pub fn summary(&self) -> String {
        plain(&self.words())
    }

    fn words(&self) -> String {
        let json: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let text = |name| json.as_ref().and_then(|json| json.get(name)).and_then(serde_json::Value::as_str);
        match (text("title"), text("detail")) {
            (_, Some(words)) | (Some(words), None) => format!("{} {words}", self.status),
            (None, None) => format!("{} {}", self.status, String::from_utf8_lossy(&self.body).trim()),
        }
    }
}

/// What carries a connection.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

type Driver = Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

struct Live {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
}

impl Live {
    /// Waits for `work` while the connection moves.
    async fn during<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            let Some(connection) = driver else { return Poll::Pending };
            if Pin::new(connection).poll(cx).is_ready() {
                // Why it ended reaches `work` too.
                *driver = None;
            }
            work.as_mut().poll(cx)
        })
        .await
    }
}

/// Where a connection goes.
enum Place {
    Host(String, u16),
    Socket(PathBuf),
}

/// Whether `url` is that of a Unix socket, `unix:PATH`.
pub fn is_socket(url: &Url) -> bool {
    url.scheme() == "unix"
}

/// The path that the URL of a Unix socket names: its escapes are those of a file's.
fn socket_path(url: &Url) -> PathBuf {
    let file = Url::parse(&format!("file://{}", url.path())).ok().and_then(|file| file.to_file_path().ok());
    // A relative path is no URL of a file.
    file.filter(|_| url.path().starts_with('/')).unwrap_or_else(|| url.path().into())
}

/// A client of one origin, with at most one connection.
pub struct Client {
    place: Place,
    authority: HeaderValue,
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    live: Option<Live>,
}

impl Client {
    /// A client for the origin of `url`, which proves itself by `trust` where the scheme is `https`; nothing is sent
    /// yet.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the URL is not `http` or `https` with a host, or `trust` cannot be read.
    pub fn new(url: &Url, trust: &Trust) -> Result<Self, Error> {
        if is_socket(url) {
            let place = Place::Socket(socket_path(url));
            let authority = HeaderValue::from_static("localhost");
            return Ok(Self { place, authority, address: url.to_string(), tls: None, live: None });
        }
        let is_secure = match url.scheme() {
            "http" => false,
            "https" => true,
            other => {
                let what = format!("cannot use {url}: the scheme is `{other}`, not `http`, `https` or `unix`");
                return Err(Error::Unusable(what));
            }
        };
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => IpAddr::from(address).to_string(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).to_string(),
            None => return Err(Error::Unusable(format!("cannot use {url}: it names no host"))),
        };
        let tls = if is_secure {
            let name = ServerName::try_from(host.clone());
            let name = name.map_err(|error| Error::Unusable(format!("cannot use {url}: {error}")))?;
            Some((TlsConnector::from(trust.client()?), name))
        } else {
            None
        };
        let port = url.port_or_known_default().unwrap_or(80);
        let shown = url.host_str().unwrap_or(&host);
        let authority = match url.port() {
            Some(port) => format!("{shown}:{port}"),
            None => shown.to_owned(),
        };
        let authority = HeaderValue::from_str(&authority)
            .map_err(|_| Error::Unusable(format!("cannot use {url}: its host cannot stand in a header")))?;
        Ok(Self { address: format!("{shown}:{port}"), place: Place::Host(host, port), authority, tls, live: None })
    }

    /// Sends `request` and reads the whole answer, all within `limit`.
    ///
    /// # Errors
    /// Any of [`Error`]; the next call opens a new connection.
    pub async fn send(&mut self, request: Outgoing, limit: Duration) -> Result<Answer, Error> {
        let whole = async { self.open(request).await?.collect().await };
        match tokio::time::timeout(limit, whole).await {
            Ok(done) => done,
            Err(_) => {
                self.live = None;
                Err(Error::Timeout { address: self.address.clone(), limit })
            }
        }
    }

    /// Sends `request` and returns once the head of the answer is here.
    ///
    /// # Errors
    /// Any of [`Error`] but [`Error::Timeout`]: the caller bounds the wait.
    pub async fn open(&mut self, request: Outgoing) -> Result<Streaming<'_>, Error> {
        self.ready().await?;
        // Taken out: whatever ends this call early, the next one starts with a new connection.
        let Some(mut live) = self.live.take() else {
            return Err(Error::Lost { address: self.address.clone(), why: "it closed at once".to_owned() });
        };
        let mut message = hyper::Request::new(Full::new(request.body));
        *message.method_mut() = request.method;
        *message.uri_mut() = request.target;
        *message.headers_mut() = request.headers;
        message.headers_mut().insert(header::HOST, self.authority.clone());
        let answer = Live::during(&mut live.driver, live.sender.send_request(message)).await;
        let (head, body) = answer.map_err(|why| self.lost(&why))?.into_parts();
        Ok(Streaming { status: head.status.as_u16(), headers: head.headers, body, live, client: self })
    }

    /// Returns once there is a connection that takes a request, an old or a new one.
    ///
    /// # Errors
    /// [`Error::Connect`] or [`Error::Lost`].
    pub async fn ready(&mut self) -> Result<(), Error> {
        if let Some(mut live) = self.live.take()
            && Live::during(&mut live.driver, live.sender.ready()).await.is_ok()
        {
            self.live = Some(live);
            return Ok(());
        }
        let mut live = self.connect().await?;
        Live::during(&mut live.driver, live.sender.ready()).await.map_err(|why| self.lost(&why))?;
        self.live = Some(live);
        Ok(())
    }

    async fn connect(&self) -> Result<Live, Error> {
        let refused = |why: String| Error::Connect { address: self.address.clone(), why };
        let opened = async {
            let stream: Box<dyn Stream> = match &self.place {
                Place::Socket(path) => Box::new(UnixStream::connect(path).await?),
                Place::Host(host, port) => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
            };
            io::Result::Ok(stream)
        };
        let stream = tokio::time::timeout(CONNECT, opened)
            .await
            .map_err(|_| refused(format!("no answer within {}", humantime::format_duration(CONNECT))))?
            .map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    refused("connection refused; is `hookferry serve` running?".to_owned())
                }
                _ => refused(error.to_string()),
            })?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => stream,
            Some((tls, name)) => {
                let encrypted = tokio::time::timeout(CONNECT, tls.connect(name.clone(), stream)).await;
                let encrypted = encrypted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                Box::new(encrypted.map_err(|error| refused(format!("TLS: {error}")))?)
            }
        };
        let (sender, driver) = hyper::client::conn::http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.lost(&error))?;
        Ok(Live { sender, driver: Some(driver) })
    }

    fn lost(&self, error: &hyper::Error) -> Error {
        let mut why = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            why = format!("{why}: {cause}");
            source = cause.source();
        }
        Error::Lost { address: self.address.clone(), why }
    }
}

/// An answer whose body is still coming.
pub struct Streaming<'a> {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    body: Incoming,
    live: Live,
    client: &'a mut Client,
}

impl Streaming<'_> {
    /// The next part of the body; `None` at its end.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match Live::during(&mut self.live.driver, self.body.frame()).await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(why)) => return Err(self.client.lost(&why)),
            }
        }
    }

    /// Reads the rest of the body, and keeps the connection for the next request.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub async fn collect(mut self) -> Result<Answer, Error> {
        let first = self.chunk().await?.unwrap_or_default();
        let body = match self.chunk().await? {
            None => first,
            Some(second) => {
                let mut all = BytesMut::from(first);
                all.extend_from_slice(&second);
                while let Some(more) = self.chunk().await? {
                    all.extend_from_slice(&more);
                }
                all.freeze()
            }
        };
        self.client.live = Some(self.live);
        Ok(Answer { status: self.status, headers: self.headers, body })
    }
}

#[cfg(test)]
mod tests;
