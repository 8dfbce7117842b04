//! `[sources.<name>]`: a provider, its keys, and limits, resolved from what the section says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use config::Value;

use super::mistake::did_you_mean;
use super::secrets::resolve;
use super::section::{Collector, decode};
use super::{DEMO, Vars};
use crate::catalogue::{self, CatalogueError, ContractError, Provider};
use crate::event::{Secret, SecretRef, SourceName};
use crate::ingress::schema::{Schema, Schemas};
use crate::ingress::settings;
use crate::verify::{KeyError, Keys, RuleError, Spec};

/// `provider` of a source that brings its own contract.
const CUSTOM: &str = "custom";
/// `provider` of a source that proves nothing.
const NONE: &str = "none";

/// A source that checks.
#[derive(Debug)]
pub struct Source {
    /// Name of the section.
    pub name: SourceName,
    /// Path of the endpoint, unique.
    pub path: String,
    /// The sender's contract, with this source's tolerance and partition key.
    pub provider: Provider,
    /// Newest first; empty where the provider takes none, and for the demo source that waits for its secret.
    pub secrets: Vec<Secret>,
    /// What its bodies must be.
    pub schemas: Arc<Schemas>,
    /// All else, as the section has it.
    pub settings: settings::Source,
}

impl Source {
    /// The secrets as keys of the provider's rule.
    ///
    /// # Errors
    /// Only where [`Source::secrets`] was changed after loading.
    pub fn keys(&self) -> Result<Keys, KeyError> {
        self.provider.rule.keys(&self.secrets)
    }
}

/// Reads one source, its provider and its secrets; `None` where they cannot be read.
pub fn source(collect: &mut Collector, name: SourceName, value: Value, vars: &Vars, no_file: bool) -> Option<Source> {
    let before = collect.mistakes.len();
    let mut settings: settings::Source = collect.section(&["sources", name.as_str()], value, decode)?;
    for pattern in &mut settings.headers {
        *pattern = pattern.as_str().to_ascii_lowercase().into();
    }
    let clean = collect.mistakes.len() == before;
    let mut reading = Reading { collect, name: name.as_str(), settings: &settings };
    reading.own();
    let schemas = Arc::new(reading.schemas());
    let mut secrets = reading.secrets(vars);
    let options = reading.options(vars);
    let provider = reading.provider()?;
    if let (Some(jwks), true) = (options.get("jwks"), provider.rule.wants_public_keys()) {
        reading.jwks(jwks, secrets.as_mut());
    }
    let provider = reading.own_values(provider, secrets.as_deref().unwrap_or_default(), options)?;
    if clean && let Some(secrets) = &secrets {
        let waits = no_file && name.as_str() == DEMO && secrets.is_empty();
        if !waits {
            reading.keys(&provider, secrets);
        }
    }
    let path = settings.path.clone().unwrap_or_else(|| format!("/webhooks/{name}"));
    Some(Source { name, path, provider, secrets: secrets.unwrap_or_default(), schemas, settings })
}

struct Reading<'a, 'b> {
    collect: &'a mut Collector<'b>,
    name: &'a str,
    settings: &'a settings::Source,
}

impl Reading<'_, '_> {
    fn mistake(&mut self, key: &str, what: impl Into<String>) {
        self.collect.mistake(&["sources", self.name, key], what);
    }

