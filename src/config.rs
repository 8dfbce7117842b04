//! The configuration: layers, sections, secrets and the checks that need more than one section.
//!
//! [`load`] gives a [`Config`] in which every name leads somewhere and every secret is read, or
//! [`Errors`] with every mistake at once.
//!
//! Invariants
//! - Nothing below imports this module: each module owns its settings, this one composes them.
//! - A secret is in no message and in no `Debug`.
//! - The environment comes in as a map; only [`environment`] reads the process's own.

mod contract;
mod cross;
mod files;
mod layers;
mod mistake;
mod parts;
mod providers;
mod schema;
mod secrets;
mod section;
mod source;

use std::path::{Path, PathBuf};

use config::{Map, Value};

pub use files::Origin;
pub use layers::{Vars, environment};
pub use mistake::{Errors, Mistake};
pub use schema::schema;
pub use secrets::resolve;
pub use source::Source;

use crate::catalogue::Catalogue;
use crate::event::route::Routes;
use crate::event::{BackendName, Secret, SourceName};
use crate::ingress::settings::Ack;
use crate::listener::tls::Identity;
use crate::listener::{Address, Mode};
use crate::{admin, backend, catalogue, ingress, journal, telemetry};
use layers::Layers;
use mistake::did_you_mean;
use section::{Collector, decode};

/// The annotated defaults, as `hookferry config default` prints them.
pub const DEFAULT: &str = include_str!("../config/default.toml");

/// Name of the source that exists where no file is given.
pub const DEMO: &str = "demo";

/// A configuration that checks.
#[derive(Debug)]
pub struct Config {
    /// `[server]`.
    pub server: ingress::settings::Server,
    /// `[server.tls]`, read.
    pub tls: Option<Identity>,
    /// `[admin]`.
    pub admin: Admin,
    /// `[journal]`.
    pub journal: journal::settings::Settings,
    /// `[dedup]`.
    pub dedup: journal::settings::Dedup,
    /// `[telemetry]`.
    pub telemetry: telemetry::settings::Settings,
    /// The providers, those of `[catalogue]` among them.
    pub catalogue: Catalogue,
    /// `[sources.*]`, by name.
    pub sources: Vec<Source>,
    /// `[backends.*]`, by name.
    pub backends: Vec<(BackendName, backend::Settings)>,
    /// `[[routes]]`, and what the sources say about their backends.
    pub routes: Routes,
    /// Whether the source [`DEMO`] waits for its secret: no file was given, and nothing names one.
    /// Whoever starts the bridge makes it in [`Config::demo_secret_file`].
    pub demo: bool,
    /// The files that hold nothing.
    pub blank: Vec<PathBuf>,
}

/// `[admin]` with its secret read.
#[derive(Debug)]
pub struct Admin {
    /// Where it listens.
    pub listen: Address,
    /// Permissions of a Unix socket.
    pub socket_mode: Mode,
    /// Bearer token; there is one wherever others than this host reach `listen`.
    pub token: Option<Secret>,
    /// `[admin.tls]`, read.
    pub tls: Option<Identity>,
    /// Names of the listener beside those of loopback.
    pub hosts: Vec<String>,
}

impl Config {
    /// Whether a source keeps events aside that do not meet its schema.
    pub fn sets_aside(&self) -> bool {
        self.sources.iter().any(|source| source.schemas.set_aside())
    }

    /// File of the demo source's secret, mode 0600.
    pub fn demo_secret_file(&self) -> PathBuf {
        self.journal.dir.join("demo.secret")
    }
}

/// Reads the defaults, then `files` in order, then `vars`; later ones win, key by key.
///
/// # Errors
/// Every mistake of all layers.
pub fn load(files: &[impl AsRef<Path>], vars: &Vars) -> Result<Config, Errors> {
    load_after(None, files, vars)
}

