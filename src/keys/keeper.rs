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
use super::slot::{NOTHING, STRANGE, Slot, Strange};
use super::store::{Store, StoreError};
use super::{Ask, Asker, Found, Learnt, Shared};
use crate::event::Secret;

/// Age at which keys are fetched again, whether or not anybody asks.
const REFRESH: Duration = Duration::from_secs(3600);
/// Wait after a failure of that.
const RETRY: Duration = Duration::from_secs(60);
/// Shortest time between two fetches of a URL that gave keys: a key that is not among them now will not be within it.
const FRESH: Duration = Duration::from_secs(10);
/// Shortest time between two tries of a URL that did not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// Most of those that are fetched again by themselves at once.
const RENEWALS: usize = 4;
/// Shortest time between two lines about that.
const TOLD: Duration = Duration::from_secs(60);
/// Tries of a visit, and the wait before the second, which doubles.
const VISITS: u32 = 6;
const VISIT_AGAIN: Duration = Duration::from_secs(2);

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

enum Done {
    /// `renewal`: nobody had asked for it.
    Fetched {
        url: String,
        content: Result<bytes::Bytes, FetchError>,
        renewal: bool,
    },
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
    strange: Strange,
    work: FuturesUnordered<Work>,
    /// Those in progress.
    renewals: usize,
    /// When it was last said that requests name too many URLs.
    told: Option<Instant>,
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
        let now = Instant::now();
        let keys = shared.keys.load_full();
        let due = |url: &str| if keys.are_proven(url) { now } else { now + REFRESH };
        let slots = keys.urls().map(|url| (url.to_owned(), Slot::own(Some(due(url))))).collect();
        let work = FuturesUnordered::new();
        Self {
            shared,
            secrets,
            inbox,
            client,
            store,
            slots,
            strange: Strange::default(),
            work,
            renewals: 0,
            told: None,
            clock: || 0,
        }
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
            let idle = self.slots.values().filter(|slot| slot.waiting.is_none() && self.renewals < RENEWALS);
            let due = idle.filter_map(|slot| slot.due).min();
            let due = due.unwrap_or_else(|| Instant::now() + REFRESH);
            tokio::select! {
                ask = self.inbox.recv() => match ask {
                    None => return,
                    Some(ask) => self.take(ask).await,
                },
                Some(done) = self.work.next(), if !self.work.is_empty() => {
                    if let Done::Fetched { url, content, renewal } = done {
                        self.renewals -= usize::from(renewal);
                        self.fetched(&url, content);
                    }
                }
                () = tokio::time::sleep_until(due) => self.refresh(),
            }
        }
    }

    async fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Key { url, by, done } => self.key(&url, by, done),
            Ask::Proven(url) => self.proven(&url),
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

    fn key(&mut self, url: &str, by: Asker, done: oneshot::Sender<Found>) {
        let now = Instant::now();
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
            // Not a mismatch: it may be the sender's newest key that happens to be named among so many others.
            None if !self.may_ask(url, by, now) => _ = done.send(Found::Unreachable),
            None => {
                let slot = self.slots.entry(url.to_owned()).or_insert(Slot::own(None));
                slot.named = Some(now);
                self.start(url, Some(done));
            }
        }
    }

    /// Whether `url` may be asked for `by`: one that nothing proves, if there is room for it. To ask for it again counts
    /// as well.
    fn may_ask(&mut self, url: &str, by: Asker, now: Instant) -> bool {
        let keys = self.shared.keys.load_full();
        if keys.are_proven(url) || self.is_fixed(url) {
            return true;
        }
        if !self.strange.take(by, now) {
            if self.told.is_none_or(|at| now.duration_since(at) > TOLD) {
                let source = &self.shared.name;
                tracing::warn!(%source, "requests name too many URLs of keys: further ones are not asked for now");
                self.told = Some(now);
            }
            return false;
        }
        let strange = |(url, _): &(&String, &Slot)| !keys.are_proven(url);
        if self.slots.iter().filter(strange).count() >= STRANGE {
            let is_done = |(_, slot): &(&String, &Slot)| slot.waiting.is_none() && !slot.is_recent(now);
            let gone = self.slots.iter().filter(strange).filter(is_done);
            let gone: Vec<String> = gone.map(|(url, _)| url.clone()).collect();
            gone.iter().for_each(|url| self.forget(url));
        }
        true
    }

    /// Whether every request needs the keys at `url`.
    fn is_fixed(&self, url: &str) -> bool {
        self.shared.rule.fixed_key_url(&self.shared.keys.load()) == Some(url)
    }

    /// Takes the keys of a URL for those of the sender.
    fn proven(&mut self, url: &str) {
        let keys = self.shared.keys.load_full();
        if keys.urls().any(|known| known == url) && !keys.are_proven(url) {
            self.shared.keys.store(Arc::new(keys.proven_by(url)));
        }
    }

    fn forget(&mut self, url: &str) {
        self.slots.remove(url);
        self.shared.keys.rcu(|keys| keys.without(url));
    }

    fn start(&mut self, url: &str, done: Option<oneshot::Sender<Found>>) {
        let slot = self.slots.entry(url.to_owned()).or_insert(Slot::own(None));
        let renewal = done.is_none();
        self.renewals += usize::from(renewal);
        slot.waiting = Some(done.into_iter().collect());
        let (client, url) = (self.client.clone(), url.to_owned());
        self.work.push(Box::pin(async move {
            let content = client.get(&url, super::fetch::KEYS).await;
            Done::Fetched { url, content, renewal }
        }));
    }

    fn fetched(&mut self, url: &str, content: Result<bytes::Bytes, FetchError>) {
        let (shared, is_fixed) = (&self.shared, self.is_fixed(url));
        let now_s = i64::try_from((self.clock)() / 1000).unwrap_or(i64::MAX);
        let read = |content: bytes::Bytes| shared.rule.with_fetched(&shared.keys.load(), url, &content, now_s);
        let (found, problem) = match content.map(read) {
            Ok(Ok(keys)) => {
                shared.keys.store(Arc::new(if is_fixed { keys.proven_by(url) } else { keys }));
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
        let keys = self.shared.keys.load_full();
        for url in &due {
            match keys.are_proven(url) || self.is_fixed(url) {
                true if self.renewals < RENEWALS => self.start(url, None),
                // Its turn comes.
                true => {}
                false => self.forget(url),
            }
        }
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
            self.shared.keys.store(Arc::new(keys.and_fetched_of(&self.shared.keys.load())));
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

#[cfg(test)]
mod tests;
