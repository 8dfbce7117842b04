//! What a run of many requests came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::expect::Expect;
use crate::cli::http::{Answer, Error};

/// Largest latency that is told apart, in microseconds; longer ones count as this.
const CEILING_US: u64 = 600_000_000;

/// Counts of one thread, or of all of them.
pub struct Tally {
    requests: u64,
    statuses: BTreeMap<u16, u64>,
    accepted: u64,
    duplicates: u64,
    unexpected: u64,
    connect: u64,
    lost: u64,
    timeouts: u64,
    /// The first thing that went wrong, in words.
    pub trouble: Option<String>,
    /// Microseconds.
    latency: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        // Bounds that the crate accepts at three digits: this cannot fail.
        let latency = Histogram::new_with_bounds(1, CEILING_US, 3)
            .unwrap_or_else(|_| unreachable!("1 to {CEILING_US} are valid bounds"));
        Self {
            requests: 0,
            statuses: BTreeMap::new(),
            accepted: 0,
            duplicates: 0,
            unexpected: 0,
            connect: 0,
            lost: 0,
            timeouts: 0,
            trouble: None,
            latency,
        }
    }
}

impl Tally {
    /// Counts an answer; whether it was the expected one.
    pub fn answer(&mut self, answer: &Answer, expect: Expect, latency: Duration) -> bool {
        self.requests += 1;
        *self.statuses.entry(answer.status).or_default() += 1;
        match answer.word().status.as_deref() {
            Some("accepted") => self.accepted += 1,
            Some("duplicate") => self.duplicates += 1,
            _ => {}
        }
        let us = u64::try_from(latency.as_micros()).unwrap_or(CEILING_US);
        self.latency.saturating_record(us.clamp(1, CEILING_US));
        let met = expect.is_met(answer);
        if !met {
            self.unexpected += 1;
            self.trouble.get_or_insert_with(|| format!("{} (expected: {expect})", answer.summary()));
        }
        met
    }

    /// Counts a request, or an attempt to connect, that got no answer.
    pub fn error(&mut self, error: &Error) {
        match error {
            Error::Connect { .. } | Error::Unusable(_) => self.connect += 1,
            Error::Lost { .. } => self.lost += 1,
            Error::Timeout { .. } => self.timeouts += 1,
        }
        self.trouble.get_or_insert_with(|| error.to_string());
    }

    /// Takes the counts of another thread in.
    pub fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.unexpected += other.unexpected;
        self.connect += other.connect;
        self.lost += other.lost;
        self.timeouts += other.timeouts;
        self.trouble = self.trouble.take().or(other.trouble);
        // Both have the same bounds, so every value of the one is a value of the other.
        if self.latency.add(&other.latency).is_err() {
            unreachable!("histograms of one type have one range");
        }
    }
}

/// A finished run.
pub struct Report {
    /// Everything that was counted.
    pub tally: Tally,
    /// From the first request to the last answer.
    pub took: Duration,
    /// Connections of the run.
    pub connections: usize,
    /// Requests a second that were asked for, in an open loop.
    pub offered: Option<f64>,
    /// Requests that were due, but found no connection free before the end.
    pub unsent: u64,
}

impl Report {
    /// Whether every request got the answer it should get.
    pub fn clean(&self) -> bool {
        let tally = &self.tally;
        tally.unexpected + tally.connect + tally.lost + tally.timeouts == 0
    }

    fn rate(&self) -> f64 {
        self.tally.requests as f64 / self.took.as_secs_f64().max(1e-9)
    }

