use super::*;
use crate::verify::Draft;

fn draft() -> Draft {
    let mut draft =
        Draft { method: "POST".into(), path: "/in".into(), query: "a=1&b=x%20y".into(), ..Draft::default() };
    draft.public_url = Some("https://example.com/in".into());
    draft.body = b"{}".to_vec();
    draft.set_header("X-Id", "msg_1");
    draft
}

fn fill(template: &str, draft: &Draft) -> Result<String, Refusal> {
    let template = Template::new(template).unwrap();
    let request = draft.request();
    let filling = Filling { request: &request, timestamp: Some(b"1000"), secret: Some(b"key"), other_port: false };
    Ok(String::from_utf8(template.fill(filling)?.concat()).unwrap())
}

#[track_caller]
fn check(template: &str, expected: &str) {
    assert_eq!(fill(template, &draft()).as_deref(), Ok(expected), "{template}");
}

#[test]
fn every_placeholder_stands_for_its_part_of_the_request() {
    check("{body}", "{}");
    check("v0:{timestamp}:{body}", "v0:1000:{}");
    check("{header:X-ID}.{timestamp}.{body}", "msg_1.1000.{}");
    check("{method} {path} {query:b}\n", "POST /in x y\n");
    check("{url}{body}", "https://example.com/in?a=1&b=x%20y{}");
    check("{secret}.{body_sha256_hex}", "key.44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
}

#[test]
fn scalars_of_the_body_are_taken_as_they_were_sent() {
    let json = Draft { body: br#"{"a":{"b":"\u00e9","n":1.10},"t":true}"#.to_vec(), ..draft() };
    assert_eq!(fill("{body:/a/b}|{body:/a/n}|{body:/t}|{body:/no?}", &json).as_deref(), Ok("é|1.10|true|"));
    assert_eq!(fill("{body:/a/no}", &json), Err(Refusal::Missing));
    assert_eq!(fill("{body:/a}", &Draft { body: b"no json".to_vec(), ..draft() }), Err(Refusal::Missing));
}

#[test]
fn form_fields_are_sorted_and_equal_ones_count_once() {
    let mut form = Draft { body: b"b=2&a=%C3%A9&b=1&b=2&B=3".to_vec(), ..draft() };
    form.set_header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(fill("{form_sorted}|{form:a}", &form).as_deref(), Ok("B3aéb1b2|é"));
    let json = Draft { body: b"json=%7B%22a%22%3A%7B%22b%22%3A1%7D%7D".to_vec(), ..form.clone() };
    assert_eq!(fill("{form:json:/a/b}", &json).as_deref(), Ok("1"));
    assert_eq!(fill("{form:json:/a}", &json), Err(Refusal::Missing));
    assert_eq!(fill("{form:b}", &form), Err(Refusal::Mismatch));
    assert_eq!(fill("{form:c}", &form), Err(Refusal::Missing));
    assert_eq!(fill("{form_sorted}", &draft()).as_deref(), Ok(""));
}

#[test]
fn a_group_falls_away_where_its_value_is_absent() {
    check("{[id:{query:a};]}{[other:{query:c};]}ts:{timestamp};", "id:1;ts:1000;");
    let mut twice = draft();
    twice.query.push_str("&a=2");
    assert_eq!(fill("{[id:{query:a};]}", &twice), Err(Refusal::Mismatch));
    let shifted = Draft { query: "a=1;other:2".into(), ..draft() };
    assert_eq!(fill("{[id:{query:a};]}{[other:{query:c};]}", &shifted), Err(Refusal::Mismatch));
}

#[test]
fn what_is_covered_but_absent_is_missing_and_what_stands_twice_is_refused() {
    let mut twice = draft();
    twice.query.push_str("&a=2");
    twice.headers.push(("x-id".into(), "msg_1".into()));
    assert_eq!(fill("{query:a}", &twice), Err(Refusal::Mismatch));
    assert_eq!(fill("{header:x-id}", &twice), Err(Refusal::Mismatch));
    assert_eq!(fill("{query:c}", &draft()), Err(Refusal::Missing));
    assert_eq!(fill("{header:x-other}", &draft()), Err(Refusal::Missing));
    assert_eq!(fill("{url}", &Draft::default()), Err(Refusal::Missing));
}

#[test]
fn one_signature_fits_only_one_way_to_cut_the_message() {
    // "a.1000.b" must not be read as the id "a", nor as the id "a.1000" with the time and body after it.
    let mut shifted = draft();
    shifted.set_header("x-id", "a.1000");
    assert_eq!(fill("{header:x-id}.{timestamp}.{body}", &shifted), Err(Refusal::Mismatch));
    assert_eq!(fill("{header:x-id}.{body}", &shifted).as_deref(), Ok("a.1000.{}"));
}

#[test]
fn a_url_with_its_own_query_is_taken_as_it_is() {
    let given = Draft { public_url: Some("https://example.com/in?k=1".into()), ..draft() };
    assert_eq!(fill("{url}", &given).as_deref(), Ok("https://example.com/in?k=1"));
}

#[test]
fn a_template_that_is_none_is_refused() {
    for text in [
        "{bdy}",
        "{body",
        "body}",
        "{}",
        "{header:}",
        "{header:a b}",
        "{query:}",
        "{{body}}",
        "{body:a}",
        "{body?}",
        "{[{body}",
        "{[{[{body}]}]}",
        "{body:/~2}",
    ] {
        assert_eq!(Template::new(text).unwrap_err().key, "message", "{text}");
    }
}
