//! Takes webhooks: proves who sent them, seals them into envelopes, answers once they are on disk.
//!
//! [`Ingress::receive`] is the life of a request, a line a step, and [`Ingress::keep`] that of the event which it became;
//! each step can refuse, and [`Refusal`] is the one place where that becomes a status.
//!
//! Knows nothing of backends: no broker can slow or fail an answer.

mod body;
mod coding;
mod confirmed;
mod conflicts;
mod early;
pub mod guard;
mod head;
pub mod limit;
pub mod networks;
mod prove;
mod refusal;
mod refused;
mod room;
pub mod schema;
mod seal;
mod server;
pub mod settings;
mod setup;
mod source;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{HttpMessage as _, HttpResponse};
use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

#[cfg(fuzzing)]
pub use coding::decode as decode_body;
pub use confirmed::Confirmed;
pub use refusal::Refusal;
pub use server::serve;
pub use setup::Setup;
pub use source::{Figures, Outcome, Source};

use head::Head;
use settings::Ack;

use crate::catalogue;
use crate::event::envelope::Attribute;
use crate::event::{Request, json};
use crate::journal::{Appended, Journal, Record};
use crate::listener;
use crate::telemetry::trace::{self, Span};
use crate::telemetry::{Metrics, Refusals};

/// How long a worker is given to write an answer to its socket when the process stops.
const FLUSH: Duration = Duration::from_millis(50);
/// How often a stop looks whether all requests are answered.
const LOOK: Duration = Duration::from_millis(5);

/// All sources, and what they share.
pub struct Ingress {
    setup: ArcSwap<Setup>,
    journal: Journal,
    /// Position of the last accepted event.
    tail: watch::Receiver<u64>,
    unknown: Counter,
    unrouted: Counter,
    conflicts: conflicts::Conflicts,
    refusals: Refusals,
    stopping: AtomicBool,
    /// Requests between their head and their answer.
    in_flight: AtomicUsize,
    /// Bytes of their bodies.
    bodies: room::Held,
    /// Large bodies that are held against schemas at once, one a core: as a tree a body takes many times its bytes.
    checks: Arc<Semaphore>,
}

/// What a request turned out to be.
enum Received<'a> {
    /// An event, to be kept.
    Event(Begun<'a>),
    /// A challenge.
    Handshake(catalogue::Reply),
}

/// An event that is not on disk yet.
struct Begun<'a> {
    record: Record,
    event: seal::Event,
    /// When its sender is answered in any case.
    deadline: Instant,
    /// What its body takes until it is on disk.
    room: room::Room<'a>,
}

/// What an accepted request is answered.
enum Reply {
    /// The event is new and on disk.
    Accepted(String),
    /// The event was accepted before.
    Duplicate(String),
    /// The request was a challenge.
    Handshake(catalogue::Reply),
}

