use std::fs;

use super::*;

struct Files {
    dir: tempfile::TempDir,
    settings: settings::Tls,
}

fn files() -> Files {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let settings = settings::Tls { cert: Some(cert), key: Some(key), ..settings::Tls::default() };
    Files { dir, settings }
}

fn load(settings: &settings::Tls) -> Result<Identity, Wrong> {
    Identity::load(settings, Path::new("/absent/acme"))
}

#[track_caller]
fn check(settings: &settings::Tls, key: &'static str, what: &str) {
    let wrong = load(settings).unwrap_err();
    assert_eq!(wrong.key, key);
    assert!(wrong.what.contains(what), "{}", wrong.what);
}

#[test]
fn a_pair_is_read_with_the_end_of_its_certificate() {
    let files = files();
    let identity = load(&files.settings).unwrap();
    // What rcgen gives where nothing is said: 4096-01-01.
    assert_eq!(identity.not_after_s().unwrap(), 67_090_118_400);
    assert_eq!(identity.config.alpn_protocols, [b"http/1.1"]);
}

#[test]
fn every_mistake_names_its_option_and_its_file() {
    let files = files();
    let other = self::files();
    let with_key = |key: &Path| settings::Tls { key: Some(key.to_owned()), ..files.settings.clone() };
    check(&with_key(other.settings.key.as_ref().unwrap()), "key", "is not the key of");
    let cert = files.settings.cert.clone().unwrap();
    check(&with_key(&cert), "key", "cert.pem holds no private key in PEM");
    check(&with_key(Path::new("/absent/key.pem")), "key", "cannot read /absent/key.pem: No such file");
    check(&settings::Tls { key: None, ..files.settings.clone() }, "key", "missing");
    check(&settings::Tls { cert: None, ..files.settings.clone() }, "cert", "missing");
    let half = files.dir.path().join("half.pem");
    let pem = fs::read_to_string(&cert).unwrap();
    for end in [0, 40, pem.len() / 2] {
        fs::write(&half, &pem[..end]).unwrap();
        let wrong = load(&settings::Tls { cert: Some(half.clone()), ..files.settings.clone() }).unwrap_err();
        assert_eq!(wrong.key, "cert");
        assert!(wrong.what.contains("half.pem"), "{}", wrong.what);
    }
    let with_ca = settings::Tls { client_ca: files.settings.key.clone(), ..files.settings.clone() };
    check(&with_ca, "client_ca", "key.pem holds no certificate in PEM");
}
