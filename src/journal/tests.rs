mod damage;
mod fake;
mod files;
mod house;
mod model;
mod trouble;

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use damage::Dice;

use super::*;
use crate::event::Stored;

fn options(dir: &Path) -> Options {
    Options {
        settings: settings::Settings {
            dir: dir.to_owned(),
            max_bytes: 4 << 20,
            retention: Duration::from_secs(3600),
            segment_bytes: 256 << 10,
        },
        dedup: settings::Dedup::default(),
        clock: || 1_700_000_000_000,
        metrics: Metrics::default(),
    }
}

fn open(dir: &Path) -> Journal {
    Journal::open(options(dir)).unwrap()
}

fn record(journal: &Journal, id: &str, body: &[u8]) -> Record {
    let envelope =
        Envelope { id: id.into(), source: "s".into(), body: Bytes::copy_from_slice(body), ..Envelope::default() };
    Record::new(&envelope, journal.key(&[b"s", id.as_bytes()]), Duration::from_secs(3600), 1_700_000_000_000)
}

async fn append(journal: &Journal, id: &str, body: &[u8]) -> Appended {
    journal.append(record(journal, id, body)).await.unwrap()
}

fn all(journal: &Journal, after: u64) -> Vec<Stored> {
    let mut reader = journal.reader(after);
    let mut out = Vec::new();
    while reader.is_behind() {
        out.extend(reader.read(10, 1 << 20).unwrap());
    }
    out
}

fn ids(journal: &Journal) -> Vec<String> {
    all(journal, 0).iter().map(|stored| stored.envelope.id.to_string()).collect()
}

fn newest_segment(dir: &Path) -> PathBuf {
    let mut paths: Vec<_> =
        std::fs::read_dir(dir.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths.pop().unwrap()
}

#[tokio::test]
async fn accepted_events_come_back_in_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for n in 0..50 {
        append(&journal, &format!("e{n}"), format!("body {n}").as_bytes()).await;
    }
    let before = all(&journal, 0);
    journal.close();
    let journal = open(dir.path());
    assert_eq!(all(&journal, 0), before);
    assert_eq!(before.len(), 50);
    assert!(before.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert_eq!(append(&journal, "next", b"").await, Appended::New(51));
    journal.close();
}

#[tokio::test]
async fn racing_copies_of_an_event_are_one_event_restarts_included() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let copies: Vec<_> = (0..100).map(|_| journal.append(record(&journal, "same", b"x"))).collect();
    let mut new = 0;
    for copy in copies {
        new += usize::from(matches!(copy.await.unwrap(), Appended::New(_)));
    }
    assert_eq!(new, 1);
    journal.close();
    let journal = open(dir.path());
    assert_eq!(append(&journal, "same", b"x").await, Appended::Duplicate);
    assert_eq!(ids(&journal), ["same"]);
    journal.close();
}

#[tokio::test]
async fn keys_outlive_their_segments() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let body = vec![7; 20 << 10];
    for n in 0..60 {
        append(&journal, &format!("e{n}"), &body).await;
    }
    assert!(journal.shared.segments().len() > 3);
    journal.close();
    let journal = open(dir.path());
    for n in 0..60 {
        assert_eq!(append(&journal, &format!("e{n}"), &body).await, Appended::Duplicate, "e{n}");
    }
    journal.close();
    std::fs::remove_dir_all(dir.path().join("dedup")).unwrap();
    let journal = open(dir.path());
    assert_eq!(append(&journal, "e0", &body).await, Appended::Duplicate, "read from the segment itself");
    journal.close();
}

#[tokio::test]
async fn a_reader_reads_across_segments_from_any_position() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let body = vec![7; 20 << 10];
    for n in 0..60 {
        append(&journal, &format!("e{n}"), &body).await;
    }
    journal.close();
    let journal = open(dir.path());
    for after in [0, 1, 11, 12, 13, 35, 59, 60] {
        let found = all(&journal, after);
        assert_eq!(found.len() as u64, 60 - after, "after {after}");
        assert!(found.first().is_none_or(|stored| stored.sequence == after + 1));
    }
    journal.close();
}

