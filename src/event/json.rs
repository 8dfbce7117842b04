//! JSON bodies: whether they are JSON, and the few scalars that somebody points at.
//!
//! No tree is built: a body is read once ([`scan`]), and what the pointers show is found on the way.
//!
//! Invariants
//! - What [`is_json`] accepts can stand inside a JSON document as it is: UTF-8, one value, no byte order mark.
//! - Of a repeated key the last one counts, as most parsers have it.
//! - Numbers stay text: `1.10` and `1e999` come back as they were sent.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value as Json;
use serde_json::value::RawValue;

mod scan;

/// Deepest nesting of a body that counts as JSON; many parsers, among them our consumers', refuse more.
pub const MAX_DEPTH: usize = 128;

/// The body is not JSON that can be carried on as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not JSON of at most {MAX_DEPTH} levels")]
pub struct NotJson;

/// A text that is not a JSON Pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a JSON Pointer such as \"/data/id\"")]
pub struct BadPointer(pub String);

/// Whether `body` is JSON: one value, UTF-8, at most [`MAX_DEPTH`] levels deep.
pub fn is_json(body: &[u8]) -> bool {
    Pointers::default().read(body).is_ok()
}

/// A set of JSON Pointers (RFC 6901), ready to be read from many bodies.
#[derive(Debug, Clone, Default)]
pub struct Pointers {
    root: Node,
    count: usize,
}

/// One step of the pointers: who ends here, and which members matter further down.
#[derive(Debug, Clone, Default)]
struct Node {
    slots: Vec<usize>,
    children: Vec<Child>,
}

/// A member, or, where its name is one, an index.
#[derive(Debug, Clone)]
struct Child {
    name: String,
    index: Option<usize>,
    node: Node,
}

impl Pointers {
    /// Prepares `pointers`; [`Picked::get`] numbers them from 0 in this order.
    ///
    /// # Errors
    /// The first text that is not a pointer.
    pub fn new<S: AsRef<str>>(pointers: impl IntoIterator<Item = S>) -> Result<Self, BadPointer> {
        let mut all = Self::default();
        for pointer in pointers {
            let mut node = &mut all.root;
            for token in tokens(pointer.as_ref())? {
                let at = match node.children.iter().position(|child| child.name == token) {
                    Some(at) => at,
                    None => {
                        node.children.push(Child { index: index(&token), name: token, node: Node::default() });
                        node.children.len() - 1
                    }
                };
                node = &mut node.children[at].node;
            }
            node.slots.push(all.count);
            all.count += 1;
        }
        Ok(all)
    }

    /// Validates `body` and picks what the pointers show.
    ///
    /// # Errors
    /// [`NotJson`]: empty, not UTF-8, a byte order mark, not one JSON value, or nested too deep.
    pub fn read<'a>(&self, body: &'a [u8]) -> Result<Picked<'a>, NotJson> {
        // Most bodies are ASCII, which shows faster than UTF-8.
        if !body.is_ascii() && std::str::from_utf8(body).is_err() {
            return Err(NotJson);
        }
        let mut picked = vec![None; self.count];
        scan::scan(body, &self.root, &mut picked)?;
        Ok(Picked(picked))
    }
}

/// What the pointers found in one body.
#[derive(Debug)]
pub struct Picked<'a>(Vec<Option<Cow<'a, str>>>);

impl Picked<'_> {
    /// The scalar of the `n`-th pointer: a string decoded, a number or a boolean as it was sent.
    /// `None`: absent, null, an object, an array, or a string that is not Unicode.
    pub fn get(&self, n: usize) -> Option<&str> {
        self.0.get(n)?.as_deref()
    }
}

/// Sets a member, making the objects on the way; a way that leads through a scalar is left alone.
pub fn set(body: &mut Json, pointer: &str, value: Json) {
    let mut at = body;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        at = match at {
            Json::Array(items) => match token.parse::<usize>().ok().and_then(|n| items.get_mut(n)) {
                Some(item) => item,
                None => return,
            },
            Json::Object(members) => members.entry(token).or_insert_with(|| Json::Object(Default::default())),
            _ => return,
        };
    }
    *at = value;
}

