//! The contract of backends, one behaviour a function, against any broker.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hookferry::backend::{Backend, Failure, Outcome, Reason, Session};
use hookferry::event::Stored;

use super::events::{self, FORMATS, Message, expected};
use super::harness::{Harness, Options, Use};

/// Scheduling on a busy machine, on top of a promised time.
const GRACE: Duration = Duration::from_secs(2);

/// Time-outs of the tests that wait for one.
fn hasty() -> Options {
    Options { timeout: Duration::from_millis(1500), ..Options::default() }
}

#[track_caller]
fn all_delivered(outcomes: &[Outcome]) {
    let failed: Vec<_> = outcomes.iter().filter(|outcome| **outcome != Outcome::Delivered).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[track_caller]
fn all_retried(outcomes: &[Outcome], count: usize) {
    assert_eq!(outcomes.len(), count);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry(_))), "{outcomes:?}");
}

fn sequences(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(Message::sequence).collect()
}

async fn read<H: Harness>(harness: &mut H, options: Options) -> Vec<Message> {
    let mut messages = harness.read_all(options.format).await;
    if !H::ORDERED {
        messages.sort_by_key(Message::sequence);
    }
    messages
}

/// The call's result, and that it came in the time that the backend promises.
async fn in_time<T>(backend: &dyn Backend, call: impl Future<Output = T>) -> T {
    let (start, limit) = (Instant::now(), backend.limits().timeout + GRACE);
    let result = call.await;
    assert!(start.elapsed() <= limit, "took {:?}, of at most {limit:?}", start.elapsed());
    result
}

