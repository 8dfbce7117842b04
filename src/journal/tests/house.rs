//! Housekeeping, round by round and by a clock of its own: what goes, and when.

use std::cell::Cell;

use super::fake::{Fake, Fault};
use super::*;
use crate::journal::disk::{Disk, Zeros};
use crate::journal::writer::Writer;

const START_MS: u64 = 1_700_000_000_000;
const RETENTION_MS: u64 = 10_000;
const WINDOW_MS: u64 = 60_000;

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(START_MS) };
}

/// A journal whose threads are stepped by hand.
struct House {
    dir: tempfile::TempDir,
    shared: Shared,
    writer: Writer,
}

impl House {
    fn new() -> Self {
        Self::on(disk::System, 64 << 10)
    }

    fn on(disk: impl Disk + 'static, segment_bytes: u64) -> Self {
        NOW_MS.set(START_MS);
        Self::at(tempfile::tempdir().unwrap(), disk, segment_bytes)
    }

    /// What the next process finds.
    fn at(dir: tempfile::TempDir, disk: impl Disk + 'static, segment_bytes: u64) -> Self {
        let mut options = options(dir.path());
        options.settings.segment_bytes = segment_bytes;
        options.settings.max_bytes = 64 << 20;
        options.settings.retention = Duration::from_millis(RETENTION_MS);
        options.dedup.window = Duration::from_millis(WINDOW_MS);
        options.clock = || NOW_MS.get();
        let (shared, writer) = recovery::open(options, Box::new(disk), || {}).unwrap();
        Self { dir, shared, writer }
    }

    /// An event that fills a segment.
    fn append(&mut self, id: u8) -> Appended {
        self.append_sized(id, 40 << 10)
    }

    fn append_sized(&mut self, id: u8, bytes: usize) -> Appended {
        let envelope = Envelope { id: "e".into(), body: vec![7; bytes].into(), ..Envelope::default() };
        let record = Record::new(&envelope, Key([id; 16]), Duration::from_secs(3600), NOW_MS.get());
        let answer = self.shared.queue.push(record).unwrap();
        self.writer.step(&self.shared, self.shared.queue.take());
        futures_util::FutureExt::now_or_never(answer).unwrap().unwrap()
    }

    /// A round of the keeper at this time; names of the files that are left in a directory.
    fn tend(&self, since_start_ms: u64, dir: &str) -> Vec<String> {
        NOW_MS.set(START_MS + since_start_ms);
        keeper::round(&self.shared);
        let entries = std::fs::read_dir(self.dir.path().join(dir)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.ends_with(".tmp")).collect();
        names.sort();
        names.iter().map(|name| name.trim_start_matches('0').to_owned()).collect()
    }

    fn decide(&self, position: u64) {
        lock(&self.shared.cursors).set("backend:b", Cursor { decided: position, published: position });
    }
}

#[test]
fn a_segment_goes_when_all_have_passed_it_and_its_retention_is_over() {
    let mut house = House::new();
    house.decide(0);
    (1..=3).for_each(|id| _ = house.append(id));
    assert_eq!(house.tend(RETENTION_MS + 1, "journal"), ["1.seg", "2.seg", "3.seg"], "somebody needs them");
    house.decide(1);
    assert_eq!(house.tend(RETENTION_MS, "journal"), ["1.seg", "2.seg", "3.seg"]);
    assert_eq!(house.tend(RETENTION_MS + 1, "journal"), ["2.seg", "3.seg"]);
    assert_eq!(house.shared.before_oldest(), 1);
    house.decide(3);
    assert_eq!(house.tend(2 * RETENTION_MS, "journal"), ["3.seg"], "the one that is written to");
}

#[test]
fn a_segment_that_somebody_took_away_holds_nothing_up() {
    let mut house = House::new();
    (1..=3).for_each(|id| _ = house.append(id));
    std::fs::remove_file(house.dir.path().join("journal").join(segment::file_name(1))).unwrap();
    assert_eq!(house.tend(RETENTION_MS + 1, "journal"), ["3.seg"]);
    assert_eq!(house.shared.segments().len(), 1);
}

