//! Events that a backend can never take: kept durably, one file each, until somebody decides.
//!
//! `<journal>/dead/<backend>/<sequence>.json` holds why, when, after how many attempts, and the whole event; an empty
//! `<sequence>.replay` beside it says that the letter is to be published again. Writing one again replaces it: a letter
//! is never doubled. A file that cannot be read is reported and passed, and hides no other. All of it blocks.
//!
//! Knows nothing of lanes.

mod letter;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

pub use letter::{Letter, LetterError};

use super::files::{self, Id};
use crate::backend::Failure;
use crate::event::{BackendName, Stored};
use crate::telemetry::metrics::{self, Labels};

/// Bytes of letters after which a page ends.
const PAGE_BYTES: usize = 8 << 20;

const LETTER: &str = "json";
const MARK: &str = "replay";

/// Where they lie; clones share it.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    dir: PathBuf,
    count: Family<Labels, Gauge>,
    /// Held while a letter is read and then changed.
    change: Arc<Mutex<()>>,
}

/// Which letters are wanted.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Of this backend; `None`: of all, also of those that are not configured any more.
    pub backend: Option<BackendName>,
    /// Behind this one, in the page's order.
    pub after: Option<Id>,
    /// The newest first.
    pub newest_first: bool,
    /// Most letters.
    pub limit: usize,
    /// Without the events.
    pub bare: bool,
}

/// Some letters, by the positions of their events.
#[derive(Debug, Default)]
pub struct Page {
    /// The letters.
    pub letters: Vec<Letter>,
    /// What else lies there.
    pub unreadable: Vec<Unreadable>,
    /// The letter behind which the next page begins, if there is one.
    pub next: Option<Id>,
}

/// A file that is no letter.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Unreadable {
    /// Its path below the directory of all letters.
    pub file: String,
    /// Why.
    pub detail: String,
}

impl DeadLetters {
    /// The letters under the journal's directory `dir`; `count` follows how many a backend has.
    pub fn new(dir: &Path, count: &Family<Labels, Gauge>) -> Self {
        Self { dir: dir.join("dead"), count: count.clone(), change: Arc::default() }
    }