    fn latencies_ms(&self) -> [(&'static str, f64); 6] {
        let h = &self.tally.latency;
        let ms = |us: u64| us as f64 / 1_000.0;
        [
            ("mean", h.mean() / 1_000.0),
            ("p50", ms(h.value_at_quantile(0.5))),
            ("p90", ms(h.value_at_quantile(0.9))),
            ("p99", ms(h.value_at_quantile(0.99))),
            ("p99.9", ms(h.value_at_quantile(0.999))),
            ("max", ms(h.max())),
        ]
    }

    /// One JSON object: counts, `rate` in answers a second, `latency_ms`.
    pub fn json(&self) -> serde_json::Value {
        let t = &self.tally;
        let latency: serde_json::Map<_, _> =
            self.latencies_ms().into_iter().map(|(name, ms)| (name.to_owned(), ms.into())).collect();
        let statuses: BTreeMap<String, u64> = t.statuses.iter().map(|(k, v)| (k.to_string(), *v)).collect();
        serde_json::json!({
            "requests": t.requests,
            "seconds": self.took.as_secs_f64(),
            "rate": self.rate(),
            "offered_rate": self.offered,
            "connections": self.connections,
            "statuses": statuses,
            "accepted": t.accepted,
            "duplicates": t.duplicates,
            "unexpected": t.unexpected,
            "errors": { "connect": t.connect, "lost": t.lost, "timeout": t.timeouts },
            "unsent": self.unsent,
            "latency_ms": latency,
            "trouble": t.trouble,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.tally;
        let loop_kind = match self.offered {
            Some(rate) => format!("open loop, {rate}/s offered"),
            None => "closed loop".to_owned(),
        };
        writeln!(
            f,
            "requests   {} answered in {:.2} s, {:.0}/s; {} connection(s), {loop_kind}",
            t.requests,
            self.took.as_secs_f64(),
            self.rate(),
            self.connections,
        )?;
        let statuses: Vec<_> = t.statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
        writeln!(f, "answers    {}; {} accepted, {} duplicate", statuses.join(", "), t.accepted, t.duplicates)?;
        let latencies = self.latencies_ms().map(|(name, ms)| format!("{name} {ms:.2}"));
        writeln!(f, "latency    {} ms", latencies.join(", "))?;
        if !self.clean() {
            writeln!(
                f,
                "trouble    {} unexpected, {} not connected, {} lost, {} timed out",
                t.unexpected, t.connect, t.lost, t.timeouts,
            )?;
        }
        if self.unsent > 0 {
            writeln!(f, "not sent   {} that were due, for want of a free connection", self.unsent)?;
        }
        match &t.trouble {
            Some(first) => writeln!(f, "first      {first}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::http::HeaderMap;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: body.into() }
    }

    fn report(tally: Tally) -> Report {
        Report { tally, took: Duration::from_secs(2), connections: 1, offered: None, unsent: 0 }
    }

    #[test]
    fn counts_and_latencies_of_several_threads_add_up() {
        let mut all = Tally::default();
        for thread in 0..2 {
            let mut tally = Tally::default();
            for ms in 1..=50 {
                let latency = Duration::from_millis(ms + thread * 50);
                assert!(tally.answer(&answer(200, r#"{"status":"accepted","id":"a"}"#), Expect::Success, latency));
            }
            all.merge(tally);
        }
        let report = report(all);
        let json = report.json();
        assert!(report.clean());
        assert_eq!((json["requests"].as_u64(), json["accepted"].as_u64()), (Some(100), Some(100)));
        assert_eq!(json["statuses"]["200"], 100);
        assert_eq!(json["rate"], 50.0);
        let near = |name: &str, ms: f64| (json["latency_ms"][name].as_f64().unwrap() - ms).abs() < ms / 100.0;
        assert!(near("p50", 50.0) && near("p99", 99.0) && near("max", 100.0), "{json}");
    }

    #[test]
    fn an_answer_that_was_not_expected_is_named_and_spoils_the_run() {
        let mut tally = Tally::default();
        assert!(tally.answer(&answer(200, ""), Expect::Success, Duration::ZERO));
        assert!(!tally.answer(
            &answer(503, r#"{"title":"Busy","detail":"journal is full"}"#),
            Expect::Success,
            Duration::ZERO
        ));
        let report = report(tally);
        assert!(!report.clean());
        assert_eq!(report.json()["trouble"], "503 journal is full (expected: 2xx)");
        assert!(report.to_string().contains("1 × 200, 1 × 503"), "{report}");
    }

    #[test]
    fn a_lost_connection_spoils_the_run() {
        let mut tally = Tally::default();
        tally.error(&Error::Lost { address: "a:1".into(), why: "reset".into() });
        assert!(!report(tally).clean());
    }
}
