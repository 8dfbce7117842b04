use super::*;
use crate::verify::{Draft, Keys, Rule, Spec, check};

// Keys and signatures over `1000{}`, made with the Python library cryptography 48.
const ED_HEX: &str = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
const ED_BASE64: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
const ED_SPKI: &str = "MCowBQYDK2VwAyEAA6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
const ED_JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}]}"#;
const ED_SIGNATURE: &str = "44a374435381b6fd102e728f7e73b9ed22f2775602c27e0486ddb07f39bb13496aef4adc03250cd695738c475a9e1a44231e00f44112503924d0b51bbc9a8708";
const EC_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+evkZBR8wQLZIyTQmdknwaUOQtV6\nCKEW/+wKKYGdjGVwuvfRKIiQKmoMHWet0QMSPIWatpv46UMck4STDUt+7g==\n-----END PUBLIC KEY-----\n";
const EC_SPKI: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+evkZBR8wQLZIyTQmdknwaUOQtV6CKEW/+wKKYGdjGVwuvfRKIiQKmoMHWet0QMSPIWatpv46UMck4STDUt+7g==";
const EC_JWK: &str = r#"{"kty":"EC","crv":"P-256","x":"-evkZBR8wQLZIyTQmdknwaUOQtV6CKEW_-wKKYGdjGU","y":"cLr30SiIkCpqDB1nrdEDEjyFmrab-OlDHJOEkw1Lfu4"}"#;
const EC_SIGNATURE: &str = "3045022100c0cfd3a0a663a756bfc1b7c126927a59c51c0e7edbf6e99a814d895bb4fc1c4b0220703c88d9db4a31647a4a11b841ee588cdaa96c845609aa727ae0e76f7343d57e";
const RSA_SPKI: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAwlQSyP20B9qRmTPI+FDs+TWh1qL5lod4uOCpJuj4pYfgA7AJdB4bpPRf\
    CIRMqsa55hFHV7OmhZaE57fbpgk76kH7qffX5qPvwKbaYJ629YOq+GamIcv2LPMdmLDTmNZ223Q2YZjOqSEqzstDpL5BM+3D74MP\
    XEy5Z3i4LM6+3JTCJuPatwZSX4oDKSUBE3DybaBAr5ot/peJ50vfJOfvMcVl/MXNAxw460R7pjXhN7Cy/RY+epCFORFV0Qztc6mR\
    C3drN30WeLX0H6wgaJPiLyg5ZJu/6XBPwElbMFnu4kihFde/XB9MsQwkEEwdKYHbl4t+AIryK9seQFrFR1f1lQIDAQAB";
const RSA_PKCS1: &str = "MIIBCgKCAQEAwlQSyP20B9qRmTPI+FDs+TWh1qL5lod4uOCpJuj4pYfgA7AJdB4bpPRfCIRMqsa55hFHV7OmhZaE57fbpgk76kH7\
    qffX5qPvwKbaYJ629YOq+GamIcv2LPMdmLDTmNZ223Q2YZjOqSEqzstDpL5BM+3D74MPXEy5Z3i4LM6+3JTCJuPatwZSX4oDKSUB\
    E3DybaBAr5ot/peJ50vfJOfvMcVl/MXNAxw460R7pjXhN7Cy/RY+epCFORFV0Qztc6mRC3drN30WeLX0H6wgaJPiLyg5ZJu/6XBP\
    wElbMFnu4kihFde/XB9MsQwkEEwdKYHbl4t+AIryK9seQFrFR1f1lQIDAQAB";
const RSA_N: &str = "wlQSyP20B9qRmTPI-FDs-\
    TWh1qL5lod4uOCpJuj4pYfgA7AJdB4bpPRfCIRMqsa55hFHV7OmhZaE57fbpgk76kH7qffX5qPvwKbaYJ629YOq-GamIcv2LPMdm\
    LDTmNZ223Q2YZjOqSEqzstDpL5BM-3D74MPXEy5Z3i4LM6-\
    3JTCJuPatwZSX4oDKSUBE3DybaBAr5ot_peJ50vfJOfvMcVl_MXNAxw460R7pjXhN7Cy_RY-epCFORFV0Qztc6mRC3drN30WeLX0\
    H6wgaJPiLyg5ZJu_6XBPwElbMFnu4kihFde_XB9MsQwkEEwdKYHbl4t-AIryK9seQFrFR1f1lQ";
const RSA_SHA256: &str = "6ade97d6e8af4710636900b05c98520af82a57e8313633e85b19dbc5ece7011fbbde92b7d97759a639555454732389d51b43\
    eb96ce9c26e16b42052e3e831d17ae536c9110c4f95711bd2028336ad48d53a687fc7b9500454780b52ba68e59115b597551\
    9bd8667700b4e40218d58b2389443b722a95b49ca1972e0a9b332f6398431a493561b725dd985b1ca6f75437d6ac16bb6ba6\
    8e0102b643b3763e88c2b24c940b60e132bcaa8ca6c0fd4d167793277981538f42a54c75d2c69e2966d1d39b891601541667\
    286fdddcb8c75acfa70e3de148a2b2507a9bbc814962da934dfbbbf5ca54b244db179af551da7e7c28f8883a1f4e8907a713\
    c6efac5cbe06";
