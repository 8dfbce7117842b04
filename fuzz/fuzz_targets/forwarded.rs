//! `Forwarded` and `X-Forwarded-For`: whatever they hold, an address that no trusted proxy vouches for is never one.
#![no_main]

use std::net::IpAddr;

use hookferry::ingress::guard::client_ip;
use hookferry::listener::Proxies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let names = ["forwarded", "x-forwarded-for", "x-forwarded-for"];
    let headers: Vec<_> = names.iter().zip(&mut lines).map(|(n, l)| (n.to_string(), l.to_owned())).collect();
    let proxies = Proxies::read(&["10.0.0.0/8".to_owned(), "fd00::/8".to_owned(), "unix".to_owned()]).unwrap();
    let stranger: IpAddr = "203.0.113.9".parse().unwrap();
    assert_eq!(client_ip(Some(stranger), &headers, &proxies), Some(stranger));
    let peer: IpAddr = "10.0.0.1".parse().unwrap();
    assert!(client_ip(Some(peer), &headers, &proxies).is_some());
    client_ip(None, &headers, &proxies);
});
