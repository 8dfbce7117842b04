//! What varies by provider: a [`Provider`] is the whole contract with one sender, read from `providers/<name>.toml`.
//!
//! Reading order: [`Contract`] (the file), [`Provider`] (compiled), then `value` (where ids and types stand),
//! `extract` (reading them from a request), `handshake` (challenges), `sample` (a request as that sender writes it).
//!
//! Invariants
//! - A file is parsed only when its provider is asked for; a test compiles them all and runs their examples.
//! - One pass over the body serves all rules of a source.
//! - What a sender writes stays data: it never chooses a status or a content type.
//!
//! Knows nothing of HTTP servers, the journal or configuration files.

mod contract;
#[cfg(test)]
mod examples;
mod extract;
mod files;
mod handshake;
mod own;
mod prove;
mod read;
mod sample;
pub mod settings;
mod value;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::event::{Options, Secret};
use crate::verify::{Rule, RuleError, Spec};

pub use contract::{
    Contract, EventSpec, Example, Expect, HandshakeSpec, RememberSpec, ReplySpec, Sample, VisitSpec, When,
};
pub use extract::Extracted;
pub use handshake::{Effect, Reply, not_in_path};
pub use own::Catalogue;
pub use prove::Unmet;
pub use value::{BadValue, Value};

/// Why there is no such provider, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// No file has this name.
    #[error("provider `{name}` is not in the catalogue{}", closest(near.as_deref()))]
    Unknown { name: String, near: Option<String> },
    /// The text is not TOML, or has keys that no contract has.
    #[error("provider `{name}` cannot be read: {problem}")]
    Unreadable { name: String, problem: String },
    /// A value of the contract cannot be.
    #[error("provider `{name}`: {error}")]
    Invalid { name: String, error: ContractError },
}

fn closest(near: Option<&str>) -> String {
    near.map_or(String::new(), |near| format!(", but `{near}` is"))
}

/// What is wrong with a contract.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// In the table `[verify]`.
    #[error("in [verify], {0}")]
    Verify(#[from] RuleError),
    /// In another table; the key is written `handshake[0].reply`.
    #[error("`{key}` {problem}")]
    Key { key: String, problem: String },
}

impl ContractError {
    fn key(key: &str, problem: impl Into<String>) -> Self {
        Self::Key { key: key.to_owned(), problem: problem.into() }
    }

    /// The same mistake, in the `n`-th handshake.
    fn in_handshake(self, n: usize) -> Self {
        match self {
            Self::Key { key, problem } => {
                let inside = key.strip_prefix("handshake").map_or_else(|| format!(".{key}"), str::to_owned);
                Self::Key { key: format!("handshake[{n}]{inside}"), problem }
            }
            other => other,
        }
    }

    /// The key, from the top of the contract.
    pub fn place(&self) -> String {
        match self {
            Self::Verify(error) => format!("verify.{}", error.key),
            Self::Key { key, .. } => key.clone(),
        }
    }

    /// What is wrong, to be read after the key.
    pub fn problem(&self) -> &str {
        match self {
            Self::Verify(RuleError { problem, .. }) | Self::Key { problem, .. } => problem,
        }
    }
}

/// One sender's contract, compiled for one source.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Prefix of its event types: the name of its file, or of the source where the contract stands there.
    pub id: String,
    /// The contract as it is written.
    pub contract: Contract,
    /// How its requests are proven.
    pub rule: Rule,
    /// Whether the event id alone tells one event from another: the signature covers it, and it names one event rather
    /// than an object, or the first item of a list. Where not, whoever holds one valid body could mark other ids as
    /// seen, or a later event would pass for the first, so the key of a duplicate holds the body's hash as well.
    pub id_signed: bool,
    /// Names of the options that are of use.
    used: BTreeSet<String>,
    plan: extract::Plan,
    handshakes: Vec<handshake::Handshake>,
    own: handshake::Own,
}

/// All names of the catalogue, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    files::FILES.iter().map(|(name, _)| *name)
}

