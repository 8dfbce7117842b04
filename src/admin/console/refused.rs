//! `/refused`: why requests were refused, so that a wrong secret is found in a minute.

use actix_web::{HttpRequest, HttpResponse, web};
use maud::html;
use url::form_urlencoded;

use super::{layout, parts};
use crate::admin::Admin;
use crate::telemetry::Refused;

const PLACE: &str = "/refused";
const LIMIT: usize = 100;

/// Refused requests, the newest first.
pub async fn page(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    let query = form_urlencoded::parse(request.query_string().as_bytes());
    let source =
        query.into_owned().find(|(name, _)| name == "source").map(|(_, value)| value).filter(|value| !value.is_empty());
    let mut refusals = admin.refusals.list(source.as_deref());
    refusals.truncate(LIMIT);
    let setup = admin.setup.load();
    let chosen = source.unwrap_or_default();
    let (passed, now_ms) = (admin.refusals.passed_over(), admin.journal.now_ms());
    let body = html! {
        h1 { "Refused requests" }
        p.lead { "What the sender was told stands under “told”; what the check saw is for you alone. Kept in memory, a few of each source." }
        form.search method="get" action=(PLACE) {
            label { "Source"
                select name="source" data-search {
                    option value="" { "all" }
                    @for source in setup.sources.iter().map(|source| source.name.as_str()).chain(["_unknown"]) {
                        option value=(source) selected[source == chosen] { (source) }
                    }
                }
            }
            button.main { "Show" }
        }
        div.scroll data-live="refused" {
            @if refusals.is_empty() { p.empty { "Nothing was refused since the start." } }
            @else {
                table {
                    thead { tr { th { "Last" } th { "Source" } th { "Told" } th { "What was seen" } th.right { "Times" } th { "From" } } }
                    tbody { @for refused in &refusals { (row(refused, now_ms)) } }
                }
            }
            @if passed > 0 { p.quiet { (parts::number(passed)) " more were only counted: they came too many at once." } }
        }
    };
    layout::page(&admin, PLACE, "Refused requests", &body)
}

fn row(refused: &Refused, now_ms: u64) -> maud::Markup {
    let class =
        if refused.code.starts_with("signature") || refused.code.starts_with("timestamp") { "bad" } else { "warn" };
    html! {
        tr.top {
            td { (parts::clock(refused.last_ms, now_ms)) }
            td { (refused.source) }
            td { span.pill.(class) { (refused.code) } }
            td.wide { ul.seen { @for remark in &refused.seen { li { (remark) } } } }
            td.right data-label="times" { (parts::number(refused.times)) }
            td.mono.quiet { (refused.client.map(|client| client.to_string()).unwrap_or_default()) }
        }
    }
}
