//! Every metric, declared in one table. Labels are bounded by the configuration, never by senders.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::process::Process;

/// Label names and values of one time series.
pub type Labels = Vec<(&'static str, String)>;
/// A gauge of seconds.
pub type Seconds = Gauge<f64, AtomicU64>;

/// Upper bounds of time histograms, seconds: from a fraction of a sync to the longest time-out of a sender.
const BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

macro_rules! metrics {
    ($($field:ident: $type:ty = $make:expr, $name:literal, $help:literal;)+) => {
        /// All metrics of the process.
        #[derive(Clone)]
        pub struct Metrics {
            registry: std::sync::Arc<Registry>,
            $(#[doc = $help] pub $field: $type,)+
        }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::default();
                registry.register_collector(Box::new(Process::default()));
                $(
                    let $field: $type = $make;
                    registry.register($name, $help, $field.clone());
                )+
                Self { registry: std::sync::Arc::new(registry), $($field,)+ }
            }
        }

        impl Metrics {
            /// Names of all metrics, as they are scraped but for the suffixes of histograms.
            pub const NAMES: &'static [&'static str] = &[$($name),+];
        }
    };
}

metrics! {
    requests: Family<Labels, Counter> = Family::default(), "hookferry_requests", "Requests by source and outcome";
    ack_seconds: Family<Labels, Histogram> = Family::new_with_constructor(histogram as fn() -> Histogram),
        "hookferry_ack_seconds", "Time from the head of a request to its 2xx";
    events: Family<Labels, Counter> = Family::default(), "hookferry_events", "Events accepted into the journal";
    set_aside: Family<Labels, Counter> = Family::default(),
        "hookferry_set_aside_events", "Events accepted and kept aside, since they do not meet their schema";
    id_conflicts: Family<Labels, Counter> = Family::default(),
        "hookferry_id_conflicts", "Event ids that came again with another body, among about the last 100,000 ids";
    unrouted: Counter = Counter::default(), "hookferry_unrouted_events", "Events accepted that no route matches";
    published: Family<Labels, Counter> = Family::default(), "hookferry_published", "Events that a backend confirmed";
    publish_failures: Family<Labels, Counter> = Family::default(),
        "hookferry_publish_failures", "Publish attempts of an event that failed, by reason";
    dead_letters: Family<Labels, Gauge> = Family::default(), "hookferry_dead_letters", "Dead letters waiting for a decision";
    backlog_events: Family<Labels, Gauge> = Family::default(), "hookferry_backlog_events", "Events not yet decided";
    backlog_age_seconds: Family<Labels, Seconds> = Family::default(),
        "hookferry_backlog_age_seconds", "Age of the oldest event not yet decided";
    backend_up: Family<Labels, Gauge> = Family::default(), "hookferry_backend_up", "1 while the backend is connected";
    publish_seconds: Family<Labels, Histogram> = Family::new_with_constructor(histogram as fn() -> Histogram),
        "hookferry_publish_seconds", "Time of one publish call, a batch";
    journal_bytes: Gauge = Gauge::default(), "hookferry_journal_bytes", "Bytes of the journal's segments on disk";
    journal_max_bytes: Gauge = Gauge::default(), "hookferry_journal_max_bytes", "Quota of the journal, bytes";
    journal_fsync_seconds: Histogram = histogram(), "hookferry_journal_fsync_seconds", "Time of one write and sync of the journal";
    journal_open: Gauge = Gauge::default(), "hookferry_journal_open", "1 while the journal takes events";
    journal_fsync_failures: Counter = Counter::default(), "hookferry_journal_fsync_failures", "Syncs of the journal that failed";
    journal_damaged: Counter = Counter::default(),
        "hookferry_journal_damaged_records", "Damaged places of the journal that were set aside";
    dedup_keys: Gauge = Gauge::default(), "hookferry_dedup_keys", "Event ids held for deduplication";
    dedup_forgotten: Gauge = Gauge::default(),
        "hookferry_dedup_forgotten", "Event ids dropped before their window was over, for want of room";
    config_reloads: Family<Labels, Counter> = Family::default(),
        "hookferry_config_reloads", "Reloads of the configuration by result";
    config_last_reload_successful: Gauge = Gauge::default(),
        "hookferry_config_last_reload_successful", "1 if the last reload of the configuration was applied";
    config_last_reload_timestamp_seconds: Gauge = Gauge::default(),
        "hookferry_config_last_reload_timestamp_seconds", "When the configuration in force was applied, Unix time";
    tls_not_after_seconds: Family<Labels, Gauge> = Family::default(),
        "hookferry_tls_certificate_not_after_seconds", "End of the certificate that a listener shows, Unix time";
    acme_orders: Family<Labels, Counter> = Family::default(),
        "hookferry_acme_orders", "Certificates asked of an authority, by result";
    build_info: Family<Labels, Gauge> = Family::default(), "hookferry_build_info", "1, with the version as label";
}

