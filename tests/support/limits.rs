//! Limits, and what they must leave room for.

use crate::{SOURCE, check, setup};

#[test]
fn limits_of_a_source_are_read_or_refused_by_their_key() {
    check(
        &format!("{SOURCE}rate_limit = \"5/d\""),
        "a.toml: sources.one.rate_limit: `5/d` is not a rate such as \"500/s\", \"60/m\" or \"1000/h\"",
    );
    check(
        &format!("{SOURCE}rate_limit_per_ip = \"0/s\""),
        "a.toml: sources.one.rate_limit_per_ip: `0/s` is not a rate such as \"500/s\", \"60/m\" or \"1000/h\"",
    );
    check(&format!("{SOURCE}ack = \"queued\""), "a.toml: sources.one.ack: is \"durable\" or \"published\"");
    let all = "rate_limit = \"500/s\"\nrate_limit_per_ip = \"60/m\"\nack = \"published\"";
    assert!(setup(&format!("{SOURCE}{all}")).load().is_ok());
}

#[test]
fn a_body_fits_the_memory_of_all_bodies_twice() {
    let says = |key: &str, body: u64, most: u64| {
        format!("a.toml: {key}: a body of {body} B, as sent and decoded, does not fit server.max_inflight, {most} B")
    };
    check("[server]\nmax_inflight = \"1MiB\"", &says("server.max_inflight", 1 << 20, 1 << 20));
    let large = format!("[server]\nmax_inflight = \"3MiB\"\n{SOURCE}max_body = \"2MiB\"");
    check(&large, &says("sources.one.max_body", 2 << 20, 3 << 20));
    assert!(setup("[server]\nmax_inflight = \"2MiB\"").load().is_ok());
}
