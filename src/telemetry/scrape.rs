//! Reads figures back from what is scraped: families tell their labels in no other way.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::Metrics;

/// The console's figures at one time.
pub struct Scrape(String);

impl Scrape {
    /// The figures of now: those alone that are read back, since a sample is taken all day long.
    pub fn new(metrics: &Metrics) -> Self {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register("hookferry_requests", "", metrics.requests.clone());
        registry.register("hookferry_ack_seconds", "", metrics.ack_seconds.clone());
        registry.register("hookferry_journal_fsync_seconds", "", metrics.journal_fsync_seconds.clone());
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &registry);
        Self(text)
    }

    /// Requests since the start: source, outcome, how many.
    pub fn requests(&self) -> Vec<(&str, &str, u64)> {
        self.0.lines().filter_map(request).collect()
    }

    /// Sum and count of the histogram `name`, over all its labels.
    pub fn histogram(&self, name: &str) -> (f64, f64) {
        let total = |suffix: &str| {
            let of = |line: &str| {
                let rest = line.strip_prefix(name)?.strip_prefix(suffix)?;
                let is_whole = rest.starts_with(['{', ' ']);
                rest.rsplit_once(' ').filter(|_| is_whole)?.1.parse::<f64>().ok()
            };
            self.0.lines().filter_map(of).sum()
        };
        (total("_sum"), total("_count"))
    }
}

fn request(line: &str) -> Option<(&str, &str, u64)> {
    let rest = line.strip_prefix("hookferry_requests_total{source=\"")?;
    let (source, rest) = rest.split_once("\",outcome=\"")?;
    let (outcome, count) = rest.split_once("\"} ")?;
    Some((source, outcome, count.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::metrics;
    use super::*;

    #[test]
    fn figures_are_read_back() {
        let metrics = Metrics::default();
        metrics.requests.get_or_create(&vec![("source", "a".into()), ("outcome", "accepted".into())]).inc_by(3);
        for source in ["a", "b"] {
            metrics.ack_seconds.get_or_create(&metrics::source(source)).observe(0.5);
        }
        metrics.journal_fsync_seconds.observe(0.25);
        let scrape = Scrape::new(&metrics);
        assert_eq!(scrape.requests(), [("a", "accepted", 3)]);
        assert_eq!(scrape.histogram("hookferry_ack_seconds"), (1.0, 2.0));
        assert_eq!(scrape.histogram("hookferry_journal_fsync_seconds"), (0.25, 1.0));
    }
}
