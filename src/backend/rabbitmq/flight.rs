//! One published message until the broker has spoken about it.
//!
//! The client library hands a returned message to whichever confirm comes next, which need not be its own: the broker
//! may confirm others between a `basic.return` and its `basic.ack`. So returns are matched by what they carry.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::time::{Instant, timeout_at};

use super::message;
use crate::backend::{Failure, Outcome, Reason};

type Confirm = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

/// One message on its way.
pub struct Flight {
    id: Option<ShortString>,
    routing_key: ShortString,
    bytes: usize,
    confirm: Option<Confirm>,
    /// What is known so far.
    pub fate: Fate,
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// No word yet.
    Pending,
    /// Confirmed; `foreign`: the confirm came with the return of another message.
    Acked { foreign: bool },
    /// Refused by a queue.
    Nacked,
    /// Channel or connection ended.
    Failed(Failure),
    /// Never sent, since it can never be taken.
    Refused(Failure),
}

/// A message that the broker gave back.
#[derive(Debug, PartialEq, Eq)]
pub struct Return {
    id: Option<ShortString>,
    routing_key: ShortString,
    detail: String,
}

impl Flight {
    /// A message that is not sent.
    pub fn refused(failure: Failure) -> Self {
        Self { id: None, routing_key: ShortString::default(), bytes: 0, confirm: None, fate: Fate::Refused(failure) }
    }

    /// Hands a message to the connection, without waiting for anything; notes what the broker gives back meanwhile.
    pub async fn launch(
        channel: &Channel,
        exchange: ShortString,
        routing_key: ShortString,
        properties: BasicProperties,
        payload: Bytes,
        returned: &mut Vec<Return>,
    ) -> Self {
        let (id, bytes) = (properties.message_id().clone(), payload.len());
        let (channel, key) = (channel.clone(), routing_key.clone());
        let confirm = Box::pin(async move {
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            channel.basic_publish(exchange, key, options, &payload, properties).await?.await
        });
        let flight = Self { id, routing_key, bytes, confirm: None, fate: Fate::Pending };
        flight.take_off(confirm, returned).await
    }

    /// Polls once. The first poll queues the frames, so messages leave in the order of their launch.
    async fn take_off(mut self, mut confirm: Confirm, returned: &mut Vec<Return>) -> Self {
        match poll_fn(|cx| Poll::Ready(confirm.as_mut().poll(cx))).await {
            // An error; or this thread was held up for as long as the broker took to answer.
            Poll::Ready(result) => self.settle(result, returned),
            Poll::Pending => self.confirm = Some(confirm),
        }
        self
    }

    /// Waits for the broker's word, at most until `deadline`; notes what it gives back.
    pub async fn land(&mut self, deadline: Instant, returned: &mut Vec<Return>) {
        if let Some(confirm) = &mut self.confirm
            && let Ok(result) = timeout_at(deadline, confirm).await
        {
            self.settle(result, returned);
        }
    }

    fn settle(&mut self, result: lapin::Result<Confirmation>, returned: &mut Vec<Return>) {
        self.confirm = None;
        let (acked, given_back) = match result {
            Ok(Confirmation::Ack(given_back)) => (true, given_back),
            Ok(Confirmation::Nack(given_back)) => (false, given_back),
            Ok(Confirmation::NotRequested) => {
                let detail = "the channel does not confirm";
                return self.fate = Fate::Failed(Failure::new(Reason::Connection, detail));
            }
            Err(error) => return self.fate = Fate::Failed(message::failure(&error)),
        };
        let mut foreign = false;
        if let Some(given_back) = given_back {
            let back = Return {
                id: given_back.delivery.properties.message_id().clone(),
                routing_key: given_back.delivery.routing_key.clone(),
                detail: format!(
                    "returned: {} {}, exchange `{}`, routing key `{}`",
                    given_back.reply_code,
                    given_back.reply_text,
                    given_back.delivery.exchange,
                    given_back.delivery.routing_key
                ),
            };
            foreign = !self.is(&back);
            returned.push(back);
        }
        self.fate = if acked { Fate::Acked { foreign } } else { Fate::Nacked };
    }

    fn is(&self, back: &Return) -> bool {
        self.id == back.id && self.routing_key == back.routing_key
    }

    /// What to report.
    ///
    /// - `all_landed`: every message in flight has landed, so `returned` is complete.
    /// - `late`: why there is no word yet.
    /// - `max_message`: the broker's limit, in bytes, where it told one.
    pub fn outcome(&self, returned: &[Return], all_landed: bool, late: &Failure, max_message: usize) -> Outcome {
        match &self.fate {
            Fate::Pending => Outcome::Retry(late.clone()),
            Fate::Refused(failure) => Outcome::Reject(failure.clone()),
            Fate::Failed(_) if self.bytes > max_message => Outcome::Reject(message::too_large(self.bytes, max_message)),
            Fate::Failed(failure) => Outcome::Retry(failure.clone()),
            Fate::Nacked => Outcome::Retry(Failure::new(
                Reason::Refused,
                "the broker refused the message (nack): a queue is at its limit, or failed",
            )),
            Fate::Acked { foreign } => match returned.iter().find(|back| self.is(back)) {
                Some(back) => Outcome::Retry(Failure::new(Reason::Unroutable, back.detail.clone())),
                // Its own return may still be on the way, attached to a confirm that has not come.
                None if *foreign && !all_landed => Outcome::Retry(late.clone()),
                None => Outcome::Delivered,
            },
        }
    }
}

