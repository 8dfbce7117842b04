//! How often one source, and one address of it, may send.
//!
//! A rate is a bucket (GCRA) that fills evenly and holds one unit's worth: `500/s` lets 500 come at once, then one
//! every 2 ms. The limits of addresses keep a bounded number of them; IPv6 counts by /64, which one sender has whole.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Most addresses whose use is remembered, about 40 bytes each.
const ADDRESSES: usize = 1 << 17;

/// So many requests in a second, a minute or an hour, e.g. `500/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("pattern" = r"^\s*\d+\s*/\s*[smh]\s*$"))]
pub struct Rate {
    most: NonZeroU32,
    per: Duration,
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let read = || {
            let (most, unit) = text.split_once('/')?;
            let per = match unit.trim() {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                _ => return None,
            };
            // `parse` would take a sign as well.
            let digits = most.trim().bytes().all(|b| b.is_ascii_digit());
            let most = most.trim().parse().ok().filter(|_| digits)?;
            Some(Self { most, per: Duration::from_secs(per) })
        };
        let fits = |rate: &Self| u128::from(rate.most.get()) <= rate.per.as_nanos();
        read().filter(fits).ok_or_else(|| format!("`{text}` is not a rate such as \"500/s\", \"60/m\" or \"1000/h\""))
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.most)
    }
}

impl Rate {
    fn quota(self) -> Quota {
        // One unit's worth may come at once; no rate is faster than one a nanosecond.
        let every = Quota::with_period(self.per / self.most.get()).unwrap_or(Quota::per_second(self.most));
        every.allow_burst(self.most)
    }
}

/// The limits of one source.
#[derive(Debug, Default)]
pub struct Limits {
    all: Option<(Rate, DefaultDirectRateLimiter)>,
    each: Option<Each>,
}

#[derive(Debug)]
struct Each {
    rate: Rate,
    by_address: ArcSwap<DefaultKeyedRateLimiter<u64>>,
    /// Most addresses.
    most: usize,
}

impl Limits {
    /// - `all`: of the source as a whole;
    /// - `each`: of each address that sends to it.
    pub fn new(all: Option<Rate>, each: Option<Rate>) -> Self {
        Self {
            all: all.map(|rate| (rate, RateLimiter::direct(rate.quota()))),
            each: each.map(|rate| Each::new(rate, ADDRESSES)),
        }
    }

    /// Whether these are the limits of [`Limits::new`] with the same rates: their state is worth keeping over a reload.
    pub fn are(&self, all: Option<Rate>, each: Option<Rate>) -> bool {
        self.all.as_ref().map(|(rate, _)| *rate) == all && self.each.as_ref().map(|each| each.rate) == each
    }

    /// Counts one request from `client`. The own limit of an address comes first, so that one that is over it takes
    /// nothing from the others.
    ///
    /// # Errors
    /// It is over a limit; seconds after which one more fits.
    pub fn take(&self, client: Option<IpAddr>) -> Result<(), u32> {
        if let (Some(each), Some(client)) = (&self.each, client) {
            each.take(client)?;
        }
        match &self.all {
            Some((_, limiter)) => {
                limiter.check().map_err(|until| seconds(until.wait_time_from(DefaultClock::default().now())))
            }
            None => Ok(()),
        }
    }
}

impl Each {
    fn new(rate: Rate, most: usize) -> Self {
        Self { rate, by_address: ArcSwap::from_pointee(RateLimiter::keyed(rate.quota())), most }
    }

    fn take(&self, client: IpAddr) -> Result<(), u32> {
        let limiter = self.by_address.load();
        let taken = limiter.check_key(&key(client));
        if taken.is_ok() && limiter.len() > self.most {
            // Those whose bucket is full again are as good as new.
            limiter.retain_recent();
            if limiter.len() > self.most / 2 {
                // Looking through them again and again would cost more than it saves: all begin anew.
                self.by_address.store(RateLimiter::keyed(self.rate.quota()).into());
            }
        }
        taken.map_err(|until| seconds(until.wait_time_from(DefaultClock::default().now())))
    }
}

/// What counts as one address.
pub(super) fn key(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

/// Whole seconds, at least one.
fn seconds(wait: Duration) -> u32 {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(whole.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        Rate::try_from(text.to_owned()).unwrap()
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        for text in ["500/s", "60/m", "1000/h"] {
            assert_eq!(rate(text).to_string(), text);
        }
        assert_eq!(rate(" 5 / s ").to_string(), "5/s");
        for text in ["", "5", "0/s", "-1/s", "+1/s", "1.5/s", "5/d", "5/ms", "/s", "4294967296/s", "4000000000/s"] {
            assert!(Rate::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn one_units_worth_may_come_at_once_and_the_wait_is_told() {
        let limits = Limits::new(Some(rate("3/h")), None);
        for _ in 0..3 {
            assert_eq!(limits.take(None), Ok(()));
        }
        let wait = limits.take(address("192.0.2.1")).unwrap_err();
        assert!((1199..=1200).contains(&wait), "{wait}");
        let limits = Limits::new(Some(rate("1000/s")), None);
        assert_eq!((0..5000).find_map(|_| limits.take(None).err()), Some(1));
    }

    #[test]
    fn an_address_over_its_limit_takes_nothing_from_the_others() {
        let limits = Limits::new(Some(rate("4/h")), Some(rate("2/h")));
        let taken = |text| limits.take(address(text)).is_ok();
        assert!(taken("192.0.2.1") && taken("::ffff:192.0.2.1"));
        assert!((0..50).all(|_| !taken("192.0.2.1")), "a mapped address is the same");
        assert!(taken("2001:db8::1") && taken("2001:db8::2"));
        assert!(!taken("2001:db8::3"), "one /64 is one sender");
        assert!(!taken("198.51.100.1"), "four in all");
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let each = Each::new(rate("1/h"), 1000);
        for n in 0..10_000u32 {
            assert!(each.take(IpAddr::from(n.to_be_bytes())).is_ok());
            assert!(each.by_address.load().len() <= 1000);
        }
        let each = Each::new(rate("1000/s"), 1000);
        let first = IpAddr::from([192, 0, 2, 1]);
        for n in 0..10_000u32 {
            assert!(each.take(first).is_ok() || n > 1000);
            assert!(each.take(IpAddr::from(n.to_be_bytes())).is_ok());
        }
    }
}
