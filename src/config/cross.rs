//! Checks that need more than one key: limits that must fit each other, names that must lead somewhere.

use std::collections::HashMap;
use std::path::Path;

use super::layers::Vars;
use super::mistake::did_you_mean;
use super::section::Collector;
use super::{Source, secrets};
use crate::dispatch::aside;
use crate::event::route::{Glob, Route};
use crate::event::{BackendName, Secret, SourceName};
use crate::ingress::settings::Server;
use crate::listener::Address;
use crate::listener::tls::Identity;
use crate::{admin, journal, listener};

/// Room that a record needs beside the body, in bytes: attributes, kept headers, framing.
const RECORD_OVERHEAD: u64 = 64 << 10;

/// What may be named: every section that exists, even one with mistakes in it.
pub struct Names {
    /// `[sources.*]`.
    pub sources: Vec<SourceName>,
    /// `[backends.*]`.
    pub backends: Vec<BackendName>,
}

/// Reads the admin's token, and asks for one where others can reach the listener.
pub fn token(collect: &mut Collector, admin: &admin::settings::Settings, vars: &Vars) -> Option<Secret> {
    let Some(reference) = &admin.token else {
        if !admin.listen.is_local() {
            let what = match &admin.listen {
                Address::Systemd(_) => "systemd may pass any address: set admin.token".to_owned(),
                listen => format!("{listen} is not a loopback address: set admin.token"),
            };
            collect.mistake(&["admin", "listen"], what);
        }
        return None;
    };
    match secrets::resolve(reference, vars) {
        Ok(token) if token.expose().iter().all(u8::is_ascii_graphic) => Some(token),
        Ok(_) => {
            collect.mistake(&["admin", "token"], "must be visible ASCII: no header can carry it");
            None
        }
        Err(what) => {
            collect.mistake(&["admin", "token"], what);
            None
        }
    }
}

/// Reads the certificates of the listener that `section` configures.
///
/// - `dir`: of the journal.
pub fn identity(collect: &mut Collector, section: &str, tls: &listener::settings::Tls, dir: &Path) -> Option<Identity> {
    if section != "server" && tls.acme.is_some() {
        // No authority looks for a name at another port than 443.
        collect.mistake(&[section, "tls", "acme"], "is for the ingress: name `cert` and `key` here");
        return None;
    }
    match Identity::load(tls, &dir.join("acme")) {
        Ok(identity) => Some(identity),
        Err(wrong) => {
            let path: Vec<_> = [section, "tls"].into_iter().chain(wrong.key.split('.')).collect();
            collect.mistake(&path, wrong.what);
            None
        }
    }
}

/// Checks the names of the admin listener.
fn hosts(collect: &mut Collector, hosts: &[String]) {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
    for host in hosts {
        let with_port = host.parse::<std::net::Ipv6Addr>().is_err() && host.contains(':');
        if host.is_empty() || with_port || !host.bytes().all(is_name) {
            collect.mistake(&["admin", "hosts"], format!("`{host}` must be a name or an address, without a port"));
        }
    }
}

/// Most bytes of `max_header`: the parser of heads takes no name of a field that is longer.
const MOST_HEADER: u64 = 64 << 10;

/// Checks the sections that stand alone, and against each other.
pub fn limits(
    collect: &mut Collector,
    server: &Server,
    admin: &admin::settings::Settings,
    journal: &journal::settings::Settings,
    dedup: &journal::settings::Dedup,
) {
    let mut zero = |section: &str, key: &str, is_zero: bool| {
        if is_zero {
            collect.mistake(&[section, key], "must be more than zero");
        }
    };
    zero("server", "max_body", server.max_body == 0);
    zero("server", "body_timeout", server.body_timeout.is_zero());
    zero("server", "ack_timeout", server.ack_timeout.is_zero());
    zero("server", "max_connections", server.max_connections == 0);
    zero("server", "max_header", server.max_header == 0);
    zero("dedup", "max_keys", dedup.max_keys == 0);
    if server.max_header > MOST_HEADER {
        collect.mistake(&["server", "max_header"], "must be at most 64KiB");
    }
    inflight(collect, server.max_inflight, &["server", "max_body"], server.max_body);
    if server.proxy_protocol && server.trusted_proxies.is_empty() {
        let what = "needs server.trusted_proxies: only they may send a PROXY header";
        collect.mistake(&["server", "proxy_protocol"], what);
    }
    if journal.dir.as_os_str().is_empty() {
        collect.mistake(&["journal", "dir"], "is empty");
    }
    hosts(collect, &admin.hosts);
    for (section, listen, tls) in [("server", &server.listen, &server.tls), ("admin", &admin.listen, &admin.tls)] {
        if let (Address::Unix(_), Some(_)) = (listen, tls) {
            collect.mistake(
                &[section, "tls"],
                format!("{listen} is a Unix socket, which no network carries: leave it out"),
            );
        }
    }
    if server.listen.collides(&admin.listen) {
        let what = format!("{} is the address of both listeners", admin.listen);
        collect.mistake_among(&[&["admin", "listen"], &["server", "listen"]], what);
    }
    fits(collect, &["server", "max_body"], server.max_body, journal.segment_in_force());
}

