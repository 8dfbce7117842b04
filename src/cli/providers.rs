//! `hookferry providers`: the catalogue for people, as text or Markdown.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use super::{Files, Wrong, print};
use crate::catalogue::{Catalogue, CatalogueError, HandshakeSpec, Provider, Value};
use crate::config;
use crate::verify::{Encoding, FieldSpec, Spec};

/// List the senders that are known, or show one in full
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of one sender
    pub name: Option<String>,
    /// Print Markdown
    #[arg(long)]
    pub markdown: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Wrong`]: nobody has this name. [`config::Errors`]: a provider file cannot be read.
pub fn run(args: &Args, files: &Files) -> anyhow::Result<ExitCode> {
    let catalogue = config::catalogue(&files.config, &config::environment())?;
    let text = match &args.name {
        None => list(&catalogue, args.markdown)?,
        Some(name) => match catalogue.provider(name) {
            Ok(provider) => entry(&catalogue, &provider, args.markdown),
            Err(error @ CatalogueError::Unknown { .. }) => {
                return Err(Wrong(format!("{error}; `hookferry providers` lists all")).into());
            }
            Err(error) => return Err(error.into()),
        },
    };
    print(&text)
}

fn list(catalogue: &Catalogue, markdown: bool) -> Result<String, CatalogueError> {
    const HEAD: [&str; 5] = ["NAME", "SENDER", "PROOF", "WAITS", "RETRIES FOR"];
    let mut rows = Vec::new();
    for name in catalogue.names() {
        let provider = catalogue.provider(name)?;
        let contract = &provider.contract;
        rows.push([
            name.to_owned(),
            contract.title.clone(),
            format!("{}{}", provider.rule.method(), if contract.experimental { " *" } else { "" }),
            contract.timeout.map_or_else(|| "?".to_owned(), time),
            contract.retry_horizon.map_or_else(
                || "?".to_owned(),
                |horizon| if horizon.is_zero() { "never".to_owned() } else { time(horizon) },
            ),
        ]);
    }
    let mut out = String::new();
    if markdown {
        out.push_str(INTRODUCTION);
        let _ = writeln!(out, "| {} |\n|{}", HEAD.map(str::to_lowercase).join(" | "), " --- |".repeat(HEAD.len()));
        for row in rows {
            let link = format!("[{}](#{})", row[0], anchor(&row[1], &row[0]));
            let [_, rest @ ..] = row.map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(out, "| {link} | {} |", rest.join(" | "));
        }
        for name in catalogue.names() {
            let _ = write!(out, "\n{}", entry(catalogue, &catalogue.provider(name)?, true));
        }
        return Ok(out);
    }
    let head = HEAD.map(str::to_owned);
    let width =
        |n: usize| rows.iter().chain([&head]).filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..HEAD.len()).map(|n| width(n).unwrap_or(0)).collect();
    for row in [&head].into_iter().chain(&rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    Ok(out)
}

/// What stands before the table of the whole catalogue in Markdown.
const INTRODUCTION: &str = "\
# Providers

The catalogue of `hookferry providers`, made by `hookferry providers --markdown`; the files are in `providers/`, and a test
keeps this page equal to them. A `*` behind the proof: experimental, so try it with real deliveries before you rely on it.
A `?`: it is not in the catalogue.

";

/// The anchor that Markdown renderers make of an entry's heading.
fn anchor(title: &str, name: &str) -> String {
    let kept = |c: char| if c == ' ' { Some('-') } else { (c.is_alphanumeric() || "-_".contains(c)).then_some(c) };
    format!("{title} ({name})").to_lowercase().chars().filter_map(kept).collect()
}

fn entry(catalogue: &Catalogue, provider: &Provider, markdown: bool) -> String {
    let mut facts = facts(provider);
    if let Some(file) = catalogue.file(&provider.id) {
        facts.insert(0, ("file", file.display().to_string()));
    }
    let (title, name) = (&provider.contract.title, &provider.id);
    let setup = provider.contract.setup.as_deref().map_or("", str::trim);
    let mut out = String::new();
    if markdown {
        let _ = writeln!(out, "## {title} (`{name}`)\n\n| | |\n| --- | --- |");
        for (label, fact) in facts {
            let _ = writeln!(out, "| {label} | {} |", fact.replace('|', "\\|"));
        }
        if !setup.is_empty() {
            let _ = writeln!(out, "\n{setup}");
        }
        let _ = writeln!(out, "\n```toml\n{}```", section(provider));
        return out;
    }
    let _ = writeln!(out, "{title} ({name})\n");
    let width = facts.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    for (label, fact) in facts {
        let _ = writeln!(out, "{label:<width$}  {fact}");
    }
    if !setup.is_empty() {
        let _ = writeln!(out, "\nSet up\n{}", indented(setup));
    }
    let _ = writeln!(out, "\nConfigure\n{}", indented(&section(provider)));
    out
}

/// Everything about a sender that has a line of its own.
fn facts(provider: &Provider) -> Vec<(&'static str, String)> {
    let contract = &provider.contract;
    let event = &contract.event;
    let mut facts: Vec<(&'static str, String)> = Vec::new();
    let mut add = |label, fact: String| facts.push((label, fact));
    if let Some(docs) = &contract.docs {
        add("page", docs.clone());
    }
    if contract.experimental {
        add("experimental", "few facts from second hand: try it with real deliveries before you rely on it".to_owned());
    }
    add("proof", proof(provider));
    let signed = match &contract.verify {
        Spec::Hmac(spec) => Some(spec.message.clone()),
        Spec::Digest(spec) => Some(spec.message.clone()),
        Spec::Signature(spec) => Some(spec.message.clone()),
        Spec::Jwt(spec) => {
            spec.body_hash.as_ref().map(|hash| format!("the claim {} holds the body's SHA-256", hash.claim))
        }
        Spec::Sns(_) => Some("the members of the message that Amazon names".to_owned()),
        Spec::TrueLayer(_) => Some("method, path, the headers that the signature lists, body".to_owned()),
        Spec::Token(_) | Spec::Basic {} | Spec::None {} => None,
    };
    if let Some(message) = signed {
        add("signed", message.replace('\n', "\\n"));
    }
    add("replay window", window(provider));
    let id_note = match (provider.id_signed, provider.covers_id()) {
        (true, _) => "",
        (false, true) => " (does not tell events apart by itself, so the body counts as well)",
        (false, false) => " (not covered by the signature, so the body counts as well)",
    };
    add(
        "event id",
        match (event.id.is_empty(), event.repeats) {
            (true, true) => "of each delivery its own: two events may be equal to the byte".to_owned(),
            (true, false) => "the body's SHA-256".to_owned(),
            (false, true) => format!("{}{id_note}; without one, of each delivery its own", places(&event.id)),
            (false, false) => format!("{}{id_note}", places(&event.id)),
        },
    );
    for (label, values) in [("event type", &event.kind), ("event time", &event.time), ("subject", &event.subject)] {
        if !values.is_empty() {
            let zone = event.time_zone.as_ref().filter(|_| label == "event time");
            let zone = zone.map_or_else(String::new, |zone| format!(", at {zone} where it names no zone"));
            add(label, format!("{}{zone}", places(values)));
        }
    }
    add("methods", contract.methods.join(", "));
    if !contract.addresses.is_empty() {
        add("addresses", format!("{} (for allow_ips)", contract.addresses.join(", ")));
    }
    for (name, purpose) in &contract.options {
        add("option", format!("{name}: {purpose}"));
    }
    for handshake in &contract.handshake {
        add("handshake", shake(handshake));
    }
    let body = contract.success_body.as_ref().map_or_else(String::new, |body| format!(" with the body {body}"));
    add("answer", format!("{}{body}; {} to be tried again later", contract.success_status, contract.busy_status));
    let waits = contract.timeout.map_or_else(|| "not known here".to_owned(), time);
    add("sender waits", waits);
    add(
        "sender retries",
        match contract.retry_horizon {
            None => "not known here".to_owned(),
            Some(Duration::ZERO) => "never: what it cannot deliver is lost".to_owned(),
            Some(horizon) => format!("for {}", time(horizon)),
        },
    );
    if !contract.recalled.is_empty() {
        add("unconfirmed", format!("{} (not from the sender's page or library)", contract.recalled.join(", ")));
    }
    facts
}

fn window(provider: &Provider) -> String {
    let rule = &provider.rule;
    match (rule.tolerance_s(), rule.timestamp_header()) {
        (Some(seconds), Some(header)) => format!("{} by the header {header}", time(Duration::from_secs(seconds))),
        (Some(seconds), None) => format!("{} by the time in the request", time(Duration::from_secs(seconds))),
        (None, _) if matches!(provider.contract.verify, Spec::Jwt(_)) => "as long as the token is valid".to_owned(),
        (None, _) if rule.is_timed() => "none unless the source sets `tolerance`: the time is signed".to_owned(),
        (None, _) => "none: a copy is recognised as a duplicate, no more".to_owned(),
    }
}

fn proof(provider: &Provider) -> String {
    let method = provider.rule.method();
    let signature = |encoding: Encoding, field: &FieldSpec| {
        let encoding = match encoding {
            Encoding::Hex => "hex",
            Encoding::Base64 => "base64",
            Encoding::Base64Url => "base64url",
        };
        format!("{method}, {encoding}, in {}", place(field))
    };
    match &provider.contract.verify {
        Spec::Hmac(spec) => signature(spec.encoding, &spec.signature),
        Spec::Digest(spec) => signature(spec.encoding, &spec.signature),
        Spec::Signature(spec) => signature(spec.encoding, &spec.signature),
        Spec::Jwt(spec) => {
            let names: Vec<String> = spec.algorithms.iter().map(|name| format!("{name:?}")).collect();
            format!("JSON Web Token ({}) in {}", names.join(", "), place(&spec.token))
        }
        Spec::Sns(_) => "RSA, base64, in the body at /Signature".to_owned(),
        Spec::TrueLayer(_) => "detached JSON Web Signature (ES512) in the header tl-signature".to_owned(),
        Spec::Token(spec) => {
            format!("the secret itself, in {}: it proves the sender, not the body", place(&spec.token))
        }
        Spec::Basic {} => "user and password of HTTP Basic: they prove the sender, not the body".to_owned(),
        Spec::None {} => "none".to_owned(),
    }
}

fn place(field: &FieldSpec) -> String {
    let mut text = match (&field.header, &field.query, &field.body, &field.form) {
        (Some(header), ..) => format!("the header {header}"),
        (_, Some(query), ..) => format!("the query parameter {query}"),
        (_, _, Some(pointer), _) => format!("the body at {pointer}"),
        (_, _, _, Some(form)) => format!("the form field {form}"),
        _ => "the body itself".to_owned(),
    };
    for also in &field.also {
        let _ = write!(text, " or {also}");
    }
    if let Some(prefix) = &field.prefix {
        let _ = write!(text, " after `{prefix}`");
    }
    if let Some(split) = &field.split {
        let _ = write!(text, ", a list by `{split}`");
    }
    text
}

fn places(values: &[Value]) -> String {
    values.iter().map(Value::to_string).collect::<Vec<_>>().join(", else ")
}

fn shake(handshake: &HandshakeSpec) -> String {
    let when = &handshake.when;
    let mut conditions: Vec<String> = when.method.iter().cloned().collect();
    conditions.extend(when.path.iter().map(|path| format!("at {path}")));
    let all = [("body:", &when.body), ("query:", &when.query), ("header:", &when.header), ("form:", &when.form)];
    for (label, pairs) in all {
        conditions.extend(pairs.iter().map(|(name, value)| format!("{label}{name} = {value}")));
    }
    conditions.extend(when.without.iter().map(|place| format!("no {place}")));
    conditions.extend(when.without_option.iter().map(|name| format!("no options.{name}")));
    conditions.extend(handshake.decrypt.iter().map(|place| format!("encrypted in {place}")));
    let signed = if handshake.signed { "signed" } else { "unsigned" };
    let reply = &handshake.reply;
    let headers: String = reply.headers.iter().map(|(name, value)| format!(" {name}: {value}")).collect();
    let (status, kind, body) = (reply.status, &reply.content_type, &reply.body);
    let besides = match (&handshake.visit, &handshake.remember, &handshake.capture) {
        (Some(visit), ..) => format!("; {} is visited", visit.url),
        (_, Some(remember), _) => format!("; {} is believed as a secret from then on", remember.secret),
        (_, _, Some(text)) => format!("; {text} is put into a file beside the journal"),
        _ => String::new(),
    };
    let answer = format!("{}, {signed}: answered {status} {kind} {body}{headers}", conditions.join(", "));
    format!("{}{besides}", answer.trim_end())
}

/// The least that a configuration needs.
fn section(provider: &Provider) -> String {
    let name = &provider.id;
    let mut text = format!("[sources.{name}]\nprovider = \"{name}\"\n");
    let env = name.to_uppercase().replace('-', "_");
    if provider.rule.supplies_keys() || provider.learns() {
        // Nothing to configure: the sender publishes or shows it.
    } else if provider.rule.wants_public_keys() {
        let _ = writeln!(text, "public_keys = [\"file:{name}.pub\"]");
    } else if !matches!(provider.contract.verify, Spec::None {}) {
        let _ = writeln!(text, "secrets = [\"env:{env}_SECRET\"]");
    }
    if provider.rule.needs_url() {
        let _ = writeln!(text, "public_url = \"https://hooks.example.com/webhooks/{name}\"  # as the sender has it");
    }
    if !provider.contract.options.is_empty() {
        let _ = writeln!(text, "[sources.{name}.options]");
        let pins = ["certificates", "trusted_roots", "hosts", "jwks", "token"];
        for option in provider.contract.options.keys().filter(|name| !pins.contains(&name.as_str())) {
            let _ = writeln!(text, "{option} = \"env:{env}_{}\"", option.to_uppercase());
        }
    }
    text
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn time(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in() -> Catalogue {
        Catalogue::default()
    }

    #[test]
    fn the_list_has_a_line_for_each_sender() {
        let text = list(&built_in(), false).unwrap();
        assert_eq!(text.lines().count(), 1 + built_in().names().len());
        let github = text.lines().find(|line| line.starts_with("github ")).unwrap();
        assert_eq!(github.split_whitespace().collect::<Vec<_>>(), ["github", "GitHub", "hmac-sha256", "10s", "never"]);
        let markdown = list(&built_in(), true).unwrap();
        assert!(
            markdown.contains("| name | sender | proof | waits | retries for |\n| --- | --- | --- | --- | --- |\n")
        );
        assert!(markdown.contains("| [github](#github-github) | GitHub | hmac-sha256 | 10s | never |\n"));
    }

    #[test]
    fn an_entry_says_what_to_configure_and_what_the_sender_does() {
        let text = entry(&built_in(), &built_in().provider("slack").unwrap(), false);
        for wanted in [
            "Slack (slack)",
            "hmac-sha256, hex, in the header x-slack-signature after `v0=`",
            "v0:{timestamp}:{body}",
            "5m by the header x-slack-request-timestamp",
            "body:/event_id",
            "body:/type = url_verification, signed: answered 200 text/plain {body:/challenge}",
            "sender waits    3s",
            "secrets = [\"env:SLACK_SECRET\"]",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
    }

    #[test]
    fn the_page_of_all_senders_is_current() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/providers.md");
        let page = std::fs::read_to_string(file).unwrap();
        assert!(page == list(&built_in(), true).unwrap(), "run: cargo run -- providers --markdown > docs/providers.md");
    }

    #[test]
    fn every_entry_can_be_shown_and_configured() {
        for name in built_in().names() {
            let provider = built_in().provider(name).unwrap();
            assert!(entry(&built_in(), &provider, true).contains(&format!("(`{name}`)")));
            let section: toml::Table = toml::from_str(&section(&provider)).unwrap();
            assert_eq!(section["sources"][name]["provider"].as_str(), Some(name));
        }
    }

    #[test]
    fn an_unknown_name_leads_to_the_nearest() {
        let error = run(&Args { name: Some("githib".to_owned()), markdown: false }, &Files::default()).unwrap_err();
        assert!(error.is::<Wrong>());
        assert!(error.to_string().contains("`github`"), "{error}");
    }
}
