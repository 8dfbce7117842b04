//! Who is asking: the sender's address, through trusted proxies only.

use std::net::IpAddr;

use crate::event::Headers;
use crate::listener::Proxies;

/// Most addresses of a forwarding header that are looked at.
const HOPS: usize = 32;

/// Who a request is from.
#[derive(Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address; `None` for a client of a Unix socket, which has none.
    pub address: Option<IpAddr>,
    /// Whether that is the sender's: not where proxies' headers contradict each other, or name something that is no address. It is
    /// then the last of the proxies, whose requests the sender's are counted with.
    pub is_certain: bool,
}

/// The sender's address: `peer`, or behind trusted proxies the last address that none of them vouches for.
///
/// Lists are walked from the right, since a sender writes on the left what it likes. Most proxies write one of
/// `Forwarded` and `X-Forwarded-For` and pass on the other as the sender wrote it: where both are there and differ,
/// neither is believed, and no list of networks lets the request in. An IPv4 address mapped into IPv6 is the IPv4 address.
///
/// - `peer`: `None` for a client of a Unix socket, which has no address.
pub fn client(peer: Option<IpAddr>, headers: &dyn Headers, trusted: &Proxies) -> Client {
    let peer = peer.map(|peer| peer.to_canonical());
    let itself = |is_certain| Client { address: peer, is_certain };
    if !trusted.are(peer) {
        return itself(true);
    }
    let walk = |hops: Vec<Option<IpAddr>>| {
        let mut client = itself(true);
        for hop in hops.into_iter().rev().take(HOPS) {
            // What is not an address was written by the hop before: that one is as far as can be told.
            client.is_certain = hop.is_some();
            if hop.is_none() {
                break;
            }
            client.address = hop;
            if !trusted.are(hop) {
                break;
            }
        }
        client
    };
    let forwarded = addresses(headers, "forwarded", forwarded_for_all);
    let plain = addresses(headers, "x-forwarded-for", |line| line.split(',').map(|item| plain(item.trim())).collect());
    match (forwarded.is_empty(), plain.is_empty()) {
        (_, true) => walk(forwarded),
        (true, false) => walk(plain),
        (false, false) => {
            let client = walk(forwarded);
            if client == walk(plain) { client } else { itself(false) }
        }
    }
}

fn addresses(headers: &dyn Headers, name: &str, parse: fn(&str) -> Vec<Option<IpAddr>>) -> Vec<Option<IpAddr>> {
    let lines = (0..).map_while(|n| headers.nth(name, n));
    lines.flat_map(|line| parse(std::str::from_utf8(line).unwrap_or("?"))).collect()
}

/// The parts of `text` between those `separator`s that stand in no quoted string: a proxy quotes what its client wrote.
fn unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c| {
        let is_plain = !is_quoted;
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => return is_plain && c == separator,
        }
        false
    })
}

/// The `for=` of each element of a line of `Forwarded`. One that breaks its grammar tells nothing at all: whoever left a quote
/// open has what the proxy wrote behind it read as his own text, or his own as the proxy's.
fn forwarded_for_all(line: &str) -> Vec<Option<IpAddr>> {
    let mut pairs = unquoted(line, ',').flat_map(|element| unquoted(element, ';')).map(str::trim);
    match pairs.all(|pair| pair.is_empty() || is_pair(pair)) {
        true => unquoted(line, ',').map(forwarded_for).collect(),
        false => vec![None],
    }
}

/// Whether `text` is a name, and a value that is quoted as a whole or not at all (RFC 7239, section 4). Unlike there a value without
/// quotes may have a port: some proxies write it so.
fn is_pair(text: &str) -> bool {
    let is_bare = |text: &str| !text.contains(['"', '\\']);
    let is_quoted = |text: &str| {
        let Some(inside) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return false };
        let mut chars = inside.chars();
        while let Some(c) = chars.next() {
            if c == '"' || c == '\\' && chars.next().is_none() {
                return false;
            }
        }
        true
    };
    text.split_once('=').is_some_and(|(name, value)| is_bare(name) && (is_bare(value) || is_quoted(value)))
}