/// A body may be in memory twice: as it was sent, and decoded.
fn inflight(collect: &mut Collector, most: u64, path: &[&str], max_body: u64) {
    if max_body.saturating_mul(2) > most {
        let what = format!("a body of {max_body} B, as sent and decoded, does not fit server.max_inflight, {most} B");
        collect.mistake_among(&[path, &["server", "max_inflight"]], what);
    }
}

fn fits(collect: &mut Collector, path: &[&str], max_body: u64, segment: u64) {
    if max_body.saturating_add(RECORD_OVERHEAD) > segment {
        let what = format!(
            "a body of {max_body} B, with {RECORD_OVERHEAD} B of attributes, does not fit a segment of {segment} B \
             (journal.segment_bytes, at most a quarter of journal.max_bytes)"
        );
        collect.mistake_among(&[path, &["journal", "max_bytes"], &["journal", "segment_bytes"]], what);
    }
}

/// Checks that no backend has the name of another holder of dead letters.
pub fn holders(collect: &mut Collector, names: &Names) {
    if let Some(name) = names.backends.iter().find(|name| name.as_str() == aside::HOLDER) {
        let what = "is the holder of dead letters that do not meet their schema: choose another name";
        collect.mistake(&["backends", name.as_str()], what);
    }
}

/// Checks that routes lead from known sources to known backends.
pub fn routes(collect: &mut Collector, routes: &[(usize, Route)], names: &Names) {
    for (n, route) in routes {
        let n = n.to_string();
        if route.to.is_empty() {
            collect.mistake(&["routes", &n, "to"], "names no backend");
        }
        backends(collect, &["routes", &n, "to"], &route.to, names);
        let source = route.matching.source.as_ref().map(Glob::as_str).filter(|source| !source.contains('*'));
        let known = names.sources.iter().map(SourceName::as_str);
        if let Some(source) = source.filter(|source| !known.clone().any(|name| name == *source)) {
            let what = format!("no source is named `{source}`{}", did_you_mean(source, known));
            collect.mistake(&["routes", &n, "match", "source"], what);
        }
    }
}

fn backends(collect: &mut Collector, path: &[&str], used: &[BackendName], names: &Names) {
    for name in used.iter().filter(|name| !names.backends.contains(name)) {
        let known = names.backends.iter().map(BackendName::as_str);
        let what = format!("no backend is named `{name}`{}", did_you_mean(name.as_str(), known));
        collect.mistake(path, what);
    }
}

/// Checks that no two sources share a path, that their backends exist, and that their bodies fit.
pub fn sources(collect: &mut Collector, server: &Server, sources: &[Source], names: &Names, segment: u64) {
    let mut paths: HashMap<&str, &SourceName> = HashMap::new();
    for source in sources {
        let at = |key: &'static str| ["sources", source.name.as_str(), key];
        if let Some(other) = paths.insert(&source.path, &source.name) {
            collect.mistake(&at("path"), format!("`{}` is the path of sources.{other} already", source.path));
        }
        if let Some(used) = &source.settings.backends {
            backends(collect, &at("backends"), used, names);
        }
        if let Some(max_body) = source.settings.max_body {
            inflight(collect, server.max_inflight, &at("max_body"), max_body);
            fits(collect, &at("max_body"), max_body, segment);
        }
    }
    further(collect, sources);
}

/// Checks that no challenge is answered where events come in, nor in place of another sender's.
fn further(collect: &mut Collector, sources: &[Source]) {
    for source in sources {
        // What the operator did not write cannot be mended there.
        let key = if source.settings.handshake.is_empty() { "provider" } else { "handshake" };
        let mut mistake = |what| collect.mistake(&["sources", source.name.as_str(), key], what);
        for path in source.provider.further_paths() {
            if let Some(other) = sources.iter().find(|other| other.path == path) {
                mistake(format!(
                    "answers challenges at `{path}`, the path of sources.{}: none of its events would be taken",
                    other.name
                ));
            }
            // Sources of one provider answer the same there.
            let rivals = sources.iter().take_while(|other| other.name != source.name);
            let mut rivals = rivals.filter(|other| other.provider.id != source.provider.id);
            if let Some(other) = rivals.find(|other| other.provider.further_paths().any(|theirs| theirs == path)) {
                mistake(format!("answers challenges at `{path}`, as sources.{} does already", other.name));
            }
        }
    }
}
