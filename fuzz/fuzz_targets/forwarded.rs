//! `Forwarded` and `X-Forwarded-For`: whatever they hold, an address that no trusted proxy vouches for is never one, and what a
//! sender writes does not outweigh what the proxy writes behind it.
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
    let proxy: Option<IpAddr> = "10.0.0.1".parse().ok();
    for peer in [proxy, None] {
        let found = client(peer, &headers, &proxies);
        assert!(found.address.is_some() || peer.is_none());
        // Whoever nobody knows is one of our own proxies, never an address of a sender's choice.
        assert!(found.is_certain || proxies.are(found.address));
    }

    // What proxies write of the stranger, who sent the first half and asked for the second as the host.
    let (sent, host) = text.split_once('\n').unwrap_or((&text, ""));
    let host = host.replace('\\', r"\\").replace('"', r#"\""#);
    let forwarded = [
        "for=203.0.113.9".to_owned(),
        r#"for="203.0.113.9:80";by="10.0.0.1";proto=https"#.to_owned(),
        format!(r#"for=203.0.113.9;host="{host}""#),
        format!(r#"host="{host}";for="203.0.113.9""#),
    ];
    for (name, own) in
        forwarded.map(|own| ("forwarded", own)).into_iter().chain([("x-forwarded-for", stranger.to_string())])
    {
        let found = client(proxy, &vec![(name.to_owned(), format!("{sent}, {own}"))], &proxies);
        assert!(!found.is_certain || found.address == Some(stranger), "{found:?} by {sent}, {own}");
    }
});
