//! The keys of the sources as they stand now: configured, fetched from their senders, learnt from a handshake.
//!
//! A [`Ring`] holds one source's [`Keys`], a snapshot that is replaced as a whole; verification takes the snapshot and
//! stays pure. What takes time is done by the ring's [`Keeper`], a task of its own: it fetches, visits, and writes files.
//!
//! Invariants
//! - Only URLs that the provider's file or the source allows are asked, over https, without redirects, under caps of
//!   size and time.
//! - A fetch that fails keeps the keys that are there; a request that lacks a key is never refused for our own lack of it.
//! - However many requests name unknown keys, fetches stay bounded, and no single address uses up what is there for the
//!   others.
//! - Keys that an authentic request has named give way to none that anybody named; those that count so are bounded too.
//! - A learnt secret is on disk before it is believed.
//!
//! Knows nothing of HTTP servers or configuration files.

mod fetch;
mod keeper;
mod slot;
mod store;

use std::path::Path;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::event::{Secret, SourceName};
use crate::verify::{Keys, Rule};

pub use fetch::{Client, FetchError};
pub use keeper::Keeper;
pub use store::{Store, StoreError};

/// Most requests that wait for the keeper at once; more are told to come again.
const WAITING: usize = 256;

/// What counts as one sender's address; `None`: all that have none.
pub type Asker = Option<u64>;

/// What came of asking for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The keys are fresh: look again.
    Fresh,
    /// The sender has no such key.
    Nothing,
    /// It could not be fetched now.
    Unreachable,
}

/// What becomes of a secret that a handshake shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learnt {
    /// It is kept, or was already.
    Kept,
    /// Others are known already, and nothing vouches for this one.
    Refused,
    /// It could not be written.
    Failed,
}

enum Ask {
    Key { url: String, by: Asker, done: oneshot::Sender<Found> },
    Proven(String),
    Visit(url::Url),
    Learn { secret: Secret, first_only: bool, done: oneshot::Sender<Learnt> },
    Show { text: Secret, done: oneshot::Sender<Learnt> },
}

/// One source's keys.
pub struct Ring {
    shared: Arc<Shared>,
    asks: Option<mpsc::Sender<Ask>>,
    /// Ends with the ring.
    keeper: Option<AbortOnDropHandle<()>>,
}

struct Shared {
    name: SourceName,
    rule: Rule,
    keys: ArcSwap<Keys>,
}

impl Ring {
    /// A ring whose keys stay as they are.
    pub fn fixed(name: SourceName, rule: Rule, keys: Keys) -> Self {
        Self { shared: Arc::new(Shared { name, rule, keys: ArcSwap::from_pointee(keys) }), asks: None, keeper: None }
    }

    /// A ring whose keys may change, and the keeper to be run for it.
    ///
    /// - `secrets`: those that `keys` were made of, to which learnt ones are added.
    pub fn kept(
        name: SourceName,
        rule: Rule,
        keys: Keys,
        secrets: Vec<Secret>,
        client: Client,
        store: Store,
    ) -> (Self, Keeper) {
        let mut ring = Self::fixed(name, rule, keys);
        let (asks, inbox) = mpsc::channel(WAITING);
        ring.asks = Some(asks);
        let keeper = Keeper::new(Arc::clone(&ring.shared), secrets, inbox, client, store);
        (ring, keeper)
    }

    /// Keeps the task of this ring's keeper, and ends it with the ring.
    pub fn own(&mut self, task: tokio::task::JoinHandle<()>) {
        self.keeper = Some(AbortOnDropHandle::new(task));
    }

    /// The keys as they are now.
    pub fn load(&self) -> Guard<Arc<Keys>> {
        self.shared.keys.load()
    }

    /// Has the keys at `url` fetched, unless that was just done, for a request of `by` that nothing proves yet.
    pub async fn fetch(&self, url: String, by: Asker) -> Found {
        let (done, answer) = oneshot::channel();
        if !self.ask(Ask::Key { url, by, done }) {
            return Found::Unreachable;
        }
        answer.await.unwrap_or(Found::Unreachable)
    }

    /// Notes that an authentic request has named the keys at `url`.
    pub fn proven(&self, url: String) {
        // Where too much waits, the next request says it again.
        if !self.load().are_proven(&url) {
            self.ask(Ask::Proven(url));
        }
    }

    /// Has `url` visited in the background; `false` where too much waits already.
    pub fn visit(&self, url: url::Url) -> bool {
        self.ask(Ask::Visit(url))
    }

    /// Remembers a secret, unless there are others and it may only be the first.
    pub async fn learn(&self, secret: Secret, first_only: bool) -> Learnt {
        let (done, answer) = oneshot::channel();
        if !self.ask(Ask::Learn { secret, first_only, done }) {
            return Learnt::Failed;
        }
        answer.await.unwrap_or(Learnt::Failed)
    }

    /// Puts `text` where the operator finds it. It is no key by that.
    pub async fn show(&self, text: Secret) -> Learnt {
        let (done, answer) = oneshot::channel();
        if !self.ask(Ask::Show { text, done }) {
            return Learnt::Failed;
        }
        answer.await.unwrap_or(Learnt::Failed)
    }

    fn ask(&self, ask: Ask) -> bool {
        self.asks.as_ref().is_some_and(|asks| asks.try_send(ask).is_ok())
    }
}

/// Where the secrets stand that the source `name` has learnt, beside the journal in `dir`.
pub fn store(dir: &Path, name: &SourceName) -> Store {
    Store::new(&dir.join("secrets"), name.as_str())
}