/// Counts a request until it is answered, or its sender went away.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ingress {
    /// An ingress that begins with `setup`.
    pub fn new(setup: Setup, journal: Journal, metrics: &Metrics, refusals: Refusals) -> Self {
        // No source can have this name: names begin with a letter or a digit.
        let unknown =
            vec![("source", refused::UNKNOWN.to_owned()), ("outcome", Refusal::UnknownSource.code().to_owned())];
        Self {
            setup: ArcSwap::from_pointee(setup),
            tail: journal.tail(),
            journal,
            unknown: metrics.requests.get_or_create(&unknown).clone(),
            unrouted: metrics.unrouted.clone(),
            conflicts: conflicts::Conflicts::default(),
            refusals,
            stopping: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            bodies: room::Held::default(),
            checks: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))),
        }
    }

    /// Takes requests by `setup` from now on; those that have begun end as they began.
    pub fn replace(&self, setup: Setup) {
        self.setup.store(Arc::new(setup));
    }

    /// What it takes requests by.
    pub fn setup(&self) -> Arc<Setup> {
        self.setup.load_full()
    }

    /// Refuses all requests from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits until every request is answered, and its answer is on its way.
    pub async fn idle(&self) {
        while self.in_flight.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(LOOK).await;
        }
        // A worker writes an answer out right after the handler returns it.
        tokio::time::sleep(FLUSH).await;
    }

    /// Answers one request; once the process stops, the connection ends with the answer.
    async fn handle(&self, request: actix_http::Request) -> HttpResponse {
        let mut response = self.answer(request).await;
        if self.stopping.load(Ordering::Relaxed) {
            // A sender that is told does not send its next request into a socket that is about to go.
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    }

    async fn answer(&self, mut request: actix_http::Request) -> HttpResponse {
        let payload = request.take_payload();
        let start = std::time::Instant::now();
        let _in_flight = InFlight::new(&self.in_flight);
        let setup = self.setup.load_full();
        let Some(source) = setup.source(request.path()) else {
            self.note_unknown(&request);
            return self.unknown_source();
        };
        let head = Head::new(request.headers());
        let client = client(&setup, source, request.peer_addr(), &head);
        let mut span = trace::request(&source.path, || seal::parent(&head));
        let received = self.receive(&setup, source, client, &request, &head, payload, &mut span).await;
        // All that is asked of the request is in the event. Freed after the wait for the disk, its headers would have to come
        // from memory to the processor again.
        drop(head);
        drop(request);
        let result = match received {
            Ok(Received::Event(begun)) => self.keep(&setup, source, begun, &mut span).await,
            Ok(Received::Handshake(reply)) => Ok(Reply::Handshake(reply)),
            Err(refusal) => Err(refusal),
        };
        span.set("hookferry.source", || source.name.to_string());
        match result {
            Ok(reply) => {
                let outcome = match &reply {
                    Reply::Accepted(_) => Outcome::Accepted,
                    Reply::Duplicate(_) => Outcome::Duplicate,
                    Reply::Handshake(_) => Outcome::Handshake,
                };
                span.set("hookferry.outcome", || outcome.label().to_owned());
                source.figures.count(outcome);
                source.figures.ack_seconds.observe(start.elapsed().as_secs_f64());
                respond(source, reply)
            }
            Err(refusal) => {
                span.fail(refusal.code());
                if !refusal.is_of_signature() {
                    self.note(source, refusal, client.ok().flatten());
                }
                self.refused(source, refusal)
            }
        }
    }

    /// The life of a request, up to its event.
    #[expect(clippy::too_many_arguments, reason = "what is known of a request when it begins")]
    async fn receive(
        &self,
        setup: &Setup,
        source: &Source,
        client: Result<Option<IpAddr>, Refusal>,
        http: &actix_http::Request,
        head: &Head<'_>,
        payload: actix_http::Payload,
        span: &mut Span,
    ) -> Result<Received<'_>, Refusal> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Refusal::ShuttingDown);
        }
        source.takes(http.method().as_str())?;
        let client = client?;
        early::take(source, client, http)?;
        let mut room = room::Room::new(&self.bodies, setup.max_inflight, source.max_body, client.map(limit::key));
        let (length, begun) = (declared(http.headers()), listener::begun(http));
        let wire = body::read(payload, length, source.max_body, begun, setup.pace, &mut room).await?;
        let request = Request {
            method: http.method().as_str(),
            path: http.uri().path(),
            query: http.uri().query().unwrap_or_default(),
            headers: head,
            body: &wire,
            public_url: source.public_url.as_deref(),
        };
        let deadline = Instant::now() + setup.ack_timeout;
        if let Some(mut reply) = source.provider.handshake(&request, false) {
            prove::act(source, &mut reply, deadline).await.inspect_err(|why| self.note(source, *why, client))?;
            return Ok(Received::Handshake(reply));
        }
        if http.path() != source.path {
            // Of the paths besides the source's own, only handshakes are of use.
            return Err(Refusal::UnknownSource);
        }
        let now_ms = self.journal.now_ms();
        let step = span.child("verify");
        let verified = prove::verified(source, &request, client, (now_ms / 1000) as i64, deadline).await;
        let verified = verified.map_err(|refusal| self.note_unproved(source, refusal, client, &request))?;
        drop(step);
        if let Some(mut reply) = source.provider.handshake(&request, true) {
            prove::act(source, &mut reply, deadline).await.inspect_err(|why| self.note(source, *why, client))?;
            return Ok(Received::Handshake(reply));
        }
        let mut encodings = http.headers().get_all(CONTENT_ENCODING).map(|encoding| encoding.as_bytes());
        let encoding = encodings.next();
        if encodings.next().is_some() {
            return Err(Refusal::UnsupportedMediaType);
        }
        let content = coding::decode(&wire, encoding, source.max_body)?;
        // What is not encoded is the same piece of memory.
        if content.as_ptr() != wire.as_ptr() {
            room.take(content.len())?;
        }
        let mut sealed = seal::seal(source, &request, content, verified.method(), client, now_ms);
        if let Some(kept) = seal::kept_headers(source, head.entries()) {
            sealed.put(Attribute::HttpHeaders, &kept);
        }
        schema::check(source, &mut sealed, &self.checks, deadline).await?;
        if let Some(traceparent) = span.traceparent() {
            sealed.put(Attribute::Traceparent, &traceparent);
        }
        let key = source.key(&self.journal, &sealed.event);
        let (record, event) = sealed.into_record(key, source.dedup_window, now_ms);
        Ok(Received::Event(Begun { record, event, deadline, room }))
    }

    /// The life of an event; returns once it is on disk, and at its backends where the source waits for them.
    async fn keep(&self, setup: &Setup, source: &Source, begun: Begun<'_>, span: &mut Span) -> Result<Reply, Refusal> {
        let Begun { record, event, deadline, room } = begun;
        let step = span.child("append");
        let appended = timeout_at(deadline, self.journal.append(record)).await;
        drop(step);
        drop(room);
        let appended = appended.map_err(|_| Refusal::JournalSlow)??;
        if self.conflicts.enter(source, &event, appended) {
            source.figures.id_conflicts.inc();
        }
        let seal::Event { id, kind, is_set_aside, .. } = event;
        let (name, provider) = (source.name.as_str(), source.provider.id.as_str());
        span.set("cloudevents.event_id", || id.clone());
        span.set("cloudevents.event_type", || kind.clone());
        let (reply, sequence) = match appended {
            Appended::New(sequence) => {
                tracing::debug!(source = %source.name, sequence, "event accepted");
                source.figures.events.inc();
                if is_set_aside {
                    source.figures.set_aside.inc();
                } else if setup.confirmed.goes_nowhere(name, provider, &kind) {
                    self.unrouted.inc();
                }
                (Reply::Accepted(id), sequence)
            }
            // Its first copy stands at or before the end of the journal.
            Appended::Duplicate => (Reply::Duplicate(id), *self.tail.borrow()),
        };
        if source.ack == Ack::Published && !is_set_aside {
            let by_all = setup.confirmed.by_all(name, provider, &kind, sequence);
            timeout_at(deadline, by_all).await.map_err(|_| Refusal::PublishSlow)?;
        }
        Ok(reply)
    }
}