/// Reads and compiles the provider `name` of the embedded catalogue.
///
/// # Errors
/// [`CatalogueError::Unknown`], with the most similar name where one is similar.
pub fn provider(name: &str) -> Result<Provider, CatalogueError> {
    match files::FILES.binary_search_by_key(&name, |(name, _)| *name) {
        Ok(at) => Provider::from_toml(name, files::FILES[at].1),
        Err(_) => Err(CatalogueError::Unknown { name: name.to_owned(), near: files::near(name, std::iter::empty()) }),
    }
}

impl Provider {
    /// Reads the text of a provider file.
    ///
    /// # Errors
    /// [`CatalogueError::Unreadable`] or [`CatalogueError::Invalid`], with the name and the key.
    pub fn from_toml(id: &str, text: &str) -> Result<Self, CatalogueError> {
        let unreadable =
            |e: toml::de::Error| CatalogueError::Unreadable { name: id.to_owned(), problem: e.to_string() };
        let contract = toml::from_str(text).map_err(unreadable)?;
        Self::new(id, contract).map_err(|error| CatalogueError::Invalid { name: id.to_owned(), error })
    }

    /// The provider of a source that brings its own `[verify]` and `[event]` tables; `id` is the source's name.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn custom(id: &str, verify: Spec, event: EventSpec) -> Result<Self, ContractError> {
        Self::new(id, Contract::inline(verify, event))
    }

    /// Compiles a contract.
    ///
    /// # Errors
    /// The first key that cannot be, and why.
    pub fn new(id: &str, contract: Contract) -> Result<Self, ContractError> {
        contract.validate()?;
        let rule = Rule::new(contract.verify.clone())?;
        let covered = covers(&rule, &contract.event.id);
        if contract.event.id_signed == Some(true) && !covered {
            return Err(ContractError::key("event.id_signed", "is true, but the signature does not cover the id"));
        }
        // The id of a list's first item says nothing of the others, which a redelivery may bring in other company.
        let of_all = !contract.event.id.iter().any(Value::is_in_list);
        let id_signed = contract.event.id_signed.unwrap_or(covered && of_all);
        let plan = extract::Plan::new(&contract.event, &[])?;
        let handshakes = contract
            .handshake
            .iter()
            .enumerate()
            .map(|(n, spec)| handshake::Handshake::new(spec, &contract).map_err(|error| error.in_handshake(n)));
        let handshakes = handshakes.collect::<Result<Vec<_>, _>>()?;
        let used =
            rule.options().into_iter().chain(handshakes.iter().flat_map(handshake::Handshake::options)).collect();
        contract.has_use_for(&used)?;
        let rule = handshakes.iter().filter_map(handshake::Handshake::signs).fold(rule, Rule::without);
        Ok(Self {
            id: id.to_owned(),
            contract,
            rule,
            id_signed,
            used,
            plan,
            handshakes,
            own: handshake::Own::default(),
        })
    }

    /// Whether the signature covers the event id.
    pub fn covers_id(&self) -> bool {
        covers(&self.rule, &self.contract.event.id)
    }

    /// Whether keys that were fetched for `other` are those that this one would fetch.
    pub fn fetches_as(&self, other: &Self) -> bool {
        self.contract.verify == other.contract.verify && self.own.options == other.own.options
    }

    /// The same provider with another replay window.
    ///
    /// # Errors
    /// The scheme carries no time.
    pub fn with_tolerance(mut self, tolerance: Duration) -> Result<Self, RuleError> {
        self.rule = self.rule.with_tolerance(tolerance)?;
        Ok(self)
    }

    /// The same provider, which answers challenges with these secrets (newest first) and options.
    ///
    /// # Errors
    /// An option that this provider does not know.
    pub fn with_own(mut self, secrets: &[Secret], options: Options) -> Result<Self, ContractError> {
        // A source that brings its own contract declares nothing: what it makes use of is all there is.
        let known: Vec<&str> = match self.contract.inline {
            true => self.used.iter().map(String::as_str).collect(),
            false => self.contract.options.keys().map(String::as_str).collect(),
        };
        if let Some((name, _)) = options.iter().find(|(name, _)| !known.contains(name)) {
            let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            return Err(ContractError::key("options", format!("has no `{name}` for this provider ({known})")));
        }
        self.rule = self.rule.with_options(&options)?;
        self.own = handshake::Own { secrets: secrets.to_vec(), options };
        Ok(self)
    }

    /// The same provider, which also reads a partition key: the first of `values` that is there.
    ///
    /// # Errors
    /// A pointer that is none.
    pub fn with_partition_key(mut self, values: &[Value]) -> Result<Self, ContractError> {
        self.plan = extract::Plan::new(&self.contract.event, values)?;
        Ok(self)
    }
}

