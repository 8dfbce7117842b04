//! Which events go to which backends: `[[routes]]` and the patterns in them.
//!
//! Pure data and functions; names are checked by `config`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::{BackendName, SourceName, schema, units};

/// A pattern: `*` stands for any text, also none; every other character for itself.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(from = "String")]
pub struct Glob(String);

impl Glob {
    /// Whether the whole of `text` fits; at most `pattern` times `text` steps, no recursion.
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The earliest fit leaves the most text for the parts behind it, so it is never wrong.
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Glob {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::str::FromStr for Glob {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[[routes]]`: the events that match go to these backends.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What an event must be; nothing given: every event.
    #[serde(default, rename = "match")]
    pub matching: Match,
    /// The backends, by name.
    #[serde(deserialize_with = "units::list")]
    #[schemars(with = "schema::List<BackendName>")]
    pub to: Vec<BackendName>,
}

/// What an event must be; every part that is given must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Name of the source.
    pub source: Option<Glob>,
    /// Name of the provider.
    pub provider: Option<Glob>,
    /// CloudEvents type.
    #[serde(rename = "type")]
    pub kind: Option<Glob>,
}

impl Match {
    /// Whether an event is meant.
    pub fn fits(&self, source: &str, provider: &str, kind: &str) -> bool {
        let fits = |glob: &Option<Glob>, text| glob.as_ref().is_none_or(|glob| glob.matches(text));
        fits(&self.source, source) && fits(&self.provider, provider) && fits(&self.kind, kind)
    }
}

/// Where events go: the whole rule, made once from the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    backends: Vec<BackendName>,
    /// By the name of the source.
    pinned: HashMap<String, Vec<BackendName>>,
    routes: Vec<Route>,
    awaited: Vec<BackendName>,
    /// Backends that are not configured any more, and the rule that they had last.
    gone: HashMap<BackendName, Arc<Self>>,
}

impl Routes {
    /// - `backends`: every configured backend;
    /// - `pinned`: sources that name their own backends;
    /// - `routes`: the `[[routes]]`, in their order.
    pub fn new(backends: Vec<BackendName>, pinned: Vec<(SourceName, Vec<BackendName>)>, routes: Vec<Route>) -> Self {
        let pinned = pinned.into_iter().map(|(source, own)| (source.to_string(), own)).collect();
        Self { backends, pinned, routes, awaited: Vec::new(), gone: HashMap::new() }
    }

    /// The same, for lanes that run since `before` was the rule: what waits for them is theirs until they start anew.
    ///
    /// - A backend that is not configured any more keeps the rule that it had last: its lane reads on, and what the new one
    ///   does not send there would be passed over for good.
    /// - Events of a source that is not among `sources` any more still go to its own backends, and to no other.
    pub fn after(mut self, before: &Self, sources: &[&SourceName]) -> Self {
        let last = Arc::new(Self { gone: HashMap::new(), ..before.clone() });
        let had = before.backends.iter().map(|name| (name.clone(), last.clone()));
        let gone = before.gone.clone().into_iter().chain(had);
        self.gone = gone.filter(|(name, _)| !self.backends.contains(name)).collect();
        let pinned = before.pinned.iter().filter(|(name, _)| !sources.iter().any(|source| source.as_str() == *name));
        self.pinned.extend(pinned.map(|(name, own)| (name.clone(), own.clone())));
        self
    }

    /// The same, where the senders of `source` are answered once its backends have confirmed the event.
    pub fn awaited_by(mut self, source: &str, provider: &str) -> Self {
        let awaited = self.reachable(source, provider);
        self.awaited.extend(awaited);
        self
    }

    /// Whether senders wait for what `backend` confirms.
    pub fn is_awaited(&self, backend: &BackendName) -> bool {
        self.awaited.contains(backend)
    }

    /// Whether an event goes to `backend`: what a lane asks of each event that it reads.
    ///
    /// A source's own list overrides the routes; all routes apply; without routes every event goes to every backend.
    pub fn sends(&self, backend: &BackendName, source: &str, provider: &str, kind: &str) -> bool {
        if let Some(last) = self.gone.get(backend) {
            return last.sends(backend, source, provider, kind);
        }
        if let Some(own) = self.pinned.get(source) {
            return own.contains(backend);
        }
        if self.routes.is_empty() {
            return self.backends.contains(backend);
        }
        self.routes.iter().any(|route| route.to.contains(backend) && route.matching.fits(source, provider, kind))
    }

    /// Whether there are backends, and an event goes to none of them.
    pub fn match_none(&self, source: &str, provider: &str, kind: &str) -> bool {
        !self.backends.is_empty() && !self.backends.iter().any(|backend| self.sends(backend, source, provider, kind))
    }

    /// The backends that an event goes to, in the configuration's order; none: it is kept in the journal only.
    pub fn destinations(&self, source: &str, provider: &str, kind: &str) -> Vec<BackendName> {
        self.backends.iter().filter(|backend| self.sends(backend, source, provider, kind)).cloned().collect()
    }

    /// Whether events of `source` go to different backends by their type.
    pub fn depends_on_type(&self, source: &str) -> bool {
        !self.pinned.contains_key(source) && self.routes.iter().any(|route| route.matching.kind.is_some())
    }

    /// The backends that events of `source` can reach, whatever their type.
    pub fn reachable(&self, source: &str, provider: &str) -> Vec<BackendName> {
        if self.routes.is_empty() || self.pinned.contains_key(source) {
            return self.destinations(source, provider, "");
        }
        let may = |route: &&Route| Match { kind: None, ..route.matching.clone() }.fits(source, provider, "");
        let routes: Vec<&Route> = self.routes.iter().filter(may).collect();
        self.backends.iter().filter(|backend| routes.iter().any(|route| route.to.contains(backend))).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn glob(pattern: &str, text: &str, fits: bool) {
        assert_eq!(Glob::from(pattern.to_owned()).matches(text), fits, "{pattern} on {text}");
    }

    #[test]
    fn a_star_stands_for_any_text_anywhere() {
        glob("github.push", "github.push", true);
        glob("github.push", "github.pushed", false);
        glob("github.push*", "github.push", true);
        glob("github.push*", "github.push.tag", true);
        glob("*", "", true);
        glob("", "", true);
        glob("", "x", false);
        glob("a*a", "a", false);
        glob("a*a", "aa", true);
        glob("*.paid", "stripe.invoice.paid", true);
        glob("*a*b", "xaxxb", true);
        glob("*ab*ab", "xab", false);
        glob("a**b", "ab", true);
        glob("*é*", "café au lait", true);
    }

    #[test]
    fn a_pattern_of_many_stars_ends_soon() {
        let text = "a".repeat(100_000);
        glob(&"*a".repeat(200), &text, true);
        glob(&format!("{}b", "*a".repeat(200)), &text, false);
    }

    fn name(text: &str) -> BackendName {
        text.parse().unwrap()
    }

    fn routes(routes: &str) -> Routes {
        #[derive(serde::Deserialize)]
        struct File {
            #[serde(default)]
            routes: Vec<Route>,
        }
        let file: File = toml::from_str(routes).unwrap();
        let pinned = vec![("pinned".parse().unwrap(), vec![name("c")])];
        Routes::new(vec![name("a"), name("b"), name("c")], pinned, file.routes)
    }

    const TWO: &str = r#"
        [[routes]]
        match = { source = "github", type = "github.push*" }
        to = ["a"]
        [[routes]]
        match = { provider = "git*" }
        to = ["b", "a"]
    "#;

    #[track_caller]
    fn check(routes: &Routes, source: &str, kind: &str, expected: &[&str]) {
        let names = routes.destinations(source, "github", kind);
        assert_eq!(names.iter().map(BackendName::as_str).collect::<Vec<_>>(), expected, "{source} {kind}");
    }

    #[test]
    fn without_routes_every_event_goes_to_every_backend() {
        check(&routes(""), "github", "github.push", &["a", "b", "c"]);
    }

    #[test]
    fn every_route_that_matches_applies_and_a_backend_gets_an_event_once() {
        check(&routes(TWO), "github", "github.push", &["a", "b"]);
        check(&routes(TWO), "other", "github.push", &["a", "b"]);
        assert!(routes(TWO).destinations("x", "stripe", "stripe.x").is_empty());
    }

    #[test]
    fn a_sources_own_backends_override_the_routes() {
        check(&routes(TWO), "pinned", "github.push", &["c"]);
        check(&routes(""), "pinned", "github.push", &["c"]);
    }

    #[test]
    fn what_a_reload_takes_away_keeps_its_rule_for_what_waits() {
        let [a, b] = ["a", "b"].map(name);
        let source = |text: &str| text.parse::<SourceName>().unwrap();
        let none = || Routes::new(vec![b.clone()], Vec::new(), Vec::new());
        let before = routes(TWO);
        // The source `pinned` goes, the backends `a` and `c` go; then `a` comes back, and the source with other backends.
        let after = none().after(&before, &[]);
        let sends = |routes: &Routes, to: &str, from: &str| routes.sends(&name(to), from, "github", "github.push");
        assert_eq!(["a", "b", "c"].map(|to| sends(&after, to, "pinned")), [false, false, true]);
        assert_eq!(["a", "b", "c"].map(|to| sends(&after, to, "x")), [true, true, false]);
        // Senders wait for what is configured.
        assert_eq!(after.destinations("x", "github", "github.push"), [name("b")]);
        let later = none().after(&after, &[]);
        assert_eq!(["a", "b", "c"].map(|to| sends(&later, to, "pinned")), [false, false, true], "the next reload");
        let own = vec![(source("pinned"), vec![a.clone()])];
        let back = Routes::new(vec![a.clone(), b.clone()], own, Vec::new()).after(&later, &[&source("pinned")]);
        assert_eq!(["a", "b", "c"].map(|to| sends(&back, to, "pinned")), [true, false, true]);
        let free = Routes::new(vec![a, b], Vec::new(), Vec::new()).after(&later, &[&source("pinned")]);
        assert_eq!(["a", "b"].map(|to| sends(&free, to, "pinned")), [true, true]);
    }

    #[test]
    fn senders_wait_for_the_backends_that_their_source_can_reach() {
        let routes = routes(TWO).awaited_by("github", "x").awaited_by("pinned", "x");
        assert_eq!(["a", "b", "c"].map(|backend| routes.is_awaited(&name(backend))), [true, false, true]);
    }

    #[test]
    fn what_a_source_can_reach_does_not_depend_on_the_type() {
        let reachable = routes(TWO).reachable("github", "x");
        assert_eq!(reachable, [name("a")]);
    }
}
