//! Which addresses may send: networks by themselves, by a provider's name, from a file, or as a URL publishes them.
//!
//! What providers publish is shipped as dated files (`providers/ranges/`); a file of the operator's own is read with the
//! configuration, and so again whenever it changes; what a URL of the operator's publishes is put here by whoever fetches
//! it. A sender's address is looked up in sorted ranges: a list of thousands costs as much as one of ten.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use serde_json::Value;

/// Largest file, bytes.
const LARGEST_FILE: u64 = 16 << 20;
/// Most networks of one source.
const MOST: usize = 200_000;

/// Ranges that are shipped, by provider.
const SHIPPED: &[(&str, &str)] = &[
    ("atlassian", include_str!("../../providers/ranges/atlassian.txt")),
    ("aws", include_str!("../../providers/ranges/aws.txt")),
    ("github", include_str!("../../providers/ranges/github.txt")),
    ("stripe", include_str!("../../providers/ranges/stripe.txt")),
];

/// Where providers publish theirs that are not shipped, and how the saved file is written here.
const PUBLISHED: &[(&str, &str, &str)] = &[
    ("buildkite", "https://api.buildkite.com/v2/meta", "file:PATH#/webhook_ips"),
    ("svix", "https://docs.svix.com/webhook-ips.json", "file:PATH"),
];

/// Members of a JSON object that hold its network.
const MEMBERS: [&str; 5] = ["cidr", "ip_prefix", "ipv6_prefix", "ipv4Prefix", "ipv6Prefix"];

/// First and last address of each range, in order, none touching another; IPv4 addresses as IPv6 maps them.
type Ranges = Vec<(u128, u128)>;

/// A set of addresses; copies of it are one set.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    /// `None`: every address.
    ranges: Option<Arc<ArcSwap<Ranges>>>,
    /// What is known from the configuration.
    fixed: Vec<IpNet>,
    published: Vec<Published>,
}

/// A list that a URL publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Where it is asked for: https.
    pub url: String,
    /// JSON Pointer to the list in what is answered.
    pub pointer: String,
}

impl Published {
    fn parse(item: &str) -> Result<Self, String> {
        let (url, pointer) = item.split_once('#').unwrap_or((item, ""));
        match url::Url::parse(url) {
            Ok(parsed) if parsed.scheme() == "https" => Ok(Self { url: url.to_owned(), pointer: pointer.to_owned() }),
            Ok(_) => Err(format!("`{item}`: only https:// tells who publishes it")),
            Err(error) => Err(format!("`{item}` is not a URL: {error}")),
        }
    }

    /// The networks of an answer.
    ///
    /// # Errors
    /// For a person: it holds none, or something else.
    pub fn read(&self, content: &[u8]) -> Result<Vec<IpNet>, String> {
        let text = std::str::from_utf8(content).map_err(|_| "not UTF-8".to_owned())?;
        let found = document(text, &self.pointer)?;
        if found.len() > MOST { Err(format!("{} networks are more than {MOST}", found.len())) } else { Ok(found) }
    }
}

