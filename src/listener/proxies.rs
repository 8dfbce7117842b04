//! Who is believed about the client of a connection.

use std::net::IpAddr;

use ipnet::IpNet;

/// What stands for whoever can open our Unix socket.
const UNIX: &str = "unix";

/// Networks of proxies, and perhaps the Unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    networks: Vec<IpNet>,
    unix: bool,
}

impl Proxies {
    /// The proxies that `items` name: networks, addresses, `unix`.
    ///
    /// # Errors
    /// The first item that is none of them.
    pub fn read(items: &[String]) -> Result<Self, String> {
        let mut proxies = Self::default();
        for item in items {
            match (item.parse::<IpNet>(), item.parse::<IpAddr>()) {
                (Ok(network), _) => proxies.networks.push(network),
                (_, Ok(address)) => proxies.networks.push(address.into()),
                _ if item == UNIX => proxies.unix = true,
                _ => return Err(format!("`{item}` is not a network such as \"192.0.2.0/24\", nor \"unix\"")),
            }
        }
        Ok(proxies)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether `address` is one; `None`: a client of the Unix socket.
    pub fn are(&self, address: Option<IpAddr>) -> bool {
        match address.map(|address| address.to_canonical()) {
            Some(address) => self.networks.iter().any(|network| network.contains(&address)),
            None => self.unix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_its_network_or_by_the_unix_socket() {
        let read = |items: &[&str]| Proxies::read(&items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>());
        let proxies = read(&["10.0.0.0/8", "192.0.2.1"]).unwrap();
        let are = |text: &str| proxies.are(Some(text.parse().unwrap()));
        assert!(are("10.9.9.9") && are("::ffff:10.9.9.9") && are("192.0.2.1") && !are("192.0.2.2"));
        assert!(!proxies.are(None));
        assert!(read(&["unix"]).unwrap().are(None));
        assert!(read(&[]).unwrap().is_empty() && !read(&["unix"]).unwrap().is_empty());
        assert!(read(&["here"]).is_err());
    }
}
