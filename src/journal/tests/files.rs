//! What a start finds in the directory that no stop left there.

use super::*;

fn seg(dir: &Path, first: u64) -> PathBuf {
    dir.join("journal").join(segment::file_name(first))
}

fn quarantine(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir.join("quarantine")) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A stopped journal of 20 events in two segments; the first position in the second one.
async fn stopped(dir: &Path) -> u64 {
    let journal = open(dir);
    for n in 0..20 {
        append(&journal, &format!("e{n}"), &[7; 20 << 10]).await;
    }
    journal.close();
    let segments = journal.shared.segments();
    assert_eq!(segments.len(), 2);
    segments[1].first
}

#[tokio::test]
async fn what_an_interrupted_write_left_goes_and_what_is_not_ours_stays() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close();
    let ours = ["journal/spare-7.tmp", "journal/first.tmp", "dedup/00000000000000000001.tmp"];
    let foreign = ["journal/notes.txt", "journal/copy.seg", "journal/7.seg", "dedup/notes.tmp", "dedup/notes.txt"];
    std::fs::create_dir_all(dir.path().join("dedup")).unwrap();
    for name in ours.iter().chain(&foreign) {
        std::fs::write(dir.path().join(name), b"x").unwrap();
    }
    let journal = open(dir.path());
    assert!(matches!(append(&journal, "a", b"x").await, Appended::New(1)));
    journal.close();
    assert_eq!(ours.map(|name| dir.path().join(name).exists()), [false; 3]);
    assert_eq!(foreign.map(|name| dir.path().join(name).exists()), [true; 5]);
    assert_eq!(quarantine(dir.path()), [""; 0]);
}

#[tokio::test]
async fn a_copy_of_a_segment_under_another_name_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let second = stopped(dir.path()).await;
    std::fs::copy(seg(dir.path(), second), seg(dir.path(), 99)).unwrap();
    let journal = open(dir.path());
    assert_eq!(ids(&journal), (0..20).map(|n| format!("e{n}")).collect::<Vec<_>>());
    assert!(matches!(append(&journal, "next", b"x").await, Appended::New(99..)));
    assert_eq!(append(&journal, "e19", b"x").await, Appended::Duplicate);
    journal.close();
}

#[tokio::test]
async fn a_segment_of_which_nothing_can_be_read_is_kept_aside_and_its_positions_are_left_out() {
    for length in [0, 40, 100, 5_000, 256 << 10] {
        let dir = tempfile::tempdir().unwrap();
        let second = stopped(dir.path()).await;
        std::fs::write(seg(dir.path(), second), vec![0xa5; length]).unwrap();
        let journal = open(dir.path());
        assert_eq!(all(&journal, 0).len() as u64, second - 1);
        assert_eq!(quarantine(dir.path()), [format!("{second:020}.seg")], "{length}");
        assert_eq!(journal.shared.metrics.journal_damaged.get(), 1);
        // As many as a whole segment might have held, and not many more.
        let least = second + (256 << 10) / 48;
        let Appended::New(next) = append(&journal, "next", b"x").await else { panic!("a duplicate") };
        assert!((least..least + 100).contains(&next), "{next} after {second}, {length}");
        journal.close();
    }
}

#[test]
fn nothing_kept_aside_takes_the_place_of_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    let keep = |text: &str| {
        find::keep_aside(&disk::System, dir.path(), "x.bin", |to| std::fs::write(to, text)).unwrap();
    };
    ["a", "b", "c"].into_iter().for_each(keep);
    assert_eq!(quarantine(dir.path()), ["x.bin", "x.bin.1", "x.bin.2"]);
    let read = |name: &str| std::fs::read_to_string(dir.path().join("quarantine").join(name)).unwrap();
    assert_eq!(["x.bin", "x.bin.1", "x.bin.2"].map(read), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_segment_that_is_gone_changes_nothing_in_the_ones_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = {
        let mut options = options(dir.path());
        options.settings.segment_bytes = 64 << 10;
        Journal::open(options).unwrap()
    };
    // The middle one is shorter than the first.
    for (id, size) in [("a", 50_000), ("b", 10_000), ("c", 50_000)] {
        append(&journal, id, &vec![7; size]).await;
    }
    journal.close();
    assert_eq!(journal.shared.segments().len(), 3);
    std::fs::remove_file(seg(dir.path(), 2)).unwrap();
    let journal = open(dir.path());
    assert_eq!(ids(&journal), ["a", "c"]);
    journal.close();
}

