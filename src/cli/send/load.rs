//! The load generator: many requests over a fixed number of connections.
//!
//! Each thread runs its share of the connections on an event loop of its own; nothing is shared between
//! connections but the counter that gives out numbers. A number is used for one event only: an event whose
//! connection broke may or may not have been accepted, so its id is never sent again.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;
use url::Url;

use super::expect::Expect;
use super::pace::{Pace, Schedule, Ticket};
use super::report::{Report, Tally};
use crate::cli::http::{Answer, Client, Outgoing};
use crate::cli::trust::Trust;

/// First wait after a failed connect; doubles up to [`BACKOFF_MOST`].
const BACKOFF: Duration = Duration::from_millis(10);
const BACKOFF_MOST: Duration = Duration::from_millis(200);

/// One event, ready to be sent.
pub struct Job {
    /// Its request.
    pub outgoing: Outgoing,
    /// Its id, where the provider sends one; else the answer has it.
    pub id: Option<String>,
}

/// What a run is to do.
pub struct Plan {
    /// Where to.
    pub url: Url,
    /// Whom to take for the receiver.
    pub trust: Trust,
    /// How many connections.
    pub connections: usize,
    /// Number of requests; `None`: no bound.
    pub count: Option<u64>,
    /// Length of the run; `None`: no bound.
    pub duration: Option<Duration>,
    /// Requests a second of an open loop; `None`: closed loop.
    pub rate: Option<f64>,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Goes on after an error or an unexpected answer.
    pub keep_going: bool,
    /// What each copy of an event should be answered; as many copies are sent.
    pub expect: Vec<Expect>,
    /// Gets the id of each acknowledged event, a line each.
    pub ids: Option<File>,
}

struct Run<F> {
    plan: Plan,
    pace: Pace,
    make: F,
    fatal: Mutex<Option<anyhow::Error>>,
}

/// Runs `plan` with the requests that `make` builds, event by event, from their numbers.
///
/// # Errors
/// A request cannot be built, or the file of ids cannot be written: what was not counted there would be
/// missed by a check of the books.
pub fn run<F>(plan: Plan, make: F) -> anyhow::Result<Report>
where
    F: Fn(u64) -> anyhow::Result<Job> + Send + Sync + 'static,
{
    let start = Instant::now();
    let schedule = plan.rate.map(|rate| Schedule::new(start, rate));
    let pace = Pace::new(schedule, plan.count, plan.duration.map(|duration| start + duration));
    let connections = plan.connections.max(1);
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get()).min(2).min(connections);
    let offered = plan.rate;
    let run = Arc::new(Run { plan, pace, make, fatal: Mutex::new(None) });

    let tally = std::thread::scope(|scope| {
        if let Some(schedule) = schedule {
            let run = &run;
            scope.spawn(move || run.pace.release(schedule));
        }
        let share = |thread| connections / threads + usize::from(thread < connections % threads);
        let others: Vec<_> = (1..threads)
            .map(|thread| {
                let run = run.clone();
                scope.spawn(move || drive(&run, share(thread), false))
            })
            .collect();
        let mut all = drive(&run, share(0), true)?;
        for other in others {
            let tally = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            all.merge(tally);
        }
        anyhow::Ok(all)
    })?;
    let took = start.elapsed();
    if let Some(fatal) = lock(&run.fatal).take() {
        return Err(fatal);
    }
    Ok(Report { tally, took, connections, offered, unsent: run.pace.unsent() })
}

/// Serves `connections` on this thread until the run is over.
fn drive<F>(run: &Arc<Run<F>>, connections: usize, with_signal: bool) -> anyhow::Result<Tally>
where
    F: Fn(u64) -> anyhow::Result<Job> + Send + Sync + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().inspect_err(|_| run.pace.stop());
    let runtime = runtime.context("cannot start an event loop")?;
    let tally = Arc::new(Mutex::new(Tally::default()));
    runtime.block_on(async {
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            workers.spawn(work(run.clone(), tally.clone()));
        }
        let mut interrupt = std::pin::pin!(async {
            if with_signal && tokio::signal::ctrl_c().await.is_ok() {
                return;
            }
            std::future::pending::<()>().await;
        });
        loop {
            tokio::select! {
                done = workers.join_next() => match done {
                    None => break,
                    Some(Err(failed)) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
                    Some(_) => {}
                },
                // What was counted so far is still a result.
                () = &mut interrupt, if !run.pace.over() => run.pace.stop(),
            }
        }
    });
    drop(runtime);
    let tally = Arc::into_inner(tally).context("a worker outlived its thread")?;
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

async fn work<F>(run: Arc<Run<F>>, tally: Arc<Mutex<Tally>>)
where
    F: Fn(u64) -> anyhow::Result<Job> + Send + Sync + 'static,
{
    if let Err(error) = run.work(&tally).await {
        run.pace.stop();
        lock(&run.fatal).get_or_insert(error);
    }
}

impl<F: Fn(u64) -> anyhow::Result<Job>> Run<F> {
    async fn work(&self, tally: &Mutex<Tally>) -> anyhow::Result<()> {
        let mut client = Client::new(&self.plan.url, &self.plan.trust)?;
        while self.connected(&mut client, tally).await {
            let Some(ticket) = self.pace.next().await else { break };
            let job = (self.make)(ticket.number)?;
            self.deliver(&mut client, ticket, job, tally).await?;
        }
        Ok(())
    }

    /// Whether there is a connection; `false` when the run is over. No number is used up while there is none.
    async fn connected(&self, client: &mut Client, tally: &Mutex<Tally>) -> bool {
        let mut wait = BACKOFF;
        loop {
            match client.ready().await {
                Ok(()) => return true,
                Err(_) if self.pace.over() => return false,
                Err(error) => {
                    lock(tally).error(&error);
                    if !self.plan.keep_going {
                        self.pace.stop();
                        return false;
                    }
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACKOFF_MOST);
        }
    }

    async fn deliver(&self, client: &mut Client, ticket: Ticket, job: Job, tally: &Mutex<Tally>) -> anyhow::Result<()> {
        let mut since = ticket.due.unwrap_or_else(Instant::now);
        let mut outgoing = job.outgoing;
        let mut copies = self.plan.expect.iter().peekable();
        while let Some(expect) = copies.next() {
            let copy = if copies.peek().is_some() { outgoing.clone() } else { std::mem::take(&mut outgoing) };
            match client.send(copy, self.plan.timeout).await {
                Ok(answer) => {
                    let met = lock(tally).answer(&answer, *expect, since.elapsed());
                    self.record(&answer, job.id.as_deref())?;
                    if !met && !self.plan.keep_going {
                        self.pace.stop();
                    }
                }
                Err(error) => {
                    lock(tally).error(&error);
                    if !self.plan.keep_going {
                        self.pace.stop();
                    }
                    // Its other copies would say nothing about duplicates.
                    return Ok(());
                }
            }
            since = Instant::now();
        }
        Ok(())
    }

    /// Writes the id of an acknowledged event: one call, so that a kill leaves whole lines of true ids.
    fn record(&self, answer: &Answer, id: Option<&str>) -> anyhow::Result<()> {
        let Some(mut file) = self.plan.ids.as_ref().filter(|_| answer.is_success()) else { return Ok(()) };
        let word = answer.word();
        let id = id.or(word.id.as_deref()).context("neither the request nor its answer has an event id to record")?;
        let line = format!("{id}\n");
        let written = file.write(line.as_bytes()).context("cannot write the file of ids")?;
        anyhow::ensure!(written == line.len(), "the file of ids took only a part of a line");
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
