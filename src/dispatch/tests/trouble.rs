//! What becomes of events where a file cannot be read or written for now, a reload comes between, or a journal was put back.

use futures_util::FutureExt as _;

use super::*;

fn down() -> Option<Failure> {
    Some(Failure::new(Reason::Connection, "down"))
}

#[tokio::test]
async fn a_broker_that_knows_another_journal_is_not_believed_when_it_is_reached_late() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Memory::with_cursor();
    with_three(dir.path(), &queue).await.stop().await;
    // The journal is put back to a state before those, and has as many again before the broker is reached.
    let dir = tempfile::tempdir().unwrap();
    queue.fail(down());
    let bench = start(dir.path(), std::slice::from_ref(&queue)).await;
    for _ in 0..5 {
        bench.append("s.t", 10).await;
    }
    queue.fail(None);
    bench.arrived(0, &[1, 2, 3, 1, 2, 3, 4, 5]).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_letter_that_cannot_be_read_for_now_is_still_published_again() {
    let dir = tempfile::tempdir().unwrap();
    let bench = start(dir.path(), &[Memory::default()]).await;
    bench.queues[0].limit(100);
    for _ in 0..2 {
        bench.append("s.t", 200).await;
    }
    bench.dead_are(2).await;
    bench.queues[0].limit(1000);
    bench.dispatch.lanes()[0].pause(true);
    for letter in ["a-1", "a-2"] {
        bench.dispatch.replays().release(&id(letter)).await.unwrap();
    }
    let path = dir.path().join("dead/a").join(files::name(1, "json"));
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    // What a disk answers that cannot read it; not that there is nothing.
    std::fs::create_dir(&path).unwrap();
    bench.dispatch.lanes()[0].pause(false);
    bench.arrived(0, &[2]).await;
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    bench.arrived(0, &[2, 1]).await;
    bench.dead_are(0).await;
    bench.stop().await;
}

#[tokio::test]
async fn what_is_set_aside_is_held_for_its_letter_whatever_reloads_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let bench = start(dir.path(), &[Memory::default()]).await;
    // Schemas come, go and come again.
    for wanted in [true, false, true] {
        bench.dispatch.keep_aside(&bench.options, wanted).await;
    }
    // Letters cannot be written.
    let letters = dir.path().join("dead").join(aside::HOLDER);
    std::fs::create_dir_all(dir.path().join("dead")).unwrap();
    std::fs::write(&letters, "in the way").unwrap();
    let envelope = Envelope { set_aside: Some("no name".into()), source: "s".into(), ..Envelope::default() };
    let record = Record::new(&envelope, Key::NONE, Duration::ZERO, 1_700_000_000_000);
    assert_eq!(bench.options.journal.append(record).await, Ok(Appended::New(1)));
    bench.kill().await;
    std::fs::remove_file(&letters).unwrap();

    let bench = start(dir.path(), &[Memory::default()]).await;
    bench.dispatch.keep_aside(&bench.options, false).await;
    let is_kept =
        || bench.options.dead.get(&Id { number: 1, backend: aside::HOLDER.parse().unwrap() }).unwrap().is_some();
    until(is_kept, || "the letter".to_owned()).await;
    bench.stop().await;
}

#[tokio::test]
async fn whoever_asks_for_something_again_and_hangs_up_leaves_nothing_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let bench = start(dir.path(), &[Memory::default(), Memory::default()]).await;
    bench.queues[0].limit(100);
    bench.append("s.t", 200).await;
    bench.append("s.t", 10).await;
    bench.dead_are(1).await;
    bench.queues[0].limit(1000);
    // Dropped where they wait for the disk.
    assert!(bench.order(1, 1, 2, None).now_or_never().is_none());
    assert!(bench.dispatch.replays().release(&id("a-1")).now_or_never().is_none());
    bench.arrived(0, &[2, 1]).await;
    bench.dead_are(0).await;
    bench.arrived(1, &[1, 2]).await;
    let held = || bench.options.journal.cursors().contains_key("replay:b");
    until(|| !held(), || "nothing to be held back any more".to_owned()).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_replay_that_is_cancelled_while_it_gets_on_leaves_no_file_that_brings_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let bench = start(dir.path(), &[Memory::default()]).await;
    for _ in 0..2 {
        bench.append("s.t", 10).await;
    }
    bench.arrived(0, &[1, 2]).await;
    bench.dispatch.lanes()[0].pause(true);
    let order = bench.order(0, 1, 2, None).await.unwrap();
    let kept = || files::names(&dir.path().join("replay/a")).unwrap();
    let replays = bench.dispatch.replays();
    let mut cancelling = Box::pin(replays.cancel(&order.id));
    assert!(cancelling.as_mut().now_or_never().is_none());
    until(|| kept().is_empty(), || "its file to go".to_owned()).await;
    // What the lane writes down that has published its first event meanwhile.
    replays.advance(&replay::Order { after: 1, delivered: 1, ..order.clone() }).unwrap();
    assert!(cancelling.await.unwrap());
    assert_eq!((kept(), replays.orders()), (Vec::new(), Vec::new()));
    bench.dispatch.lanes()[0].pause(false);
    bench.stop().await;
}