impl Metrics {
    /// The text that Prometheus scrapes (OpenMetrics 1.0).
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut out, &self.registry);
        out
    }
}

/// The label `source`.
pub fn source(name: &str) -> Labels {
    vec![("source", name.to_owned())]
}

/// The label `backend`.
pub fn backend(name: &str) -> Labels {
    vec![("backend", name.to_owned())]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn figures_are_scraped_under_the_names_of_the_contract() {
        let metrics = Metrics::default();
        metrics.requests.get_or_create(&vec![("source", "a".into()), ("outcome", "accepted".into())]).inc();
        metrics.journal_fsync_seconds.observe(0.002);
        metrics.build_info.get_or_create(&vec![("version", "1".into())]).set(1);
        let text = metrics.render();
        for line in [
            "hookferry_requests_total{source=\"a\",outcome=\"accepted\"} 1",
            "hookferry_journal_fsync_seconds_bucket{le=\"0.0025\"} 1",
            "hookferry_journal_fsync_failures_total 0",
            "hookferry_build_info{version=\"1\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    /// The words of `text` that begin with `prefix`.
    fn words<'t>(text: &'t str, prefix: &str) -> BTreeSet<&'t str> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.split(|c| !word(c)).filter(|found| found.starts_with(prefix)).collect()
    }

    #[test]
    fn dashboards_and_alerts_name_metrics_that_exist_and_every_alert_has_a_runbook() {
        let read = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let (alerts, dashboard) = (read("deploy/prometheus/alerts.yml"), read("deploy/grafana/hookferry.json"));
        let scraped = Metrics::default().render();
        let known = |name: &str| {
            ["", "_total", "_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .any(|metric| Metrics::NAMES.contains(&metric) || scraped.contains(&format!("# TYPE {metric} ")))
        };
        let texts = [alerts.as_str(), dashboard.as_str()];
        let used: BTreeSet<_> = texts
            .into_iter()
            .flat_map(|text| words(text, "hookferry_").into_iter().chain(words(text, "process_")))
            .collect();
        assert!(used.len() > 15);
        assert_eq!(used.into_iter().filter(|name| !known(name)).collect::<Vec<_>>(), [""; 0], "no such metric");
        let reference = read("docs/metrics.md");
        let told: BTreeSet<_> =
            ["hookferry_", "process_"].into_iter().flat_map(|prefix| words(&reference, prefix)).collect();
        assert_eq!(told.iter().copied().filter(|name| !known(name)).collect::<Vec<_>>(), [""; 0], "no such metric");
        let types = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let names = types.map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() });
        assert_eq!(names.filter(|name| !told.contains(&**name)).collect::<Vec<_>>(), [""; 0], "not in docs/metrics.md");
        serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
        let runbooks = read("docs/runbooks.md");
        let alerts = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
        let without = alerts.filter(|alert| !runbooks.lines().any(|line| line.strip_prefix("## ") == Some(*alert)));
        assert_eq!(without.collect::<Vec<_>>(), [""; 0], "no runbook");
    }
}
