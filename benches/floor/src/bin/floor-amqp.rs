//! The floor under a drain into RabbitMQ: one lapin connection that publishes the same bytes again and again.
//!
//! `floor-amqp URL EXCHANGE ROUTING_KEY MESSAGES BYTES IN_FLIGHT` prints the messages a second, all of them confirmed.
//! Persistent and mandatory, as the bridge's; it reads nothing and encodes nothing.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::Error;
use std::time::Instant;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, exchange, routing_key, messages, bytes, in_flight] = args.as_slice() else {
        return Err(Error::other("usage: floor-amqp URL EXCHANGE ROUTING_KEY MESSAGES BYTES IN_FLIGHT").into());
    };
    let (messages, in_flight): (usize, usize) = (messages.parse()?, in_flight.parse()?);
    let payload = vec![b'x'; bytes.parse()?];
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let properties = BasicProperties::default().with_delivery_mode(2);

    let began = Instant::now();
    let mut flying = VecDeque::with_capacity(in_flight);
    for sent in 0..messages + in_flight {
        if sent >= in_flight
            && let Some(confirm) = flying.pop_front()
            && !matches!(confirm.await?, Confirmation::Ack(None))
        {
            return Err(Error::other("a message was refused or given back").into());
        }
        if sent < messages {
            let publish = channel.basic_publish(
                exchange.as_str().into(),
                routing_key.as_str().into(),
                options,
                &payload,
                properties.clone(),
            );
            flying.push_back(publish.await?);
        }
    }
    println!("{:.0}", messages as f64 / began.elapsed().as_secs_f64());
    Ok(())
}