impl Networks {
    /// The networks that `items` name: `192.0.2.0/24`, `github`, `file:PATH` or `https://…`, the last two with
    /// `#/pointer` where it is JSON. No items: every address. What URLs publish is not in it before it is [put](Self::put).
    ///
    /// # Errors
    /// For a person, with the number of each item that cannot be.
    pub fn read(items: &[String]) -> Result<Self, Vec<(usize, String)>> {
        let (mut wrong, mut fixed, mut published) = (Vec::new(), Vec::new(), Vec::new());
        for (n, item) in items.iter().enumerate() {
            if item.contains("://") && !item.starts_with("file:") {
                match Published::parse(item) {
                    Ok(list) => published.push(list),
                    Err(what) => wrong.push((n, what)),
                }
                continue;
            }
            match read(item) {
                Ok(networks) => fixed.extend(networks),
                Err(what) => wrong.push((n, what)),
            }
        }
        if fixed.len() > MOST {
            wrong.push((0, format!("{} networks in all are more than {MOST}", fixed.len())));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let ranges = (!items.is_empty()).then(|| Arc::new(ArcSwap::from_pointee(ranges(&fixed))));
        Ok(Self { ranges, fixed, published })
    }

    /// The lists that are to be fetched.
    pub fn published(&self) -> &[Published] {
        &self.published
    }

    /// Takes what all [published](Self::published) lists hold, in place of what they held before.
    pub fn put(&self, lists: Vec<IpNet>) {
        if let Some(current) = &self.ranges {
            let all: Vec<IpNet> = self.fixed.iter().copied().chain(lists).collect();
            current.store(Arc::new(ranges(&all)));
        }
    }

    /// Whether every address may send.
    pub fn is_any(&self) -> bool {
        self.ranges.is_none()
    }

    /// Whether `address` may send.
    pub fn hold(&self, address: IpAddr) -> bool {
        let Some(ranges) = &self.ranges else { return true };
        let ranges = ranges.load();
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
        let (_, pointer) = written.split_once('#').unwrap_or_default();
        let hash = if pointer.is_empty() { "" } else { "#" };
        return Err(format!(
            "the ranges of `{name}` are not shipped: write \"{url}{hash}{pointer}\", or save it and write \"{written}\""
        ));
    }
    network(item).map(|network| vec![network]).ok_or_else(|| {
        format!(
            "`{item}` is not a network such as \"192.0.2.0/24\", a provider of ranges ({}), \"file:PATH\" or \"https://…\"",
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
    document(&text, pointer)
}

fn document(text: &str, pointer: &str) -> Result<Vec<IpNet>, String> {
    let found = if pointer.is_empty() && !text.trim_start().starts_with(['[', '{']) {
        lines(text)?
    } else {
        let document: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
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

fn ranges(networks: &[IpNet]) -> Ranges {
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
        assert_eq!(list.ranges.as_ref().unwrap().load().len(), 3);
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
        check(&networks(&["atlassian"]).unwrap(), &["104.192.142.241", "18.246.31.225"], &["140.82.112.1"]);
        check(&networks(&["aws"]).unwrap(), &["18.204.0.1", "54.239.28.85", "2600:1f18::1"], &["140.82.112.1", "::1"]);
        let wrong = networks(&["github", "buildkite", "gihtub"]).unwrap_err();
        assert!(
            wrong[0].0 == 1 && wrong[0].1.contains("write \"https://api.buildkite.com/v2/meta#/webhook_ips\""),
            "{wrong:?}"
        );
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

    #[test]
    fn what_a_url_publishes_is_in_force_once_it_is_put_and_in_every_copy() {
        let list = networks(&["192.0.2.1", "https://example.com/meta#/hooks"]).unwrap();
        let copy = list.clone();
        check(&copy, &["192.0.2.1"], &["198.51.100.1"]);
        let [published] = list.published() else { panic!("one list") };
        assert_eq!((&*published.url, &*published.pointer), ("https://example.com/meta", "/hooks"));
        list.put(published.read(br#"{"hooks":["198.51.100.0/24"]}"#).unwrap());
        check(&copy, &["192.0.2.1", "198.51.100.1"], &["203.0.113.1"]);
        list.put(published.read(br#"{"hooks":["203.0.113.0/24"]}"#).unwrap());
        check(&copy, &["192.0.2.1", "203.0.113.1"], &["198.51.100.1"]);
        for wrong in [&b"{}"[..], b"{\"hooks\":[]}", b"{\"hooks\":[\"x\"]}", b"<html>", b"\xff"] {
            assert!(published.read(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
        check(&networks(&["https://example.com/a.txt"]).unwrap(), &[], &["0.0.0.0", "::1"]);
        let wrong = networks(&["http://example.com/meta", "ftp://example.com", "https://"]).unwrap_err();
        assert!(wrong.len() == 3 && wrong[0].1.contains("only https://"), "{wrong:?}");
    }
}
