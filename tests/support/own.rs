//! An operator's own senders: provider files of a folder, and contracts within a source.

use std::path::Path;

use hookferry::catalogue;
use hookferry::config::{self, Vars};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{setup, source};

/// A sender that nobody knows but us; correct.
const ACME: &str = r#"title = "Acme"
methods = ["POST", "GET"]

[verify]
kind = "hmac"
encoding = "hex"
signature = { header = "x-acme", prefix = "v1=" }
message = "{body}"

[event]
id = "body:/id"
type = "body:/type"

[[handshake]]
signed = false
when = { method = "GET", query = { challenge = "*" } }
reply = { status = 200, content_type = "text/plain", body = "{query:challenge}" }

[[example]]
secret = "s3cret"
now = 0
headers = { x-acme = "v1=eaeb56ed257be6da31161789fe905d45c0b804fe57362c8206c3668c75ee0e8f" }
body = '{"id":"1","type":"paid"}'
expect = { id = "1", type = "paid" }

[[example]]
unsigned = true
now = 0
method = "GET"
query = "challenge=abc"
headers = {}
body = ""
expect = { reply = "abc" }
"#;

/// What becomes of its first example under another secret.
const REFUSED: &str = "example[0]: it is refused: signature does not match; the signature is looked for in header `x-acme`: \
                       present, 1 value(s); the signature is well formed, but no key gives it: a wrong secret, or a body \
                       changed on its way; 1 secret configured, scheme hmac-sha256; the body has 24 B";

/// A folder of provider files.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Self(dir)
    }

    fn section(&self, more: &str) -> String {
        format!("[catalogue]\ndir = \"{}\"\n{more}", self.0.path().display())
    }

    #[track_caller]
    fn check(&self, more: &str, mistakes: &[&str]) {
        let text = setup(&self.section(more)).mistakes().replace(&format!("{}", self.0.path().display()), "DIR");
        assert_eq!(text.lines().collect::<Vec<_>>(), mistakes);
    }
}

/// The mistakes of one file.
#[track_caller]
fn file(text: &str, mistakes: &[&str]) {
    Folder::new(&[("acme.toml", text)]).check("", mistakes);
}

#[test]
fn a_provider_of_the_folder_is_used_like_a_built_in_one() {
    let folder = Folder::new(&[("acme.toml", ACME), ("README.md", "no provider")]);
    let sources = "[sources.one]\nprovider = \"acme\"\nsecrets = [\"literal:x\"]\n\
                   [sources.two]\nprovider = \"github\"\nsecrets = [\"literal:x\"]\n";
    let config = setup(&folder.section(sources)).load().unwrap();
    assert_eq!(config.sources[0].provider.id, "acme");
    assert_eq!(config.sources[0].provider.contract.methods, ["POST", "GET"]);
    let told = hookferry::cli::check::describe(&config);
    let file = folder.0.path().join("acme.toml");
    assert!(told.contains(&format!("provider acme in {}: its 2 examples hold\n", file.display())), "{told}");
    let text = setup(&folder.section("[sources.one]\nprovider = \"acmee\"")).mistakes();
    assert_eq!(text, "a.toml: sources.one.provider: no provider is named `acmee`; did you mean `acme`?");
}

#[test]
fn a_built_in_name_is_taken_only_where_that_is_said() {
    let github = Folder::new(&[("github.toml", ACME)]);
    github.check(
        "",
        &["DIR/github.toml: `github` is a built-in provider: choose another name, or say replace = [\"github\"] in \
           [catalogue]"],
    );
    let source = "[sources.one]\nprovider = \"github\"\nsecrets = [\"literal:x\"]\n";
    let config = setup(&github.section(&format!("replace = [\"github\"]\n{source}"))).load().unwrap();
    assert_eq!(config.sources[0].provider.contract.title, "Acme");
    github.check(
        "replace = [\"github\", \"gitlb\", \"stripe\"]",
        &[
            "a.toml: catalogue.replace[1]: no built-in provider is named `gitlb`; did you mean `gitlab`?",
            "a.toml: catalogue.replace[2]: there is no DIR/stripe.toml",
        ],
    );
    let odd = Folder::new(&[("custom.toml", ACME), ("Acme.toml", ACME)]);
    odd.check(
        "",
        &[
            "DIR/Acme.toml: name `Acme` is not 1 to 64 characters of a-z, 0-9, `_` and `-`, beginning with a letter or a \
             digit",
            "DIR/custom.toml: `custom` has a meaning of its own in `provider`: choose another name",
        ],
    );
    assert_eq!(
        setup("[catalogue]\nreplace = [\"github\"]").mistakes(),
        "a.toml: catalogue.replace: stands only beside `dir`"
    );
    assert_eq!(
        setup("[catalogue]\ndir = \"/absent\"").mistakes(),
        "a.toml: catalogue.dir: cannot read /absent: No such file or directory (os error 2)"
    );
}

