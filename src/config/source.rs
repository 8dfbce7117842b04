//! `[sources.<name>]`: a provider, its keys, and limits, resolved from what the section says.

use std::sync::Arc;
use std::time::Duration;

use config::Value;

use super::contract::{contract, verify};
use super::secrets::resolve;
use super::section::{Collector, decode};
use super::{DEMO, Vars};
use crate::catalogue::{self, Catalogue, Provider, not_in_path};
use crate::event::{Options, Secret, SecretRef, Setting, SourceName};
use crate::ingress::networks::Networks;
use crate::ingress::schema::{Schema, Schemas};
use crate::ingress::settings;
use crate::verify::{KeyError, Keys};

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
    /// Who may send.
    pub networks: Arc<Networks>,
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
        self.keys_of(&self.secrets)
    }

    /// `secrets` as keys of the provider's rule; there may be none where a handshake brings them.
    ///
    /// # Errors
    /// A secret that does not decode.
    pub fn keys_of(&self, secrets: &[Secret]) -> Result<Keys, KeyError> {
        let rule = &self.provider.rule;
        if secrets.is_empty() && self.provider.learns() { rule.no_keys() } else { rule.keys(secrets) }
    }
}

/// Reads one source, its provider and its secrets; `None` where they cannot be read.
pub fn source(
    collect: &mut Collector,
    name: SourceName,
    mut value: Value,
    catalogue: &Catalogue,
    vars: &Vars,
    no_file: bool,
) -> Option<Source> {
    let before = collect.mistakes.len();
    let section = ["sources", name.as_str()];
    let whole = verify(collect, &section, &mut value);
    let mut settings: settings::Source = collect.section(&section, value, decode)?;
    for pattern in &mut settings.headers {
        *pattern = pattern.as_str().to_ascii_lowercase().into();
    }
    let clean = collect.mistakes.len() == before;
    let mut reading = Reading { collect, name: name.as_str(), settings: &settings, catalogue };
    reading.own();
    let networks = Arc::new(reading.networks());
    let schemas = Arc::new(reading.schemas());
    let mut secrets = reading.secrets(vars);
    let options = reading.options(vars);
    if !whole {
        // Nothing is known of a source whose signature is not.
        return None;
    }
    let provider = reading.provider(clean)?;
    // A key set among the options counts like one among the public keys; the URL of one is fetched.
    if let (Some(jwks), true, Some(keys)) = (options.text("jwks"), provider.rule.wants_public_keys(), &mut secrets)
        && !jwks.contains("://")
    {
        keys.extend(Secret::new(jwks.as_bytes().to_vec()));
    }
    let provider = reading.own_values(provider, secrets.as_deref().unwrap_or_default(), options)?;
    if clean && let Some(secrets) = &secrets {
        let waits = no_file && name.as_str() == DEMO && secrets.is_empty();
        if !waits {
            reading.keys(&provider, secrets);
        }
    }
    let path = settings.path.clone().unwrap_or_else(|| format!("/webhooks/{name}"));
    Some(Source { name, path, provider, secrets: secrets.unwrap_or_default(), networks, schemas, settings })
}

struct Reading<'a, 'b> {
    collect: &'a mut Collector<'b>,
    name: &'a str,
    settings: &'a settings::Source,
    catalogue: &'a Catalogue,
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

    /// Who may send.
    fn networks(&mut self) -> Networks {
        Networks::read(&self.settings.allow_ips).unwrap_or_else(|wrong| {
            for (n, what) in wrong {
                self.collect.mistake(&["sources", self.name, "allow_ips", &n.to_string()], what);
            }
            // With a mistake in it the configuration never comes into force.
            Networks::default()
        })
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
    fn options(&mut self, vars: &Vars) -> Options {
        let mut options = Options::default();
        for (name, setting) in self.settings.options.iter() {
            let mut mistakes = Vec::new();
            let mut read = |text: &String| match option(text, vars) {
                Ok(text) => text,
                Err(what) => {
                    mistakes.push(what);
                    String::new()
                }
            };
            let setting = match setting {
                Setting::Text(text) => Setting::Text(read(text)),
                Setting::List(list) => Setting::List(list.iter().map(read).collect()),
                Setting::Table(table) => {
                    Setting::Table(table.iter().map(|(key, text)| (key.clone(), read(text))).collect())
                }
            };
            if mistakes.is_empty() {
                options.insert(name, setting);
            }
            for what in mistakes {
                self.collect.mistake(&["sources", self.name, "options", name], what);
            }
        }
        options
    }

    fn provider(&mut self, clean: bool) -> Option<Provider> {
        let settings = self.settings;
        let mut provider = contract(self.collect, self.name, settings, self.catalogue, clean)?;
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

    fn own_values(&mut self, provider: Provider, secrets: &[Secret], options: Options) -> Option<Provider> {
        match provider.with_own(secrets, options) {
            Ok(provider) => Some(provider),
            Err(error) => {
                self.mistake(error.place().trim_start_matches("verify."), error.problem());
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
            Err(KeyError::Absent) if provider.learns() => {}
            Err(KeyError::Absent) if public => {
                self.mistake("public_keys", "missing: the provider signs with a private key");
            }
            Err(KeyError::Absent) => self.mistake("secrets", "missing: the provider signs with a secret"),
            Err(error) if public => self.mistake("public_keys", error.to_string().replacen("secret", "key", 1)),
            Err(error) => self.mistake("secrets", error.to_string()),
        }
    }
}

fn option(text: &str, vars: &Vars) -> Result<String, String> {
    let Ok(reference) = text.parse::<SecretRef>() else { return Ok(text.to_owned()) };
    let secret = resolve(&reference, vars)?;
    secret.expose_str().map(str::to_owned).ok_or_else(|| "is not UTF-8".to_owned())
}

fn not_in_header(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || "*!#$%&'+-.^_`|~".contains(c))
}

fn is_http_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
}

#[cfg(test)]
mod tests;
