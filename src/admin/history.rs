//! Figures over the last hour, in memory, for the console's small pictures.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Admin;
use crate::telemetry::Scrape;

/// Samples that are kept: an hour, one each [`EVERY_MS`].
const KEPT: usize = 360;
/// Time between two samples, milliseconds.
pub const EVERY_MS: u64 = 10_000;

/// Series by name, all of one length.
#[derive(Default)]
pub struct History(Mutex<Series>);

#[derive(Default)]
struct Series {
    times_ms: VecDeque<u64>,
    values: BTreeMap<String, VecDeque<Option<f64>>>,
}

impl History {
    /// Adds one sample; a series that has no value in it has a gap there, and goes once it has nothing else.
    pub fn add(&self, now_ms: u64, sample: BTreeMap<String, f64>) {
        let mut series = self.series();
        let length = series.times_ms.len();
        for name in sample.keys() {
            if !series.values.contains_key(name) {
                series.values.insert(name.clone(), std::iter::repeat_n(None, length).collect());
            }
        }
        series.times_ms.push_back(now_ms);
        let is_full = series.times_ms.len() > KEPT;
        if is_full {
            series.times_ms.pop_front();
        }
        series.values.retain(|name, values| {
            values.push_back(sample.get(name).copied());
            if is_full {
                values.pop_front();
            }
            values.iter().any(Option::is_some)
        });
    }

    /// A series as it is.
    pub fn values(&self, name: &str) -> Vec<Option<f64>> {
        self.series().values.get(name).map_or_else(Vec::new, |values| values.iter().copied().collect())
    }

    /// A counter's growth a second, one value less than there are samples.
    pub fn rate(&self, name: &str) -> Vec<Option<f64>> {
        let series = self.series();
        let Some(values) = series.values.get(name) else { return Vec::new() };
        let seconds = |at: usize| series.times_ms[at + 1].saturating_sub(series.times_ms[at]).max(1) as f64 / 1000.0;
        let growth = growth(values);
        growth.into_iter().enumerate().map(|(at, grown)| grown.map(|grown| grown / seconds(at))).collect()
    }

    /// Growth of one counter for each of another's: the mean of what a histogram took in between two samples.
    pub fn mean(&self, sum: &str, count: &str) -> Vec<Option<f64>> {
        let series = self.series();
        let (Some(sum), Some(count)) = (series.values.get(sum), series.values.get(count)) else { return Vec::new() };
        let mean = |(sum, count): (Option<f64>, Option<f64>)| Some(sum? / count.filter(|count| *count > 0.0)?);
        growth(sum).into_iter().zip(growth(count)).map(mean).collect()
    }

    fn series(&self) -> MutexGuard<'_, Series> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn growth(values: &VecDeque<Option<f64>>) -> Vec<Option<f64>> {
    let pairs = values.iter().zip(values.iter().skip(1));
    pairs.map(|(before, after)| Some((after.as_ref()? - before.as_ref()?).max(0.0))).collect()
}

/// What a source has answered since the start.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Answers {
    /// New events.
    pub accepted: u64,
    /// Redeliveries and challenges.
    pub repeated: u64,
    /// Refused, by code.
    pub refused: BTreeMap<String, u64>,
}

impl Answers {
    /// All that were refused.
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// All that were answered with success.
    pub fn successes(&self) -> u64 {
        self.accepted + self.repeated
    }
}

impl Admin {
    /// What each source has answered since the start.
    pub fn answers(&self) -> BTreeMap<String, Answers> {
        answers(&Scrape::new(&self.parts.metrics))
    }

    /// Takes one sample of everything that the console draws.
    pub fn sample(&self) {
        let (tail, now_ms) = (*self.journal.tail().borrow(), self.journal.now_ms());
        let scrape = Scrape::new(&self.parts.metrics);
        let mut sample = BTreeMap::new();
        let mut add = |name: String, value: f64| *sample.entry(name).or_insert(0.0) += value;
        for (source, answers) in answers(&scrape) {
            for (name, count) in [("ok", answers.successes()), ("refused", answers.refusals())] {
                add(format!("{name}:{source}"), count as f64);
                add(name.to_owned(), count as f64);
            }
        }
        for (name, histogram) in [("ack", "hookferry_ack_seconds"), ("sync", "hookferry_journal_fsync_seconds")] {
            let (sum, count) = scrape.histogram(histogram);
            add(format!("{name}_sum"), sum);
            add(format!("{name}_count"), count);
        }
        for lane in self.dispatch.lanes() {
            add(format!("published:{}", lane.name), lane.published() as f64);
            add(format!("backlog:{}", lane.name), lane.backlog(tail) as f64);
            add("backlog".to_owned(), lane.backlog(tail) as f64);
        }
        add("bytes".to_owned(), self.journal.bytes() as f64);
        self.history.add(now_ms, sample);
    }
}

fn answers(scrape: &Scrape) -> BTreeMap<String, Answers> {
    let mut all = BTreeMap::<String, Answers>::new();
    for (source, outcome, count) in scrape.requests() {
        let answers = all.entry(source.to_owned()).or_default();
        match outcome {
            "accepted" => answers.accepted += count,
            "duplicate" | "handshake" => answers.repeated += count,
            _ if count > 0 => _ = answers.refused.insert(outcome.to_owned(), count),
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_means_are_of_the_time_between_two_samples() {
        let history = History::default();
        for (at, (count, sum)) in [(10.0, 1.0), (30.0, 2.0), (30.0, 2.0), (5.0, 0.5)].into_iter().enumerate() {
            let sample = [("count".to_owned(), count), ("sum".to_owned(), sum)];
            history.add(at as u64 * EVERY_MS, sample.into());
        }
        assert_eq!(history.rate("count"), [Some(2.0), Some(0.0), Some(0.0)]);
        assert_eq!(history.mean("sum", "count"), [Some(0.05), None, None]);
        assert_eq!(history.rate("other"), []);
    }

    #[test]
    fn an_hour_is_kept_and_what_is_gone_goes() {
        let history = History::default();
        history.add(0, [("old".to_owned(), 1.0)].into());
        for at in 1..=KEPT as u64 {
            history.add(at * EVERY_MS, [("new".to_owned(), at as f64)].into());
        }
        assert!(history.values("old").is_empty());
        assert_eq!(history.values("new").len(), KEPT);
    }
}