/// Publishes until every event is decided, as a lane does: a session that failed is dropped for a new one.
async fn deliver(backend: &dyn Backend, events: &[Stored]) -> Vec<Outcome> {
    let start = Instant::now();
    let mut decided = Vec::new();
    while decided.len() < events.len() {
        assert!(start.elapsed() < Duration::from_secs(60), "only {decided:?}");
        match backend.connect().await {
            Ok(mut session) => decided.extend(events::drive(&mut *session, &events[decided.len()..]).await),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    decided
}

fn refused(result: Result<Box<dyn Session>, Failure>) -> Failure {
    match result {
        Ok(_) => panic!("connected to a broker that is not there"),
        Err(failure) => failure,
    }
}

pub async fn everything_arrives_as_it_was<H: Harness>() {
    for format in FORMATS {
        let mut harness = H::start(Use::Shared).await;
        let options = Options { format, ..Options::default() };
        let backend = harness.backend(options);
        let mut session = backend.connect().await.unwrap();
        let mut sent = events::awkward(1);
        sent.extend(events::events(100, 40));
        all_delivered(&session.publish(&sent).await);
        let found = read(&mut harness, options).await;
        let expected: Vec<_> = sent.iter().map(expected).collect();
        assert_eq!(sequences(&found), sequences(&expected), "{format:?}");
        for (found, mut expected) in found.into_iter().zip(expected) {
            expected.attributes.retain(|name, _| harness.carries(format, name));
            assert_eq!(found.attributes, expected.attributes, "{format:?}");
            assert!(found.data == expected.data, "{format:?}: body of {}", found.sequence());
        }
    }
}

pub async fn batches_follow_each_other<H: Harness>() {
    let mut harness = H::start(Use::Shared).await;
    let backend = harness.backend(Options::default());
    let mut session = backend.connect().await.unwrap();
    let sent = events::events(1, 120);
    for batch in sent.chunks(50) {
        all_delivered(&session.publish(batch).await);
    }
    let found = read(&mut harness, Options::default()).await;
    assert_eq!(sequences(&found), sent.iter().map(|stored| stored.sequence).collect::<Vec<_>>());
}

pub async fn what_is_published_again_arrives_again_and_moves_no_cursor<H: Harness>() {
    let mut harness = H::start(Use::Shared).await;
    let backend = harness.backend(Options::default());
    let mut session = backend.connect().await.unwrap();
    let sent = events::events(1, 10);
    all_delivered(&session.publish(&sent[..8]).await);
    let before = session.published();
    all_delivered(&session.republish(&sent[2..4]).await);
    assert_eq!(session.published(), before);
    let mut session = backend.connect().await.unwrap();
    assert_eq!(session.published(), before);
    all_delivered(&session.republish(&sent[4..5]).await);
    all_delivered(&session.publish(&sent[8..]).await);
    let mut found = sequences(&read(&mut harness, Options::default()).await);
    let mut wanted: Vec<u64> = [&sent[..8], &sent[2..5], &sent[8..]].concat().iter().map(|s| s.sequence).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

pub async fn a_broker_that_is_down_is_an_error_at_connect<H: Harness>() {
    let mut harness = H::start(Use::Alone).await;
    let backend = harness.backend(hasty());
    harness.kill().await;
    let failure = refused(in_time(&*backend, backend.connect()).await);
    assert!(matches!(failure.reason, Reason::Connection | Reason::Timeout), "{failure}");
    assert!(backend.lint().await.is_err());
    harness.restart().await;
    all_delivered(&deliver(&*backend, &events::events(1, 3)).await);
}

pub async fn nothing_delivered_is_missing_after_a_crash_of_the_broker<H: Harness>() {
    let mut harness = H::start(Use::Alone).await;
    let backend = harness.backend(hasty());
    drop(harness.backend(Options::default()).connect().await.unwrap());
    harness.settle().await;
    let mut session = harness.backend(Options::default()).connect().await.unwrap();
    let (before, after) = (events::events(1, 20), events::events(100, 20));
    all_delivered(&session.publish(&before).await);
    harness.kill().await;
    all_retried(&in_time(&*backend, session.publish(&after)).await, after.len());
    harness.restart().await;
    all_retried_or_delivered(&in_time(&*backend, session.publish(&after)).await);
    all_delivered(&deliver(&*backend, &after).await);
    let found = sequences(&read(&mut harness, Options::default()).await);
    let owed = if H::DURABLE { [before, after].concat() } else { after };
    for stored in &owed {
        assert!(found.contains(&stored.sequence), "{} is missing in {found:?}", stored.sequence);
    }
}

/// A session whose broker came back may go on, if it keeps nothing of the lost connection.
#[track_caller]
fn all_retried_or_delivered(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| !matches!(outcome, Outcome::Reject(_))), "{outcomes:?}");
}

pub async fn a_broker_that_answers_nothing_holds_no_call_longer_than_promised<H: Harness>() {
    let mut harness = H::start(Use::Alone).await;
    let backend = harness.backend(hasty());
    let (before, during) = (events::events(1, 5), events::events(100, 5));
    let mut session = harness.backend(Options::default()).connect().await.unwrap();
    all_delivered(&session.publish(&before).await);
    drop(session);
    let mut session = backend.connect().await.unwrap();
    harness.stall().await;
    all_retried(&in_time(&*backend, session.publish(&during)).await, during.len());
    for _ in 0..2 {
        let failure = refused(in_time(&*backend, backend.connect()).await);
        assert!(matches!(failure.reason, Reason::Connection | Reason::Timeout), "{failure}");
    }
    harness.resume().await;
    all_delivered(&deliver(&*backend, &during).await);
    let found = sequences(&read(&mut harness, Options::default()).await);
    for stored in before.iter().chain(&during) {
        assert!(found.contains(&stored.sequence), "{} is missing in {found:?}", stored.sequence);
    }
}

pub async fn a_call_that_is_given_up_loses_nothing<H: Harness>() {
    let mut harness = H::start(Use::Alone).await;
    let backend = harness.backend(Options::default());
    let mut session = backend.connect().await.unwrap();
    let sent = events::events(1, 30);
    harness.stall().await;
    let given_up = tokio::time::timeout(Duration::from_millis(100), session.publish(&sent)).await;
    harness.resume().await;
    if given_up.is_err() {
        // The same session may not pretend that nothing happened.
        all_retried_or_delivered(&session.publish(&sent).await);
    }
    let published = backend.connect().await.unwrap().published().unwrap_or(0);
    let rest: Vec<Stored> = sent.iter().filter(|stored| stored.sequence > published).cloned().collect();
    all_delivered(&deliver(&*backend, &rest).await);
    let found = sequences(&read(&mut harness, Options::default()).await);
    for stored in &sent {
        assert!(found.contains(&stored.sequence), "{} is missing in {found:?}", stored.sequence);
    }
}

pub async fn a_destination_that_is_missing_or_wrong_is_waited_for<H: Harness>() {
    let mut harness = H::start(Use::Shared).await;
    let backend = harness.backend(Options::default());
    harness.spoil().await;
    let batch = events::events(1, 3);
    let failure = match backend.connect().await {
        Err(failure) => failure,
        Ok(mut session) => {
            let outcomes = session.publish(&batch).await;
            all_retried(&outcomes, batch.len());
            match outcomes.into_iter().next() {
                Some(Outcome::Retry(failure)) => failure,
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(failure.reason, Reason::Missing, "{failure}");
    harness.repair().await;
    all_delivered(&deliver(&*backend, &batch).await);
}

pub async fn only_the_event_that_is_too_large_is_rejected<H: Harness>() {
    let mut harness = H::start(Use::Shared).await;
    let backend = harness.backend(Options::default());
    let mut sent = events::events(1, 7);
    sent[3] = events::event(sent[3].sequence, format!("\"{}\"", "x".repeat(H::TOO_LARGE)));
    let outcomes = deliver(&*backend, &sent).await;
    assert_eq!(outcomes.len(), sent.len());
    for (index, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Reject(failure) if index == 3 => assert_eq!(failure.reason, Reason::TooLarge, "{failure}"),
            outcome => assert!(index != 3 && *outcome == Outcome::Delivered, "{index}: {outcome:?}"),
        }
    }
    // A broker that ends the channel with its refusal leaves the events before it without an answer.
    let found: BTreeSet<_> = sequences(&read(&mut harness, Options::default()).await).into_iter().collect();
    sent.remove(3);
    assert_eq!(found, sent.iter().map(|stored| stored.sequence).collect());
}