#[tokio::test]
async fn a_journal_has_an_id_and_keys_of_its_own_for_life() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let told = || {
        dirs.each_ref().map(|dir| {
            let journal = open(dir.path());
            let told = (journal.id(), journal.key(&[b"a", b"b"]), journal.key(&[b"ab", b""]));
            journal.close();
            told
        })
    };
    let first = told();
    assert!(first[0].0.len() == 32 && first[0].0 != first[1].0, "{first:?}");
    assert!(first[0].1 != first[1].1 && first[0].1 != first[0].2, "{first:?}");
    assert_eq!(told(), first);
}

#[tokio::test]
async fn a_journal_tells_what_it_holds_and_what_that_may_take() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    assert_eq!((journal.now_ms(), journal.before_oldest(), *journal.tail().borrow()), (1_700_000_000_000, 0, 0));
    for n in 0..40 {
        append(&journal, &format!("e{n}"), &[7; 20 << 10]).await;
    }
    assert_eq!(*journal.tail().borrow(), 40);
    let segments = journal.shared.segments();
    let sizes: Vec<u64> = segments.iter().map(|segment| std::fs::metadata(&segment.path).unwrap().len()).collect();
    assert!(sizes.len() > 2 && sizes.iter().all(|size| *size <= 256 << 10), "{sizes:?}");
    assert_eq!(journal.bytes(), sizes.len() as u64 * (256 << 10), "what they may grow to");
    assert_eq!(journal.shared.metrics.journal_bytes.get() as u64, journal.bytes());
    journal.close();
}

#[tokio::test]
async fn undelivered_events_fill_the_journal_and_delivered_ones_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.sync_cursor("backend:b", Cursor::default()).await.unwrap();
    let body = vec![7; 100 << 10];
    let mut accepted = 0;
    let refused = loop {
        match journal.append(record(&journal, &format!("e{accepted}"), &body)).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::Full);
    assert!(accepted > 20, "{accepted}");
    assert!(matches!(*journal.state().borrow(), State::Full(_)));
    assert_eq!(all(&journal, 0).len(), accepted, "reading goes on");
    let first = journal.shared.segments()[0].path.clone();
    journal.save_cursor("backend:b", Cursor { decided: 20, published: 20 }).await.unwrap();
    let mut state = journal.state();
    state.wait_for(|state| *state == State::Open).await.unwrap();
    append(&journal, "after", &body).await;
    assert!(journal.before_oldest() > 0 && journal.before_oldest() <= 20);
    assert!(!first.exists(), "its room is the disk's again");
    journal.close();
}

#[tokio::test]
async fn cursors_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append(&journal, "a", b"").await;
    journal.save_cursor("consumer:c", Cursor { decided: 1, published: 1 }).await.unwrap();
    journal.save_cursor("consumer:gone", Cursor::default()).await.unwrap();
    journal.drop_cursor("consumer:gone").await.unwrap();
    journal.close();
    let journal = open(dir.path());
    assert_eq!(
        journal.cursors().into_iter().collect::<Vec<_>>(),
        [("consumer:c".to_owned(), Cursor { decided: 1, published: 1 })]
    );
    journal.close();
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_the_journal_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for id in ["a", "b", "c"] {
        append(&journal, id, b"0123456789").await;
    }
    let end = journal.shared.segments()[0].end();
    journal.close();
    let file = std::fs::OpenOptions::new().write(true).open(newest_segment(dir.path())).unwrap();
    file.write_all_at(&[0; 16], end - 16).unwrap();
    file.write_all_at(b"half a frame", end + 8).unwrap();
    let journal = open(dir.path());
    assert_eq!(ids(&journal), ["a", "b"]);
    // Position 3 was given out: a backend may know it.
    assert!(matches!(append(&journal, "c", b"again").await, Appended::New(4..)));
    journal.close();
    let journal = open(dir.path());
    assert_eq!(ids(&journal), ["a", "b", "c"]);
    journal.close();
}

