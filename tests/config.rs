//! What a person sees of the configuration: layers, mistakes, secrets.

#[path = "support/annotated.rs"]
mod annotated;
#[path = "support/limits.rs"]
mod limits;
#[path = "support/own.rs"]
mod own;

use std::path::PathBuf;
use std::time::Duration;

use hookferry::config::{self, Config, Errors, Vars};
use hookferry::listener::Proxies;
use tempfile::TempDir;

/// Files of one configuration; the environment is a map.
struct Setup {
    dir: TempDir,
    files: Vec<PathBuf>,
    vars: Vars,
}

fn setup(toml: &str) -> Setup {
    Setup { dir: tempfile::tempdir().unwrap(), files: Vec::new(), vars: Vars::new() }.file("a.toml", toml)
}

impl Setup {
    fn file(mut self, name: &str, text: &str) -> Self {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        self.files.push(path);
        self
    }

    fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    fn load(&self) -> Result<Config, Errors> {
        config::load(&self.files, &self.vars)
    }

    /// The mistakes, with file names without their directory.
    fn mistakes(&self) -> String {
        let errors = self.load().map(|_| ()).unwrap_err();
        errors.to_string().replace(&format!("{}/", self.dir.path().display()), "")
    }
}

#[track_caller]
fn check(toml: &str, mistakes: &str) {
    assert_eq!(setup(toml).mistakes(), mistakes);
}

/// A source that is well in itself.
const SOURCE: &str = "[sources.one]\nprovider = \"github\"\nsecrets = [\"literal:0123456789abcdef\"]\n";

