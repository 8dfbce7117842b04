//! What is to be published again, out of its place: dead letters, and ranges of retained events.
//!
//! Whoever asks is answered once the order is on disk: a mark beside the letter, or one small file a range,
//! `<journal>/replay/<backend>/<number>.json`, which also says how far it is. A range is read from the journal as it
//! goes; a cursor of its own, `replay:<backend>`, keeps its events there (ADR 0006).
//!
//! Knows nothing of sessions: the lanes come here to ask what waits.

mod order;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub use order::{Order, Range};

use super::DeadLetters;
use super::aside;
use super::dead::LetterError;
use super::files::{self, Id};
use crate::event::{BackendName, Stored};
use crate::journal::{AppendError, Cursor, Journal};

/// Most ranges that wait for one backend.
pub const MOST: usize = 1000;

const ORDER: &str = "json";

/// Why something is not published again.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No backend of the configuration has this name.
    #[error("there is no backend `{0}`")]
    Backend(BackendName),
    /// Nothing of it is kept.
    #[error("{0}")]
    Gone(String),
    /// Too many wait.
    #[error("{MOST} replays wait for backend `{0}`; try again when some are done")]
    Full(BackendName),
    /// What lies there is no letter.
    #[error("the dead letter cannot be read: {0}")]
    Damaged(String),
    /// The journal does not take what is released.
    #[error("the event cannot be released: {0}")]
    Journal(#[from] AppendError),
    /// It could not be written down.
    #[error("the replay cannot be kept: {0}")]
    Io(#[from] io::Error),
}

/// All that waits, by backend; clones share it.
#[derive(Clone)]
pub struct Replays(Arc<Shared>);

struct Shared {
    dir: PathBuf,
    dead: DeadLetters,
    journal: Journal,
    desks: BTreeMap<BackendName, Desk>,
}

/// One backend's.
#[derive(Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    /// Whether something waits.
    any: watch::Sender<bool>,
}

#[derive(Default)]
struct Waiting {
    letters: VecDeque<u64>,
    orders: BTreeMap<u64, Order>,
    /// Places of orders that are being written.
    coming: BTreeMap<u64, u64>,
    last: u64,
}

impl Waiting {
    /// The position behind which events are needed.
    fn needs(&self) -> Option<u64> {
        let orders = self.orders.values().map(|order| order.after);
        orders.chain(self.coming.values().copied()).min()
    }
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what waits, and tells the lane.
    fn change<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = self.waiting();
        let result = change(&mut waiting);
        self.any.send_replace(!waiting.letters.is_empty() || !waiting.orders.is_empty());
        result
    }
}

/// Name of the cursor that keeps the events of a backend's orders in the journal.
fn cursor_name(backend: &BackendName) -> String {
    format!("replay:{backend}")
}

impl Replays {
    /// What an earlier process left undone for `backends`, beside the dead letters. Blocks.
    pub fn open(dead: &DeadLetters, journal: &Journal, backends: &[BackendName]) -> Self {
        let mut marked = dead.open(backends).unwrap_or_else(|error| {
            tracing::error!("cannot read the dead letters: {error}");
            BTreeMap::new()
        });
        let dir = dead.beside("replay");
        let desk = |name: &BackendName| {
            let desk = Desk::default();
            let orders = read(&dir.join(name.as_str()), name);
            desk.change(|waiting| {
                waiting.letters = marked.remove(name).unwrap_or_default().into();
                waiting.last = orders.keys().next_back().copied().unwrap_or(0);
                waiting.orders = orders;
            });
            (name.clone(), desk)
        };
        let desks = backends.iter().map(desk).collect();
        let replays = Self(Arc::new(Shared { dir, dead: dead.clone(), journal: journal.clone(), desks }));
        let held = journal.cursors();
        for name in backends {
            replays.hold(name);
        }
        for name in held.keys() {
            let Some(backend) = name.strip_prefix("replay:") else { continue };
            if !backends.iter().any(|configured| configured.as_str() == backend) {
                tracing::warn!(
                    "backend {backend} is not configured any more: its replays wait, but keep no events in the journal"
                );
                drop(journal.drop_cursor(name));
            }
        }
        replays
    }

    /// Takes an order for the kept events of `range`; durable when this returns.
    ///
    /// # Errors
    /// [`Refused`]; nothing was ordered.
    pub async fn order(&self, backend: &BackendName, range: Range) -> Result<Order, Refused> {
        let (this, backend) = (self.clone(), backend.clone());
        whole(async move { this.take(&backend, range).await }).await
    }

