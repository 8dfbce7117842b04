//! What may happen to a journal, and how often.

use proptest::prelude::*;

use crate::journal::tests::fake::Fault;

#[derive(Debug, Clone)]
pub enum Op {
    /// Events as id and size, written at once or left in the queue.
    Append(Vec<(u8, usize)>, bool),
    /// A cursor moves so many events on, on its way to disk or synced.
    Cursor(u8, u8, bool),
    DropCursor(u8),
    /// The keeper's round.
    Tend,
    Read,
    /// The clock moves, seconds.
    Clock(i8),
    Fail(Fault),
    Fill(bool),
    Stop,
    Kill,
    /// Power fails after so many operations on the disk, and again so many operations after each start.
    Cut(u32, Vec<u32>),
}

pub fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![8 => 0..200usize, 4 => 200..4_000usize, 3 => 4_000..30_000usize, 1 => 60_000..80_000usize];
    let fault = (0..12u32, 1..4u32, any::<bool>(), prop::bool::weighted(0.3))
        .prop_map(|(after, times, syncs_only, full)| Fault { after, times, syncs_only, full });
    prop_oneof![
        30 => (prop::collection::vec((0..30u8, size), 1..6), prop::bool::weighted(0.8)).prop_map(|(e, w)| Op::Append(e, w)),
        10 => (0..3u8, any::<u8>(), any::<bool>()).prop_map(|(name, by, sync)| Op::Cursor(name, by, sync)),
        1 => (0..3u8).prop_map(Op::DropCursor),
        12 => Just(Op::Tend),
        6 => Just(Op::Read),
        6 => prop_oneof![8 => 1..8i8, 2 => 8..70i8, 1 => -30..0i8].prop_map(Op::Clock),
        5 => fault.prop_map(Op::Fail),
        3 => any::<bool>().prop_map(Op::Fill),
        1 => Just(Op::Stop),
        3 => Just(Op::Kill),
        5 => (0..40u32, prop::collection::vec(0..30u32, 0..3)).prop_map(|(first, again)| Op::Cut(first, again)),
    ]
}
