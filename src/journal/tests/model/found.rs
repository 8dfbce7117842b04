//! Faults that the random histories have found, each as the history that was left of it.

use super::*;

/// A big duplicate made the writer go on from a segment without events to one of the same name: the keys of the events
/// that came into it were taken for written down.
#[test]
fn a_segment_without_events_is_not_replaced_by_one_of_its_name() {
    let big = || Op::Append(vec![(0, 60_000)], true);
    history(
        0,
        vec![
            big(),
            big(),
            Op::Append(vec![(1, 60_000)], true),
            Op::Tend,
            big(),
            Op::Kill,
            Op::Append(vec![(1, 0)], true),
        ],
    )
    .unwrap();
}

/// The directory's sync failed after a new segment had its name: a later event went into the old one, behind the end that
/// the new header tells.
#[test]
fn nothing_is_written_behind_the_end_that_a_new_header_tells() {
    let full = Fault { after: 8, times: 1, syncs_only: false, full: true };
    let small = Op::Append(vec![(5, 0), (26, 0)], true);
    let big = Op::Append(vec![(0, 60_000)], false);
    history(0, vec![small, big, Op::Fail(full), Op::Tend, Op::Append(vec![(0, 0)], false), Op::Stop]).unwrap();
}

/// A frame was whole but for the zeros that fill it up, since its write had failed there: no start after that.
#[test]
fn a_frame_may_end_a_few_bytes_behind_its_file() {
    let small = |many| Op::Append(vec![(0, 0); many], true);
    let big = Op::Append(vec![(0, 0), (0, 60_000), (0, 0)], true);
    let broken = Fault { after: 2, times: 1, syncs_only: false, full: false };
    for seed in 0..2_000 {
        let cursor = || Op::Cursor(0, 0, false);
        let ops = vec![cursor(), small(3), big.clone(), Op::Fail(broken), Op::Append(vec![(1, 0)], true)];
        history(seed, ops.into_iter().chain([cursor(), Op::Kill]).collect()).unwrap();
    }
}

/// The sync of the name of a new segment failed, the process was killed, and a start went on in that segment: a power cut
/// took it away with the events that were accepted in it.
#[test]
fn a_start_makes_the_names_of_what_it_found_durable() {
    let unnamed = Fault { after: 4, times: 1, syncs_only: true, full: false };
    for seed in 0..100 {
        let small = Op::Append(vec![(0, 0), (0, 0)], true);
        let big = Op::Append(vec![(1, 60_000), (0, 0)], true);
        history(seed, vec![small, Op::Fail(unnamed), big, Op::Kill, Op::Cut(2, Vec::new())]).unwrap();
    }
}

/// The sync of the directory's own name failed when the first ids were written down; later ones took it for done, their
/// segment went, and a power cut took the directory.
#[test]
fn ids_outlive_their_segment_where_their_directory_was_not_synced_at_first() {
    for seed in 0..50 {
        let one = || Op::Append(vec![(1, 0)], true);
        let big = |id| Op::Append(vec![(id, 60_000)], true);
        let fail = Op::Fail(Fault { after: 0, times: 1, syncs_only: true, full: false });
        let mut ops = vec![one(), big(2), fail, Op::Tend, Op::Tend, Op::Clock(11), Op::Tend];
        // Its removal is on disk with the name of the next segment.
        ops.extend([big(3), Op::Cut(0, Vec::new()), one()]);
        history(seed, ops).unwrap();
    }
}

/// Its segment was sealed after the clock had gone back, and the file of its ids was not there: a start took the segment
/// for older than the window.
#[test]
fn an_id_is_remembered_where_the_clock_went_back_before_its_segment_was_sealed() {
    let one = || Op::Append(vec![(1, 0)], true);
    let big = Op::Append(vec![(0, 60_000)], true);
    history(0, vec![one(), Op::Clock(-2), big, Op::Clock(61), Op::Kill, one()]).unwrap();
}
