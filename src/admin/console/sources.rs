//! `/sources`: who sends, how much, and how much of it is refused.

use actix_web::{HttpResponse, web};
use maud::html;

use super::{layout, parts};
use crate::admin::Admin;

/// All sources.
pub async fn page(admin: web::Data<Admin>) -> HttpResponse {
    let (setup, answers) = (admin.setup.load(), admin.answers());
    let body = html! {
        h1 { "Sources" }
        div.scroll data-live="sources" {
            table {
                thead { tr {
                    th { "Source" } th { "Endpoint" } th { "Provider" } th { "Proof" } th { "Backends" }
                    th.right { "Rate" } th { "Last hour" } th.right { "Accepted" } th.right { "Repeated" } th.right { "Refused" } th.right { "Share" }
                } }
                tbody { @for source in &setup.sources {
                    @let answers = answers.get(&source.name).cloned().unwrap_or_default();
                    @let rate = admin.history.rate(&format!("ok:{}", source.name));
                    @let all = answers.successes() + answers.refusals();
                    tr {
                        td { a href=(format!("/events?source={}", source.name)) { (source.name) } }
                        td.mono { (source.path) }
                        td { (source.provider) }
                        td { @if source.verification == "none" { span.pill.warn { "none" } } @else { (source.verification) } }
                        td { @for backend in &source.backends { span.chip { (backend) } } @if source.backends.is_empty() { span.quiet { "journal only" } } }
                        td.right data-label="now" { (parts::figure(parts::last(&rate))) "/s" }
                        td.drawn { (parts::picture(&rate, "accepted a second")) }
                        td.right data-label="accepted" { (parts::number(answers.accepted)) }
                        td.right data-label="repeated" { (parts::number(answers.repeated)) }
                        td.right data-label="refused" {
                            @if answers.refusals() > 0 {
                                a href=(format!("/refused?source={}", source.name))
                                    title=(answers.refused.iter().map(|(code, count)| format!("{code} {count}")).collect::<Vec<_>>().join(", ")) {
                                    (parts::number(answers.refusals()))
                                }
                            } @else { "0" }
                        }
                        td.right { (parts::share(answers.refusals(), all)) }
                    }
                } }
            }
            @if let Some(unknown) = answers.get("_unknown").filter(|unknown| unknown.refusals() > 0) {
                p.quiet { (parts::number(unknown.refusals())) " requests came to paths that no source has. " a href="/refused?source=_unknown" { "See which" } }
            }
        }
    };
    layout::page(&admin, "/sources", "Sources", &body)
}