#[test]
fn later_layers_win_key_by_key() {
    let config = setup("[server]\nworkers = 3\nmax_body = \"2MiB\"\n[journal]\nretention = \"1h\"")
        .file("b.yaml", "server:\n  workers: 5\nadmin:\n")
        .file("c.json", r#"{"server": {"max_connections": 7}}"#)
        .var("HOOKFERRY__SERVER__MAX_CONNECTIONS", "8")
        .var("HOOKFERRY__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1")
        .var("HOOKFERRY__ADMIN__HOSTS", "hooks.example, 192.0.2.1")
        .var("HOOKFERRY_ADMIN_TOKEN", "not a key")
        .load()
        .unwrap();
    let server = &config.server;
    assert_eq!((server.workers, server.max_body, server.max_connections), (5, 2 << 20, 8));
    let proxies = ["10.0.0.0/8".to_owned(), "192.0.2.1/32".to_owned()];
    assert_eq!(config.server.trusted_proxies, Proxies::read(&proxies).unwrap());
    assert_eq!(config.admin.hosts, ["hooks.example", "192.0.2.1"]);
    assert_eq!(config.journal.retention, Duration::from_secs(3600));
    assert_eq!(config.journal.max_bytes, 10 << 30);
}

#[test]
fn every_mistake_is_told_at_once_with_its_file_and_key() {
    let setup = setup(
        r#"
        colour = "red"
        [server]
        listne = "0.0.0.0:80"
        max_body = "1 pound"
        workers = "many"
        body_timeout = "soon"
        max_connections = 2.7
        [sources.Big]
        provider = "github"
        [sources.one]
        secrets = ["env:NOT_SET", "hunter2"]
        [sources.two]
        provider = "github"
        allow_ips = ["10.0.0.0/8", "here"]
        secrets = ["env:NOT_SET"]
        path = "no-slash"
        busy_status = -1
        backends = ["mian"]
        [backends.main]
        type = "redis"
        url = "env:NO_URL"
        stream = "s"
        [[routes]]
        match = { source = "tow", kind = "x" }
        [[routes]]
        match = { source = "tow" }
        to = ["other"]
        "#,
    )
    .file("b.yaml", "sever: {}\nserver:\n  ack_timeout: 0s\n  max_header: 65KiB\n")
    .file("c.toml", "not = [toml")
    .file("d.ini", "")
    .var("HOOKFERRY__ADMIN__LISTEN", "0.0.0.0:1");
    let text = setup.mistakes();
    for line in [
        "a.toml: colour: unknown section",
        "b.yaml: sever: unknown section; did you mean `server`?",
        "b.yaml: server.ack_timeout: must be more than zero",
        "b.yaml: server.max_header: must be at most 64KiB",
        "a.toml: server.listne: unknown key; did you mean `listen`?",
        "a.toml: server.max_body: `1 pound` is not a size such as \"512KiB\" or \"1MiB\"",
        "a.toml: server.workers: must be a whole number, zero or more, not a text",
        "a.toml: server.max_connections: must be a whole number",
        "a.toml: sources.two.busy_status: must be a whole number, zero or more, not integer `-1`",
        "a.toml: server.body_timeout: `soon` is not a duration such as \"300ms\", \"10s\" or \"24h\"",
        "a.toml: sources.one.provider: missing",
        "a.toml: sources.one.secrets: a secret is written \"env:NAME\", \"file:PATH\" or \"literal:VALUE\"",
        "a.toml: sources.two.allow_ips[1]: `here` is not a network such as \"192.0.2.0/24\", a provider of ranges \
         (atlassian, aws, github, stripe), \"file:PATH\" or \"https://…\"",
        "a.toml: sources.two.secrets[0]: environment variable `NOT_SET` is not set",
        "a.toml: sources.two.path: must begin with `/`",
        "a.toml: sources.two.backends: no backend is named `mian`; did you mean `main`?",
        "a.toml: backends.main.url: environment variable `NO_URL` is not set",
        "a.toml: routes[0].match.kind: unknown key",
        "a.toml: routes[0].to: missing",
        "a.toml: routes[1].match.source: no source is named `tow`; did you mean `two`?",
        "a.toml: routes[1].to: no backend is named `other`",
        "HOOKFERRY__ADMIN__LISTEN: admin.listen: 0.0.0.0:1 is not a loopback address: set admin.token",
        "d.ini: the name does not end in .toml, .yaml, .yml or .json",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
    assert!(text.contains("a.toml: sources.Big: name `Big` is not"), "{text}");
    assert!(text.contains("c.toml: TOML parse error at line 1, column 12: unclosed array"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_certificate_and_its_key_are_read_or_refused_by_their_key() {
    check("[server.tls]\ncert = \"cert.pem\"", "a.toml: server.tls.key: missing");
    let absent = "cert = \"/absent/cert.pem\"\nkey = \"/absent/key.pem\"";
    let line = |section: &str| {
        format!("a.toml: {section}.tls.cert: cannot read /absent/cert.pem: No such file or directory (os error 2)")
    };
    check(&format!("[server.tls]\n{absent}"), &line("server"));
    check(&format!("[admin.tls]\n{absent}"), &line("admin"));
}

#[test]
fn a_proxy_header_needs_proxies() {
    check(
        "[server]\nproxy_protocol = true",
        "a.toml: server.proxy_protocol: needs server.trusted_proxies: only they may send a PROXY header",
    );
}

#[test]
fn schemas_are_compiled_when_they_are_loaded_and_their_mistakes_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).display().to_string()
    };
    let (good, bad) = (file("good.json", "{\"type\":\"object\"}"), file("bad.json", "{\"type\":\"objct\"}"));
    check(
        &format!("{SOURCE}on_invalid = \"reject\""),
        "a.toml: sources.one.on_invalid: stands only beside `schema` or `schemas`",
    );
    check(
        &format!("{SOURCE}schema = \"{good}\"\non_invalid = \"drop\""),
        "a.toml: sources.one.on_invalid: is \"dead_letter\" or \"reject\"",
    );
    let gone = dir.path().join("gone.json").display().to_string();
    check(
        &format!("{SOURCE}schema = \"{gone}\""),
        &format!("a.toml: sources.one.schema: cannot read {gone}: No such file or directory (os error 2)"),
    );
    let errors = setup(&format!("{SOURCE}schemas = {{ \"one.A*\" = \"{bad}\" }}")).load().unwrap_err().to_string();
    assert!(errors.contains("a.toml: sources.one.schemas.one.A*: "), "{errors}");
    assert!(errors.contains("bad.json") && errors.contains("objct"), "{errors}");
    let config =
        setup(&format!("{SOURCE}schema = \"{good}\"\nschemas = {{ \"one.A*\" = \"{good}\" }}")).load().unwrap();
    assert!(config.sets_aside() && config.sources[0].schemas.by_type[0].0.as_str() == "one.A*");
    let reserved = "[backends.schema]\ntype = \"redis\"\nurl = \"redis://127.0.0.1\"\nstream = \"s\"";
    check(
        reserved,
        "a.toml: backends.schema: is the holder of dead letters that do not meet their schema: choose another name",
    );
}

#[test]
fn what_cannot_work_together_is_refused() {
    check(
        "[server]\nmax_body = \"64MiB\"",
        "a.toml: server.max_body: a body of 67108864 B, with 65536 B of attributes, does not fit a segment of 67108864 B \
         (journal.segment_bytes, at most a quarter of journal.max_bytes)",
    );
    check(
        "[journal]\nmax_bytes = \"4MiB\"",
        "a.toml: journal.max_bytes: a body of 1048576 B, with 65536 B of attributes, does not fit a segment of 1048576 B \
         (journal.segment_bytes, at most a quarter of journal.max_bytes)",
    );
    check(
        "[admin]\nlisten = \"127.0.0.1:8080\"",
        "a.toml: admin.listen: 127.0.0.1:8080 is the address of both listeners",
    );
    check(
        "[server]\nlisten = \"here\"",
        "a.toml: server.listen: `here` is not an address and a port such as \"0.0.0.0:8080\", \"unix:PATH\", \"systemd\" \
         or \"systemd:NAME\"",
    );
    check(
        "[server]\nlisten = \"unix:/a.sock\"\ntls = { cert = \"c.pem\", key = \"k.pem\" }",
        "a.toml: server.tls: unix:/a.sock is a Unix socket, which no network carries: leave it out\n\
         a.toml: server.tls.cert: cannot read c.pem: No such file or directory (os error 2)",
    );
    check("[admin]\nlisten = \"systemd:admin\"", "a.toml: admin.listen: systemd may pass any address: set admin.token");
    check("[admin]\ntoken = \"literal:a b\"", "a.toml: admin.token: must be visible ASCII: no header can carry it");
    let same_path = SOURCE.replace("one", "two");
    check(
        &format!("{SOURCE}{same_path}path = \"/webhooks/one\""),
        "a.toml: sources.two.path: `/webhooks/one` is the path of sources.one already",
    );
    check(&format!("{SOURCE}busy_status = 410"), "a.toml: sources.one.busy_status: must be 400 to 599, other than 410");
    check(&format!("{SOURCE}success_status = 302"), "a.toml: sources.one.success_status: must be 200 to 299");
    check(
        &format!("{SOURCE}partition_key = \"id\""),
        "a.toml: sources.one.partition_key: `id` is not a place such as \"header:x-event-id\", \"body:/data/id\", \
         \"query:id\" or \"form:id\"",
    );
}

/// Mistakes of the source `one`, without file and section.
#[track_caller]
fn source(toml: &str, mistakes: &[&str]) {
    let text = setup(&format!("[sources.one]\n{toml}")).mistakes();
    let found: Vec<_> = text.lines().map(|line| line.strip_prefix("a.toml: sources.one.").unwrap_or(line)).collect();
    assert_eq!(found, mistakes);
}

#[test]
fn a_source_without_proof_of_its_sender_is_no_accident() {
    const MEANT: &str = "\"none\" checks nothing: if that is meant, say insecure = true beside it";
    source("provider = \"none\"", &[&format!("provider: {MEANT}")]);
    source("provider = \"github\"", &["secrets: missing: the provider signs with a secret"]);
    source("provider = \"github\"\nsecrets = []", &["secrets: missing: the provider signs with a secret"]);
    source("provider = \"github\"\nsecrets = [\"literal:\"]", &["secrets[0]: the secret is empty"]);
    source(
        "provider = \"github\"\nsecrets = [\"literal:x\"]\ninsecure = true",
        &["insecure: stands only beside provider = \"none\""],
    );
    let config = setup("[sources.one]\nprovider = \"none\"\ninsecure = true").load().unwrap();
    assert_eq!(config.sources[0].provider.rule.method(), "none");
}

#[test]
fn a_provider_is_one_of_the_catalogue_or_described() {
    source("provider = \"githib\"", &["provider: no provider is named `githib`; did you mean `github`?"]);
    source("provider = \"custom\"", &["verify: missing: provider = \"custom\" needs its signature described here"]);
    source(
        "provider = \"github\"\nsecrets = [\"literal:x\"]\nverify = { kind = \"token\", token = { header = \"x\" } }",
        &["verify: stands only beside provider = \"custom\""],
    );
    source(
        "provider = \"custom\"\nsecrets = [\"literal:x\"]\n[sources.one.verify]\nkind = \"hmac\"\nencoding = \"hex\"\n\
         signature = { header = \"x-sig\" }\nmessage = \"{bdoy}\"",
        &["verify.message: holds `{bdoy}`; it may hold {body}, {body_sha256_hex}, {body_crc32}, \
            {body_with_secret:/POINTER}, {timestamp}, {method}, {path}, {target_escaped}, {url}, {url_form_sorted}, \
            {form_sorted}, {form_php:NAME}, {secret}, {option:NAME}, {header:NAME}, {signed_headers:LIST,NAME}, \
            {query:NAME}, {form:NAME}, {form:NAME:/POINTER}, {body:/POINTER} or {[…]}"],
    );
    source(
        "provider = \"github\"\nsecrets = [\"literal:x\"]\ntolerance = \"5m\"",
        &["tolerance: has no effect: this scheme carries no timestamp"],
    );
}

#[test]
fn a_secret_that_is_not_written_as_its_provider_does_is_refused_without_being_shown() {
    source(
        "provider = \"standard-webhooks\"\nsecrets = [\"literal:whsec_****canary****\"]",
        &["secrets: secret 1 is not base64, with or without `whsec_` before it"],
    );
}

#[test]
fn no_secret_is_in_a_debug_output_or_a_message() {
    const CANARY: &str = "c4n4ryc4n4ry";
    let good = setup(&format!(
        "[admin]\ntoken = \"env:TOKEN\"\n[sources.one]\nprovider = \"github\"\nsecrets = [\"literal:{CANARY}\"]\n\
         [sources.two]\nprovider = \"standard-webhooks\"\nsecrets = [\"literal:whsec_{CANARY}\"]\n\
         [backends.a]\ntype = \"redis\"\nurl = \"env:URL\"\n[backends.b]\ntype = \"rabbitmq\"\n\
         url = \"amqp://u:{CANARY}@localhost\""
    ));
    let good = good.var("TOKEN", CANARY).var("URL", &format!("redis://:{CANARY}@localhost"));
    let config = good.load().unwrap();
    assert!(!format!("{config:?}").contains(CANARY));
    assert!(!hookferry::cli::check::describe(&config).contains(CANARY));
    for bad in [
        format!("[admin]\ntoken = [\"{CANARY}\"]"),
        format!("[admin]\ntoken = \"{CANARY}\""),
        format!("[sources]\none = \"{CANARY}\""),
        format!("[sources.one]\nprovider = \"github\"\nsecrets = [\"{CANARY}\"]"),
        format!("[sources.one]\nprovider = \"github\"\nsecrets = {{ a = \"{CANARY}\" }}"),
        format!("[backends.a]\ntype = \"redis\"\nurl = \"http://:{CANARY}@localhost\""),
        format!("[backends.a]\ntype = \"rabbitmq\"\nurl = \"{CANARY}\""),
        format!("[sources.one]\nsecrets = [\"literal:{CANARY}\""),
    ] {
        let text = setup(&bad).mistakes();
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[test]
fn a_secret_that_became_part_of_a_key_is_not_shown() {
    let yaml = "sources:\n  one: {provider: github, secrets:hunter2}\n  two: {secrets hunter2}\n  three:\n    secrets:hunter2\n";
    let text = setup("[sources.four]\n\"secrets=hunter2\" = 1").file("b.yaml", yaml).mistakes();
    for told in ["one.secrets…: unknown", "two.secrets…: unknown", "three: must be a table", "four.secrets…: unknown"]
    {
        assert!(text.contains(&format!("sources.{told}")), "{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_small_quota_makes_segments_smaller() {
    let config = setup("[journal]\nmax_bytes = \"16MiB\"").load().unwrap();
    assert_eq!(config.journal.segment_in_force(), 4 << 20);
}

#[test]
fn the_demo_source_exists_only_without_a_file() {
    let none: [PathBuf; 0] = [];
    let config = config::load(&none, &Vars::new()).unwrap();
    assert!(config.demo);
    assert_eq!(config.sources.len(), 1);
    assert_eq!(config.sources[0].path, "/webhooks/demo");
    assert_eq!(config.demo_secret_file(), PathBuf::from("data/demo.secret"));
    let config = setup("").load().unwrap();
    assert!(!config.demo && config.sources.is_empty() && config.backends.is_empty());
}

#[test]
fn the_annotated_defaults_are_the_defaults_of_the_code() {
    let config = setup("").load().unwrap();
    assert_eq!(config.server, Default::default());
    assert_eq!(config.journal, Default::default());
    assert_eq!(config.dedup, Default::default());
    assert_eq!(config.telemetry, Default::default());
    let admin = hookferry::admin::settings::Settings::default();
    assert_eq!((config.admin.listen, config.admin.token.is_none()), (admin.listen, admin.token.is_none()));
}

/// What the examples name in the environment.
const EXAMPLE_VARS: [(&str, &str); 12] = [
    ("ACME_SECRET", "acme"),
    ("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f"),
    ("DEMO_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("GITHUB_SECRET", "github"),
    ("HOOKFERRY_ADMIN_TOKEN", "token"),
    ("OPENAI_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs.fifo"),
    ("REDIS_URL", "redis://127.0.0.1:6379"),
    ("SHOPIFY_SECRET", "shopify"),
    ("SHOPIFY_SECRET_BEFORE", "older"),
    ("SLACK_SIGNING_SECRET", "slack"),
    ("STRIPE_SECRET", "whsec_stripe"),
];

#[test]
fn every_example_of_the_repository_loads() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
    let vars: Vars = EXAMPLE_VARS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut loaded = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // The one secret that an example reads from a file.
        let mut vars = vars.clone();
        if path.ends_with("custom-hmac.toml") {
            vars.insert("HOOKFERRY__SOURCES__SENSOR__SECRETS".to_owned(), "literal:sensor".to_owned());
        }
        let config = config::load(&[&path], &vars).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(!hookferry::cli::check::describe(&config).is_empty());
        loaded += 1;
    }
    assert!(loaded >= 8);
}
