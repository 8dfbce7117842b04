//! Commands to Redis, and what its answers and errors mean.

use redis::{Cmd, ErrorKind, RedisError, ServerError, Value};

use super::Settings;
use crate::backend::{Failure, Format, Reason};
use crate::event::Stored;

/// One event as a command. `json` is room that is used again.
///
/// # Errors
/// An argument is larger than the server takes.
pub fn xadd(
    stored: &Stored,
    stream: &str,
    settings: &Settings,
    max_bulk: usize,
    json: &mut Vec<u8>,
) -> Result<Cmd, Failure> {
    let envelope = &stored.envelope;
    let data: &[u8] = match settings.format {
        Format::Structured => match &stored.json {
            Some(json) => json,
            None => {
                json.clear();
                stored.write_json(json);
                json
            }
        },
        Format::Binary => &envelope.body,
    };
    if data.len() > max_bulk {
        let detail = format!("{} B, and the server takes at most {max_bulk} B (proto-max-bulk-len)", data.len());
        return Err(Failure::new(Reason::TooLarge, detail));
    }
    let mut command = Cmd::with_capacity(48, stream.len() + envelope.id.len() + envelope.kind.len() + data.len() + 512);
    command.arg("XADD").arg(stream);
    if let Some(most) = settings.max_len {
        command.arg("MAXLEN").arg("~").arg(most.get());
    }
    command.arg("*");
    match settings.format {
        Format::Structured => {
            command.arg("id").arg(&*envelope.id).arg("type").arg(&*envelope.kind).arg("event").arg(data);
        }
        Format::Binary => {
            stored.attributes(|name, value| {
                command.arg(name).arg(value);
            });
            command.arg("data").arg(data);
        }
    }
    if json.capacity() > 4 << 20 {
        *json = Vec::new();
    }
    Ok(command)
}

/// The answers inside `EXEC`'s.
///
/// # Errors
/// The transaction was not executed.
pub fn exec(answers: Result<Vec<Value>, RedisError>) -> Result<Vec<Value>, Failure> {
    match answers.map_err(|error| failure(&error))?.pop() {
        Some(Value::Array(answers)) => Ok(answers),
        Some(Value::ServerError(error)) => Err(server_failure(&error)),
        Some(Value::Nil) => Err(Failure::new(Reason::Connection, "the cursor's key was changed by another connection")),
        _ => Err(Failure::new(Reason::Connection, "EXEC was answered by something that is not a list")),
    }
}

/// A value, or the server's error.
///
/// # Errors
/// The server's.
pub fn answer(value: Value) -> Result<Value, Failure> {
    match value {
        Value::ServerError(error) => Err(server_failure(&error)),
        value => Ok(value),
    }
}

/// A value that is a number in digits.
pub fn number(value: &Value) -> Option<u64> {
    redis::from_redis_value_ref(value).ok()
}

/// The one value of `CONFIG GET`.
pub fn config_value(value: &Value) -> Option<String> {
    let pairs: Vec<(String, String)> = redis::from_redis_value_ref(value).ok()?;
    pairs.into_iter().next().map(|(_, value)| value)
}

/// What would lose data, from `INFO persistence` and `INFO memory`.
pub fn risks(persistence: &str, memory: &str) -> Vec<String> {
    let field = |info: &str, name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(|value| value.trim().to_owned())
    };
    let mut risks = Vec::new();
    match field(persistence, "aof_enabled").as_deref() {
        Some("1") => {}
        Some(_) => {
            risks.push("`appendonly` is `no`: a crash of Redis loses what came after its last snapshot".to_owned());
        }
        None => risks.push("the server does not say whether `appendonly` is on".to_owned()),
    }
    match field(memory, "maxmemory_policy").as_deref() {
        Some("noeviction") => {}
        // Streams have no time to live, so a policy of `volatile-*` never takes them.
        Some(policy) if policy.starts_with("volatile-") => {}
        Some(policy) => risks.push(format!(
            "`maxmemory-policy` is `{policy}`: when memory is short Redis removes whole streams; `noeviction` refuses writes instead"
        )),
        None => risks.push("the server does not say what its `maxmemory-policy` is".to_owned()),
    }
    risks
}

/// What an error of the client means. The text comes from the server or the system, never from the URL.
pub fn failure(error: &RedisError) -> Failure {
    if let Some(first) = error.clone().into_server_errors().as_deref().and_then(|errors| errors.first()) {
        return server_failure(&first.1);
    }
    let detail = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.category()),
        None => error.to_string(),
    };
    let reason = match error.kind() {
        ErrorKind::AuthenticationFailed => Reason::Unauthorized,
        _ if error.is_timeout() => Reason::Timeout,
        _ => Reason::Connection,
    };
    Failure::new(reason, detail)
}

/// What the server's own error means. All of them may heal: an operator can free memory, change rights or keys.
pub fn server_failure(error: &ServerError) -> Failure {
    let (code, text) = (error.code(), error.details().unwrap_or_default());
    let reason = match code {
        // MISCONF: a snapshot could not be written, as when the disk is full.
        "OOM" | "MISCONF" => Reason::Full,
        "LOADING" | "BUSY" | "TRYAGAIN" => Reason::Throttled,
        "NOAUTH" | "NOPERM" | "WRONGPASS" | "DENIED" => Reason::Unauthorized,
        "WRONGTYPE" => Reason::Missing,
        _ if text.contains("max number of clients") => Reason::Throttled,
        _ => Reason::Refused,
    };
    Failure::new(reason, format!("{code} {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_may_lose_data_is_told_in_sentences() {
        let risky = risks("aof_enabled:0\r\n", "maxmemory_policy:allkeys-lru\r\n");
        assert!(risky[0].contains("appendonly") && risky[1].contains("allkeys-lru"), "{risky:?}");
        assert!(risks("loading:0\r\naof_enabled:1\r\n", "maxmemory_policy:noeviction\r\n").is_empty());
        assert!(risks("aof_enabled:1\r\n", "maxmemory_policy:volatile-lru\r\n").is_empty());
        assert_eq!(risks("", "").len(), 2);
    }
}
