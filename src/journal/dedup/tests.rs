use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

fn key(n: u64) -> Key {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    bytes[8..].copy_from_slice(&n.to_le_bytes());
    Key(bytes)
}

#[test]
fn a_key_counts_as_seen_until_its_window_is_over() {
    let mut index = Index::new(100, 1 << 20, 1);
    assert!(index.insert(key(1), 1_000, 100));
    assert!(!index.insert(key(1), 1_100, 100));
    assert!(index.insert(key(1), 1_101, 100));
    assert!(!index.insert(key(1), 1_150, 100));
    assert!(index.insert(key(1), 1_150, 20), "a source with a shorter window");
}

#[test]
fn a_key_that_is_asked_for_without_a_limit_keeps_no_other_one_longer() {
    let mut index = Index::new(80, 1 << 20, 1);
    assert!(index.insert(key(0), 0, u64::MAX));
    assert!(!index.insert(key(0), 1, u64::MAX));
    for second in 1..400 {
        index.insert(key(second), second as u32, 80);
    }
    assert!(index.len() <= 80 + 20, "{}", index.len());
    index.widen(200);
    for second in 400..800 {
        index.insert(key(second), second as u32, 80);
    }
    assert!(!index.insert(key(610), 800, 200), "the window is longer since a reload");
}

#[test]
fn keys_fall_into_lists_that_no_sender_can_tell() {
    let places = |seed| {
        let index = Index::new(100, 1 << 20, seed);
        (0..10_000).map(|n| index.place(key(n)).0).collect::<Vec<_>>()
    };
    let (one, other) = (places(1), places(2));
    let same = one.iter().zip(&other).filter(|(one, other)| one == other).count();
    assert!(same < 50, "{same} of 10000 in the same of 2048 lists");
    assert!(one.into_iter().collect::<HashSet<_>>().len() > 2000, "all lists are used");
}

#[test]
fn a_clock_that_went_back_forgets_nothing() {
    let mut index = Index::new(100, 1 << 20, 1);
    assert!(index.insert(key(1), 10_000, 100));
    assert!(!index.insert(key(1), 5, 100));
}

#[test]
fn a_key_whose_event_was_refused_is_new_again() {
    let mut index = Index::new(100, 1 << 20, 1);
    index.insert(key(1), 1, 100);
    index.remove(key(1));
    assert!(index.insert(key(1), 1, 100));
}

#[test]
fn old_generations_go_and_the_rest_stays() {
    let mut index = Index::new(80, 1 << 20, 1);
    for second in 0..400 {
        assert!(index.insert(key(second), second as u32, 80));
        // Their numbers are few.
        assert!(index.generations.all.len() <= 10, "{}", index.generations.all.len());
    }
    assert!(index.len() <= 80 + 20, "{}", index.len());
    for second in 320..400 {
        assert!(!index.insert(key(second), 400, 80), "{second}");
    }
    assert_eq!(index.forgotten(), 0);
    assert!(index.insert(key(400), 1_000, 80));
    assert_eq!(index.len(), 1, "nothing came for longer than the window");
}

#[test]
fn as_many_keys_are_remembered_as_may_be_and_what_goes_early_is_counted() {
    let full = 1 << 12;
    let mut index = Index::new(1_000_000, full as usize, 1);
    for n in 0..full {
        assert!(index.insert(key(n), 1, 1_000_000));
    }
    assert!((0..full).all(|n| !index.insert(key(n), 1, 1_000_000)));
    assert_eq!((index.len() as u64, index.forgotten()), (full, 0));
    assert!(index.insert(key(full), 1, 1_000_000));
    assert_eq!((index.len() as u64, index.forgotten()), (full - full / 16 + 1, full / 16), "the oldest of them");
    assert!(!index.insert(key(full / 16), 1, 1_000_000));
    assert!(index.insert(key(0), 1, 1_000_000));
}

#[test]
fn what_is_forgotten_takes_no_memory() {
    let places = |index: &Index| index.lists.iter().flatten().map(|list| list.0.capacity()).sum::<usize>();
    let full = 1 << 17;
    let mut index = Index::new(1_000, full as usize, 1);
    for n in 0..4 * full {
        index.insert(key(n), 1, 1_000);
    }
    assert!(places(&index) < full as usize * 9 / 8, "{} for {full}", places(&index));
    for n in 0..300 {
        assert!(index.insert(key(n), 10_000, 1_000));
    }
    assert_eq!(index.len(), 300, "nothing came for longer than the window");
    assert!(places(&index) < 3_000, "{}", places(&index));
}

