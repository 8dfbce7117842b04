mod fakes;
mod trouble;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use fakes::{Panics, Slow};

use super::replay::{Range, Refused};
use super::*;
use crate::backend::memory::Memory;
use crate::backend::{Failure, Reason};
use crate::event::Envelope;
use crate::journal::{self, Appended, Key, Record, settings};
use crate::telemetry::metrics;

struct Bench {
    options: Options,
    dispatch: Dispatch,
    queues: Vec<Memory>,
    names: Vec<BackendName>,
}

/// What lanes use, on the journal of `dir`.
pub(super) fn options(dir: &Path, routes: Routes) -> Options {
    let metrics = Metrics::default();
    let settings = settings::Settings {
        dir: dir.to_owned(),
        max_bytes: 64 << 20,
        retention: Duration::from_secs(3600),
        segment_bytes: 256 << 10,
    };
    let journal = Journal::open(journal::Options {
        settings,
        dedup: settings::Dedup::default(),
        clock: || 1_700_000_000_000,
        metrics: metrics.clone(),
    })
    .unwrap();
    let dead = DeadLetters::new(dir, &metrics.dead_letters);
    Options { journal, routes: Arc::new(ArcSwap::from_pointee(routes)), dead, metrics }
}

/// Starts lanes for `queues`, named `a`, `b` and so on, on the journal of `dir`; events go to the first one alone.
async fn start(dir: &Path, queues: &[Memory]) -> Bench {
    let names: Vec<BackendName> = ["a", "b", "c"].iter().take(queues.len()).map(|name| name.parse().unwrap()).collect();
    let first = names.iter().take(1).cloned().collect();
    let options = options(dir, Routes::new(names.clone(), vec![("s".parse().unwrap(), first)], Vec::new()));
    let backends = names.iter().zip(queues);
    let backends = backends.map(|(name, queue)| (name.clone(), Arc::new(queue.clone()) as Arc<dyn Backend>));
    let dispatch = Dispatch::start(&options, backends.collect()).await;
    Bench { options, dispatch, queues: queues.to_vec(), names }
}

/// Starts one lane, named `p`, that gets every event.
async fn start_one(dir: &Path, backend: impl Backend + 'static) -> Bench {
    let name: BackendName = "p".parse().unwrap();
    let options = options(dir, Routes::new(vec![name.clone()], Vec::new(), Vec::new()));
    let dispatch = Dispatch::start(&options, vec![(name.clone(), Arc::new(backend))]).await;
    Bench { options, dispatch, queues: Vec::new(), names: vec![name] }
}

/// A lane for `queue` that has delivered three events.
async fn with_three(dir: &Path, queue: &Memory) -> Bench {
    let bench = start(dir, std::slice::from_ref(queue)).await;
    for _ in 0..3 {
        bench.append("s.t", 10).await;
    }
    bench.arrived(0, &[1, 2, 3]).await;
    bench
}

impl Bench {
    async fn append(&self, kind: &str, bytes: usize) -> u64 {
        append(&self.options.journal, kind, bytes).await
    }

    fn sequences(&self, queue: usize) -> Vec<u64> {
        self.queues[queue].messages().iter().map(|stored| stored.sequence).collect()
    }

    async fn arrived(&self, queue: usize, wanted: &[u64]) {
        until(|| self.sequences(queue) == wanted, || format!("{wanted:?}, found {:?}", self.sequences(queue))).await;
    }

    fn dead(&self) -> i64 {
        self.options.metrics.dead_letters.get_or_create(&metrics::backend("a")).get()
    }

    async fn dead_are(&self, wanted: i64) {
        until(|| self.dead() == wanted, || format!("{wanted} dead letters")).await;
    }

    async fn order(&self, queue: usize, from: u64, to: u64, kind: Option<&str>) -> Result<replay::Order, Refused> {
        let kind = kind.map(|kind| kind.to_owned().into());
        self.dispatch.replays().order(&self.names[queue], Range { from, to, source: None, kind }).await
    }

    async fn done(&self) {
        until(|| self.dispatch.replays().orders().is_empty(), || "no order left".to_owned()).await;
    }

    async fn stop(self) {
        self.dispatch.stop(Duration::from_secs(5)).await;
        self.options.journal.close();
    }

    /// As a kill: nothing is finished, nothing more is written.
    async fn kill(self) {
        self.dispatch.stop(Duration::ZERO).await;
        self.options.journal.close();
    }
}

/// Appends an event with a body of so many bytes; its position.
pub(super) async fn append(journal: &Journal, kind: &str, bytes: usize) -> u64 {
    let body = vec![b'x'; bytes].into();
    let envelope = Envelope { id: "e".into(), source: "s".into(), kind: kind.into(), body, ..Envelope::default() };
    let record = Record::new(&envelope, Key::NONE, Duration::ZERO, 1_700_000_000_000);
    match journal.append(record).await.unwrap() {
        Appended::New(sequence) => sequence,
        Appended::Duplicate => panic!("a duplicate"),
    }
}