#[test]
fn ids_outlive_their_segment_and_go_when_their_window_is_over() {
    let mut house = House::new();
    house.append(1);
    NOW_MS.set(START_MS + RETENTION_MS);
    house.append(2);
    assert_eq!(house.tend(RETENTION_MS, "dedup"), ["1.ids"]);
    assert_eq!(house.tend(2 * RETENTION_MS + 1, "journal"), ["2.seg"]);
    assert_eq!(house.tend(WINDOW_MS, "journal"), ["2.seg"]);
    assert_eq!(house.append(1), Appended::Duplicate);
    assert_eq!(house.append(3), Appended::New(3));
    // They are looked at when a segment goes.
    assert_eq!(house.tend(WINDOW_MS, "dedup"), ["1.ids", "2.ids"]);
    assert_eq!(house.tend(WINDOW_MS + RETENTION_MS + 1, "dedup"), ["2.ids"]);
}

#[test]
fn ids_stay_for_a_window_that_a_reload_made_longer() {
    let mut house = House::new();
    (1..=2).for_each(|id| _ = house.append(id));
    house.tend(RETENTION_MS, "dedup");
    house.shared.window_s.store(2 * WINDOW_MS / 1000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(house.tend(WINDOW_MS + 1_000, "dedup"), ["1.ids"]);
    assert_eq!(house.tend(2 * WINDOW_MS, "dedup"), ["1.ids"]);
}

#[test]
fn two_spare_segments_never_have_the_same_name() {
    let house = House::new();
    let spare = || {
        keeper::round(&house.shared);
        house.shared.keeper.take_spare().unwrap().path
    };
    assert_ne!(spare(), spare());
}

#[test]
fn the_next_segment_is_written_ahead_where_syncs_are_small_and_only_set_aside_where_they_are_large() {
    let disk = Fake::new(1);
    let mut house = House::on(disk.clone(), 4 << 20);
    let mut ids = 1..=u8::MAX;
    for (bytes, expected) in [(600 << 10, Zeros::Reserved), (40 << 10, Zeros::Written), (600 << 10, Zeros::Reserved)] {
        // The segment at hand may hold other ones.
        for _ in 0..2 {
            let before = house.shared.segments().len();
            while house.shared.segments().len() == before {
                house.append_sized(ids.next().unwrap(), bytes);
            }
            keeper::round(&house.shared);
        }
        assert_eq!(disk.zeroed(), Some(expected), "{bytes}");
    }
}

#[test]
fn a_disk_that_fails_takes_nothing_of_what_is_kept_and_one_that_is_full_does() {
    for full in [false, true] {
        let disk = Fake::new(1);
        let mut house = House::on(disk.clone(), 64 << 10);
        (1..=4).for_each(|id| _ = house.append(id));
        // Ids are written, and there is a spare segment, which the next event takes.
        keeper::round(&house.shared);
        house.append(5);
        // The ids of the last segment, and the spare one.
        disk.fail(Fault { after: 0, times: 2, syncs_only: false, full });
        keeper::round(&house.shared);
        assert_eq!(house.shared.segments().len(), if full { 4 } else { 5 });
    }
}

#[test]
fn what_an_earlier_process_wrote_to_a_segment_counts_for_no_sync_of_this_one() {
    let disk = Fake::new(1);
    let mut house = House::on(disk.clone(), 4 << 20);
    (1..=22).for_each(|id| _ = house.append(id));
    let mut house = House::at(house.dir, disk.clone(), 4 << 20);
    assert_eq!(house.shared.segments().len(), 1);
    (23..=24).for_each(|id| _ = house.append(id));
    assert_eq!(house.shared.segments().len(), 2);
    keeper::round(&house.shared);
    assert_eq!(disk.zeroed(), Some(Zeros::Written));
}

#[tokio::test]
async fn a_reload_may_lengthen_the_time_for_which_ids_are_remembered() {
    for (longer, expected) in [(false, Appended::New(4)), (true, Appended::Duplicate)] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        options.dedup.window = Duration::from_secs(10);
        let journal = Journal::open(options).unwrap();
        if longer {
            journal.widen_dedup(Duration::from_secs(3600));
        }
        let at = |id: &str, after_s: u64| {
            let mut record = record(&journal, id, b"x");
            record.time_ms += after_s * 1000;
            journal.append(record)
        };
        assert_eq!(at("a", 0).await, Ok(Appended::New(1)));
        assert_eq!(at("b", 1000).await, Ok(Appended::New(2)));
        assert_eq!(at("c", 2000).await, Ok(Appended::New(3)));
        assert_eq!(at("a", 2001).await, Ok(expected), "{longer}");
        journal.close();
    }
}

#[tokio::test]
async fn the_writer_answers_until_the_journal_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    assert!(journal.writer_answers().await);
    journal.close();
    assert!(!journal.writer_answers().await);
}