    async fn take(&self, backend: &BackendName, range: Range) -> Result<Order, Refused> {
        let desk = self.desk(backend)?;
        let tail = *self.0.journal.tail().borrow();
        let number = {
            let mut waiting = desk.waiting();
            if waiting.orders.len() + waiting.coming.len() >= MOST {
                return Err(Refused::Full(backend.clone()));
            }
            waiting.last = (waiting.last + 1).max(self.0.journal.now_ms());
            let number = waiting.last;
            waiting.coming.insert(number, range.from.saturating_sub(1));
            number
        };
        // First the cursor, then the look: what is found stays.
        let held = self.hold(backend);
        let ordered = async {
            if let Some(held) = held {
                let _ = held.await;
            }
            let from = range.from.max(self.0.journal.before_oldest() + 1);
            let range = Range { from, to: range.to.min(tail), ..range };
            if range.from > range.to {
                return Err(Refused::Gone("no event of the range is kept".to_owned()));
            }
            let order = Order::new(Id { number, backend: backend.clone() }, range, self.0.journal.now_ms());
            let (this, kept) = (self.clone(), order.clone());
            blocking(move || this.write(&kept)).await?;
            Ok(order)
        };
        let ordered = ordered.await;
        desk.change(|waiting| {
            waiting.coming.remove(&number);
            if let Ok(order) = &ordered {
                waiting.orders.insert(number, order.clone());
            }
        });
        drop(self.hold(backend));
        ordered
    }

    /// Has a dead letter published again, by its backend or, where it was set aside, by the routes; durable when this returns.
    ///
    /// # Errors
    /// [`Refused`]; nothing changed.
    pub async fn release(&self, id: &Id) -> Result<(), Refused> {
        let (this, id) = (self.clone(), id.clone());
        whole(async move { this.mark(&id).await }).await
    }

    async fn mark(&self, id: &Id) -> Result<(), Refused> {
        if id.backend.as_str() == aside::HOLDER {
            return aside::release(&self.0.journal, &self.0.dead, id).await.map(drop);
        }
        let desk = self.desk(&id.backend)?;
        let (dead, marked) = (self.0.dead.clone(), id.clone());
        let marked = blocking(move || Ok(dead.mark(&marked))).await?;
        match marked {
            Ok(true) => {}
            Ok(false) => return Err(Refused::Gone(format!("there is no dead letter {id}"))),
            Err(LetterError::Damaged(why)) => return Err(Refused::Damaged(why)),
            Err(LetterError::Io(error)) => return Err(error.into()),
        }
        desk.change(|waiting| {
            if !waiting.letters.contains(&id.number) {
                waiting.letters.push_back(id.number);
            }
        });
        Ok(())
    }

    /// Ranges that are not done, by backend and age.
    pub fn orders(&self) -> Vec<Order> {
        self.0.desks.values().flat_map(|desk| desk.waiting().orders.values().cloned().collect::<Vec<_>>()).collect()
    }

    /// Ends an order where it is; `false`: there is none.
    ///
    /// # Errors
    /// Its file cannot be removed: it goes on.
    pub async fn cancel(&self, id: &Id) -> io::Result<bool> {
        let (this, id) = (self.clone(), id.clone());
        whole(async move { this.end(&id).await }).await
    }

    async fn end(&self, id: &Id) -> io::Result<bool> {
        let Some(desk) = self.0.desks.get(&id.backend) else { return Ok(false) };
        // Before its file: a lane that writes that once more meanwhile must find that it is not wanted.
        let Some(order) = desk.change(|waiting| waiting.orders.remove(&id.number)) else { return Ok(false) };
        let (this, gone) = (self.clone(), id.clone());
        let erased = blocking(move || this.erase(&gone)).await;
        if erased.is_err() {
            desk.change(|waiting| waiting.orders.insert(id.number, order));
        }
        drop(self.hold(&id.backend));
        erased.map(|_| true)
    }

    /// Follows whether something waits for `backend`.
    pub(super) fn any(&self, backend: &BackendName) -> watch::Receiver<bool> {
        self.0.desks.get(backend).map_or_else(|| watch::Sender::new(false).subscribe(), |desk| desk.any.subscribe())
    }

    /// The oldest order of `backend`.
    pub(super) fn first(&self, backend: &BackendName) -> Option<Order> {
        self.0.desks.get(backend)?.waiting().orders.values().next().cloned()
    }

    /// Takes up to `most` letters of `backend` out, in turn.
    pub(super) fn take_letters(&self, backend: &BackendName, most: usize) -> Vec<u64> {
        let take = |waiting: &mut Waiting| {
            let most = most.min(waiting.letters.len());
            waiting.letters.drain(..most).collect()
        };
        self.0.desks.get(backend).map_or_else(Vec::new, |desk| desk.change(take))
    }

