use super::*;
use crate::verify::{Keys, Rule, Spec, check, sign};

// Tokens over the body `{"a":1}`, made with the Python library cryptography 48 and python3's hmac.
const HS256: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJpYXQiOjEwMDAsIm5iZiI\
    6MTAwMCwiZXhwIjoxMzAwLCJoYXNoIjoiMDE1YWJkN2Y1Y2M1N2EyZGQ5NGI3NTkwZjA0YWQ4MDg0MjczOTA1ZWUzM2VjNWNlYmV\
    hZTYyMjc2YTk3Zjg2MiIsInVybCI6IlhZT0tIT3IzSXQ0RmhSQlB5V3BFVlRMYTU3UVRJOFIzS0Y2ZExpbVlQdUEiLCJvayI6dHJ\
    1ZX0.6onNYAJQr1x27rvhLlcYVrrsPkT_rh-6ATyGrGGDEXs";
const HS384: &str = "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJpYXQiOjEwMDAsIm5iZiI\
    6MTAwMCwiZXhwIjoxMzAwLCJoYXNoIjoiMDE1YWJkN2Y1Y2M1N2EyZGQ5NGI3NTkwZjA0YWQ4MDg0MjczOTA1ZWUzM2VjNWNlYmV\
    hZTYyMjc2YTk3Zjg2MiIsInVybCI6IlhZT0tIT3IzSXQ0RmhSQlB5V3BFVlRMYTU3UVRJOFIzS0Y2ZExpbVlQdUEiLCJvayI6dHJ\
    1ZX0.OrZ-qQ-qMD2DGVtvx4Om3Q_3hzXv393ob0gEIoFDpXh2aRDv4gP7G-kQwvUOC9pY";
const HS512: &str = "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJpYXQiOjEwMDAsIm5iZiI\
    6MTAwMCwiZXhwIjoxMzAwLCJoYXNoIjoiMDE1YWJkN2Y1Y2M1N2EyZGQ5NGI3NTkwZjA0YWQ4MDg0MjczOTA1ZWUzM2VjNWNlYmV\
    hZTYyMjc2YTk3Zjg2MiIsInVybCI6IlhZT0tIT3IzSXQ0RmhSQlB5V3BFVlRMYTU3UVRJOFIzS0Y2ZExpbVlQdUEiLCJvayI6dHJ\
    1ZX0.PKGCLH4RLJUekSHUvFTZOdoo-u0fW8b12qwYGIxdRWbNg39QsK_QA67WNOHqm6btiUGnG3UPf_94k4V13RuhXg";
const OTHER_ISSUER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJPdGhlciIsImF1ZCI6WyJ4IiwibWUiXSwiaWF0IjoxMDAwLCJuYmY\
    iOjEwMDAsImV4cCI6MTMwMCwiaGFzaCI6IjAxNWFiZDdmNWNjNTdhMmRkOTRiNzU5MGYwNGFkODA4NDI3MzkwNWVlMzNlYzVjZWJ\
    lYWU2MjI3NmE5N2Y4NjIiLCJ1cmwiOiJYWU9LSE9yM0l0NEZoUkJQeVdwRVZUTGE1N1FUSThSM0tGNmRMaW1ZUHVBIiwib2siOnR\
    ydWV9.7u2-RxZPQAPyNGQLQJIFX-O_sOnNcHwLUkjpp6aBOGY";
const OTHER_AUDIENCE: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJBY21lIiwiYXVkIjoieCIsImlhdCI6MTAwMCwibmJmIjoxMDAwLCJ\
    leHAiOjEzMDAsImhhc2giOiIwMTVhYmQ3ZjVjYzU3YTJkZDk0Yjc1OTBmMDRhZDgwODQyNzM5MDVlZTMzZWM1Y2ViZWFlNjIyNzZ\
    hOTdmODYyIiwidXJsIjoiWFlPS0hPcjNJdDRGaFJCUHlXcEVWVExhNTdRVEk4UjNLRjZkTGltWVB1QSIsIm9rIjp0cnVlfQ.HoJP\
    e2jTK8p3nhxaVeNSmRtrrmpM6Kv6gBCTY6S1JVs";
