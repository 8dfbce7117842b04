//! The journal against a model of what it promises, over a disk that fails: random histories of appends, cursors,
//! retention, failing operations, kills, power cuts (in a start as well) and clean stops.
//!
//! The writer and the keeper are stepped by hand, with the functions that their threads run.

mod found;
mod ops;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::RwLock;

use futures_util::FutureExt as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use ops::{Op, op};

use super::fake::{Fake, Fault};
use super::*;
use crate::journal::answer::Pending;
use crate::journal::writer::Writer;

const WINDOW_S: u64 = 60;
const START_MS: u64 = 1_700_000_000_000;

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(START_MS) };
}

/// One event that a sender has sent.
#[derive(Clone)]
struct Sent {
    id: u8,
    size: usize,
    time_s: u64,
}

/// What the outside knows.
#[derive(Default)]
struct Model {
    sent: Vec<Sent>,
    /// Position and number of every event that was seen or acknowledged and is not known to be gone.
    known: BTreeMap<u64, usize>,
    /// Those of them that no fault may take away.
    owed: BTreeSet<u64>,
    highest: u64,
    /// The latest time that the clock has told, seconds: a start then forgets what is older than the window.
    newest_s: u64,
    /// What each cursor may be found at: what is certain, then what came after.
    cursors: BTreeMap<String, Vec<Option<u64>>>,
    /// Every reader had passed these at some time.
    passed: u64,
}

struct Rig {
    disk: Fake,
    shared: Arc<Shared>,
    writer: Writer,
    waiting: Vec<(usize, Pending)>,
    moved: Vec<(String, bool, oneshot::Receiver<()>)>,
    model: Model,
}

fn options_of_model() -> Options {
    let mut options = options(Path::new("/data"));
    options.settings.max_bytes = 512 << 10;
    options.settings.segment_bytes = 64 << 10;
    options.settings.retention = Duration::from_secs(10);
    options.dedup.window = Duration::from_secs(WINDOW_S);
    options.clock = || NOW_MS.get();
    options
}

fn start(disk: &Fake) -> Result<(Arc<Shared>, Writer), OpenError> {
    let (mut shared, writer) = recovery::open(options_of_model(), Box::new(disk.clone()), || {})?;
    let tail = *shared.tail.borrow();
    // Small, so that readers ask the disk as well.
    shared.ring = RwLock::new(ring::Ring::new(4096, tail));
    Ok((Arc::new(shared), writer))
}

fn body(number: usize, size: usize) -> Bytes {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((0..size).map(|at| (at * 7 + number) as u8));
    bytes.into()
}

macro_rules! hold {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(TestCaseError::fail(format!($($why)+)));
        }
    };
}

type Checked = Result<(), TestCaseError>;

impl Rig {
    fn new(seed: u64) -> Self {
        NOW_MS.set(START_MS);
        let disk = Fake::new(seed);
        let (shared, writer) = start(&disk).unwrap();
        let model = Model { newest_s: Self::now_s(), ..Model::default() };
        Self { disk, shared, writer, waiting: Vec::new(), moved: Vec::new(), model }
    }

    fn now_s() -> u64 {
        NOW_MS.get() / 1000
    }

    fn append(&mut self, id: u8, size: usize) {
        let number = self.model.sent.len();
        let envelope =
            Envelope { id: id.to_string().into(), source: "s".into(), body: body(number, size), ..Envelope::default() };
        let window = Duration::from_secs(WINDOW_S);
        let record = Record::new(&envelope, Key([id + 1; 16]), window, NOW_MS.get());
        self.model.sent.push(Sent { id, size, time_s: Self::now_s() });
        if let Ok(pending) = self.shared.queue.push(record) {
            self.waiting.push((number, pending));
        }
    }

    /// A round of the writer, and what it answered.
    fn write(&mut self) -> Checked {
        if self.waiting.is_empty() && self.moved.is_empty() {
            return Ok(());
        }
        self.writer.step(&self.shared, self.shared.queue.take());
        for (number, pending) in std::mem::take(&mut self.waiting) {
            match pending.now_or_never() {
                Some(Ok(Appended::New(position))) => self.accepted(number, position)?,
                Some(Ok(Appended::Duplicate)) => self.repeated(number)?,
                Some(Err(_)) => {}
                None => return Err(TestCaseError::fail("an append is not answered")),
            }
        }
        for (name, sync, saved) in std::mem::take(&mut self.moved) {
            // Without the sync it is only certain that it outlives the process.
            if saved.now_or_never().is_some_and(|saved| saved.is_ok()) && sync {
                let history = self.model.cursors.entry(name).or_default();
                history.drain(..history.len().saturating_sub(1));
            }
        }
        Ok(())
    }

