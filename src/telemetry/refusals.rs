//! The last refused requests of each source, for the person who set a secret wrongly.
//!
//! Bounded in memory (a source keeps few, each of few bytes) and in work (few a second are looked at, the rest is
//! counted). Requests refused alike are one entry with a count. What is kept is about a request, never of it: no
//! body, no signature, no secret.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Entries of a source.
const KEPT: usize = 50;
/// Requests of a source that are looked at and logged in one second, for each reason.
const A_SECOND: u32 = 20;
/// Bytes of one remark.
const REMARK: usize = 300;
/// Remarks of an entry.
const REMARKS: usize = 12;

/// Requests that were refused alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Name of the source.
    pub source: String,
    /// Code of the problem that the sender was told.
    pub code: &'static str,
    /// The last sender's address.
    pub client: Option<IpAddr>,
    /// What was seen, a remark a line.
    pub seen: Vec<String>,
    /// How many.
    pub times: u64,
    /// The first one, Unix time, milliseconds.
    pub first_ms: u64,
    /// The last one, Unix time, milliseconds.
    pub last_ms: u64,
}

/// Where they are kept; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<String, Desk>>>);

#[derive(Debug, Default)]
struct Desk {
    entries: VecDeque<Refused>,
    second: u64,
    looked: BTreeMap<&'static str, u32>,
    passed: u64,
}

impl Refusals {
    /// Notes one refused request; `seen` is asked only while the share of its source and reason lasts in this second.
    pub fn note(
        &self,
        source: &str,
        code: &'static str,
        client: Option<IpAddr>,
        now_ms: u64,
        seen: impl FnOnce() -> Vec<String>,
    ) {
        if !self.may_look(source, code, now_ms) {
            return;
        }
        // Within the share as well: whoever is refused decides how often.
        tracing::info!(source, outcome = code, "request refused");
        // Outside the lock: it may read a whole body.
        let mut seen = seen();
        seen.truncate(REMARKS);
        seen.iter_mut().for_each(|remark| shorten(remark, REMARK));
        let mut desks = self.desks();
        let Some(Desk { entries, .. }) = desks.get_mut(source) else { return };
        let alike = entries.iter().position(|entry| entry.code == code && entry.seen == seen);
        let mut entry = alike.and_then(|at| entries.remove(at)).unwrap_or_else(|| Refused {
            source: source.to_owned(),
            code,
            client,
            seen,
            times: 0,
            first_ms: now_ms,
            last_ms: now_ms,
        });
        (entry.client, entry.times, entry.last_ms) = (client, entry.times + 1, now_ms);
        entries.push_back(entry);
        if entries.len() > KEPT {
            entries.pop_front();
        }
    }

    fn may_look(&self, source: &str, code: &'static str, now_ms: u64) -> bool {
        let mut desks = self.desks();
        if !desks.contains_key(source) {
            desks.insert(source.to_owned(), Desk::default());
        }
        let Some(desk) = desks.get_mut(source) else { return false };
        if desk.second != now_ms / 1000 {
            desk.second = now_ms / 1000;
            desk.looked.clear();
        }
        // Strangers decide how many of their own there are, and shall hide no other.
        let looked = desk.looked.entry(code).or_default();
        *looked += 1;
        let may = *looked <= A_SECOND;
        desk.passed += u64::from(!may);
        may
    }

    /// Those of `source`, or of all; the newest first.
    pub fn list(&self, source: Option<&str>) -> Vec<Refused> {
        let desks = self.desks();
        let wanted = desks.iter().filter(|(name, _)| source.is_none_or(|source| source == *name));
        let mut list: Vec<_> = wanted.flat_map(|(_, desk)| desk.entries.iter().rev().cloned()).collect();
        list.sort_by_key(|entry| std::cmp::Reverse(entry.last_ms));
        list
    }

    /// Requests that were counted and not looked at, since too many came at once.
    pub fn passed_over(&self) -> u64 {
        self.desks().values().map(|desk| desk.passed).sum()
    }

    fn desks(&self) -> MutexGuard<'_, BTreeMap<String, Desk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts `text` to at most `most` bytes.
fn shorten(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(refusals: &Refusals, source: &str, remark: String, now_ms: u64) {
        refusals.note(source, "signature_mismatch", None, now_ms, || vec![remark]);
    }

    #[test]
    fn requests_refused_alike_are_one_entry() {
        let refusals = Refusals::default();
        for second in 0..3 {
            note(&refusals, "shop", "hex".into(), second * 1000);
        }
        note(&refusals, "shop", "base64".into(), 9000);
        let list = refusals.list(None);
        assert_eq!(
            list.iter().map(|entry| (entry.times, entry.first_ms, entry.last_ms)).collect::<Vec<_>>(),
            [(1, 9000, 9000), (3, 0, 2000)]
        );
    }

    #[test]
    fn of_two_in_one_millisecond_the_later_is_the_newer() {
        let refusals = Refusals::default();
        for remark in ["first", "second", "third"] {
            note(&refusals, "shop", remark.into(), 7);
        }
        assert_eq!(
            refusals.list(None).iter().map(|entry| &entry.seen[0][..]).collect::<Vec<_>>(),
            ["third", "second", "first"]
        );
    }

    #[test]
    fn a_flood_of_one_source_is_bounded_and_drives_out_no_other() {
        let refusals = Refusals::default();
        note(&refusals, "shop", "first".into(), 0);
        for n in 0..10_000_u64 {
            note(&refusals, "flood", format!("{n}{}", "é".repeat(1000)), n / 100 * 1000);
        }
        let flood = refusals.list(Some("flood"));
        assert_eq!(flood.len(), KEPT);
        assert!(flood.iter().all(|entry| entry.seen[0].len() <= REMARK + 3));
        assert_eq!(refusals.passed_over(), 100 * (100 - u64::from(A_SECOND)));
        assert_eq!(refusals.list(Some("shop")).len(), 1);
        refusals.note("flood", "journal_full", None, 99_001, Vec::new);
        assert_eq!(refusals.list(Some("flood"))[0].code, "journal_full", "another reason has its own share");
    }
}