    /// The directory `name` beside them.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.with_file_name(name)
    }

    /// How many `backend` has.
    pub fn count(&self, backend: &BackendName) -> i64 {
        self.gauge(backend).get()
    }

    /// Counts what an earlier process left, for `backends` also where that is nothing, and returns the letters that it was asked to publish again.
    /// A backend whose letters cannot be read is reported, and hides no other's.
    ///
    /// # Errors
    /// The directory of all cannot be read.
    pub fn open(&self, backends: &[BackendName]) -> io::Result<BTreeMap<BackendName, Vec<u64>>> {
        backends.iter().for_each(|backend| _ = self.gauge(backend).set(0));
        let mut marked = BTreeMap::new();
        for name in files::names(&self.dir)? {
            let Ok(backend) = name.parse::<BackendName>() else { continue };
            let dir = self.dir.join(&name);
            if !dir.is_dir() {
                continue;
            }
            match self.open_one(&backend, &dir) {
                Ok(kept) => _ = marked.insert(backend, kept),
                Err(error) => tracing::error!("cannot read the dead letters of {backend}: {error}"),
            }
        }
        Ok(marked)
    }

    fn open_one(&self, backend: &BackendName, dir: &Path) -> io::Result<Vec<u64>> {
        files::sweep(dir)?;
        let names = files::names(dir)?;
        let letters = names.iter().filter_map(|name| files::number(name, LETTER)).count();
        self.gauge(backend).set(i64::try_from(letters).unwrap_or(i64::MAX));
        let numbers = names.iter().filter_map(|name| files::number(name, MARK));
        // A kill between the two removals leaves a mark without its letter.
        let (kept, orphans): (_, Vec<_>) =
            numbers.partition(|&number| names.binary_search(&files::name(number, LETTER)).is_ok());
        orphans.into_iter().try_for_each(|number| files::remove(dir, &files::name(number, MARK)).map(drop))?;
        Ok(kept)
    }

    /// Keeps `stored`, or says anew why it was refused; durable when this returns.
    ///
    /// # Errors
    /// It cannot be written: the event is not decided then.
    pub fn keep(&self, name: &BackendName, stored: &Stored, why: &Failure, attempts: u32, now: u64) -> io::Result<()> {
        let _change = self.changing();
        self.write(&Letter::new(name, stored, why, attempts, now)?)
    }

    /// Keeps `letter`; durable when this returns.
    ///
    /// # Errors
    /// As [`Self::keep`].
    pub(super) fn put(&self, letter: &Letter) -> io::Result<()> {
        let _change = self.changing();
        self.write(letter)
    }

    /// Keeps `stored` after it was published again and refused: one attempt more than its letter has.
    /// `only_if_kept`: nothing is written where the letter has been dropped meanwhile.
    ///
    /// # Errors
    /// As [`Self::keep`].
    pub fn refused_again(
        &self,
        id: &Id,
        stored: &Stored,
        why: &Failure,
        now: u64,
        only_if_kept: bool,
    ) -> io::Result<()> {
        let _change = self.changing();
        if only_if_kept && !self.path(id).exists() {
            return Ok(());
        }
        let before = self.read(id).ok().flatten().map_or(0, |letter| letter.attempts);
        self.write(&Letter::new(&id.backend, stored, why, before.saturating_add(1), now)?)
    }

    /// One letter, if there is one.
    ///
    /// # Errors
    /// What lies there is no letter, or cannot be read.
    pub fn get(&self, id: &Id) -> Result<Option<Letter>, LetterError> {
        let letter = self.read(id)?;
        Ok(letter.map(|letter| Letter { replaying: Some(self.is_marked(id)), ..letter }))
    }

    /// Some letters.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn page(&self, query: &Query) -> io::Result<Page> {
        let mut page = Page::default();
        let mut ids = self.ids(query.backend.as_ref(), &mut page.unreadable)?;
        if query.after.is_some() {
            // Files that are none of ours were on the first page.
            page.unreadable.clear();
        }
        ids.sort_unstable();
        if query.newest_first {
            ids.reverse();
        }
        let behind =
            |id: &Id| query.after.as_ref().is_none_or(|after| (id > after) != query.newest_first && id != after);
        let mut ids = ids.into_iter().filter(behind).peekable();
        let (mut bytes, mut last) = (0, None);
        while page.letters.len() < query.limit && bytes < PAGE_BYTES {
            let Some(id) = ids.next() else { break };
            match self.get(&id) {
                Ok(Some(mut letter)) => {
                    letter.event = letter.event.filter(|_| !query.bare);
                    bytes += letter.event.as_ref().map_or(0, |event| event.get().len());
                    page.letters.push(letter);
                }
                // It went while the others were read.
                Ok(None) => {}
                Err(error) => {
                    let file = format!("{}/{}", id.backend, files::name(id.number, LETTER));
                    page.unreadable.push(Unreadable { file, detail: error.to_string() });
                }
            }
            last = Some(id);
        }
        page.next = last.filter(|_| ids.peek().is_some());
        Ok(page)
    }

    /// Removes a letter, readable or not, for ever; whether there was one.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, id: &Id) -> io::Result<bool> {
        let _change = self.changing();
        let dir = self.dir.join(id.backend.as_str());
        let was = files::remove(&dir, &files::name(id.number, LETTER))?;
        files::remove(&dir, &files::name(id.number, MARK))?;
        self.gauge(&id.backend).dec_by(i64::from(was));
        Ok(was)
    }

    /// Marks a letter to be published again, durably; `false`: there is none.
    ///
    /// # Errors
    /// The mark cannot be written, or what lies there is no letter.
    pub fn mark(&self, id: &Id) -> Result<bool, LetterError> {
        let _change = self.changing();
        let is_there = self.read(id)?.is_some();
        if is_there && !self.is_marked(id) {
            files::write(&self.dir.join(id.backend.as_str()), &files::name(id.number, MARK), b"")?;
        }
        Ok(is_there)
    }

    /// Takes the mark away: it was tried again, and stays.
    ///
    /// # Errors
    /// The mark cannot be removed.
    pub fn unmark(&self, id: &Id) -> io::Result<()> {
        files::remove(&self.dir.join(id.backend.as_str()), &files::name(id.number, MARK)).map(drop)
    }

    fn ids(&self, wanted: Option<&BackendName>, unreadable: &mut Vec<Unreadable>) -> io::Result<Vec<Id>> {
        let mut ids = Vec::new();
        let mut foreign = |file: String, detail: String| unreadable.push(Unreadable { file, detail });
        let dirs = wanted.map_or_else(|| files::names(&self.dir), |name| Ok(vec![name.to_string()]))?;
        for dir in dirs {
            let Ok(backend) = dir.parse::<BackendName>() else {
                foreign(dir, "not the directory of a backend".to_owned());
                continue;
            };
            let names = match files::names(&self.dir.join(&dir)) {
                Ok(names) => names,
                Err(error) => {
                    foreign(dir, error.to_string());
                    continue;
                }
            };
            for name in names {
                match files::number(&name, LETTER) {
                    Some(number) => ids.push(Id { number, backend: backend.clone() }),
                    None if files::number(&name, MARK).or(files::number(&name, "tmp")).is_some() => {}
                    None => foreign(format!("{dir}/{name}"), "not the name of a letter".to_owned()),
                }
            }
        }
        Ok(ids)
    }

    fn read(&self, id: &Id) -> Result<Option<Letter>, LetterError> {
        match std::fs::read(self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
            Ok(bytes) => Letter::parse(&bytes, id).map(Some),
        }
    }

    fn write(&self, letter: &Letter) -> io::Result<()> {
        let id = letter.id().map_err(io::Error::other)?;
        let was = self.path(&id).exists();
        let bytes = serde_json::to_vec(letter)?;
        files::write(&self.dir.join(id.backend.as_str()), &files::name(id.number, LETTER), &bytes)?;
        self.gauge(&id.backend).inc_by(i64::from(!was));
        Ok(())
    }

    fn path(&self, id: &Id) -> PathBuf {
        self.dir.join(id.backend.as_str()).join(files::name(id.number, LETTER))
    }

    fn is_marked(&self, id: &Id) -> bool {
        self.path(id).with_extension(MARK).exists()
    }

    fn gauge(&self, backend: &BackendName) -> Gauge {
        self.count.get_or_create(&metrics::backend(backend.as_str())).clone()
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
