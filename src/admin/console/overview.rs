//! `/`: is all well, and if not, where.

use actix_web::{HttpResponse, web};
use maud::{Markup, html};

use super::{backends, layout, parts};
use crate::admin::health::{journal, readiness};
use crate::admin::page::Filter;
use crate::admin::{Admin, deliveries, events};

/// Events that are shown.
const EVENTS: usize = 20;

/// The first page.
pub async fn page(admin: web::Data<Admin>) -> HttpResponse {
    let read = async {
        let found = events::newest(&admin, None, Filter::default(), EVENTS).await?;
        deliveries::placed(&admin, found.events).await
    };
    let placed = match read.await {
        Ok(placed) => placed,
        Err(problem) => return layout::problem(&admin, "/", &problem),
    };
    let now_ms = admin.journal.now_ms();
    let last = placed.first().map_or(0, |(stored, _)| stored.sequence);
    let body = html! {
        h1.hidden { "Overview" }
        div data-live="news" { (news(&admin)) }
        div.tiles data-live="tiles" { (tiles(&admin)) }
        section {
            h2 { "Backends" a.more href="/backends" { "pause, errors" } }
            div data-live="backends" { (backends::table(&admin, false)) }
        }
        section {
            h2 { "Latest events" a.more href="/events" { "search" } button.quiet.follow hidden data-follow { "Pause" } }
            div.scroll data-live="events" data-stream=(last) {
                table.events {
                    thead { (parts::event_heads()) }
                    tbody { @for (stored, deliveries) in &placed { (parts::event_row(stored, deliveries, now_ms)) } }
                }
                @if placed.is_empty() {
                    p.empty { "No event yet. Try " code { "hookferry send demo" } ", or see what was " a href="/refused" { "refused" } "." }
                }
            }
        }
    };
    layout::page(&admin, "/", "Overview", &body)
}

/// What an operator must know first, a sentence each.
fn news(admin: &Admin) -> Markup {
    let ready = readiness(admin);
    let dead = layout::dead_letters(admin);
    let refused = parts::last(&admin.history.rate("refused")).unwrap_or(0.0);
    let configuration = admin.configuration.load();
    let is_well = ready.reasons.is_empty() && ready.degraded.is_empty() && dead == 0;
    html! {
        ul.news {
            @for reason in &ready.reasons { li.bad { strong { "No event is taken: " } (reason) ". Senders are told to try again." } }
            @for reason in &ready.degraded { li.warn { (reason) "; its events wait in the journal. " a href="/backends" { "See why" } } }
            @for lane in admin.dispatch.lanes().iter().filter(|lane| lane.is_paused()) {
                li.warn { "backend " (lane.name) " is paused by an operator. " a href="/backends" { "Resume" } }
            }
            @if let Some(reload) = configuration.last_reload.as_ref().filter(|reload| !reload.successful) {
                li.bad { strong { "The last reload was refused; the configuration before it is in force. " } (reload.errors.join("; ")) }
            }
            @if !configuration.needs_restart.is_empty() { li.warn { "Changed in the files, taken up at the next start: " (configuration.needs_restart.join(", ")) } }
            @if dead > 0 { li.warn { (dead) " dead letter(s) wait for a decision. " a href="/dead-letters" { "Decide" } } }
            @if refused > 0.0 { li { "Requests are being refused. " a href="/refused" { "See what the check saw" } } }
            @if is_well { li.good { "Events are taken, and nothing waits for you." } }
        }
    }
}

fn tiles(admin: &Admin) -> Markup {
    let history = &admin.history;
    let (ok, refused) = (history.rate("ok"), history.rate("refused"));
    let (ack, sync) = (history.mean("ack_sum", "ack_count"), history.mean("sync_sum", "sync_count"));
    let (backlog, bytes) = (history.values("backlog"), history.values("bytes"));
    let (tail, now_ms) = (*admin.journal.tail().borrow(), admin.journal.now_ms());
    let lanes = admin.dispatch.lanes();
    let waiting: u64 = lanes.iter().map(|lane| lane.backlog(tail)).sum();
    let oldest_s = lanes.iter().map(|lane| lane.age_ms(tail, now_ms)).max().unwrap_or(0) / 1000;
    let totals = admin.answers();
    let (taken, turned) = totals
        .values()
        .fold((0, 0), |(taken, turned), answers| (taken + answers.successes(), turned + answers.refusals()));
    let journal = journal(admin);
    html! {
        (tile("Accepted", &parts::figure(parts::last(&ok)), "/s", &format!("{} since the start", parts::number(taken)), &ok, ""))
        (tile("Refused", &parts::figure(parts::last(&refused)), "/s", &format!("{} of all requests", parts::share(turned, taken + turned)), &refused, "bad"))
        (tile("Time to answer", &parts::millis(latest(&ack)), "", "mean of 10 s", &ack, ""))
        (tile("Waiting", &parts::number(waiting), "", &if waiting > 0 { format!("oldest {}", parts::span(oldest_s)) } else { "nothing waits".to_owned() }, &backlog, "warn"))
        (tile("Journal", &parts::size(journal.bytes), "", journal.state, &bytes, ""))
        (tile("Sync to disk", &parts::millis(latest(&sync)), "", "mean of 10 s", &sync, ""))
    }
}

/// The last value that there is: while nothing comes, nothing is measured.
fn latest(values: &[Option<f64>]) -> Option<f64> {
    values.iter().rev().copied().flatten().next()
}

fn tile(name: &str, value: &str, unit: &str, note: &str, values: &[Option<f64>], class: &str) -> Markup {
    html! {
        div.tile.(if class.is_empty() { "plain" } else { class }) {
            h3 { (name) }
            p.value { (value) @if !unit.is_empty() && value != "–" { span.unit { (unit) } } }
            p.quiet { (note) }
            (parts::picture(values, name))
        }
    }
}