const NO_HASH: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJpYXQiOjEwMDAsIm5iZiI\
    6MTAwMCwiZXhwIjoxMzAwLCJ1cmwiOiJYWU9LSE9yM0l0NEZoUkJQeVdwRVZUTGE1N1FUSThSM0tGNmRMaW1ZUHVBIiwib2siOnR\
    ydWV9.I57xTBtCn-b0VSO2VHMKgkrE7v4PrxsNv-fp1DiO-8I";
const OTHER_URL: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJpYXQiOjEwMDAsIm5iZiI\
    6MTAwMCwiZXhwIjoxMzAwLCJoYXNoIjoiMDE1YWJkN2Y1Y2M1N2EyZGQ5NGI3NTkwZjA0YWQ4MDg0MjczOTA1ZWUzM2VjNWNlYmV\
    hZTYyMjc2YTk3Zjg2MiIsInVybCI6ImVIaDRlSGg0ZUhoNGVIaDRlSGg0ZUhoNGVIaDRlSGg0ZUhoNGVIaDRlSGciLCJvayI6dHJ\
    1ZX0.xsHTkb1a4CpVoA1p7s6gIexhz1eUQdmg51kOoIHvBPs";
const NO_TIME: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJoYXNoIjoiMDE1YWJkN2Y\
    1Y2M1N2EyZGQ5NGI3NTkwZjA0YWQ4MDg0MjczOTA1ZWUzM2VjNWNlYmVhZTYyMjc2YTk3Zjg2MiIsInVybCI6IlhZT0tIT3IzSXQ\
    0RmhSQlB5V3BFVlRMYTU3UVRJOFIzS0Y2ZExpbVlQdUEiLCJvayI6dHJ1ZX0.1uRFiwMif8xf7y4eRkSPOWtp5JwZjguysVkCXEE\
    JLFY";
const NONE: &str = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJpYXQiOjEwMDAsIm5iZiI6MTAwMCwiZXhwIjox\
    MzAwLCJoYXNoIjoiMDE1YWJkN2Y1Y2M1N2EyZGQ5NGI3NTkwZjA0YWQ4MDg0MjczOTA1ZWUzM2VjNWNlYmVhZTYyMjc2YTk3Zjg2\
    MiIsInVybCI6IlhZT0tIT3IzSXQ0RmhSQlB5V3BFVlRMYTU3UVRJOFIzS0Y2ZExpbVlQdUEiLCJvayI6dHJ1ZX0.";
const CRITICAL: &str = "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiZXhwIl19.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJpYXQiOjEwMDAsIm5\
    iZiI6MTAwMCwiZXhwIjoxMzAwLCJoYXNoIjoiMDE1YWJkN2Y1Y2M1N2EyZGQ5NGI3NTkwZjA0YWQ4MDg0MjczOTA1ZWUzM2VjNWN\
    lYmVhZTYyMjc2YTk3Zjg2MiIsInVybCI6IlhZT0tIT3IzSXQ0RmhSQlB5V3BFVlRMYTU3UVRJOFIzS0Y2ZExpbVlQdUEiLCJvayI\
    6dHJ1ZX0.VdMXxIUXYhgJtPrRMNCM0MCvOG99C-Hd4xFxeztE8JM";
const LOWER: &str = "eyJhbGciOiJoczI1NiJ9.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJpYXQiOjEwMDAsIm5iZiI6MTAwMCwiZXhwIjo\
    xMzAwLCJoYXNoIjoiMDE1YWJkN2Y1Y2M1N2EyZGQ5NGI3NTkwZjA0YWQ4MDg0MjczOTA1ZWUzM2VjNWNlYmVhZTYyMjc2YTk3Zjg\
    2MiIsInVybCI6IlhZT0tIT3IzSXQ0RmhSQlB5V3BFVlRMYTU3UVRJOFIzS0Y2ZExpbVlQdUEiLCJvayI6dHJ1ZX0.6ClOEC0Y-9Z\
    hk9jgklHRp1MQc-HMM2D4-O7eKvD-_9Q";
