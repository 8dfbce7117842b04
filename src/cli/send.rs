//! `hookferry send`: requests exactly as a source's sender makes them, one or many.
//!
//! Reading order: [`Args`], `target` (whose requests), `template` (what differs between them), `fault` (what is
//! wrong with them), `expect` (what they should be answered), `load` and `pace` (many of them), `report`.

pub mod expect;
pub mod fault;
pub mod load;
pub mod pace;
pub mod report;
pub mod target;
pub mod template;

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use url::Url;

use super::http::{Answer, Client, HeaderMap, HeaderName, HeaderValue, Method, Outgoing};
use super::{Files, Wrong, print, trust};
use crate::verify::Draft;
use expect::Expect;
use fault::{Fault, Faults};
use load::{Job, Plan};
use target::Target;
use template::Template;

/// Post an event as a source's provider would: signed, to the running bridge
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the source
    pub source: String,
    /// Body; `-` reads it from the standard input [default: the provider's sample]
    pub file: Option<PathBuf>,
    /// Where to post to [default: where the configuration listens, at the source's path]
    #[arg(long)]
    pub url: Option<Url>,
    #[command(flatten)]
    pub trust: trust::Options,
    /// Event type [default: the sample's]
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Event id [default: a new one for each event]
    #[arg(long)]
    pub id: Option<String>,
    /// What is wrong with the request; may be given several times
    #[arg(long = "fault", value_name = "KIND")]
    pub faults: Vec<Fault>,
    /// Fill the body up to this size, e.g. 1KiB
    #[arg(long)]
    pub size: Option<ByteSize>,
    /// Send so many events, and sum them up
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Send for so long, e.g. 10s, and sum up
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Connections that send side by side
    #[arg(long, value_name = "C", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub connections: u16,
    /// Send so many events a second, whether or not earlier ones are answered; latency counts from the time at
    /// which an event was due
    #[arg(long, value_name = "R", value_parser = rate)]
    pub rate: Option<f64>,
    /// Append the id of each acknowledged event to this file
    #[arg(long, value_name = "FILE")]
    pub ids: Option<PathBuf>,
    /// Go on after errors and unexpected answers, and connect again
    #[arg(long)]
    pub keep_going: bool,
    /// Longest wait for one answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<f64>();
    number
        .ok()
        .filter(|rate| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| "not a number of events a second".to_owned())
}

/// Runs the command; succeeds when every answer was as expected.
///
/// # Errors
/// The configuration has no such source, a request cannot be built, or nobody answers.
pub fn run(args: Args, files: &Files) -> anyhow::Result<ExitCode> {
    let config = files.load()?;
    let mut target = Target::new(&config, &args.source, args.url.as_ref())?;
    target.trust = args.trust.or(target.trust);
    let event = &target.provider.contract.event;
    if args.faults.contains(&Fault::Duplicate) && event.repeats && event.id.is_empty() {
        let what = "this source's provider sends events that are equal to the byte, so nothing is ever a duplicate";
        return Err(Wrong(what.to_owned()).into());
    }
    let faults = Faults::new(&args.faults, &target.provider.rule).map_err(|error| Wrong(error.to_string()))?;
    let met = if args.count.is_some() || args.duration.is_some() {
        many(args, target, faults)?
    } else {
        one(&args, &target, &faults)?
    };
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends one event (or its copies) and prints each answer; whether all were as expected.
fn one(args: &Args, target: &Target, faults: &Faults) -> anyhow::Result<bool> {
    let id = args.id.clone().unwrap_or_else(|| Ids::new(target).id(0));
    let now_s = now_s()?;
    let mut draft = shape(args, target, faults, &id, args.id.is_some(), now_s)?;
    target.sign(&mut draft, faults.signing_time_s(now_s))?;
    faults.spoil(&target.provider.rule, &mut draft);
    let id = target.provider.extract(&draft.request(), &draft.body).id;
    let request = outgoing(draft)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = Client::new(&target.url, &target.trust)?;
        let mut all_met = true;
        for expect in faults.expected() {
            // The connection is no part of the latency.
            client.ready().await?;
            let since = Instant::now();
            let answer = client.send(request.clone(), args.timeout).await?;
            let latency = since.elapsed();
            let met = expect.is_met(&answer);
            show(args.json, id.as_deref(), &answer, latency, expect, met)?;
            all_met &= met;
        }
        Ok(all_met)
    })
}

fn show(
    json: bool,
    id: Option<&str>,
    answer: &Answer,
    latency: Duration,
    expect: Expect,
    met: bool,
) -> anyhow::Result<()> {
    let ms = latency.as_secs_f64() * 1_000.0;
    let body = String::from_utf8_lossy(&answer.body);
    let line = if json {
        let word = answer.word();
        let body = serde_json::from_str(&body).unwrap_or_else(|_| serde_json::Value::from(body.as_ref()));
        let answer = serde_json::json!({
            "id": id.map(str::to_owned).or(word.id.map(Into::into)), "status": answer.status, "answer": body, "latency_ms": ms,
            "expected": expect.to_string(), "met": met,
        });
        answer.to_string()
    } else {
        let note = if met { String::new() } else { format!("  (expected: {expect})") };
        format!("{} {}  {ms:.2} ms{note}", answer.status, body.trim())
    };
    print(&format!("{line}\n"))?;
    Ok(())
}