#[tokio::test]
async fn damage_at_the_end_of_a_sealed_segment_is_kept_aside_whole() {
    let dir = tempfile::tempdir().unwrap();
    let second = stopped(dir.path()).await;
    let mut bytes = std::fs::read(seg(dir.path(), 1)).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    let from = end - (20 << 10);
    bytes[from] ^= 1;
    std::fs::write(seg(dir.path(), 1), bytes).unwrap();
    let journal = open(dir.path());
    assert_eq!(all(&journal, 0).len(), 19);
    let kept = quarantine(dir.path());
    assert_eq!(kept.len(), 1, "{kept:?}");
    let size = std::fs::metadata(dir.path().join("quarantine").join(&kept[0])).unwrap().len();
    assert!((20 << 10..21 << 10).contains(&size), "{size}");
    assert_eq!(all(&journal, second - 1).len() as u64, 21 - second, "the next one is whole");
    journal.close();
}

#[tokio::test]
async fn a_segment_that_vanishes_while_it_is_listed_is_an_error_of_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    stopped(dir.path()).await;
    let journal = open(dir.path());
    std::fs::remove_file(seg(dir.path(), 1)).unwrap();
    let wrong = journal.reader(0).read(10, 1 << 20).unwrap_err();
    assert_eq!(wrong.kind(), std::io::ErrorKind::NotFound);
    journal.close();
}

fn damage_checkpoint(segment: &Path) {
    let file = std::fs::OpenOptions::new().write(true).open(segment).unwrap();
    file.write_all_at(&[0xff; 16], format::DATA_START + 8).unwrap();
}

#[tokio::test]
async fn cursors_come_from_older_checkpoints_where_the_newest_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let at = |decided| Cursor { decided, published: decided };
    // Whoever sends it moves no cursor by it.
    let forged = BTreeMap::from([("backend:b".to_owned(), at(99))]);
    let mut body = cursors::Cursors::new(forged).checkpoint();
    body.resize(100 << 10, 7);
    journal.sync_cursor("backend:gone", at(1)).await.unwrap();
    journal.sync_cursor("backend:b", at(1)).await.unwrap();
    let mut n = 0;
    let mut fill = async |segments: usize| {
        while journal.shared.segments().len() < segments {
            append(&journal, &format!("e{n}"), &body).await;
            n += 1;
        }
    };
    fill(2).await;
    journal.drop_cursor("backend:gone").await.unwrap();
    journal.sync_cursor("backend:b", at(2)).await.unwrap();
    fill(3).await;
    journal.close();
    damage_checkpoint(&newest_segment(dir.path()));
    let journal = open(dir.path());
    assert_eq!(journal.cursors().into_iter().collect::<Vec<_>>(), [("backend:b".to_owned(), at(2))]);
    journal.close();
}

#[tokio::test]
async fn a_cursor_that_did_not_move_lately_is_found_behind_several_damaged_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let at = |decided| Cursor { decided, published: decided };
    journal.sync_cursor("backend:idle", at(1)).await.unwrap();
    for n in 0..9 {
        append(&journal, &format!("e{n}"), &[7; 100 << 10]).await;
        journal.sync_cursor("backend:b", at(n)).await.unwrap();
    }
    let mut segments = journal.shared.segments();
    journal.close();
    assert!(segments.len() > 3);
    for segment in segments.drain(1..) {
        damage_checkpoint(&segment.path);
    }
    let journal = open(dir.path());
    let found: Vec<_> = journal.cursors().into_iter().collect();
    assert_eq!(found, [("backend:b".to_owned(), at(8)), ("backend:idle".to_owned(), at(1))]);
    journal.close();
}