const JWKS: &str = "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"8pWWmQTmy61KW69tF1gftnh6hcTSSqGYpCulEsfjmtkp-0-l-zPX2w5hY0QkaWRR\
    Vcn9COa2DFCxCnTTQvjnqGhlsamulY4QKtKoxRe2BPC_yeT4ifO5bOHQZklRTMXFyA-K3yd_1IBSrDRA1rmN0Bynq0NXByCqD5It\
    61jc6O4cwckMN82IyTrM-DeuXpuCHF42KSQxx1Cv_sFf6xOIVSlIU-2og30RXv96TWzj0KL4tvWy9hr1rYD6vTBsd4XBZbxv4Fuh\
    zn4EAmaVVVxlv7zp_N7dgfzdhzCyF27RCNhxVbW3IJUEU3KpcubIlGM3mHu5egO_DXd-fPGj-MV1pw\",\"e\":\"AQAB\"},{\"\
    kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"-evkZBR8wQLZIyTQmdknwaUOQtV6CKEW_-wKKYGdjGU\",\"y\":\"cLr30Si\
    IkCpqDB1nrdEDEjyFmrab-OlDHJOEkw1Lfu4\"},{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"A6EHv_POEL4dcN0\
    Y50vAmWfk1jCbpQ1fHdyGZBJVMbg\"}]}";
const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA8pWWmQTmy61KW69tF1gf\ntnh6hcTSSqGYpCulEsfjmtkp+0+l+zPX2w5hY0QkaWRRVcn9COa2DFCxCnTTQvjn\nqGhlsamulY4QKtKoxRe2BPC/yeT4ifO5bOHQZklRTMXFyA+K3yd/1IBSrDRA1rmN\n0Bynq0NXByCqD5It61jc6O4cwckMN82IyTrM+DeuXpuCHF42KSQxx1Cv/sFf6xOI\nVSlIU+2og30RXv96TWzj0KL4tvWy9hr1rYD6vTBsd4XBZbxv4Fuhzn4EAmaVVVxl\nv7zp/N7dgfzdhzCyF27RCNhxVbW3IJUEU3KpcubIlGM3mHu5egO/DXd+fPGj+MV1\npwIDAQAB\n-----END PUBLIC KEY-----\n";
const RS256: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJpYXQiOjEwMDAsIm5iZiI6M\
    TAwMCwiZXhwIjoxMzAwLCJoYXNoIjoiMDE1YWJkN2Y1Y2M1N2EyZGQ5NGI3NTkwZjA0YWQ4MDg0MjczOTA1ZWUzM2VjNWNlYmVhZ\
    TYyMjc2YTk3Zjg2MiIsInVybCI6IlhZT0tIT3IzSXQ0RmhSQlB5V3BFVlRMYTU3UVRJOFIzS0Y2ZExpbVlQdUEiLCJvayI6dHJ1Z\
    X0.l5AikDjghyUkVEYG727BuK1LPRWeQksiKYmzw_jjeli6Y5lyPJrvKvoUrhg6FLcZIdO3kVCxfbxnS6E5GiKnFN36crr1NW-KI\
    _7ujdwgwgn1ZiBI8u41S-SCFMJ6rjvv5_G_lk0tpxbg6ao8Q8XQetJ-tReRdpxBcSR11pmHRjdcBaxvNsYJfdg-f5bOvRdClzH-L\
    _JsoO7NrH-jC6g12_6wogOGRneZ5vnocLbfPjywtUfBQeRZUXS5nmL_gN6Z6c4lAM3JHHp51T2YasiGS8oBsYQpNenE0odXpv0gC\
    Pn8YdmKZYCMS9C3Fcm6ZJLeTgjTvXZb9YM9TtN0mxGyJw";
const ES256: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJpYXQiOjEwMDAsIm5iZiI6M\
    TAwMCwiZXhwIjoxMzAwLCJoYXNoIjoiMDE1YWJkN2Y1Y2M1N2EyZGQ5NGI3NTkwZjA0YWQ4MDg0MjczOTA1ZWUzM2VjNWNlYmVhZ\
    TYyMjc2YTk3Zjg2MiIsInVybCI6IlhZT0tIT3IzSXQ0RmhSQlB5V3BFVlRMYTU3UVRJOFIzS0Y2ZExpbVlQdUEiLCJvayI6dHJ1Z\
    X0.w7sMLDdtJ0WbZjqB-gIXG3Elu2Vou1D_BuhP0aFFGpRvynGEoSyqUy3QzTwxslA-5TDhu6tpLXIjqzhhTw_rjQ";