/// The length that the head gives to the body.
fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The sender's address, if it may send.
fn client(setup: &Setup, source: &Source, peer: Option<SocketAddr>, head: &Head) -> Result<Option<IpAddr>, Refusal> {
    let client = guard::client(peer.map(|address| address.ip()), head, &setup.trusted_proxies);
    match client.address {
        address if source.networks.is_any() => Ok(address),
        Some(address) if client.is_certain && source.networks.hold(address) => Ok(Some(address)),
        // A Unix socket has no addresses; a list of networks cannot allow it.
        _ => Err(Refusal::AddressNotAllowed),
    }
}

fn respond(source: &Source, reply: Reply) -> HttpResponse {
    let (status, id) = match reply {
        Reply::Handshake(reply) => {
            let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
            // The body may hold what the sender wrote: a browser must not take it for anything else.
            let nosniff = (X_CONTENT_TYPE_OPTIONS, "nosniff");
            let mut response = HttpResponse::build(status);
            for (name, value) in reply.headers {
                response.insert_header((name, value));
            }
            return response.content_type(reply.content_type).insert_header(nosniff).body(reply.body);
        }
        Reply::Accepted(id) => ("accepted", id),
        Reply::Duplicate(id) => ("duplicate", id),
    };
    let mut response = HttpResponse::build(source.success_status);
    match &source.provider.contract.success_body {
        Some(body) => response.body(body.clone()),
        None => {
            let mut body = Vec::with_capacity(64 + id.len());
            for text in [r#"{"status":""#, status, r#"","id":"#] {
                body.extend_from_slice(text.as_bytes());
            }
            json::write_string(&id, &mut body);
            body.push(b'}');
            response.insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json"))).body(body)
        }
    }
}
