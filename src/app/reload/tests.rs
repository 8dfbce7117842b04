//! Every setting is taken up by a reload, or named as one that needs a restart.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::config::{self, Vars};

/// What becomes of another value.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// A reload takes it up: nothing is named.
    Applied,
    /// This is named.
    Restart(&'static str),
    /// It is taken up, and for what a reload cannot reach this is named.
    Both(&'static str),
}
use Then::{Applied, Both, Restart};

/// Sections, their keys, and another value of each. Of a section with names, the keys are one example's.
const SETTINGS: &[(&str, &str, &str, Then)] = &[
    ("server", "listen", "\"127.0.0.1:9\"", Restart("server.listen")),
    ("server", "socket_mode", "\"0600\"", Restart("server.socket_mode")),
    ("server", "workers", "3", Restart("server.workers")),
    ("server", "max_body", "\"2KiB\"", Applied),
    ("server", "max_inflight", "\"3MiB\"", Applied),
    ("server", "body_timeout", "\"3s\"", Both("server.body_timeout (for headers)")),
    ("server", "ack_timeout", "\"3s\"", Applied),
    ("server", "max_connections", "7", Restart("server.max_connections")),
    ("server", "max_connections_per_ip", "7", Restart("server.max_connections_per_ip")),
    ("server", "min_body_rate", "\"2KiB\"", Applied),
    ("server", "max_header", "\"8KiB\"", Restart("server.max_header")),
    ("server", "proxy_protocol", "true", Restart("server.proxy_protocol")),
    ("server", "trusted_proxies", "[\"10.0.0.0/8\"]", Applied),
    ("server", "shutdown_grace", "\"3s\"", Applied),
    ("server", "tls", "{ cert = \"CERT\", key = \"KEY\" }", Restart("server.tls")),
    ("admin", "listen", "\"127.0.0.1:9\"", Restart("admin.listen")),
    ("admin", "socket_mode", "\"0600\"", Restart("admin.socket_mode")),
    ("admin", "token", "\"literal:other\"", Applied),
    ("admin", "hosts", "[\"other\"]", Applied),
    ("admin", "tls", "{ cert = \"CERT\", key = \"KEY\" }", Restart("admin.tls")),
    ("catalogue", "dir", "\"FOLDER\"", Applied),
    ("catalogue", "replace", "[]", Applied),
    ("journal", "dir", "\"other\"", Restart("journal.dir")),
    ("journal", "max_bytes", "\"3GiB\"", Restart("journal.max_bytes")),
    ("journal", "retention", "\"3h\"", Restart("journal.retention")),
    ("journal", "segment_bytes", "\"3MiB\"", Restart("journal.segment_bytes")),
    ("dedup", "window", "\"3h\"", Applied),
    ("dedup", "max_keys", "7", Restart("dedup.max_keys")),
    ("telemetry", "otlp_endpoint", "\"http://127.0.0.1:9\"", Restart("telemetry")),
    ("telemetry", "otlp_headers", "{ a = \"literal:b\" }", Restart("telemetry")),
    ("telemetry", "trace_sample", "\"3%\"", Restart("telemetry")),
    ("sources", "a.tolerance", "\"3m\"", Applied),
    ("backends", "b.stream", "\"other\"", Restart("backends.b")),
    ("routes", "", "{ match = { source = \"a\" }, to = [\"b\"] }", Applied),
];

/// What every configuration here has.
const BASE: &str = "[sources.a]\nprovider = \"stripe\"\nsecrets = [\"literal:x\"]\n\
    [backends.b]\ntype = \"redis\"\nurl = \"redis://127.0.0.1:9\"\nstream = \"s\"\n";

fn load(dir: &Path, more: &str) -> Config {
    let pair = ["cert.pem", "key.pem"].map(|name| dir.join(name).display().to_string());
    let folder = dir.join("own");
    std::fs::create_dir_all(&folder).unwrap();
    let more = more.replace("CERT", &pair[0]).replace("KEY", &pair[1]).replace("FOLDER", &folder.display().to_string());
    let (base, over) = (dir.join("base.toml"), dir.join("over.toml"));
    // What depends on it is set beside it.
    std::fs::write(&base, format!("{BASE}[server]\nproxy_protocol = false\ntrusted_proxies = [\"10.1.0.0/16\"]\n"))
        .unwrap();
    std::fs::write(&over, more).unwrap();
    config::load(&[base, over], &Vars::new()).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_setting_is_taken_up_or_named_as_one_that_needs_a_restart() {
    let schema = config::schema();
    let keys_of = |section: &str| -> BTreeSet<String> {
        let property = &schema["properties"][section];
        let name = property["$ref"].as_str().map(|path| path.rsplit('/').next().unwrap_or_default());
        let keys = name.and_then(|name| schema["$defs"][name]["properties"].as_object());
        keys.map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
    };
    for section in schema["properties"].as_object().unwrap().keys() {
        let here: BTreeSet<_> =
            SETTINGS.iter().filter(|entry| entry.0 == section).map(|entry| entry.1.to_owned()).collect();
        assert!(!here.is_empty(), "[{section}] is missing");
        match keys_of(section) {
            // Its names are the operator's, or it has none.
            keys if keys.is_empty() || ["sources", "backends"].contains(&section.as_str()) => {}
            keys => assert_eq!(here, keys, "[{section}]"),
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.path().join("cert.pem"), pair.cert.pem()).unwrap();
    std::fs::write(dir.path().join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    let started = load(dir.path(), "");
    assert_eq!(needs_restart(&started, &load(dir.path(), "")), [""; 0], "nothing has changed");
    for (section, key, value, then) in SETTINGS {
        let text = match key.rsplit_once('.') {
            _ if key.is_empty() => format!("{section} = [{value}]\n"),
            Some((name, key)) => format!("[{section}.{name}]\n{key} = {value}\n"),
            None => format!("[{section}]\n{key} = {value}\n"),
        };
        let named = needs_restart(&started, &load(dir.path(), &text));
        let expected: Vec<_> = match then {
            Applied => Vec::new(),
            Restart(name) | Both(name) => vec![*name],
        };
        assert_eq!(named, expected, "{section}.{key}");
    }
}

#[test]
fn proxies_that_send_a_header_of_their_own_are_named_too() {
    let dir = tempfile::tempdir().unwrap();
    let started = load(dir.path(), "[server]\nproxy_protocol = true\n");
    let changed = load(dir.path(), "[server]\nproxy_protocol = true\ntrusted_proxies = [\"10.0.0.0/8\"]\n");
    assert_eq!(needs_restart(&started, &changed), ["server.trusted_proxies (for PROXY headers)"]);
}