const EDDSA: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJpYXQiOjEwMDAsIm5iZiI6M\
    TAwMCwiZXhwIjoxMzAwLCJoYXNoIjoiMDE1YWJkN2Y1Y2M1N2EyZGQ5NGI3NTkwZjA0YWQ4MDg0MjczOTA1ZWUzM2VjNWNlYmVhZ\
    TYyMjc2YTk3Zjg2MiIsInVybCI6IlhZT0tIT3IzSXQ0RmhSQlB5V3BFVlRMYTU3UVRJOFIzS0Y2ZExpbVlQdUEiLCJvayI6dHJ1Z\
    X0._tuTHzx5I5YAFOyBI3Zqz3KigyoWBAYnZreR-krrrKTVWRnkroL6Oiep9Df9fdgEPoUK0WtvWVt8ZtjZ-sZYDg";
const CONFUSED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJBY21lIiwiYXVkIjpbIngiLCJtZSJdLCJpYXQiOjEwMDAsIm5iZiI\
    6MTAwMCwiZXhwIjoxMzAwLCJoYXNoIjoiMDE1YWJkN2Y1Y2M1N2EyZGQ5NGI3NTkwZjA0YWQ4MDg0MjczOTA1ZWUzM2VjNWNlYmV\
    hZTYyMjc2YTk3Zjg2MiIsInVybCI6IlhZT0tIT3IzSXQ0RmhSQlB5V3BFVlRMYTU3UVRJOFIzS0Y2ZExpbVlQdUEiLCJvayI6dHJ\
    1ZX0.8F-MtnOCQAmFRoSFEmpNDyzYy_ArGse1xhhjRPn_yb0";

const SPEC: &str = "kind = 'jwt'\ntoken = { header = 'authorization', prefix = 'Bearer ' }\n\
    claims = { iss = 'Acme', aud = ['me', 'us'], ok = 'true' }\nbody_hash = { claim = 'hash', encoding = 'hex' }\n\
    url_hash = { claim = 'url', encoding = 'base64url' }\n";

const SECRET: &str = "algorithms = ['HS256', 'HS384', 'HS512']";
const PUBLIC: &str = "algorithms = ['RS256', 'ES256', 'EdDSA']";

fn rule(more: &str) -> Rule {
    Rule::new(toml::from_str::<Spec>(&format!("{SPEC}{more}")).unwrap()).unwrap()
}

fn keys(rule: &Rule, secrets: &[&str]) -> Keys {
    let secrets: Vec<Secret> = secrets.iter().map(|s| Secret::new((*s).into()).unwrap()).collect();
    rule.keys(&secrets).unwrap()
}

