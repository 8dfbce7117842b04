use std::time::{Duration, Instant};

use super::*;
use crate::event::json::is_json;

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn schema(text: &str) -> Result<Schema, String> {
    let dir = tempfile::tempdir().unwrap();
    Schema::load(&write(dir.path(), "a.json", text))
}

fn schemas(text: &str) -> Schemas {
    Schemas { all: Some(schema(text).unwrap()), ..Schemas::default() }
}

fn check(schemas: &Schemas, kind: &str, body: &[u8]) -> Result<(), String> {
    schemas.check(kind, is_json(body), body)
}

#[track_caller]
fn told(schemas: &Schemas, body: &str, why: &str) {
    let reason = check(schemas, "x", body.as_bytes()).unwrap_err();
    assert!(reason.contains(why), "{reason}");
}

#[test]
fn a_mismatch_names_place_and_rule_and_no_value() {
    let schemas = schemas(
        r#"{"type":"object","required":["n"],"properties":{
            "n":{"type":"integer","minimum":1,"maximum":9},
            "who":{"properties":{"mail":{"pattern":"^[a-z]+@[a-z]+$"}}}}}"#,
    );
    assert_eq!(check(&schemas, "x", b"{\"n\":9,\"more\":[1e2]}"), Ok(()));
    told(&schemas, "{}", "the body: \"n\" is a required property");
    told(&schemas, "{\"n\":10}", "/n: value is greater than the maximum of 9");
    told(&schemas, "{\"n\":1,\"who\":{\"mail\":\"s3cret\"}}", "/who/mail: value does not match");
    let reason = check(&schemas, "x", b"{\"n\":\"s3cret\"}").unwrap_err();
    assert!(!reason.contains("s3cret"), "{reason}");
    let long = format!("{{\"n\":1,\"{}\":2}}", "k".repeat(9000));
    let closed = super::tests::schemas(r#"{"additionalProperties":false,"properties":{"n":{}}}"#);
    assert!(check(&closed, "x", long.as_bytes()).unwrap_err().chars().count() <= LONGEST_REASON);
}

