//! The annotated defaults, read with every option in force.

use hookferry::config;

use crate::setup;

#[test]
fn the_commented_options_of_the_defaults_are_right_once_they_are_uncommented() {
    let is_option = |line: &str| {
        let key = line.split(" = ").next().unwrap_or_default();
        line.starts_with('[') || (line.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    // In place of secrets, which the example has; what needs a file, or a signature in the body or of it; what a challenge
    // asks for only if it asks for nothing else.
    let without = ["public_keys", "schema", "on_invalid", "each", "body_hash", "dir", "visit", "remember", "capture"];
    let instead = |line: &str| without.iter().any(|key| line.starts_with(key));
    let option = |line: &&str| is_option(line) && !instead(line);
    let uncomment = |line: &'static str| line.strip_prefix("# ").filter(option).unwrap_or(line);
    let text: Vec<&str> = config::DEFAULT.lines().map(uncomment).collect();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let dir = tempfile::tempdir().unwrap();
    let mut text = text.join("\n");
    for (name, pem) in [("cert.pem", &cert), ("clients.pem", &cert), ("authority.pem", &cert), ("key.pem", &key)] {
        let path = dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        text = text.replace(&format!("\"{name}"), &format!("\"{}", path.display()));
    }
    // A certificate comes from files or from an authority, and the latter only where the build knows of it.
    let (before, rest) = text.split_once("[server.tls.acme]").unwrap();
    let (acme, after) = rest.split_once("\n\n").unwrap();
    check(&format!("{before}\n{after}"));
    if cfg!(feature = "acme") {
        let of_pair = |line: &&str| ["cert = ", "key = "].iter().any(|key| line.starts_with(key));
        let before: Vec<&str> = before.lines().filter(|line| !of_pair(line)).collect();
        check(&format!("{}\n[server.tls.acme]{acme}\n\n{after}", before.join("\n")));
    }
}

#[track_caller]
fn check(text: &str) {
    let secrets = ["GITHUB_SECRET", "SHOP_SECRET", "HOOKFERRY_ADMIN_TOKEN", "OTLP_AUTHORIZATION"];
    let setup = secrets.iter().fold(setup(text), |setup, name| setup.var(name, "a"));
    let config = setup.load().unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.sources.len(), config.backends.len()), (2, 3));
}
