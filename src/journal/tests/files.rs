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
    let foreign = ["journal/notes.txt", "journal/copy.seg", "dedup/notes.tmp", "dedup/notes.txt"];
    std::fs::create_dir_all(dir.path().join("dedup")).unwrap();
    for name in ours.iter().chain(&foreign) {
        std::fs::write(dir.path().join(name), b"x").unwrap();
    }
    let journal = open(dir.path());
    assert!(matches!(append(&journal, "a", b"x").await, Appended::New(1)));
    journal.close();
    assert_eq!(ours.map(|name| dir.path().join(name).exists()), [false; 3]);
    assert_eq!(foreign.map(|name| dir.path().join(name).exists()), [true; 4]);
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
