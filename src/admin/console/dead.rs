//! `/dead-letters`: what backends refused for good; replay or drop, one, several or all.

use actix_web::{HttpRequest, HttpResponse, web};
use maud::{Markup, html};
use url::form_urlencoded;

use super::{go, layout, parts};
use crate::admin::Admin;
use crate::admin::dead::{self as letters, backend, blocking};
use crate::admin::problem::Problem;
use crate::dispatch::dead::{Letter, Page, Query};
use crate::dispatch::{Id, aside};

const PLACE: &str = "/dead-letters";
const LIMIT: usize = 100;

async fn read(admin: &Admin, query: Query) -> Result<Page, Problem> {
    let dead = admin.parts.dead.clone();
    let page = blocking(move || dead.page(&query)).await?;
    page.map_err(|error| Problem::Failed(format!("cannot read the dead letters: {error}")))
}

/// The newest letters.
pub async fn page(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    let pairs: Vec<_> = form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect();
    let get = |wanted: &str| {
        pairs.iter().find(|(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value.as_str())
    };
    let found = async {
        let name = get("backend").map(backend).transpose()?;
        let after = get("after").map(letters::id).transpose()?;
        let query = Query { backend: name, after, newest_first: true, limit: LIMIT, bare: false };
        read(&admin, query).await
    };
    let body = match found.await {
        Err(problem) => return layout::problem(&admin, PLACE, &problem),
        Ok(found) => show(&admin, &found, get("backend").unwrap_or_default(), get("done")),
    };
    layout::page(&admin, PLACE, "Dead letters", &body)
}

/// Replays or drops what the form names.
pub async fn act(form: web::Bytes, admin: web::Data<Admin>) -> HttpResponse {
    let pairs: Vec<_> = form_urlencoded::parse(&form).into_owned().collect();
    let action = pairs.iter().find(|(name, _)| name == "action").map_or("", |(_, value)| value.as_str());
    let done = async {
        let ids = match action {
            "replay-all" | "drop-all" => everything(&admin, &pairs).await?,
            _ => pairs
                .iter()
                .filter(|(name, _)| name == "id")
                .map(|(_, id)| letters::id(id))
                .collect::<Result<Vec<_>, _>>()?,
        };
        let mut count = 0;
        for id in ids {
            let result = match action {
                "replay" | "replay-all" => admin.dispatch.replays().release(&id).await.map_err(Problem::from),
                "drop" | "drop-all" => letters::remove(&admin, id).await,
                _ => Err(Problem::Invalid("the action must be replay or drop".to_owned())),
            };
            match result {
                Ok(()) => count += 1,
                // Somebody else has decided meanwhile.
                Err(Problem::NotFound(_)) => {}
                Err(problem) => return Err(problem),
            }
        }
        Ok::<_, Problem>(count)
    };
    match done.await {
        Ok(count) => go(&format!("{PLACE}?done={count}")),
        Err(problem) => layout::problem(&admin, PLACE, &problem),
    }
}

/// All letters of the form's backend, or of all.
async fn everything(admin: &Admin, pairs: &[(String, String)]) -> Result<Vec<Id>, Problem> {
    let name = pairs.iter().find(|(name, value)| name == "backend" && !value.is_empty());
    let name = name.map(|(_, value)| backend(value)).transpose()?;
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let query = Query { backend: name.clone(), after: after.take(), newest_first: false, limit: 1000, bare: true };
        let page = read(admin, query).await?;
        ids.extend(page.letters.iter().filter_map(|letter| letter.id().ok()));
        after = page.next;
        if after.is_none() {
            return Ok(ids);
        }
    }
}

fn show(admin: &Admin, found: &Page, chosen: &str, done: Option<&str>) -> Markup {
    let now_ms = admin.journal.now_ms();
    html! {
        h1 { "Dead letters" }
        p.lead { "Events that a backend can never take as they are, and under “schema” those that do not meet their source's. Once the cause is mended, replay them; the others travel on." }
        @if let Some(count) = done.and_then(|done| done.parse::<u64>().ok()) {
            p.note.good role="status" { (count) " decided. Replayed letters go once their backend has confirmed them." }
        }
        form.search method="get" action=(PLACE) {
            label { "Backend"
                select name="backend" data-search {
                    option value="" { "all" }
                    @for name in admin.dispatch.lanes().iter().map(|lane| lane.name.as_str()).chain([aside::HOLDER]) {
                        option value=(name) selected[name == chosen] { (name) }
                    }
                }
            }
            button.main { "Show" }
        }
        @if found.letters.is_empty() { p.empty { "None." } }
        @else {
            form method="post" action=(PLACE) {
                input type="hidden" name="backend" value=(chosen);
                div.actions {
                    label.inline { input type="checkbox" data-all; " all of this page" }
                    button name="action" value="replay" { "Replay chosen" }
                    button name="action" value="replay-all" { "Replay all" @if !chosen.is_empty() { " of " (chosen) } }
                    details.confirm { summary { "Drop…" }
                        p { "They are removed for ever, and their events with them." }
                        button.danger name="action" value="drop" { "Drop chosen for ever" }
                        button.danger name="action" value="drop-all" { "Drop all" @if !chosen.is_empty() { " of " (chosen) } " for ever" }
                    }
                }
                div.scroll {
                    table {
                        thead { tr { th {} th { "When" } th { "Backend" } th { "Event" } th { "Reason" } th.right { "Attempts" } th { "Type and id" } } }
                        tbody { @for letter in &found.letters { (row(letter, now_ms)) } }
                    }
                }
            }
        }
        @for other in &found.unreadable { p.note.warn { span.mono { (other.file) } ": " (other.detail) } }
        @if let Some(next) = &found.next {
            p.pages { a rel="next" href=(format!("{PLACE}?backend={chosen}&after={next}")) { "Older" } }
        }
    }
}

fn row(letter: &Letter, now_ms: u64) -> Markup {
    let stored = letter.stored().ok();
    html! {
        tr.top {
            td { input type="checkbox" name="id" value=(letter.id) aria-label=(format!("choose {}", letter.id)); }
            td { (parts::clock(letter.time_ms, now_ms)) }
            td { (letter.backend) }
            td { @if let Some(stored) = &stored { (parts::position(stored.sequence)) } }
            td.wide { strong { (letter.reason) } " " (letter.detail) @if letter.replaying == Some(true) { " " span.pill.warn { "on its way again" } } }
            td.right data-label="attempts" { (letter.attempts) }
            td.wide { @if let Some(stored) = &stored { (stored.envelope.kind) br; span.mono.quiet.cut { (stored.envelope.id) } } }
        }
    }
}