#[test]
fn keys_that_differ_anywhere_in_their_first_ten_bytes_are_two() {
    let mut index = Index::new(100, 20_000_000, 1);
    assert!(index.insert(key(1), 1, 100));
    for bit in 0..80 {
        let mut other = key(1);
        other.0[bit / 8] ^= 1 << (bit % 8);
        assert!(index.insert(other, 1, 100), "{bit}");
    }
}

#[test]
fn events_that_come_a_little_out_of_order_stand_in_one_generation() {
    let mut index = Index::new(345_600, 1 << 20, 1);
    for n in 0..100 {
        assert!(index.insert(key(n), 1_700_000_000 - (n as u32 * 7) % 5, 345_600));
    }
    assert_eq!(index.generations.all.len(), 1);
}

#[test]
fn a_limit_may_be_anything() {
    for limit in [0, 1, 17, usize::MAX] {
        let mut index = Index::new(1_000_000, limit, 1);
        assert!((0..1000).all(|n| index.insert(key(n), 1, 1_000_000)), "{limit}");
        assert!(!index.insert(key(999), 1, 1_000_000), "{limit}");
        assert!(index.len() <= limit.max(16), "{limit}");
    }
}

#[test]
fn a_key_counts_as_seen_again_from_then_on_whatever_its_first_generation_does() {
    let mut index = Index::new(80, 1 << 20, 1);
    assert!(index.insert(key(1), 1_000, 80));
    assert!(index.insert(key(3), 1_005, 80));
    assert!(index.insert(key(2), 1_050, 80));
    assert!(index.insert(key(1), 1_081, 80));
    assert_eq!(index.len(), 3);
    for second in 1_082..1_160 {
        assert!(index.insert(key(u64::from(second)), second, 80));
    }
    assert!(!index.insert(key(1), 1_161, 80), "80 seconds after it came again");
    index.remove(key(1));
    assert!(index.insert(key(1), 1_161, 80));
}

#[test]
fn keys_of_generations_long_gone_do_not_come_back_with_their_numbers() {
    let mut index = Index::new(80, 1 << 20, 1);
    // One event each, as it is where little comes in.
    for n in 0..3_000 {
        let now_s = 20 * n as u32;
        assert!(index.insert(key(n), now_s, 80), "{n}");
        for old in 5..n.min(600) {
            assert!(!holds(&index, key(n - old)), "{n} {old}");
        }
    }
}

/// Whether `key` counts, however long ago it came.
fn holds(index: &Index, key: Key) -> bool {
    let (list, digest) = index.place(key);
    index.find(list, digest).is_some()
}

#[test]
fn a_long_window_ends_a_little_late_and_never_early() {
    const YEAR: u64 = 365 * 86_400;
    for at in [1_700_000_000, 1_700_000_123, 1_703_000_321] {
        let mut index = Index::new(YEAR, 1 << 20, 1);
        index.insert(key(0), 1_700_000_000, YEAR);
        assert!(index.insert(key(1), at, YEAR));
        assert!(!index.insert(key(1), at + YEAR as u32, YEAR));
        assert!(index.insert(key(1), at + YEAR as u32 + 80, YEAR));
        assert!(!index.insert(key(1), at + YEAR as u32 + 80, 0), "a copy in the same second");
    }
}

#[test]
fn a_clock_that_jumps_to_and_fro_costs_the_oldest_keys_only() {
    let mut index = Index::new(345_600, 1 << 20, 1);
    for n in 0..500 {
        assert!(index.insert(key(n), 1_700_000_000 + 50_000 * (n as u32 % 2), 345_600));
        assert!(!index.insert(key(n), 1_700_000_000, 345_600), "{n}");
    }
    assert!(index.generations.all.len() <= MOST_GENERATIONS);
    assert!((450..500).all(|n| !index.insert(key(n), 1_700_000_000, 345_600)));
    assert_eq!(index.len() as u64 + index.forgotten(), 500);
}

proptest! {
    #[test]
    fn it_is_a_map_of_times(
        steps in prop::collection::vec((0..60_u64, 0..4_u32, prop::bool::weighted(0.1), prop::bool::ANY), 1..2000),
        silence in 0..2000_usize,
    ) {
        let mut index = Index::new(100, 1 << 20, 7);
        let mut seen = HashMap::new();
        let mut now_s = 1_000_u32;
        for (step, (n, later, remove, short)) in steps.into_iter().enumerate() {
            now_s += if step == silence { 10_000 } else { later };
            if remove {
                index.remove(key(n));
                seen.remove(&n);
                continue;
            }
            let window_s = if short { 15 } else { 100 };
            let new = seen.get(&n).is_none_or(|at| now_s - at > window_s);
            if new {
                seen.insert(n, now_s);
            }
            prop_assert_eq!(index.insert(key(n), now_s, u64::from(window_s)), new);
        }
    }
}
