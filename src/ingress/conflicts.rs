//! Notices an event id that comes again with another body.
//!
//! Remembers about the last 100,000 ids in 1 MiB, whatever comes, and nothing over a restart: a sender that uses ids
//! twice shows; not every single case does. What becomes of such an event is the journal's key alone
//! ([`super::Source::key`]).

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use super::seal::Event;
use super::source::Source;
use crate::journal::Appended;

/// Ids remembered at most; each takes 8 bytes. A power of two.
const SLOTS: usize = 1 << 17;

/// The ids that came last, each with 32 bits of its hash and the checksum of its body.
pub struct Conflicts {
    /// Seeded: no sender can aim its ids at one slot.
    hasher: RandomState,
    slots: Vec<AtomicU64>,
}

impl Default for Conflicts {
    fn default() -> Self {
        let slots = std::iter::repeat_with(AtomicU64::default).take(SLOTS).collect();
        Self { hasher: RandomState::new(), slots }
    }
}

impl Conflicts {
    /// Remembers an event that is on disk; whether its id came before with another body, and that made it an event of its
    /// own (or, where the id is signed, a duplicate).
    pub fn enter(&self, source: &Source, event: &Event, appended: Appended) -> bool {
        // Where the type is not signed with the id, one event may come under several types (Shopify's topics).
        let kind = if source.provider.id_signed { "" } else { &event.kind };
        let place = self.place((source.name.as_str(), &event.id, kind), event.checksum);
        // Where the id is signed, a new event has a new one; where it is not, a duplicate is a redelivery of one of the bodies.
        // The slot is not looked at then: nearly always it would have to come from memory.
        let differs = source.provider.id_signed == (appended == Appended::Duplicate) && place.differs();
        place.take();
        differs
    }

    fn place(&self, id: (&str, &str, &str), body: u32) -> Place<'_> {
        let id = self.hasher.hash_one(id);
        Place { slot: &self.slots[id as usize % SLOTS], entry: id >> 32 << 32 | u64::from(body) }
    }
}

/// Where an id is remembered, one slot each: a newer id takes an older one's place.
///
/// Read and written apart: a locked instruction holds up all that come after it for as long as memory takes. Of two at the
/// same moment both or none may be noticed.
struct Place<'a> {
    slot: &'a AtomicU64,
    entry: u64,
}

impl Place<'_> {
    /// Whether the id was here with another body.
    fn differs(&self) -> bool {
        let before = self.slot.load(Ordering::Relaxed);
        before != self.entry && before >> 32 == self.entry >> 32
    }

    fn take(&self) {
        self.slot.store(self.entry, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(conflicts: &Conflicts, id: (&str, &str, &str), body: u32) -> bool {
        let place = conflicts.place(id, body);
        let differs = place.differs();
        place.take();
        differs
    }

    #[test]
    fn an_id_with_another_body_is_noticed_and_a_redelivery_is_none() {
        let conflicts = Conflicts::default();
        assert!(!replace(&conflicts, ("s", "1", ""), 7));
        assert!(!replace(&conflicts, ("s", "1", ""), 7));
        assert!(replace(&conflicts, ("s", "1", ""), 8));
        assert!(!replace(&conflicts, ("s", "1", ""), 8));
        assert!(!replace(&conflicts, ("t", "1", ""), 9), "another source's");
        assert!(!replace(&conflicts, ("s", "1", "other type"), 9));
    }

    #[test]
    fn most_of_many_ids_are_remembered_and_none_is_taken_for_another() {
        let conflicts = Conflicts::default();
        let ids: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        assert_eq!(ids.iter().filter(|id| replace(&conflicts, ("s", id, ""), 1)).count(), 0);
        let noticed = ids.iter().rev().filter(|id| replace(&conflicts, ("s", id, ""), 2)).count();
        assert!(noticed > 40_000, "{noticed}");
    }
}