    fn accepted(&mut self, number: usize, position: u64) -> Checked {
        hold!(position > self.model.highest, "position {position} is not above {}", self.model.highest);
        let Sent { id, .. } = self.model.sent[number];
        let recent = |seen: &usize| {
            let seen = &self.model.sent[*seen];
            seen.id == id && self.model.newest_s.saturating_sub(seen.time_s) <= WINDOW_S
        };
        if let Some((at, _)) = self.model.known.iter().find(|(_, seen)| recent(seen)) {
            hold!(false, "event {number}, a copy of the one at {at}, is new at {position}");
        }
        self.model.highest = position;
        self.model.known.insert(position, number);
        self.model.owed.insert(position);
        Ok(())
    }

    fn repeated(&mut self, number: usize) -> Checked {
        let Sent { id, time_s, .. } = self.model.sent[number];
        let same = |seen: usize| {
            self.model.sent[seen].id == id && time_s.saturating_sub(self.model.sent[seen].time_s) <= WINDOW_S
        };
        let first = self.model.known.iter().rev().find(|&(_, &seen)| same(seen)).map(|(position, _)| *position);
        match first {
            // From now on its sender relies on it.
            Some(first) if first > self.shared.before_oldest() => _ = self.model.owed.insert(first),
            Some(_) => {}
            None => hold!(false, "event {number} repeats none"),
        }
        Ok(())
    }

    fn move_cursor(&mut self, name: u8, by: u8, sync: bool) {
        let name = format!("backend:{name}");
        let tail = *self.shared.tail.borrow();
        let at = lock(&self.shared.cursors).all().get(&name).map_or(tail, |cursor| cursor.decided);
        let decided = (at + u64::from(by)).min(tail);
        lock(&self.shared.cursors).set(&name, Cursor { decided, published: decided });
        self.model.cursors.entry(name.clone()).or_insert_with(|| vec![None]).push(Some(decided));
        self.moved.push((name, sync, self.shared.queue.cursors_moved(sync)));
    }

    fn drop_cursor(&mut self, name: u8) {
        let name = format!("backend:{name}");
        lock(&self.shared.cursors).remove(&name);
        self.model.cursors.entry(name.clone()).or_insert_with(|| vec![None]).push(None);
        self.moved.push((name, true, self.shared.queue.cursors_moved(true)));
    }

    /// Reads everything and compares it with what is known.
    fn read(&mut self) -> Checked {
        let mut reader = Reader::new(self.shared.clone(), 0);
        let mut found = Vec::new();
        while reader.is_behind() {
            match reader.read(7, 50_000) {
                Ok(stored) => found.extend(stored),
                Err(_) if self.disk.is_dead() => return Ok(()),
                Err(error) => hold!(false, "cannot read: {error}"),
            }
        }
        hold!(found.windows(2).all(|pair| pair[0].sequence < pair[1].sequence), "not in order");
        let oldest = self.shared.before_oldest();
        let positions: BTreeSet<u64> = found.iter().map(|stored| stored.sequence).collect();
        let lost = self.model.owed.range(oldest + 1..).find(|position| !positions.contains(position));
        hold!(lost.is_none(), "lost {lost:?}; kept from {oldest} on");
        for stored in &found {
            let bytes = &stored.envelope.body;
            let number = usize::from_le_bytes(bytes[..8].try_into().unwrap());
            let Some(sent) = self.model.sent.get(number) else { return Err(TestCaseError::fail("a phantom")) };
            hold!(*bytes == body(number, sent.size), "the bytes of event {number} have changed");
            let known = self.model.known.insert(stored.sequence, number);
            hold!(known.is_none_or(|known| known == number), "position {} was given out twice", stored.sequence);
            self.model.highest = self.model.highest.max(stored.sequence);
        }
        // What was refused and is not there did not happen.
        self.model.known.retain(|position, _| *position <= oldest || positions.contains(position));
        let mut numbers = BTreeSet::new();
        hold!(self.model.known.values().all(|number| numbers.insert(*number)), "an event has two positions");
        // Positions that no event has are nobody's.
        let unread = self.model.owed.iter().find(|&&at| self.model.passed < at && at <= oldest);
        hold!(unread.is_none(), "{unread:?} is not kept, but somebody stands at {}", self.model.passed);
        hold!(self.shared.metrics.journal_damaged.get() == 0, "a crash is taken for damage");
        Ok(())
    }

