//! The contract of backends, one behaviour a function, against any broker.

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

/// A session once the broker is back: it may refuse for a while.
async fn reconnect(backend: &dyn Backend) -> Box<dyn Session> {
    let start = Instant::now();
    loop {
        match backend.connect().await {
            Ok(session) => return session,
            Err(failure) => assert!(start.elapsed() < Duration::from_secs(60), "{failure}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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

pub async fn a_broker_that_is_down_is_an_error_at_connect<H: Harness>() {
    let mut harness = H::start(Use::Alone).await;
    let backend = harness.backend(hasty());
    harness.kill().await;
    let failure = refused(in_time(&*backend, backend.connect()).await);
    assert!(matches!(failure.reason, Reason::Connection | Reason::Timeout), "{failure}");
    assert!(backend.lint().await.is_err());
    harness.restart().await;
    all_delivered(&reconnect(&*backend).await.publish(&events::events(1, 3)).await);
}

pub async fn nothing_delivered_is_missing_after_a_crash_of_the_broker<H: Harness>() {
    let mut harness = H::start(Use::Alone).await;
    let backend = harness.backend(hasty());
    let mut session = harness.backend(Options::default()).connect().await.unwrap();
    let (before, after) = (events::events(1, 20), events::events(100, 20));
    all_delivered(&session.publish(&before).await);
    harness.kill().await;
    let mut session_of_dead = session;
    all_retried(&in_time(&*backend, session_of_dead.publish(&after)).await, after.len());
    harness.restart().await;
    all_retried_or_delivered(&in_time(&*backend, session_of_dead.publish(&after)).await);
    all_delivered(&reconnect(&*backend).await.publish(&after).await);
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
    let mut session = reconnect(&*backend).await;
    let (before, during) = (events::events(1, 5), events::events(100, 5));
    assert_eq!(events::drive(&mut *session, &before).await.len(), before.len());
    harness.stall().await;
    all_retried(&in_time(&*backend, session.publish(&during)).await, during.len());
    for _ in 0..2 {
        let failure = refused(in_time(&*backend, backend.connect()).await);
        assert!(matches!(failure.reason, Reason::Connection | Reason::Timeout), "{failure}");
    }
    harness.resume().await;
    let mut session = reconnect(&*backend).await;
    assert_eq!(events::drive(&mut *session, &during).await.len(), during.len());
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
    let mut session = reconnect(&*backend).await;
    let published = session.published().unwrap_or(0);
    let rest: Vec<Stored> = sent.iter().filter(|stored| stored.sequence > published).cloned().collect();
    if !rest.is_empty() {
        assert_eq!(events::drive(&mut *session, &rest).await.len(), rest.len());
    }
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
    all_delivered(&reconnect(&*backend).await.publish(&batch).await);
}

pub async fn only_the_event_that_is_too_large_is_rejected<H: Harness>() {
    let mut harness = H::start(Use::Shared).await;
    let backend = harness.backend(Options::default());
    let mut sent = events::events(1, 7);
    sent[3] = events::event(sent[3].sequence, format!("\"{}\"", "x".repeat(H::TOO_LARGE)));
    let mut outcomes = Vec::new();
    // A broker that learns its limit from a refusal may end the connection with it.
    for _ in 0..5 {
        if outcomes.len() < sent.len() {
            let mut session = reconnect(&*backend).await;
            outcomes.extend(events::drive(&mut *session, &sent[outcomes.len()..]).await);
        }
    }
    assert_eq!(outcomes.len(), sent.len());
    for (index, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Reject(failure) if index == 3 => assert_eq!(failure.reason, Reason::TooLarge, "{failure}"),
            outcome => assert!(index != 3 && *outcome == Outcome::Delivered, "{index}: {outcome:?}"),
        }
    }
    let mut found = sequences(&read(&mut harness, Options::default()).await);
    found.dedup();
    sent.remove(3);
    assert_eq!(found, sent.iter().map(|stored| stored.sequence).collect::<Vec<_>>());
}
