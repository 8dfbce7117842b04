//! Reads a page of accepted events, waiting for the first one if asked to.

use std::time::Duration;

use actix_web::web;

use super::problem::Problem;
use crate::event::Stored;
use crate::event::route::Glob;
use crate::journal::Reader;

/// Most events looked at for one page: a filter that matches nothing must not read a whole journal at once.
const LOOK: usize = 20_000;
/// Events read at once.
const STEP: usize = 500;
/// Most bytes of bodies on one page.
const BYTES: usize = 8 << 20;

/// Which events are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Name of the source.
    pub source: Option<String>,
    /// Pattern of the type.
    pub kind: Option<Glob>,
    /// The event's id.
    pub id: Option<String>,
    /// Received, or released, at or after this, Unix time, milliseconds.
    pub since_ms: Option<u64>,
    /// Received, or released, before this, Unix time, milliseconds.
    pub until_ms: Option<u64>,
}

impl Filter {
    /// Whether every event is wanted.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `stored` is wanted; what is set aside is for nobody.
    pub fn wants(&self, stored: &Stored) -> bool {
        let event = &stored.envelope;
        event.set_aside.is_none()
            && self.source.as_ref().is_none_or(|source| *source == *event.source)
            && self.id.as_ref().is_none_or(|id| *id == *event.id)
            && self.kind.as_ref().is_none_or(|kind| kind.matches(&event.kind))
            && self.is_in_time(stored.time_ms)
    }

    fn is_in_time(&self, ms: u64) -> bool {
        self.since_ms.is_none_or(|since| since <= ms) && self.until_ms.is_none_or(|until| ms < until)
    }
}

/// Up to `limit` wanted events behind the reader, which moves past all that were looked at.
///
/// # Errors
/// The journal cannot be read.
pub async fn read(reader: Reader, filter: &Filter, limit: usize) -> Result<(Reader, Vec<Stored>), Problem> {
    let mut reader = reader;
    let (mut found, mut looked, mut bytes) = (Vec::new(), 0, 0);
    while found.len() < limit && looked < LOOK && bytes < BYTES && reader.is_behind() {
        let step = if filter.is_all() { STEP.min(limit - found.len()) } else { STEP };
        let before = reader.position();
        let batch = match reader.read_memory(step, BYTES) {
            Some(batch) => batch,
            None => {
                let read = web::block(move || {
                    let batch = reader.read(step, BYTES);
                    (reader, batch)
                });
                let (returned, batch) = read.await.map_err(|error| Problem::Failed(error.to_string()))?;
                reader = returned;
                match batch {
                    Ok(batch) => batch,
                    // What lies before the place that cannot be read; who asks for more is told.
                    Err(_) if !found.is_empty() => break,
                    Err(error) => return Err(Problem::Failed(format!("cannot read the journal: {error}"))),
                }
            }
        };
        looked += batch.len();
        for stored in batch {
            if !filter.wants(&stored) {
                continue;
            }
            if found.len() == limit {
                // The rest of this step belongs to the next page.
                reader.seek(found.last().map_or(before, |last: &Stored| last.sequence));
                return Ok((reader, found));
            }
            bytes += stored.envelope.body.len();
            found.push(stored);
        }
    }
    Ok((reader, found))
}

/// As [`read`], waiting up to `wait` for the first wanted event.
///
/// # Errors
/// As [`read`].
pub async fn wait(
    mut reader: Reader,
    filter: &Filter,
    limit: usize,
    wait: Duration,
    stopping: impl Future<Output = ()>,
) -> Result<(Reader, Vec<Stored>), Problem> {
    let deadline = tokio::time::sleep(wait);
    tokio::pin!(deadline, stopping);
    loop {
        let (returned, found) = read(reader, filter, limit).await?;
        reader = returned;
        if !found.is_empty() || wait.is_zero() {
            return Ok((reader, found));
        }
        tokio::select! {
            biased;
            () = &mut deadline => return Ok((reader, found)),
            () = &mut stopping => return Ok((reader, found)),
            _ = reader.wait() => {}
        }
    }
}
