//! The task behind a ring: fetches keys when they are wanted and again as they age, visits, keeps what was learnt.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::fetch::{Client, FetchError};
use super::store::{Store, StoreError};
use super::{Ask, Found, Learnt, Shared};
use crate::event::Secret;

/// Age at which keys are fetched again, whether or not anybody asks.
const REFRESH: Duration = Duration::from_secs(3600);
/// Wait after a failure of that.
const RETRY: Duration = Duration::from_secs(60);
/// Shortest time between two fetches of a URL that gave keys: a key that is not among them now will not be within it.
const FRESH: Duration = Duration::from_secs(10);
/// How long a URL that gave no key is taken to have none.
const NOTHING: Duration = Duration::from_secs(60);
/// Shortest time between two tries of a URL that did not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// Most URLs that are remembered; the allowed hosts have more, if somebody makes them up.
const MAX_URLS: usize = 64;
/// Tries of a visit, and the wait before the second, which doubles.
const VISITS: u32 = 6;
const VISIT_AGAIN: Duration = Duration::from_secs(2);

/// What is known of one URL.
struct Slot {
    /// Who waits for the fetch in progress; `None`: none is.
    waiting: Option<Vec<oneshot::Sender<Found>>>,
    /// How the last one ended, and when.
    last: Option<(Found, Instant)>,
    /// When it is fetched again by itself; only for URLs that gave keys, and the one that all requests need.
    due: Option<Instant>,
}

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

enum Done {
    Fetched(String, Result<bytes::Bytes, FetchError>),
    Other,
}

