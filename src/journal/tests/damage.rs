//! Random damage to a stopped journal of several segments: what it did not touch is all there afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::journal::format::{DATA_START, Frame, HEADER_BYTES, Header, Kind};
use crate::journal::scan::{Scan, Step};

/// Bytes that one event takes in one file.
struct Place {
    file: String,
    range: std::ops::Range<u64>,
}

/// Numbers that are the same in every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

fn small(dir: &Path) -> Journal {
    let mut options = options(dir);
    options.settings.segment_bytes = 64 << 10;
    Journal::open(options).unwrap()
}

/// A stopped journal of six segments or more; the events by sequence.
async fn stopped(dir: &Path) -> BTreeMap<u64, Stored> {
    let journal = small(dir);
    let mut dice = Dice(7);
    for n in 0..260 {
        let body = vec![n as u8; 100 + dice.roll(2500) as usize];
        append(&journal, &format!("e{n}"), &body).await;
        if n % 9 == 0 {
            let cursor = Cursor { decided: n / 2, published: n / 2 };
            journal.save_cursor("backend:b", cursor).await.unwrap();
        }
    }
    let events = all(&journal, 0).into_iter().map(|stored| (stored.sequence, stored)).collect();
    assert!(journal.shared.segments().len() >= 6);
    journal.close();
    events
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let segments = entries.filter(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap()))
        .collect()
}

fn places(dir: &Path) -> BTreeMap<u64, Place> {
    let mut found = BTreeMap::new();
    for (name, bytes) in files(dir) {
        let header = Header::decode(&bytes[..HEADER_BYTES]).unwrap();
        let file = std::fs::File::open(dir.join("journal").join(&name)).unwrap();
        let mut scan = Scan::new(Box::new(file), header.epoch, DATA_START, bytes.len() as u64);
        while let Some(step) = scan.next().unwrap() {
            let Step::Frame(frame, ..) = step else { panic!("damaged before the test") };
            if frame.kind == Kind::Event {
                let end = scan.offset();
                let range = end - Frame::size(frame.length) as u64..end;
                found.insert(frame.sequence, Place { file: name.clone(), range });
            }
        }
    }
    found
}

/// Changes some bytes of one file; what it did, in words.
fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) -> String {
    let size = bytes.len() as u64;
    let at = dice.roll(size) as usize;
    let most = 1 << dice.roll(13);
    let length = (1 + dice.roll(most)).min(size - at as u64) as usize;
    match dice.roll(8) {
        0..3 => {
            let bit = dice.roll(8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        3 => {
            bytes[at..at + length].fill(0);
            format!("{length} B at {at} zeroed")
        }
        4 => {
            bytes[at..at + length].fill_with(|| dice.roll(256) as u8);
            format!("{length} B at {at} overwritten")
        }
        5 => {
            bytes[..(at % 9000).min(size as usize)].fill(0);
            format!("the first {} B zeroed", at % 9000)
        }
        6 => {
            bytes.truncate(at);
            format!("cut to {at} B")
        }
        _ => {
            bytes.extend((0..length).map(|_| dice.roll(256) as u8));
            format!("{length} B appended")
        }
    }
}

/// Sequences whose bytes in `file` differ.
fn touched(places: &BTreeMap<u64, Place>, file: &str, old: &[u8], new: &[u8]) -> BTreeSet<u64> {
    let differs = |range: &std::ops::Range<u64>| {
        let (from, to) = (range.start as usize, range.end as usize);
        old.get(from..to) != new.get(from..to)
    };
    let hit = places.iter().filter(|(_, place)| place.file == file && differs(&place.range));
    hit.map(|(sequence, _)| *sequence).collect()
}

async fn survives(rounds: u64, seed: u64) {
    let master = tempfile::tempdir().unwrap();
    let events = stopped(master.path()).await;
    let places = places(master.path());
    let originals = files(master.path());
    let names: Vec<&String> = originals.keys().collect();
    let highest = *events.keys().next_back().unwrap();
    for round in 0..rounds {
        let mut dice = Dice(seed + round);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("journal")).unwrap();
        let victim = names[dice.roll(names.len() as u64) as usize];
        let (mut what, mut hit) = (String::new(), BTreeSet::new());
        for (name, old) in &originals {
            let mut bytes = old.clone();
            if name == victim {
                what = format!("round {round}: {name}: {}", mutate(&mut bytes, &mut dice));
                hit = touched(&places, name, old, &bytes);
            }
            std::fs::write(dir.path().join("journal").join(name), bytes).unwrap();
        }
        let journal = small(dir.path());
        let found = all(&journal, 0);
        assert!(found.windows(2).all(|pair| pair[0].sequence < pair[1].sequence), "{what}: out of order");
        assert!(found.iter().all(|stored| events.get(&stored.sequence) == Some(stored)), "{what}: changed or invented");
        let kept: BTreeSet<u64> = found.iter().map(|stored| stored.sequence).collect();
        let lost: Vec<u64> = events.keys().copied().filter(|sequence| !kept.contains(sequence)).collect();
        let innocent: Vec<_> = lost.iter().filter(|sequence| !hit.contains(sequence)).collect();
        assert!(innocent.is_empty(), "{what}: untouched events are lost: {innocent:?}, touched were {hit:?}");
        // Damage up to the very end looks as a write does that a power cut tore: cut and kept aside, not counted.
        let at_the_end = lost.last() == Some(&highest);
        if !lost.is_empty() {
            assert!(at_the_end || journal.shared.metrics.journal_damaged.get() > 0, "{what}: {lost:?} not counted");
            let cut = what.contains("cut to");
            assert!(cut || dir.path().join("quarantine").is_dir(), "{what}: {lost:?} not kept aside");
        }
        match append(&journal, "new", b"body").await {
            Appended::New(sequence) => {
                let fresh = sequence > highest || what.contains("cut to") || what.contains("zeroed");
                assert!(fresh, "{what}: {sequence} given out twice");
            }
            Appended::Duplicate => panic!("{what}: a new event is taken for a duplicate"),
        }
        journal.close();
        let journal = small(dir.path());
        let again: BTreeSet<u64> = all(&journal, 0).iter().map(|stored| stored.sequence).collect();
        assert!(again.is_superset(&kept) && again.len() == kept.len() + 1, "{what}: a second start finds less");
        journal.close();
    }
}

#[tokio::test]
async fn no_untouched_event_is_lost_to_damage_and_what_is_hit_is_counted_and_kept_aside() {
    survives(400, 1).await;
}

#[tokio::test]
#[ignore = "the long form"]
async fn no_untouched_event_is_lost_to_much_damage() {
    survives(5_000, 1_000_000).await;
}