async fn until(mut probe: impl FnMut() -> bool, what: impl Fn() -> String) {
    let waited = async {
        while !probe() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waited).await;
    assert!(waited.is_ok(), "waited for {}", what());
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn throttled() -> Option<Failure> {
    Some(Failure::new(Reason::Throttled, "later"))
}

#[tokio::test]
async fn a_letter_is_published_again_once_the_backend_takes_it_and_then_goes() {
    let dir = tempfile::tempdir().unwrap();
    let bench = start(dir.path(), &[Memory::default()]).await;
    bench.queues[0].limit(100);
    for bytes in [10, 200, 20] {
        bench.append("s.t", bytes).await;
    }
    bench.dead_are(1).await;
    bench.arrived(0, &[1, 3]).await;

    bench.dispatch.replays().release(&id("a-2")).await.unwrap();
    let attempts = || bench.options.dead.get(&id("a-2")).unwrap().unwrap();
    until(|| attempts().attempts == 2 && attempts().replaying == Some(false), || "a second attempt".to_owned()).await;
    assert_eq!((bench.dead(), bench.sequences(0)), (1, vec![1, 3]), "a letter that is refused again stays");

    bench.queues[0].limit(1000);
    bench.dispatch.replays().release(&id("a-2")).await.unwrap();
    bench.arrived(0, &[1, 3, 2]).await;
    bench.dead_are(0).await;
    assert_eq!(bench.queues[0].messages()[2].envelope.body.len(), 200);
    assert!(matches!(bench.dispatch.replays().release(&id("a-2")).await, Err(Refused::Gone(_))));
    assert!(matches!(bench.dispatch.replays().release(&id("z-2")).await, Err(Refused::Backend(_))));
    bench.stop().await;
}

#[tokio::test]
async fn a_letter_waits_for_a_backend_that_is_down_and_for_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Memory::default();
    let bench = start(dir.path(), std::slice::from_ref(&queue)).await;
    queue.limit(100);
    bench.append("s.t", 200).await;
    bench.append("s.t", 10).await;
    bench.arrived(0, &[2]).await;
    bench.dead_are(1).await;
    queue.limit(1000);
    queue.fail(throttled());
    bench.dispatch.replays().release(&id("a-1")).await.unwrap();
    bench.kill().await;

    let bench = start(dir.path(), std::slice::from_ref(&queue)).await;
    assert_eq!(bench.dead(), 1);
    queue.fail(None);
    bench.arrived(0, &[2, 1]).await;
    bench.dead_are(0).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_replay_goes_to_the_backend_that_was_named_and_keeps_the_order_of_the_flow() {
    let dir = tempfile::tempdir().unwrap();
    let bench = start(dir.path(), &[Memory::default(), Memory::default()]).await;
    for n in 0..250 {
        bench.append(if n % 2 == 0 { "s.even" } else { "s.odd" }, 10).await;
    }
    bench.arrived(0, &(1..=250).collect::<Vec<_>>()).await;
    bench.order(1, 7, 7, None).await.unwrap();
    bench.done().await;
    assert_eq!(bench.sequences(1), [7]);
    let order = bench.order(1, 0, 9999, Some("*.odd")).await.unwrap();
    assert_eq!((order.from, order.to), (1, 250), "only what is kept");
    bench.done().await;
    let odd = (1..=125).map(|n| 2 * n);
    assert_eq!(bench.sequences(1), [7].into_iter().chain(odd).collect::<Vec<_>>());
    assert_eq!(bench.sequences(0).len(), 250);
    assert!(matches!(bench.order(1, 251, 260, None).await, Err(Refused::Gone(_))));
    assert!(!bench.options.journal.cursors().contains_key("replay:b"), "nothing is held back any more");
    assert_eq!(files::names(&dir.path().join("replay/b")).unwrap(), [] as [String; 0]);
    bench.stop().await;
}

#[tokio::test]
async fn what_a_replay_waits_for_stops_no_new_event() {
    let dir = tempfile::tempdir().unwrap();
    let bench = start(dir.path(), &[Memory::default()]).await;
    bench.append("s.t", 10).await;
    bench.arrived(0, &[1]).await;
    bench.queues[0].hold_again(throttled());
    bench.order(0, 1, 1, None).await.unwrap();
    for wanted in 2..20 {
        bench.append("s.t", 10).await;
        bench.arrived(0, &(1..=wanted).collect::<Vec<_>>()).await;
    }
    assert_eq!(bench.dispatch.replays().orders().len(), 1);
    bench.queues[0].hold_again(None);
    bench.done().await;
    assert_eq!(bench.sequences(0).last(), Some(&1));
    bench.stop().await;
}

#[tokio::test]
async fn an_order_survives_the_process_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let queues = [Memory::default(), Memory::default()];
    let bench = start(dir.path(), &queues).await;
    for _ in 0..300 {
        bench.append("s.t", 10).await;
    }
    queues[1].fail(throttled());
    bench.order(1, 1, 300, None).await.unwrap();
    let cursor = bench.options.journal.cursors()["replay:b"];
    assert_eq!(cursor.decided, 0, "its events are kept for it");
    bench.kill().await;
    queues[1].fail(None);
    let bench = start(dir.path(), &queues).await;
    bench.done().await;
    assert_eq!(bench.sequences(1), (1..=300).collect::<Vec<_>>());
    bench.stop().await;
}

