//! `GET /v1/events/{sequence}/deliveries`: where one event is, backend by backend, and how long it took.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::Admin;
use super::dead::blocking;
use super::events::{find, sequence};
use super::problem::Problem;
use super::search::recorded_ms;
use crate::dispatch::{DeadLetters, Id, Status};
use crate::event::Stored;
use crate::event::route::Routes;

/// Where an event is at one backend.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Delivery {
    /// The backend.
    pub backend: String,
    /// What has become of it there.
    #[schema(inline)]
    pub state: State,
    /// Why, in words; empty where the state says all.
    pub detail: String,
    /// From its receipt to the broker's confirmation; known of the latest events since the process started.
    pub seconds: Option<f64>,
}

/// What has become of an event at a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The broker has confirmed it.
    Delivered,
    /// It is kept, and will be published.
    Waiting,
    /// The backend refused it for good.
    DeadLetter,
    /// No route sends it there.
    NotRouted,
}

impl State {
    /// In words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Waiting => "waiting",
            Self::DeadLetter => "dead letter",
            Self::NotRouted => "not routed",
        }
    }
}

/// All backends.
#[derive(Debug, Serialize, ToSchema)]
struct Deliveries {
    deliveries: Vec<Delivery>,
}

/// What tells where events are.
#[derive(Clone)]
pub struct Places {
    lanes: Vec<Arc<Status>>,
    routes: Arc<Routes>,
    dead: DeadLetters,
}

impl Places {
    /// As it is now.
    pub fn of(admin: &Admin) -> Self {
        let parts = &admin.parts;
        Self { lanes: admin.dispatch.lanes().to_vec(), routes: parts.routes.load_full(), dead: parts.dead.clone() }
    }

    /// Where `stored` is, backend by backend. Blocks: dead letters are files.
    pub fn find(&self, stored: &Stored) -> Vec<Delivery> {
        self.lanes.iter().map(|lane| self.at(lane, stored)).collect()
    }

    fn at(&self, lane: &Status, stored: &Stored) -> Delivery {
        let delivery = |state, detail, seconds| Delivery { backend: lane.name.to_string(), state, detail, seconds };
        if let Some(at_ms) = lane.confirmed_ms(stored.sequence) {
            let took_ms = at_ms.saturating_sub(recorded_ms(stored));
            return delivery(State::Delivered, String::new(), Some(took_ms as f64 / 1000.0));
        }
        if self.dead.count(&lane.name) > 0 {
            match self.dead.get(&Id { number: stored.sequence, backend: lane.name.clone() }) {
                Ok(None) => {}
                Ok(Some(letter)) => {
                    let detail = format!("{}: {} ({} attempts)", letter.reason, letter.detail, letter.attempts);
                    return delivery(State::DeadLetter, detail, None);
                }
                Err(error) => return delivery(State::DeadLetter, error.to_string(), None),
            }
        }
        let event = &stored.envelope;
        if event.set_aside.is_some() || !self.routes.sends(&lane.name, &event.source, &event.provider, &event.kind) {
            return delivery(State::NotRouted, "no route sends it here".to_owned(), None);
        }
        if lane.decided() >= stored.sequence {
            return delivery(State::Delivered, String::new(), None);
        }
        delivery(State::Waiting, waiting(lane), None)
    }
}

/// Events, each with where it is.
///
/// # Errors
/// The look at the dead letters panicked.
pub async fn placed(admin: &Admin, events: Vec<Stored>) -> Result<Vec<(Stored, Vec<Delivery>)>, Problem> {
    let places = Places::of(admin);
    blocking(move || {
        let place = |stored| {
            let deliveries = places.find(&stored);
            (stored, deliveries)
        };
        events.into_iter().map(place).collect()
    })
    .await
}

fn waiting(lane: &Status) -> String {
    match (lane.is_paused(), lane.attempts(), lane.last_error()) {
        (true, ..) => "the backend is paused".to_owned(),
        (false, 0, _) | (false, _, None) => "behind others".to_owned(),
        (false, tries, Some((failure, _))) => format!("{tries} failed tries in a row: {failure}"),
    }
}

/// Where one event is.
#[utoipa::path(get, path = "/v1/events/{sequence}/deliveries", tag = "events",
    params(("sequence" = String, Path, pattern = "^0?[0-9]{1,19}$")), responses((status = 200, body = Deliveries)))]
pub async fn list(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let stored = find(&admin, sequence("sequence", &path)?).await?;
    let places = Places::of(&admin);
    let deliveries = blocking(move || places.find(&stored)).await?;
    Ok(HttpResponse::Ok().json(Deliveries { deliveries }))
}
