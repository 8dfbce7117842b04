//! Which contract a source has: a provider of the catalogue, its own, or none.

use config::{Map, Value, ValueKind};

use super::mistake::did_you_mean;
use super::parts::chosen;
use super::section::{Collector, steps};
use crate::catalogue::{Catalogue, CatalogueError, Contract, Provider};
use crate::ingress::settings;
use crate::verify::{KINDS, Spec};

/// `provider` of a source that brings its own contract.
pub const CUSTOM: &str = "custom";
/// `provider` of a source that proves nothing.
pub const NONE: &str = "none";

/// Reads the table `verify` of a section by its `kind`, so that each mistake in it has a key. What is wrong gives way to
/// a scheme that is not, for the rest of the section to be read; whether nothing was.
pub fn verify(collect: &mut Collector, section: &[&str], value: &mut Value) -> bool {
    let ValueKind::Table(table) = &mut value.kind else { return true };
    let Some(spec) = table.get_mut("verify") else { return true };
    let before = collect.mistakes.len();
    let path = [section, &["verify"]].concat();
    chosen(collect, &path, spec.clone(), "kind", KINDS, |kind, table| Spec::parse(kind, table));
    let whole = collect.mistakes.len() == before;
    if !whole {
        let none: Map<String, Value> = [("kind".to_owned(), Value::from("none"))].into_iter().collect();
        spec.kind = ValueKind::Table(none);
    }
    whole
}

/// The provider as the catalogue, or the section itself, has it.
///
/// - `clean`: whether the section was read without a mistake; else its examples show nothing.
pub fn contract(
    collect: &mut Collector,
    name: &str,
    settings: &settings::Source,
    catalogue: &Catalogue,
    clean: bool,
) -> Option<Provider> {
    let mut mistake = |key: &str, what: String| {
        let path: Vec<&str> = ["sources", name].into_iter().chain(steps(key)).collect();
        collect.mistake(&path, what);
    };
    let (custom, none) = (settings.provider == CUSTOM, settings.provider == NONE);
    let own = [
        ("verify", settings.verify.is_some()),
        ("methods", settings.methods.is_some()),
        ("success_body", settings.success_body.is_some()),
        ("handshake", !settings.handshake.is_empty()),
        ("sample", settings.sample.is_some()),
        ("example", !settings.example.is_empty()),
    ];
    for (key, _) in own.iter().filter(|(_, set)| *set && !custom) {
        mistake(key, format!("stands only beside provider = \"{CUSTOM}\""));
    }
    if settings.event.is_some() && !custom && !none {
        mistake("event", format!("stands only beside provider = \"{CUSTOM}\" or \"{NONE}\""));
    }
    if settings.insecure && !none {
        mistake("insecure", format!("stands only beside provider = \"{NONE}\""));
    }
    let event = settings.event.clone().unwrap_or_default();
    let contract = if none {
        if !settings.insecure {
            let what = "\"none\" checks nothing: if that is meant, say insecure = true beside it";
            mistake("provider", what.to_owned());
        }
        Provider::custom(NONE, Spec::None {}, event)
    } else if custom {
        let Some(spec) = settings.verify.clone() else {
            mistake("verify", format!("missing: provider = \"{CUSTOM}\" needs its signature described here"));
            return None;
        };
        Provider::new(name, inline(settings, Contract::inline(spec, event)))
    } else {
        match catalogue.provider(&settings.provider) {
            Ok(provider) => return Some(provider),
            // Its file is wrong, which is told already.
            Err(CatalogueError::Unknown { name, .. }) if catalogue.is_wrong(&name) => {}
            Err(CatalogueError::Unknown { name, .. }) => {
                let near = did_you_mean(&name, catalogue.names().into_iter().chain([CUSTOM, NONE]));
                mistake("provider", format!("no provider is named `{name}`{near}"));
            }
            Err(error) => mistake("provider", error.to_string()),
        }
        return None;
    };
    match contract {
        Ok(provider) => {
            for unmet in if clean { provider.unmet() } else { Vec::new() } {
                mistake(&format!("example[{}]", unmet.number), unmet.why);
            }
            Some(provider)
        }
        Err(error) => {
            mistake(&error.place(), error.problem().to_owned());
            None
        }
    }
}

/// The contract that the section describes.
fn inline(settings: &settings::Source, mut contract: Contract) -> Contract {
    if let Some(methods) = &settings.methods {
        contract.methods.clone_from(methods);
    }
    if let Some(sample) = &settings.sample {
        contract.sample = sample.clone();
    }
    contract.success_body.clone_from(&settings.success_body);
    contract.handshake.clone_from(&settings.handshake);
    contract.example.clone_from(&settings.example);
    let named = settings.options.iter().map(|(name, _)| (name.to_owned(), String::new()));
    contract.options = named.collect();
    contract
}
