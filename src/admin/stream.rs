//! `GET /v1/events/stream`: accepted events as they come, as server-sent events.

use std::collections::VecDeque;
use std::time::Duration;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use super::Admin;
use super::events::{Query, sequence};
use super::page::{self, Filter};
use super::problem::Problem;
use crate::event::Stored;
use crate::journal::Reader;

/// How often a comment shows that the stream is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events put into one chunk.
const CHUNK: usize = 100;

struct Follow {
    admin: web::Data<Admin>,
    reader: Option<Reader>,
    filter: Filter,
    waiting: VecDeque<Bytes>,
    /// Without the events' data.
    bare: bool,
}

/// Follows events from `Last-Event-ID`, else from `after`, else from now on.
#[utoipa::path(get, path = "/v1/events/stream", tag = "events",
    params(Query, ("Last-Event-ID" = Option<String>, Header, description = "Position behind which to go on.")),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub async fn stream(request: HttpRequest, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request)?;
    let last = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    let after = match (last, query.after.as_deref()) {
        (Some(last), _) => sequence("Last-Event-ID", last)?,
        (None, Some(after)) => sequence("after", after)?,
        (None, None) => *admin.journal.tail().borrow(),
    };
    let (reader, filter) = (Some(admin.journal.reader(after)), query.filter(&admin)?);
    if query.is_newest_first() {
        return Err(Problem::Invalid("a stream reads from the oldest event on".to_owned()));
    }
    // At once: a client knows that it is connected, and from where to resume, before the first event.
    let waiting = VecDeque::from([Bytes::from(format!("id: {after:020}\n\n"))]);
    let follow = Follow { admin, reader, filter, waiting, bare: query.is_bare() };
    let chunks = stream::unfold(follow, |mut follow| async move {
        let chunk = follow.next().await?;
        Some((chunk, follow))
    });
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream").insert_header((CACHE_CONTROL, "no-store"));
    Ok(response.streaming(chunks))
}

impl Follow {
    /// The next bytes; `None` ends the stream.
    async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        if let Some(bytes) = self.waiting.pop_front() {
            return Some(Ok(bytes));
        }
        if self.admin.stopping.is_cancelled() {
            return None;
        }
        let reader = self.reader.take()?;
        let stopping = self.admin.stopping.cancelled();
        match page::wait(reader, &self.filter, CHUNK, HEARTBEAT, stopping).await {
            Ok((reader, events)) => {
                self.reader = Some(reader);
                Some(Ok(chunk(&events, self.bare)))
            }
            Err(problem) => Some(Err(problem)),
        }
    }
}

/// The events, each `id: <sequence>` and `data: <one line>`; a comment if there are none.
fn chunk(events: &[Stored], bare: bool) -> Bytes {
    if events.is_empty() {
        return Bytes::from_static(b": alive\n\n");
    }
    let mut out = Vec::new();
    for stored in events {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(stored.sequence_text().as_bytes());
        out.extend_from_slice(b"\ndata: ");
        if bare {
            stored.write_attributes(&mut out);
        } else {
            stored.write_json_line(&mut out);
        }
        out.extend_from_slice(b"\n\n");
    }
    out.into()
}