    fn tend(&mut self) {
        let slowest = lock(&self.shared.cursors).slowest().unwrap_or(u64::MAX);
        self.model.passed = self.model.passed.max(slowest);
        keeper::round(&self.shared);
    }

    /// Starts again; power fails after each of `cuts` operations in turn.
    fn restart(&mut self, mut cuts: Vec<u32>) -> Checked {
        self.waiting.clear();
        self.moved.clear();
        loop {
            let cut = cuts.pop();
            match cut {
                Some(operations) => self.disk.cut_in(operations),
                None => self.disk.heal(),
            }
            match start(&self.disk) {
                Ok((shared, writer)) => {
                    (self.shared, self.writer) = (shared, writer);
                    if cut.is_none() {
                        break;
                    }
                }
                Err(error) => hold!(self.disk.is_dead(), "no start after a crash: {error}"),
            }
            if cut.is_some() {
                self.disk.cut();
            }
        }
        let tail = *self.shared.tail.borrow();
        hold!(tail >= self.model.highest, "{tail} given out again, {} was", self.model.highest);
        let now = lock(&self.shared.cursors).all();
        for (name, history) in &mut self.model.cursors {
            let at = now.get(name).map(|cursor| cursor.decided);
            hold!(history.contains(&at), "{name} stands at {at:?}, not one of {history:?}");
            *history = vec![at];
        }
        self.read()
    }

    fn stop(&mut self) -> Checked {
        self.write()?;
        self.disk.heal();
        self.shared.queue.stop();
        while self.writer.step(&self.shared, self.shared.queue.take()) {}
        self.shared.keeper.stop();
        keeper::round(&self.shared);
        self.restart(Vec::new())
    }

    fn cut(&mut self, cuts: Vec<u32>) -> Checked {
        self.disk.heal();
        self.disk.cut();
        self.restart(cuts)
    }

    fn apply(&mut self, op: Op) -> Checked {
        match op {
            Op::Append(events, write) => {
                for (id, size) in events {
                    self.append(id, size);
                }
                if write {
                    self.write()?;
                }
            }
            Op::Cursor(name, by, sync) => {
                self.move_cursor(name, by, sync);
                self.write()?;
            }
            Op::DropCursor(name) => {
                self.drop_cursor(name);
                self.write()?;
            }
            Op::Tend => self.tend(),
            Op::Read => self.read()?,
            Op::Clock(seconds) => {
                NOW_MS.set(NOW_MS.get().saturating_add_signed(i64::from(seconds) * 1000));
                self.model.newest_s = self.model.newest_s.max(Self::now_s());
            }
            Op::Fail(fault) => self.disk.fail(fault),
            Op::Fill(full) => self.disk.fill(full),
            Op::Stop => self.stop()?,
            Op::Kill => {
                self.disk.heal();
                self.disk.kill();
                self.restart(Vec::new())?;
            }
            Op::Cut(0, again) => self.cut(again)?,
            Op::Cut(first, again) => {
                self.disk.cut_in(first);
                self.append(first as u8 % 30, first as usize * 700);
                self.write()?;
                self.tend();
                self.write()?;
                self.cut(again)?;
            }
        }
        Ok(())
    }
}

fn history(seed: u64, ops: Vec<Op>) -> Checked {
    let mut rig = Rig::new(seed);
    for op in ops {
        rig.apply(op)?;
    }
    rig.cut(Vec::new())
}

/// Runs histories of `steps` operations in all.
fn run(steps: u32) {
    let config = Config { cases: steps / 50, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    let strategy = (any::<u64>(), prop::collection::vec(op(), 1..=120));
    let done = Cell::new(0);
    let outcome = TestRunner::new(config).run(&strategy, |(seed, ops)| {
        done.set(done.get() + ops.len());
        history(seed, ops)
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(done.get() >= steps as usize, "{} steps", done.get());
}

#[test]
fn the_journal_keeps_its_promises_on_a_disk_that_fails() {
    run(12_000);
}

#[test]
#[ignore = "a million steps"]
fn the_journal_keeps_its_promises_on_a_disk_that_fails_in_a_million_steps() {
    run(1_000_000);
}