#[test]
fn every_mistake_of_a_file_is_told_at_once_with_its_line_and_key() {
    let text = ACME.replace("prefix = \"v1=\"", "prefx = \"v1=\"").replace("title = ", "titel = ");
    let text =
        text.replace("signed = false", "signed = \"maybe\"").replace("now = 0\nheaders", "now = \"noon\"\nheaders");
    file(
        &text,
        &[
            "DIR/acme.toml:1: titel: unknown key; did you mean `title`?",
            "DIR/acme.toml:1: title: missing",
            "DIR/acme.toml:7: verify.signature.prefx: unknown key; did you mean `prefix`?",
            "DIR/acme.toml:15: handshake[0].signed: must be a boolean, not a text",
            "DIR/acme.toml:21: example[0].now: must be a whole number, zero or more, not a text",
        ],
    );
}

#[test]
fn what_a_contract_cannot_be_is_told_with_its_line_and_key() {
    let one = |from: &str, to: &str, mistake: &str| {
        assert!(ACME.contains(from), "{from}");
        file(&ACME.replace(from, to), &[mistake]);
    };
    one(
        "kind = \"hmac\"",
        "kind = \"hnac\"",
        "DIR/acme.toml:5: verify.kind: `hnac` is not one of hmac, digest, signature, jwt, sns, truelayer, token, basic, \
         none; did you mean `hmac`?",
    );
    one("encoding = \"hex\"", "encoding = \"hax\"", "DIR/acme.toml:6: verify.encoding: `hax` is not one of its values");
    one(
        "header = \"x-acme\"",
        "header = \"x acme\"",
        "DIR/acme.toml:7: verify.signature: names the header `x acme`, which cannot be",
    );
    one(
        "id = \"body:/id\"",
        "id = \"cookie:id\"",
        "DIR/acme.toml:11: event.id: `cookie:id` is not a place such as \"header:x-event-id\", \"body:/data/id\", \
         \"query:id\" or \"form:id\"",
    );
    one(
        "content_type = \"text/plain\"",
        "content_type = \"text/html\"",
        "DIR/acme.toml:17: handshake[0].reply.content_type: is none of text/plain, application/json",
    );
    one(
        "{query:challenge}\"",
        "{option:token}\"",
        "DIR/acme.toml:17: handshake[0].reply: names the unknown option `token`",
    );
    one(
        "methods = [\"POST\", \"GET\"]",
        "methods = [\"POST\", \"FETCH\"]",
        "DIR/acme.toml:2: methods: is not a list of some of GET, HEAD, OPTIONS, POST, PUT",
    );
    one(
        "id = \"body:/id\"",
        "id = \"header:x-id\"\nid_signed = true",
        "DIR/acme.toml:12: event.id_signed: is true, but the signature does not cover the id",
    );
}

#[test]
fn an_example_that_does_not_hold_is_told_with_the_reason() {
    let one = |from: &str, to: &str, mistake: &str| {
        assert!(ACME.contains(from), "{from}");
        file(&ACME.replace(from, to), &[mistake]);
    };
    one("secret = \"s3cret\"", "secret = \"other\"", &format!("DIR/acme.toml:19: {REFUSED}"));
    one(
        "expect = { id = \"1\", type = \"paid\" }",
        "expect = { id = \"2\", type = \"paid\" }",
        "DIR/acme.toml:19: example[0]: `expect.id` is `2`, but the request gives `1`",
    );
    one(
        "expect = { id = \"1\", type = \"paid\" }",
        "expect = { id = \"1\" }",
        "DIR/acme.toml:19: example[0]: `expect.type` is left out, but the request gives `paid`",
    );
    one(
        "expect = { reply = \"abc\" }",
        "expect = { reply = \"ab\" }",
        "DIR/acme.toml:26: example[1]: `expect.reply` is `ab`, but the request gives `abc`",
    );
    one(
        "query = \"challenge=abc\"",
        "query = \"\"",
        "DIR/acme.toml:26: example[1]: it is `unsigned`, but no handshake without `signed` answers it",
    );
    one(
        "methods = [\"POST\", \"GET\"]",
        "methods = [\"POST\"]",
        "DIR/acme.toml:26: example[1]: its method GET is not among `methods`",
    );
}

