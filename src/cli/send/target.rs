//! Where `send` sends to and how it signs there, as the configuration has it.

use anyhow::Context as _;
use url::Url;

use crate::app;
use crate::catalogue::{Provider, Value};
use crate::cli::Wrong;
use crate::cli::http::is_socket;
use crate::cli::remote::configured;
use crate::cli::trust::Trust;
use crate::config::{Config, DEMO};
use crate::event::Secret;
use crate::verify::{Draft, Keys, sign};

/// A source as its sender sees it.
pub struct Target {
    /// The sender's contract.
    pub provider: Provider,
    /// What the sender signs with.
    pub keys: Keys,
    /// Where it posts to.
    pub url: Url,
    /// Path of its requests.
    pub path: String,
    /// URL that the signature covers, where it covers one.
    pub public_url: String,
    /// Largest body that the source takes, bytes.
    pub max_body: u64,
    /// Whom to take for the receiver.
    pub trust: Trust,
}

impl Target {
    /// The source `name` of a configuration, at `url` or where the configuration listens.
    /// An `url` without a path gets the source's.
    ///
    /// # Errors
    /// There is no such source, or its secret cannot be read.
    pub fn new(config: &Config, name: &str, url: Option<&Url>) -> anyhow::Result<Self> {
        let Some(source) = config.sources.iter().find(|source| source.name.as_str() == name) else {
            let names: Vec<_> = config.sources.iter().map(|source| source.name.as_str()).collect();
            let there_is = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") };
            return Err(Wrong(format!("there is no source `{name}`; there is: {there_is}")).into());
        };
        let provider = source.provider.clone();
        let secrets = if config.demo && name == DEMO { vec![demo_secret(config)?] } else { source.secrets.clone() };
        let keys = provider.rule.keys(&secrets).with_context(|| format!("secrets of the source `{name}`"))?;
        let (mut url, trust) = match url {
            Some(url) => (url.clone(), Trust::System),
            None => configured(&config.server.listen, config.tls.as_ref()).ok_or_else(|| {
                Wrong(format!("where {} is only systemd knows: name it with --url", config.server.listen))
            })?,
        };
        if url.path() == "/" {
            url.set_path(&source.path);
        }
        // The path of a Unix socket's URL is that of the socket.
        let path = if is_socket(&url) { source.path.clone() } else { url.path().to_owned() };
        let public_url = source.settings.public_url.clone().unwrap_or_else(|| url.to_string());
        let max_body = source.settings.max_body.unwrap_or(config.server.max_body);
        Ok(Self { provider, keys, url, path, public_url, max_body, trust })
    }

    /// An event with this id and type, signed by nobody yet; `body` stands in place of the provider's sample,
    /// as it is unless `with_id`.
    ///
    /// - `now_s`: time of the event, Unix seconds.
    ///
    /// # Errors
    /// The body has no room for the id or the type.
    pub fn draft(
        &self,
        id: &str,
        with_id: bool,
        kind: Option<&str>,
        body: Option<Vec<u8>>,
        now_s: i64,
    ) -> anyhow::Result<Draft> {
        let mut draft = self.provider.sample(id, kind, now_s)?;
        self.path.clone_into(&mut draft.path);
        if let Some(query) = self.url.query() {
            let join = if draft.query.is_empty() { "" } else { "&" };
            draft.query = format!("{query}{join}{}", draft.query);
        }
        draft.public_url = Some(self.public_url.clone());
        if let Some(body) = body {
            draft.body = body;
            let event = &self.provider.contract.event;
            if let (true, Some(Value::Body(pointer))) = (with_id, event.id.first()) {
                super::template::set(&mut draft.body, pointer, id)?;
            }
            if let (Some(kind), Some(Value::Body(pointer))) = (kind, event.kind.first()) {
                super::template::set(&mut draft.body, pointer, kind)?;
            }
        }
        Ok(draft)
    }

    /// Signs as the provider does.
    ///
    /// # Errors
    /// The request lacks something that the signature covers.
    pub fn sign(&self, draft: &mut Draft, now_s: i64) -> anyhow::Result<()> {
        sign(&self.provider.rule, &self.keys, draft, now_s).context("cannot sign the request")
    }

    /// Whether this provider's event ids are numbers.
    pub fn numeric_ids(&self) -> bool {
        let Some(Value::Body(pointer)) = self.provider.contract.event.id.first() else { return false };
        let sample = serde_json::from_str::<serde_json::Value>(&self.provider.contract.sample.body);
        sample.is_ok_and(|sample| sample.pointer(pointer).is_some_and(serde_json::Value::is_number))
    }
}

