//! `Forwarded` and `X-Forwarded-For`: whatever they hold, an address that no trusted proxy vouches for is never one.
#![no_main]

use std::net::IpAddr;

use hookferry::ingress::guard::client;
use hookferry::listener::Proxies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let names = ["forwarded", "x-forwarded-for", "x-forwarded-for"];
    let headers: Vec<_> = names.iter().zip(&mut lines).map(|(n, l)| (n.to_string(), l.to_owned())).collect();
    let proxies = Proxies::read(&["10.0.0.0/8".to_owned(), "fd00::/8".to_owned(), "unix".to_owned()]).unwrap();
    let stranger: IpAddr = "203.0.113.9".parse().unwrap();
    assert_eq!(client(Some(stranger), &headers, &proxies).address, Some(stranger));
    for peer in ["10.0.0.1".parse().ok(), None] {
        let found = client(peer, &headers, &proxies);
        assert!(found.address.is_some() || peer.is_none());
        // Whoever nobody knows is one of our own proxies, never an address of a sender's choice.
        assert!(found.is_certain || proxies.are(found.address));
    }
});
