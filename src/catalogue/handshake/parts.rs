//! What the tables of a handshake say in text: places, options, and answers with placeholders.

use std::collections::BTreeMap;

use super::super::ContractError;
use super::super::read::{Compiler, Place};
use super::super::value::Value;
use crate::event::json::Pointers;
use crate::verify::{Encoding, Hash};

/// A piece of an answer.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Literal(String),
    Insert(Place),
    Option(String),
    Mac(Hash, Encoding, Place),
}

pub(super) fn place(compiler: &mut Compiler, text: &str, key: &'static str) -> Result<Place, ContractError> {
    let value = Value::parse(text).map_err(|e| ContractError::key(key, format!("holds {e}")))?;
    compiler.place(&value)
}

/// Reads where an encrypted body stands.
pub(super) fn encrypted(text: &str) -> Result<(Place, Pointers), ContractError> {
    let mut compiler = Compiler::default();
    let place = place(&mut compiler, text, "handshake.decrypt")?;
    Ok((place, compiler.finish()?))
}

pub(super) fn declared(
    name: &str,
    options: &BTreeMap<String, String>,
    key: &'static str,
) -> Result<String, ContractError> {
    let known = options.contains_key(name);
    known.then(|| name.to_owned()).ok_or_else(|| ContractError::key(key, format!("names the unknown option `{name}`")))
}

/// Splits a reply at its placeholders; other braces are text, as in JSON.
pub(super) fn parts(
    compiler: &mut Compiler,
    mut text: &str,
    options: &BTreeMap<String, String>,
) -> Result<Vec<Part>, ContractError> {
    const KEY: &str = "handshake.reply";
    let mut parts = Vec::new();
    let mut literal = String::new();
    while let Some((before, from)) = text.split_once('{') {
        literal.push_str(before);
        let (name, after) = from.split_once('}').unwrap_or((from, ""));
        let part = match name.split_once(':') {
            Some(("body" | "query" | "header" | "form", _)) => Part::Insert(place(compiler, name, KEY)?),
            Some(("option", name)) => Part::Option(declared(name, options, KEY)?),
            Some(("hmac", rest)) => mac(compiler, rest)?,
            _ => {
                literal.push('{');
                text = from;
                continue;
            }
        };
        parts.push(Part::Literal(std::mem::take(&mut literal)));
        parts.push(part);
        text = after;
    }
    literal.push_str(text);
    parts.push(Part::Literal(literal));
    Ok(parts)
}

/// Reads `sha256:hex:body:/pointer`.
fn mac(compiler: &mut Compiler, text: &str) -> Result<Part, ContractError> {
    const KEY: &str = "handshake.reply";
    let bad = || ContractError::key(KEY, format!("holds `{{hmac:{text}}}`, which is not hmac:HASH:ENCODING:PLACE"));
    let (hash, rest) = text.split_once(':').ok_or_else(bad)?;
    let (encoding, value) = rest.split_once(':').ok_or_else(bad)?;
    let hash = match hash {
        "sha1" => Hash::Sha1,
        "sha256" => Hash::Sha256,
        "sha512" => Hash::Sha512,
        _ => return Err(bad()),
    };
    let encoding = match encoding {
        "hex" => Encoding::Hex,
        "base64" => Encoding::Base64,
        _ => return Err(bad()),
    };
    Ok(Part::Mac(hash, encoding, place(compiler, value, KEY)?))
}
