//! The JSON Schema (draft 2020-12) of the configuration, derived from everybody's settings.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::DEFAULT;
use crate::event::route::Route;
use crate::event::{BackendName, SourceName};
use crate::{admin, backend, catalogue, ingress, journal, telemetry};

/// A configuration file: what [`super::load`] reads, section by section.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "hookferry")]
#[allow(dead_code, reason = "only its schema is wanted")]
struct File {
    /// The public ingress.
    server: Option<ingress::settings::Server>,
    /// The second listener: health, metrics, the API for operators and consumers.
    admin: Option<admin::settings::Settings>,
    /// Accepted events on disk.
    journal: Option<journal::settings::Settings>,
    /// Redeliveries of one event.
    dedup: Option<journal::settings::Dedup>,
    /// Traces that go to a collector.
    telemetry: Option<telemetry::settings::Settings>,
    /// Providers beside those that are built in.
    catalogue: Option<catalogue::settings::Settings>,
    /// Who may send: one section a sender.
    #[serde(default)]
    sources: BTreeMap<SourceName, ingress::settings::Source>,
    /// Where events go: one section a broker.
    #[serde(default)]
    backends: BTreeMap<BackendName, backend::Settings>,
    /// Which events go where.
    #[serde(default)]
    routes: Vec<Route>,
}

/// The schema; editors and CI check a file with it, `hookferry check` says more.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12();
    let settings = settings.with_transform(RecursiveTransform(tidy)).with_transform(referenced);
    let mut schema = settings.into_generator().into_root_schema_for::<File>().to_value();
    if let Ok(defaults) = toml::from_str::<Map<String, Value>>(DEFAULT) {
        set_defaults(&mut schema, &defaults);
    }
    schema
}

/// Takes out what JSON can say and a configuration cannot: nulls, sizes of Rust's integers, links between types.
fn tidy(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("format");
    // Some are of Rust's types; those of the annotated defaults come back below.
    object.remove("default");
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        if let [Value::Object(only)] = choices.as_mut_slice() {
            let only = std::mem::take(only);
            object.remove("anyOf");
            only.into_iter().for_each(|(key, value)| _ = object.entry(key).or_insert(value));
        }
    }
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = text.replace("[`", "`").replace("`]", "`").replace("`None`:", "Left out:");
    }
}

/// Lets every option of a backend be a reference as well, whatever its type.
fn referenced(schema: &mut Schema) {
    let reference = json!({"type": "string", "pattern": "^(env|file):.+$", "description": "Where the value stands."});
    let references = |backend: &mut Value| {
        for (name, option) in backend["properties"].as_object_mut().into_iter().flatten() {
            // A text may be a reference already.
            if name != "type" && option["type"] != "string" {
                let mut own = option.take();
                let description = own.as_object_mut().and_then(|own| own.remove("description"));
                *option = json!({"anyOf": [own, {"$ref": "#/$defs/Reference"}]});
                if let Some(description) = description {
                    option["description"] = description;
                }
            }
        }
    };
    let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) else { return };
    if let Some(Value::Array(backends)) = definitions.get_mut("Backend").and_then(|backend| backend.get_mut("oneOf")) {
        backends.iter_mut().for_each(references);
    }
    definitions.insert("Reference".to_owned(), reference);
}