/// Does the work of one ring until the ring is gone.
pub struct Keeper {
    shared: Arc<Shared>,
    /// Configured and learnt, newest first.
    secrets: Vec<Secret>,
    inbox: mpsc::Receiver<Ask>,
    client: Client,
    store: Store,
    slots: HashMap<String, Slot>,
    work: FuturesUnordered<Work>,
    clock: fn() -> u64,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        secrets: Vec<Secret>,
        inbox: mpsc::Receiver<Ask>,
        client: Client,
        store: Store,
    ) -> Self {
        // Taken over from an earlier ring: they serve until they are fetched again, which is soon.
        let due = Instant::now();
        let known = |url: &str| (url.to_owned(), Slot { waiting: None, last: None, due: Some(due) });
        let slots = shared.keys.load().urls().map(known).collect();
        let work = FuturesUnordered::new();
        Self { shared, secrets, inbox, client, store, slots, work, clock: || 0 }
    }

    /// Runs until the ring is dropped.
    ///
    /// - `clock`: Unix time, milliseconds.
    pub async fn run(mut self, clock: fn() -> u64) {
        self.clock = clock;
        let fixed = self.shared.rule.fixed_key_url(&self.shared.keys.load()).map(str::to_owned);
        if let Some(url) = fixed {
            self.start(&url, None);
        }
        loop {
            let due = self.slots.values().filter(|slot| slot.waiting.is_none()).filter_map(|slot| slot.due).min();
            let due = due.unwrap_or_else(|| Instant::now() + REFRESH);
            tokio::select! {
                ask = self.inbox.recv() => match ask {
                    None => return,
                    Some(ask) => self.take(ask).await,
                },
                Some(done) = self.work.next(), if !self.work.is_empty() => {
                    if let Done::Fetched(url, content) = done {
                        self.fetched(&url, content);
                    }
                }
                () = tokio::time::sleep_until(due) => self.refresh(),
            }
        }
    }

    async fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Key(url, done) => self.key(&url, done),
            Ask::Visit(url) => {
                let (client, name) = (self.client.clone(), self.shared.name.clone());
                self.work.push(Box::pin(async move {
                    visit(&client, name.as_str(), url.as_str()).await;
                    Done::Other
                }));
            }
            Ask::Learn { secret, first_only, done } => {
                let learnt = self.learn(secret, first_only).await;
                // Whoever asked may be gone.
                let _ = done.send(learnt);
            }
            Ask::Show { text, done } => {
                let shown = self.show(text).await;
                let _ = done.send(shown);
            }
        }
    }

    fn key(&mut self, url: &str, done: oneshot::Sender<Found>) {
        let now = Instant::now();
        if !self.slots.contains_key(url) && self.slots.len() >= MAX_URLS {
            let idle = |slot: &Slot| slot.waiting.is_none() && slot.due.is_none();
            let old = |slot: &Slot| slot.last.is_none_or(|(_, at)| now.duration_since(at) > NOTHING);
            self.slots.retain(|_, slot| !idle(slot) || !old(slot));
            if self.slots.len() >= MAX_URLS {
                tracing::warn!(source = %self.shared.name, "requests name too many URLs of keys");
                let _ = done.send(Found::Unreachable);
                return;
            }
        }
        let answer = match self.slots.get_mut(url) {
            Some(Slot { waiting: Some(waiting), .. }) => return waiting.push(done),
            Some(Slot { last: Some((found, at)), .. }) => {
                let keeps = match found {
                    Found::Fresh => FRESH,
                    Found::Nothing => NOTHING,
                    Found::Unreachable => AGAIN,
                };
                (now.duration_since(*at) < keeps).then_some(*found)
            }
            _ => None,
        };
        match answer {
            Some(found) => _ = done.send(found),
            None => self.start(url, Some(done)),
        }
    }

    fn start(&mut self, url: &str, done: Option<oneshot::Sender<Found>>) {
        let slot = self.slots.entry(url.to_owned()).or_insert(Slot { waiting: None, last: None, due: None });
        slot.waiting = Some(done.into_iter().collect());
        let (client, url) = (self.client.clone(), url.to_owned());
        self.work.push(Box::pin(async move {
            let content = client.get(&url, super::fetch::KEYS).await;
            Done::Fetched(url, content)
        }));
    }

    fn fetched(&mut self, url: &str, content: Result<bytes::Bytes, FetchError>) {
        let shared = &self.shared;
        let now_s = i64::try_from((self.clock)() / 1000).unwrap_or(i64::MAX);
        let read = |content: bytes::Bytes| shared.rule.with_fetched(&shared.keys.load(), url, &content, now_s);
        let (found, problem) = match content.map(read) {
            Ok(Ok(keys)) => {
                shared.keys.store(Arc::new(keys));
                (Found::Fresh, None)
            }
            Ok(Err(problem)) => (Found::Nothing, Some(problem)),
            Err(FetchError::Refused(status)) => (Found::Nothing, Some(format!("answered {status}"))),
            Err(FetchError::Failed(problem)) => (Found::Unreachable, Some(problem)),
        };
        let source = &shared.name;
        match &problem {
            None => tracing::info!(%source, "keys fetched from {url}"),
            Some(problem) => tracing::warn!(%source, "keys at {url} cannot be had: {problem}"),
        }
        let is_fixed = shared.rule.fixed_key_url(&shared.keys.load()) == Some(url);
        let Some(slot) = self.slots.get_mut(url) else { return };
        let now = Instant::now();
        slot.due = match (found, slot.due.is_some() || is_fixed) {
            (Found::Fresh, _) => Some(now + REFRESH),
            (_, true) => Some(now + RETRY),
            (_, false) => None,
        };
        // What everybody needs is fetched again at once when asked for: the sender surely has it.
        let found = if is_fixed && found == Found::Nothing { Found::Unreachable } else { found };
        slot.last = Some((found, now));
        for done in slot.waiting.take().unwrap_or_default() {
            let _ = done.send(found);
        }
    }

    fn refresh(&mut self) {
        let now = Instant::now();
        let is_due = |slot: &Slot| slot.waiting.is_none() && slot.due.is_some_and(|due| due <= now);
        let due: Vec<String> = self.slots.iter().filter(|(_, slot)| is_due(slot)).map(|(url, _)| url.clone()).collect();
        due.iter().for_each(|url| self.start(url, None));
    }

    /// Shows a text to the operator of a source that still lacks a secret. Anybody may have sent it, so it takes the
    /// place of nothing.
    async fn show(&mut self, text: Secret) -> Learnt {
        let source = self.shared.name.clone();
        if !self.secrets.is_empty() {
            tracing::warn!(%source, "somebody showed a verification token, which is ignored: the source has a secret");
            return Learnt::Refused;
        }
        let store = self.store.clone();
        let shown = blocking(move || store.show(&text)).await;
        let file = self.store.shown().display();
        match &shown {
            Learnt::Kept => tracing::warn!(%source, "the sender showed a verification token: it is in {file}"),
            Learnt::Refused => tracing::warn!(
                %source,
                "somebody showed another verification token than the one in {file}, which stays: if the sender refuses \
                 that one, remove it and have the sender show its own again"
            ),
            Learnt::Failed => {
                tracing::error!(%source, "the sender's verification token could not be written to {file}");
            }
        }
        shown
    }

    async fn learn(&mut self, secret: Secret, first_only: bool) -> Learnt {
        let source = self.shared.name.clone();
        if self.secrets.iter().any(|known| known.expose() == secret.expose()) {
            return Learnt::Kept;
        }
        if first_only && !self.secrets.is_empty() {
            tracing::warn!(%source, "a handshake showed a new secret, which is not believed: others are known already");
            return Learnt::Refused;
        }
        let mut secrets = vec![secret.clone()];
        secrets.extend(self.secrets.iter().cloned());
        let Ok(keys) = self.shared.rule.keys(&secrets) else { return Learnt::Refused };
        let store = self.store.clone();
        let learnt = blocking(move || store.add(&secret)).await;
        if learnt == Learnt::Kept {
            self.secrets = secrets;
            self.shared.keys.store(Arc::new(keys));
            tracing::warn!(%source, "a handshake showed a secret, which is believed from now on");
        }
        learnt
    }
}

async fn blocking(work: impl FnOnce() -> Result<(), StoreError> + Send + 'static) -> Learnt {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => Learnt::Kept,
        Ok(Err(StoreError::Unfit | StoreError::Taken)) => Learnt::Refused,
        Ok(Err(error)) => {
            tracing::error!("a learnt secret cannot be kept: {error}");
            Learnt::Failed
        }
        Err(error) => {
            tracing::error!("keeping a learnt secret panicked: {error}");
            Learnt::Failed
        }
    }
}

/// Visits `url`, and again a few times where it does not answer.
async fn visit(client: &Client, source: &str, url: &str) {
    // The query holds a token.
    let place = url.split('?').next().unwrap_or_default();
    let mut wait = VISIT_AGAIN;
    for n in 1..=VISITS {
        match client.get(url, super::fetch::KEYS).await {
            Ok(_) => return tracing::info!(source, "subscription confirmed at {place}"),
            Err(FetchError::Refused(status)) => {
                return tracing::error!(source, "the subscription was not confirmed at {place}: answered {status}");
            }
            Err(FetchError::Failed(why)) if n == VISITS => {
                return tracing::error!(source, "the subscription was not confirmed at {place}: {why}");
            }
            Err(FetchError::Failed(why)) => tracing::warn!(source, "the subscription is not confirmed yet: {why}"),
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
}
