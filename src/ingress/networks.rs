//! Which addresses may send: networks by themselves, by a provider's name, or from a file.
//!
//! What providers publish is shipped as dated files (`providers/ranges/`) and never fetched; a file of the operator's own is read
//! with the configuration, and so again whenever it changes. A sender's address is looked up in sorted ranges: a list of
//! thousands costs as much as one of ten.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_json::Value;

/// Largest file, bytes.
const LARGEST_FILE: u64 = 16 << 20;
/// Most networks of one source.
const MOST: usize = 200_000;

/// Ranges that are shipped, by provider.
const SHIPPED: &[(&str, &str)] = &[
    ("github", include_str!("../../providers/ranges/github.txt")),
    ("stripe", include_str!("../../providers/ranges/stripe.txt")),
];

/// Where providers publish theirs that are not shipped, and how the saved file is written here.
const PUBLISHED: &[(&str, &str, &str)] = &[
    ("atlassian", "https://ip-ranges.atlassian.com", "file:PATH#/items"),
    ("aws", "https://ip-ranges.amazonaws.com/ip-ranges.json", "file:PATH#/prefixes"),
    ("buildkite", "https://api.buildkite.com/v2/meta", "file:PATH#/webhook_ips"),
    ("svix", "https://docs.svix.com/webhook-ips.json", "file:PATH"),
];

/// Members of a JSON object that hold its network.
const MEMBERS: [&str; 5] = ["cidr", "ip_prefix", "ipv6_prefix", "ipv4Prefix", "ipv6Prefix"];

/// A set of addresses; IPv4 addresses as IPv6 maps them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// First and last, in order, none touching another; `None`: every address.
    ranges: Option<Vec<(u128, u128)>>,
}

impl Networks {
    /// The networks that `items` name: `192.0.2.0/24`, `github`, `file:PATH` or `file:PATH#/pointer`. No items: every address.
    ///
    /// # Errors
    /// For a person, with the number of each item that cannot be.
    pub fn read(items: &[String]) -> Result<Self, Vec<(usize, String)>> {
        let mut wrong = Vec::new();
        let mut all = Vec::new();
        for (n, item) in items.iter().enumerate() {
            match read(item) {
                Ok(networks) => all.extend(networks),
                Err(what) => wrong.push((n, what)),
            }
        }
        if all.len() > MOST {
            wrong.push((0, format!("{} networks in all are more than {MOST}", all.len())));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self { ranges: (!items.is_empty()).then(|| ranges(all)) })
    }

    /// Whether every address may send.
    pub fn is_any(&self) -> bool {
        self.ranges.is_none()
    }

    /// Whether `address` may send.
    pub fn hold(&self, address: IpAddr) -> bool {
        let Some(ranges) = &self.ranges else { return true };
        let address = number(address);
        let behind = ranges.partition_point(|(first, _)| *first <= address);
        behind > 0 && address <= ranges[behind - 1].1
    }
}

fn read(item: &str) -> Result<Vec<IpNet>, String> {
    if let Some(file) = item.strip_prefix("file:") {
        return from_file(file).map_err(|what| format!("{file}: {what}"));
    }
    if let Some((_, text)) = SHIPPED.iter().find(|(name, _)| *name == item) {
        return lines(text);
    }
    if let Some((name, url, written)) = PUBLISHED.iter().find(|(name, ..)| *name == item) {
        return Err(format!("the ranges of `{name}` are not shipped: save {url}, and write \"{written}\""));
    }
    network(item).map(|network| vec![network]).ok_or_else(|| {
        format!(
            "`{item}` is not a network such as \"192.0.2.0/24\", a provider of ranges ({}) or \"file:PATH\"",
            SHIPPED.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        )
    })
}

