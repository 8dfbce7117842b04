//! Where the readers stand: kept in memory, written among the events, whole at the head of each segment.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// Where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Every event up to this position is decided: delivered, dead, or not for this reader.
    pub decided: u64,
    /// The last event that was delivered; tells a broker that lost data from one that had nothing to take.
    pub published: u64,
}

/// All cursors, and those that moved since they were last written.
#[derive(Default)]
pub struct Cursors {
    current: BTreeMap<String, Cursor>,
    /// `None`: removed.
    moved: BTreeMap<String, Option<Cursor>>,
    /// Those that somebody follows: what they have decided.
    followed: BTreeMap<String, watch::Sender<u64>>,
}

/// Cursors that moved; `None`: removed.
pub struct Moved(BTreeMap<String, Option<Cursor>>);

impl Moved {
    /// As they are written.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, cursor) in &self.0 {
            put(name, *cursor, &mut out);
        }
        out
    }
}

impl Cursors {
    /// The cursors found at recovery.
    pub fn new(current: BTreeMap<String, Cursor>) -> Self {
        Self { current, ..Self::default() }
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<String, Cursor> {
        self.current.clone()
    }

    /// Makes or moves one.
    pub fn set(&mut self, name: &str, cursor: Cursor) {
        self.current.insert(name.to_owned(), cursor);
        self.moved.insert(name.to_owned(), Some(cursor));
        if let Some(followed) = self.followed.get(name) {
            followed.send_replace(cursor.decided);
        }
    }

    /// Follows what one has decided; it may not be there yet.
    pub fn follow(&mut self, name: &str) -> watch::Receiver<u64> {
        let decided = self.current.get(name).map_or(0, |cursor| cursor.decided);
        let followed = self.followed.entry(name.to_owned()).or_insert_with(|| watch::Sender::new(decided));
        followed.subscribe()
    }

    /// Forgets one.
    pub fn remove(&mut self, name: &str) {
        if self.current.remove(name).is_some() {
            self.moved.insert(name.to_owned(), None);
        }
    }

    /// The lowest position that some reader has not passed.
    pub fn slowest(&self) -> Option<u64> {
        self.current.values().map(|cursor| cursor.decided).min()
    }

    /// Those that moved; they count as written from now on.
    pub fn take_moved(&mut self) -> Moved {
        Moved(std::mem::take(&mut self.moved))
    }

    /// They were not written after all; where one has moved again, that counts.
    pub fn put_back(&mut self, moved: Moved) {
        for (name, cursor) in moved.0 {
            self.moved.entry(name).or_insert(cursor);
        }
    }

    /// Bytes of all.
    pub fn checkpoint(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, cursor) in &self.current {
            put(name, Some(*cursor), &mut out);
        }
        out
    }
}

fn put(name: &str, cursor: Option<Cursor>, out: &mut Vec<u8>) {
    // Names come from the configuration and from a path segment: 1 to 80 bytes.
    out.push(name.len().min(255) as u8);
    out.extend_from_slice(&name.as_bytes()[..name.len().min(255)]);
    out.push(u8::from(cursor.is_some()));
    let cursor = cursor.unwrap_or_default();
    out.extend_from_slice(&cursor.decided.to_le_bytes());
    out.extend_from_slice(&cursor.published.to_le_bytes());
}

/// Applies what [`Moved::bytes`] or [`Cursors::checkpoint`] wrote; what does not parse is left out.
pub fn apply(mut bytes: &[u8], cursors: &mut BTreeMap<String, Cursor>) {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |sum, &b| sum << 8 | u64::from(b));
    while let Some((&length, rest)) = bytes.split_first() {
        let length = usize::from(length);
        if rest.len() < length + 17 {
            return;
        }
        let (name, rest) = rest.split_at(length);
        if let Ok(name) = std::str::from_utf8(name) {
            if rest[0] == 1 {
                let cursor = Cursor { decided: number(&rest[1..9]), published: number(&rest[9..17]) };
                cursors.insert(name.to_owned(), cursor);
            } else {
                cursors.remove(name);
            }
        }
        bytes = &rest[17..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_removed_ones_do_not() {
        let mut cursors = Cursors::default();
        cursors.set("backend:a", Cursor { decided: 7, published: 5 });
        cursors.set("consumer:b", Cursor { decided: 1 << 40, published: 0 });
        let first = cursors.take_moved().bytes();
        cursors.remove("backend:a");
        let second = cursors.take_moved().bytes();
        let mut found = BTreeMap::new();
        apply(&first, &mut found);
        assert_eq!(found["backend:a"], Cursor { decided: 7, published: 5 });
        apply(&second, &mut found);
        assert_eq!(found, cursors.all());
        assert_eq!(cursors.slowest(), Some(1 << 40));
        assert!(cursors.take_moved().bytes().is_empty());
    }

    #[test]
    fn what_could_not_be_written_is_written_later_unless_it_moved_again() {
        let at = |decided| Cursor { decided, published: 0 };
        let mut cursors = Cursors::default();
        cursors.set("backend:a", at(1));
        cursors.set("backend:b", at(1));
        let moved = cursors.take_moved();
        cursors.set("backend:b", at(2));
        cursors.put_back(moved);
        let mut found = BTreeMap::new();
        apply(&cursors.take_moved().bytes(), &mut found);
        assert_eq!((found["backend:a"], found["backend:b"]), (at(1), at(2)));
    }

    #[test]
    fn a_cursor_can_be_followed_before_it_is_made() {
        let mut cursors = Cursors::default();
        let followed = cursors.follow("backend:a");
        assert_eq!(*followed.borrow(), 0);
        cursors.set("backend:a", Cursor { decided: 7, published: 5 });
        cursors.set("backend:b", Cursor { decided: 9, published: 9 });
        assert_eq!((*followed.borrow(), *cursors.follow("backend:a").borrow()), (7, 7));
    }

    #[test]
    fn no_cut_panics() {
        let mut cursors = Cursors::default();
        cursors.set("backend:a", Cursor::default());
        let bytes = cursors.checkpoint();
        for cut in 0..bytes.len() {
            apply(&bytes[..cut], &mut BTreeMap::new());
        }
    }
}
