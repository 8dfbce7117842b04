//! `hookferry dead`: events that a backend refused for good, and what becomes of them.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::api::{self, Api, line, one_line, plain, table};
use super::events::described;
use super::remote::{Options, Remote};
use super::{Files, Wrong, note};
use crate::dispatch::Id;

/// Letters asked for at once.
const PAGE: usize = 500;

/// List, show, replay and drop dead letters
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// All dead letters, oldest event first
    List {
        /// Only those of this backend
        #[arg(long, value_name = "NAME")]
        backend: Option<String>,
        /// One JSON object a line, with the event
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Options,
    },
    /// One dead letter with its event
    Show {
        /// Its id, e.g. main-42
        id: Id,
        /// One JSON object on a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Options,
    },
    /// Give events to their backend again; a letter goes once its event is delivered
    Replay(Which),
    /// Remove letters, and with them their events, for ever
    Drop(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Their ids, e.g. main-42
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<Id>,
    /// All of one backend
    #[arg(long, requires = "backend")]
    all: bool,
    /// The backend
    #[arg(long, value_name = "NAME", requires = "all")]
    backend: Option<String>,
    /// One JSON object a line: the id, and what became of the letter
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Options,
}

#[derive(Deserialize)]
struct Page {
    dead_letters: Vec<Box<RawValue>>,
    unreadable: Vec<Unreadable>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Unreadable {
    file: String,
    detail: String,
}

#[derive(Deserialize)]
struct Letter {
    id: String,
    reason: String,
    detail: String,
    attempts: u32,
    time_ms: u64,
    replaying: Option<bool>,
    event: Option<Box<RawValue>>,
}

/// Runs the command.
///
/// # Errors
/// The listener cannot be reached, or refuses.
pub fn run(args: &Args, files: &Files) -> anyhow::Result<ExitCode> {
    api::block(async {
        match &args.what {
            What::List { backend, json, remote } => list(backend.as_deref(), *json, remote.resolve(files)?).await,
            What::Show { id, json, remote } => show(id, *json, remote.resolve(files)?).await,
            What::Replay(which) => each(which, Deed::Replay, files).await,
            What::Drop(which) => each(which, Deed::Drop, files).await,
        }
    })
}

async fn page(api: &mut Api, backend: Option<&str>, after: Option<&str>, events: bool) -> anyhow::Result<Page> {
    let limit = PAGE.to_string();
    let mut query = vec![("limit", limit.as_str()), ("events", if events { "true" } else { "false" })];
    query.extend(backend.map(|backend| ("backend", backend)));
    query.extend(after.map(|after| ("after", after)));
    api.get("/v1/dead-letters", &query).await
}

async fn list(backend: Option<&str>, json: bool, remote: Remote) -> anyhow::Result<ExitCode> {
    let mut api = Api::new(remote)?;
    let mut after = None;
    let mut is_first = true;
    loop {
        let page = page(&mut api, backend, after.as_deref(), json).await?;
        report(&page.unreadable);
        let text = match json {
            true => page.dead_letters.iter().map(|letter| one_line(letter.get())).collect::<Vec<_>>().join("\n"),
            false => rows(&page.dead_letters, is_first)?,
        };
        if !page.dead_letters.is_empty() {
            is_first = false;
            if line(&text)?.is_break() {
                break;
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn report(unreadable: &[Unreadable]) {
    for found in unreadable {
        note(&format!("dead: {} is no letter: {}", plain(&found.file), plain(&found.detail)));
    }
}

fn rows(letters: &[Box<RawValue>], with_head: bool) -> anyhow::Result<String> {
    let row = |letter: &RawValue| {
        let letter: Letter = serde_json::from_str(letter.get())?;
        let state = if letter.replaying == Some(true) { "replaying" } else { "waiting" };
        let (attempts, time) = (letter.attempts.to_string(), time(letter.time_ms));
        Ok([letter.id, time, attempts, state.to_owned(), letter.reason, plain(&letter.detail)])
    };
    let rows = letters.iter().map(|letter| row(letter)).collect::<anyhow::Result<Vec<_>>>()?;
    let text = table(["ID", "SINCE", "ATTEMPTS", "STATE", "REASON", "DETAIL"], &rows);
    Ok(if with_head { text } else { text.split_once('\n').map_or(String::new(), |(_, rows)| rows.to_owned()) })
}

fn time(time_ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp((time_ms / 1000).try_into().unwrap_or(i64::MAX));
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| time_ms.to_string())
}

async fn show(id: &Id, json: bool, remote: Remote) -> anyhow::Result<ExitCode> {
    let raw: Box<RawValue> = Api::new(remote)?.get(&format!("/v1/dead-letters/{id}"), &[]).await?;
    if json {
        line(&one_line(raw.get()))?.is_break();
        return Ok(ExitCode::SUCCESS);
    }
    let letter: Letter = serde_json::from_str(raw.get())?;
    let mut text = format!(
        "dead letter      {}\nrefused          {}: {}\nattempts         {}\nsince            {}\nreplaying        {}\n",
        letter.id,
        letter.reason,
        plain(&letter.detail),
        letter.attempts,
        time(letter.time_ms),
        if letter.replaying == Some(true) { "yes" } else { "no" },
    );
    if let Some(event) = &letter.event {
        text.push('\n');
        text.push_str(&described(event)?);
    }
    line(&text)?.is_break();
    Ok(ExitCode::SUCCESS)
}

/// What is done to letters.
#[derive(Clone, Copy)]
enum Deed {
    Replay,
    Drop,
}

impl Deed {
    fn told(self, id: &Id, json: bool) -> String {
        let (status, words) = match self {
            Self::Replay => ("replaying", "goes to its backend again"),
            Self::Drop => ("dropped", "is dropped"),
        };
        if json { json!({"id": id.to_string(), "status": status}).to_string() } else { format!("{id} {words}") }
    }
}

/// Does one thing to each letter; those that fail are told, and the others done.
async fn each(which: &Which, deed: Deed, files: &Files) -> anyhow::Result<ExitCode> {
    let mut api = Api::new(which.remote.resolve(files)?)?;
    let mut good = true;
    let (mut ids, mut after) = (which.ids.clone(), None);
    loop {
        if which.all {
            let backend = which.backend.as_deref();
            let page = page(&mut api, backend, after.as_deref(), false).await?;
            report(&page.unreadable);
            good &= page.unreadable.is_empty();
            let id = |letter: &RawValue| Ok(serde_json::from_str::<Letter>(letter.get())?.id.parse()?);
            ids = page.dead_letters.iter().map(|letter| id(letter)).collect::<anyhow::Result<_>>()?;
            after = page.next;
        }
        for id in ids.drain(..) {
            let path = format!("/v1/dead-letters/{id}");
            let result = match deed {
                Deed::Replay => api.post::<Value>(&format!("{path}/replay"), &Value::Null).await.map(drop),
                Deed::Drop => api.delete(&path).await,
            };
            match result {
                Ok(()) => {
                    // What was asked for is done whether or not somebody reads of it.
                    line(&deed.told(&id, which.json))?.is_break();
                }
                Err(error) if error.is::<api::Refused>() => {
                    note(&format!("dead: {id}: {error}"));
                    good = false;
                }
                Err(error) => return Err(error),
            }
        }
        if after.is_none() {
            break;
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An id on the command line.
impl clap::builder::ValueParserFactory for Id {
    type Parser = clap::builder::ValueParser;
    fn value_parser() -> Self::Parser {
        clap::builder::ValueParser::new(|text: &str| text.parse::<Id>().map_err(|error| Wrong(error.to_string())))
    }
}
