//! What the process uses of its machine, under the names that Prometheus's own clients give it.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads `/proc/self` at each scrape; what cannot be read there is left out.
#[derive(Debug)]
pub struct Process {
    /// Unix time, seconds.
    started_s: f64,
}

impl Default for Process {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self { started_s: since.map_or(0.0, |since| since.as_secs_f64()) }
    }
}

/// Figures of one moment.
#[derive(Debug, PartialEq)]
struct Usage {
    cpu_s: f64,
    threads: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge("process_start_time_seconds", "When the process started, Unix time", self.started_s)?;
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory itself.
            gauge("process_open_fds", "Open files and connections", entries.count().saturating_sub(1) as f64)?;
        }
        if let Some(most) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(most_fds) {
            gauge("process_max_fds", "Most open files and connections", most)?;
        }
        if let Some(usage) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(usage) {
            gauge("process_threads", "Threads", usage.threads as f64)?;
            gauge("process_virtual_memory_bytes", "Address space, bytes", usage.virtual_bytes as f64)?;
            gauge("process_resident_memory_bytes", "Memory in use, bytes", usage.resident_bytes as f64)?;
            let counter = ConstCounter::new(usage.cpu_s);
            let help = "Time on processors, of the program and of the system for it";
            counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?)?;
        }
        Ok(())
    }
}

/// From `/proc/self/stat` (proc(5)).
fn usage(stat: &str) -> Option<Usage> {
    // The name of the program stands in brackets, and may hold any.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // The first of them is number 3 of the manual page.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Usage {
        cpu_s: (field(14)? + field(15)?) as f64 / rustix::param::clock_ticks_per_second() as f64,
        threads: field(20)?,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * rustix::param::page_size() as u64,
    })
}

/// From `/proc/self/limits`; infinite where there is no limit.
fn most_fds(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_tells_is_read_whatever_the_program_is_called() {
        let ticks = rustix::param::clock_ticks_per_second();
        let (page, stat) = (rustix::param::page_size() as u64, "S 1 2 3 4 5 6 7 8 9 10");
        let text = format!(
            "4711 (hook) ferry) 1) {stat} {} {} 0 0 20 0 9 0 123 4096 7 18446744073709551615",
            2 * ticks,
            ticks
        );
        let expected = Usage { cpu_s: 3.0, threads: 9, virtual_bytes: 4096, resident_bytes: 7 * page };
        assert_eq!(usage(&text), Some(expected));
        assert_eq!(usage("4711 (x) S 1"), None);
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(most_fds(limits), Some(1024.0));
        assert_eq!(most_fds("Max open files            unlimited unlimited files"), Some(f64::INFINITY));
    }
}
