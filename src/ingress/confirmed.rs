//! Which backends have decided which events, as far as an answer asks for it (`ack = "published"`).
//!
//! The journal tells how far each backend's cursor is; who moves it, the ingress does not know.

use tokio::sync::watch;

use crate::event::BackendName;
use crate::event::route::Routes;

/// The routes, and how far each backend is.
pub struct Confirmed {
    routes: Routes,
    /// Every event up to here is confirmed, a dead letter, or not for this backend.
    decided: Vec<(BackendName, watch::Receiver<u64>)>,
}

impl Confirmed {
    /// What `routes` send where, and for each backend how far it is.
    pub fn new(routes: Routes, decided: Vec<(BackendName, watch::Receiver<u64>)>) -> Self {
        Self { routes, decided }
    }

    /// Whether there are backends, and events of type `kind` from this source go to none of them.
    pub fn goes_nowhere(&self, source: &str, provider: &str, kind: &str) -> bool {
        self.routes.match_none(source, provider, kind)
    }

    /// Waits until every backend that such an event goes to has decided all events up to `sequence`.
    pub async fn by_all(&self, source: &str, provider: &str, kind: &str, sequence: u64) {
        for (backend, decided) in &self.decided {
            if self.routes.sends(backend, source, provider, kind) {
                // The other end is gone only with the journal, whose own error the caller has then.
                let _ = decided.clone().wait_for(|decided| *decided >= sequence).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::event::route::{Match, Route};

    #[test]
    fn an_event_waits_for_the_backends_it_goes_to_and_for_no_other() {
        let [a, b]: [BackendName; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let route = |kind: &str, to: &[&BackendName]| Route {
            matching: Match { kind: Some(kind.to_owned().into()), ..Match::default() },
            to: to.iter().map(|&name| name.clone()).collect(),
        };
        let routes = vec![route("x.both", &[&a, &b]), route("x.one", &[&b])];
        let (of_a, of_b) = (watch::Sender::new(0), watch::Sender::new(0));
        let decided = vec![(a.clone(), of_a.subscribe()), (b.clone(), of_b.subscribe())];
        let confirmed = Confirmed::new(Routes::new(vec![a, b], Vec::new(), routes), decided);
        let done = |kind, sequence| confirmed.by_all("s", "x", kind, sequence).now_or_never().is_some();
        assert!(done("x.none", 5) && confirmed.goes_nowhere("s", "x", "x.none"));
        assert!(!done("x.one", 5) && !done("x.both", 5));
        of_b.send_replace(5);
        assert!(done("x.one", 5) && !done("x.one", 6) && !done("x.both", 5));
        of_a.send_replace(9);
        assert!(done("x.both", 5));
    }
}
