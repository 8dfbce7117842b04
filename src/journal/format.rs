//! Bytes of the journal on disk.
//!
//! ```text
//! segment = header, header copy, frame*, free space
//! header  = magic 8, version u32, epoch u32, first sequence u64, created ms u64, journal id 16,
//!           previous first u64, previous end u64, previous epoch u32, crc u32      (at 0 and again at 2048)
//! frame   = length u32, crc u32, sequence u64, time ms u64, key 16, kind u8, flags u8, unsynced u16,
//!           attributes length u32, attributes, body, zeros to a multiple of 8      (first at 4096)
//! ```
//!
//! All integers are little-endian. `length` counts attributes and body. The CRC-32C covers the frame but for itself,
//! seeded with the segment's random epoch, so that a frame left over in a recycled file never validates.
//! `previous end` bounds the segment before: what stands behind it there was refused to its senders.
//! `unsynced` is the distance to the last sequence that was known to be on disk when the frame was written.

use bytes::BufMut;

use super::Key;

/// Version of the format; a newer one is refused untouched.
pub const VERSION: u32 = 1;
/// Where the first frame of a segment stands.
pub const DATA_START: u64 = 4096;
/// Where the copy of the segment's header stands.
pub const HEADER_COPY: u64 = 2048;
/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 80;
/// Bytes of a frame before its attributes.
pub const FRAME_BYTES: usize = 48;

const MAGIC: &[u8; 8] = b"HOOKFRY\n";

/// What a segment says of itself and of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Random seed of all checksums in the segment.
    pub epoch: u32,
    /// No frame of the segment has a lower sequence.
    pub first: u64,
    /// Creation, Unix time, milliseconds.
    pub created_ms: u64,
    /// Random id of the journal.
    pub journal: [u8; 16],
    /// `first` of the segment before; 0 if there is none.
    pub previous_first: u64,
    /// Where the valid frames of the segment before end, bytes; 0 if there is none.
    pub previous_end: u64,
    /// Epoch of the segment before, in case that its own header is damaged.
    pub previous_epoch: u32,
}

/// Why a header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Not a header of ours, or damaged.
    Damaged,
    /// Made by a newer release.
    Newer(u32),
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        out[16..24].copy_from_slice(&self.first.to_le_bytes());
        out[24..32].copy_from_slice(&self.created_ms.to_le_bytes());
        out[32..48].copy_from_slice(&self.journal);
        out[48..56].copy_from_slice(&self.previous_first.to_le_bytes());
        out[56..64].copy_from_slice(&self.previous_end.to_le_bytes());
        out[64..68].copy_from_slice(&self.previous_epoch.to_le_bytes());
        let crc = crc32c::crc32c(&out[..76]);
        out[76..80].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`HeaderError`]; a newer version is recognised even where its layout differs.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() < HEADER_BYTES || &bytes[0..8] != MAGIC {
            return Err(HeaderError::Damaged);
        }
        let sound = crc32c::crc32c(&bytes[..76]) == u32_at(bytes, 76);
        match u32_at(bytes, 8) {
            VERSION if sound => {}
            version if version > VERSION && version < 1 << 16 => return Err(HeaderError::Newer(version)),
            _ => return Err(HeaderError::Damaged),
        }
        let mut journal = [0; 16];
        journal.copy_from_slice(&bytes[32..48]);
        Ok(Self {
            epoch: u32_at(bytes, 12),
            first: u64_at(bytes, 16),
            created_ms: u64_at(bytes, 24),
            journal,
            previous_first: u64_at(bytes, 48),
            previous_end: u64_at(bytes, 56),
            previous_epoch: u32_at(bytes, 64),
        })
    }
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One accepted event.
    Event,
    /// Cursors that moved.
    Cursors,
    /// All cursors; the first frame of every segment.
    Checkpoint,
    /// Something of a later release; skipped.
    Unknown,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Event => 1,
            Self::Cursors => 2,
            Self::Checkpoint => 3,
            Self::Unknown => 0,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Event,
            2 => Self::Cursors,
            3 => Self::Checkpoint,
            _ => Self::Unknown,
        }
    }
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of attributes and body.
    pub length: usize,
    /// Position of the event; of the last event before, for other kinds.
    pub sequence: u64,
    /// Time of receipt, Unix time, milliseconds.
    pub time_ms: u64,
    /// Key of deduplication; zero where the event takes no part in it.
    pub key: Key,
    /// What it holds.
    pub kind: Kind,
    /// Distance to the last sequence known to be on disk when this frame was written.
    pub unsynced: u16,
    /// Bytes of the attributes.
    pub attributes: usize,
}

impl Frame {
    /// Bytes on disk of a frame with this length of attributes and body.
    pub fn size(length: usize) -> usize {
        (FRAME_BYTES + length).next_multiple_of(8)
    }

