//! `hookferry events`: what was accepted and is kept, and replay of it to a backend.

use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::api::{self, Api, Refused, line, one_line, plain, plain_lines, table};
use super::progress::{self, Bar};
use super::remote::{Options, Remote};
use super::{Files, note};

/// How often it is looked how far a replay is.
const LOOK: Duration = Duration::from_millis(250);
/// Events asked for at once.
const PAGE: u64 = 500;

/// List, show and replay the events that are kept
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The kept events, oldest first
    List(List),
    /// One event
    Show {
        /// Its position
        sequence: u64,
        /// One CloudEvents JSON object on a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Options,
    },
    /// Publish kept events to a backend again, with their ids and sequences
    Replay(Replay),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only events of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only events of these types; `*` stands for any text
    #[arg(long = "type", value_name = "GLOB")]
    kind: Option<String>,
    /// Only the event with this id
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Received at or after: 2026-01-31T12:00:00Z, or 15m for so long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Received before: as --since
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Begin after this sequence
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    after: u64,
    /// Most events
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// One CloudEvents JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Options,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["sequence", "from"]))]
struct Replay {
    /// One event, by its position
    sequence: Option<u64>,
    /// Backend that gets it
    #[arg(long, value_name = "NAME")]
    backend: String,
    /// First position of a range
    #[arg(long, value_name = "SEQUENCE", requires = "to")]
    from: Option<u64>,
    /// Last position of the range
    #[arg(long, value_name = "SEQUENCE", requires = "from")]
    to: Option<u64>,
    /// Of the range, only events of this source
    #[arg(long, value_name = "NAME", requires = "from")]
    source: Option<String>,
    /// Of the range, only events of these types; `*` stands for any text
    #[arg(long = "type", value_name = "GLOB", requires = "from")]
    kind: Option<String>,
    /// Of a range: end once it is published, which a command at a terminal does anyway
    #[arg(long, requires = "from")]
    wait: bool,
    /// The answer as one JSON object on a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Options,
}

/// Where an event is.
#[derive(Deserialize)]
struct Places {
    deliveries: Vec<Delivery>,
}

#[derive(Deserialize)]
struct Delivery {
    backend: String,
    state: String,
    detail: String,
    seconds: Option<f64>,
}

impl Delivery {
    fn told(&self) -> String {
        let mut told = self.state.replace('_', " ");
        if let Some(seconds) = self.seconds {
            told.push_str(&format!(" {seconds:.3} s after its receipt"));
        }
        match self.detail.as_str() {
            "" => told,
            detail => format!("{told}: {}", plain(detail)),
        }
    }
}

/// How far the replays are that are not done.
#[derive(Deserialize)]
struct Replays {
    replays: Vec<Order>,
}

#[derive(Deserialize)]
struct Order {
    id: String,
    from: String,
    to: String,
    after: String,
    delivered: u64,
    rejected: u64,
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    next: String,
}

/// Attributes that a list shows.
#[derive(Deserialize)]
struct Row {
    sequence: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    id: String,
    recordedtime: String,
}