const RSA_SHA1: &str = "35df36950ae4a840ed8561a45d27ad9a4d98168fdeaa5f61dd62ecbae724b75e022b7c9fb46e8850bdbb6060b6e8cced7201\
    89902b5d807c767374886faa6d457dc4d16853cedbf4f45a0babd7efd204bca42f767d4c1e1d181b15fdbdbd9fe579f66d7a\
    74b81e1475d684c1028d3da02d3fc52f56e78b8c71f24289f379a7078ebbde172083e1d05e958927f9706578006875eee46f\
    c8f0be77249f7d0fff9028b73bb7634577283b99d49f20e5c99124167391c340dd462053a9c86a054a8c9d4266b8d0adb915\
    7fe457c3750757bdaca9ab4285054e928a2cff5249bfa1218c65ccf0172991334837d1510b2739e008b9299befb547dda059\
    cd189e94fb00";

fn rule(algorithm: &str) -> Rule {
    let spec = format!(
        "kind = 'signature'\nalgorithm = '{algorithm}'\nencoding = 'hex'\nmessage = '{{timestamp}}{{body}}'\n\
         signature = {{ header = 's' }}\ntimestamp = {{ header = 't' }}"
    );
    Rule::new(toml::from_str::<Spec>(&spec).unwrap()).unwrap()
}

fn keys(rule: &Rule, texts: &[&str]) -> Result<Keys, KeyError> {
    let texts: Vec<Secret> = texts.iter().map(|text| Secret::new((*text).into()).unwrap()).collect();
    rule.keys(&texts)
}

fn judge(algorithm: &str, key: &str, signature: &str, body: &str, now_s: i64) -> Result<Option<usize>, Refusal> {
    let rule = rule(algorithm);
    let mut draft = Draft { body: body.into(), ..Draft::default() };
    draft.set_header("s", signature);
    draft.set_header("t", "1000");
    check(&rule, &keys(&rule, &[key]).unwrap(), &draft.request(), now_s).map(|verified| verified.key())
}

#[test]
fn a_key_is_read_in_every_form_that_senders_show() {
    let jwks = format!(r#"{{"keys":[{{"kty":"oct","k":"AA"}},{{"kty":"RSA","n":"{RSA_N}","e":"AQAB"}}]}}"#);
    for (algorithm, key, signature) in [
        ("ed25519", ED_HEX, ED_SIGNATURE),
        ("ed25519", ED_BASE64, ED_SIGNATURE),
        ("ed25519", ED_SPKI, ED_SIGNATURE),
        ("ed25519", ED_JWKS, ED_SIGNATURE),
        ("ecdsa-p256-sha256", EC_PEM, EC_SIGNATURE),
        ("ecdsa-p256-sha256", EC_SPKI, EC_SIGNATURE),
        ("ecdsa-p256-sha256", EC_JWK, EC_SIGNATURE),
        ("rsa-pkcs1-sha256", RSA_SPKI, RSA_SHA256),
        ("rsa-pkcs1-sha256", RSA_PKCS1, RSA_SHA256),
        ("rsa-pkcs1-sha256", &jwks, RSA_SHA256),
        ("rsa-pkcs1-sha1", RSA_SPKI, RSA_SHA1),
    ] {
        assert_eq!(judge(algorithm, key, signature, "{}", 1_000), Ok(Some(0)), "{algorithm} by {key}");
        assert_eq!(judge(algorithm, key, signature, "{} ", 1_000), Err(Refusal::Mismatch), "{algorithm} by {key}");
        let stale = Err(Refusal::Stale { skew_s: 301, tolerance_s: 300 });
        assert_eq!(judge(algorithm, key, signature, "{}", 1_301), stale, "{algorithm} by {key}");
    }
}

#[test]
fn a_signature_of_another_algorithm_or_key_is_refused() {
    for (algorithm, key, signature) in [
        ("rsa-pkcs1-sha256", RSA_SPKI, RSA_SHA1),
        ("rsa-pkcs1-sha1", RSA_SPKI, RSA_SHA256),
        ("ed25519", ED_HEX, EC_SIGNATURE),
        ("ed25519", ED_HEX, "00"),
        ("ed25519", "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12", ED_SIGNATURE),
        ("ecdsa-p256-sha256", EC_PEM, ED_SIGNATURE),
    ] {
        assert_eq!(judge(algorithm, key, signature, "{}", 1_000), Err(Refusal::Mismatch), "{algorithm} by {key}");
    }
    assert_eq!(judge("ed25519", ED_HEX, "", "{}", 1_000), Err(Refusal::Missing));
    assert_eq!(judge("ed25519", ED_HEX, "zz", "{}", 1_000), Err(Refusal::Mismatch));
}

#[test]
fn what_is_no_key_of_the_algorithm_stops_the_start() {
    for (algorithm, key) in [
        ("ed25519", EC_SPKI),
        ("ed25519", "00"),
        ("ecdsa-p256-sha256", ED_SPKI),
        ("ecdsa-p256-sha256", RSA_SPKI),
        ("rsa-pkcs1-sha256", EC_PEM),
        ("rsa-pkcs1-sha256", "{}"),
        ("rsa-pkcs1-sha256", "-----BEGIN PUBLIC KEY-----"),
        ("ed25519", "hello"),
    ] {
        let error = keys(&rule(algorithm), &[key]).unwrap_err().to_string();
        assert!(error.starts_with("secret 1 is not a public key for "), "{error}");
    }
}
