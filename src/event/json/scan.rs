//! One pass over a JSON text (RFC 8259): is it one, and what stands where a pointer shows.
//!
//! Every body goes through here before it is acknowledged: strings, which are most of a body, are looked at many bytes
//! at a time, and nothing is kept but the scalars that somebody asked for.

use std::borrow::Cow;

use super::{MAX_DEPTH, Node, NotJson};

/// Validates all of `text`, which is UTF-8, and puts the scalars that `root` asks for into `picked`.
pub(super) fn scan<'a>(text: &'a [u8], root: &Node, picked: &mut [Option<Cow<'a, str>>]) -> Result<(), NotJson> {
    let mut scan = Scan { text, at: 0, picked };
    scan.value(Some(root), 0)?;
    scan.blanks();
    if scan.at == text.len() { Ok(()) } else { Err(NotJson) }
}

struct Scan<'a, 'p> {
    text: &'a [u8],
    at: usize,
    picked: &'p mut [Option<Cow<'a, str>>],
}

impl<'a> Scan<'a, '_> {
    /// - `depth`: brackets that are open.
    fn value(&mut self, node: Option<&Node>, depth: usize) -> Result<(), NotJson> {
        self.blanks();
        let start = self.at;
        let escaped = match self.next()? {
            b'{' => return self.members(node, deeper(depth)?),
            b'[' => return self.items(node, deeper(depth)?),
            b'"' => self.string()?,
            b't' => self.word(b"rue")?,
            b'f' => self.word(b"alse")?,
            // Nothing to pick.
            b'n' => return self.word(b"ull").map(drop),
            b'-' => {
                let first = self.next()?;
                self.number(first)?
            }
            first => self.number(first)?,
        };
        let Some(node) = node.filter(|node| !node.slots.is_empty()) else { return Ok(()) };
        let scalar = scalar(&self.text[start..self.at], escaped);
        for slot in &node.slots {
            self.picked[*slot] = scalar.clone();
        }
        Ok(())
    }

    /// What follows a `{`.
    fn members(&mut self, node: Option<&Node>, depth: usize) -> Result<(), NotJson> {
        let node = node.filter(|node| !node.children.is_empty());
        self.blanks();
        if self.text.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.blanks();
            let start = self.at;
            self.expect(b'"')?;
            let escaped = self.string()?;
            let child = node.and_then(|node| {
                let key = scalar(&self.text[start..self.at], escaped)?;
                node.children.iter().find(|child| child.name == key).map(|child| &child.node)
            });
            if let Some(child) = child {
                self.forget(child);
            }
            self.blanks();
            self.expect(b':')?;
            self.value(child, depth)?;
            if self.ends(b'}')? {
                return Ok(());
            }
        }
    }

    /// What follows a `[`.
    fn items(&mut self, node: Option<&Node>, depth: usize) -> Result<(), NotJson> {
        let node = node.filter(|node| !node.children.is_empty());
        self.blanks();
        if self.text.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(());
        }
        for n in 0.. {
            let child = node.and_then(|node| node.children.iter().find(|child| child.index == Some(n)));
            self.value(child.map(|child| &child.node), depth)?;
            if self.ends(b']')? {
                break;
            }
        }
        Ok(())
    }

    /// A key that comes again takes back what its first value gave.
    fn forget(&mut self, node: &Node) {
        for slot in &node.slots {
            self.picked[*slot] = None;
        }
        for child in &node.children {
            self.forget(&child.node);
        }
    }

    /// Whether an object or array ends here with `bracket`; else there is a comma.
    fn ends(&mut self, bracket: u8) -> Result<bool, NotJson> {
        self.blanks();
        match self.next()? {
            b',' => Ok(false),
            found if found == bracket => Ok(true),
            _ => Err(NotJson),
        }
    }

    /// What follows the first quotation mark; whether there was an escape.
    fn string(&mut self) -> Result<bool, NotJson> {
        let mut escaped = false;
        loop {
            self.at += plain(&self.text[self.at..])?;
            match self.next()? {
                b'"' => return Ok(escaped),
                b'\\' => escaped = true,
                _ => return Err(NotJson),
            }
            match self.next()? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                b'u' => {
                    let digits = self.text.get(self.at..self.at + 4).ok_or(NotJson)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return Err(NotJson);
                    }
                    self.at += 4;
                }
                _ => return Err(NotJson),
            }
        }
    }

    /// What follows the first digit; no number holds an escape.
    fn number(&mut self, first: u8) -> Result<bool, NotJson> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return Err(NotJson),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(false)
    }

    fn some_digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        self.digits();
        if self.at > start { Ok(()) } else { Err(NotJson) }
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn word(&mut self, rest: &[u8]) -> Result<bool, NotJson> {
        if !self.text[self.at..].starts_with(rest) {
            return Err(NotJson);
        }
        self.at += rest.len();
        Ok(false)
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.next()? == byte { Ok(()) } else { Err(NotJson) }
    }

    fn next(&mut self) -> Result<u8, NotJson> {
        let byte = *self.text.get(self.at).ok_or(NotJson)?;
        self.at += 1;
        Ok(byte)
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
    }
}

