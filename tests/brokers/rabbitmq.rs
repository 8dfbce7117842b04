//! What RabbitMQ has of its own: returned messages, refusals, alarms, declarations.

use hookferry::backend::rabbitmq::RabbitMq;
use hookferry::backend::{Backend as _, Context, Outcome, Reason};
use lapin::ExchangeKind;
use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};

use crate::support::events::{self, event};
use crate::support::harness::{Harness, Use};
use crate::support::rabbitmq::{MAX_MESSAGE, Rabbit};

fn reason(outcome: &Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Retry(failure) => Some(failure.reason),
        _ => None,
    }
}

/// Declares a topic exchange and a queue bound with `key`, as an operator would.
async fn declare(rabbit: &Rabbit, key: &str, durable: bool, arguments: &[(&str, AMQPValue)]) {
    let (_connection, channel) = rabbit.channel().await;
    let name = || rabbit.name.as_str().into();
    let exchange = ExchangeDeclareOptions { durable, ..Default::default() };
    channel.exchange_declare(name(), ExchangeKind::Topic, exchange, FieldTable::default()).await.unwrap();
    let mut table = FieldTable::default();
    for (argument, value) in arguments {
        table.insert((*argument).into(), value.clone());
    }
    channel.queue_declare(name(), QueueDeclareOptions { durable, ..Default::default() }, table).await.unwrap();
    let options = QueueBindOptions::default();
    channel.queue_bind(name(), name(), key.into(), options, FieldTable::default()).await.unwrap();
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_persistent_and_carry_their_properties() {
    let rabbit = Rabbit::start(Use::Shared).await;
    for (format, content_type) in [("structured", "application/cloudevents+json"), ("binary", "application/json")] {
        let backend = rabbit.rabbit(&format!("format = '{format}'"));
        backend.connect().await.unwrap().publish(&[event(1, "{}")]).await;
        let message = rabbit.take_all().await.remove(0);
        let properties = &message.properties;
        assert_eq!(properties.delivery_mode(), &Some(2));
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "evt_1");
        assert_eq!(properties.kind().as_ref().unwrap().as_str(), "shopify.orders/create");
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), content_type);
        assert_eq!(properties.timestamp(), &Some(1_795_428_000), "2026-11-23T10:00:00Z");
        assert_eq!(message.routing_key.as_str(), "shopify.orders/create");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_queue_takes_is_not_delivered_and_no_other_is_blamed() {
    let rabbit = Rabbit::start(Use::Shared).await;
    declare(&rabbit, "kept.#", true, &[("x-queue-type", text("quorum"))]).await;
    let mut session = rabbit.rabbit("declare = false").connect().await.unwrap();
    let mut batch = events::events(1, 120);
    for (index, stored) in batch.iter_mut().enumerate() {
        stored.envelope.kind = if index % 3 == 1 { "lost.x" } else { "kept.x" }.into();
    }
    // Twice: the session goes on after messages were returned.
    for _ in 0..2 {
        for (index, outcome) in session.publish(&batch).await.iter().enumerate() {
            let expected = (index % 3 == 1).then_some(Reason::Unroutable);
            assert_eq!(reason(outcome), expected, "{index}: {outcome:?}");
        }
    }
    assert_eq!(rabbit.take_all().await.len(), 160);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_queue_refuses_is_not_delivered() {
    let rabbit = Rabbit::start(Use::Shared).await;
    let limits = [("x-max-length", AMQPValue::LongInt(3)), ("x-overflow", text("reject-publish"))];
    declare(&rabbit, "#", true, &limits).await;
    let mut session = rabbit.rabbit("declare = false").connect().await.unwrap();
    let mut delivered = 0;
    for stored in events::events(1, 10) {
        match &session.publish(&[stored]).await[0] {
            Outcome::Delivered => delivered += 1,
            outcome => assert_eq!(reason(outcome), Some(Reason::Refused), "{outcome:?}"),
        }
    }
    assert!((3..10).contains(&delivered), "{delivered}");
    assert_eq!(rabbit.take_all().await.len(), delivered);
    assert_eq!(session.publish(&events::events(50, 1)).await, [Outcome::Delivered], "there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_message_that_a_full_queue_refuses_none_is_sent_once_it_has_refused_one() {
    let rabbit = Rabbit::start(Use::Shared).await;
    // Where this queue counts, what it refuses is put: every message that came to it while it was full.
    let refused_queue = format!("{}-refused", rabbit.name);
    let (_connection, channel) = rabbit.channel().await;
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(refused_queue.as_str().into(), options, FieldTable::default()).await.unwrap();
    let refusals = async || {
        let options = QueuePurgeOptions::default();
        channel.queue_purge(refused_queue.as_str().into(), options).await.unwrap() as usize
    };
    let limits = [
        ("x-max-length", AMQPValue::LongInt(3)),
        ("x-overflow", text("reject-publish-dlx")),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(&refused_queue)),
    ];
    declare(&rabbit, "#", true, &limits).await;
    let backend = rabbit.rabbit("declare = false");
    let batch = events::events(1, 30);
    let outcomes = backend.connect().await.unwrap().publish(&batch).await;
    let waits: Vec<_> = batch.into_iter().zip(&outcomes).filter(|(_, outcome)| reason(outcome).is_some()).collect();
    let waits: Vec<_> = waits.into_iter().map(|(stored, _)| stored).collect();
    assert!(waits.len() > 20, "{outcomes:?}");
    assert_eq!(refusals().await, waits.len());

    // A nack costs the session, as the lane sees it; the next one knows.
    let outcomes = backend.connect().await.unwrap().publish(&waits).await;
    assert_eq!(reason(&outcomes[0]), Some(Reason::Refused), "{outcomes:?}");
    assert!(outcomes[1..].iter().all(|outcome| *outcome == Outcome::Later), "{outcomes:?}");
    assert_eq!(refusals().await, 1);
    rabbit.take_all().await;
    let outcomes = backend.connect().await.unwrap().publish(&waits).await;
    let taken = outcomes.iter().take_while(|outcome| **outcome == Outcome::Delivered).count();
    assert!(taken >= 3 && reason(&outcomes[taken]) == Some(Reason::Refused), "{outcomes:?}");
    assert!(outcomes[taken + 1..].iter().all(|outcome| *outcome == Outcome::Later), "{outcomes:?}");
    assert_eq!(refusals().await, 1);
    let ids: Vec<_> = rabbit.take_all().await.iter().map(|message| message.properties.message_id().clone()).collect();
    let expected = waits.iter().take(taken).map(|stored| Some((*stored.envelope.id).into()));
    assert_eq!(ids, expected.collect::<Vec<_>>(), "in order, one each");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_or_queue_that_goes_away_is_declared_again_by_the_next_session() {
    let rabbit = Rabbit::start(Use::Shared).await;
    let backend = rabbit.rabbit("");
    let batch = events::events(1, 3);
    for gone in ["exchange", "queue"] {
        let mut session = backend.connect().await.unwrap();
        assert_eq!(session.publish(&batch).await, vec![Outcome::Delivered; 3]);
        let (_connection, channel) = rabbit.channel().await;
        let (name, expected) =
            (rabbit.name.as_str(), if gone == "queue" { Reason::Unroutable } else { Reason::Missing });
        if gone == "queue" {
            channel.queue_delete(name.into(), Default::default()).await.unwrap();
        } else {
            channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await.unwrap();
        }
        let outcomes = session.publish(&batch).await;
        assert!(outcomes.iter().all(|outcome| reason(outcome) == Some(expected)), "{gone}: {outcomes:?}");
        assert_eq!(reason(&session.publish(&batch).await[0]), Some(Reason::Connection), "{gone}");
        assert_eq!(backend.connect().await.unwrap().publish(&batch).await, vec![Outcome::Delivered; 3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_declare_nothing_is_made() {
    let rabbit = Rabbit::start(Use::Shared).await;
    let backend = rabbit.rabbit("declare = false");
    assert_eq!(backend.connect().await.err().unwrap().reason, Reason::Missing);
    assert_eq!(backend.lint().await.err().unwrap().reason, Reason::Missing);
    let declaring = rabbit.rabbit("");
    assert_eq!(declaring.lint().await.unwrap(), Vec::<String>::new(), "it will be declared");
    assert_eq!(backend.connect().await.err().unwrap().reason, Reason::Missing, "looking made nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_in_alarm_blocks_without_losing_or_doubling_anything() {
    let mut rabbit = Rabbit::start(Use::Alone).await;
    let mut session = rabbit.rabbit("timeout = '2s'").connect().await.unwrap();
    let batch = events::events(1, 20);
    rabbit.node().ctl(&["set_vm_memory_high_watermark", "absolute", "1"]);
    // The broker tells a connection that it is blocked when it first publishes.
    for _ in 0..3 {
        let outcomes = session.publish(&batch).await;
        assert!(outcomes.iter().all(|outcome| reason(outcome) == Some(Reason::Full)), "{outcomes:?}");
    }
    rabbit.node().ctl(&["set_vm_memory_high_watermark", "absolute", "1GB"]);
    let mut decided = 0;
    while decided < batch.len() {
        let outcomes = session.publish(&batch[decided..]).await;
        decided += outcomes.iter().take_while(|outcome| **outcome == Outcome::Delivered).count();
        assert!(outcomes.iter().all(|o| [None, Some(Reason::Full)].contains(&reason(o))), "{outcomes:?}");
    }
    assert_eq!(rabbit.take_all().await.len(), batch.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_told_without_the_password() {
    let rabbit = Rabbit::start(Use::Shared).await;
    let settings = format!("url = 'amqp://guest:hunter2@127.0.0.1:{}/%2f'", rabbit.port);
    let context = Context { name: "r".parse().unwrap(), journal: "0".into() };
    let failure = RabbitMq::new(toml::from_str(&settings).unwrap(), &context).connect().await.err().unwrap();
    assert_eq!(failure.reason, Reason::Unauthorized, "{failure}");
    assert!(!failure.detail.contains("hunter2"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_lose_data_is_told() {
    let rabbit = Rabbit::start(Use::Shared).await;
    let backend = rabbit.rabbit("");
    backend.connect().await.unwrap();
    assert_eq!(backend.lint().await.unwrap(), Vec::<String>::new(), "what the bridge declares is safe");
    let rabbit = Rabbit::start(Use::Shared).await;
    let arguments = [("x-max-length", AMQPValue::LongInt(5)), ("x-message-ttl", AMQPValue::LongInt(60_000))];
    declare(&rabbit, "#", false, &arguments).await;
    let risks = rabbit.rabbit("declare = false").lint().await.unwrap();
    let found = |part: &str| risks.iter().any(|risk| risk.contains(part));
    assert!(found("exchange `t") && found("queue `t") && found("is not durable"), "{risks:?}");
    assert!(found("x-max-length") && found("x-message-ttl"), "{risks:?}");
    assert_eq!(risks.len(), 4, "{risks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_larger_messages_than_it_did_is_asked_again() {
    let mut rabbit = Rabbit::start(Use::Alone).await;
    let backend = rabbit.rabbit("");
    let mut allow = |bytes: usize| {
        let set = format!("application:set_env(rabbit, max_message_size, {bytes}).");
        rabbit.node().ctl(&["eval", &set]);
    };
    let large = [event(1, format!("\"{}\"", "x".repeat(MAX_MESSAGE)))];
    let refused = |outcomes: &[Outcome]| matches!(outcomes, [Outcome::Reject(why)] if why.reason == Reason::TooLarge);
    // Told by the broker, and in the session after that known without asking.
    for _ in 0..2 {
        assert!(refused(&backend.connect().await.unwrap().publish(&large).await));
    }
    allow(2 * MAX_MESSAGE);
    let outcomes = backend.connect().await.unwrap().publish(&large).await;
    allow(MAX_MESSAGE);
    assert_eq!(outcomes, [Outcome::Delivered]);
}