#[test]
fn every_schema_that_is_meant_for_the_type_must_be_met() {
    let by_type =
        ["*.push", "github.*"].map(|kind| (Glob::from(kind.to_owned()), schema(r#"{"minItems":1}"#).unwrap()));
    let all = Some(schema(r#"{"type":"array"}"#).unwrap());
    let schemas = Schemas { all, by_type: by_type.into(), on_invalid: OnInvalid::Reject };
    for (kind, body, good) in [
        ("github.push", "[1]", true),
        ("github.push", "[]", false),
        ("lab.push", "[]", false),
        ("lab.tag", "[]", true),
        ("lab.tag", "{}", false),
    ] {
        assert_eq!(check(&schemas, kind, body.as_bytes()).is_ok(), good, "{kind} {body}");
    }
}

#[test]
fn a_part_of_a_document_and_files_beside_it_can_be_meant() {
    let dir = tempfile::tempdir().unwrap();
    let all = r#"{"definitions":{"a b":{"type":"object","properties":{"n":{"$ref":"more/n.json#/$defs/n"}}}}}"#;
    let all = write(dir.path(), "all.json", all);
    write(dir.path(), "more/n.json", r#"{"$defs":{"n":{"type":"integer"}}}"#);
    let schemas =
        Schemas { all: Some(Schema::load(&format!("{all}#/definitions/a b")).unwrap()), ..Schemas::default() };
    assert_eq!(check(&schemas, "x", b"{\"n\":1}"), Ok(()));
    told(&schemas, "{\"n\":\"1\"}", "/n");
    told(&schemas, "[]", "the body");
    assert!(Schema::load(&format!("{all}#/definitions/none")).unwrap_err().contains("/definitions/none"));
}

#[test]
fn nothing_but_files_beside_it_is_read() {
    let outside = tempfile::tempdir().unwrap();
    let other = write(outside.path(), "o.json", "{}");
    for reference in
        ["https://example.com/x.json", "http://127.0.0.1:1/", "urn:x:y", "../o.json", &format!("file://{other}")]
    {
        let dir = tempfile::tempdir_in(outside.path()).unwrap();
        let file = write(dir.path(), "a.json", &json!({ "$ref": reference }).to_string());
        let error = Schema::load(&file).unwrap_err();
        assert!(error.contains("only files"), "{reference}: {error}");
    }
    let dir = tempfile::tempdir_in(outside.path()).unwrap();
    std::os::unix::fs::symlink(&other, dir.path().join("link.json")).unwrap();
    let file = write(dir.path(), "a.json", r#"{"$ref":"link.json"}"#);
    assert!(Schema::load(&file).unwrap_err().contains("only files"), "a link that leads away");
}

#[test]
fn what_is_no_schema_is_said() {
    let why = |text: &str| schema(text).unwrap_err();
    assert!(why("{").contains("EOF"), "{}", why("{"));
    assert!(why(r#"{"type":"objct"}"#).contains("objct"), "{}", why(r#"{"type":"objct"}"#));
    assert!(why(r#"{"pattern":"(a)\\1"}"#).contains("regex"), "{}", why(r#"{"pattern":"(a)\\1"}"#));
    assert!(why(r#"{"$schema":"https://example.com/own"}"#).contains("example.com"));
    assert!(Schema::load("/no/such.json").unwrap_err().starts_with("cannot read /no/such.json: "));
}

#[test]
fn hostile_bodies_cost_little_and_break_nothing() {
    let schemas = schemas(
        r#"{"type":"object","uniqueItems":true,"properties":{
            "a":{"type":"array","uniqueItems":true},"s":{"type":"string","pattern":"^(a+)+$"}},
            "patternProperties":{"^(k+)*x$":false},"maxProperties":2000000}"#,
    );
    let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let keys = (0..100_000).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",");
    let many = (0..100_000).map(|n| format!("[{n}]")).collect::<Vec<_>>().join(",");
    let start = Instant::now();
    for (body, good) in [
        (nested(100_000).into_bytes(), false),
        (nested(100).into_bytes(), true),
        (format!("{{{keys}}}").into_bytes(), true),
        (format!("{{\"a\":[{many}]}}").into_bytes(), true),
        (format!("{{\"a\":[{many},[7]]}}").into_bytes(), false),
        (format!("{{\"s\":\"{}b\"}}", "a".repeat(500_000)).into_bytes(), false),
        (b"{\"a\":1,\"a\":[]}".to_vec(), true),
        (b"{\"a\":[],\"a\":1}".to_vec(), false),
        (format!("{{\"n\":{}}}", "9".repeat(400)).into_bytes(), false),
        (b"{\"n\":1e400}".to_vec(), false),
        (b"{\"n\":-0.0,\"m\":123456789012345678901234567890}".to_vec(), true),
        (b"{\"s\":\"\\ud800\"}".to_vec(), false),
        (b"{\"s\":\"a\\u0000\"}".to_vec(), false),
        (b"{\"z\":\"\0\"}".to_vec(), false),
        (b"\xef\xbb\xbf{}".to_vec(), false),
        (b"{\"z\":\"\xff\"}".to_vec(), false),
        (b"".to_vec(), false),
        (b"a=b&c=d".to_vec(), false),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_eq!(check(&schemas, "x", &body).is_ok(), good, "{shown}");
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_schema_that_branches_into_itself_costs_a_bounded_number_of_steps() {
    // Each level of the body is looked at twice by each branch that looked at the level above: 2^100 times in all.
    let twice = r##"{"anyOf":[
        {"properties":{"x":{"$ref":"#"}},"required":["a"]},
        {"properties":{"x":{"$ref":"#"}},"required":["b"]}]}"##;
    // Thirty definitions, each twice the one behind it, over one value.
    let chain: Vec<_> = (0..40)
        .map(|n| format!(r##""d{n}":{{"anyOf":[{{"$ref":"#/$defs/d{}"}},{{"$ref":"#/$defs/d{}"}}]}}"##, n + 1, n + 1))
        .collect();
    let chain = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d40":false}}}}"##, chain.join(","));
    let draft_7 = chain.replacen('{', r#"{"$schema":"http://json-schema.org/draft-07/schema#","#, 1);
    let denied = chain.replacen(r##""$ref":"#/$defs/d0""##, r##""not":{"$ref":"#/$defs/d0"}"##, 1);
    let deep = format!("{}{{}}{}", r#"{"x":"#.repeat(100), "}".repeat(100));
    let start = Instant::now();
    let draft_4 = chain.replacen('{', r#"{"$schema":"http://json-schema.org/draft-04/schema#","#, 1);
    let draft_4 = draft_4.replace("\"d40\":false", "\"d40\":{\"not\":{}}").replace("$defs", "definitions");
    for text in [&chain, &draft_7, &draft_4, &denied] {
        told(&schemas(text), &deep, "too many steps");
    }
    // A mismatch may be found at once, and the words for it be what branches.
    told(&schemas(twice), &deep, "the body does not meet it");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn references_mean_what_they_did_before_they_were_counted() {
    let tree = r##"{"type":"object","required":["n"],"properties":{"n":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#"}}}}"##;
    let tree = schemas(tree);
    assert_eq!(check(&tree, "x", br#"{"n":1,"kids":[{"n":2,"kids":[{"n":3}]}]}"#), Ok(()));
    told(&tree, r#"{"n":1,"kids":[{"n":2,"kids":[{"n":"3"}]}]}"#, "/kids/0/kids/0/n: value is not of type");
    // Beside a reference what stands there counts, but for old drafts.
    let beside = r##"{"properties":{"a":{"$ref":"#/$defs/s","maxLength":2}},"$defs":{"s":{"type":"string"}}}"##;
    told(&schemas(beside), r#"{"a":"long"}"#, "/a");
    told(&schemas(beside), r#"{"a":1}"#, "/a");
    let old = beside.replacen('{', r#"{"$schema":"http://json-schema.org/draft-07/schema#","#, 1);
    assert_eq!(check(&schemas(&old), "x", br#"{"a":"long"}"#), Ok(()));
    told(&schemas(&old), r#"{"a":1}"#, "/a");
    // What a reference has looked at is no rest; a value that looks like a reference is a value.
    let closed = r##"{"$ref":"#/$defs/s","unevaluatedProperties":false,
        "$defs":{"s":{"properties":{"a":{"const":{"$ref":"x"}}}}}}"##;
    assert_eq!(check(&schemas(closed), "x", br#"{"a":{"$ref":"x"}}"#), Ok(()));
    told(&schemas(closed), r#"{"b":1}"#, "the body");
}
