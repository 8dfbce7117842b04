//! Group and deduplication ids of FIFO queues.
//!
//! SQS answers "sent" to a message whose deduplication id it saw within five minutes, and throws the message away. The
//! event's id is that id, as consumers expect, but it is unique only within a source, and not even there where an event
//! comes under several types, where the sender's signature does not cover it, or where a redelivery is an event of its own
//! (`dedup_window = "0s"`): used blindly it would lose a second event that the journal kept on purpose.
//! So an id that lately stood for another event is replaced by a digest of source, id and delivery id: that one is each
//! acceptance's own, and an event that is sent again keeps it. What stood for what is remembered in memory alone: an event that shares its id with one sent less than
//! five minutes earlier by a process that has ended since is still thrown away.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::backend::template;
use crate::event::Envelope;

/// How long an id is remembered: the five minutes of SQS, and time for a call that is on its way.
const WINDOW: Duration = Duration::from_secs(6 * 60);
/// Ids remembered at most, about 60 MB; beyond, the oldest go.
const MAX_IDS: usize = 1_000_000;

/// `MessageGroupId`: the partition key, else the source's name; a digest of it where SQS does not take its characters.
pub fn group(envelope: &Envelope) -> String {
    fitting(template::partition(envelope))
}

/// As it is, if SQS takes it as an id: 1 to 128 letters, digits and punctuation marks of ASCII. Else its digest.
fn fitting(id: &str) -> String {
    if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) {
        id.to_owned()
    } else {
        hex::encode(Sha256::digest(id))
    }
}

/// Gives out deduplication ids.
#[derive(Debug, Default)]
pub struct Dedup {
    hasher: RandomState,
    /// By id: the event that it stands for, and when it was last used.
    used: HashMap<u64, (u64, Instant)>,
    oldest_first: VecDeque<(Instant, u64)>,
}

impl Dedup {
    /// `MessageDeduplicationId`: the same for the same event, different for different ones.
    pub fn id(&mut self, envelope: &Envelope, now: Instant) -> String {
        self.forget(now);
        let id = self.hasher.hash_one(&*envelope.id);
        let event = self.hasher.hash_one((&*envelope.source, &*envelope.id, &*envelope.delivery_id));
        let (owner, last) = self.used.entry(id).or_insert((event, now));
        if *owner != event {
            let text = format!("{}\0{}\0{}", envelope.source, envelope.id, envelope.delivery_id);
            return hex::encode(Sha256::digest(text));
        }
        *last = now;
        self.oldest_first.push_back((now, id));
        fitting(&envelope.id)
    }

    /// A `MessageDeduplicationId` that stood for nothing before: SQS takes the event once more.
    pub fn fresh(&self, envelope: &Envelope, now: Instant) -> String {
        let moment = self.hasher.hash_one((&*envelope.id, now));
        hex::encode(Sha256::digest(format!("{}\0{}\0{moment}", envelope.source, envelope.id)))
    }

    fn forget(&mut self, now: Instant) {
        while let Some(&(when, id)) = self.oldest_first.front()
            && (now.duration_since(when) > WINDOW || self.oldest_first.len() > MAX_IDS)
        {
            self.oldest_first.pop_front();
            if self.used.get(&id).is_some_and(|(_, last)| *last == when) {
                self.used.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event of `source`, accepted as `delivery`.
    fn event(source: &'static str, id: &'static str, delivery: &'static str) -> Envelope {
        Envelope { source: source.into(), id: id.into(), delivery_id: delivery.into(), ..Envelope::default() }
    }

    #[test]
    fn an_event_keeps_its_own_id_however_often_it_is_sent() {
        let (mut dedup, now) = (Dedup::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(dedup.id(&event("a", "evt_1", "x"), now), "evt_1");
        }
    }

    #[test]
    fn another_event_with_the_same_id_is_not_thrown_away() {
        let (mut dedup, now) = (Dedup::default(), Instant::now());
        assert_eq!(dedup.id(&event("a", "1", "x"), now), "1");
        let other_source = dedup.id(&event("b", "1", "x"), now);
        let other_delivery = dedup.id(&event("a", "1", "y"), now);
        assert!(other_source != "1" && other_delivery != "1" && other_source != other_delivery);
        assert_eq!(dedup.id(&event("b", "1", "x"), now), other_source, "the same on a retry");
        assert_eq!(dedup.id(&event("a", "1", "x"), now), "1");
    }

    #[test]
    fn an_id_that_comes_with_two_types_or_twice_where_nothing_is_a_duplicate_is_thrown_away_neither_time() {
        let (mut dedup, now) = (Dedup::default(), Instant::now());
        let accepted = [("shopify.orders/create", "x"), ("shopify.orders/paid", "y"), ("shopify.orders/paid", "z")];
        let accepted = accepted.map(|(kind, delivery)| Envelope { kind: kind.into(), ..event("a", "1", delivery) });
        let mut ids = || accepted.each_ref().map(|event| dedup.id(event, now));
        let first = ids();
        assert!(first[0] == "1" && first[1] != "1" && first[2] != "1" && first[1] != first[2], "{first:?}");
        assert_eq!(ids(), first, "the same when they are sent again");
    }

    #[test]
    fn ids_are_free_again_once_sqs_has_forgotten_them() {
        let (mut dedup, start) = (Dedup::default(), Instant::now());
        dedup.id(&event("a", "1", "x"), start);
        dedup.id(&event("a", "1", "x"), start + WINDOW / 2);
        assert_ne!(dedup.id(&event("b", "1", "x"), start + WINDOW + WINDOW / 4), "1", "used again in between");
        assert_eq!(dedup.id(&event("b", "1", "x"), start + WINDOW * 2), "1");
        assert_eq!(dedup.used.len(), 1);
    }

    #[test]
    fn what_sqs_does_not_take_as_an_id_is_replaced_by_its_digest() {
        for id in ["", "a b", "é", "line\nbreak"] {
            let fitted = fitting(id);
            assert!(fitted.len() == 64 && fitted != fitting("other"), "{id:?}");
        }
        assert_eq!(fitting(&"x".repeat(128)).len(), 128);
        assert_eq!(fitting(&"x".repeat(129)).len(), 64);
        assert_eq!(group(&event("shop", "1", "x")), "shop");
    }
}
