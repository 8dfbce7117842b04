//! A connection, and a channel with what it publishes to.

use std::io;
use std::sync::atomic::Ordering;

use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::tcp::{AMQPUriTcpExt, OwnedTLSConfig};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Settings, Shared, message};
use crate::backend::{Failure, Reason};

/// Seconds between heartbeats unless the URL names another number: a peer that is gone is noticed within two.
const HEARTBEAT_S: u16 = 20;

/// Connects and logs in. The caller bounds the time.
///
/// # Errors
/// The broker is away, does not answer, or refuses the login.
pub async fn open(settings: &Settings, shared: &Shared, name: &str) -> Result<Connection, Failure> {
    let no_url = || Failure::new(Reason::Connection, "the URL is not an AMQP URL");
    let mut uri = settings.uri().ok_or_else(no_url)?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    if shared.stalled.load(Ordering::Relaxed) && uri.scheme == AMQPScheme::AMQP {
        // A handshake of the library that is given up keeps its thread until the broker answers,
        // so a broker that did not answer is asked by a plain socket first.
        knock(&uri).await.map_err(|error| Failure::new(Reason::Connection, error.to_string()))?;
    }
    let timeout = settings.timeout;
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime().map_err(|error| message::failure(&error))?;
    let dial = async move |uri: AMQPUri, runtime| {
        let tls = OwnedTLSConfig::default();
        let stream = AMQPUriTcpExt::connect_with_config_async(&uri, tls.as_ref(), &runtime);
        match tokio::time::timeout(timeout, stream).await {
            Ok(stream) => stream.map_err(lapin::Error::from),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    };
    let connection =
        Connection::connector(uri, runtime, dial, properties).await.map_err(|error| message::failure(&error))?;
    shared.stalled.store(false, Ordering::Relaxed);
    Ok(connection)
}

/// Whether the broker answers the protocol's first eight bytes.
async fn knock(uri: &AMQPUri) -> io::Result<()> {
    let mut stream = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    stream.read_u8().await.map(drop)
}

/// A channel in confirm mode, with exchange and queue declared or checked.
///
/// # Errors
/// Exchange or queue is missing or different, or the user may not use it.
pub async fn prepare(connection: &Connection, settings: &Settings) -> Result<Channel, Failure> {
    let channel = connection.create_channel().await.map_err(|error| message::failure(&error))?;
    let declared = declare(&channel, settings).await;
    declared.map_err(|error| {
        let failure = message::failure(&error);
        // PRECONDITION_FAILED here: it exists, but is not what it must be.
        let reason = if failure.reason == Reason::Refused { Reason::Missing } else { failure.reason };
        Failure::new(reason, failure.detail)
    })?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(|error| message::failure(&error))?;
    Ok(channel)
}

async fn declare(channel: &Channel, settings: &Settings) -> lapin::Result<()> {
    let passive = !settings.declare;
    let exchange = message::short(&settings.exchange);
    let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, FieldTable::default()).await?;
    let Some(queue) = settings.queue().map(message::short) else { return Ok(()) };
    let mut arguments = FieldTable::default();
    if !passive {
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    }
    let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.clone(), options, arguments).await?;
    if settings.declare {
        let options = QueueBindOptions::default();
        channel.queue_bind(queue, exchange, "#".into(), options, FieldTable::default()).await?;
    }
    Ok(())
}
