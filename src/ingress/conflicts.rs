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
        let differs = self.replace((source.name.as_str(), &event.id, kind), event.checksum);
        // Where the id is not signed, a duplicate is a redelivery of one of the bodies.
        differs && source.provider.id_signed == (appended == Appended::Duplicate)
    }

    fn replace(&self, id: (&str, &str, &str), body: u32) -> bool {
        let id = self.hasher.hash_one(id);
        let now = id >> 32 << 32 | u64::from(body);
        // One slot each: a newer id takes an older one's place. Read and written apart: a locked instruction holds up all that
        // come after it for as long as memory takes. Of two at the same moment both or none may be noticed.
        let slot = &self.slots[id as usize % SLOTS];
        let before = slot.load(Ordering::Relaxed);
        slot.store(now, Ordering::Relaxed);
        before != now && before >> 32 == id >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_another_body_is_noticed_and_a_redelivery_is_none() {
        let conflicts = Conflicts::default();
        assert!(!conflicts.replace(("s", "1", ""), 7));
        assert!(!conflicts.replace(("s", "1", ""), 7));
        assert!(conflicts.replace(("s", "1", ""), 8));
        assert!(!conflicts.replace(("s", "1", ""), 8));
        assert!(!conflicts.replace(("t", "1", ""), 9), "another source's");
        assert!(!conflicts.replace(("s", "1", "other type"), 9));
    }

    #[test]
    fn most_of_many_ids_are_remembered_and_none_is_taken_for_another() {
        let conflicts = Conflicts::default();
        let ids: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        assert_eq!(ids.iter().filter(|id| conflicts.replace(("s", id, ""), 1)).count(), 0);
        let noticed = ids.iter().rev().filter(|id| conflicts.replace(("s", id, ""), 2)).count();
        assert!(noticed > 40_000, "{noticed}");
    }
}
