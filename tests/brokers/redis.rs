//! What Redis has of its own: the cursor beside the data, transactions, trimming.

use hookferry::backend::redis::Redis;
use hookferry::backend::{Backend as _, Outcome, Reason, Session};

use crate::support::events::{self, event};
use crate::support::harness::{Harness, Use};
use crate::support::redis::{RedisServer, STREAM};

/// The key of journal `0123abcd` and backend `main`.
const KEY: &str = "hookferry:{webhooks}:0123abcd:main";

#[track_caller]
fn reason(outcome: &Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Retry(failure) => Some(failure.reason),
        _ => None,
    }
}

async fn session(server: &RedisServer) -> Box<dyn Session> {
    server.redis("").connect().await.unwrap()
}

#[tokio::test]
async fn the_cursor_beside_the_data_survives_our_own_end() {
    let server = RedisServer::start(Use::Shared).await;
    assert_eq!(session(&server).await.published(), None, "a journal that is new here");
    for batch in events::events(1, 9).chunks(4) {
        let mut session = session(&server).await;
        session.publish(batch).await;
        let last = batch.last().map(|stored| stored.sequence);
        assert_eq!(session.published(), last);
        // What a process that was killed here would find at its next start.
        assert_eq!(self::session(&server).await.published(), last);
    }
    let other = Redis::new(server.settings(""), &RedisServer::context("another"));
    assert_eq!(other.connect().await.unwrap().published(), None);
    assert_eq!(server.run::<String>(&format!("GET {KEY}")).await, "25");
    server.run::<()>(&format!("DEL {KEY}")).await;
    assert_eq!(session(&server).await.published(), None);
}

#[tokio::test]
async fn a_cursor_that_is_none_is_an_error_and_not_a_zero() {
    let server = RedisServer::start(Use::Shared).await;
    server.run::<()>(&format!("SET {KEY} hello")).await;
    assert_eq!(server.redis("").connect().await.err().unwrap().reason, Reason::Missing);
}

#[tokio::test]
async fn a_full_redis_takes_nothing_of_a_batch_and_all_of_it_later() {
    let server = RedisServer::start(Use::Shared).await;
    let (mut session, batch) = (session(&server).await, events::events(1, 5));
    server.run::<()>("CONFIG SET maxmemory 1").await;
    let outcomes = session.publish(&batch).await;
    assert!(outcomes.iter().all(|outcome| reason(outcome) == Some(Reason::Full)), "{outcomes:?}");
    assert_eq!((session.published(), server.run::<u64>("EXISTS webhooks").await), (None, 0));
    server.run::<()>("CONFIG SET maxmemory 0").await;
    assert_eq!(session.publish(&batch).await, vec![Outcome::Delivered; 5]);
    assert_eq!(server.entries(STREAM).await.len(), 5);
}

#[tokio::test]
async fn a_replica_is_refused_and_left() {
    let server = RedisServer::start(Use::Shared).await;
    let mut session = session(&server).await;
    server.run::<()>("REPLICAOF 127.0.0.1 1").await;
    let batch = events::events(1, 2);
    assert_eq!(reason(&session.publish(&batch).await[0]), Some(Reason::Refused));
    server.run::<()>("REPLICAOF NO ONE").await;
    assert!(reason(&session.publish(&batch).await[0]).is_some(), "the address is resolved anew first");
    assert_eq!(self::session(&server).await.publish(&batch).await, vec![Outcome::Delivered; 2]);
}

#[tokio::test]
async fn a_wrong_password_is_told_without_the_password() {
    let server = RedisServer::with(&["--requirepass", "correct-horse"]).await;
    for (login, part) in [("", "NOAUTH"), (":hunter2@", "")] {
        let settings = format!("url = 'redis://{login}127.0.0.1:{}'", server.port);
        let backend = Redis::new(toml::from_str(&settings).unwrap(), &RedisServer::context("a"));
        let failure = backend.connect().await.err().unwrap();
        assert_eq!(failure.reason, Reason::Unauthorized, "{failure}");
        assert!(failure.detail.contains(part) && !failure.detail.contains("hunter2"), "{failure}");
    }
    let settings = format!("url = 'redis://:correct-horse@127.0.0.1:{}'", server.port);
    let backend = Redis::new(toml::from_str(&settings).unwrap(), &RedisServer::context("a"));
    assert_eq!(backend.connect().await.unwrap().publish(&events::events(1, 1)).await, [Outcome::Delivered]);
}

