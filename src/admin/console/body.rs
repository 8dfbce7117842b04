//! A body for reading: JSON with its lines indented and nothing else changed, text as it is, the rest in hex.

use maud::{Markup, html};

use crate::event::Envelope;

/// Most bytes that are shown.
const MOST: usize = 256 << 10;
/// Most bytes that are shown in hex.
const HEX: usize = 4 << 10;

/// The body of `event`.
pub fn show(event: &Envelope) -> Markup {
    if event.body.is_empty() {
        return html! { p.empty { "Empty." } };
    }
    let is_cut = event.body.len() > MOST;
    let shown = &event.body[..event.body.len().min(MOST)];
    let text = match std::str::from_utf8(shown) {
        Ok(text) => Some(text),
        // The cut may go through a character.
        Err(error) if is_cut && error.valid_up_to() + 4 > shown.len() => {
            std::str::from_utf8(&shown[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    html! {
        @match text {
            Some(text) if event.is_json => {
                details open { summary { "Pretty" } pre tabindex="0" { (pretty(text)) } }
                details { summary { "Raw" } pre tabindex="0" { (text) } }
            }
            Some(text) => pre tabindex="0" { (text) },
            None => pre tabindex="0" { (hex(&event.body)) },
        }
        @if is_cut { p.quiet { "The first 256 KiB; the API has it whole." } }
    }
}

/// JSON with line breaks and indents of its structure; no token is changed, so that numbers stay what they were.
fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        // Deeper than anybody reads, indents only cost.
        out.extend(std::iter::repeat_n("  ", depth.min(40)));
    };
    let mut tokens = json.chars().filter(|c| !c.is_ascii_control() || *c == '\n').peekable();
    while let Some(c) = tokens.next() {
        if in_string {
            out.push(c);
            in_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while tokens.peek().is_some_and(char::is_ascii_whitespace) {
                    tokens.next();
                }
                if !tokens.peek().is_some_and(|next| matches!(next, '}' | ']')) {
                    depth += 1;
                    line(&mut out, depth);
                } else if let Some(close) = tokens.next() {
                    out.push(close);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (at, line) in bytes[..bytes.len().min(HEX)].chunks(16).enumerate() {
        let hex = line.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
        let text: String = line.iter().map(|&b| if b.is_ascii_graphic() { char::from(b) } else { '.' }).collect();
        out.push_str(&format!("{:08x}  {hex:<47}  {text}\n", at * 16));
    }
    if bytes.len() > HEX {
        out.push_str("…\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_no_token_changed() {
        let json = r#"{"a":1.10,"b":[],"c":{ },"d":[1e400,"x\"{,:\\"],"e":12345678901234567890}"#;
        let expected = "{\n  \"a\": 1.10,\n  \"b\": [],\n  \"c\": {},\n  \"d\": [\n    1e400,\n    \"x\\\"{,:\\\\\"\n  ],\n  \"e\": 12345678901234567890\n}";
        assert_eq!(pretty(json), expected);
        assert_eq!(pretty("{ \"a\" :\n[ ] }"), "{\n  \"a\": []\n}");
    }

    #[test]
    fn any_bytes_can_be_shown() {
        let long = "é".repeat(MOST).into_bytes();
        for body in [b"\xff\x00<b>".to_vec(), b"[".repeat(10_000), long, b"<script>".to_vec()] {
            for is_json in [true, false] {
                let shown = show(&Envelope { body: body.clone().into(), is_json, ..Envelope::default() }).into_string();
                assert!(!shown.contains("<script>") && !shown.contains("<b>"), "{shown}");
            }
        }
    }
}