/// Shows the annotated defaults at their keys.
fn set_defaults(schema: &mut Value, defaults: &Map<String, Value>) {
    for (section, keys) in defaults {
        let Some(name) = schema["properties"][section]["$ref"].as_str().and_then(|path| path.rsplit('/').next()) else {
            continue;
        };
        let path = format!("/$defs/{name}/properties");
        let Some(options) = schema.pointer_mut(&path).and_then(Value::as_object_mut) else { continue };
        for (key, value) in keys.as_object().into_iter().flatten() {
            if let Some(Value::Object(option)) = options.get_mut(key) {
                option.insert("default".to_owned(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A file as the layers read it.
    fn read(source: impl config::Source + Send + Sync + 'static) -> Value {
        config::Config::builder().add_source(source).build().unwrap().try_deserialize().unwrap()
    }

    fn toml(text: &str) -> Value {
        toml::from_str(text).unwrap()
    }

    #[track_caller]
    fn fits(value: &Value) {
        let schema = schema();
        jsonschema::draft202012::meta::validate(&schema).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
    }

    #[track_caller]
    fn refuses(texts: &[&str]) {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        for text in texts {
            assert!(!validator.is_valid(&toml(text)), "{text}");
        }
    }

    #[test]
    fn every_example_of_the_repository_meets_the_schema() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        for entry in std::fs::read_dir(dir).unwrap() {
            fits(&read(config::File::from(entry.unwrap().path())));
        }
    }

    /// Every option stands in them (a rule of the house), so none has a schema of another form than its reader's.
    #[test]
    fn the_annotated_defaults_meet_the_schema_with_every_option_uncommented() {
        let is_option = |line: &str| {
            let key = line.split(" = ").next().unwrap_or_default();
            line.starts_with('[') || (line.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        };
        let uncomment = |line: &'static str| line.strip_prefix("# ").filter(|line| is_option(line)).unwrap_or(line);
        fits(&toml(&DEFAULT.lines().map(uncomment).collect::<Vec<_>>().join("\n")));
    }

    #[test]
    fn every_signature_of_the_catalogue_meets_the_schema() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("providers");
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let provider = toml(&std::fs::read_to_string(path).unwrap());
            let mut source = json!({"provider": "custom", "verify": provider["verify"]});
            for key in ["event", "handshake", "methods", "success_body", "sample", "example"] {
                if let Some(value) = provider.get(key) {
                    source[key] = value.clone();
                }
            }
            fits(&json!({"sources": {"one": source}}));
        }
    }

    #[test]
    fn what_a_start_would_refuse_is_refused_where_a_schema_can_tell() {
        let source = |line: &str| format!("[sources.one]\nprovider = \"github\"\n{line}");
        let verify = |line: &str| source(&format!("[sources.one.verify]\nkind = \"hmac\"\nencoding = \"hex\"\n{line}"));
        for text in [
            source("secrets = [\"hunter2\"]"),
            source("ack = \"later\""),
            source("tolerance = \"soon\""),
            source("max_body = \"1 pound\""),
            source("busy_status = -1"),
            source("colour = \"red\""),
            source("backends = [\"Main\"]"),
            verify("message = \"{body}\"\nsignature = { haeder = \"x\" }"),
            verify("message = \"{body}\"\nsignature = { header = \"x\" }\nsecret = \"utf-8\""),
            verify("signature = { header = \"x\" }"),
        ] {
            refuses(&[&text]);
        }
        refuses(&[
            "colour = \"red\"",
            "[server]\nlistne = \"0.0.0.0:80\"",
            "[server]\nmax_body = 5",
            "[sources.Big]\nprovider = \"github\"",
            "[sources.one]\nsecrets = [\"env:A\"]",
            "[backends.a]\nurl = \"redis://h\"",
            "[backends.a]\ntype = \"kafka\"",
            "[backends.a]\ntype = \"redis\"",
            "[backends.a]\ntype = \"redis\"\nurl = \"redis://h\"\nformat = \"xml\"",
            "[backends.a]\ntype = \"rabbitmq\"\nurl = \"amqp://h\"\nmax_len = 3",
            "[[routes]]\nto = [\"a\"]\nmatch = { kind = \"x\" }",
        ]);
    }

    #[test]
    fn every_option_of_a_backend_may_stand_elsewhere() {
        fits(&toml("[backends.a]\ntype = \"redis\"\nurl = \"env:URL\"\nformat = \"env:F\"\nmax_len = \"file:n\""));
    }
}