#[tokio::test]
async fn a_read_ends_with_its_events_or_its_bytes_and_goes_on_there() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for n in 0..10 {
        append(&journal, &format!("e{n}"), &[7; 100]).await;
    }
    for memory in [true, false] {
        if !memory {
            *journal.shared.ring.write().unwrap() = ring::Ring::new(0, 10);
        }
        let mut reader = journal.reader(0);
        let mut read = |events, bytes| {
            let before = reader.position();
            let found: Vec<_> = reader.read(events, bytes).unwrap().iter().map(|stored| stored.sequence).collect();
            assert_eq!(reader.position(), before + found.len() as u64);
            found
        };
        assert_eq!(read(3, 1 << 20), [1, 2, 3], "{memory}");
        assert_eq!(read(99, 299), [4, 5], "{memory}");
        assert_eq!(read(99, 200), [6, 7], "{memory}");
        assert_eq!(read(99, 1), [8], "{memory}: one in any case");
        assert_eq!(read(99, 1 << 20), [9, 10], "{memory}");
        reader.seek(1);
        assert_eq!(reader.read(1, 1 << 20).unwrap()[0].sequence, 2, "{memory}");
    }
    journal.close();
}

#[tokio::test]
async fn a_reader_begins_near_a_place_that_was_read_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    (options.settings.max_bytes, options.settings.segment_bytes) = (64 << 20, 8 << 20);
    let journal = Journal::open(options).unwrap();
    for n in 0..30 {
        append(&journal, &format!("e{n}"), &vec![7; 100 << 10]).await;
    }
    *journal.shared.ring.write().unwrap() = ring::Ring::new(0, 30);
    let segments = journal.shared.segments();
    let segment = segments.iter().max_by_key(|segment| segment.end()).unwrap();
    assert_eq!(segment.near(segment.last()), None);
    all(&journal, 0);
    let near = segment.near(segment.last()).unwrap();
    assert!(near + (2 << 20) > segment.end() && near < segment.end(), "{near} of {}", segment.end());
    assert_eq!(all(&journal, 28).len(), 2);
    journal.close();
}

/// Writes `garbage` behind all that the newest segment holds.
fn append_garbage(dir: &Path, garbage: &[u8]) {
    let path = newest_segment(dir);
    let bytes = std::fs::read(&path).unwrap();
    let end = (bytes.iter().rposition(|b| *b != 0).unwrap() + 1).next_multiple_of(8);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(garbage, end as u64).unwrap();
}

#[tokio::test]
async fn a_torn_write_is_cut_once_and_kept_aside_whole() {
    let half = b"half a frame".to_vec();
    for (garbage, skipped) in [(half, 1), (vec![0xa5; 48 * 100], 100), (vec![0xa5; 3 << 19], (3 << 19) / 48)] {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        for id in ["a", "b", "c"] {
            append(&journal, id, b"0123456789").await;
        }
        journal.close();
        append_garbage(dir.path(), &garbage);
        let journal = open(dir.path());
        assert_eq!(*journal.tail().borrow(), 3 + skipped);
        journal.close();
        let kept = quarantine(dir.path());
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert!(std::fs::read(dir.path().join("quarantine").join(&kept[0])).unwrap() == garbage);
        let journal = open(dir.path());
        assert_eq!((*journal.tail().borrow(), quarantine(dir.path())), (3 + skipped, kept), "nothing is left of it");
        assert_eq!(ids(&journal), ["a", "b", "c"]);
        journal.close();
    }
}

#[test]
fn after_a_kill_too_damage_costs_only_what_it_hit() {
    let dir = tempfile::tempdir().unwrap();
    let open = || recovery::open(options(dir.path()), Box::new(disk::System), || {}).unwrap();
    let (shared, mut writer) = open();
    for id in ["a", "b", "c"] {
        let body = Bytes::from_static(b"the body of this event");
        let envelope = Envelope { id: id.into(), body, ..Envelope::default() };
        _ = shared.queue.push(Record::new(&envelope, Key::NONE, Duration::ZERO, 1)).unwrap();
        writer.step(&shared, shared.queue.take());
    }
    drop((shared, writer));
    let path = newest_segment(dir.path());
    let bytes = std::fs::read(&path).unwrap();
    let hits: Vec<_> = bytes.windows(8).enumerate().filter(|(_, part)| part == b"the body").map(|(at, _)| at).collect();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"THE", hits[1] as u64).unwrap();
    let (shared, _writer) = open();
    let mut reader = Reader::new(Arc::new(shared), 0);
    let mut found = Vec::new();
    while reader.is_behind() {
        found.extend(reader.read(9, 1 << 20).unwrap().into_iter().map(|stored| stored.sequence));
    }
    assert_eq!(found, [1, 3]);
}