/// The secret that the first start of the bridge made.
fn demo_secret(config: &Config) -> anyhow::Result<Secret> {
    let file = config.demo_secret_file();
    app::demo_secret(&file)
        .with_context(|| format!("cannot read {}, which the first `hookferry serve` makes there", file.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::config::{self, Vars};
    use crate::verify;

    const NOW_S: i64 = 1_700_000_000;

    fn config(text: &str) -> Config {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        config::load(&[file.path()], &Vars::new()).unwrap()
    }

    const GITHUB: &str = "[sources.code]\nprovider = \"github\"\nsecrets = [\"literal:s3cret\"]\npath = \"/in/code\"\n";

    #[test]
    fn a_request_passes_the_check_of_its_own_source() {
        let target = Target::new(&config(GITHUB), "code", None).unwrap();
        let body = br#"{"a":1}"#.to_vec();
        for body in [None, Some(body.clone())] {
            let mut draft = target.draft("abc", false, Some("issues"), body.clone(), NOW_S).unwrap();
            target.sign(&mut draft, NOW_S).unwrap();
            verify::check(&target.provider.rule, &target.keys, &draft.request(), NOW_S).unwrap();
            let header =
                |name: &str| draft.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            assert_eq!((header("x-github-delivery"), header("x-github-event")), (Some("abc"), Some("issues")));
            assert!(body.is_none_or(|body| body == draft.body), "a given body is sent as it is");
        }
    }

    #[test]
    fn the_address_is_the_listeners_unless_one_is_given() {
        let config = config(&format!("{GITHUB}[server]\nlisten = \"0.0.0.0:9000\"\n"));
        let url = |url: Option<&str>| {
            let url = url.map(|url| url.parse().unwrap());
            Target::new(&config, "code", url.as_ref()).unwrap().url.to_string()
        };
        assert_eq!(url(None), "http://127.0.0.1:9000/in/code");
        assert_eq!(url(Some("http://gate:80")), "http://gate/in/code");
        assert_eq!(url(Some("http://gate/other?a=b")), "http://gate/other?a=b");
    }

    #[test]
    fn a_custom_source_signs_by_its_own_table() {
        let config = config(
            "[sources.acme]\nprovider = \"custom\"\nsecrets = [\"literal:s3cret\"]\n\
         [sources.acme.verify]\nkind = \"hmac\"\nhash = \"sha256\"\nencoding = \"hex\"\n\
         signature = { header = \"x-acme\" }\nmessage = \"{body}\"\n\
         [sources.acme.event]\nid = \"body:/id\"\n",
        );
        let target = Target::new(&config, "acme", None).unwrap();
        let mut draft = target.draft("e1", true, None, Some(br#"{"id":"old","n":1}"#.to_vec()), NOW_S).unwrap();
        target.sign(&mut draft, NOW_S).unwrap();
        assert_eq!(draft.body, br#"{"id":"e1","n":1}"#);
        verify::check(&target.provider.rule, &target.keys, &draft.request(), NOW_S).unwrap();
    }

    #[test]
    fn an_unknown_source_is_told_with_those_that_there_are() {
        let error = Target::new(&config(GITHUB), "cod", None).err().unwrap().to_string();
        assert_eq!(error, "there is no source `cod`; there is: code");
    }

    #[test]
    fn without_a_file_the_secret_of_the_demo_source_is_the_servers() {
        let directory = tempfile::tempdir().unwrap();
        let mut vars = Vars::new();
        vars.insert("HOOKFERRY__JOURNAL__DIR".to_owned(), directory.path().display().to_string());
        let config = config::load(&[] as &[&str], &vars).unwrap();
        let error = format!("{:#}", Target::new(&config, DEMO, None).err().unwrap());
        assert!(error.contains("which the first `hookferry serve` makes there"), "{error}");
        std::fs::write(directory.path().join("demo.secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let target = Target::new(&config, DEMO, None).unwrap();
        assert_eq!(target.url.as_str(), "http://127.0.0.1:8080/webhooks/demo");
        let mut draft = target.draft("msg_1", false, None, None, NOW_S).unwrap();
        target.sign(&mut draft, NOW_S).unwrap();
        verify::check(&target.provider.rule, &target.keys, &draft.request(), NOW_S).unwrap();
    }
}