fn draft(token: &str) -> Draft {
    let mut draft = Draft { body: br#"{"a":1}"#.to_vec(), ..Draft::default() };
    draft.public_url = Some("https://hooks.example.com/in".into());
    draft.set_header("authorization", format!("Bearer {token}"));
    draft
}

fn judge(more: &str, secrets: &[&str], draft: &Draft, now_s: i64) -> Result<Option<usize>, Refusal> {
    let rule = rule(more);
    check(&rule, &keys(&rule, secrets), &draft.request(), now_s).map(|verified| verified.key())
}

#[track_caller]
fn secret(token: &str, expected: Result<usize, Refusal>) {
    assert_eq!(judge(SECRET, &["new", "Jefe"], &draft(token), 1_000), expected.map(Some), "{token}");
}

#[test]
fn a_token_of_any_secret_and_of_each_algorithm_is_accepted() {
    for token in [HS256, HS384, HS512] {
        secret(token, Ok(1));
    }
    for token in [RS256, ES256, EDDSA] {
        assert_eq!(judge(PUBLIC, &[JWKS], &draft(token), 1_000), Ok(Some(0)), "{token}");
    }
    assert_eq!(judge(PUBLIC, &[PEM], &draft(RS256), 1_000), Ok(Some(0)));
    assert_eq!(judge(PUBLIC, &[PEM], &draft(ES256), 1_000), Err(Refusal::Mismatch));
}

#[test]
fn the_token_never_chooses_its_algorithm() {
    secret(NONE, Err(Refusal::Mismatch));
    secret(LOWER, Err(Refusal::Mismatch));
    secret(RS256, Err(Refusal::Mismatch));
    secret(CRITICAL, Err(Refusal::Mismatch));
    // Signed by HMAC with the text of the public key as its secret.
    assert_eq!(judge(PUBLIC, &[PEM], &draft(CONFUSED), 1_000), Err(Refusal::Mismatch));
    assert_eq!(judge("algorithms = ['HS384']", &["Jefe"], &draft(HS256), 1_000), Err(Refusal::Mismatch));
    for algorithms in ["[]", "['HS256', 'RS256']"] {
        let spec = toml::from_str::<Spec>(&format!("{SPEC}algorithms = {algorithms}")).unwrap();
        assert_eq!(Rule::new(spec).unwrap_err().key, "algorithms");
    }
    assert!(toml::from_str::<Spec>(&format!("{SPEC}algorithms = ['none']")).is_err());
}

#[test]
fn claims_body_and_url_must_be_the_right_ones() {
    for token in [OTHER_ISSUER, OTHER_AUDIENCE, NO_HASH, OTHER_URL] {
        secret(token, Err(Refusal::Mismatch));
    }
    let other = Draft { body: br#"{"a":1} "#.to_vec(), ..draft(HS256) };
    assert_eq!(judge(SECRET, &["Jefe"], &other, 1_000), Err(Refusal::Mismatch));
    let other = Draft { public_url: Some("https://hooks.example.com/".into()), ..draft(HS256) };
    assert_eq!(judge(SECRET, &["Jefe"], &other, 1_000), Err(Refusal::Mismatch));
}

#[test]
fn a_token_is_believed_for_its_time_only() {
    let at = |now_s| judge(SECRET, &["Jefe"], &draft(HS256), now_s).is_ok();
    assert_eq!([939, 940, 1_359, 1_360].map(at), [false, true, true, false]);
    let aged = format!("{SECRET}\nmax_age = '10s'");
    let at = |now_s| judge(&aged, &["Jefe"], &draft(HS256), now_s);
    assert_eq!(at(1_010), Ok(Some(0)));
    assert_eq!(at(1_011), Err(Refusal::Stale { skew_s: 11, tolerance_s: 10 }));
    assert_eq!(judge(&aged, &["Jefe"], &draft(NO_TIME), 1_000), Err(Refusal::Missing));
    assert_eq!(judge(&aged, &["other"], &draft(HS256), 9_999), Err(Refusal::Mismatch), "a forger learns no time");
}

#[test]
fn what_is_no_token_is_refused_without_panic() {
    for token in ["", ".", "..", "...", "a.b.c", "e30.e30.", "e30.e30.AA", "bm8.bm8.AA", "W10.W10.AA", "é.é.é"] {
        assert!(judge(SECRET, &["Jefe"], &draft(token), 1_000).is_err(), "{token}");
    }
    for end in 0..HS256.len() {
        assert!(judge(SECRET, &["Jefe"], &draft(&HS256[..end]), 1_000).is_err());
    }
    secret(&format!("{HS256}="), Err(Refusal::Mismatch));
    secret(&format!("x.{HS256}"), Err(Refusal::Mismatch));
}

#[test]
fn an_option_stands_for_a_claim() {
    let spec = "kind = 'jwt'\ntoken = { header = 't' }\nalgorithms = ['HS256']\n\
        claims = { aud = '{option:audience}', iss = '{option:issuer?}' }";
    let bare = Rule::new(toml::from_str::<Spec>(spec).unwrap()).unwrap();
    let options = |all: &[(&str, &str)]| all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert!(bare.clone().with_options(&options(&[])).unwrap_err().problem.contains("`audience`"));
    let judge = |all: &[(&str, &str)]| {
        let rule = bare.clone().with_options(&options(all)).unwrap();
        let mut draft = draft("");
        draft.set_header("t", HS256);
        check(&rule, &keys(&rule, &["Jefe"]), &draft.request(), 1_000).is_ok()
    };
    assert!(judge(&[("audience", "me")]));
    assert!(judge(&[("audience", "me"), ("issuer", "Acme")]));
    assert!(!judge(&[("audience", "me"), ("issuer", "Other")]));
    assert!(!judge(&[("audience", "you")]));
}

#[test]
fn what_we_sign_we_accept() {
    let rule = rule(SECRET);
    let keys = keys(&rule, &["first", "second"]);
    let mut draft = draft("");
    sign(&rule, &keys, &mut draft, 5_000).unwrap();
    let verified = check(&rule, &keys, &draft.request(), 5_100).unwrap();
    assert_eq!((verified.key(), verified.method()), (Some(0), "jwt-hs256"));
}