#[tokio::test]
async fn damage_costs_the_record_that_it_hit_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for id in ["a", "b", "c"] {
        append(&journal, id, b"the body of this event").await;
    }
    journal.close();
    let path = newest_segment(dir.path());
    let bytes = std::fs::read(&path).unwrap();
    let hits: Vec<_> =
        bytes.windows(8).enumerate().filter(|(_, part)| part == b"the body").map(|(at, _)| at as u64).collect();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"THE", hits[1]).unwrap();
    let journal = open(dir.path());
    assert_eq!(ids(&journal), ["a", "c"]);
    assert_eq!(journal.shared.metrics.journal_damaged.get(), 1);
    assert_eq!(std::fs::read_dir(dir.path().join("quarantine")).unwrap().count(), 1);
    journal.close();
}

#[tokio::test]
async fn a_damaged_header_is_read_from_its_copy() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    append(&journal, "a", b"").await;
    journal.close();
    let file = std::fs::OpenOptions::new().write(true).open(newest_segment(dir.path())).unwrap();
    file.write_all_at(&[0xff; 64], 0).unwrap();
    let journal = open(dir.path());
    assert_eq!(ids(&journal), ["a"]);
    journal.close();
}

#[tokio::test]
async fn a_newer_format_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close();
    let path = newest_segment(dir.path());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&9u32.to_le_bytes(), 8).unwrap();
    file.write_all_at(&9u32.to_le_bytes(), 2048 + 8).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Journal::open(options(dir.path())), Err(OpenError::Newer { found: 9, .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_second_process_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let message = Journal::open(options(dir.path())).err().unwrap().to_string();
    assert!(message.contains(&format!("pid {}", std::process::id())), "{message}");
    journal.close();
    open(dir.path()).close();
}

#[tokio::test]
async fn dropping_the_answer_takes_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    drop(journal.append(record(&journal, "hung up", b"")));
    journal.reader(0).wait().await;
    assert_eq!(ids(&journal), ["hung up"]);
    journal.close();
}

#[tokio::test]
async fn a_reader_on_disk_misses_nothing_while_the_segment_grows() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    *journal.shared.ring.write().unwrap() = ring::Ring::new(0, 0);
    let writer = {
        let journal = journal.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for n in 0..2000 {
                runtime.block_on(append(&journal, &format!("e{n}"), b"x"));
            }
        })
    };
    let mut reader = journal.reader(0);
    let mut seen = 0;
    while seen < 2000 {
        reader.wait().await;
        for stored in reader.read(50, 1 << 20).unwrap() {
            seen += 1;
            assert_eq!(stored.sequence, seen);
        }
    }
    writer.join().unwrap();
    journal.close();
}

#[tokio::test]
async fn a_writer_that_panics_closes_the_journal_and_answers_those_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let disk = fake::Fake::new(1);
    let (shared, writer) = recovery::open(options(Path::new("/data")), Box::new(disk.clone()), || {}).unwrap();
    let lock = lock::DirLock::take(dir.path()).unwrap();
    let journal = Journal::start(Arc::new(shared), writer, lock).unwrap();
    append(&journal, "a", b"x").await;
    disk.panic();
    assert_eq!(journal.append(record(&journal, "b", b"x")).await, Err(AppendError::Closed));
    journal.state().wait_for(|state| matches!(state, State::Closed(_))).await.unwrap();
    assert_eq!(journal.append(record(&journal, "c", b"x")).await, Err(AppendError::Closed));
    assert_eq!(ids(&journal), ["a"], "readers go on");
    tokio::task::spawn_blocking(move || journal.close()).await.unwrap();
}