/// Every built-in provider file, as a table.
fn built_in() -> Vec<(&'static str, Value)> {
    let read = |name: &str| std::fs::read_to_string(format!("providers/{name}.toml")).unwrap();
    catalogue::names().map(|name| (name, toml::from_str(&read(name)).unwrap())).collect()
}

#[test]
fn every_built_in_contract_can_stand_in_the_folder() {
    let folder = Folder::new(&[]);
    for name in catalogue::names() {
        std::fs::copy(format!("providers/{name}.toml"), folder.0.path().join(format!("our-{name}.toml"))).unwrap();
    }
    let config = setup(&folder.section("")).load().unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.catalogue.own().count(), catalogue::names().count());
}

#[test]
fn every_built_in_contract_can_stand_within_a_source() {
    let mut sources = serde_json::Map::new();
    for (name, file) in built_in() {
        let examples = file["example"].as_array().unwrap();
        let proven = examples.iter().find(|example| example["unsigned"] != json!(true)).unwrap();
        let mut options = serde_json::Map::new();
        for example in examples {
            options.extend(example.get("options").and_then(Value::as_object).cloned().unwrap_or_default());
        }
        let mut source = json!({"provider": "custom", "options": options, "public_url": "https://h/p"});
        for key in [
            "verify",
            "event",
            "methods",
            "success_body",
            "success_status",
            "busy_status",
            "handshake",
            "sample",
            "example",
        ] {
            if let Some(value) = file.get(key) {
                source[key] = value.clone();
            }
        }
        if let Some(secret) = proven.get("secret").and_then(Value::as_str) {
            let public = catalogue::provider(name).unwrap().rule.wants_public_keys();
            source[if public { "public_keys" } else { "secrets" }] = json!([format!("literal:{secret}")]);
        }
        sources.insert(name.to_owned(), source);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.json");
    std::fs::write(&path, json!({"sources": sources}).to_string()).unwrap();
    let config = config::load(&[Path::new(&path)], &Vars::new()).unwrap_or_else(|errors| panic!("{errors}"));
    for source in &config.sources {
        let name = source.name.as_str();
        let (own, shipped) = (&source.provider, catalogue::provider(name).unwrap());
        assert_eq!(own.rule.method(), shipped.rule.method(), "{name}");
        assert_eq!(own.id_signed, shipped.id_signed, "{name}");
        assert_eq!(own.learns(), shipped.learns(), "{name}");
    }
}

#[test]
fn a_contract_within_a_source_is_told_by_its_keys() {
    let with = |from: &str, to: &str| {
        let contract = ACME.replace("title = \"Acme\"\n", "").replace("[verify]", "[sources.one.verify]");
        let contract = contract.replace("[event]", "[sources.one.event]").replace("[[", "[[sources.one.");
        assert!(contract.contains(from), "{from}");
        format!("provider = \"custom\"\nsecrets = [\"literal:x\"]\n{}", contract.replace(from, to))
    };
    assert!(setup(&format!("[sources.one]\n{}", with("", ""))).load().is_ok());
    source(&with("prefix = ", "prefx = "), &["verify.signature.prefx: unknown key; did you mean `prefix`?"]);
    source(
        &with("kind = \"hmac\"\n", ""),
        &["verify.kind: missing: one of hmac, digest, signature, jwt, sns, truelayer, token, basic, none"],
    );
    source(
        &with("status = 200", "status = 302"),
        &["handshake[0].reply.status: is neither between 200 and 299 nor 404"],
    );
    source(&with("{query:challenge}\"", "{option:token}\""), &["handshake[0].reply: names the unknown option `token`"]);
    source(
        &with("signed = false", "sigend = false"),
        &["handshake[0].sigend: unknown key; did you mean `signed`?", "handshake[0].signed: missing"],
    );
    source(&with("secret = \"s3cret\"", "secret = \"other\""), &[REFUSED]);
    source(
        "provider = \"github\"\nsecrets = [\"literal:x\"]\nmethods = [\"GET\"]\nexample = []\nsample = {}",
        &["methods: stands only beside provider = \"custom\"", "sample: stands only beside provider = \"custom\""],
    );
}