/// The `for=` of one element of `Forwarded` (RFC 7239), which has it once.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut values = unquoted(element, ';').filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    });
    let value = values.next().filter(|_| values.next().is_none())?;
    plain(value.strip_prefix('"').map_or(Some(value), |quoted| quoted.strip_suffix('"'))?)
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn plain(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(inside, _)| inside);
    let parsed = match bracketed {
        Some(inside) => inside.parse::<IpAddr>().ok(),
        None => text.parse().ok().or_else(|| text.rsplit_once(':')?.0.parse().ok()),
    };
    parsed.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, headers: &[(&str, &str)], client: &str) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let trusted = Proxies::read(&["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()]).unwrap();
        let found = self::client(Some(peer.parse().unwrap()), &headers, &trusted);
        let doubt = if found.is_certain { "" } else { "?" };
        assert_eq!(format!("{}{doubt}", found.address.unwrap()), client);
    }

    #[test]
    fn a_proxy_behind_a_unix_socket_is_believed_only_where_it_is_named() {
        let headers = vec![("x-forwarded-for".to_owned(), "192.0.2.1, 203.0.113.9".to_owned())];
        let found = |trusted: &[&str]| {
            let trusted: Vec<_> = trusted.iter().map(|&item| item.to_owned()).collect();
            client(None, &headers, &Proxies::read(&trusted).unwrap()).address.map(|address| address.to_string())
        };
        assert_eq!(found(&["unix"]).unwrap(), "203.0.113.9");
        assert_eq!(found(&["unix", "203.0.113.0/24"]).unwrap(), "192.0.2.1");
        assert_eq!(found(&["127.0.0.1"]), None);
    }

    #[test]
    fn a_sender_cannot_choose_its_address() {
        check("203.0.113.9", &[("x-forwarded-for", "192.0.2.1")], "203.0.113.9");
        check("10.0.0.1", &[("x-forwarded-for", "192.0.2.1, 203.0.113.9")], "203.0.113.9");
        check(
            "10.0.0.1",
            &[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "203.0.113.9, 10.0.0.2")],
            "203.0.113.9",
        );
    }

    #[test]
    fn proxies_are_walked_from_the_right() {
        check("10.0.0.1", &[("x-forwarded-for", "203.0.113.9, 10.1.1.1")], "203.0.113.9");
        check("::ffff:10.0.0.1", &[("x-forwarded-for", "::ffff:203.0.113.9")], "203.0.113.9");
        check("fd00::1", &[("forwarded", "for=192.0.2.60;proto=http, for=\"[2001:db8::9]:4711\"")], "2001:db8::9");
        check("10.0.0.1", &[("x-forwarded-for", "203.0.113.9:1234")], "203.0.113.9");
        check("10.0.0.1", &[], "10.0.0.1");
    }

    #[test]
    fn a_header_that_the_proxy_passes_on_does_not_outweigh_the_one_that_it_writes() {
        let both = |forwarded, plain| [("forwarded", forwarded), ("x-forwarded-for", plain)];
        check("10.0.0.1", &both("for=192.0.2.1", "203.0.113.9"), "10.0.0.1?");
        check("10.0.0.1", &both("for=203.0.113.9", "192.0.2.1"), "10.0.0.1?");
        check("10.0.0.1", &both("for=unknown", "203.0.113.9"), "10.0.0.1?");
        check("10.0.0.1", &both("for=192.0.2.1, for=203.0.113.9", "203.0.113.9:80, 10.0.0.2"), "203.0.113.9");
    }

    #[test]
    fn what_a_proxy_quotes_is_no_address_of_its_own() {
        let host = |written: &str| format!("host=\"{written}\";for=203.0.113.9");
        for written in ["x,for=192.0.2.1", "x;for=192.0.2.1", r#"x\",for=192.0.2.1;host=\""#, r"\\"] {
            check("10.0.0.1", &[("forwarded", &host(written))], "203.0.113.9");
        }
        check("10.0.0.1", &[("forwarded", "for=192.0.2.1;for=203.0.113.9")], "10.0.0.1?");
        check("10.0.0.1", &[("forwarded", "for=192.0.2.1, for=\"203.0.113.9")], "10.0.0.1?");
    }

    #[test]
    fn a_quote_that_a_sender_leaves_open_does_not_hide_what_the_proxy_writes() {
        for sent in [r#"for=192.0.2.1;x=""#, r#"for=192.0.2.1;x="\"#, r#"for=192.0.2.1;x=a""#, r#"for=192.0.2.1;""#] {
            for own in [
                "for=203.0.113.9",
                r#"for="[2001:db8::9]:1""#,
                r#"for=203.0.113.9;host="a";by="b""#,
                r#"for=203.0.113.9;host="x\"""#,
                r#"host=",for=192.0.2.1;y=";for=203.0.113.9"#,
            ] {
                check("10.0.0.1", &[("forwarded", &format!("{sent}, {own}"))], "10.0.0.1?");
            }
        }
        check("10.0.0.1", &[("forwarded", r#"for=192.0.2.1;x="\"", for=203.0.113.9:80;host="a\\""#)], "203.0.113.9");
        check("10.0.0.1", &[("forwarded", "for=192.0.2.1, for=203.0.113.9 ; proto=https;")], "203.0.113.9");
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        check("10.0.0.1", &[("x-forwarded-for", "203.0.113.9, unknown")], "10.0.0.1?");
        check("10.0.0.1", &[("x-forwarded-for", "203.0.113.9, 0177.0.0.1, 10.0.0.3")], "10.0.0.3?");
    }
}