/// Sends many events and prints what they came to; whether all answers were as expected.
fn many(args: Args, target: Target, faults: Faults) -> anyhow::Result<bool> {
    let ids = Ids::new(&target);
    let first = args.id.clone().unwrap_or_else(|| ids.id(0));
    let mut draft = shape(&args, &target, &faults, &first, true, now_s()?)?;
    let fixed = args.id.is_some();
    // Where the receiver reads no id, the body's hash is the id: the answer has it, and bodies must differ.
    let named = target.provider.extract(&draft.request(), &draft.body).id.as_ref() == Some(&first);
    if !named && !String::from_utf8_lossy(&draft.body).contains(&first) {
        let size = draft.body.len();
        template::set(&mut draft.body, "/hookferry_id", &first)
            .context("this provider sends no event id, and the body has no room for one: its events cannot differ")?;
        if args.size.is_some() && !faults.oversized() {
            bail!("--size {size} leaves no room for what makes the events of this provider differ");
        }
    }
    let template = Template::new(draft, &first).context("the id is not in the request")?;
    let plan = Plan {
        url: target.url.clone(),
        trust: target.trust.clone(),
        connections: usize::from(args.connections),
        count: args.count,
        duration: args.duration,
        rate: args.rate,
        timeout: args.timeout,
        keep_going: args.keep_going,
        expect: faults.expected(),
        ids: match &args.ids {
            None => None,
            Some(file) => Some(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(file)
                    .with_context(|| format!("cannot open {}", file.display()))?,
            ),
        },
    };
    let report = load::run(plan, move |number| {
        let id = if fixed { first.clone() } else { ids.id(number) };
        let mut draft = template.with_id(&id);
        target.sign(&mut draft, faults.signing_time_s(now_s()?))?;
        faults.spoil(&target.provider.rule, &mut draft);
        Ok(Job { outgoing: outgoing(draft)?, id: named.then_some(id) })
    })?;
    print(&if args.json { format!("{}\n", report.json()) } else { report.to_string() })?;
    Ok(report.clean())
}

/// The unsigned request in the size that is asked for.
fn shape(args: &Args, target: &Target, faults: &Faults, id: &str, with_id: bool, now_s: i64) -> anyhow::Result<Draft> {
    let body = match args.file.as_deref() {
        None => None,
        Some(file) if file.as_os_str() == "-" => {
            let mut body = Vec::new();
            io::stdin().lock().read_to_end(&mut body).context("cannot read the standard input")?;
            Some(body)
        }
        Some(file) => Some(std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?),
    };
    let mut draft = target.draft(id, with_id, args.kind.as_deref(), body, now_s)?;
    let read = target.provider.extract(&draft.request(), &draft.body);
    for (option, asked, shown) in [("--id", &args.id, read.id), ("--type", &args.kind, read.kind)] {
        if asked.is_some() && *asked != shown {
            let shown = shown.map_or("reads none".to_owned(), |shown| format!("reads `{shown}`"));
            return Err(Wrong(format!("{option} is without effect: in this request the source {shown}")).into());
        }
    }
    if let Some(size) = args.size {
        template::pad(&mut draft.body, usize::try_from(size.as_u64())?)?;
    }
    if faults.oversized() && draft.body.len() as u64 <= target.max_body {
        template::pad(&mut draft.body, usize::try_from(target.max_body)? + 1)?;
    }
    Ok(draft)
}

/// The request as the client sends it.
fn outgoing(draft: Draft) -> anyhow::Result<Outgoing> {
    let target = if draft.query.is_empty() { draft.path } else { format!("{}?{}", draft.path, draft.query) };
    let mut headers = HeaderMap::with_capacity(draft.headers.len() + 2);
    for (name, value) in draft.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).with_context(|| format!("`{name}` cannot be a header"))?;
        headers.append(name, HeaderValue::try_from(value).context("a header holds control characters")?);
    }
    let method = Method::from_bytes(draft.method.as_bytes()).context("the method cannot be sent")?;
    Ok(Outgoing { headers, body: draft.body.into(), ..Outgoing::new(method, &target)? })
}

/// Event ids of one run: all of one length, and different from those of any other run.
struct Ids {
    run: u64,
    numeric: bool,
}

impl Ids {
    fn new(target: &Target) -> Self {
        // The random bits of a version 4 UUID's end would do as well; version 7 is what is at hand.
        Self { run: uuid::Uuid::now_v7().as_u64_pair().1, numeric: target.numeric_ids() }
    }

    fn id(&self, number: u64) -> String {
        if self.numeric {
            // 8 random digits and 10 that count: below 2^63, and never with a leading zero.
            format!("{}{number:010}", 10_000_000 + self.run % 90_000_000)
        } else {
            format!("evt_{:012x}_{number:010}", self.run & 0xffff_ffff_ffff)
        }
    }
}

/// Unix time, seconds.
fn now_s() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_run_have_one_length_and_are_never_those_of_another_run() {
        for numeric in [false, true] {
            let ids = |run| Ids { run, numeric };
            assert_eq!(ids(1).id(0).len(), ids(u64::MAX).id(9_999_999_999).len());
            assert_ne!(ids(1).id(7), ids(2).id(7));
            assert_ne!(ids(1).id(7), ids(1).id(8));
        }
        assert!(Ids { run: u64::MAX, numeric: true }.id(9_999_999_999).parse::<i64>().is_ok());
    }

    #[test]
    fn a_rate_is_a_number_of_events_a_second() {
        assert_eq!(rate("500/s"), Ok(500.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "inf", "fast", ""] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