#[tokio::test]
async fn a_stream_of_the_wrong_type_holds_back_what_comes_after_it() {
    let server = RedisServer::start(Use::Shared).await;
    server.run::<()>("SET s:bad x").await;
    let mut session = server.redis("stream = 's:{source}'").connect().await.unwrap();
    let mut batch = events::events(1, 4);
    batch[2].envelope.source = "bad".into();
    let outcomes = session.publish(&batch).await;
    assert_eq!(outcomes[..2], [Outcome::Delivered, Outcome::Delivered]);
    assert_eq!(reason(&outcomes[2]), Some(Reason::Missing));
    assert_eq!(reason(&outcomes[3]), Some(Reason::Missing), "the cursor may not pass what is not there");
    assert_eq!(server.run::<String>("GET hookferry:{s:}:0123abcd:main").await, "4");
    server.run::<()>("DEL s:bad").await;
    assert_eq!(session.publish(&batch[2..]).await, vec![Outcome::Delivered; 2]);
    assert_eq!(server.run::<u64>("XLEN s:shop").await, 3);
}

#[tokio::test]
async fn an_event_that_fails_inside_a_transaction_takes_the_cursor_back() {
    let server = RedisServer::start(Use::Shared).await;
    // A stream without a next id: its XADD is queued well and fails when it is executed.
    server.run::<()>("XADD s:bad 18446744073709551615-18446744073709551615 a b").await;
    let mut session = server.redis("stream = 's:{source}'").connect().await.unwrap();
    let mut batch = events::events(1, 4);
    batch[2].envelope.source = "bad".into();
    let outcomes = session.publish(&batch).await;
    assert!(reason(&outcomes[2]).is_some(), "{outcomes:?}");
    for index in [0, 1, 3] {
        assert_eq!(outcomes[index], Outcome::Delivered);
    }
    assert_eq!(session.published(), Some(4));
    assert_eq!(server.run::<String>("GET hookferry:{s:}:0123abcd:main").await, "4");
    batch.swap(0, 2);
    server.run::<()>("DEL hookferry:{s:}:0123abcd:main").await;
    let mut session = server.redis("stream = 's:{source}'").connect().await.unwrap();
    session.publish(&batch).await;
    assert_eq!(server.run::<u64>("EXISTS hookferry:{s:}:0123abcd:main").await, 0, "there was none before");
}

#[tokio::test]
async fn a_cursor_that_somebody_else_moves_ends_the_session() {
    let server = RedisServer::start(Use::Shared).await;
    let mut session = session(&server).await;
    server.run::<()>(&format!("SET {KEY} 7")).await;
    let batch = events::events(1, 3);
    for _ in 0..2 {
        let outcomes = session.publish(&batch).await;
        assert!(outcomes.iter().all(|outcome| reason(outcome) == Some(Reason::Connection)), "{outcomes:?}");
    }
    assert_eq!(server.run::<u64>("EXISTS webhooks").await, 0);
    assert_eq!(self::session(&server).await.published(), Some(7));
}

#[tokio::test]
async fn a_transaction_that_the_network_held_back_does_nothing_once_a_later_session_has_published() {
    let server = RedisServer::start(Use::Shared).await;
    let batch = events::events(1, 6);
    let mut old = session(&server).await;
    for part in batch[..4].chunks(2) {
        assert_eq!(old.publish(part).await, vec![Outcome::Delivered; 2]);
    }
    let mut new = session(&server).await;
    assert_eq!(new.publish(&batch[4..]).await, vec![Outcome::Delivered; 2]);
    assert_eq!(reason(&old.publish(&batch[4..]).await[0]), Some(Reason::Connection));
    assert_eq!(server.entries(STREAM).await.len(), 6);
    assert_eq!(new.publish(&events::events(7, 1)).await, [Outcome::Delivered], "the new one goes on");
}

#[tokio::test]
async fn a_stream_is_trimmed_only_where_it_is_told() {
    let server = RedisServer::start(Use::Shared).await;
    let batch: Vec<_> = (1..=400).map(|sequence| event(sequence, "1")).collect();
    server.redis("stream = 'short'\nmax_len = 10").connect().await.unwrap().publish(&batch).await;
    server.redis("stream = 'long'").connect().await.unwrap().publish(&batch).await;
    let short = server.run::<u64>("XLEN short").await;
    assert!((10..=200).contains(&short), "{short}");
    assert_eq!(server.run::<u64>("XLEN long").await, 400);
}

#[tokio::test]
async fn what_would_lose_data_is_told() {
    let safe = RedisServer::start(Use::Shared).await;
    assert_eq!(safe.redis("").lint().await.unwrap(), Vec::<String>::new());
    let risky = RedisServer::with(&["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"]).await;
    let risks = risky.redis("").lint().await.unwrap();
    assert!(risks[0].contains("appendonly") && risks[1].contains("allkeys-lru"), "{risks:?}");
    risky.run::<()>("SADD webhooks x").await;
    assert_eq!(risky.redis("").lint().await.err().unwrap().reason, Reason::Missing);
}