/// Runs the command.
///
/// # Errors
/// The listener cannot be reached, or refuses.
pub fn run(args: &Args, files: &Files) -> anyhow::Result<ExitCode> {
    api::block(async {
        match &args.what {
            What::List(list) => self::list(list, files).await,
            What::Show { sequence, json, remote } => show(*sequence, *json, remote.resolve(files)?).await,
            What::Replay(order) => replay(order, files).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &List, files: &Files) -> anyhow::Result<()> {
    let mut api = Api::new(args.remote.resolve(files)?)?;
    let (mut after, mut left) = (args.after, args.limit);
    let mut is_first = true;
    while left > 0 {
        let (position, limit) = (after.to_string(), left.min(PAGE).to_string());
        let mut query = vec![("after", position.as_str()), ("limit", limit.as_str())];
        query.extend(args.source.as_deref().map(|source| ("source", source)));
        query.extend(args.kind.as_deref().map(|kind| ("type", kind)));
        let others = [("id", &args.id), ("since", &args.since), ("until", &args.until)];
        query.extend(others.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
        let page: Page = api.get("/v1/events", &query).await?;
        left = left.saturating_sub(page.events.len() as u64);
        let text = match args.json {
            true => page.events.iter().map(|event| one_line(event.get())).collect::<Vec<_>>().join("\n"),
            false => rows(&page.events, is_first)?,
        };
        is_first &= page.events.is_empty();
        if !page.events.is_empty() && line(&text)?.is_break() {
            return Ok(());
        }
        let next: u64 = page.next.parse()?;
        // A page may be empty and end before the last event: the listener looks at so many events at once.
        if next <= after {
            return Ok(());
        }
        after = next;
    }
    note(&format!("events: {} shown; go on with --after {after}", args.limit));
    Ok(())
}

fn rows(events: &[Box<RawValue>], with_head: bool) -> anyhow::Result<String> {
    let row = |event: &RawValue| {
        let row: Row = serde_json::from_str(event.get())?;
        let source = row.source.strip_prefix("urn:webhook:").unwrap_or(&row.source);
        let sequence = row.sequence.trim_start_matches('0').to_owned();
        Ok([sequence, row.recordedtime, source.to_owned(), plain(&row.kind), plain(&row.id)])
    };
    let rows = events.iter().map(|event| row(event)).collect::<anyhow::Result<Vec<_>>>()?;
    let text = table(["SEQUENCE", "RECEIVED", "SOURCE", "TYPE", "ID"], &rows);
    Ok(if with_head { text } else { text.split_once('\n').map_or(String::new(), |(_, rows)| rows.to_owned()) })
}

async fn show(sequence: u64, json: bool, remote: Remote) -> anyhow::Result<()> {
    let mut api = Api::new(remote)?;
    let event: Box<RawValue> = api.get(&format!("/v1/events/{sequence}"), &[]).await?;
    if json {
        return line(&one_line(event.get())).map(drop);
    }
    let Places { deliveries } = api.get(&format!("/v1/events/{sequence}/deliveries"), &[]).await?;
    let places = deliveries.iter().map(|delivery| format!("{:<15}  {}\n", delivery.backend, delivery.told()));
    line(&format!("{}{}", places.collect::<String>(), described(&event)?)).map(drop)
}

/// Attributes, one a line, then the data.
///
/// # Errors
/// It is no event.
pub fn described(event: &RawValue) -> anyhow::Result<String> {
    let mut members: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_str(event.get())?;
    let data = members.remove("data").or_else(|| members.remove("data_base64"));
    let mut lines = Vec::new();
    for (name, value) in &members {
        let text: Value = serde_json::from_str(value.get())?;
        let text = text.as_str().map_or_else(|| value.get().to_owned(), plain);
        lines.push(format!("{name:<15}  {text}"));
    }
    lines.extend(data.map(|data| format!("\n{}", plain_lines(data.get()))));
    Ok(lines.join("\n"))
}

async fn replay(args: &Replay, files: &Files) -> anyhow::Result<()> {
    let mut api = Api::new(args.remote.resolve(files)?)?;
    let backend = &args.backend;
    let (path, body) = match (args.sequence, args.from, args.to) {
        (Some(sequence), ..) => (format!("/v1/events/{sequence}/replay"), json!({"backend": backend})),
        (None, Some(from), Some(to)) => {
            let mut body = json!({"backend": backend, "from": from.to_string(), "to": to.to_string()});
            if let Some(source) = &args.source {
                body["source"] = source.as_str().into();
            }
            if let Some(kind) = &args.kind {
                body["type"] = kind.as_str().into();
            }
            ("/v1/replays".to_owned(), body)
        }
        _ => anyhow::bail!("a position or a range is needed"),
    };
    let answer: Value = api.post(&path, &body).await.map_err(hint)?;
    let text = |name: &str| answer[name].as_str().map_or(String::new(), |text| text.trim_start_matches('0').to_owned());
    let told = match args.json {
        true => answer.to_string(),
        false => match args.sequence {
            Some(sequence) => format!("event {sequence} goes to {backend} again (replay {})", text("id")),
            None => format!("events {} to {} go to {backend} again (replay {})", text("from"), text("to"), text("id")),
        },
    };
    line(&told)?.is_break();
    if args.from.is_some() && (args.wait || progress::is_seen()) {
        follow(&mut api, answer["id"].as_str().unwrap_or_default()).await?;
    }
    Ok(())
}

/// Waits until a replay is over. Whoever ends the command ends nothing but the wait.
async fn follow(api: &mut Api, id: &str) -> anyhow::Result<()> {
    let mut bar = Bar::new();
    loop {
        let Replays { replays } = api.get("/v1/replays", &[]).await?;
        let Some(order) = replays.into_iter().find(|order| order.id == id) else { break };
        let (from, to, after): (u64, u64, u64) = (order.from.parse()?, order.to.parse()?, order.after.parse()?);
        let words = match order.rejected {
            0 => format!("{} delivered", order.delivered),
            rejected => format!("{} delivered, {rejected} dead letters", order.delivered),
        };
        bar.show((after + 1).saturating_sub(from), (to + 1).saturating_sub(from), &words);
        tokio::time::sleep(LOOK).await;
    }
    bar.end();
    Ok(())
}

fn hint(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Refused>() {
        Some(refused) if refused.status == 429 => error.context("nothing is ordered"),
        _ => error,
    }
}
