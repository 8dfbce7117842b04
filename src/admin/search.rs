//! Looks for events: backwards from the newest, and from a time to a position.
//!
//! The journal has no index by id or type; a search reads it, a bounded part at a time, and says how far it came.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::page::Filter;
use super::time;
use crate::event::Stored;
use crate::journal::{Journal, Reader};

/// How long one page may look: whoever waits for it does not notice, and asks for the next.
const PATIENCE: Duration = Duration::from_millis(60);
/// Most bytes of bodies on one page.
const BYTES: usize = 8 << 20;
/// Events read at once.
const STEP: u64 = 500;
/// Most positions that one step goes back: so many events are looked at before it is asked how long that took.
const LEAP: u64 = 2_000;
/// Times of neighbouring events are not always in order: by less than this, milliseconds.
const JITTER_MS: u64 = 2_000;

/// What a search found.
pub struct Found {
    /// The newest first.
    pub events: Vec<Stored>,
    /// Everything from here on was looked at: where to go on before.
    pub next: u64,
    /// Nothing older is kept, or wanted.
    pub is_complete: bool,
}

/// The newest `limit` wanted events before the position `before`. Blocks.
///
/// # Errors
/// The journal cannot be read.
pub fn newest(journal: &Journal, before: Option<u64>, filter: &Filter, limit: usize) -> io::Result<Found> {
    let begun = Instant::now();
    let mut reader = journal.reader(0);
    let (low, high) = bounds(journal, &mut reader, filter)?;
    let mut upper = before.unwrap_or(u64::MAX).min(high + 1);
    let mut span = if filter.is_all() { (limit as u64).max(1) } else { STEP };
    let (mut events, mut bytes, mut is_cut) = (Vec::new(), 0, false);
    let top = upper;
    // One step at least: whoever goes on where this ends must get further.
    while !is_cut
        && upper > low + 1
        && events.len() < limit
        && bytes < BYTES
        && (upper == top || begun.elapsed() < PATIENCE)
    {
        let lower = upper.saturating_sub(span).max(low + 1);
        reader.seek(lower - 1);
        let window = window(&mut reader, upper, filter, limit - events.len(), BYTES - bytes)?;
        bytes += window.bytes;
        is_cut = window.is_cut;
        events.extend(window.kept.into_iter().rev());
        upper = lower;
        span = (span * 2).min(LEAP);
    }
    // A full page may have left older ones in its last step.
    let next = events.last().filter(|_| is_cut || events.len() == limit).map_or(upper, |last| last.sequence);
    Ok(Found { events, next, is_complete: next <= low + 1 })
}

/// What one step found.
#[derive(Default)]
struct Window {
    /// The oldest first.
    kept: VecDeque<Stored>,
    /// Of their bodies.
    bytes: usize,
    /// Older ones had no room.
    is_cut: bool,
}

/// The last `most` wanted events up to the position before `upper`, with no more than `room` bytes of bodies; the last one
/// is there however large it is.
fn window(reader: &mut Reader, upper: u64, filter: &Filter, most: usize, room: usize) -> io::Result<Window> {
    let mut window = Window::default();
    while reader.position() + 1 < upper {
        let batch = reader.read(STEP as usize, BYTES)?;
        let Some(last) = batch.last().map(|stored| stored.sequence) else { break };
        for stored in batch.into_iter().take_while(|stored| stored.sequence < upper) {
            if !filter.wants(&stored) {
                continue;
            }
            window.bytes += stored.envelope.body.len();
            window.kept.push_back(stored);
            while window.kept.len() > most || (window.bytes > room && window.kept.len() > 1) {
                let oldest = window.kept.pop_front();
                window.bytes -= oldest.map_or(0, |stored| stored.envelope.body.len());
                window.is_cut = true;
            }
        }
        if last + 1 >= upper {
            break;
        }
    }
    Ok(window)
}

/// The positions between which the wanted times lie: behind the first, up to the second. Blocks.
///
/// # Errors
/// The journal cannot be read.
pub fn bounds(journal: &Journal, reader: &mut Reader, filter: &Filter) -> io::Result<(u64, u64)> {
    let (oldest, tail) = (journal.before_oldest(), *journal.tail().borrow());
    let mut at = |ms: u64| locate(reader, ms, oldest, tail);
    let low = filter.since_ms.map_or(Ok(oldest), |ms| at(ms.saturating_sub(JITTER_MS)))?;
    let high = filter.until_ms.map_or(Ok(tail), |ms| at(ms.saturating_add(JITTER_MS)))?;
    Ok((low, high))
}

/// The last position between `low` and `high` whose event came before `ms`, by halves.
///
/// It goes by when the journal took it: what was released keeps the time of its receipt, which is no order.
fn locate(reader: &mut Reader, ms: u64, mut low: u64, mut high: u64) -> io::Result<u64> {
    while low < high {
        let middle = low + (high - low) / 2;
        reader.seek(middle);
        match reader.read(1, 1)?.first() {
            Some(stored) if stored.sequence <= high && stored.time_ms < ms => low = stored.sequence,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// When an event was received, Unix time, milliseconds; 0 if that cannot be read.
pub fn recorded_ms(stored: &Stored) -> u64 {
    time::parse(&stored.envelope.recorded_time).unwrap_or(0)
}
