//! What would lose data at the broker, found by AMQP alone.
//!
//! AMQP cannot read what a queue is like, but a declaration that differs is refused with the name and the value of
//! the first difference. So declaring again and again with what was learnt reads one property after the other; nothing
//! is created, since only what exists is asked about.

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, ExchangeKind};

use super::{Settings, message};
use crate::backend::{Failure, Reason};

/// More differences than a queue has properties.
const MAX_QUESTIONS: usize = 24;

/// One sentence for each risk.
///
/// # Errors
/// What the backend does not declare itself is missing, or the connection ended.
pub async fn risks(connection: &Connection, settings: &Settings) -> Result<Vec<String>, Failure> {
    let mut risks = Vec::new();
    if exists(connection, settings, None).await? {
        exchange(connection, &settings.exchange, &mut risks).await?;
    }
    if let Some(queue) = settings.queue()
        && exists(connection, settings, Some(queue)).await?
    {
        self::queue(connection, queue, &mut risks).await?;
    }
    Ok(risks)
}

async fn exists(connection: &Connection, settings: &Settings, queue: Option<&str>) -> Result<bool, Failure> {
    let channel = connection.create_channel().await.map_err(|error| message::failure(&error))?;
    let answer = match queue {
        Some(queue) => {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(message::short(queue), options, FieldTable::default()).await.map(drop)
        }
        None => {
            let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            let name = message::short(&settings.exchange);
            channel.exchange_declare(name, ExchangeKind::Topic, options, FieldTable::default()).await
        }
    };
    match answer.map_err(|error| message::failure(&error)) {
        Ok(()) => Ok(true),
        // It is declared at the start of the bridge.
        Err(failure) if failure.reason == Reason::Missing && settings.declare => Ok(false),
        Err(failure) => Err(failure),
    }
}

async fn exchange(connection: &Connection, name: &str, risks: &mut Vec<String>) -> Result<(), Failure> {
    let mut kind = ExchangeKind::Topic;
    let mut options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    for _ in 0..MAX_QUESTIONS {
        let channel = connection.create_channel().await.map_err(|error| message::failure(&error))?;
        let answer = channel.exchange_declare(message::short(name), kind.clone(), options, FieldTable::default()).await;
        let Err(error) = answer else { return Ok(()) };
        match difference(&error) {
            Some(Difference { name, value, .. }) if name == "type" => kind = ExchangeKind::Custom(value),
            Some(Difference { name: property, .. }) if property == "durable" => {
                risks.push(format!("exchange `{name}` is not durable: a restart of the broker removes it"));
                options.durable = false;
            }
            Some(Difference { name: property, .. }) if property == "auto_delete" => {
                risks.push(format!("exchange `{name}` is deleted with its last binding"));
                options.auto_delete = true;
            }
            // Arguments of an exchange keep no data.
            _ => return unknown(&error, &format!("exchange `{name}`"), risks),
        }
    }
    Ok(())
}

async fn queue(connection: &Connection, name: &str, risks: &mut Vec<String>) -> Result<(), Failure> {
    let mut options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    for _ in 0..MAX_QUESTIONS {
        let channel = connection.create_channel().await.map_err(|error| message::failure(&error))?;
        let answer = channel.queue_declare(message::short(name), options, arguments.clone()).await;
        let Err(error) = answer else { break };
        let Some(found) = difference(&error) else {
            unknown(&error, &format!("queue `{name}`"), risks)?;
            break;
        };
        match found.name.as_str() {
            "durable" if options.durable => {
                risks.push(format!("queue `{name}` is not durable: a restart of the broker removes it"));
                options.durable = false;
            }
            "auto_delete" if !options.auto_delete => {
                risks.push(format!("queue `{name}` is deleted with its last consumer"));
                options.auto_delete = true;
            }
            "exclusive" if !options.exclusive => options.exclusive = true,
            argument if !arguments.contains_key(argument) => {
                let Some(value) = found.amqp() else { break };
                arguments.insert(message::short(argument), value);
            }
            _ => break,
        }
    }
    risks.extend(argument_risks(name, |argument| arguments.inner().get(&ShortString::from(argument)).map(text)));
    Ok(())
}

fn unknown(error: &lapin::Error, what: &str, risks: &mut Vec<String>) -> Result<(), Failure> {
    let failure = message::failure(error);
    match failure.reason {
        Reason::Connection | Reason::Timeout => Err(failure),
        _ => {
            risks.push(format!("{what} cannot be examined: {}", failure.detail));
            Ok(())
        }
    }
}

fn argument_risks(name: &str, argument: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut risks = Vec::new();
    let limited = ["x-max-length", "x-max-length-bytes"].into_iter().find(|limit| argument(limit).is_some());
    let overflow = argument("x-overflow").unwrap_or_else(|| "drop-head".to_owned());
    if let Some(limit) = limited
        && overflow == "drop-head"
    {
        risks.push(format!("queue `{name}` has `{limit}` and drops its oldest messages there, confirmed ones too; `x-overflow` `reject-publish` refuses new ones instead"));
    }
    if argument("x-message-ttl").is_some() {
        risks.push(format!("queue `{name}` has `x-message-ttl`: messages that nobody reads in time are removed"));
    }
    if argument("x-expires").is_some() {
        risks.push(format!("queue `{name}` has `x-expires`: it is deleted with its messages when nobody uses it"));
    }
    risks
}

/// What the broker says differs from a declaration.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    name: String,
    value: String,
    kind: String,
}

impl Difference {
    fn amqp(&self) -> Option<AMQPValue> {
        match self.kind.as_str() {
            "longstr" => Some(AMQPValue::LongString(self.value.as_str().into())),
            "bool" => Some(AMQPValue::Boolean(self.value == "true")),
            // The broker compares whole numbers by value, whatever their width.
            _ => self.value.parse().ok().map(AMQPValue::LongLongInt),
        }
    }
}

fn text(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn difference(error: &lapin::Error) -> Option<Difference> {
    difference_in(&error.to_string())
}

/// Reads `… inequivalent arg 'x' for queue 'q' in vhost '/': received … but current is the value 'v' of type 't'`.
fn difference_in(said: &str) -> Option<Difference> {
    let (_, rest) = said.split_once("inequivalent arg '")?;
    let (name, rest) = rest.split_once('\'')?;
    let (_, current) = rest.split_once("but current is ")?;
    let mut quoted = current.split('\'').skip(1).step_by(2).map(str::to_owned);
    Some(Difference { name: name.to_owned(), value: quoted.next()?, kind: quoted.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_declaration_tells_what_is_there() {
        let said = "inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received none but current is the value '3' of type 'long'";
        let found = difference_in(said).unwrap();
        assert_eq!((found.name.as_str(), found.value.as_str(), found.kind.as_str()), ("x-max-length", "3", "long"));
        assert_eq!(found.amqp(), Some(AMQPValue::LongLongInt(3)));
        let said = "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'";
        assert_eq!(difference_in(said).unwrap().value, "false");
        assert_eq!(difference_in("NOT_FOUND - no queue 'q'"), None);
    }

    #[test]
    fn a_queue_that_drops_or_expires_is_a_risk() {
        let none = argument_risks("q", |_| None);
        assert!(none.is_empty());
        let drops = argument_risks("q", |name| (name == "x-max-length").then(|| "3".to_owned()));
        assert!(drops[0].contains("drops its oldest"), "{drops:?}");
        let refuses = argument_risks("q", |name| match name {
            "x-max-length" => Some("3".to_owned()),
            "x-overflow" => Some("reject-publish".to_owned()),
            _ => None,
        });
        assert!(refuses.is_empty());
    }
}