    /// Checks the keys that need no other section.
    fn own(&mut self) {
        let settings = self.settings;
        if settings.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            self.mistake("path", "must begin with `/`");
        }
        if settings.path.as_ref().is_some_and(|path| path.contains(not_in_path)) {
            self.mistake("path", "must not hold white space, `?`, `#`, `{` or `}`");
        }
        if settings.max_body == Some(0) {
            self.mistake("max_body", "must be more than zero");
        }
        if settings.success_status.is_some_and(|status| !(200..300).contains(&status)) {
            self.mistake("success_status", "must be 200 to 299");
        }
        // 410 makes senders switch the endpoint off.
        if settings.busy_status.is_some_and(|status| !(400..600).contains(&status) || status == 410) {
            self.mistake("busy_status", "must be 400 to 599, other than 410");
        }
        if settings.headers.iter().any(|pattern| pattern.as_str().contains(not_in_header)) {
            self.mistake("headers", "must be names of headers, in which `*` stands for any text");
        }
        if settings.public_url.as_deref().is_some_and(|url| !is_http_url(url)) {
            self.mistake("public_url", "must be a URL that begins with https:// or http://");
        }
    }

    /// The schemas, compiled.
    fn schemas(&mut self) -> Schemas {
        let settings = self.settings;
        if settings.on_invalid.is_some() && settings.schema.is_none() && settings.schemas.is_empty() {
            self.mistake("on_invalid", "stands only beside `schema` or `schemas`");
        }
        let all = settings.schema.as_ref().and_then(|reference| match Schema::load(reference) {
            Ok(schema) => Some(schema),
            Err(what) => {
                self.mistake("schema", what);
                None
            }
        });
        let mut by_type = Vec::new();
        for (kind, reference) in &settings.schemas {
            match Schema::load(reference) {
                Ok(schema) => by_type.push((kind.clone().into(), schema)),
                Err(what) => self.collect.mistake(&["sources", self.name, "schemas", kind], what),
            }
        }
        Schemas { all, by_type, on_invalid: settings.on_invalid.unwrap_or_default() }
    }

    /// All secrets, or public keys in their place; `None` where one cannot be read.
    fn secrets(&mut self, vars: &Vars) -> Option<Vec<Secret>> {
        let settings = self.settings;
        let mut secrets = Vec::new();
        let all = [("secrets", &settings.secrets), ("public_keys", &settings.public_keys)];
        for (key, references) in all {
            for (n, reference) in references.iter().enumerate() {
                match resolve(reference, vars) {
                    Ok(secret) => secrets.push(secret),
                    Err(what) => {
                        self.collect.mistake(&["sources", self.name, key, &n.to_string()], what);
                    }
                }
            }
        }
        (secrets.len() == settings.secrets.len() + settings.public_keys.len()).then_some(secrets)
    }

    /// The options; those that are written as references are resolved.
    fn options(&mut self, vars: &Vars) -> BTreeMap<String, String> {
        let mut options = BTreeMap::new();
        for (name, text) in &self.settings.options {
            let value = match text.parse::<SecretRef>() {
                Err(_) => Ok(text.clone()),
                Ok(reference) => resolve(&reference, vars)
                    .and_then(|secret| secret.expose_str().map(str::to_owned).ok_or_else(|| "is not UTF-8".to_owned())),
            };
            match value {
                Ok(value) => _ = options.insert(name.clone(), value),
                Err(what) => self.collect.mistake(&["sources", self.name, "options", name], what),
            }
        }
        options
    }

    fn provider(&mut self) -> Option<Provider> {
        let settings = self.settings;
        let mut provider = self.contract()?;
        if let Some(tolerance) = settings.tolerance {
            match provider.clone().with_tolerance(tolerance) {
                _ if tolerance < Duration::from_secs(1) => self.mistake("tolerance", "must be at least one second"),
                Ok(other) => provider = other,
                Err(error) => self.mistake("tolerance", error.problem),
            }
        }
        if let Some(text) = &settings.partition_key {
            let place = catalogue::Value::parse(text).map_err(|error| error.to_string());
            let other = place
                .and_then(|place| provider.clone().with_partition_key(&[place]).map_err(|error| error.to_string()));
            match other {
                Ok(other) => provider = other,
                Err(what) => self.mistake("partition_key", what),
            }
        }
        if provider.rule.needs_url() && settings.public_url.is_none() {
            self.mistake("public_url", format!("missing: `{}` signs the URL", settings.provider));
        }
        Some(provider)
    }

    /// The provider as the catalogue, or the section itself, has it.
    fn contract(&mut self) -> Option<Provider> {
        let settings = self.settings;
        let (custom, none) = (settings.provider == CUSTOM, settings.provider == NONE);
        if settings.verify.is_some() && !custom {
            self.mistake("verify", "stands only beside provider = \"custom\"");
        }
        if settings.event.is_some() && !custom && !none {
            self.mistake("event", "stands only beside provider = \"custom\" or \"none\"");
        }
        if settings.insecure && !none {
            self.mistake("insecure", "stands only beside provider = \"none\"");
        }
        let event = settings.event.clone().unwrap_or_default();
        let contract = if none {
            if !settings.insecure {
                self.mistake("provider", "\"none\" checks nothing: if that is meant, say insecure = true beside it");
            }
            Provider::custom(NONE, Spec::None {}, event)
        } else if custom {
            let Some(verify) = settings.verify.clone() else {
                self.mistake("verify", "missing: provider = \"custom\" needs its signature described here");
                return None;
            };
            Provider::custom(self.name, verify, event)
        } else {
            match catalogue::provider(&settings.provider) {
                Ok(provider) => return Some(provider),
                Err(CatalogueError::Unknown { name, .. }) => {
                    let near = did_you_mean(&name, catalogue::names().chain([CUSTOM, NONE]));
                    self.mistake("provider", format!("no provider is named `{name}`{near}"));
                }
                Err(error) => self.mistake("provider", error.to_string()),
            }
            return None;
        };
        match contract {
            Ok(provider) => Some(provider),
            Err(ContractError::Verify(error)) => {
                self.collect.mistake(&["sources", self.name, "verify", error.key], error.problem);
                None
            }
            Err(error) => {
                self.mistake("event", error.to_string());
                None
            }
        }
    }

    /// A key set among the options counts like one among the public keys.
    fn jwks(&mut self, jwks: &str, keys: Option<&mut Vec<Secret>>) {
        if jwks.starts_with("http") {
            let what = "is a URL, and this version fetches no keys: save them, and write \"file:PATH\"";
            return self.collect.mistake(&["sources", self.name, "options", "jwks"], what);
        }
        if let Some(keys) = keys {
            keys.extend(Secret::new(jwks.as_bytes().to_vec()));
        }
    }

    fn own_values(
        &mut self,
        provider: Provider,
        secrets: &[Secret],
        options: BTreeMap<String, String>,
    ) -> Option<Provider> {
        match provider.with_own(secrets, options) {
            Ok(provider) => Some(provider),
            Err(ContractError::Key { key, problem } | ContractError::Verify(RuleError { key, problem })) => {
                self.mistake(key, problem);
                None
            }
        }
    }

    fn keys(&mut self, provider: &Provider, secrets: &[Secret]) {
        let public = provider.rule.wants_public_keys();
        if public && !self.settings.secrets.is_empty() {
            return self.mistake("secrets", "stands here in vain: this provider's keys are public, in `public_keys`");
        }
        if !public && !self.settings.public_keys.is_empty() {
            return self.mistake("public_keys", "stands here in vain: this provider proves itself by a secret");
        }
        match provider.rule.keys(secrets) {
            Ok(_) => {}
            Err(KeyError::Absent) if public => {
                self.mistake("public_keys", "missing: the provider signs with a private key");
            }
            Err(KeyError::Absent) => self.mistake("secrets", "missing: the provider signs with a secret"),
            Err(error) if public => self.mistake("public_keys", error.to_string().replacen("secret", "key", 1)),
            Err(error) => self.mistake("secrets", error.to_string()),
        }
    }
}

fn not_in_path(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "?#{}".contains(c)
}

fn not_in_header(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || "*!#$%&'+-.^_`|~".contains(c))
}

fn is_http_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
}

#[cfg(test)]
mod tests;