#[tokio::test]
async fn an_order_that_is_cancelled_ends_and_one_too_many_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bench = start(dir.path(), &[Memory::default()]).await;
    bench.append("s.t", 10).await;
    bench.arrived(0, &[1]).await;
    bench.dispatch.lanes()[0].pause(true);
    let first = bench.order(0, 1, 1, None).await.unwrap();
    for _ in 1..replay::MOST {
        bench.order(0, 1, 1, None).await.unwrap();
    }
    assert!(matches!(bench.order(0, 1, 1, None).await, Err(Refused::Full(_))));
    for order in bench.dispatch.replays().orders() {
        assert!(bench.dispatch.replays().cancel(&order.id).await.unwrap());
    }
    assert!(!bench.dispatch.replays().cancel(&first.id).await.unwrap());
    bench.dispatch.lanes()[0].pause(false);
    bench.append("s.t", 10).await;
    bench.arrived(0, &[1, 2]).await;
    bench.stop().await;
}

#[tokio::test]
async fn an_event_that_a_second_backend_refuses_becomes_its_dead_letter_and_the_range_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let bench = start(dir.path(), &[Memory::default(), Memory::default()]).await;
    bench.queues[1].limit(100);
    for bytes in [10, 200, 20] {
        bench.append("s.t", bytes).await;
    }
    bench.order(1, 1, 3, None).await.unwrap();
    bench.done().await;
    assert_eq!(bench.sequences(1), [1, 3]);
    assert_eq!(bench.options.dead.get(&id("b-2")).unwrap().unwrap().attempts, 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_replay_does_not_move_a_cursor_that_lies_beside_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Memory::with_cursor();
    let bench = start(dir.path(), std::slice::from_ref(&queue)).await;
    for _ in 0..5 {
        bench.append("s.t", 10).await;
    }
    bench.arrived(0, &[1, 2, 3, 4, 5]).await;
    bench.order(0, 2, 3, None).await.unwrap();
    bench.done().await;
    bench.stop().await;
    let bench = start(dir.path(), std::slice::from_ref(&queue)).await;
    bench.append("s.t", 10).await;
    bench.arrived(0, &[1, 2, 3, 4, 5, 2, 3, 6]).await;
    bench.stop().await;
}

#[tokio::test]
async fn what_a_broker_has_is_decided_where_the_journal_was_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Memory::with_cursor();
    let bench = with_three(dir.path(), &queue).await;
    let cursor = cursor_name(&bench.names[0]);
    bench.stop().await;
    // As after a kill before the cursor was written.
    let journal = options(dir.path(), Routes::new(Vec::new(), Vec::new(), Vec::new())).journal;
    journal.sync_cursor(&cursor, Cursor { decided: 1, published: 1 }).await.unwrap();
    journal.close();
    let bench = start(dir.path(), std::slice::from_ref(&queue)).await;
    let decided = || bench.options.journal.cursors()[&cursor].decided;
    until(|| decided() == 3, || format!("3, found {}", decided())).await;
    bench.arrived(0, &[1, 2, 3]).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_lane_that_panics_is_started_again_and_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Memory::default();
    let bench = start_one(dir.path(), Panics { queue: queue.clone(), armed: true.into() }).await;
    let sequence = bench.append("s.t", 10).await;
    until(|| queue.messages().len() == 1, || "the event".to_owned()).await;
    assert_eq!(queue.messages()[0].sequence, sequence);
    bench.stop().await;
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_backlog_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Slow::default();
    for _ in 0..3 {
        let bench = start_one(dir.path(), queue.clone()).await;
        for _ in 0..20 {
            bench.append("s.t", 10).await;
        }
        let before = queue.0.messages().len();
        until(|| queue.0.messages().len() > before, || "the first events".to_owned()).await;
        bench.dispatch.stop(Duration::from_millis(400)).await;
        bench.options.journal.close();
    }
    let sequences: Vec<u64> = queue.0.messages().iter().map(|stored| stored.sequence).collect();
    assert!((4..60).contains(&sequences.len()), "{sequences:?}");
    let expected: Vec<u64> = (1..=sequences.len() as u64).collect();
    assert_eq!(sequences, expected);
}

#[tokio::test]
async fn a_backend_that_knows_positions_of_another_journal_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Memory::with_cursor();
    let bench = with_three(dir.path(), &queue).await;
    bench.stop().await;
    // The journal is put back to a state before those.
    let dir = tempfile::tempdir().unwrap();
    let bench = start(dir.path(), std::slice::from_ref(&queue)).await;
    bench.append("s.t", 10).await;
    bench.arrived(0, &[1, 2, 3, 1]).await;
    bench.append("s.t", 10).await;
    bench.arrived(0, &[1, 2, 3, 1, 2]).await;
    bench.stop().await;
}