/// The bytes of a JSON text to replace, and what with, so that `pointer` shows the scalar `value` (`None`: null) and
/// every other byte stays; an absent member is added. `None`: no JSON, or no object where the value should be.
pub fn replacement(text: &str, pointer: &str, value: Option<&str>) -> Option<(Range<usize>, String)> {
    let start = |raw: &RawValue| raw.get().as_ptr() as usize - text.as_ptr() as usize;
    let string = value.map_or_else(|| "null".to_owned(), |value| Json::from(value).to_string());
    let tokens = tokens(pointer).ok()?;
    let mut at: &RawValue = serde_json::from_str(text).ok()?;
    for (depth, token) in tokens.iter().enumerate() {
        at = if at.get().starts_with('{') {
            let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(at.get()).ok()?;
            match members.get(token.as_str()) {
                None if depth + 1 == tokens.len() => {
                    let behind_brace = start(at) + 1;
                    let comma = if members.is_empty() { "" } else { "," };
                    let member = format!("{}:{string}{comma}", Json::from(token.as_str()));
                    return Some((behind_brace..behind_brace, member));
                }
                found => found.copied()?,
            }
        } else {
            let items: Vec<&RawValue> = serde_json::from_str(at.get()).ok()?;
            token.parse::<usize>().ok().and_then(|n| items.get(n).copied())?
        };
    }
    let range = start(at)..start(at) + at.get().len();
    // What is a number stays one, if it can.
    let is_number = at.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let number = value.filter(|value| is_number && !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()));
    Some((range, number.map_or(string, str::to_owned)))
}

/// Appends `text` to `out` as a JSON string.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    // Without an early end, the compiler compares many bytes at a time.
    let escapes = |b: u8| u8::from(b < b' ') | u8::from(b == b'"') | u8::from(b == b'\\') | u8::from(b == 0x7f);
    if text.bytes().fold(0, |any, b| any | escapes(b)) == 0 {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing a string into a Vec cannot fail.
        let _ = serde_json::to_writer(out, text);
    }
}

fn tokens(pointer: &str) -> Result<Vec<String>, BadPointer> {
    let bad = || BadPointer(pointer.to_owned());
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let rest = pointer.strip_prefix('/').ok_or_else(bad)?;
    rest.split('/')
        .map(|token| {
            let escapes = token.matches('~').count();
            if escapes != token.matches("~0").count() + token.matches("~1").count() {
                return Err(bad());
            }
            Ok(token.replace("~1", "/").replace("~0", "~"))
        })
        .collect()
}

fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
    if plain { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pointer: &str, body: &str, expected: Option<&str>) {
        let pointers = Pointers::new([pointer]).unwrap();
        assert_eq!(pointers.read(body.as_bytes()).unwrap().get(0), expected, "{pointer} of {body}");
    }

    #[track_caller]
    fn refused(body: &[u8]) {
        let pointers = Pointers::new(["/a", "/b/0/c"]).unwrap();
        assert!(!is_json(body) && pointers.read(body).is_err(), "{:?}", String::from_utf8_lossy(body));
    }

    #[test]
    fn a_scalar_is_found_wherever_the_pointer_shows() {
        check("/a", r#" { "x": [1, {"a": 0}], "a" : "v" } "#, Some("v"));
        check("/a/b/1/c", r#"{"a":{"b":[{"c":1},{"c":"v"}]}}"#, Some("v"));
        check("/0", "[7]", Some("7"));
        check("/01", "[7,8]", None);
        check("", "\"whole\"\n", Some("whole"));
        check("/a~1b~0", r#"{"a/b~":"v"}"#, Some("v"));
        check("/", r#"{"":"v"}"#, Some("v"));
    }

    #[test]
    fn numbers_and_booleans_keep_the_text_they_were_sent_with() {
        check("/a", r#"{"a": 1.10 }"#, Some("1.10"));
        check("/a", r#"{"a":1e999}"#, Some("1e999"));
        check("/a", r#"{"a":123456789012345678901234567890}"#, Some("123456789012345678901234567890"));
        check("/a", r#"{"a":false}"#, Some("false"));
    }

    #[test]
    fn strings_and_keys_are_decoded() {
        check("/a", r#"{"a":"\u00e9\n\"é"}"#, Some("é\n\"é"));
        check("/é", r#"{"\u00e9":"v"}"#, Some("v"));
        check("/a", r#"{"a":"\ud800"}"#, None);
        check("/a", r#"{"\ud800":1,"a":"v"}"#, Some("v"));
    }

    #[test]
    fn null_objects_and_arrays_are_no_scalars() {
        for body in [r#"{"a":null}"#, r#"{"a":{}}"#, r#"{"a":[1]}"#, "{}", "[]", "1", "null"] {
            check("/a", body, None);
        }
        check("/a/b", r#"{"a":1e999}"#, None);
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        check("/a", r#"{"a":"1","a":"2"}"#, Some("2"));
        check("/a", r#"{"a":"1","a":null}"#, None);
        check("/a/b", r#"{"a":{"b":"1"},"a":{"c":"2"}}"#, None);
        check("/a", r#"{"a":"1","\u0061":"2"}"#, Some("2"));
    }

    #[test]
    fn several_pointers_share_one_reading() {
        let pointers = Pointers::new(["/a/b", "/a", "/c", "/a/b"]).unwrap();
        let picked = pointers.read(br#"{"a":{"b":1},"c":true}"#).unwrap();
        assert_eq!([0, 1, 2, 3, 4].map(|n| picked.get(n)), [Some("1"), None, Some("true"), Some("1"), None]);
    }

    #[test]
    fn what_is_not_json_is_refused_in_whatever_part_it_hides() {
        for body in ["", " ", "{", "{}x", "{} {}", "[1,]", "{'a':1}", "{\"a\":01}", "{\"a\":\"\n\"}", "{\"\t\":1}"] {
            refused(body.as_bytes());
        }
        for body in
            ["NaN", "{\"x\":{\"y\":[1,}}", "{\"b\":[{\"c\":tru}]}", "{\"a\":1.}", "\u{feff}{}", "{\"a\":\"\\x\"}"]
        {
            refused(body.as_bytes());
        }
        refused(b"{\"a\":\"\xff\"}");
        refused(b"{\"x\":\"\xc3\x28\"}");
    }

    #[test]
    fn a_string_is_written_so_that_it_is_read_back() {
        for odd in ['"', '\\', '\n', '\0', '\u{1f}', '\u{7f}', 'é', '\u{2028}', ' ', '/'] {
            for before in [0, 1, 15, 16, 31, 40] {
                let text = format!("{}{odd}{}", "a".repeat(before), "b".repeat(20));
                let mut out = Vec::new();
                write_string(&text, &mut out);
                assert!(!out.iter().any(u8::is_ascii_control) || odd == '\u{7f}', "{out:?}");
                assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            }
        }
    }

    #[test]
    fn nesting_is_bounded_but_brackets_in_strings_do_not_count() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n)).into_bytes();
        assert!(is_json(&nested(MAX_DEPTH)));
        assert!(!is_json(&nested(MAX_DEPTH + 1)));
        assert!(!is_json(&nested(1 << 20)));
        assert!(is_json(format!("[\"{}\\\"{}\"]", "[".repeat(500), "{".repeat(500)).as_bytes()));
        assert!(is_json(format!("[{}]", vec!["{}"; 500].join(",")).as_bytes()));
    }

    #[test]
    fn a_text_that_is_no_pointer_is_refused() {
        for text in ["a", "a/b", "/~", "/a~2"] {
            assert_eq!(Pointers::new([text]).unwrap_err(), BadPointer(text.to_owned()));
        }
    }
}
