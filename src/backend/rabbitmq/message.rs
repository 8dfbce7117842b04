//! One event as an AMQP message, and what the broker's errors mean.

use bytes::Bytes;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Error, ErrorKind};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::backend::{Failure, Format, Reason};
use crate::event::Stored;
use crate::event::cloudevents::CONTENT_TYPE;

/// Room in a header frame for what stands beside the table of attributes, in bytes: properties of 255 bytes each.
const HEADER_ROOM: usize = 2048;

/// Properties and body.
///
/// # Errors
/// The attributes are larger than a frame, which is where they must fit.
pub fn build(stored: &Stored, format: Format, frame_max: usize) -> Result<(BasicProperties, Bytes), Failure> {
    let envelope = &stored.envelope;
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_message_id(short_id(&envelope.id))
        .with_type(short(&envelope.kind));
    let properties = match unix_time(&envelope.time).or_else(|| unix_time(&envelope.recorded_time)) {
        Some(seconds) => properties.with_timestamp(seconds),
        None => properties,
    };
    match format {
        Format::Structured => {
            let mut json = Vec::new();
            stored.write_json(&mut json);
            Ok((properties.with_content_type(CONTENT_TYPE.into()), json.into()))
        }
        Format::Binary => {
            let (mut headers, mut bytes) = (FieldTable::default(), 0);
            stored.attributes(|name, value| {
                let name = format!("cloudEvents:{name}");
                bytes += name.len() + value.len() + 6;
                headers.insert(name.into(), AMQPValue::LongString(value.into()));
            });
            if bytes + HEADER_ROOM > frame_max {
                let detail = format!("{bytes} B of attributes do not fit into a frame of {frame_max} B");
                return Err(Failure::new(Reason::TooLarge, detail));
            }
            let properties = match &envelope.content_type {
                Some(content_type) => properties.with_content_type(short(content_type)),
                None => properties,
            };
            Ok((properties.with_headers(headers), envelope.body.clone()))
        }
    }
}

fn unix_time(text: &str) -> Option<u64> {
    u64::try_from(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp()).ok()
}

/// The beginning that AMQP's short strings hold: 255 bytes.
pub fn short(text: &str) -> ShortString {
    let end = text.floor_char_boundary(255);
    ShortString::try_new(&text[..end]).unwrap_or_default()
}

/// The id; one that is too long is replaced by its digest, so that different ids stay different.
fn short_id(id: &str) -> ShortString {
    if id.len() <= 255 { short(id) } else { short(&hex::encode(Sha256::digest(id))) }
}

/// An event larger than the broker takes.
pub fn too_large(bytes: usize, limit: usize) -> Failure {
    Failure::new(Reason::TooLarge, format!("{bytes} B, and the broker takes at most {limit} B (max_message_size)"))
}

/// The limit that the broker names when it refuses a message for its size.
pub fn told_limit(detail: &str) -> Option<usize> {
    let (_, rest) = detail.split_once("is larger than configured max size ")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok()
}

/// What an error of the client means; the text is the broker's or the system's.
pub fn failure(error: &Error) -> Failure {
    let reason = match error.kind() {
        ErrorKind::ProtocolError(said) => match said.get_id() {
            // ACCESS_REFUSED, also for a login; NOT_ALLOWED: no such virtual host, or no right to it.
            403 | 530 => Reason::Unauthorized,
            404 => Reason::Missing,
            // INTERNAL_ERROR, RESOURCE_ERROR, PRECONDITION_FAILED, RESOURCE_LOCKED.
            405 | 406 | 506 | 541 => Reason::Refused,
            _ => Reason::Connection,
        },
        ErrorKind::IOError(io) if io.kind() == std::io::ErrorKind::TimedOut => Reason::Timeout,
        _ => Reason::Connection,
    };
    Failure::new(reason, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_stay_different_and_short() {
        let (a, b) = ("x".repeat(256), "x".repeat(257));
        assert_ne!(short_id(&a), short_id(&b));
        assert_eq!(short_id("evt_1").as_str(), "evt_1");
        assert_eq!(short(&"é".repeat(200)).as_str().len(), 254);
    }

    #[test]
    fn the_broker_tells_its_limit() {
        let said = "PRECONDITION_FAILED - message size 2097152 is larger than configured max size 1048576";
        assert_eq!(told_limit(said), Some(1_048_576));
        assert_eq!(told_limit("PRECONDITION_FAILED - inequivalent arg"), None);
    }
}
