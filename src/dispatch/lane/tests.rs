use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::backend::memory::Memory;
use crate::dispatch::tests;
use crate::event::BackendName;

/// A lane named `a` on the journal of `dir`, that does not run.
pub(super) fn idle(dir: &Path, backend: Memory, ending: &Ending) -> (Lane, Options) {
    let name = "a".parse::<BackendName>().unwrap();
    let options = tests::options(dir, Routes::new(vec![name.clone()], Vec::new(), Vec::new()));
    let replays = Replays::open(&options.dead, &options.journal, &[]);
    let none = Cursor { decided: 0, published: 0 };
    let status = Arc::new(Status::new(name, 0, 0));
    let lane = Lane::new(&options, &replays, status, Arc::new(backend), none, ending.clone());
    (lane, options)
}

/// As [`idle`], with a broker that keeps a cursor, and with the next three events loaded.
async fn with_three(dir: &Path) -> (Lane, Options) {
    let (mut lane, options) = idle(dir, Memory::with_cursor(), &Ending::default());
    for _ in 0..3 {
        tests::append(&options.journal, "s.t", 10).await;
    }
    lane.read().await;
    assert_eq!(waits(&lane), [1, 2, 3]);
    (lane, options)
}

fn waits(lane: &Lane) -> Vec<u64> {
    lane.pending.iter().map(|stored| stored.sequence).collect()
}

/// A session that takes all but `refuses` (no event is 0), and says that it stands `at` a position.
struct Says {
    at: u64,
    refuses: std::ops::RangeInclusive<u64>,
}

#[async_trait::async_trait]
impl Session for Says {
    fn published(&self) -> Option<u64> {
        Some(self.at)
    }

    async fn publish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        let refused = || Outcome::Retry(Failure::new(Reason::Missing, "no stream"));
        let outcome =
            |stored: &Stored| if self.refuses.contains(&stored.sequence) { refused() } else { Outcome::Delivered };
        batch.iter().map(outcome).collect()
    }
}

#[tokio::test]
async fn a_broker_of_another_journal_is_not_believed_later_either_while_it_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lane, options) = idle(dir.path(), Memory::with_cursor(), &Ending::default());
    let mut session = Says { at: 3, refuses: 1..=9 };
    lane.resume(&session);
    for _ in 0..5 {
        tests::append(&options.journal, "s.t", 10).await;
    }
    lane.read().await;
    assert_eq!(lane.publish(&mut session).await, Some(Reason::Missing));
    lane.resume(&session);
    assert_eq!((lane.cursor.decided, waits(&lane)), (0, vec![1, 2, 3, 4, 5]));
    options.journal.close();
}

#[tokio::test]
async fn what_a_broker_has_of_a_batch_whose_answer_was_lost_is_not_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lane, options) = with_three(dir.path()).await;
    assert_eq!(lane.publish(&mut Says { at: 0, refuses: 1..=3 }).await, Some(Reason::Missing));
    lane.resume(&Says { at: 2, refuses: 0..=0 });
    assert_eq!((lane.cursor, waits(&lane)), (Cursor { decided: 2, published: 2 }, vec![3]));
    options.journal.close();
}

#[tokio::test]
async fn what_was_taken_behind_an_event_that_failed_is_neither_lost_nor_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lane, options) = with_three(dir.path()).await;
    // As Redis does: the event between two others fails, and the cursor goes back before it.
    let mut session = Says { at: 1, refuses: 2..=2 };
    assert_eq!(lane.publish(&mut session).await, Some(Reason::Missing));
    lane.resume(&session);
    assert_eq!((lane.cursor, waits(&lane)), (Cursor { decided: 1, published: 1 }, vec![2]));
    session = Says { at: 2, refuses: 0..=0 };
    assert_eq!(lane.publish(&mut session).await, None);
    lane.resume(&session);
    assert_eq!((lane.cursor, waits(&lane)), (Cursor { decided: 3, published: 2 }, vec![]));
    options.journal.close();
}

/// A session that takes one event a call.
struct OneByOne;

#[async_trait::async_trait]
impl Session for OneByOne {
    fn published(&self) -> Option<u64> {
        None
    }

    async fn publish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Later; batch.len()];
        outcomes[0] = Outcome::Delivered;
        outcomes
    }
}

#[tokio::test]
async fn what_was_not_sent_yet_waits_and_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lane, options) = with_three(dir.path()).await;
    assert_eq!(lane.publish(&mut OneByOne).await, None);
    assert_eq!((waits(&lane), lane.cursor.decided, lane.attempts), (vec![2, 3], 1, 0));
    assert_eq!(lane.figures.up.get(), 1);
    options.journal.close();
}

/// A session over a link on which no more than so many events go through in time.
struct Slow(usize);

#[async_trait::async_trait]
impl Session for Slow {
    fn published(&self) -> Option<u64> {
        None
    }

    async fn publish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        let outcome = match batch.len() > self.0 {
            true => Outcome::Retry(Failure::new(Reason::Timeout, "no answer")),
            false => Outcome::Delivered,
        };
        vec![outcome; batch.len()]
    }
}

#[tokio::test]
async fn a_batch_that_is_not_taken_in_time_is_sent_in_smaller_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lane, options) = with_three(dir.path()).await;
    let mut lefts = Vec::new();
    for _ in 0..6 {
        lane.publish(&mut Slow(1)).await;
        lefts.push(waits(&lane).len());
    }
    assert_eq!(lefts, [3, 3, 2, 2, 1, 0], "3, 2, 1, 2, 1 and 1 are sent");
    options.journal.close();
}

#[tokio::test]
async fn what_is_not_routed_here_waits_for_nothing_once_its_broker_has_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lane, options) = with_three(dir.path()).await;
    lane.publish(&mut Says { at: 0, refuses: 1..=3 }).await;
    lane.pending.truncate(1);
    lane.resume(&Says { at: 1, refuses: 0..=0 });
    assert_eq!(lane.cursor, Cursor { decided: 3, published: 1 });
    options.journal.close();
}

#[tokio::test]
async fn what_a_broker_lost_is_held_in_the_journal_from_the_moment_that_it_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lane, options) = with_three(dir.path()).await;
    assert_eq!(lane.publish(&mut Says { at: 3, refuses: 0..=0 }).await, None);
    let held = || options.journal.cursors()[&cursor_name(&lane.status.name)].decided;
    assert_eq!(held(), 3);
    lane.resume(&Says { at: 1, refuses: 0..=0 });
    let held = || options.journal.cursors()[&cursor_name(&lane.status.name)].decided;
    assert_eq!(held(), 1);
    options.journal.close();
}