    /// Puts letters back, behind the others.
    pub(super) fn put_letters(&self, backend: &BackendName, letters: impl IntoIterator<Item = u64>) {
        if let Some(desk) = self.0.desks.get(backend) {
            desk.change(|waiting| waiting.letters.extend(letters));
        }
    }

    /// Writes down how far `order` is; it is gone when it is done. One that was cancelled meanwhile stays so. Blocks.
    ///
    /// # Errors
    /// Its file cannot be changed: after a kill, some events come once more.
    pub(super) fn advance(&self, order: &Order) -> io::Result<()> {
        let (backend, number) = (&order.id.backend, order.id.number);
        let Some(desk) = self.0.desks.get(backend) else { return Ok(()) };
        if !desk.waiting().orders.contains_key(&number) {
            return Ok(());
        }
        let written = if order.is_done() { self.erase(&order.id).map(drop) } else { self.write(order) };
        let cancelled = desk.change(|waiting| {
            if order.is_done() {
                waiting.orders.remove(&number);
                return false;
            }
            waiting.orders.get_mut(&number).map(|kept| *kept = order.clone()).is_none()
        });
        if cancelled {
            self.erase(&order.id)?;
        }
        drop(self.hold(backend));
        written
    }

    /// Dead letters of all backends.
    pub(super) fn dead(&self) -> &DeadLetters {
        &self.0.dead
    }

    /// The dead letter `number` of `backend`, as the event that it was; `None`: it is gone, or damaged. Blocks.
    ///
    /// # Errors
    /// It cannot be read now: it may be a whole letter.
    pub(super) fn letter(&self, backend: &BackendName, number: u64) -> io::Result<Option<Stored>> {
        let id = Id { number, backend: backend.clone() };
        match self.0.dead.get(&id) {
            Ok(letter) => Ok(letter.and_then(|letter| letter.stored().ok())),
            Err(LetterError::Damaged(why)) => {
                tracing::error!("dead letter {id} is damaged: {why}");
                Ok(None)
            }
            Err(LetterError::Io(error)) => Err(error),
        }
    }

    fn desk(&self, backend: &BackendName) -> Result<&Desk, Refused> {
        self.0.desks.get(backend).ok_or_else(|| Refused::Backend(backend.clone()))
    }

    /// Moves the backend's cursor to what its orders need; resolves once that is on disk.
    fn hold(&self, backend: &BackendName) -> Option<tokio::sync::oneshot::Receiver<()>> {
        let name = cursor_name(backend);
        let desk = self.0.desks.get(backend)?;
        // One after the other: an older need must not be written over a newer one.
        let waiting = desk.waiting();
        match waiting.needs() {
            Some(after) => Some(self.0.journal.sync_cursor(&name, Cursor { decided: after, published: after })),
            None if self.0.journal.cursors().contains_key(&name) => Some(self.0.journal.drop_cursor(&name)),
            None => None,
        }
    }

    fn write(&self, order: &Order) -> io::Result<()> {
        let bytes = serde_json::to_vec(&order)?;
        files::write(&self.0.dir.join(order.id.backend.as_str()), &files::name(order.id.number, ORDER), &bytes)
    }

    fn erase(&self, id: &Id) -> io::Result<bool> {
        files::remove(&self.0.dir.join(id.backend.as_str()), &files::name(id.number, ORDER))
    }
}

/// The orders in `dir`; what is none is reported and left.
fn read(dir: &Path, backend: &BackendName) -> BTreeMap<u64, Order> {
    let names = files::sweep(dir).and_then(|()| files::names(dir)).unwrap_or_else(|error| {
        tracing::error!("cannot read the replays of backend {backend}: {error}");
        Vec::new()
    });
    let mut orders = BTreeMap::new();
    for name in names {
        let read = || {
            let number = files::number(&name, ORDER).ok_or_else(|| io::Error::other("not the name of a replay"))?;
            let order: Order = serde_json::from_slice(&std::fs::read(dir.join(&name))?)?;
            let id = Id { number, backend: backend.clone() };
            if order.id == id {
                Ok((number, order))
            } else {
                Err(io::Error::other(format!("it says that it is {}", order.id)))
            }
        };
        match read() {
            Ok((number, order)) => _ = orders.insert(number, order),
            Err(error) => tracing::error!("{}: {error}; it is left as it is", dir.join(&name).display()),
        }
    }
    orders
}

/// Does `work` to its end, also where whoever asked for it hangs up: half of it would keep events in the journal until
/// the next start, or be known to the disk alone.
async fn whole<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    tokio::spawn(work).await.map_err(io::Error::other)?
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