/// Whether the signature of `rule` covers every place in `values`.
fn covers(rule: &Rule, values: &[Value]) -> bool {
    values.iter().all(|value| match value {
        Value::Text(_) => true,
        Value::If(_, place) => covers(rule, std::slice::from_ref(place)),
        Value::Joined(values) => covers(rule, values),
        // A token in the body is the only thing there that is believed.
        Value::Jwt(_) => true,
        Value::BodyJwt(..) => matches!(rule.signature_pointer(), Some(pointer) if value.is_within(pointer)),
        Value::Body(pointer) => rule.covers_body() || rule.covered_pointers().contains(&pointer.as_str()),
        Value::Form { field, pointer } => {
            let mut covered = rule.covered_form_fields().into_iter();
            // A signed part of a field vouches for that part alone.
            rule.covers_form()
                || covered.any(|(name, part)| name == field && (part.is_none() || part == pointer.as_deref()))
        }
        Value::Header(name) => rule.covered_headers().contains(&name.as_str()),
        Value::Query(name) => rule.covered_queries().contains(&name.as_str()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "kind = 'hmac'\nencoding = 'hex'\nmessage = '{body}'\nsignature = { header = 's' }";
    const ID: &str = "kind = 'hmac'\nencoding = 'hex'\nmessage = '{header:x-id}.{body}'\nsignature = { header = 's' }";
    const TOKEN: &str = "kind = 'token'\ntoken = { header = 's' }";

    fn custom(verify: &str, event: &str) -> Result<Provider, ContractError> {
        Provider::custom("shop", toml::from_str(verify).unwrap(), toml::from_str(event).unwrap())
    }

    #[track_caller]
    fn id_signed(verify: &str, id: &str, expected: bool) {
        assert_eq!(custom(verify, &format!("id = {id}")).unwrap().id_signed, expected, "{id} under {verify}");
    }

    #[test]
    fn an_id_counts_as_signed_only_where_the_signature_covers_it() {
        id_signed(BODY, "'body:/id'", true);
        id_signed(BODY, "'header:x-id'", false);
        id_signed(ID, "'header:X-Id'", true);
        id_signed(ID, "['header:x-id', 'header:x-other']", false);
        id_signed(TOKEN, "'body:/id'", false);
        assert!(custom(BODY, "id = 'header:x-id'\nid_signed = true").is_err());
        assert!(!custom(BODY, "id = 'body:/id'\nid_signed = false").unwrap().id_signed);
    }

    #[test]
    fn a_signed_part_of_a_form_field_vouches_for_no_other_part() {
        const PART: &str =
            "kind = 'hmac'\nencoding = 'hex'\nmessage = '{form:json:/event/time}'\nsignature = { form = 's' }";
        id_signed(PART, "'form:json:/event/time'", true);
        id_signed(PART, "'form:json:/event/id'", false);
        id_signed(PART, "'form:json'", false);
        let whole = PART.replace("{form:json:/event/time}", "{form:json}");
        id_signed(&whole, "'form:json:/event/id'", true);
        id_signed(&whole, "'form:json'", true);
    }

    #[test]
    fn the_id_of_the_first_of_a_list_stands_for_none_of_the_others() {
        id_signed(BODY, "'body:/0/id'", false);
        id_signed(BODY, "'{body:/kind}.{body:/events/0/id}'", false);
        id_signed(BODY, "['body:/id', 'body:/events/0/id']", false);
        id_signed(BODY, "'x if body:/events/0/id'", false);
        id_signed(BODY, "'form:json:/0/id'", false);
        id_signed(BODY, "'body:/v1/id'", true);
        id_signed(BODY, "'form:json:/id'", true);
    }

    #[test]
    fn what_names_an_object_or_the_first_of_a_batch_is_not_taken_for_the_id_of_one_event() {
        for name in [
            "clickup",
            "close",
            "dropbox-sign",
            "fastspring",
            "hubspot",
            "kiwify",
            "line",
            "mailersend",
            "mandrill",
            "microsoft-teams",
            "mongodb-atlas",
            "netlify",
            "sendgrid",
            "sonarcloud",
            "travis-ci",
            "viber",
        ] {
            assert!(!provider(name).unwrap().id_signed, "{name}");
        }
        for name in ["stripe", "slack", "twitch", "gocardless", "aws-sns", "standard-webhooks", "apple-app-store"] {
            assert!(provider(name).unwrap().id_signed, "{name}");
        }
    }

    #[test]
    fn an_unknown_provider_is_refused_with_the_nearest_name() {
        let error = provider("gitlub").unwrap_err().to_string();
        assert_eq!(error, "provider `gitlub` is not in the catalogue, but `gitlab` is");
        assert_eq!(provider("").unwrap_err().to_string(), "provider `` is not in the catalogue");
    }

    #[test]
    fn a_contract_that_cannot_be_kept_is_refused_with_its_key() {
        let problem = |keys: &str| {
            let text = format!("title = 'X'\n{keys}\n[verify]\n{TOKEN}");
            Provider::from_toml("x", &text).unwrap_err().to_string()
        };
        for (keys, key) in [
            ("success_status = 302", "success_status"),
            ("busy_status = 410", "busy_status"),
            ("methods = ['post']", "methods"),
            ("timout = '5s'", "timout"),
            ("timeout = '5 parsecs'", "timeout"),
            ("event = { id = 'cookie:a' }", "cookie:a"),
        ] {
            assert!(problem(keys).contains(key), "{}", problem(keys));
        }
    }

    #[test]
    fn an_option_that_nothing_uses_is_refused_wherever_it_is_said() {
        let file = |options: &str| {
            let handshake = "when = { method = 'GET', query = { t = '{option:word}' } }\nsigned = false\n\
                             reply = { status = 200, content_type = 'text/plain', body = '{option:key}' }";
            let text = format!("title = 'X'\n{options}\n[verify]\n{TOKEN}\n[[handshake]]\n{handshake}");
            Provider::from_toml("x", &text)
        };
        let declared = "options = { word = 'a word', key = 'a key' }";
        let set = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "v".to_owned())).collect::<Options>();
        let provider = file(declared).unwrap();
        assert!(provider.clone().with_own(&[], set(&["word", "key"])).is_ok());
        let error = provider.with_own(&[], set(&["wrd"])).unwrap_err().to_string();
        assert_eq!(error, "`options` has no `wrd` for this provider (key, word)");
        let error = file("options = { word = 'a word', key = 'a key', hosts = 'some' }").unwrap_err().to_string();
        assert!(error.contains("`options` declares `hosts`, which nothing in it uses"), "{error}");
        // What a source describes itself has no list of its own.
        let message = BODY.replace("{body}", "{option:id}.{body}");
        let inline = custom(&message, "").unwrap();
        assert!(inline.clone().with_own(&[], set(&["id"])).is_ok());
        let error = inline.with_own(&[], set(&["id", "ids"])).unwrap_err().to_string();
        assert_eq!(error, "`options` has no `ids` for this provider (id)");
        let error = custom(BODY, "").unwrap().with_own(&[], set(&["jwks"])).unwrap_err().to_string();
        assert_eq!(error, "`options` has no `jwks` for this provider (there are none)");
    }

    #[test]
    fn a_source_may_narrow_the_window_where_the_scheme_has_one() {
        let second = Duration::from_secs(1);
        assert_eq!(provider("stripe").unwrap().with_tolerance(second).unwrap().rule.tolerance_s(), Some(1));
        assert!(provider("github").unwrap().with_tolerance(second).is_err());
    }
}