    /// Appends the whole frame to `out`. `self.length` and `self.attributes` are taken from the parts.
    pub fn encode(&self, epoch: u32, attributes: &[u8], body: &[u8], out: &mut impl BufMut) {
        let length = attributes.len() + body.len();
        let mut head = [0; FRAME_BYTES];
        head[0..4].copy_from_slice(&(length as u32).to_le_bytes());
        head[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        head[16..24].copy_from_slice(&self.time_ms.to_le_bytes());
        head[24..40].copy_from_slice(&self.key.0);
        head[40] = self.kind.code();
        head[42..44].copy_from_slice(&self.unsynced.to_le_bytes());
        head[44..48].copy_from_slice(&(attributes.len() as u32).to_le_bytes());
        let crc = [attributes, body].into_iter().fold(checksum(epoch, &head), crc32c::crc32c_append);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        for part in [&head, attributes, body] {
            out.put_slice(part);
        }
        out.put_bytes(0, Self::size(length) - FRAME_BYTES - length);
    }

    /// Reads the fixed part at the start of `bytes`, unchecked; `None` if `bytes` are too few or it cannot be a frame.
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < FRAME_BYTES {
            return None;
        }
        let frame = Self {
            length: u32_at(bytes, 0) as usize,
            sequence: u64_at(bytes, 8),
            time_ms: u64_at(bytes, 16),
            key: Key(bytes[24..40].try_into().ok()?),
            kind: Kind::from_code(bytes[40]),
            unsynced: u16::from_le_bytes([bytes[42], bytes[43]]),
            attributes: u32_at(bytes, 44) as usize,
        };
        (bytes[40] != 0 && frame.attributes <= frame.length).then_some(frame)
    }

    /// As [`Self::peek`], with the whole frame in `bytes` and its checksum right.
    pub fn check(epoch: u32, bytes: &[u8]) -> Option<Self> {
        let frame = Self::peek(bytes)?;
        let whole = bytes.get(..FRAME_BYTES.checked_add(frame.length)?)?;
        (checksum(epoch, whole) == u32_at(bytes, 4)).then_some(frame)
    }
}

impl Frame {
    /// The epoch with which the checksum of the frame at the start of `bytes` is right; `None` if it is not whole.
    ///
    /// Any bytes have one: only a second frame that agrees says that it is the segment's.
    pub fn seed(bytes: &[u8]) -> Option<u32> {
        let frame = Self::peek(bytes)?;
        let whole = bytes.get(..FRAME_BYTES.checked_add(frame.length)?)?;
        // A CRC is linear in its seed over GF(2): each bit of the seed flips the same bits of the checksum.
        let base = checksum(0, whole);
        let mut rows: Vec<(u32, u32)> = (0..32).map(|bit| (checksum(1 << bit, whole) ^ base, 1 << bit)).collect();
        let (mut wanted, mut seed) = (u32_at(bytes, 4) ^ base, 0);
        for bit in (0..32).rev() {
            let pivot = rows.iter().position(|&(flips, _)| flips >> bit & 1 == 1)?;
            let (flips, from) = rows.swap_remove(pivot);
            for row in rows.iter_mut().filter(|row| row.0 >> bit & 1 == 1) {
                *row = (row.0 ^ flips, row.1 ^ from);
            }
            if wanted >> bit & 1 == 1 {
                (wanted, seed) = (wanted ^ flips, seed ^ from);
            }
        }
        Some(seed)
    }
}

fn checksum(epoch: u32, frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(epoch, &frame[..4]), &frame[8..])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame { length: 8, sequence: 9, time_ms: 10, key: Key([7; 16]), kind: Kind::Event, unsynced: 3, attributes: 3 }
    }

    #[test]
    fn a_frame_comes_back_as_it_was() {
        let mut out = Vec::new();
        frame().encode(42, b"abc", b"body!", &mut out);
        assert_eq!(out.len() % 8, 0);
        assert_eq!(Frame::check(42, &out), Some(frame()));
    }

    #[test]
    fn a_frame_of_another_life_of_the_file_never_validates() {
        let mut out = Vec::new();
        frame().encode(42, b"abc", b"body!", &mut out);
        assert_eq!(Frame::check(43, &out), None);
    }

    #[test]
    fn a_frame_tells_the_epoch_it_was_written_with() {
        for epoch in [0, 1, 42, u32::MAX, 0xdead_beef] {
            let mut out = Vec::new();
            frame().encode(epoch, b"abc", b"body!", &mut out);
            assert_eq!(Frame::seed(&out), Some(epoch));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let mut out = Vec::new();
        frame().encode(42, b"abc", b"body!", &mut out);
        for bit in 0..(FRAME_BYTES + 8) * 8 {
            let mut bent = out.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::check(42, &bent), None, "bit {bit}");
        }
    }

    #[test]
    fn a_header_comes_back_and_a_newer_one_is_named() {
        let header = Header {
            epoch: 1,
            first: 2,
            created_ms: 3,
            journal: [4; 16],
            previous_first: 5,
            previous_end: 6,
            previous_epoch: 7,
        };
        let mut bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for cut in [0, 8, HEADER_BYTES - 1] {
            assert_eq!(Header::decode(&bytes[..cut]), Err(HeaderError::Damaged), "{cut}");
        }
        bytes[30] ^= 1;
        assert_eq!(Header::decode(&bytes), Err(HeaderError::Damaged));
        bytes[8] = 2;
        assert_eq!(Header::decode(&bytes), Err(HeaderError::Newer(2)));
    }
}