fn deeper(depth: usize) -> Result<usize, NotJson> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(NotJson) }
}

/// A valid literal's text, a string decoded; `None` if an escape names half a surrogate pair.
fn scalar(literal: &[u8], escaped: bool) -> Option<Cow<'_, str>> {
    if escaped {
        return serde_json::from_slice(literal).ok().map(Cow::Owned);
    }
    let inside = literal.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(literal);
    std::str::from_utf8(inside).ok().map(Cow::Borrowed)
}

/// How many bytes of a string come before its end or an escape.
fn plain(bytes: &[u8]) -> Result<usize, NotJson> {
    let length = memchr::memchr2(b'"', b'\\', bytes).ok_or(NotJson)?;
    // The least of them shows whether there is one that no string may hold: many bytes are compared at a time.
    let least = bytes[..length].iter().fold(u8::MAX, |least, byte| least.min(*byte));
    if least < b' ' { Err(NotJson) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::super::{Pointers, is_json};

    const POINTERS: [&str; 5] = ["/a", "/a/b", "/b/1", "/b/0/a", ""];

    /// JSON texts, with blanks, escapes, repeated keys and long strings.
    fn texts() -> impl Strategy<Value = String> {
        let word = |words: &[&str]| prop::sample::select(words.iter().map(|w| w.to_string()).collect::<Vec<_>>());
        let string = prop_oneof![
            word(&[r#""""#, r#""é""#, r#""\u00e9\n\"""#, r#""\ud83d\ude00""#, r#""x[{\\""#, "\"\u{7f}\u{2028}\""]),
            "[ -!#-\\[\\]-~é]{0,90}".prop_map(|text| format!("\"{text}\"")),
        ];
        let scalar = prop_oneof![word(&["null", "true", "false", "0", "-7", "12e+3", "1.50E-2", "-0.1"]), string];
        let blank = move || prop_oneof![4 => Just(String::new()), 1 => word(&[" ", "\n\t", "\r  "])];
        let key = word(&[r#""a""#, r#""b""#, r#""\u0061""#, r#""ab""#, r#""""#]);
        scalar.prop_recursive(6, 40, 5, move |inner| {
            let items = prop::collection::vec((inner.clone(), blank()), 0..5);
            let members = prop::collection::vec((key.clone(), blank(), inner, blank()), 0..5);
            prop_oneof![
                (items, blank()).prop_map(|(items, blank)| {
                    let items: Vec<_> = items.iter().map(|(item, blank)| format!("{item}{blank}")).collect();
                    format!("{blank}[{blank}{}]", items.join(","))
                }),
                (members, blank()).prop_map(|(members, blank)| {
                    let members: Vec<_> = members.iter().map(|(k, b, v, e)| format!("{k}{b}:{e}{v}{b}")).collect();
                    format!("{{{blank}{}}}{blank}", members.join(&format!(",{blank}")))
                }),
            ]
        })
    }

    fn is_json_to_others(body: &[u8]) -> bool {
        std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
    }

    /// A scalar as text; numbers only where serde_json keeps how they were written.
    fn shown(value: Option<&Value>) -> Option<String> {
        match value? {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(value?.to_string()),
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn what_others_read_as_json_is_json_and_shows_the_same(text in texts()) {
            prop_assert!(is_json_to_others(text.as_bytes()));
            let picked = Pointers::new(POINTERS).unwrap().read(text.as_bytes()).unwrap();
            let whole: Value = serde_json::from_str(&text).unwrap();
            for (n, pointer) in POINTERS.iter().enumerate() {
                let (ours, theirs) = (picked.get(n), whole.pointer(pointer));
                match theirs {
                    Some(Value::Number(number)) => {
                        prop_assert_eq!(ours.and_then(|ours| ours.parse::<f64>().ok()), number.as_f64(), "{}", text);
                    }
                    _ => prop_assert_eq!(ours.map(str::to_owned), shown(theirs), "{} of {}", pointer, text),
                }
            }
        }

        #[test]
        fn a_broken_text_is_json_only_if_others_say_so(
            text in texts(),
            at in any::<prop::sample::Index>(),
            byte in prop_oneof![prop::sample::select(&b"\"\\{}[],:.eE+-0u \n\t\0"[..]), any::<u8>()],
            how in 0..4,
        ) {
            let mut body = text.into_bytes();
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                2 => _ = body.remove(at),
                _ => body.truncate(at),
            }
            prop_assert_eq!(is_json(&body), is_json_to_others(&body), "{}", String::from_utf8_lossy(&body));
        }

        #[test]
        fn any_bytes_are_json_only_if_others_say_so(body in "[\\[\\]{}:,\"\\\\ \n0-9.eEtrufalsn+-]{0,12}") {
            prop_assert_eq!(is_json(body.as_bytes()), is_json_to_others(body.as_bytes()), "{}", body);
        }
    }
}
