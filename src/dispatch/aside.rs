//! Events that their source set aside, since they do not meet its schema: kept as dead letters of the holder `schema`.
//!
//! The journal holds such an event before its sender is answered, marked so that no lane takes it. A reader of its own
//! ([`run`]) writes the letters and moves its cursor only behind them: a kill costs a letter that is written twice, which
//! is once, and never an event. What is released ([`release`]) is appended to the journal without the mark, and goes where
//! the routes of that moment send it, to readers of the journal as well; a key of its own keeps it from being appended twice (ADR 0007).

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::dead::{DeadLetters, Letter, LetterError};
use super::files::Id;
use super::replay::Refused;
use super::retry;
use crate::backend::Reason;
use crate::event::Stored;
use crate::journal::{Appended, Cursor, Journal, Reader, Record};

/// Name of the holder; no backend can have it.
pub const HOLDER: &str = "schema";
/// What letters of it have as their reason.
pub const REASON: &str = "schema_mismatch";

/// Name of the cursor in the journal.
const CURSOR: &str = "set-aside";
/// Events, and bytes of bodies, read at once.
const EVENTS: usize = 500;
const BYTES: usize = 8 << 20;

/// Makes the cursor, durably, where there is none; without it events that come before [`run`] reads would not be held.
pub async fn register(journal: &Journal) -> Cursor {
    if let Some(cursor) = journal.cursors().get(CURSOR) {
        return *cursor;
    }
    let tail = *journal.tail().borrow();
    let cursor = Cursor { decided: tail, published: tail };
    // The journal is gone only when the process ends.
    let _ = journal.sync_cursor(CURSOR, cursor).await;
    cursor
}

/// Whether an earlier configuration left something to read; a cursor with nothing behind it is dropped, since it would
/// hold events back.
pub async fn is_left(journal: &Journal) -> bool {
    let Some(cursor) = journal.cursors().get(CURSOR).copied() else { return false };
    if cursor.decided < *journal.tail().borrow() {
        return true;
    }
    let _ = journal.drop_cursor(CURSOR).await;
    false
}

/// Keeps what is set aside until it is told to end and nothing waits.
pub async fn run(journal: Journal, dead: DeadLetters, cursor: Cursor, drain: CancellationToken) {
    let mut reader = journal.reader(cursor.decided);
    loop {
        tokio::select! {
            biased;
            alive = reader.wait() => if !alive { return },
            () = drain.cancelled() => return,
        }
        let (dead, now_ms, position) = (dead.clone(), journal.now_ms(), reader.position());
        let kept = tokio::task::spawn_blocking(move || {
            let kept = keep(&mut reader, &dead, now_ms);
            (reader, kept)
        });
        let error = match kept.await {
            Ok((returned, Ok(()))) => {
                reader = returned;
                let decided = reader.position();
                drop(journal.save_cursor(CURSOR, Cursor { decided, published: decided }));
                continue;
            }
            Ok((returned, Err(error))) => {
                reader = returned;
                error
            }
            Err(error) => {
                reader = journal.reader(position);
                std::io::Error::other(error)
            }
        };
        tracing::error!(
            "an event that was set aside cannot be kept as a dead letter: {error}; it waits in the journal"
        );
        reader.seek(position);
        tokio::select! {
            () = tokio::time::sleep(retry::delay(u32::MAX, Reason::Refused, 0)) => {}
            () = drain.cancelled() => return,
        }
    }
}

/// Reads one batch and writes its letters. Blocks.
fn keep(reader: &mut Reader, dead: &DeadLetters, now_ms: u64) -> std::io::Result<()> {
    for stored in reader.read(EVENTS, BYTES)? {
        if let Some(why) = &stored.envelope.set_aside {
            dead.put(&Letter::of(HOLDER, &stored, REASON, why, now_ms)?)?;
            tracing::warn!(source = %stored.envelope.source, sequence = stored.sequence, "event set aside: it does not meet its schema");
        }
    }
    Ok(())
}

/// Appends the event of a letter to the journal, unmarked, and removes the letter; its position, if it was not there already.
///
/// # Errors
/// [`Refused`]; the letter stays.
pub async fn release(journal: &Journal, dead: &DeadLetters, id: &Id) -> Result<Option<u64>, Refused> {
    let read = tokio::task::spawn_blocking({
        let (dead, id) = (dead.clone(), id.clone());
        move || dead.get(&id)
    });
    let damaged = |why: String| Refused::Damaged(why);
    let letter = match read.await.map_err(std::io::Error::other)? {
        Ok(letter) => letter.ok_or_else(|| Refused::Gone(format!("there is no dead letter {id}")))?,
        Err(LetterError::Damaged(why)) => return Err(damaged(why)),
        Err(LetterError::Io(error)) => return Err(error.into()),
    };
    let stored = letter.stored().map_err(|why| damaged(why.to_string()))?;
    let Stored { sequence, envelope, .. } = stored;
    // No source has a name with a NUL: the key is no event's.
    let key = journal.key(&[b"released\0", &sequence.to_le_bytes()]);
    let record = Record::new(&envelope, key, Duration::MAX, journal.now_ms());
    let appended = journal.append(record).await?;
    let removed = tokio::task::spawn_blocking({
        let (dead, id) = (dead.clone(), id.clone());
        move || dead.remove(&id)
    });
    if let Err(error) = removed.await.map_err(std::io::Error::other)? {
        // It is published; released again, it is a duplicate.
        tracing::error!("dead letter {id} is released, but cannot be removed: {error}");
    }
    match appended {
        Appended::New(sequence) => Ok(Some(sequence)),
        Appended::Duplicate => Ok(None),
    }
}