/// As [`load`], while `before` is in force.
fn load_after(before: Option<&Config>, files: &[impl AsRef<Path>], vars: &Vars) -> Result<Config, Errors> {
    let no_file = files.is_empty();
    let mut mistakes = Vec::new();
    let layers = Layers::read(&embedded(no_file), files, vars, &mut mistakes);
    // Whoever writes a file in place empties it before. Without its sources their senders would be told 404, and some
    // never come again. Neither time nor a SIGHUP says that it is meant: a disk that is full keeps it empty, and the
    // rotation of logs sends the same signal.
    let emptied = layers.blank.iter().filter(|file| before.is_some_and(|before| !before.blank.contains(file)));
    mistakes.extend(emptied.map(|file| Mistake {
        file: file.display().to_string(),
        key: String::new(),
        what: "is empty: is it still being written? If it is to hold nothing, write a comment into it, or {} where it is JSON"
            .to_owned(),
    }));
    let mut sections = layers.merged.clone();
    let collect = &mut Collector { layers: &layers, mistakes };

    let server: ingress::settings::Server = settings(collect, &mut sections, "server");
    let admin: admin::settings::Settings = settings(collect, &mut sections, "admin");
    let journal: journal::settings::Settings = settings(collect, &mut sections, "journal");
    let dedup = settings(collect, &mut sections, "dedup");
    let telemetry = parts::telemetry(collect, sections.remove("telemetry"), vars);
    let own: catalogue::settings::Settings = settings(collect, &mut sections, "catalogue");
    let catalogue = providers::read(collect, &own);
    let sources = parts::entries::<SourceName>(collect, "sources", sections.remove("sources"));
    let backends = parts::entries::<BackendName>(collect, "backends", sections.remove("backends"));
    let routes = parts::routes(collect, sections.remove("routes"));
    unknown(collect, &sections);

    let names = cross::Names {
        sources: sources.iter().map(|(name, _)| name.clone()).collect(),
        backends: backends.iter().map(|(name, _)| name.clone()).collect(),
    };
    let sources: Vec<Source> = sources
        .into_iter()
        .filter_map(|(name, value)| source::source(collect, name, value, &catalogue, vars, no_file))
        .collect();
    let backends = backends.into_iter().filter_map(|(name, value)| {
        let backend = parts::backend(collect, &name, value, vars)?;
        Some((name, backend))
    });
    let backends: Vec<_> = backends.collect();
    let token = cross::token(collect, &admin, vars);
    let tls = server.tls.as_ref().and_then(|tls| cross::identity(collect, "server", tls, &journal.dir));
    let admin_tls = admin.tls.as_ref().and_then(|tls| cross::identity(collect, "admin", tls, &journal.dir));
    if let Err(what) = telemetry.traces_url() {
        collect.mistake(&["telemetry", "otlp_endpoint"], what);
    }
    cross::limits(collect, &server, &admin, &journal, &dedup);
    cross::routes(collect, &routes, &names);
    cross::holders(collect, &names);
    cross::sources(collect, &server, &sources, &names, journal.segment_in_force());

    if !collect.mistakes.is_empty() {
        layers.sort(&mut collect.mistakes);
        return Err(Errors(std::mem::take(&mut collect.mistakes)));
    }
    let pinned = sources.iter().filter_map(|source| Some((source.name.clone(), source.settings.backends.clone()?)));
    let routes = Routes::new(names.backends, pinned.collect(), routes.into_iter().map(|(_, route)| route).collect());
    let awaited = sources.iter().filter(|source| source.settings.ack == Ack::Published);
    let routes = awaited.fold(routes, |routes, source| routes.awaited_by(source.name.as_str(), &source.provider.id));
    let blank = layers.blank.clone();
    let demo = no_file && sources.iter().any(|source| source.name.as_str() == DEMO && source.secrets.is_empty());
    let admin =
        Admin { listen: admin.listen, socket_mode: admin.socket_mode, token, hosts: admin.hosts, tls: admin_tls };
    Ok(Config { server, tls, admin, journal, dedup, telemetry, catalogue, sources, backends, routes, demo, blank })
}

/// The providers alone, for who asks for nothing else.
///
/// # Errors
/// Every mistake of `[catalogue]` and its files.
pub fn catalogue(files: &[impl AsRef<Path>], vars: &Vars) -> Result<Catalogue, Errors> {
    let mut mistakes = Vec::new();
    let layers = Layers::read(&embedded(files.is_empty()), files, vars, &mut mistakes);
    let mut sections = layers.merged.clone();
    let collect = &mut Collector { layers: &layers, mistakes };
    let own: catalogue::settings::Settings = settings(collect, &mut sections, "catalogue");
    let catalogue = providers::read(collect, &own);
    if collect.mistakes.is_empty() { Ok(catalogue) } else { Err(Errors(std::mem::take(&mut collect.mistakes))) }
}

/// The lowest layer.
fn embedded(no_file: bool) -> String {
    if no_file {
        format!("{DEFAULT}\n[sources.{DEMO}]\nprovider = \"standard-webhooks\"\n")
    } else {
        DEFAULT.to_owned()
    }
}

/// Reads a section that is one struct; its defaults stand in for one with mistakes.
fn settings<T>(collect: &mut Collector, sections: &mut Map<String, Value>, name: &str) -> T
where
    T: serde::de::DeserializeOwned + Default,
{
    sections.remove(name).and_then(|value| collect.section(&[name], value, decode)).unwrap_or_default()
}

fn unknown(collect: &mut Collector, left: &Map<String, Value>) {
    const SECTIONS: [&str; 9] =
        ["server", "admin", "journal", "dedup", "telemetry", "catalogue", "sources", "backends", "routes"];
    let mut names: Vec<&String> = left.keys().collect();
    names.sort();
    for name in names {
        collect.mistake(&[name], format!("unknown section{}", did_you_mean(name, SECTIONS)));
    }
}