/// A network, or an address: a network of one.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn from_file(file: &str) -> Result<Vec<IpNet>, String> {
    let (path, pointer) = file.split_once('#').unwrap_or((file, ""));
    let length = Path::new(path).metadata().map_err(|error| format!("cannot read it: {error}"))?.len();
    if length > LARGEST_FILE {
        return Err(format!("{length} B are more than {LARGEST_FILE} B"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"))?;
    let found = if pointer.is_empty() && !text.trim_start().starts_with(['[', '{']) {
        lines(&text)?
    } else {
        let document: Value = serde_json::from_str(&text).map_err(|error| format!("not JSON: {error}"))?;
        let part = document.pointer(pointer).ok_or_else(|| format!("it holds nothing at `{pointer}`"))?;
        json(part)?
    };
    // An empty list would let nobody in, or, taken for none, everybody.
    if found.is_empty() { Err("it holds no network".to_owned()) } else { Ok(found) }
}

/// One network a line; `#` begins a comment.
fn lines(text: &str) -> Result<Vec<IpNet>, String> {
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.split('#').next().unwrap_or_default().trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty());
    lines.map(|(n, line)| network(line).ok_or_else(|| format!("line {n} is not a network"))).collect()
}

/// A list of networks, or of objects with one each.
fn json(part: &Value) -> Result<Vec<IpNet>, String> {
    let items = part.as_array().ok_or("not a list: name the list with `#/pointer`")?;
    let read = |(n, item): (usize, &Value)| {
        let own = item.as_str().into_iter();
        let mut texts = own.chain(MEMBERS.iter().filter_map(|name| item.get(name)?.as_str()));
        let wrong = || format!("item {n} of the list holds no network");
        texts.next().and_then(network).ok_or_else(wrong)
    };
    items.iter().enumerate().map(read).collect()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn ranges(networks: Vec<IpNet>) -> Vec<(u128, u128)> {
    let all: BTreeSet<_> =
        networks.iter().map(|network| (number(network.network()), number(network.broadcast()))).collect();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in all {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(items: &[&str]) -> Result<Networks, Vec<(usize, String)>> {
        Networks::read(&items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>())
    }

    #[track_caller]
    fn check(networks: &Networks, inside: &[&str], outside: &[&str]) {
        for (addresses, expected) in [(inside, true), (outside, false)] {
            for address in addresses {
                assert_eq!(networks.hold(address.parse().unwrap()), expected, "{address}");
            }
        }
    }

    fn file(dir: &Path, name: &str, text: &str) -> String {
        std::fs::write(dir.join(name), text).unwrap();
        format!("file:{}", dir.join(name).display())
    }

    #[test]
    fn an_allow_list_means_what_it_says() {
        let list = networks(&["192.0.2.0/25", "192.0.2.128/25", "192.0.2.7", "203.0.113.9", "2001:db8::/32"]).unwrap();
        assert_eq!(list.ranges.as_ref().unwrap().len(), 3);
        let inside = ["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.7", "203.0.113.9", "2001:db8:ffff::"];
        check(&list, &inside, &["192.0.1.255", "192.0.3.0", "203.0.113.8", "2001:db9::", "::", "::192.0.2.7"]);
        let mapped = networks(&["::ffff:192.0.2.0/120"]).unwrap();
        check(&mapped, &["192.0.2.7"], &["192.0.3.7"]);
        check(&networks(&["0.0.0.0/0"]).unwrap(), &["255.255.255.255", "::ffff:0.0.0.0"], &["::1"]);
        check(&networks(&["0.0.0.0/0", "::/0"]).unwrap(), &["192.0.2.1", "ffff::", "::"], &[]);
        check(&networks(&[]).unwrap(), &["192.0.2.1", "::1"], &[]);
    }

    #[test]
    fn providers_ranges_are_known_by_name_or_where_to_get_them_is_said() {
        for (name, text) in SHIPPED {
            assert!(networks(&[name]).is_ok(), "{name}");
            let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
            let head = head.join(" ");
            assert!(head.contains("https://") && head.contains(" 20"), "{name} says its source and date");
        }
        check(&networks(&["github"]).unwrap(), &["140.82.112.1", "::ffff:192.30.252.1"], &["192.0.2.1"]);
        let wrong = networks(&["github", "atlassian", "gihtub"]).unwrap_err();
        assert!(wrong[0].0 == 1 && wrong[0].1.contains("save https://ip-ranges.atlassian.com"), "{wrong:?}");
        assert!(wrong[1].0 == 2 && wrong[1].1.starts_with("`gihtub` is not a network"), "{wrong:?}");
    }

    #[test]
    fn a_file_is_read_as_text_or_as_providers_publish_it() {
        let dir = tempfile::tempdir().unwrap();
        let text = file(dir.path(), "a.txt", "# ours\n192.0.2.0/24 # office\n\n2001:db8::1\n");
        check(&networks(&[&text]).unwrap(), &["192.0.2.1", "2001:db8::1"], &["2001:db8::2"]);
        let meta = file(dir.path(), "meta.json", r#"{"hooks":["192.0.2.0/24"],"actions":["0.0.0.0/0"],"x/y":[]}"#);
        check(&networks(&[&format!("{meta}#/hooks")]).unwrap(), &["192.0.2.1"], &["198.51.100.1"]);
        let items = r#"{"items":[{"network":"192.0.2.0","cidr":"192.0.2.0/24"},{"cidr":"2001:db8::/32"}],
            "prefixes":[{"ip_prefix":"198.51.100.0/24","region":"eu"},{"ipv6_prefix":"2001:db8::/48"}]}"#;
        let items = file(dir.path(), "items.json", items);
        check(&networks(&[&format!("{items}#/items")]).unwrap(), &["192.0.2.1", "2001:db8::"], &["198.51.100.1"]);
        check(&networks(&[&format!("{items}#/prefixes")]).unwrap(), &["198.51.100.1"], &["192.0.2.1"]);
        for (item, why) in [
            (meta.clone(), "not a list"),
            (format!("{meta}#/none"), "nothing at `/none`"),
            (format!("{meta}#/x~1y"), "no network"),
            (file(dir.path(), "b.txt", "192.0.2.0/24\nx"), "line 2"),
            (file(dir.path(), "c.json", "[1]"), "item 0"),
            (file(dir.path(), "d.txt", "\n"), "no network"),
            ("file:/no/such".to_owned(), "cannot read it"),
        ] {
            let wrong = networks(&[&item]).unwrap_err();
            assert!(wrong[0].1.contains(why), "{item}: {wrong:?}");
        }
    }
}