/// Waits for the broker's word about `flights`, at most until `deadline`, and takes what has come about `others`.
///
/// A return may have come with the confirm of one that was looked at too early. So those without a word are looked at again
/// until there is nothing new: whatever the client library settled before the last one that landed has landed as well.
pub async fn land_all(
    flights: &mut [Flight],
    others: &mut HashMap<u64, Flight>,
    deadline: Instant,
    returned: &mut Vec<Return>,
) {
    for flight in &mut *flights {
        flight.land(deadline, returned).await;
    }
    let mut news = true;
    while std::mem::take(&mut news) {
        for flight in flights.iter_mut().chain(others.values_mut()).filter(|flight| flight.fate == Fate::Pending) {
            flight.land(Instant::now(), returned).await;
            news |= flight.fate != Fate::Pending;
        }
    }
}

#[cfg(test)]
mod tests {
    use lapin::message::{BasicReturnMessage, Delivery};

    use super::*;

    fn flight(id: &str, fate: Fate) -> Flight {
        let routing_key = ShortString::from("k");
        Flight { id: Some(id.into()), routing_key, bytes: 10, confirm: None, fate }
    }

    fn back(id: &str) -> Return {
        Return { id: Some(id.into()), routing_key: "k".into(), detail: "returned: 312 NO_ROUTE".into() }
    }

    #[track_caller]
    fn check(flight: &Flight, returned: &[Return], all_landed: bool, expected: &str) {
        let late = Failure::new(Reason::Timeout, "late");
        let outcome = match flight.outcome(returned, all_landed, &late, 100) {
            Outcome::Delivered => "delivered".to_owned(),
            Outcome::Retry(failure) => format!("retry {}", failure.reason.label()),
            Outcome::Later => "later".to_owned(),
            Outcome::Reject(failure) => format!("reject {}", failure.reason.label()),
        };
        assert_eq!(outcome, expected);
    }

    #[test]
    fn a_returned_message_is_not_delivered_whichever_confirm_it_came_with() {
        let routed = flight("routed", Fate::Acked { foreign: true });
        let lost = flight("lost", Fate::Acked { foreign: false });
        check(&routed, &[back("lost")], true, "delivered");
        check(&lost, &[back("lost")], true, "retry unroutable");
    }

    /// The confirm that comes with the return of `id`.
    fn with_return(id: &str) -> lapin::Result<Confirmation> {
        let properties = BasicProperties::default().with_message_id(id.into());
        let delivery = Delivery { properties, ..Delivery::mock(1, "e".into(), "k".into(), false, Vec::new()) };
        let back = BasicReturnMessage { delivery, reply_code: 312, reply_text: "NO_ROUTE".into() };
        Ok(Confirmation::Ack(Some(back)))
    }

    fn waiting(id: &str, confirm: impl Future<Output = lapin::Result<Confirmation>> + Send + 'static) -> Flight {
        Flight { confirm: Some(Box::pin(confirm)), ..flight(id, Fate::Pending) }
    }

    #[tokio::test]
    async fn a_message_whose_return_came_with_the_confirm_of_another_batch_is_not_delivered() {
        let (settle, settled) = tokio::sync::oneshot::channel();
        let mut others = HashMap::from([(1, waiting("other", async { settled.await.unwrap() }))]);
        // One `basic.ack` confirms both, the other one first.
        let lost = async {
            tokio::task::yield_now().await;
            settle.send(with_return("lost")).unwrap();
            Ok(Confirmation::Ack(None))
        };
        let (mut flights, mut returned) = ([waiting("lost", lost)], Vec::new());
        let deadline = Instant::now() + std::time::Duration::from_secs(5);
        land_all(&mut flights, &mut others, deadline, &mut returned).await;
        check(&flights[0], &returned, true, "retry unroutable");
    }

    #[tokio::test]
    async fn a_message_whose_return_came_with_a_confirm_just_after_the_deadline_is_not_delivered() {
        let (settle, settled) = tokio::sync::oneshot::channel();
        let lost = async {
            settle.send(with_return("lost")).unwrap();
            Ok(Confirmation::Ack(None))
        };
        let mut flights = [waiting("slow", async { settled.await.unwrap() }), waiting("lost", lost)];
        let mut returned = Vec::new();
        land_all(&mut flights, &mut HashMap::new(), Instant::now(), &mut returned).await;
        check(&flights[1], &returned, true, "retry unroutable");
    }

    #[tokio::test]
    async fn a_message_that_is_back_before_anybody_waits_for_it_is_not_delivered() {
        let confirm = Box::pin(std::future::ready(with_return("lost")));
        let mut returned = Vec::new();
        let lost = flight("lost", Fate::Pending).take_off(confirm, &mut returned).await;
        check(&lost, &returned, true, "retry unroutable");
    }

    #[test]
    fn a_confirm_with_a_foreign_return_counts_only_once_all_have_landed() {
        let unsure = flight("a", Fate::Acked { foreign: true });
        check(&unsure, &[back("b")], false, "retry timeout");
        check(&flight("a", Fate::Acked { foreign: false }), &[], false, "delivered");
    }

    #[test]
    fn only_the_message_over_the_limit_is_rejected_when_the_channel_ends() {
        let failed = || Fate::Failed(Failure::new(Reason::Refused, "channel closed"));
        check(&flight("small", failed()), &[], true, "retry refused");
        check(&Flight { bytes: 101, ..flight("large", failed()) }, &[], true, "reject too_large");
        check(&flight("late", Fate::Pending), &[], false, "retry timeout");
        check(&flight("nack", Fate::Nacked), &[], true, "retry refused");
    }
}
