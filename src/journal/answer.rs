//! How the writer answers those who append: every thread is woken once a batch.
//!
//! Waking a task of another thread costs a system call; waking one's own costs a push. So of all that wait on one thread
//! the writer wakes one, the leader, which wakes the others when it is polled. A leader that is dropped wakes them
//! as well, so that nobody waits for it. Each must be awaited by a task of its own.
//!
//! With the answer goes the record, to be freed where it was made: allocators keep what is free by thread (2 to 3 % of a request).

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;

use super::{AppendError, Appended, Record, lock};

/// What an append comes to.
pub type Answered = Result<Appended, AppendError>;

/// The writer's end.
pub struct Answer(Arc<Slot>);

/// The end of the one who appends.
pub struct Pending(Arc<Slot>);

struct Slot {
    thread: ThreadId,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    answered: Option<Answered>,
    /// What was appended.
    record: Option<Record>,
    waker: Option<Waker>,
    /// Whom to wake on the way.
    followers: Vec<Arc<Slot>>,
    /// Polled to its end, or dropped.
    gone: bool,
}

/// The two ends, the second one for a task of this thread.
pub fn channel() -> (Answer, Pending) {
    let slot = Arc::new(Slot { thread: std::thread::current().id(), inner: Mutex::default() });
    (Answer(slot.clone()), Pending(slot))
}

/// Gives everybody an answer and the record back, then wakes one of each thread.
pub fn answer_all(answers: impl IntoIterator<Item = (Record, Answer, Answered)>) {
    let mut threads: Vec<(ThreadId, Vec<Arc<Slot>>)> = Vec::new();
    for (record, answer, answered) in answers {
        let slot = answer.0.clone();
        {
            let mut inner = lock(&slot.inner);
            inner.answered = Some(answered);
            inner.record = Some(record);
            if inner.waker.is_none() {
                // Not asked for yet, or the one who asked has hung up: the event is kept all the same.
                continue;
            }
        }
        match threads.iter_mut().find(|(thread, _)| *thread == slot.thread) {
            Some((_, slots)) => slots.push(slot),
            None => threads.push((slot.thread, vec![slot])),
        }
    }
    for (_, mut slots) in threads {
        while let Some(leader) = slots.pop() {
            let mut inner = lock(&leader.inner);
            if inner.gone {
                continue;
            }
            inner.followers = std::mem::take(&mut slots);
            let waker = inner.waker.take();
            drop(inner);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Future for Pending {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        let mut inner = lock(&self.0.inner);
        match inner.answered.filter(|_| !inner.gone) {
            Some(answered) => {
                inner.gone = true;
                let followers = std::mem::take(&mut inner.followers);
                let record = inner.record.take();
                drop(inner);
                drop(record);
                wake(followers);
                Poll::Ready(answered)
            }
            None => {
                if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                    inner.waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut inner = lock(&self.0.inner);
        inner.gone = true;
        inner.waker = None;
        let followers = std::mem::take(&mut inner.followers);
        drop(inner);
        wake(followers);
    }
}

impl Drop for Answer {
    /// A writer that ends without an answer has closed the journal.
    fn drop(&mut self) {
        let mut inner = lock(&self.0.inner);
        if inner.answered.is_none() {
            inner.answered = Some(Err(AppendError::Closed));
            let waker = inner.waker.take();
            drop(inner);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

fn wake(followers: Vec<Arc<Slot>>) {
    for follower in followers {
        let waker = lock(&follower.inner).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::Key;
    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Waiting {
        pending: Pending,
        woken: Arc<Count>,
    }

    impl Waiting {
        fn poll(&mut self) -> Poll<Answered> {
            let waker = Waker::from(self.woken.clone());
            Pin::new(&mut self.pending).poll(&mut Context::from_waker(&waker))
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::SeqCst)
        }
    }

    fn record(body: Bytes) -> Record {
        Record::of(Vec::new(), body, Key::NONE, Duration::ZERO, 0)
    }

    fn three() -> (Vec<(Record, Answer, Answered)>, Vec<Waiting>) {
        let ends = (1..=3).map(|n| {
            let (answer, pending) = channel();
            let mut waiting = Waiting { pending, woken: Arc::new(Count(AtomicUsize::new(0))) };
            assert!(waiting.poll().is_pending());
            ((record(Bytes::new()), answer, Ok(Appended::New(n))), waiting)
        });
        ends.unzip()
    }

    #[test]
    fn a_thread_is_woken_once_and_everybody_gets_the_own_answer() {
        let (answers, mut waiting) = three();
        answer_all(answers);
        assert_eq!(waiting.iter().map(Waiting::woken).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!(waiting[2].poll(), Poll::Ready(Ok(Appended::New(3))));
        assert_eq!(waiting.iter().map(Waiting::woken).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(waiting[0].poll(), Poll::Ready(Ok(Appended::New(1))));
        assert_eq!(waiting[1].poll(), Poll::Ready(Ok(Appended::New(2))));
    }

    #[test]
    fn a_record_is_freed_by_the_one_who_appended_it() {
        let body = Bytes::from(vec![0; 9]);
        let (mut answers, mut waiting) = three();
        answers[2].0 = record(body.clone());
        answer_all(answers);
        assert!(!body.is_unique(), "answered, and not asked for yet");
        let last = waiting[2].poll();
        assert!(last.is_ready() && body.is_unique());
    }

    #[test]
    fn nobody_waits_for_one_that_was_dropped_before_the_answer_or_after() {
        let (answers, mut waiting) = three();
        drop(waiting.pop());
        answer_all(answers);
        assert_eq!(waiting.iter().map(Waiting::woken).collect::<Vec<_>>(), [0, 1]);
        drop(waiting.pop());
        assert_eq!(waiting[0].woken(), 1);
        assert_eq!(waiting[0].poll(), Poll::Ready(Ok(Appended::New(1))));
    }

    #[test]
    fn an_answer_that_never_comes_is_a_closed_journal() {
        let (answers, mut waiting) = three();
        drop(answers);
        assert!(waiting.iter().all(|waiting| waiting.woken() == 1));
        assert_eq!(waiting[0].poll(), Poll::Ready(Err(AppendError::Closed)));
    }
}
