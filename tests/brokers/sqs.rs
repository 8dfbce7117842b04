//! What SQS has of its own: groups, deduplication, sizes and attributes.

use aws_sdk_sqs::types::QueueAttributeName;
use hookferry::backend::{Backend as _, Outcome, Reason};

use crate::support::events::{self, event};
use crate::support::harness::{Harness, Use};
use crate::support::sqs::{Fifo, Standard};

#[tokio::test]
async fn a_group_keeps_its_order_and_ids_are_the_events_own() {
    let queue = Fifo::start(Use::Shared).await;
    let batch = events::events(1, 48);
    let mut session = queue.sqs("").connect().await.unwrap();
    assert_eq!(session.publish(&batch).await, vec![Outcome::Delivered; 48]);
    let found = queue.take_all().await;
    assert_eq!(found.len(), batch.len());
    for group in ["shop-0", "shop-1", "shop-2"] {
        let ids = |_| found.iter().filter(|message| message.group.as_deref() == Some(group));
        let found: Vec<_> = ids(()).map(|message| message.dedup.clone().unwrap()).collect();
        let of_group = batch.iter().filter(|stored| stored.envelope.partition_key.as_deref() == Some(group));
        assert_eq!(found, of_group.map(|stored| stored.envelope.id.to_string()).collect::<Vec<_>>(), "{group}");
    }
}

#[tokio::test]
async fn without_a_partition_key_the_source_is_the_group() {
    let queue = Fifo::start(Use::Shared).await;
    let mut stored = event(1, "{}");
    stored.envelope.partition_key = None;
    queue.sqs("").connect().await.unwrap().publish(&[stored]).await;
    assert_eq!(queue.take_all().await[0].group.as_deref(), Some("shop"));
}

#[tokio::test]
async fn a_repeated_publish_is_taken_once_and_a_different_event_with_its_id_as_well() {
    let queue = Fifo::start(Use::Shared).await;
    let backend = queue.sqs("");
    let mut batch = vec![event(1, "1"), event(2, "1"), event(3, "2")];
    batch[1].envelope.source = "other".into();
    for stored in &mut batch {
        stored.envelope.id = "evt_1".into();
    }
    for _ in 0..2 {
        assert_eq!(backend.connect().await.unwrap().publish(&batch).await, vec![Outcome::Delivered; 3]);
    }
    let found = queue.take_all().await;
    assert_eq!(found.len(), 3);
    assert_eq!(found.iter().filter(|message| message.dedup.as_deref() == Some("evt_1")).count(), 1);
}

#[tokio::test]
async fn the_queues_own_limit_holds_until_it_is_raised() {
    let mut queue = Standard::start(Use::Shared).await;
    queue.spoil().await;
    queue.create_queue(&[(QueueAttributeName::MaximumMessageSize, "4096")]).await;
    let mut session = queue.sqs("").connect().await.unwrap();
    let batch = [event(1, "1"), event(2, format!("\"{}\"", "x".repeat(5000))), event(3, "3")];
    let outcomes = session.publish(&batch).await;
    assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Delivered, &Outcome::Delivered));
    assert!(matches!(&outcomes[1], Outcome::Reject(failure) if failure.reason == Reason::TooLarge), "{outcomes:?}");
    let raise = queue.client.set_queue_attributes().queue_url(&queue.queue_url);
    raise.attributes(QueueAttributeName::MaximumMessageSize, "8192").send().await.unwrap();
    assert_eq!(session.publish(&batch).await, vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn a_binary_message_has_its_body_and_ten_attributes() {
    let queue = Standard::start(Use::Shared).await;
    let mut session = queue.sqs("format = 'binary'").connect().await.unwrap();
    assert_eq!(session.publish(&[event(7, "{ \"a\": 1 }")]).await, [Outcome::Delivered]);
    let message = queue.take_all().await.remove(0);
    assert_eq!((message.body.as_str(), message.attributes.len()), ("{ \"a\": 1 }", 10));
    for (name, value) in [
        ("id", "evt_7"),
        ("type", "shopify.orders/create"),
        ("source", "urn:webhook:shop"),
        ("contentType", "application/json"),
        ("sequence", "00000000000000000007"),
        ("partitionkey", "shop-1"),
    ] {
        assert_eq!(message.attributes[name], value);
    }
    assert_eq!((message.group, message.dedup), (None, None), "only FIFO queues have them");
}

#[tokio::test]
async fn a_queue_without_a_redrive_policy_is_told() {
    let mut queue = Standard::start(Use::Shared).await;
    let risks = queue.sqs("").lint().await.unwrap();
    assert!(risks.len() == 1 && risks[0].contains("no redrive policy"), "{risks:?}");
    let dead = queue.client.create_queue().queue_name("dead").send().await.unwrap().queue_url.unwrap();
    let name = QueueAttributeName::QueueArn;
    let answer =
        queue.client.get_queue_attributes().queue_url(dead).attribute_names(name.clone()).send().await.unwrap();
    let policy =
        format!("{{\"deadLetterTargetArn\":\"{}\",\"maxReceiveCount\":\"3\"}}", answer.attributes.unwrap()[&name]);
    queue.spoil().await;
    queue.create_queue(&[(QueueAttributeName::RedrivePolicy, &policy)]).await;
    assert_eq!(queue.sqs("").lint().await.unwrap(), Vec::<String>::new());
}
